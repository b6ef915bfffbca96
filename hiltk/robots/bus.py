"""The servos of an arm, through LeRobot's own driver, with what it needs to be driven safely and for hours.

LeRobot's `SO101Follower` is used as it is installed. What it does wrong is put right from outside, on the object:

- Late answers stay in the input and are taken for those of the next request: every packet empties the input first.
- It polls without sleeping: reads wait for the next byte instead.
- ``connect()`` asks questions with ``input()``, switches torque off and on again at the old goal, leaves the port open
  where it fails, and has no retries: the steps are taken here one by one, with the goal set to where the joints are
  before torque comes on.
- ``disconnect()`` gives up at the first servo that does not answer, and is called when the object is thrown away:
  torque goes off servo by servo, and only when somebody says so.
- Errors name no joint: those that are silent are asked one by one.

Nothing but `hiltk.robots.safety` may call `write_goals` and `torque_on`.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from hiltk.arm.calibration import DEG_PER_TICK
from hiltk.arm.model import JOINTS
from hiltk.errors import UserError
from hiltk.robots.arm_file import ArmFile, JointCalibration
from hiltk.robots.calibration import require_agreement
from hiltk.robots.clock import Clock, WallClock
from hiltk.robots.ports import check_device, slow_down

MODEL_STS3215 = 777
# Bits of a servo's status, in register 65 and in each of its answers.
STATUS = {1: "voltage", 2: "encoder", 4: "heat", 8: "current", 32: "overload"}
OVERLOAD, HEAT = 32, 4

_BLOCK, _BLOCK_BYTES = 56, 15  # Present_Position .. Present_Current, read at once
_WIRE_S = (14 + 6 * (6 + _BLOCK_BYTES)) * 10e-6  # of that request and its six answers, at 1 Mbaud
_TORQUE_ENABLE = (40, 1)
_MA_PER_UNIT = 6.5
_TRIES = 3
_WAIT_S = 0.005  # how long a read waits for a byte before the driver looks at its time-out
_FAST_TIMEOUT_MS = 200.0
_LATE_S = 0.02  # for an answer that is late to come in, before the input is emptied for the next try
_PORT_TAKEN_S = 20.0  # a former command parks the arm before it leaves the port


class BusError(UserError):
    """A request that failed after its retries.

    Attributes:
        joints: those that did not answer, where that is known.
    """

    joints: tuple[str, ...] = ()


class PortGone(BusError):
    """The port itself is gone: unplugged, or its adapter reset."""


@dataclass(frozen=True)
class Reading:
    """All servos at one moment; what a driver does not tell is NaN, status then 0.

    Attributes:
        joints_deg: (6,) degrees, gripper 0..100.
        stamp_s: when, on the arm's clock.
        speed_deg_s: (6,) degrees per second, the gripper's too (of the servo's turn).
        load: (6,) share of full drive, with its sign; not a force.
        voltage_v, temperature_c, current_ma: (6,).
        status: (6,) bits as in `STATUS`.
        moving: (6,) bool.
        fresh: False: this tick's read failed, and these are the joints of an earlier one.
    """

    joints_deg: np.ndarray
    stamp_s: float
    speed_deg_s: np.ndarray
    load: np.ndarray
    voltage_v: np.ndarray
    temperature_c: np.ndarray
    current_ma: np.ndarray
    status: np.ndarray
    moving: np.ndarray
    fresh: bool = True


class Bus(Protocol):
    """What `hiltk.robots.safety` needs of an arm's servos. Joints are LeRobot's (6,)."""

    failures: Counter[str]
    reads: int

    def open(self, *, checks: bool = True) -> None: ...
    @property
    def is_open(self) -> bool: ...
    def read(self) -> Reading: ...
    def goals(self) -> np.ndarray: ...
    def torque(self) -> np.ndarray: ...
    def write_goals(self, joints_deg: ArrayLike) -> None: ...
    def torque_on(self, joint: str) -> None: ...
    def limit(self, torque: ArrayLike, speed: ArrayLike) -> None: ...
    def relax(self) -> list[str]: ...
    def silent(self) -> list[str]: ...
    def close(self) -> None: ...


class ServoBus:
    """Six STS3215 on a serial port.

    Args:
        arm: calibration and name.
        port: asked anew at each opening, since an adapter may come back under another name.
        clock: for time stamps.
    """

    def __init__(self, arm: ArmFile, port: Callable[[], str], clock: Clock | None = None) -> None:
        self.arm, self._port, self.clock = arm, port, clock or WallClock()
        self.failures: Counter[str] = Counter()  # by joint, of answers that did not come or were corrupt
        self.reads = 0
        self._fast = arm.is_simulated_time
        # An answer that comes faster than its bytes can is an old one; in simulated time bytes take none.
        self._fastest_s = 0.0 if self._fast else 0.9 * _WIRE_S
        self._robot: Any = None

    # ------------------------------------------------------------------ opening and closing

    def open(self, *, checks: bool = True) -> None:
        """Open the port, see that the six servos are the file's, and set them up; torque stays as it is found.

        Args:
            checks: False: the port alone, to switch torque off whatever state the servos are in.

        Raises:
            UserError: no such port, none that may be opened, one another command uses; a servo is missing, of another
                model or firmware, or reports an error; the calibration in the servos is not the file's.
        """
        self._connect(_PORT_TAKEN_S)
        if not checks:
            return
        try:
            self._require_servos()
            self._retried(self._bus._handshake)
            require_agreement(self.arm, self.stored_calibration())
            if not self.torque().any():  # else the arm is being held, and must not be dropped for the sake of settings
                self._retried(self._robot.configure)
        except BaseException:
            self.close()
            raise

    def _connect(self, wait_s: float = 0.0) -> None:
        """The port opened and the cures applied; closed again after any failure.

        Args:
            wait_s: for another program to leave the port.
        """
        self.close()
        self._robot = _make_follower(self.arm, self._port())
        try:
            _open_port(self._robot.bus, wait_s)
            if self._fast:  # the driver counts real seconds, in which a busy machine may not get to the emulated arm
                handler = self._robot.bus.port_handler
                handler.setPacketTimeout = lambda length: handler.setPacketTimeoutMillis(_FAST_TIMEOUT_MS)
        except BaseException:
            self.close()
            raise

    def _reconnect(self) -> None:
        """Come back after the port had gone.

        Raises:
            PortGone: it has not come back.
        """
        if self.is_open:
            return
        try:
            self._connect()
        except UserError as error:
            raise PortGone(error.what, where=error.where, fix=error.fix) from error

    def close(self) -> None:
        """Leave the port; torque stays as it is."""
        robot, self._robot = self._robot, None
        if robot is not None and robot.bus.port_handler.ser is not None:
            try:
                robot.bus.port_handler.closePort()
            except Exception:  # of a port that is gone: termios.error, OSError
                robot.bus.port_handler.is_open = False

    @property
    def is_open(self) -> bool:
        return self._robot is not None

    @property
    def _bus(self) -> Any:
        if self._robot is None:
            raise PortGone("the arm's port is not open", where=self.arm.name)
        return self._robot.bus

    def _require_servos(self) -> None:
        found = {joint: self._ping(joint) for joint in JOINTS}
        missing = [joint for joint, (model, _) in found.items() if model is None]
        if missing:
            raise _silent_error(missing, self._port())
        for joint, (model, error) in found.items():
            where = f"{joint} (id {self._id(joint)}) on {self._port()}"
            if error:
                raise UserError(
                    f"the servo reports an error: {status_words(error)}",
                    where=where,
                    fix="switch its supply off and on again; if it comes back, see that the joint moves freely, that "
                    "the supply has the servos' voltage, and that the servo is cool",
                )
            if model != MODEL_STS3215:
                raise UserError(
                    f"the servo is of model {model}, where an STS3215 is {MODEL_STS3215}",
                    where=where,
                    fix="`hiltk arm scan` lists every servo on the port",
                )

    # ------------------------------------------------------------------ reading

    def read(self) -> Reading:
        """One block of registers of every servo, in one request.

        Raises:
            PortGone: the port has vanished and is not back.
            BusError: no complete answer in three tries.
        """
        self._reconnect()
        self.reads += 1
        for _ in range(_TRIES):
            values = self._guarded(self._read_block)
            if values is not None:
                return self._decoded(values)
        raise BusError("the servos do not answer", where=self._port(), fix="see the cables between the servos")

    def _read_block(self) -> dict[str, bytes] | None:
        bus = self._bus
        bus._setup_sync_reader(bus.ids, _BLOCK, _BLOCK_BYTES)
        start = time.perf_counter()
        try:
            result = bus.sync_reader.txRxPacket()
        except (IndexError, TypeError):
            result = None
        seconds = time.perf_counter() - start
        answers = {joint: bytes(bus.sync_reader.data_dict[self._id(joint)]) for joint in JOINTS}
        if bus._is_comm_success(result) and seconds >= self._fastest_s:
            return answers
        short = [joint for joint, answer in answers.items() if len(answer) < _BLOCK_BYTES]
        self.failures[short[0] if short else "stale"] += 1
        return None

    def _decoded(self, answers: dict[str, bytes]) -> Reading:
        from lerobot.motors.encoding_utils import decode_sign_magnitude

        bus = self._bus
        raw = {joint: decode_sign_magnitude(_word(answer, 56), 15) for joint, answer in answers.items()}
        joints = bus._normalize({self._id(joint): value for joint, value in raw.items()})

        def column(value: Callable[[bytes], float]) -> np.ndarray:
            return np.array([value(answers[joint]) for joint in JOINTS])

        return Reading(
            joints_deg=np.array([joints[self._id(joint)] for joint in JOINTS], dtype=np.float64),
            stamp_s=self.clock.now(),
            speed_deg_s=column(lambda answer: decode_sign_magnitude(_word(answer, 58), 15) * DEG_PER_TICK),
            load=column(lambda answer: decode_sign_magnitude(_word(answer, 60), 10) / 1000),
            voltage_v=column(lambda answer: answer[62 - _BLOCK] / 10),
            temperature_c=column(lambda answer: answer[63 - _BLOCK]),
            status=column(lambda answer: answer[65 - _BLOCK]).astype(int),
            moving=column(lambda answer: answer[66 - _BLOCK]).astype(bool),
            current_ma=column(lambda answer: decode_sign_magnitude(_word(answer, 69), 15) * _MA_PER_UNIT),
        )

    def goals(self) -> np.ndarray:
        """What the servos were last told (6,), in LeRobot's units."""
        bus = self._bus
        found = self._retried(lambda: bus.sync_read("Goal_Position"))
        return np.array([found[joint] for joint in JOINTS], dtype=np.float64)

    def torque(self) -> np.ndarray:
        """Whether each servo holds (6,)."""
        bus = self._bus
        found = self._retried(lambda: bus.sync_read("Torque_Enable"))
        return np.array([found[joint] == 1 for joint in JOINTS])

    def ticks(self) -> np.ndarray:
        """Where the joints are (6,), as the servos count: 4096 a turn, less the offset that they hold."""
        bus = self._bus
        found = self._retried(lambda: bus.sync_read("Present_Position", normalize=False))
        return np.array([found[joint] for joint in JOINTS])

    def stored_calibration(self) -> dict[str, JointCalibration]:
        """The calibration in the servos' own registers."""
        found = self._retried(self._bus.read_calibration)
        return {joint: JointCalibration(**asdict(found[joint])) for joint in JOINTS}

    def silent(self) -> list[str]:
        """The joints that do not answer; all of them where the port is gone."""
        if not self.is_open:
            return list(JOINTS)
        try:
            return [joint for joint in JOINTS if self._ping(joint)[0] is None]
        except BusError:
            return list(JOINTS)

    def _ping(self, joint: str) -> tuple[int | None, int]:
        """A servo's model number, None where it does not answer, and the error bits of its answer.

        LeRobot's own takes a servo that reports an error for a missing one.
        """
        bus = self._bus
        for _ in range(_TRIES):
            try:
                model, result, error = self._guarded(lambda: bus.packet_handler.ping(bus.port_handler, self._id(joint)))
            except ConnectionError:
                continue
            if bus._is_comm_success(result):
                return model, error
        return None, 0

    # ------------------------------------------------------------------ writing

    def write_goals(self, joints_deg: ArrayLike) -> None:
        """Send every servo its goal. Servos do not acknowledge it: one that was lost is made good by the next."""
        self._reconnect()
        goal = {f"{joint}.pos": float(value) for joint, value in zip(JOINTS, np.asarray(joints_deg), strict=True)}
        try:
            self._guarded(lambda: self._robot.send_action(goal))
        except ConnectionError as error:
            raise BusError(f"the goal could not be sent: {error}", where=self._port()) from error

    def torque_on(self, joint: str) -> None:
        """Let a joint hold where it is: its goal is set to where it is first, each write acknowledged."""
        bus = self._bus

        def switch() -> None:
            here = bus.read("Present_Position", joint, normalize=False)
            bus.write("Goal_Position", joint, here, normalize=False)
            bus.enable_torque(joint)

        self._retried(switch)

    def limit(self, torque: ArrayLike, speed: ArrayLike) -> None:
        """The servos' own limits: torque (6,) of 1000 at once, speed (6,) in degrees per second, the gripper's percent.

        The speed also holds where no program is left to send goals.
        """
        jaws = self.arm.calibration["gripper"]
        ticks = np.asarray(speed, dtype=np.float64) / DEG_PER_TICK
        ticks[-1] = np.asarray(speed)[-1] * abs(jaws.range_max - jaws.range_min) / 100
        for joint, most, fastest in zip(JOINTS, np.asarray(torque), ticks, strict=True):
            self._write("Torque_Limit", joint, int(most))
            self._write("Goal_Velocity", joint, max(1, int(fastest)))

    def relax(self) -> list[str]:
        """Switch torque off, servo by servo, whatever the others do; the joints that did not confirm it."""
        return [joint for joint in JOINTS if not self._relaxed(joint)]

    def _relaxed(self, joint: str) -> bool:
        for _ in range(_TRIES):
            try:
                self._reconnect()
                if self._bus._is_comm_success(self._guarded(lambda: self._switch_off(joint))):
                    return True
            except Exception:  # whatever it is, the other servos come next
                continue
        return False

    def _switch_off(self, joint: str) -> int:
        """The driver's own refuses where the servo reports an error, which it does just when torque must go."""
        result, _ = self._bus._write(*_TORQUE_ENABLE, self._id(joint), 0, raise_on_error=False)
        return int(result)

    def write_calibration(self, calibration: dict[str, JointCalibration]) -> None:
        """Write a calibration into the servos, for good. Torque goes off first: the arm must be supported."""
        from lerobot.motors import MotorCalibration

        bus = self._bus
        plain = {joint: MotorCalibration(**asdict(calibration[joint])) for joint in JOINTS}
        self._retried(lambda: bus.disable_torque(num_retry=_TRIES))
        self._retried(lambda: bus.write_calibration(plain, cache=True))
        for joint in JOINTS:
            self._write("Lock", joint, 1)

    def _write(self, register: str, joint: str, value: int) -> None:
        self._retried(lambda: self._bus.write(register, joint, value))

    # ------------------------------------------------------------------ failures

    def _id(self, joint: str) -> int:
        return int(self._bus.motors[joint].id)

    def _guarded[T](self, call: Callable[[], T]) -> T:
        """A call of the driver's, with its failures told apart.

        Raises:
            ConnectionError: an answer was lost, or was one to something else; another try may succeed.
            PortGone: anything else; the port is closed and left.
            RuntimeError: a servo answered with an error.
        """
        if self._robot is not None:
            self._robot.bus.port_handler.is_using = False  # the driver's mark outlives a call that failed
        try:
            return call()
        except (UserError, RuntimeError):
            raise
        except (IndexError, TypeError) as error:  # the SDK takes any answer of the servo's for that to its request
            raise ConnectionError(f"an answer without what was asked for ({error})") from error
        except Exception as error:  # termios.error, SerialException, OSError, and LeRobot's ConnectionError
            if type(error) is ConnectionError:
                raise
            self.close()
            raise PortGone(
                f"the port is gone ({error!r})",
                where=self._port(),
                fix="plug the arm's USB cable in again; the servos hold their last goal as long as they have power",
            ) from error

    def _retried[T](self, call: Callable[[], T]) -> T:
        """A call of the driver, which has no retries of its own.

        Raises:
            BusError: it failed three times; the joints that do not answer are named.
            UserError: a servo answered with an error, or the driver refuses it.
        """
        for last in (False, False, True):
            try:
                return self._guarded(call)
            except ConnectionError as error:
                time.sleep(_LATE_S)
                if last:
                    silent = self.silent()
                    if silent:
                        raise _silent_error(silent, self._port()) from error
                    raise BusError(f"a servo's answer was lost three times: {error}", where=self._port()) from error
            except RuntimeError as error:
                raise UserError(f"the driver refuses the servos: {str(error).strip()}", where=self._port()) from error
        raise AssertionError


# ---------------------------------------------------------------- LeRobot's driver


def _make_follower(arm: ArmFile, port: str) -> Any:
    """LeRobot's SO-101 as installed, calibrated by the arm's file and not by one in LeRobot's cache."""
    from lerobot.motors import MotorCalibration
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

    with tempfile.TemporaryDirectory() as nothing:
        robot = SO101Follower(SO101FollowerConfig(port=port, id=arm.name, calibration_dir=Path(nothing)))
    calibration = {joint: MotorCalibration(**asdict(arm.calibration[joint])) for joint in JOINTS}
    robot.calibration = robot.bus.calibration = calibration
    bus = robot.bus
    wrong = [joint for joint in JOINTS if calibration[joint].id != bus.motors[joint].id]
    if wrong:
        raise UserError(
            f"the file gives {wrong[0]} the id {calibration[wrong[0]].id}, LeRobot's driver {bus.motors[wrong[0]].id}",
            where=f"calibration of arm '{arm.name}'",
            fix="`lerobot-setup-motors` gives the servos the ids 1 to 6 from the base on",
        )
    bus.torque_disabled = lambda motors=None: _unlocked(bus)
    robot.disconnect = lambda: None  # its __del__ would drop the arm, whenever the object is thrown away
    return robot


@contextmanager
def _unlocked(bus: Any) -> Iterator[None]:
    """LeRobot's ``torque_disabled`` without its end, which would switch torque on at whatever goal is left over."""
    bus.disable_torque()
    yield
    for joint in bus.motors:
        bus.write("Lock", joint, 1)


def _open_port(bus: Any, wait_s: float) -> None:
    port, handler = bus.port, bus.port_handler
    slow_down(handler)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            bus.connect(handshake=False)
            handler.ser.exclusive = True
            break
        except Exception as error:
            cause = error.__cause__ or error
            if handler.ser is not None and handler.ser.is_open:
                handler.closePort()
                if getattr(cause, "errno", None) is not None and time.monotonic() < deadline:  # locked by another
                    time.sleep(0.2)
                    continue
                raise UserError(
                    "another program drives the arm on this port", where=port, fix="end it, or wait until it has parked"
                ) from error
            check_device(port)  # which mostly says why
            raise UserError(
                f"this is no serial port that can be opened: {cause}", where=port, fix="`hiltk doctor` lists ports"
            ) from error
    handler.ser.timeout = _WAIT_S
    handler.clearPort = handler.ser.reset_input_buffer


def _silent_error(joints: list[str], port: str) -> BusError:
    """``joints`` in their order from the base on, in which the servos are chained."""
    if len(joints) == len(JOINTS):
        what, fix = "no servo answers", "see the servos' supply, and the cable from the board to the first servo"
    else:
        cable = JOINTS.index(joints[0])
        before = JOINTS[cable - 1] if cable else "the board"
        what = f"{', '.join(joints)} {'does' if len(joints) == 1 else 'do'} not answer"
        fix = f"see the cable between {before} and {joints[0]}; `hiltk arm scan` says which ids there are"
    error = BusError(what, where=port, fix=fix)
    error.joints = tuple(joints)
    return error


def status_words(bits: int) -> str:
    """``overload, heat``: what a servo's status says."""
    return ", ".join(word for bit, word in STATUS.items() if bits & bit) or f"bits {bits}"


def _word(answer: bytes, register: int) -> int:
    return int.from_bytes(answer[register - _BLOCK : register - _BLOCK + 2], "little")
