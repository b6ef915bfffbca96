"""The emulated arm: servos, the world they move, the time it lives in, and what is wrong with it."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from hiltk.arm.model import JOINTS
from hiltk.errors import UserError, nearest
from hiltk.robots.arm_file import JointCalibration
from hiltk.robots.emulated.faults import FAULTS, Faults, fault_values, places
from hiltk.robots.emulated.servos import (
    FIRMWARE_MINOR,
    HEAT_ERROR,
    HOMING_OFFSET,
    ID,
    MAX_LIMIT,
    MIN_LIMIT,
    MODEL,
    OVERLOAD_ERROR,
    PING,
    READ,
    SYNC_READ,
    TICKS,
    VOLTAGE_ERROR,
    Chain,
    Measured,
    Packet,
    unsigned,
)
from hiltk.robots.emulated.wire import Settings, WorldState
from hiltk.robots.emulated.world import World

TICKS_PER_RAD = TICKS / (2 * np.pi)
MIDDLE = (TICKS - 1) / 2  # what a calibrated servo says in the middle of its joint's range
# How each servo's horn happened to be screwed on: ticks of its encoder beyond `MIDDLE` in the middle of the range.
MOUNTED = (114, -203, 67, -31, 254, -142)
ROLL = 4  # LeRobot calibrates the wrist roll as a full turn, whose middle is the pose of the homing
VOLTS, CELSIUS = 12.0, 31.0
STALL_CURRENT = 415  # in 6.5 mA: 2.7 A
SETTLE_S = 2.0  # a new arm has sunk to rest
BEHIND_S = 0.5  # an emulation that falls behind real time by more lets the rest go


def calibration_of(limits: np.ndarray) -> dict[str, JointCalibration]:
    """What `lerobot-calibrate` would find on the emulated arm.

    Args:
        limits: (6, 2) of the model's joints, radians.
    """
    found = {}
    for place, (joint, (low, high)) in enumerate(zip(JOINTS, limits, strict=True)):
        half = MIDDLE if place == ROLL else (high - low) / 2 * TICKS_PER_RAD
        start = int(MIDDLE - half)
        found[joint] = JointCalibration(place + 1, 0, MOUNTED[place], start, TICKS - 1 - start)
    return found


class Machine:
    """All of the arm that is not port, socket or picture. Thread safe.

    Attributes:
        chances: of faults that hit a share of the answers.
        unplugged: whether the serial port is gone.
    """

    def __init__(self, settings: Settings) -> None:
        self.lock = threading.RLock()
        self.settings, self.fast = settings, settings.time == "fast"
        self.world = World(settings.model_path, settings.joints_deg)
        for camera in settings.sizes:
            self._require(camera)
        self.chain = Chain()
        self.chances = np.random.default_rng(settings.seed)
        self.unplugged = False
        joints = [self.world.scene.model.joint(name) for name in JOINTS]
        limits = np.array([joint.range for joint in joints])
        middle = limits.mean(axis=1)
        middle[ROLL] = 0.0
        self._zero = MIDDLE + np.array(MOUNTED) - middle * TICKS_PER_RAD  # the encoders' ticks at the model's zero
        self._calibrate(calibration_of(limits))
        self._faults = Faults()
        self._active: dict[str, dict[str, Any]] = {}
        self._steps = 0
        self._origin = 0.0 if self.fast else time.monotonic()
        for name, values in settings.faults.items():
            self.fault(name, values)
        self._drive()
        self.world.step(round(SETTLE_S / self.world.timestep))
        self.cut_power()

    def _calibrate(self, calibration: dict[str, JointCalibration]) -> None:
        for servo, joint in zip(self.chain.servos, calibration.values(), strict=True):
            servo.burn(HOMING_OFFSET, unsigned(joint.homing_offset, 11))
            servo.burn(MIN_LIMIT, joint.range_min)
            servo.burn(MAX_LIMIT, joint.range_max)

    # ------------------------------------------------------------------ time

    def now(self) -> float:
        """Seconds of the arm's clock: the machine's monotonic one in real time."""
        return self._steps * self.world.timestep if self.fast else time.monotonic()

    def sleep_until(self, due: float) -> float:
        """In fast time, let the world go on until ``due``; several may ask, the furthest counts."""
        with self.lock:
            if self.fast:
                self._advance(due)
            return self.now()

    def catch_up(self) -> None:
        """In real time, let the world go on until now."""
        with self.lock:
            if not self.fast:
                self._advance(time.monotonic())

    def _advance(self, due: float) -> None:
        wanted = int((due - self._origin) / self.world.timestep + 1e-6)
        if not self.fast and wanted - self._steps > BEHIND_S / self.world.timestep:
            self._origin = due - self._steps * self.world.timestep
            return
        while self._steps < wanted:
            # Faults begin and end on time, also within a long sleep.
            count = min(wanted - self._steps, 20) if self._faults else wanted - self._steps
            self.world.step(count)
            self._steps += count
            self._update()

    # ------------------------------------------------------------------ the wire

    def exchange(self, packet: Packet) -> list[tuple[int, bytes]]:
        """What the servos answer, each with its place in the chain."""
        with self.lock:
            self.catch_up()
            self._update()
            self._measure()
            answers = self.chain.answer(packet)
            if packet.instruction not in (PING, READ, SYNC_READ):
                self._drive()
            return answers

    def spoilt(self, place: int, answer: bytes) -> tuple[bytes, float]:
        """An answer as it comes over the wire (empty: not at all), and by how many real seconds late."""
        seconds = 0.0
        with self.lock:
            for name in ("dropped", "corrupt", "late"):
                values = self._active.get(name)
                if values is None or not self._faults.strikes(values, place, self.chances.random()):
                    continue
                if name == "late":
                    seconds = values["seconds"]
                else:
                    answer = b"" if name == "dropped" else answer[:-1] + bytes([answer[-1] ^ 0x55])
        return answer, seconds

    def _measure(self) -> None:
        """What the servos measure, into their registers."""
        ticks = np.rint(self._zero + self.world.encoders() * TICKS_PER_RAD).astype(int)
        speeds = (self.world.speeds() * TICKS_PER_RAD).astype(int).tolist()
        efforts = self.world.efforts().tolist()
        for servo, tick, speed, effort in zip(
            self.chain.servos, (ticks % TICKS).tolist(), speeds, efforts, strict=True
        ):
            servo.measure(Measured(tick, speed, round(effort * 1000), round(effort * STALL_CURRENT)))

    def _drive(self) -> None:
        """What the servos want, into the world."""
        servos = self.chain.servos
        ticks = np.array([servo.goal_ticks for servo in servos]) - self._zero
        ticks = (ticks + TICKS / 2) % TICKS - TICKS / 2  # no joint turns further than half way round
        speed = np.array([servo.goal_speed or np.inf for servo in servos]) / TICKS_PER_RAD
        self.world.drive(ticks / TICKS_PER_RAD, speed, np.array([servo.torque for servo in servos]))

    # ------------------------------------------------------------------ faults

    def fault(self, name: str, values: Any) -> None:
        """See `hiltk.robots.emulated.faults`.

        Raises:
            UserError: there is no such fault, or camera.
        """
        values = fault_values(name, values)
        if values.get("camera"):
            self._require(values["camera"])
        with self.lock:
            self._faults.set(name, values, self.now())
            self._update()

    def _require(self, camera: str) -> None:
        """Raises UserError where there is no such simulated camera."""
        cameras = self.world.scene.cameras
        if camera not in cameras:
            fix = nearest(camera, cameras) or f"there are: {', '.join(cameras)}"
            raise UserError(f"the emulated arm has no camera '{camera}'", fix=fix)

    def clear_faults(self) -> None:
        with self.lock:
            self._faults.clear()
            self._update()

    def cut_power(self) -> None:
        """The supply is off and on again."""
        with self.lock:
            self._measure()
            for servo in self.chain.servos:
                servo.power_up()
            self._drive()

    def active(self, name: str) -> dict[str, Any] | None:
        """Values of the fault, where it holds now."""
        with self.lock:
            return self._active.get(name)

    def _update(self) -> None:
        """Let begin and end what is to."""
        active = self._faults.active(self.now())
        if active == self._active:
            return
        before, self._active = self._active, active
        for name in FAULTS:
            if before.get(name) != active.get(name):
                self._change(name, active.get(name), before.get(name))
        self._drive()

    def _change(self, name: str, values: dict[str, Any] | None, before: dict[str, Any] | None) -> None:
        """Make the arm as the fault wants it, or, without ``values``, as it was made."""
        world = self.world
        if name == "unplugged":
            self.unplugged = values is not None
        elif name == "sag":
            world.soften(values["gain"] if values else 1.0)
        elif name == "backlash":
            world.loosen(np.deg2rad(values["degrees"]) if values else 0.0)
        elif name == "stuck":
            world.block(places(values) if values else [])
        elif name in _SERVO_FAULTS:
            for place in places(before) if before else []:
                self._set_servo(name, place, None)
            for place in places(values) if values else []:
                self._set_servo(name, place, values)

    def _set_servo(self, name: str, place: int, values: dict[str, Any] | None) -> None:
        """Make one servo as the fault wants it, or whole."""
        servo = self.chain.servos[place]
        if name == "silent":
            servo.silent = values is not None
        elif name == "voltage":
            servo.volts = values["volts"] if values else VOLTS
        elif name == "temperature":
            servo.celsius = values["celsius"] if values else CELSIUS
        elif name == "overload":
            servo.error = servo.error & ~OVERLOAD_ERROR | (OVERLOAD_ERROR if values else 0)
        elif name == "firmware":
            servo.burn(FIRMWARE_MINOR, int(values["minor"]) if values else 10, 1)
        elif name == "model":
            servo.burn(MODEL, int(values["number"]) if values else 777)
        elif name == "id":
            servo.burn(ID, int(values["id"]) if values else place + 1, 1)
        elif name == "calibration" and values:  # what was written to a servo stays there
            servo.burn(HOMING_OFFSET, unsigned(MOUNTED[place] + int(values["ticks"]), 11))
        low, high = servo.registers[15] / 10, servo.registers[14] / 10
        servo.error &= ~(VOLTAGE_ERROR | HEAT_ERROR)
        servo.error |= VOLTAGE_ERROR if not low <= servo.volts <= high else 0
        servo.error |= HEAT_ERROR if servo.celsius > servo.registers[13] else 0

    # ------------------------------------------------------------------ what only the person at the desk sees and does

    def state(self) -> WorldState:
        with self.lock:
            self.catch_up()
            return self.world.state(self.now())

    def place_cube(self, x_m: float, y_m: float, yaw_deg: float) -> None:
        with self.lock:
            self.world.place_cube(x_m, y_m, yaw_deg)

    def turn_by_hand(self, joints_deg: list[float]) -> None:
        with self.lock:
            self.world.turn_by_hand(joints_deg)

    def scene(self) -> tuple[np.ndarray, float, int]:
        """What a picture needs: where everything lies (nq,), since when, and how often the scene was touched."""
        with self.lock:
            self.catch_up()
            return self.world.data.qpos.copy(), self.now(), self.world.changes

    # ------------------------------------------------------------------ from one process to the next

    def to_plain(self) -> dict[str, Any]:
        """The arm as it lies, for `restore`."""
        with self.lock:
            servos = [{"registers": s.registers.hex(), "saved": s.saved.hex()} for s in self.chain.servos]
            return {"servos": servos, **self.world.to_plain()}

    def restore(self, plain: dict[str, Any]) -> None:
        """The arm as another process left it."""
        with self.lock:
            self.world.restore(plain)
            for servo, kept in zip(self.chain.servos, plain["servos"], strict=True):
                servo.registers[:] = bytes.fromhex(kept["registers"])
                servo.saved = bytes.fromhex(kept["saved"])
            self._active = {}  # what it was made with is no more what a fault said
            for place in range(6):
                for name in ("firmware", "model", "id"):
                    self._set_servo(name, place, None)
            self._drive()
            self._update()


_SERVO_FAULTS = {"silent", "voltage", "temperature", "overload", "firmware", "model", "id", "calibration"}
