"""The servos' end of a pseudo-terminal, which the driver opens as a serial port."""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import threading
import time
import tty
from pathlib import Path

from hiltk.robots.emulated.machine import Machine
from hiltk.robots.emulated.servos import BROADCAST, HEADER, Packet, checksum

BYTE_S = 10 / 1_000_000  # eight bits, a start and a stop bit at 1 Mbaud
MARK = 0x7F  # no servo's instruction
_MARK = bytes([BROADCAST, 2, MARK])
MARK_S = 0.5  # half a packet under way would swallow the mark
PRIORITY = 20  # above the arm's process, which waits for the answers
POLL_S = 0.02  # how often the world goes on in real time while nobody asks


class Bus(threading.Thread):
    """Answers whoever opens ``port``, until `stop`.

    Args:
        port: path of a link to the pseudo-terminal: as stable as a name in ``/dev/serial/by-id``, and gone while the
            arm is unplugged.
    """

    def __init__(self, machine: Machine, port: Path) -> None:
        super().__init__(name="bus", daemon=True)
        self._machine, self._port = machine, port
        self._stopping = threading.Event()
        self._ends: tuple[int, int] | None = None
        self._late: list[tuple[float, int, bytes]] = []
        self._sent = 0
        self._marked, self._one_mark = threading.Event(), threading.Lock()
        self._plug()

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        self._unplug()

    def settle(self) -> None:
        """Until all that drivers have written by now is done: goals are not answered, and a terminal takes its time."""
        with self._one_mark:
            self._marked.clear()
            try:
                ends = self._ends
                if ends is not None:
                    os.write(ends[1], HEADER + _MARK + bytes([checksum(_MARK)]))
                    self._marked.wait(MARK_S)
            except OSError:  # unplugged in between
                return

    def run(self) -> None:
        if not self._machine.fast:
            _hurry()
        while not self._stopping.is_set():
            self._machine.catch_up()
            if self._machine.unplugged != (self._ends is None):
                (self._unplug if self._machine.unplugged else self._plug)()
            if self._ends is None:
                time.sleep(POLL_S)
                continue
            self._send_late()
            wait = min(POLL_S, self._late[0][0] - time.monotonic()) if self._late else POLL_S
            if select.select([self._ends[0]], [], [], max(0.0, wait))[0]:
                self._hear(os.read(self._ends[0], 4096))

    def _plug(self) -> None:
        import pty

        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._ends = (master, slave)  # the other end stays open here, or closing it would hang up
        link = self._port.with_name(f"{self._port.name}.new")
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(slave))
        os.replace(link, self._port)

    def _unplug(self) -> None:
        self._port.unlink(missing_ok=True)
        self._machine.chain.forget()
        self._late.clear()
        for end in self._ends or ():
            os.close(end)
        self._ends = None

    def _hear(self, data: bytes) -> None:
        for packet in self._machine.chain.receive(data):
            if packet.instruction == MARK:
                self._marked.set()
                continue
            self._wait(BYTE_S * (8 + len(packet.parameters)) + self._machine.settings.usb_ms / 1000)
            self._answer(packet)

    def _answer(self, packet: Packet) -> None:
        wire = b""
        for place, answer in self._machine.exchange(packet):
            answer, late = self._machine.spoilt(place, answer)
            if late or self._late:  # what follows a late answer waits for it: servos answer in turn
                self._put_off(late, answer)
            else:
                wire += answer
        self._wait(BYTE_S * len(wire))
        self._send(wire)

    def _wait(self, seconds: float) -> None:
        """The time that bytes take, where time is real."""
        if not self._machine.fast:
            time.sleep(seconds)

    def _put_off(self, seconds: float, answer: bytes) -> None:
        due = max([time.monotonic() + seconds, *(entry[0] for entry in self._late)])
        self._sent += 1
        heapq.heappush(self._late, (due, self._sent, answer))

    def _send_late(self) -> None:
        while self._late and self._late[0][0] <= time.monotonic():
            self._send(heapq.heappop(self._late)[2])

    def _send(self, data: bytes) -> None:
        """What does not fit is lost: nobody reads the port."""
        if data and self._ends is not None:
            try:
                os.write(self._ends[0], data)
            except BlockingIOError:
                return


def _hurry() -> None:
    """Let this thread answer as promptly as servos do, whatever else runs, where that is allowed."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
