"""Where the gripper is (forward kinematics) and which joints put it there (inverse kinematics)."""

from __future__ import annotations

import dataclasses

import mink
import mujoco
import numpy as np
from numpy.typing import ArrayLike

from hiltk.arm.chain import Chain
from hiltk.arm.model import EE_SITE, arm_chain
from hiltk.arm.units import ARM_JOINTS, to_degrees, to_radians
from hiltk.errors import UserError

# Weights of the inverse kinematics, measured over random walks through the workspace (tests/arm/test_kinematics.py).
# The gripper can point straight down only up to about 6 cm above the table; above, the wrist is at its limit and
# pointing works against position. So pointing weighs a thousandth (metres against radians), which leaves errors
# of micrometres instead of centimetres. The damping is a fixed share of its square: less lets the solver
# oscillate where the arm is stretched, more slows the approach to straight down.
_POINTING_WEIGHT = 1e-3
_DAMPING = 0.2 * _POINTING_WEIGHT**2
_MAX_ITERATIONS = 8
_MAX_STEP_RAD = 0.5
_CONVERGED_RAD = 1e-3

_GRIPPER = "gripper"  # the body the wrist rolls, in the solver's own model


class Kinematics:
    """Forward and inverse kinematics of one arm model, apart from any simulation.

    Joints are LeRobot's: degrees, gripper 0..100 last. Positions are metres in the base's frame (x forward, y left,
    z up), of the site ``gripperframe``.

    Args:
        path: see `hiltk.arm.model.load_arm`, also for the errors raised.
        limits_deg: lowest and highest angle of each joint (5 or more, 2), where the arm has narrower ones than its
            model: solutions keep to both.
    """

    def __init__(self, path: str = "", limits_deg: ArrayLike | None = None) -> None:
        self._chain = arm_chain(path)
        if limits_deg is not None:
            low, high = np.deg2rad(np.asarray(limits_deg, dtype=np.float64)[:ARM_JOINTS].T)
            kept = np.stack(
                [np.maximum(low, self._chain.limits[:, 0]), np.minimum(high, self._chain.limits[:, 1])], axis=1
            )
            self._chain = dataclasses.replace(self._chain, limits=kept)
        self._limits = self._chain.limits
        model = _solver_model(self._chain)
        self._configuration = mink.Configuration(model)
        self._position = mink.FrameTask(EE_SITE, "site", position_cost=1.0, orientation_cost=0.0)
        self._tasks = [self._position, _PointDown(model.body(_GRIPPER).id)]
        self._joint_limits = [mink.ConfigurationLimit(model, gain=1.0)]
        self._fixed_roll = [mink.DofFreezingTask(model, [ARM_JOINTS - 1])]

    @property
    def limits_deg(self) -> np.ndarray:
        """Lowest and highest value of each joint (6, 2), degrees; the gripper's are 0 and 100."""
        return np.vstack([np.rad2deg(self._limits), [0.0, 100.0]])

    def forward(self, joints_deg: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Pose of the gripper frame.

        Args:
            joints_deg: (..., 5) or (..., 6); the gripper does not matter.

        Returns:
            Position (..., 3) in metres and rotation (..., 3, 3), in the base's frame.
        """
        poses = self._chain.poses(np.deg2rad(np.asarray(joints_deg, dtype=np.float64)[..., :ARM_JOINTS]))
        return poses[..., :3, 3], poses[..., :3, :3]

    def inverse(self, joints_deg: ArrayLike, target_pos_m: ArrayLike, roll_deg: float) -> np.ndarray:
        """Joints that bring the gripper frame to a position, pointing down as far as the limits allow.

        Differential inverse kinematics by mink, iterated: every step is a quadratic program with the joint limits
        as constraints, so a joint at its limit leaves the work to the others instead of stalling them.

        Args:
            joints_deg: (6,) where to start; the present command gives the nearest solution.
            target_pos_m: (3,) in the base's frame. Out of reach: the joints come as near as they can.
            roll_deg: angle of ``wrist_roll``, kept exactly (within its limits).

        Returns:
            Joints (6,), within their limits; the gripper as given.

        Raises:
            UserError: a joint or the target is not finite.
        """
        if not np.isfinite([*np.ravel(joints_deg), *np.ravel(target_pos_m), roll_deg]).all():
            raise UserError(
                "inverse kinematics got a number that is not finite", where=f"{joints_deg!r}, {target_pos_m!r}"
            )
        start = to_radians(joints_deg)
        angles = np.append(start[: ARM_JOINTS - 1], np.deg2rad(roll_deg))
        self._configuration.update(np.clip(angles, *self._limits.T))
        self._position.set_target(mink.SE3.from_translation(np.asarray(target_pos_m, dtype=np.float64)))
        for _ in range(_MAX_ITERATIONS):
            if self._advance() < _CONVERGED_RAD:
                break
        solved = np.clip(self._configuration.q, *self._limits.T)
        joints = to_degrees(np.append(solved, start[ARM_JOINTS]))
        joints[ARM_JOINTS] = np.asarray(joints_deg)[ARM_JOINTS]
        return joints

    def settled(self, joints_deg: ArrayLike, target_pos_m: ArrayLike, roll_deg: float, tries: int) -> np.ndarray:
        """As `inverse`, run ``tries`` times, each from where the last one ended: for a target that is far."""
        joints = np.array(joints_deg, dtype=np.float64)
        for _ in range(tries):
            joints = self.inverse(joints, target_pos_m, roll_deg)
        return joints

    def _advance(self) -> float:
        """One solver step; returns the largest joint change it asked for, rad."""
        step = mink.solve_ik(
            self._configuration,
            self._tasks,
            dt=1.0,
            solver="daqp",
            damping=_DAMPING,
            limits=self._joint_limits,
            constraints=self._fixed_roll,
        )
        largest = float(np.abs(step).max())
        self._configuration.integrate_inplace(step * min(1.0, _MAX_STEP_RAD / max(largest, 1e-9)), dt=1.0)
        return largest


class _PointDown(mink.Task):
    """Turns a body's z axis to the base's, so that the gripper (which works along -z) points at the table.

    The error is the base's z axis seen in the body, first two components (2,): zero when they agree, whatever
    the turn about the axis itself.
    """

    def __init__(self, body: int) -> None:
        super().__init__(cost=np.full(2, _POINTING_WEIGHT))
        self._body = body

    def compute_error(self, configuration: mink.Configuration) -> np.ndarray:
        return configuration.data.xmat[self._body].reshape(3, 3)[2, :2]

    def compute_jacobian(self, configuration: mink.Configuration) -> np.ndarray:
        up_x, up_y, up_z = configuration.data.xmat[self._body].reshape(3, 3)[2]
        turn_x, turn_y, turn_z = configuration.get_frame_jacobian(_GRIPPER, "body")[3:]
        # A fixed direction seen from a body turning with w changes by direction x w.
        return np.array([up_y * turn_z - up_z * turn_y, up_z * turn_x - up_x * turn_z])


def _solver_model(chain: Chain) -> mujoco.MjModel:
    """The bare chain as a MuJoCo model with the base as its world: nothing of the user's scene slows the solver."""
    spec = mujoco.MjSpec()
    body = spec.worldbody
    for i, link in enumerate(chain.links):
        name = _GRIPPER if i == ARM_JOINTS - 1 else f"link_{i}"
        body = body.add_body(name=name, pos=link[:3, 3], quat=_quaternion(link), mass=1.0, inertia=[1.0, 1.0, 1.0])
        body.explicitinertial = True
        body.add_joint(axis=chain.axes[i], pos=chain.anchors[i], ref=chain.zero[i], range=chain.limits[i], limited=True)
    body.add_site(name=EE_SITE, pos=chain.tool[:3, 3], quat=_quaternion(chain.tool))
    spec.compiler.degree = False
    return spec.compile()


def _quaternion(transform: np.ndarray) -> np.ndarray:
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(transform[:3, :3]).ravel())
    return quaternion


def euler_from_matrix(rotation: ArrayLike) -> np.ndarray:
    """Roll, pitch, yaw (..., 3) in rad of rotations (..., 3, 3), about fixed x, y, z.

    The formula of the data this project continues: roll = atan2(R21, R22), pitch = atan2(-R20, hypot(R00, R10)),
    yaw = atan2(R10, R00); at pitch = +-90 degrees, where roll and yaw are one turn, yaw is 0.
    """
    r = np.asarray(rotation, dtype=np.float64)
    flat = np.hypot(r[..., 0, 0], r[..., 1, 0])
    singular = flat < 1e-6
    roll = np.where(singular, np.arctan2(-r[..., 1, 2], r[..., 1, 1]), np.arctan2(r[..., 2, 1], r[..., 2, 2]))
    yaw = np.where(singular, 0.0, np.arctan2(r[..., 1, 0], r[..., 0, 0]))
    return np.stack([roll, np.arctan2(-r[..., 2, 0], flat), yaw], axis=-1)
