"""The arm's model: the built-in one, or the user's MJCF or URDF brought to the same names."""

from __future__ import annotations

import dataclasses
import hashlib
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path

import mujoco
import numpy as np

from hiltk.arm.chain import Chain, read_chain
from hiltk.arm.joints import JOINTS as JOINTS
from hiltk.errors import UserError

EE_SITE = "gripperframe"
TCP_SITE = "tcp"
WRIST_CAMERA = "wrist"

_BUILT_IN = Path(__file__).with_name("so101.xml")
_URDF_EE_LINK = "gripper_frame_link"


def load_arm(path: str = "") -> mujoco.MjSpec:
    """The arm as an editable MuJoCo spec; a scene is built by adding to its world body.

    Whatever the source, the result has the six joints of `JOINTS`, a position actuator of the same name for each,
    the sites ``gripperframe`` (the official end-effector frame) and ``tcp`` (between the finger tips), and a
    camera ``wrist`` on the gripper. What a file lacks of these is taken from the built-in model.

    Args:
        path: an MJCF (.xml) or URDF (.urdf) file of the SO-101; empty for the built-in primitive model.

    Raises:
        UserError: the file is missing, cannot be parsed or compiled (a missing mesh is named), or lacks a joint.
    """
    source = Path(path) if path else _BUILT_IN
    if not source.is_file():
        raise UserError(
            "no such arm model", where=str(source), fix="set env.model_path to an MJCF or URDF file, or to ''"
        )
    spec = _parse(source)
    _require_joints(spec, source)
    if path:
        _complete(spec, source)
    if source.suffix.lower() == ".urdf":
        _part_base_and_shoulder(spec)
    try:
        spec.compile()
    except ValueError as error:
        raise UserError(f"the arm model cannot be compiled: {error}", where=str(source)) from error
    return spec


def arm_chain(path: str = "") -> Chain:
    """The five hinges from the base to `EE_SITE`; see `load_arm` for ``path`` and errors."""
    return _chain(path, Path(path).stat().st_mtime_ns if path and Path(path).is_file() else 0)


def model_hash(path: str = "") -> str:
    """Sixteen hex digits of the arm's kinematics: joint frames, limits and end-effector frame, to a nanometre.

    Two files that describe the same arm have the same hash, whatever their shapes, comments or format.
    """
    chain = arm_chain(path)
    digest = hashlib.sha256()
    for part in dataclasses.astuple(chain):
        digest.update((np.round(part, 9) + 0.0).tobytes())  # + 0.0 turns -0.0 into 0.0
    return digest.hexdigest()[:16]


@cache
def _chain(path: str, changed_ns: int) -> Chain:
    """``changed_ns`` only makes an edited file miss the cache."""
    return read_chain(load_arm(path).compile(), JOINTS[:-1], EE_SITE)


def _parse(source: Path) -> mujoco.MjSpec:
    try:
        if source.suffix.lower() == ".urdf":
            return mujoco.MjSpec.from_string(_urdf_for_mujoco(source))
        return mujoco.MjSpec.from_file(str(source))
    except (ValueError, ET.ParseError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"the arm model cannot be read: {error}", where=str(source)) from error


def _urdf_for_mujoco(source: Path) -> str:
    """The URDF's text with absolute mesh paths, and with its fixed links kept as bodies.

    MuJoCo looks for meshes beside the file whatever folder the URDF names, and merges fixed links into their
    parents, which would lose the base and the end-effector frame.
    """
    root = ET.parse(source).getroot()
    for mesh in root.iter("mesh"):
        mesh.set("filename", str(_find_mesh(source, mesh.get("filename", ""))))
    options = root.find("mujoco")
    options = ET.SubElement(root, "mujoco") if options is None else options
    compiler = options.find("compiler")
    compiler = ET.SubElement(options, "compiler") if compiler is None else compiler
    compiler.set("strippath", "false")
    compiler.set("fusestatic", "false")
    return ET.tostring(root, encoding="unicode")


def _find_mesh(source: Path, filename: str) -> Path:
    """A URDF mesh on disk: relative to the file, or for ``package://name/path`` to any folder above it."""
    relative = filename.removeprefix("file://")
    folders = [source.parent]
    if filename.startswith("package://"):
        relative = filename.removeprefix("package://").partition("/")[2]
        folders = [source.parent, *source.resolve().parents]
    for folder in folders:
        if (folder / relative).is_file():
            return (folder / relative).resolve()
    raise UserError(f"the arm model's mesh '{filename}' is missing", where=str(source))


def _require_joints(spec: mujoco.MjSpec, source: Path) -> None:
    present = {joint.name: joint for joint in spec.joints}
    lacking = [name for name in JOINTS if name not in present]
    if lacking:
        raise UserError(
            f"the arm model lacks the joint{'s' * (len(lacking) > 1)} {', '.join(lacking)}",
            where=f"{source} has {', '.join(present) or 'none'}",
            fix="name the six joints as LeRobot does",
        )
    for name in JOINTS:
        low, high = present[name].range
        if present[name].type != mujoco.mjtJoint.mjJNT_HINGE or low >= high:
            raise UserError(f"the joint {name} must be a hinge with limits", where=str(source))


def _complete(spec: mujoco.MjSpec, source: Path) -> None:
    """Add what the file lacks of servos, sites and wrist camera, as they are in the built-in model."""
    built_in = mujoco.MjSpec.from_file(str(_BUILT_IN))
    gripper = spec.joint("wrist_roll").parent
    if spec.site(EE_SITE) is None:
        _add_ee_site(spec, source)
    if spec.site(TCP_SITE) is None:
        gripper.add_site(name=TCP_SITE, pos=built_in.site(TCP_SITE).pos, group=4)
    if spec.camera(WRIST_CAMERA) is None:
        camera = built_in.compile().camera(WRIST_CAMERA)
        gripper.add_camera(name=WRIST_CAMERA, pos=camera.pos, quat=camera.quat, fovy=float(camera.fovy[0]))
    if not spec.actuators:
        _add_servos(spec, built_in)
    lacking = [name for name in JOINTS if spec.actuator(name) is None]
    if lacking:
        raise UserError(
            f"the arm model has actuators, but none named {', '.join(lacking)}",
            where=str(source),
            fix="name each actuator after its joint, or remove them all to get the built-in servos",
        )


def _add_ee_site(spec: mujoco.MjSpec, source: Path) -> None:
    link = spec.body(_URDF_EE_LINK)
    if link is None:
        raise UserError(
            f"the arm model has neither a site '{EE_SITE}' nor a link '{_URDF_EE_LINK}'",
            where=str(source),
            fix="add the end-effector frame of the official SO-101 model under one of these names",
        )
    link.parent.add_site(name=EE_SITE, pos=link.pos, quat=link.quat, group=4)
    spec.delete(link)  # it has no shape, and its inertia of zero is not one MuJoCo accepts


def _part_base_and_shoulder(spec: mujoco.MjSpec) -> None:
    """Switch off their contacts, as MuJoCo does for every parent and child except where the parent is fixed.

    A URDF gives all links collision meshes, and there the overlapping hulls would push the arm round.
    """
    shoulder = spec.joint("shoulder_pan").parent
    spec.add_exclude(bodyname1=shoulder.parent.name, bodyname2=shoulder.name)


def _add_servos(spec: mujoco.MjSpec, built_in: mujoco.MjSpec) -> None:
    """Servos, joint friction and solver options of the built-in model: a URDF states none of them."""
    for option in ("timestep", "integrator", "cone", "impratio"):
        setattr(spec.option, option, getattr(built_in.option, option))
    for name in JOINTS:
        servo, joint = built_in.actuator(name), spec.joint(name)
        for friction in ("damping", "frictionloss", "armature"):
            setattr(joint, friction, getattr(built_in.joint(name), friction))
        spec.add_actuator(
            name=name,
            target=name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            gaintype=servo.gaintype,
            gainprm=servo.gainprm,
            biastype=servo.biastype,
            biasprm=servo.biasprm,
            forcerange=servo.forcerange,
            ctrlrange=joint.range,
        )
