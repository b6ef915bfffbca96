"""The spec: the small typed record that travels with every dataset, classifier and policy.

It says what each number means (name, unit, range, frame), how images were made, what an action does, what
the reward rule is and which robot it was. A step that joins two artifacts compares their specs and refuses a
mismatch by name; nearly every lost week in the project's history was a contract that lived only in somebody's head.

Keys of observations are LeRobot's: ``observation.state`` and ``observation.images.<camera>``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hiltk.errors import UserError

STATE_KEY = "observation.state"
IMAGE_PREFIX = "observation.images."
SPEC_VERSION = 1


class GripperFormat(Enum):
    """What the last action dimension means. Never inferred from values."""

    continuous = "continuous"  # [-1, 1]: -1 closes and +1 opens by `gripper_step`, 0 holds
    discrete3 = "discrete3"  # exactly -1 (close), 0 (hold) or +1 (open)
    none = "none"  # the action has no gripper dimension


class Semantics(Enum):
    """Whether an action is what was asked for or what was seen to happen."""

    commanded = "commanded"  # sent to the controller
    achieved = "achieved"  # rebuilt from consecutive states, e.g. by `hiltk fix-actions`


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


@dataclass
class ActionSpec:
    """What the numbers sent to the robot mean.

    Translation dimensions are end-effector deltas in [-1, 1] times ``scale_m``, in ``frame``; the last
    dimension is the gripper in ``gripper`` format, ``gripper_step`` units (of 0..100) per step at full action.
    """

    dims: list[Dimension] = field(default_factory=list)
    scale_m: float = 0.02
    frame: str = "base"
    semantics: Semantics = Semantics.commanded
    gripper: GripperFormat = GripperFormat.continuous
    gripper_step: float = 15.0

    @property
    def names(self) -> list[str]:
        return [d.name for d in self.dims]


@dataclass
class ImageSpec:
    """One camera: how the frame leaves the driver and what the networks get.

    ``crop`` is ``[top, left, height, width]`` in native pixels (empty: whole frame), applied before the resize to
    ``(height, width)``. Frames are uint8 RGB; the only scaling to floats happens inside an encoder.
    """

    name: str = ""
    height: int = 64
    width: int = 64
    native_height: int = 64
    native_width: int = 64
    crop: list[int] = field(default_factory=list)
    color: str = "rgb"
    dtype: str = "uint8"

    @property
    def key(self) -> str:
        return IMAGE_PREFIX + self.name


@dataclass
class RewardSpec:
    """The reward rule: who judges success, for how long it must hold, what it pays, and what a time-out means."""

    source: str = "predicate"  # predicate | classifier | env
    classifier: str = ""  # fingerprint of the classifier artifact
    threshold: float = 0.5
    hold_steps: int = 2
    min_steps: int = 0
    success_value: float = 1.0
    step_value: float = 0.0
    timeout: str = "truncated"  # truncated: bootstrap; terminal: the original HIL-SERL's choice


@dataclass
class RobotSpec:
    """Which robot: kinematic model, joints with limits, calibration, workspace and reset pose."""

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

    version: int = SPEC_VERSION
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
        # Through the schema, so that 1 and 1.0 in a float field are one and the same.
        return OmegaConf.to_container(OmegaConf.structured(self), enum_to_str=True)  # type: ignore[return-value]

    def fingerprint(self) -> str:
        """Sixteen hex digits that change when any field changes."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        OmegaConf.save(OmegaConf.create(self.to_dict()), path)

    @staticmethod
    def from_dict(data: dict[str, Any], *, where: str = "") -> Spec:
        """Build a spec from plain containers.

        Raises:
            UserError: a field is unknown or has the wrong type.
        """
        try:
            merged = OmegaConf.merge(OmegaConf.structured(Spec), OmegaConf.create(data))
            return OmegaConf.to_object(merged)  # type: ignore[return-value]
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"this is not a valid spec: {reason}", where=where) from error

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
                fix="datasets made elsewhere go through `hiltk fix-actions` first",
            )
        try:
            data = OmegaConf.to_container(OmegaConf.load(path))
        except Exception as error:
            raise UserError(f"the spec cannot be read: {error}", where=str(path)) from error
        if not isinstance(data, dict):
            raise UserError("the spec is not a mapping", where=str(path))
        return Spec.from_dict({str(k): v for k, v in data.items()}, where=str(path))


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


def require_compatible(left: Spec, right: Spec, parts: tuple[str, ...], *, left_name: str, right_name: str) -> None:
    """Refuse to join two artifacts whose specs disagree in ``parts``.

    Raises:
        UserError: naming every differing field, both values and where each came from.
    """
    differences = [d for d in compare(left, right, parts) if not _only_describes(d.path)]
    if differences:
        listing = "\n".join(f"    {d}" for d in differences[:12])
        more = f"\n    and {len(differences) - 12} more" if len(differences) > 12 else ""
        raise UserError(
            f"{left_name} and {right_name} do not fit together:\n{listing}{more}",
            where=f"left value: {left_name}; right value: {right_name}",
            fix="record or repair the data with the same settings, or choose artifacts made for each other",
        )


# What must agree when data, policies and environments meet.
JOINT_PARTS = (
    "fps",
    "state.dims",
    "action.dims",
    "action.scale_m",
    "action.frame",
    "action.gripper",
    "action.gripper_step",
    "images",
    "robot.model_hash",
)


def _only_describes(path: str) -> bool:
    """Fields that may differ between artifacts that fit: they do not change the numbers a network sees."""
    leaf = path.rsplit(".", 1)[-1]
    return leaf in ("native_height", "native_width", "crop") or (path.startswith("state.") and leaf in ("low", "high"))
