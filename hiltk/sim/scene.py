"""The world around the arm: table, cube, lights, front camera; composed with `mujoco.MjSpec` and indexed once."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from hiltk.arm.model import EE_SITE, JOINTS, TCP_SITE, WRIST_CAMERA, load_arm
from hiltk.config.groups import So101SimConf
from hiltk.errors import ConfigError, UserError, nearest

FRONT_CAMERA = "front"
CAMERAS = (WRIST_CAMERA, FRONT_CAMERA)
CUBE_HALF_M = 0.0125
CUBE_MASS_KG = 0.02
CUBE_FRICTION = 0.8
TABLE_HALF_M = 1.5  # so large that the wrist camera seldom sees its edge
CHECKER_M = 0.05
SKY_RGB = [0.33, 0.36, 0.40]
# A stronger grip pops a 20 g cube out of tilted jaws; the servo's own limit is 2.94 Nm.
GRIPPER_TORQUE_NM = 1.2
_Warning = mujoco.mjtWarning
_BLOWN_UP = [int(w) for w in (_Warning.mjWARN_BADQPOS, _Warning.mjWARN_BADQVEL, _Warning.mjWARN_BADQACC)]


@dataclass(frozen=True)
class Scene:
    """A compiled world and the indices that are needed at every step, looked up once.

    Attributes:
        joint_qpos, actuators: (6,) addresses in `qpos` and `ctrl`, in the order of `JOINTS`.
        cube_qpos: first of the cube's seven addresses in `qpos`.
        jaw: (ngeom,) 1 for geoms of the fixed jaw, 2 for those of the moving jaw, 0 for all others.
        cameras: name to camera number.
    """

    model: mujoco.MjModel
    joint_qpos: np.ndarray
    actuators: np.ndarray
    cube_qpos: int
    cube_body: int
    cube_geom: int
    gripper_body: int
    ee: int
    tcp: int
    jaw: np.ndarray
    cameras: dict[str, int]


def build_scene(conf: So101SimConf) -> Scene:
    """Put the arm of ``conf.model_path`` on a table with a cube.

    Raises:
        ConfigError: a camera that does not exist.
        UserError: the arm model cannot be used.
    """
    for name in conf.cameras:
        if name not in CAMERAS:
            raise ConfigError(
                f"there is no camera '{name}'; there are: {', '.join(CAMERAS)}",
                where="env.cameras",
                fix=nearest(name, list(CAMERAS)),
            )
    spec = load_arm(conf.model_path)
    _prepare_arm(spec)
    if conf.model_path:
        _prepare_contacts(spec)
    _set_physics(spec, conf.physics_timestep_s)
    _add_table(spec)
    _add_cube(spec)
    _add_light_and_camera(spec)
    try:
        model = spec.compile()
    except ValueError as error:
        raise UserError(f"the scene does not compile: {error}", where=f"env.model_path={conf.model_path}") from error
    return _index(model)


def place_cube(scene: Scene, data: mujoco.MjData, x_m: float, y_m: float, yaw_deg: float) -> None:
    """Lay the cube on the table, at rest."""
    half, start = np.deg2rad(yaw_deg) / 2, scene.cube_qpos
    data.qpos[start : start + 7] = x_m, y_m, CUBE_HALF_M, np.cos(half), 0, 0, np.sin(half)
    speed = scene.model.jnt_dofadr[scene.model.body_jntadr[scene.cube_body]]
    data.qvel[speed : speed + 6] = 0


def jaws_touching(scene: Scene, data: mujoco.MjData) -> tuple[bool, bool]:
    """Whether the fixed and the moving jaw touch the cube, as of the last collision detection."""
    pairs = data.contact.geom
    # A pair's other geom: its sum minus the cube.
    touching = scene.jaw[pairs[(pairs == scene.cube_geom).any(axis=1)].sum(axis=1) - scene.cube_geom]
    return bool((touching == 1).any()), bool((touching == 2).any())


def jaw_axis(scene: Scene, data: mujoco.MjData) -> np.ndarray:
    """Unit vector (3,) from the fixed towards the moving jaw, base frame."""
    return data.xmat[scene.gripper_body].reshape(3, 3)[:, 0].copy()


def blown_up(data: mujoco.MjData) -> bool:
    """Whether the simulation became unstable; MuJoCo then starts over on its own."""
    return bool(data.warning.number[_BLOWN_UP].any())


def _prepare_arm(spec: mujoco.MjSpec) -> None:
    spec.compiler.discardvisual = False  # the default for URDF, which would drop the table's texture
    for key in list(spec.keys):
        spec.delete(key)  # a keyframe of the arm alone does not fit a world with a cube
    base = spec.joint(JOINTS[0]).parent.parent
    if base != spec.worldbody:  # positions in specs and datasets are in the base frame: make it the world's
        base.pos, base.quat = [0, 0, 0], [1, 0, 0, 0]
    spec.actuator(JOINTS[-1]).forcerange = [-GRIPPER_TORQUE_NM, GRIPPER_TORQUE_NM]


def _prepare_contacts(spec: mujoco.MjSpec) -> None:
    """Give a foreign arm the contacts of the built-in one: no self-collision, jaws that grip.

    Hulls around meshes overlap at the joints, and a URDF states no friction at all.
    """
    jaws = [spec.joint("wrist_roll").parent, spec.joint(JOINTS[-1]).parent]
    for geom in spec.geoms:
        if not (geom.contype or geom.conaffinity):
            continue
        geom.contype, geom.conaffinity = 2, 1
        if geom.parent in jaws:
            geom.condim, geom.friction, geom.solref = 6, [1.2, 0.02, 0.002], [0.01, 1]


def _set_physics(spec: mujoco.MjSpec, timestep_s: float) -> None:
    """Settings that grip well at few, large steps: elliptic cones with a high impedance ratio do not let slip."""
    option = spec.option
    option.timestep = timestep_s
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio, option.iterations, option.ls_iterations = 10, 10, 20


def _add_table(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="scene_sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=SKY_RGB,
        rgb2=SKY_RGB,
        width=8,
        height=48,
    )
    texture = spec.add_texture(
        name="scene_checker",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.62, 0.60, 0.57],
        rgb2=[0.55, 0.53, 0.50],
        width=64,
        height=64,
    )
    material = spec.add_material(
        name="scene_table", texrepeat=[TABLE_HALF_M / CHECKER_M] * 2, reflectance=0, specular=0
    )
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
    spec.worldbody.add_geom(
        name="scene_table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[TABLE_HALF_M, TABLE_HALF_M, 0.05],
        material=material.name,
        contype=1,
        conaffinity=3,
        condim=4,
        friction=[0.8, 0.01, 0.001],
    )


def _add_cube(spec: mujoco.MjSpec) -> None:
    body = spec.worldbody.add_body(name="scene_cube", pos=[0.25, 0, CUBE_HALF_M])
    body.add_freejoint(name="scene_cube")
    body.add_geom(
        name="scene_cube",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[CUBE_HALF_M] * 3,
        mass=CUBE_MASS_KG,
        rgba=[0.85, 0.10, 0.10, 1],
        contype=1,
        conaffinity=3,
        condim=4,
        friction=[CUBE_FRICTION, 0.01, 0.001],
    )


def _add_light_and_camera(spec: mujoco.MjSpec) -> None:
    """One lamp without shadows (the CPU renderer has none) and the camera that looks back at the arm."""
    head = spec.visual.headlight
    head.ambient, head.diffuse, head.specular = [0.35] * 3, [0.35] * 3, [0.0] * 3
    spec.stat.extent = 1.0  # makes the next two metres
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 4.0
    spec.visual.quality.shadowsize = spec.visual.quality.offsamples = 0
    spec.worldbody.add_light(
        name="scene_lamp",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.1, -0.3, 1.2],
        dir=[0.1, 0.3, -1],
        diffuse=[0.5] * 3,
        specular=[0.0] * 3,
        castshadow=False,
    )
    if spec.camera(FRONT_CAMERA) is None:
        right, up = (np.array([0, 1, 0]), np.array([-0.66, 0, 0.75]) / np.hypot(0.66, 0.75))
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, np.column_stack([right, up, np.cross(right, up)]).ravel())
        spec.worldbody.add_camera(name=FRONT_CAMERA, pos=[0.58, 0, 0.40], quat=quaternion, fovy=45)


def _index(model: mujoco.MjModel) -> Scene:
    joints = [model.joint(name).id for name in JOINTS]
    gripper_body = int(model.jnt_bodyid[joints[4]])
    jaw = np.zeros(model.ngeom, np.int8)
    jaw[model.geom_bodyid == gripper_body] = 1
    jaw[model.geom_bodyid == model.jnt_bodyid[joints[5]]] = 2
    return Scene(
        model=model,
        joint_qpos=model.jnt_qposadr[joints].copy(),
        actuators=np.array([model.actuator(name).id for name in JOINTS]),
        cube_qpos=int(model.joint("scene_cube").qposadr[0]),
        cube_body=model.body("scene_cube").id,
        cube_geom=model.geom("scene_cube").id,
        gripper_body=gripper_body,
        ee=model.site(EE_SITE).id,
        tcp=model.site(TCP_SITE).id,
        jaw=jaw,
        cameras={name: model.camera(name).id for name in CAMERAS},
    )
