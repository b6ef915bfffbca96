"""Bytes of the servos' protocol, worked by hand from Feetech's manual."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.robots.emulated.servos import (
    BROADCAST,
    GOAL,
    HOMING_OFFSET,
    LOCK,
    MAX_LIMIT,
    MAX_TORQUE,
    MIN_LIMIT,
    PING,
    PRESENT,
    READ,
    SYNC_READ,
    SYNC_WRITE,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
    WRITE,
    Chain,
    Measured,
    Packet,
    Servo,
    checksum,
    signed,
    unsigned,
)


def wire(ident: int, instruction: int, *parameters: int) -> bytes:
    body = bytes([ident, len(parameters) + 2, instruction, *parameters])
    return b"\xff\xff" + body + bytes([checksum(body)])


def asked(chain: Chain, data: bytes) -> list[bytes]:
    return [answer for packet in chain.receive(data) for _, answer in chain.answer(packet)]


def test_a_ping_is_answered_as_in_the_manual() -> None:
    # The manual's example: ping servo 1, FF FF 01 02 01 FB; answer FF FF 01 02 00 FC.
    assert asked(Chain(), bytes.fromhex("ffff010201fb")) == [bytes.fromhex("ffff010200fc")]


def test_all_answer_a_broadcast_ping_in_the_order_of_the_chain() -> None:
    assert [answer[2] for answer in asked(Chain(), wire(BROADCAST, PING))] == [1, 2, 3, 4, 5, 6]


def test_a_model_number_is_read_low_byte_first() -> None:
    assert asked(Chain(), wire(3, READ, 3, 2)) == [
        bytes.fromhex("ffff0304000903") + bytes([checksum(b"\x03\x04\0\x09\x03")])
    ]


def test_goals_to_all_are_written_without_an_answer() -> None:
    chain = Chain()
    assert asked(chain, wire(BROADCAST, SYNC_WRITE, GOAL, 2, 1, 0x10, 0x02, 6, 0x00, 0x08)) == []
    assert [servo.get(GOAL) for servo in chain.servos] == [0x210, 2048, 2048, 2048, 2048, 0x800]


def test_positions_of_all_are_read_at_once_in_the_order_asked() -> None:
    chain = Chain()
    for place, servo in enumerate(chain.servos):
        servo.measure(Measured(1000 + place, -20, -300, 4))
    answers = asked(chain, wire(BROADCAST, SYNC_READ, PRESENT, 15, 2, 1))
    assert [answer[2] for answer in answers] == [2, 1]
    # 1001 ticks; 20 ticks/s backwards; load 300 the other way; 12.0 V, 31 C; 0; no error; moving; 0, 0; 4 x 6.5 mA.
    assert answers[0][5:-1] == bytes.fromhex("e903 1480 2c05 78 1f 00 00 01 0000 0400")


@given(st.binary(max_size=12), st.integers(1, 40))
def test_noise_and_packets_in_pieces_do_not_stop_the_chain(noise: bytes, cut: int) -> None:
    chain = Chain()
    stream = noise + wire(1, PING) + b"\0" * 260 + wire(2, PING)
    answers = [a for start in range(0, len(stream), cut) for a in asked(chain, stream[start : start + cut])]
    assert wire(2, 0)[:4] == answers[-1][:4]  # what noise seemed to announce ends within the longest packet


def test_a_wrong_checksum_is_not_heard() -> None:
    chain = Chain()
    assert asked(chain, wire(1, WRITE, TORQUE_ENABLE, 1)[:-1] + b"\0") == []
    assert chain.servos[0].registers[TORQUE_ENABLE] == 0


def test_what_is_measured_cannot_be_written() -> None:
    chain = Chain()
    assert len(asked(chain, wire(1, WRITE, PRESENT, 1, 2))) == 1
    assert chain.servos[0].get(PRESENT) == 0


def test_the_eeprom_keeps_only_what_was_written_unlocked() -> None:
    servo = Servo(1)
    servo.write(MIN_LIMIT, b"\x10\x00")
    assert servo.get(MIN_LIMIT) == 0x10
    servo.power_up()
    assert servo.get(MIN_LIMIT) == 0
    servo.write(LOCK, b"\0")
    servo.write(MIN_LIMIT, b"\x10\x00")
    servo.power_up()
    assert servo.get(MIN_LIMIT) == 0x10 and servo.registers[LOCK] == 1


def test_the_torque_limit_follows_the_eeprom_only_at_power_up() -> None:
    servo = Servo(6)
    servo.write(LOCK, b"\0")
    servo.write(MAX_TORQUE, (500).to_bytes(2, "little"))
    servo.write(TORQUE_ENABLE, b"\1")
    assert servo.torque == 1.0
    servo.power_up()
    assert servo.get(TORQUE_LIMIT) == 500 and servo.torque == 0.0


def test_the_position_told_is_the_encoders_less_the_offset() -> None:
    servo = Servo(1)
    servo.put(HOMING_OFFSET, unsigned(-203, 11))
    servo.measure(Measured(4000, 0, 0, 0))
    assert servo.get(PRESENT) == (4000 + 203) % 4096
    servo.put(GOAL, 2000)
    assert servo.goal_ticks == 1797


def test_a_goal_beyond_the_limits_stops_at_them() -> None:
    servo = Servo(1)
    servo.put(MIN_LIMIT, 800), servo.put(MAX_LIMIT, 3300)
    servo.put(GOAL, 65000)  # bit 15: minus 32232
    assert servo.goal_ticks == 800
    servo.put(GOAL, 4000)
    assert servo.goal_ticks == 3300


def test_128_calls_the_present_position_the_middle() -> None:
    servo = Servo(1)
    servo.measure(Measured(2148, 0, 0, 0))
    servo.write(TORQUE_ENABLE, b"\x80")
    assert servo.offset == 100 and servo.registers[TORQUE_ENABLE] == 0


@pytest.mark.parametrize("bit", [10, 11, 15])
@given(value=st.integers(-2047, 2047))
def test_signs_come_back(bit: int, value: int) -> None:
    size = min(abs(value), (1 << bit) - 1)
    assert signed(unsigned(value, bit), bit) == (size if value >= 0 else -size)


def test_two_servos_of_one_id_both_answer() -> None:
    chain = Chain()
    chain.servos[1].registers[5] = 1
    assert len(chain.answer(Packet(1, PING, b""))) == 2
