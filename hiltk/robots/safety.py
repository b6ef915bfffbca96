"""What holds whatever asks the arm to move: the one writer of goals, between everything and the bus.

A software stop is no emergency stop: the switch of the servos' supply is.

1. Numbers are finite, commands stay within the calibrated joints less a margin and within the workspace box.
2. No joint is commanded faster than its limit, counted from the last command; the servos have a limit of their own.
3. A joint that stays behind its command has met an obstacle: the arm freezes where it is, and the episode ends.
4. No goal without joints read in this tick; after two failed reads the last goal is repeated, the third stops the arm.
5. Silence of whoever commands: `hiltk.robots.keeper` watches for it.
6. `Safety.stop` freezes at once; torque stays.
7. The way out: a ramp to the park pose from the last command, verified; only then torque goes off, servo by servo.
8. Torque comes on with each goal where its joint is, weakly, and in full after the first ramp.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from hiltk import limits
from hiltk.arm.chain import Chain
from hiltk.arm.model import JOINTS, arm_chain
from hiltk.arm.units import ARM_JOINTS
from hiltk.errors import UserError
from hiltk.findings import Finding, Severity
from hiltk.robots.arm_file import ArmFile
from hiltk.robots.bus import HEAT, OVERLOAD, Bus, BusError, PortGone, Reading, status_words
from hiltk.robots.clock import Clock

REACHED_DEG = 5.0  # a joint this near to where it was sent has arrived
FULL_TORQUE, START_TORQUE = 1000, 500  # of the servos' Torque_Limit
SERVO_SPEED = 1.25  # the servos' own limit of speed, of the commanded one
BOX_SLACK_M = 0.002  # what rounding to a servo's ticks and inverse kinematics leave

_MOVE_HZ = 20.0
_MOVE_SPEED = 0.5  # mean speed of a ramp, of the fastest; its middle is pi / 2 times as fast
_SETTLE_S, _SETTLED_DEG = 1.0, 1.0
_FRESH = 1.5  # periods for which a reading counts as this tick's
_STILL_DEG, _STALL_DEG = 0.5, 5.0  # a stalled joint moved less than the one and is behind by more than the other
_MISSED_READS = 3


class ArmStopped(UserError):
    """The arm does not take this command, or any more commands.

    Attributes:
        code: why: obstacle, unreached, bus, port, power, heat, overload, silence, stopped, keeper.
        goes_on: whether `move_to` may begin another episode.
    """

    def __init__(self, what: str, *, code: str, goes_on: bool = True, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.code, self.goes_on = code, goes_on


class Safety:
    """One arm under guard. All joints are LeRobot's (6,): degrees, gripper 0..100 last.

    Args:
        arm: limits, park pose, speeds.
        bus: opened.
        clock: the arm's.
        fps: rate of the commands.
        log: is given each reading, with the goal it follows (NaN where torque is off).
    """

    def __init__(
        self,
        arm: ArmFile,
        bus: Bus,
        clock: Clock,
        fps: float,
        log: Callable[[Reading, np.ndarray], None] = lambda reading, goal: None,
    ) -> None:
        require_workspace(arm)
        self.arm, self.bus, self.clock, self.period_s = arm, bus, clock, 1 / fps
        self._log = log
        self._chain: Chain = arm_chain(arm.model_path)
        self._low, self._high = arm.joint_limits().T
        self._box = np.array([arm.workspace_low_m, arm.workspace_high_m])
        self._speeds = arm.speeds()
        self._allowed = self._speeds * self.period_s  # how far each joint may be moved by the next goal
        self._written_s = self.commanded_s = clock.now()
        self.goal: np.ndarray | None = None  # last command; None: torque is off, or was never all on
        self.powered = False  # whether torque was switched on here, in any joint
        self.reading: Reading | None = None
        self.stopped: ArmStopped | None = None
        self.leaving = False  # on the way to the park pose, heat and the like end nothing any more
        self._weak = False
        self._missed = 0
        self._behind: np.ndarray = np.full(6, math.nan)  # since when each joint is behind its command
        self._strained: np.ndarray = np.full(6, math.nan)
        self._stalled: list[tuple[float, float] | None] = [None] * 6  # since when, and where it was then
        self._start_v: np.ndarray | None = None
        self._said: set[tuple[str, str]] = set()
        self._findings: list[Finding] = []

    # ------------------------------------------------------------------ starting

    def begin(self) -> Reading:
        """See that the arm may be driven; torque stays as it is.

        Raises:
            UserError: a servo is too hot, has too little voltage, or reports an error.
        """
        reading = self.reading = self.bus.read()
        self._start_v = reading.voltage_v
        hot = _worst(reading.temperature_c)
        if reading.temperature_c[hot] >= limits.START_C:
            raise UserError(
                f"{JOINTS[hot]} has {reading.temperature_c[hot]:.0f} C; a session begins below {limits.START_C:.0f} C",
                where=f"arm '{self.arm.name}'",
                fix="let the arm rest in its park pose, without torque",
            )
        low = _worst(-reading.voltage_v)
        if reading.voltage_v[low] < limits.LOW_V:
            raise UserError(
                f"{JOINTS[low]} has {reading.voltage_v[low]:.1f} V: the servos' supply is off, or too weak",
                where=f"arm '{self.arm.name}'",
                fix="switch the supply on; it must fit the voltage printed on the servos (5 V: 4 A, 12 V: 2 A)",
            )
        if reading.voltage_v.max() - reading.voltage_v.min() > limits.UNEVEN_V:
            self._say(
                "servo_voltage",
                JOINTS[low],
                f"{reading.voltage_v[low]:.1f} V, up to {reading.voltage_v.max():.1f} V elsewhere in the chain",
                "see its cable and plugs",
            )
        self._look_at_status(reading)
        return reading

    def power(self) -> None:
        """Torque on where it is off, each goal where its joint is, weakly until the first ramp has ended.

        Raises:
            ArmStopped: a servo did not confirm it.
        """
        try:
            self._power()
        except BusError as error:
            self._stop(error.what, code="port" if isinstance(error, PortGone) else "bus", fix=error.fix)

    def _power(self) -> None:
        on = self.bus.torque()
        if self.goal is not None and on.all():
            return
        self.goal, self.powered = None, True
        self._weak = not on.any()  # an arm that is being held must not sag for lack of torque
        self._limit(START_TORQUE if self._weak else FULL_TORQUE)
        for joint in [joint for joint, holds in zip(JOINTS, on, strict=True) if not holds]:
            self.bus.torque_on(joint)
        # What the servos were told, not where they have sagged to: from there the arm would dip.
        self.goal = self.bus.goals()
        self._forget()

    def _strengthen(self) -> None:
        if self._weak:
            self._limit(FULL_TORQUE)
            self._weak = False

    def _limit(self, torque: int) -> None:
        most = [min(torque, self.arm.safety.gripper_torque) if joint == "gripper" else torque for joint in JOINTS]
        self.bus.limit(most, SERVO_SPEED * self._speeds)

    # ------------------------------------------------------------------ each tick

    def observe(self) -> Reading:
        """Where the joints are now; where reading fails, where they were, marked as not fresh.

        Raises:
            ArmStopped: the third failed read in a row, an obstacle, heat or another error of a servo.
        """
        try:
            reading = self.bus.read()
        except BusError as error:
            return self._miss(error)
        self._missed, self.reading = 0, reading
        self._log(reading, np.full(6, math.nan) if self.goal is None else self.goal)
        self._look_at_bus()
        self._look_at_status(reading)
        self._look_at_heat(reading)
        self._look_at_supply(reading)
        if self.goal is not None:
            self._look_for_obstacles(reading)
        return reading

    def command(self, joints_deg: ArrayLike) -> np.ndarray:
        """Send a goal, as far as it is allowed.

        Returns:
            What was sent (6,): the last goal again where the joints of this tick are not known.

        Raises:
            UserError: not six finite numbers.
            ArmStopped: the arm was stopped, or has no torque.
        """
        wanted = _checked(joints_deg)
        if self.stopped is not None:
            raise self.stopped
        if self.goal is None:
            raise ArmStopped("the arm has no torque yet", code="power", fix="move_to switches it on")
        now = self.commanded_s = self.clock.now()
        if not self._is_fresh(now):
            return self._write(self.goal)
        goal = self._slowed(np.clip(wanted, self._low, self._high), now)
        return self._write(self._kept_in_box(goal))

    def _is_fresh(self, now: float) -> bool:
        """Whether the joints have been read in this tick."""
        age = now - self.reading.stamp_s if self.reading is not None else math.inf
        return self._missed == 0 and age <= _FRESH * self.period_s

    def _write(self, goal: np.ndarray) -> np.ndarray:
        """The only line that moves the arm."""
        try:
            self.bus.write_goals(goal)
        except BusError as error:
            self._miss(error)
            return self.goal if self.goal is not None else goal
        if self.goal is not None:
            self._allowed = np.maximum(self._allowed - np.abs(goal - self.goal), 0.0)
        self.goal = goal
        return goal

    def _slowed(self, goal: np.ndarray, now: float) -> np.ndarray:
        """As near to ``goal`` as joint speeds allow since the last command.

        What a joint may move grows with time, up to one period's worth: late commands make up for nothing, and two at
        once are not twice as fast.
        """
        assert self.goal is not None
        self._allowed += self._speeds * max(0.0, now - self._written_s)
        self._allowed, self._written_s = np.minimum(self._allowed, self._speeds * self.period_s), now
        return self.goal + np.clip(goal - self.goal, -self._allowed, self._allowed)

    def _kept_in_box(self, goal: np.ndarray) -> np.ndarray:
        """As far on the straight way to ``goal`` as the end effector stays in the workspace, or comes nearer to it."""
        assert self.goal is not None
        start, way = self.goal, goal - self.goal
        most = max(BOX_SLACK_M, self.outside_m(start))
        if self.outside_m(goal) <= most:
            return goal
        inside, outside = 0.0, 1.0
        for _ in range(8):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self.outside_m(start + middle * way) <= most else (inside, middle)
        return np.append(start[:-1] + inside * way[:-1], goal[-1])  # the jaws do not move the end effector

    def position_m(self, joints_deg: np.ndarray) -> np.ndarray:
        """Of the end effector (3,), in the base's frame."""
        return self._chain.poses(np.deg2rad(joints_deg[:ARM_JOINTS]))[:3, 3]

    def outside_m(self, joints_deg: np.ndarray) -> float:
        """How far the end effector is outside the workspace, metres along the worst axis; 0 inside."""
        at = self.position_m(joints_deg)
        return float(np.maximum(self._box[0] - at, at - self._box[1]).max(initial=0.0))

    # ------------------------------------------------------------------ moves of many ticks

    def move_to(self, joints_deg: ArrayLike, poll: Callable[[], None] = lambda: None) -> Reading:
        """Go to a pose from the last command on, straight in the joints, and see that it was reached.

        The workspace does not bound it: park poses lie outside. Joints and speeds do.

        Args:
            joints_deg: (6,).
            poll: is called each tick; what it raises ends the move where it is.

        Raises:
            ArmStopped: an obstacle, or a joint that is not within 5 degrees in the end.
        """
        target = np.clip(_checked(joints_deg), self._low, self._high)
        self.stopped = None
        self.power()
        assert self.goal is not None
        start, begun = self.goal.copy(), self.clock.now()
        seconds = max(0.2, float((np.abs(target - start) / (_MOVE_SPEED * self._speeds)).max()))
        while not np.array_equal(self.goal, target):
            poll()
            self.observe()
            now = self.clock.now()
            share = min(1.0, (now - begun) / seconds)
            goal = start + (1 - math.cos(math.pi * share)) / 2 * (target - start) if share < 1 else target
            self._write(self._slowed(goal, now))
            self.clock.sleep_until(now + 1 / _MOVE_HZ)
        reading = self._settled(target, poll)
        self._require_reached(target, reading)
        self._strengthen()
        return reading

    def _settled(self, target: np.ndarray, poll: Callable[[], None]) -> Reading:
        """The reading once the joints stand at the target, or a second later."""
        until = self.clock.now() + _SETTLE_S
        while True:
            poll()
            reading = self.observe()
            near = np.abs(reading.joints_deg - target)[:ARM_JOINTS].max() < _SETTLED_DEG
            now = self.clock.now()
            if reading.fresh and (near or now >= until):
                return reading
            self._write(target)  # again, since a goal that was lost on the wire goes unnoticed
            self.clock.sleep_until(now + 1 / _MOVE_HZ)

    def _require_reached(self, target: np.ndarray, reading: Reading) -> None:
        error = np.abs(reading.joints_deg - target)[:ARM_JOINTS]
        worst = int(error.argmax())
        if error[worst] > REACHED_DEG:
            self._stop(
                f"{JOINTS[worst]} was sent to {target[worst]:.1f} degrees and is at {reading.joints_deg[worst]:.1f}",
                code="unreached",
                fix="is it held, blocked or overloaded? `hiltk arm check` shows its load and temperature",
            )

    def park(self, poll: Callable[[], None] = lambda: None) -> Reading:
        """Go to the pose in which the arm rests without torque; see `move_to`."""
        return self.move_to(self.arm.park_deg, poll)

    # ------------------------------------------------------------------ stopping

    def stop(self) -> None:
        """Freeze at once where the joints are; torque stays on."""
        self._freeze()
        self.stopped = ArmStopped(
            "the arm was stopped and holds", code="stopped", fix=f"`hiltk arm home {self.arm.name}` goes on"
        )

    def release(self) -> list[str]:
        """Torque off, servo by servo; the joints that did not confirm it."""
        self.goal, self.powered = None, False
        return self.bus.relax()

    def _freeze(self) -> None:
        if self.goal is None:
            return
        try:
            self.reading = self.bus.read()
            self._write(np.clip(self.reading.joints_deg, self._low, self._high))
        except BusError:
            pass  # the servos hold their last goal
        self._forget()

    def _forget(self) -> None:
        """A new goal: nothing is late for it yet."""
        self._behind[:] = self._strained[:] = math.nan
        self._stalled = [None] * 6

    def _stop(self, what: str, *, code: str, goes_on: bool = True, fix: str = "") -> None:
        self.stopped = ArmStopped(what, code=code, goes_on=goes_on, where=f"arm '{self.arm.name}'", fix=fix)
        raise self.stopped

    # ------------------------------------------------------------------ what is looked at

    def _miss(self, error: BusError) -> Reading:
        """One more request that failed: the last reading, marked, or a stop."""
        self._missed += 1
        if self._missed < _MISSED_READS and self.reading is not None:
            return replace(self.reading, fresh=False)
        if isinstance(error, PortGone):
            self._stop(error.what, code="port", fix=error.fix)
        silent = self.bus.silent()
        what = f"{', '.join(silent)} silent: {error.what}" if silent else error.what
        self._stop(f"{_MISSED_READS} reads in a row failed; {what}", code="bus", fix=error.fix)
        raise AssertionError

    def _look_at_bus(self) -> None:
        lost = self.bus.failures.total()
        if lost > limits.BUS_ERRORS * self.bus.reads and self.bus.reads >= 1 / limits.BUS_ERRORS:
            joint, times = self.bus.failures.most_common(1)[0]
            self._say(
                "bus_errors",
                "",
                f"{lost} answers lost or corrupt in {self.bus.reads} reads, {times} of {joint}",
                "see the cables up to this servo; keep them away from the camera's; another USB port, no hub",
                lost=lost,
                reads=self.bus.reads,
            )

    def _look_at_status(self, reading: Reading) -> None:
        for k in np.flatnonzero(reading.status):
            bits, joint = int(reading.status[k]), JOINTS[k]
            if bits & ~(OVERLOAD | HEAT) == bits:  # voltage, encoder, current: it goes on, and says so
                self._say(
                    "servo_status",
                    joint,
                    f"the servo reports: {status_words(bits)}",
                    "see supply and cables; the servo needs its supply off and on again",
                )
            elif not self.leaving:
                self._freeze()
                self._stop(
                    f"{joint} reports: {status_words(bits)}",
                    code="overload" if bits & OVERLOAD else "heat",
                    goes_on=False,
                    fix="support the arm, switch the servos' supply off, let it cool, and switch it on again",
                )

    def _look_at_heat(self, reading: Reading) -> None:
        safety, hot = self.arm.safety, _worst(reading.temperature_c)
        celsius = float(reading.temperature_c[hot])
        if celsius >= safety.temperature_stop_c and not self.leaving:
            self._stop(
                f"{JOINTS[hot]} has {celsius:.0f} C (safety.temperature_stop_c: {safety.temperature_stop_c:.0f})",
                code="heat",
                goes_on=False,
                fix="let the arm rest; shorter episodes, or breaks between them",
            )
        if celsius >= safety.temperature_warn_c:
            self._say(
                "servo_temperature",
                JOINTS[hot],
                f"{celsius:.0f} C; the arm stops at {safety.temperature_stop_c:.0f}",
                "a break between episodes; jaws that press less (safety.gripper_torque)",
                celsius=celsius,
            )

    def _look_at_supply(self, reading: Reading) -> None:
        if self._start_v is not None:
            drop = 1 - reading.voltage_v / self._start_v
            low = _worst(drop)
            if drop[low] > self.arm.safety.voltage_drop:
                self._say(
                    "servo_voltage",
                    JOINTS[low],
                    f"{reading.voltage_v[low]:.1f} V, {self._start_v[low]:.1f} V at the start: the supply breaks down",
                    "a stronger supply (5 V: 4 A, 12 V: 2 A), shorter cables",
                    volts=float(reading.voltage_v[low]),
                )
        now = reading.stamp_s
        strained = np.abs(reading.load) >= limits.DRIVEN
        self._strained = _since(strained, self._strained, now)
        for k in np.flatnonzero(now - self._strained >= limits.STRAINED_S):
            self._say(
                "servo_load",
                JOINTS[k],
                f"full drive for {limits.STRAINED_S:g} s: it holds more than it can",
                "what does it press against? A lighter camera mount, jaws that press less",
                load=float(reading.load[k]),
            )

    def _look_for_obstacles(self, reading: Reading) -> None:
        """Arm joints alone: jaws that hold something are meant to stay behind their command."""
        assert self.goal is not None
        now, safety = reading.stamp_s, self.arm.safety
        behind = np.abs(reading.joints_deg - self.goal)
        self._behind = _since(behind > safety.lag_deg, self._behind, now)
        for k in range(ARM_JOINTS):
            at, ma = float(reading.joints_deg[k]), abs(float(reading.current_ma[k]))
            since = self._stalled[k]
            if not (ma >= limits.STALL_MA and behind[k] > _STALL_DEG):
                self._stalled[k] = None
            elif since is None or abs(at - since[1]) > _STILL_DEG:
                self._stalled[k] = (now, at)
            stalled = self._stalled[k]
            pushes = stalled is not None and now - stalled[0] >= safety.lag_s
            if pushes:
                self._say(
                    "servo_current",
                    JOINTS[k],
                    f"{ma:.0f} mA without motion: it pushes against something",
                    "see what is in the way",
                    milliamperes=ma,
                )
            if pushes or now - self._behind[k] >= safety.lag_s:
                self._require_torque()
                gap = f"{JOINTS[k]} is {behind[k]:.0f} degrees behind its command"
                self._freeze()
                self._stop(
                    f"an obstacle: {gap} for {safety.lag_s:g} s; the arm holds where it is",
                    code="obstacle",
                    fix="free the arm; a joint that cannot follow at all may be overloaded: `hiltk arm check`",
                )

    def _require_torque(self) -> None:
        """A servo whose supply broke down holds nothing when it is back."""
        try:
            limp = [joint for joint, holds in zip(JOINTS, self.bus.torque(), strict=True) if not holds]
        except UserError:
            return
        if limp:
            self._stop(
                f"{', '.join(limp)} lost torque: the supply broke down, or something else switched it off",
                code="power",
                fix="see the supply and its plugs (5 V: 4 A, 12 V: 2 A); move_to lets the joints hold again",
            )

    def _say(self, code: str, joint: str, what: str, fix: str, **evidence: float) -> None:
        """Each thing once in a run, of each joint."""
        if (code, joint) in self._said:
            return
        self._said.add((code, joint))
        self._findings.append(
            Finding(
                code=code,
                what=f"{joint}: {what}" if joint else what,
                where=f"arm '{self.arm.name}'",
                fix=fix,
                severity=Severity.warning,
                evidence=evidence,
            )
        )

    def findings(self) -> list[Finding]:
        """What there is to say since the last time it was asked for."""
        found, self._findings = self._findings, []
        return found


def require_workspace(arm: ArmFile) -> None:
    """Refuse an arm without the limits that have no default.

    Raises:
        UserError: box, park pose or calibration are missing or senseless.
    """
    low, high = np.array(arm.workspace_low_m, dtype=float), np.array(arm.workspace_high_m, dtype=float)
    where = f"arm '{arm.name}'"
    if low.shape != (3,) or high.shape != (3,) or not np.isfinite([low, high]).all() or (low >= high).any():
        raise UserError(
            "the workspace is no box: workspace_low_m below workspace_high_m, three metres each",
            where=where,
            fix="there is no default: measure where the gripper may go, in the base's frame",
        )
    if np.shape(arm.park_deg) != (6,) or not np.isfinite(np.array(arm.park_deg, dtype=float)).all():
        raise UserError(
            "the arm has no park pose (park_deg: six joints in which it rests without torque)",
            where=where,
            fix=f"lay the arm down and read it: `hiltk arm scan {arm.name}`",
        )
    missing = [joint for joint in JOINTS if joint not in arm.calibration]
    if missing:
        raise UserError(
            f"there is no calibration of {', '.join(missing)}", where=where, fix=f"`hiltk arm calibrate {arm.name}`"
        )


def _checked(joints_deg: ArrayLike) -> np.ndarray:
    joints = np.asarray(joints_deg, dtype=np.float64)
    if joints.shape != (len(JOINTS),) or not np.isfinite(joints).all():
        raise UserError(
            f"a command is six finite numbers, this one is {np.array2string(joints, precision=1, threshold=8)}",
            where="the arm's goal",
            fix="see what made it: a policy that diverged, or inverse kinematics",
        )
    return joints


def _worst(values: np.ndarray) -> int:
    """The joint with the largest value; those whose drivers do not tell have none."""
    return int(np.argmax(np.where(np.isnan(values), -math.inf, values)))


def _since(now_so: np.ndarray, since: np.ndarray, now: float) -> np.ndarray:
    """Since when each has been so without a break; NaN where it is not."""
    return np.where(now_so, np.where(np.isnan(since), now, since), math.nan)
