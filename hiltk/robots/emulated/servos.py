"""A chain of Feetech STS3215 servos as a pure state machine: bytes in, answers out.

Registers and packets are those of Feetech's memory table and protocol manual for the STS series, as LeRobot's driver
uses them; nothing here knows of time, of ports or of what the servos move.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

PING, READ, WRITE, REG_WRITE, ACTION, SYNC_READ, SYNC_WRITE = 1, 2, 3, 4, 5, 0x82, 0x83
BROADCAST = 0xFE
HEADER = b"\xff\xff"
TICKS = 4096  # a turn of the encoder

FIRMWARE_MINOR, MODEL, ID, RETURN_DELAY, MIN_LIMIT, MAX_LIMIT, MAX_TORQUE = 1, 3, 5, 7, 9, 11, 16
HOMING_OFFSET, TORQUE_ENABLE, GOAL, GOAL_SPEED, TORQUE_LIMIT, LOCK, PRESENT = 31, 40, 42, 46, 48, 55, 56
EEPROM_END, READ_ONLY_FROM, SIZE = 40, 56, 128
CENTRE = 128  # written to TORQUE_ENABLE: call the present position 2048

# Bits of the error byte of every answer, which is also register 65.
VOLTAGE_ERROR, HEAT_ERROR, OVERLOAD_ERROR = 1, 4, 32

_WORDS = {MODEL: 777, MAX_LIMIT: 4095, MAX_TORQUE: 1000, 24: 16, 28: 500, GOAL: 2048, TORQUE_LIMIT: 1000}
_BYTES = {
    0: 3, FIRMWARE_MINOR: 10, RETURN_DELAY: 250, 8: 1, 13: 70, 14: 140, 15: 40, 18: 12, 19: 44, 20: 47, 21: 32, 22: 32,
    26: 1, 27: 1, 30: 1, 34: 20, 35: 200, 36: 80, 37: 10, 38: 200, 39: 10, LOCK: 1, 86: 1,
}  # fmt: skip
_MEASURED = struct.Struct("<HHHBB")  # from PRESENT: position, speed, load, voltage, temperature
_STATUS, _CURRENT = 65, 69


def signed(raw: int, bit: int) -> int:
    """A number whose sign stands in ``bit``."""
    size = raw & ((1 << bit) - 1)
    return -size if raw >> bit & 1 else size


def unsigned(value: int, bit: int) -> int:
    """``value`` with its sign in ``bit``, its size cut to what fits below."""
    return min(abs(value), (1 << bit) - 1) | (value < 0) << bit


@dataclass
class Measured:
    """What one servo measures of itself.

    Attributes:
        ticks: of the encoder, before the homing offset, 0..4095.
        speed: ticks per second.
        load: of 1000, what share of its full torque it turns with.
        current: in 6.5 mA.
    """

    ticks: int
    speed: int
    load: int
    current: int


@dataclass
class Packet:
    """An instruction as it came over the wire."""

    id: int
    instruction: int
    parameters: bytes


class Servo:
    """One servo's registers, and what is wrong with it.

    Attributes:
        registers: of the whole memory table.
        saved: its first 40 as they come back after a power cut.
        silent: it neither hears nor answers.
        error: bits sent with every answer.
        volts, celsius: as it measures them.
    """

    def __init__(self, ident: int) -> None:
        self.registers = bytearray(SIZE)
        for address, value in _WORDS.items():
            self.put(address, value)
        for address, value in _BYTES.items():
            self.registers[address] = value
        self.registers[ID] = ident
        self.saved = bytes(self.registers[:EEPROM_END])
        self.silent, self.error = False, 0
        self.volts, self.celsius = 12.0, 31.0
        self._waiting: tuple[int, bytes] | None = None

    # ------------------------------------------------------------------ registers

    def get(self, address: int) -> int:
        """The two bytes at ``address``."""
        return self.registers[address] | self.registers[address + 1] << 8

    def put(self, address: int, value: int) -> None:
        """Two bytes."""
        self.registers[address : address + 2] = value.to_bytes(2, "little")

    def burn(self, address: int, value: int, size: int = 2) -> None:
        """Set a number as if it had been written to the unlocked EEPROM."""
        self.registers[address : address + size] = value.to_bytes(size, "little")
        self.saved = bytes(self.registers[:EEPROM_END])

    @property
    def id(self) -> int:
        return self.registers[ID]

    @property
    def offset(self) -> int:
        """Ticks between the encoder and the position that is told."""
        return signed(self.get(HOMING_OFFSET), 11)

    @property
    def torque(self) -> float:
        """Share of its full torque that it may turn with, 0 where torque is off or it has stopped itself."""
        if self.registers[TORQUE_ENABLE] != 1 or self.error & OVERLOAD_ERROR:
            return 0.0
        return min(self.get(TORQUE_LIMIT), 1000) / 1000

    @property
    def goal_ticks(self) -> int:
        """Where it turns to, in ticks of the encoder, inside its own limits; not wrapped."""
        goal = signed(self.get(GOAL), 15)
        low, high = self.get(MIN_LIMIT), self.get(MAX_LIMIT)
        return (min(max(goal, low), high) if low < high else goal) + self.offset

    @property
    def goal_speed(self) -> int:
        """Ticks per second on the way to the goal; 0: as fast as it can."""
        return abs(signed(self.get(GOAL_SPEED), 15))

    def measure(self, now: Measured) -> None:
        """Take over what it measures of itself."""
        _MEASURED.pack_into(
            self.registers,
            PRESENT,
            (now.ticks - self.offset) % TICKS,
            unsigned(now.speed, 15),
            unsigned(now.load, 10),
            min(round(self.volts * 10), 255),
            min(round(self.celsius), 255),
        )
        self.registers[_STATUS] = self.error
        self.registers[_STATUS + 1] = abs(now.speed) > 10
        self.put(_CURRENT, unsigned(now.current, 15))

    def power_up(self) -> None:
        """What it is after its supply was gone: EEPROM as saved, torque off, holding nothing."""
        self.registers[:EEPROM_END] = self.saved
        for address in (TORQUE_ENABLE, GOAL_SPEED, GOAL_SPEED + 1):
            self.registers[address] = 0
        self.registers[LOCK] = 1
        self.put(TORQUE_LIMIT, self.get(MAX_TORQUE))
        self.put(GOAL, self.get(PRESENT))

    # ------------------------------------------------------------------ instructions

    def read(self, address: int, count: int) -> bytes:
        return bytes(self.registers[address : address + count]).ljust(count, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """What is only measured, and what the maker set, stays as it is."""
        if address == TORQUE_ENABLE and data[:1] == bytes([CENTRE]):
            encoder = (self.get(PRESENT) + self.offset) % TICKS
            self.put(HOMING_OFFSET, unsigned(encoder - TICKS // 2, 11))
            return
        for place, value in enumerate(data, start=address):
            if ID <= place < READ_ONLY_FROM or READ_ONLY_FROM + 15 <= place < SIZE:
                self.registers[place] = value
        if address < EEPROM_END and not self.registers[LOCK]:
            self.saved = bytes(self.registers[:EEPROM_END])

    def keep(self, address: int, data: bytes) -> None:
        """A write that waits for the word."""
        self._waiting = (address, data)

    def act(self) -> None:
        if self._waiting is not None:
            self.write(*self._waiting)
            self._waiting = None

    def answer(self, data: bytes = b"") -> bytes:
        """A packet with its registers, or none."""
        body = bytes([self.id, len(data) + 2, self.error]) + data
        return HEADER + body + bytes([checksum(body)])


def checksum(body: bytes) -> int:
    """Of all between header and checksum."""
    return ~sum(body) & 0xFF


@dataclass
class Chain:
    """Servos on one bus.

    Attributes:
        servos: in the order of the joints they turn; one is called by the id in its registers, whatever its place.
    """

    servos: list[Servo] = field(default_factory=lambda: [Servo(place) for place in range(1, 7)])
    _pending: bytearray = field(default_factory=bytearray)

    def receive(self, data: bytes) -> Iterator[Packet]:
        """The whole packets in what came so far; bytes that are none are passed over, as servos do."""
        pending = self._pending
        pending += data
        while (start := pending.find(HEADER)) >= 0 and len(pending) >= start + 4:
            length = pending[start + 3]
            end = start + 4 + length
            if pending[start + 2] == 0xFF or length < 2:  # one 0xFF too many, or no packet at all
                del pending[: start + 1]
                continue
            if len(pending) < end:
                return
            body = bytes(pending[start + 2 : end])
            if checksum(body[:-1]) == body[-1]:
                del pending[:end]
                yield Packet(body[0], body[2], body[3:-1])
            else:
                del pending[: start + 2]

    def forget(self) -> None:
        """Half a packet that was under way when the wire was cut."""
        self._pending.clear()

    def answer(self, packet: Packet) -> list[tuple[int, bytes]]:
        """Do what the packet asks.

        Returns:
            The answers in the order they are sent, each with the place of its servo in the chain.
        """
        wants, asked = packet.parameters, packet.instruction
        if asked == SYNC_READ and len(wants) >= 2:
            called = [place for ident in wants[2:] for place in self._heard_by(ident)]
            return [(k, self.servos[k].answer(self.servos[k].read(wants[0], wants[1]))) for k in called]
        if asked == SYNC_WRITE and len(wants) >= 2:
            size = wants[1] + 1
            for start in range(2, len(wants) - size + 1, size):
                for k in self._heard_by(wants[start]):
                    self.servos[k].write(wants[0], wants[start + 1 : start + size])
            return []
        return self._single(packet)

    def _single(self, packet: Packet) -> list[tuple[int, bytes]]:
        """Instructions to one servo, or to all: then only a ping is answered."""
        answers = []
        for k in self._heard_by(packet.id):
            servo, data, wants = self.servos[k], b"", packet.parameters
            if packet.instruction == READ and len(wants) == 2:
                data = servo.read(wants[0], wants[1])
            elif packet.instruction == WRITE and wants:
                servo.write(wants[0], wants[1:])
            elif packet.instruction == REG_WRITE and wants:
                servo.keep(wants[0], wants[1:])
            elif packet.instruction == ACTION:
                servo.act()
            elif packet.instruction != PING:
                continue
            if packet.id != BROADCAST or packet.instruction == PING:
                answers.append((k, servo.answer(data)))
        return answers

    def _heard_by(self, ident: int) -> list[int]:
        return [k for k, s in enumerate(self.servos) if not s.silent and ident in (s.id, BROADCAST)]
