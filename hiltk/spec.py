"""The spec: the small typed record that travels with every dataset, classifier and policy.

It says what each number means (name, unit, range, frame), how images were made, what an action does, what
the reward rule is and which robot it was. A step that joins two artifacts compares their specs and refuses a
mismatch by name; nearly every lost week in the project's history was a contract that lived only in somebody's head.

Keys of observations are LeRobot's: ``observation.state`` and ``observation.images.<camera>``.

OmegaConf is imported where a spec is read or written: the settings take their terms from here, and help needs those.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hiltk.errors import UserError
from hiltk.formats import SPEC

STATE_KEY = "observation.state"
EE_POSITION = ("ee.x", "ee.y", "ee.z")  # names of the end effector's position in the state
EE_DELTAS = ("delta_x", "delta_y", "delta_z")  # names of the action's first three dimensions
IMAGE_PREFIX = "observation.images."


# Fields that came later: artifacts without them are stored, and have the fingerprint, as before there were any.
LATER: dict[str, Any] = {"later": True}


class GripperFormat(Enum):
    """What the last action dimension means. Never inferred from values."""

    continuous = "continuous"  # [-1, 1]: -1 closes and +1 opens by `gripper_step`, 0 holds
    discrete3 = "discrete3"  # exactly -1 (close), 0 (hold) or +1 (open)
    none = "none"  # the action has no gripper dimension


class Semantics(Enum):
    """Whether an action is what was asked for or what was seen to happen."""

    commanded = "commanded"  # sent to the controller
    achieved = "achieved"  # rebuilt from consecutive states, e.g. by `hiltk fix-actions`


class EeFrame(Enum):
    """What the end-effector pose in the state is relative to."""

    base = "base"  # the robot's base
    reset = "reset"  # its own pose at the episode's start, along that pose's axes, as HIL-SERL has it


@dataclass
class Dimension:
    """One entry of a state or action vector: its name, unit, range and (where it has one) frame."""

    name: str = ""
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    frame: str = ""


@dataclass
class StateSpec:
    """Proprioception, dimension by dimension; the vector is ``observation.state`` (D,) float32 in these units."""

    dims: list[Dimension] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [d.name for d in self.dims]

    @property
    def ee_frame(self) -> EeFrame:
        """That of the end-effector pose; the base where there is none."""
        frames = [d.frame for d in self.dims if d.name in EE_POSITION]
        return EeFrame(frames[0]) if frames and frames[0] else EeFrame.base


@dataclass
class ActionSpec:
    """What the numbers sent to the robot mean.

    Translation dimensions are end-effector deltas in [-1, 1] times ``scale_m``, in ``frame``; those of joints, changes
    times ``scale_deg``. The last dimension is the gripper in ``gripper`` format, ``gripper_step`` units (of 0..100) per
    step at full action.
    """

    dims: list[Dimension] = field(default_factory=list)
    scale_m: float = 0.02
    frame: str = "base"
    semantics: Semantics = Semantics.commanded
    gripper: GripperFormat = GripperFormat.continuous
    gripper_step: float = 15.0
    scale_deg: float = field(default=0.0, metadata=LATER)

    @property
    def names(self) -> list[str]:
        return [d.name for d in self.dims]

    @property
    def ee_deltas(self) -> bool:
        """Whether the first three dimensions move the end effector along x, y and z."""
        return tuple(self.names[:3]) == EE_DELTAS


@dataclass
class ImageSpec:
    """One camera: how the frame leaves the driver and what the networks get.

    ``crop`` is ``[top, left, height, width]`` in native pixels (empty: whole frame), applied before the resize to
    ``(height, width)``. Frames are uint8 RGB with values from ``low`` to ``high``; the only scaling to floats happens
    inside an encoder.

    Attributes:
        driver: what the frames come from: LeRobot's name of it (opencv, ...), emulated; empty: drawn, or not known.
        native_fps: frames per second that the camera gives; 0: as many as there are steps, or not known.
        exposure: in the driver's own unit, or automatic; empty: none, or not known.
    """

    name: str = ""
    height: int = 64
    width: int = 64
    native_height: int = 64
    native_width: int = 64
    crop: list[int] = field(default_factory=list)
    color: str = "rgb"
    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    driver: str = field(default="", metadata=LATER)
    native_fps: float = field(default=0.0, metadata=LATER)
    exposure: str = field(default="", metadata=LATER)

    @property
    def key(self) -> str:
        return IMAGE_PREFIX + self.name


@dataclass
class RewardSpec:
    """The reward rule: who judges success, for how long it must hold, the rewards, and what a time-out means."""

    source: str = "predicate"  # predicate | classifier | env | person
    classifier: str = ""  # fingerprint of the classifier artifact
    threshold: float = 0.5
    hold_steps: int = 2
    min_steps: int = 0
    success_value: float = 1.0
    step_value: float = 0.0
    timeout: str = "truncated"  # truncated: bootstrap; terminal: the original HIL-SERL's choice


@dataclass
class RobotSpec:
    """Which robot: kinematic model, joints with limits and locks, calibration, workspace and reset pose.

    An episode starts with the end effector at ``reset_ee_m``, moved by up to ``reset_noise_m`` along each axis
    (uniform, base frame). ``reset_joints`` are the joints of the unmoved pose, in the units of ``joints``; a joint in
    ``locked`` stays at its value there whatever the action. An empty list or text means that it is not known.

    Attributes:
        name: which robot, and in parentheses what its pictures are drawn with: ``so101_sim (cpu renderer)``.
        arm: of one on the desk the name of its file; empty: it has none.
        arm_hash: of what is in that file, as far as it changes what is recorded.
    """

    name: str = ""
    model_hash: str = ""
    ee_site: str = ""
    joints: list[Dimension] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    calibration_id: str = ""
    calibration_hash: str = ""
    workspace_low_m: list[float] = field(default_factory=list)
    workspace_high_m: list[float] = field(default_factory=list)
    reset_ee_m: list[float] = field(default_factory=list)
    reset_noise_m: list[float] = field(default_factory=list)
    reset_joints: list[float] = field(default_factory=list)
    arm: str = field(default="", metadata=LATER)
    arm_hash: str = field(default="", metadata=LATER)

    @property
    def kind(self) -> str:
        """The name without what is in parentheses: what LeRobot calls the robot's type."""
        return self.name.partition(" (")[0]


@dataclass
class Stats:
    """Per-dimension statistics used to normalise a vector, and where they come from."""

    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    source: str = ""


@dataclass
class Spec:
    """Everything two artifacts must agree on before they are joined."""

    version: int = SPEC.version
    task: str = ""
    fps: float = 10.0
    state: StateSpec = field(default_factory=StateSpec)
    action: ActionSpec = field(default_factory=ActionSpec)
    images: list[ImageSpec] = field(default_factory=list)
    reward: RewardSpec = field(default_factory=RewardSpec)
    robot: RobotSpec = field(default_factory=RobotSpec)
    stats: dict[str, Stats] = field(default_factory=dict)

    @property
    def image_keys(self) -> list[str]:
        return [image.key for image in self.images]

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, enums by name: what is written to YAML and JSON."""
        plain: dict[str, Any] = _plain(self, Spec)
        return plain

    def fingerprint(self) -> str:
        """Sixteen hex digits that change when any field changes."""
        return hashlib.sha256(json.dumps(_plain(self, Spec, sparse=True), sort_keys=True).encode()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        import yaml

        path.write_text(yaml.safe_dump(self.to_stored(), sort_keys=False, allow_unicode=True))

    def to_stored(self) -> dict[str, Any]:
        """As `to_dict`, with what a hiltk needs to know that is too old to read it, and without `LATER` fields that
        say nothing."""
        return dict(_plain(self, Spec, sparse=True)) | SPEC.stamp()

    @staticmethod
    def from_dict(data: dict[str, Any], *, where: str = "") -> Spec:
        """Build a spec from plain containers.

        Raises:
            UserError: this hiltk is too old for it; a field is unknown, has the wrong type or cannot be meant (see
                `mistakes`).
        """
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        current = SPEC.upgrade(data, where)
        try:
            merged = OmegaConf.merge(OmegaConf.structured(Spec), OmegaConf.create(current))
            spec: Spec = OmegaConf.to_object(merged)  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            reason, key = str(error).splitlines()[0], getattr(error, "full_key", None)
            named = f"{key}: {reason}" if key and key not in reason else reason
            raise UserError(f"this is not a valid spec: {named}", where=where, fix=EDITED) from error
        if found := mistakes(spec):
            more = f" (and {len(found) - 1} more like it)" if len(found) > 1 else ""
            raise UserError(f"this is not a valid spec: {found[0]}{more}", where=where, fix=EDITED)
        return spec

    @staticmethod
    def load(path: Path) -> Spec:
        """Read a spec from a YAML file.

        Raises:
            UserError: the file is missing, is not YAML, or is not a spec.
        """
        if not path.is_file():
            raise UserError(
                "no spec found",
                where=str(path),
                fix="datasets made elsewhere go through `hiltk adopt` first (or `hiltk fix-actions`)",
            )
        try:
            text = path.read_text()
        except ValueError as error:
            raise UserError(f"the spec cannot be read: {error}", where=str(path)) from error
        if text not in _read_before:
            _read_before[text] = _parsed(text, str(path))
        return copy.deepcopy(_read_before[text])


# Specs by what their files said: a command asks for the same one again and again, and checking it takes 60 ms.
_read_before: dict[str, Spec] = {}


def _parsed(text: str, where: str) -> Spec:
    from omegaconf import OmegaConf

    try:
        data = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except Exception as error:
        raise UserError(f"the spec cannot be read: {error}", where=where) from error
    if not isinstance(data, dict):
        raise UserError("the spec is not a mapping", where=where)
    return Spec.from_dict({str(k): v for k, v in data.items()}, where=where)


def _plain(value: Any, hint: Any, *, sparse: bool = False) -> Any:
    """Plain containers of a value that its field declares as ``hint``; 1 in a field of floats is 1.0.

    Args:
        sparse: without `LATER` fields that have their default.
    """
    if isinstance(hint, type) and is_dataclass(hint):
        silent = {
            f.name for f in fields(hint) if sparse and f.metadata == LATER and getattr(value, f.name) == f.default
        }
        of = {name: one for name, one in _hints(hint).items() if name not in silent}
        return {name: _plain(getattr(value, name), one, sparse=sparse) for name, one in of.items()}
    if get_origin(hint) is list:
        return [_plain(one, get_args(hint)[0], sparse=sparse) for one in value]
    if get_origin(hint) is dict:
        return {key: _plain(one, get_args(hint)[1], sparse=sparse) for key, one in value.items()}
    return value.name if isinstance(value, Enum) else hint(value)


@functools.cache
def _hints(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)


# ---------------------------------------------------------------- a spec that cannot be meant

EDITED = "specs are written by hiltk; undo the edit, or make the artifact again"
_UNITS = ("", "1", "deg", "rad", "percent", "m")
UNITS = (*_UNITS, *(f"{unit}/s" for unit in _UNITS[2:]))
FRAMES = ("", *(frame.value for frame in EeFrame))
SOURCES = ("predicate", "classifier", "env")
JUDGES = (*SOURCES, "person")  # in an evaluation, a person after each episode
TIMEOUTS = ("truncated", "terminal")


def mistakes(spec: Spec) -> list[str]:
    """What cannot be meant in a spec, one ``field: what is wrong`` each; empty for every spec hiltk writes."""
    found = _positive("fps", spec.fps)
    for path, dims in (
        ("state.dims", spec.state.dims),
        ("action.dims", spec.action.dims),
        ("robot.joints", spec.robot.joints),
    ):
        found += _dimension_mistakes(path, dims)
    found += _action_mistakes(spec.action)
    found += _unique("images", [image.name for image in spec.images])
    for image in spec.images:
        found += _image_mistakes(f"images.{image.name}", image)
    return found + reward_mistakes(spec.reward) + _robot_mistakes(spec.robot) + _stats_mistakes(spec)


def _positive(path: str, value: float, *, least: float | None = None) -> list[str]:
    """``least`` allows that very value, too; without it the value must be above 0."""
    fits = math.isfinite(value) and (value > 0 if least is None else value >= least)
    return [] if fits else [f"{path}: {value:g} must be {'above 0' if least is None else f'at least {least:g}'}"]


def _finite(path: str, values: Iterable[float]) -> list[str]:
    return [f"{path}: {value} is not a finite number" for value in values if not math.isfinite(value)][:1]


def _one_of(path: str, value: str, known: tuple[str, ...]) -> list[str]:
    return [] if value in known else [f"{path}: unknown '{value}', known are {', '.join(k for k in known if k)}"]


def _unique(path: str, names: list[str]) -> list[str]:
    twice = sorted({n for n in names if names.count(n) > 1})
    unnamed = [f"{path}: entry {i} has no name" for i, n in enumerate(names) if not n]
    return [f"{path}: '{n}' is there twice" for n in twice if n] + unnamed


def _dimension_mistakes(path: str, dims: list[Dimension]) -> list[str]:
    found = _unique(path, [d.name for d in dims])
    for d in dims:
        where = f"{path}.{d.name}"
        if math.isnan(d.low) or math.isnan(d.high) or d.low > d.high:
            found.append(f"{where}: low {d.low:g} and high {d.high:g} are no range")
        if not d.unit.startswith("[-1, 1] for "):  # a Gymnasium environment's own action range
            found += _one_of(f"{where}.unit", d.unit, UNITS)
        found += _one_of(f"{where}.frame", d.frame, FRAMES)
    return found


def _action_mistakes(action: ActionSpec) -> list[str]:
    found = _one_of("action.frame", action.frame, ("", EeFrame.base.value))
    found += _positive("action.scale_m", action.scale_m, least=None if action.frame else 0.0)
    found += _positive("action.scale_deg", action.scale_deg, least=0.0)
    has_gripper = action.gripper is not GripperFormat.none
    found += _positive("action.gripper_step", action.gripper_step, least=None if has_gripper else 0.0)
    return found


def _image_mistakes(path: str, image: ImageSpec) -> list[str]:
    found = []
    for key in ("height", "width", "native_height", "native_width"):
        found += _positive(f"{path}.{key}", getattr(image, key))
    found += _positive(f"{path}.native_fps", image.native_fps, least=0.0)
    found += _one_of(f"{path}.color", image.color, ("rgb",)) + _one_of(f"{path}.dtype", image.dtype, ("uint8",))
    if not 0 <= image.low < image.high <= 255:
        found.append(f"{path}: values from {image.low:g} to {image.high:g} do not fit uint8")
    if image.crop and not is_inside(image):
        native = f"{image.native_height} x {image.native_width}"
        found.append(f"{path}.crop: {image.crop} ([top, left, height, width]) is not inside the {native} native frame")
    return found


def is_inside(image: ImageSpec) -> bool:
    """Whether the crop lies in the native frame."""
    if len(image.crop) != 4:
        return False
    top, left, height, width = image.crop
    fits = top + height <= image.native_height and left + width <= image.native_width
    return fits and min(top, left) >= 0 and min(height, width) >= 1


def reward_mistakes(reward: RewardSpec) -> list[str]:
    found = _one_of("reward.source", reward.source, JUDGES) + _one_of("reward.timeout", reward.timeout, TIMEOUTS)
    if not 0 <= reward.threshold <= 1:
        found.append(f"reward.threshold: {reward.threshold:g} is no probability from 0 to 1")
    found += _positive("reward.hold_steps", reward.hold_steps, least=1.0)
    found += _positive("reward.min_steps", reward.min_steps, least=0.0)
    return found + [m for k in ("success_value", "step_value") for m in _finite(f"reward.{k}", [getattr(reward, k)])]


def _robot_mistakes(robot: RobotSpec) -> list[str]:
    found, names = [], [joint.name for joint in robot.joints]
    for key, size in (
        ("workspace_low_m", 3),
        ("workspace_high_m", 3),
        ("reset_ee_m", 3),
        ("reset_noise_m", 3),
        ("reset_joints", len(names)),
    ):
        values = getattr(robot, key)
        if values and len(values) != size:
            found.append(f"robot.{key}: {len(values)} numbers instead of {size}")
        found += _finite(f"robot.{key}", values)
    if any(lo >= hi for lo, hi in zip(robot.workspace_low_m, robot.workspace_high_m, strict=False)):
        found.append(f"robot.workspace_low_m: {robot.workspace_low_m} is not below {robot.workspace_high_m}")
    if any(noise < 0 for noise in robot.reset_noise_m):
        found.append(f"robot.reset_noise_m: {robot.reset_noise_m} must not be negative")
    return found + [f"robot.locked: there is no joint '{name}'" for name in robot.locked if name not in names]


def _stats_mistakes(spec: Spec) -> list[str]:
    sizes = {STATE_KEY: len(spec.state.dims), "action": len(spec.action.dims)}
    found = []
    for key, stats in spec.stats.items():
        for name in ("mean", "std", "low", "high"):
            values, path = getattr(stats, name), f"stats.{key}.{name}"
            if name in ("low", "high") and not values:
                continue  # nothing normalises by the ranges
            if len(values) != sizes.get(key, len(stats.mean)):
                found.append(f"{path}: {len(values)} numbers for {sizes.get(key, len(stats.mean))} dimensions")
            found += _finite(path, values) if name in ("mean", "std") else []
        found += [m for value in stats.std for m in _positive(f"stats.{key}.std", value)][:1]
        if any(not lo <= hi for lo, hi in zip(stats.low, stats.high, strict=False)):
            found.append(f"stats.{key}.low: a lowest value is above the highest")
    return found


# ---------------------------------------------------------------- comparing


@dataclass(frozen=True)
class Difference:
    """One field in which two specs disagree, by its dotted path."""

    path: str
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.left!r} against {self.right!r}"


def _by_name(value: Any) -> Any:
    """Lists of named records become mappings, so that differences are reported by name rather than by index."""
    if isinstance(value, list) and value and all(isinstance(v, dict) and "name" in v for v in value):
        names = [v["name"] for v in value]
        return {"order": names, **{v["name"]: v for v in value}}
    return value


def _walk(left: Any, right: Any, path: str) -> list[Difference]:
    left, right = _by_name(left), _by_name(right)
    if isinstance(left, dict) and isinstance(right, dict):
        found = []
        for key in [*left, *(k for k in right if k not in left)]:
            found += _walk(left.get(key), right.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if left == right else [Difference(path, left, right)]


def compare(left: Spec, right: Spec, parts: tuple[str, ...] = ()) -> list[Difference]:
    """Differences between two specs, in field order.

    Args:
        parts: dotted prefixes to look at, e.g. ``("fps", "state", "action.gripper")``; empty means all.
    """
    found = _walk(left.to_dict(), right.to_dict(), "")
    if not parts:
        return found
    return [d for d in found if any(d.path == p or d.path.startswith(p + ".") for p in parts)]


def refusals(left: Spec, right: Spec, parts: tuple[str, ...] = ()) -> list[Difference]:
    """The differences for which two artifacts cannot be joined; ``parts`` as in `compare`, empty: `JOINT_PARTS`.

    Of two arms with a file the limits of their joints must agree, too, wherever the calibration must.
    """
    parts = parts or JOINT_PARTS
    if "robot.calibration_hash" in parts and left.robot.arm and right.robot.arm:
        parts = (*parts, "robot.joints")
    found = compare(left, right, parts)
    return [d for d in found if not _only_describes(d.path) and not _unknown(d, left, right)]


def require_compatible(left: Spec, right: Spec, parts: tuple[str, ...], *, left_name: str, right_name: str) -> None:
    """Refuse to join two artifacts whose specs disagree in ``parts``.

    Raises:
        UserError: naming every differing field, both values and where each came from.
    """
    differences = refusals(left, right, parts)
    if differences:
        listing = "\n".join(f"    {d}" for d in differences[:12])
        more = f"\n    and {len(differences) - 12} more" if len(differences) > 12 else ""
        raise UserError(
            f"{left_name} and {right_name} do not fit together:\n{listing}{more}",
            where=f"left value: {left_name}; right value: {right_name}",
            fix="record or repair the data with the same settings, or choose artifacts made for each other",
        )


def mere_differences(left: Spec, right: Spec, *, left_name: str, right_name: str) -> str:
    """What differs between two artifacts that fit together, for a person to judge: another arm, simulated or not,
    other limits, other cameras. One line each; empty where nothing does.
    """
    refused = {d.path for d in refusals(left, right)}
    found = [d for d in compare(left, right, ("images", "robot")) if d.path not in refused]
    # A camera that only one of them has is a matter for whoever needs it.
    both = {image.name for image in left.images} & {image.name for image in right.images}
    shared = tuple(f"images.{name}." for name in both)
    lines = [str(d) for d in found if d.path.startswith(shared or "-")]
    lines += [str(d) for d in found if d.path.startswith("robot.") and not d.path.startswith("robot.joints")]
    lines += _joint_lines(left.robot.joints, right.robot.joints)
    if not lines:
        return ""
    heading = f"{left_name} and {right_name} fit together, and differ in"
    return "\n".join([heading, *(f"    {line}" for line in lines)])


def say_what_differs(left: Spec, right: Spec, *, left_name: str, right_name: str) -> None:
    """Print the `mere_differences`; nothing where there are none."""
    if text := mere_differences(left, right, left_name=left_name, right_name=right_name):
        from hiltk.console import say  # help needs this module, and no tables

        say(text)


def _joint_lines(left: list[Dimension], right: list[Dimension]) -> list[str]:
    """One line for the limits of all joints that both have."""
    other = {joint.name: joint for joint in right}
    unlike = [
        f"{a.name} {a.low:.0f} to {a.high:.0f} against {b.low:.0f} to {b.high:.0f}"
        for a in left
        if (b := other.get(a.name)) and (round(a.low), round(a.high)) != (round(b.low), round(b.high))
    ]
    return [f"robot.joints, limits: {', '.join(unlike)}"] if unlike else []


# What must agree when data, policies and environments meet.
JOINT_PARTS = (
    "fps",
    "state.dims",
    "action.dims",
    "action.scale_m",
    "action.scale_deg",
    "action.frame",
    "action.gripper",
    "action.gripper_step",
    "images",
    "robot.model_hash",
    "robot.calibration_hash",
)
# What must agree between the datasets of one success classifier, which sees images only.
CLASSIFIER_PARTS = ("task", "images")
# In which merged datasets may differ: it says where data come from, not what their numbers mean.
MERGED_MAY_DIFFER = (
    "stats",
    "reward.source",
    "reward.classifier",
    "reward.threshold",
    "robot.arm",
    "robot.arm_hash",
)


def merge_parts(left: Spec, right: Spec, allow: Sequence[str] = ()) -> tuple[str, ...]:
    """What must agree between two datasets that become one: every field in which they differ, but those in ``allow``.

    The name of the robot may differ in what its pictures are drawn with.
    """
    free = (*MERGED_MAY_DIFFER, *allow, *(["robot.name"] if left.robot.kind == right.robot.kind else []))
    differing = [d.path for d in compare(left, right)]
    return tuple(p for p in differing if not any(p == f or p.startswith(f + ".") for f in free)) or ("version",)


def refusing_steps(left: Spec, right: Spec, kinds: tuple[str, str]) -> dict[str, tuple[str, ...]]:
    """Which steps refuse to join two artifacts, by the path of the field for which they do.

    Args:
        kinds: of the two, as their folders are called. Only datasets can be merged, or share a classifier; of a
            classifier only the images meet anything; ``train`` stands for every step in which policies, environments
            and datasets meet.
    """
    steps: dict[str, tuple[str, ...]] = {"train": ("images",) if "classifiers" in kinds else JOINT_PARTS}
    if kinds == ("datasets", "datasets"):
        steps |= {"train-classifier": CLASSIFIER_PARTS, "merge": merge_parts(left, right)}
    refused: dict[str, tuple[str, ...]] = {}
    for step, parts in steps.items():
        for difference in refusals(left, right, parts):
            refused[difference.path] = (*refused.get(difference.path, ()), step)
    return refused


def _only_describes(path: str) -> bool:
    """Fields that may differ between artifacts that fit: they do not change the numbers a network sees."""
    leaf = path.rsplit(".", 1)[-1]
    of_camera = ("native_height", "native_width", "driver", "native_fps", "exposure")
    return leaf in of_camera or (path.startswith("state.") and leaf in ("low", "high"))


def _unknown(difference: Difference, left: Spec, right: Spec) -> bool:
    """Differences that cannot be judged: the view of cameras with different frames, and a calibration nobody noted."""
    part, _, rest = difference.path.partition(".")
    if part == "images" and rest.endswith(".crop"):
        name = rest.removesuffix(".crop")
        return len({(i.native_height, i.native_width) for s in (left, right) for i in s.images if i.name == name}) > 1
    return difference.path == "robot.calibration_hash" and not (difference.left and difference.right)
