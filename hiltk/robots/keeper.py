"""The process that owns an arm's bus and outlives whoever commands it, and the client that talks to it.

A servo holds its last goal for ever, and gets hot doing so; nothing in it notices that the program which sent the goal
is gone. So a process of its own (``python -m hiltk.robots.keeper``) has the bus, the limits and the way to the park
pose. It is started in a session of its own, which neither Ctrl-C in a terminal nor kill -9 of a command reaches:

- no goal for three periods: the last one stands; for two seconds: the arm parks and its torque goes off;
- `ArmClient.hold` says that silence is meant, between episodes or while a learner updates: then ten minutes;
- the connection ends, however: the arm parks, torque goes off servo by servo, the port is closed, the process ends.

Where parking fails, torque stays on in the joints that answer: a person has to support the arm before it goes off.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike

from hiltk.arm.model import JOINTS
from hiltk.errors import UserError
from hiltk.findings import Finding, Severity
from hiltk.robots.arm_file import ArmFile
from hiltk.robots.bus import Bus, BusError, Reading
from hiltk.robots.clock import Clock, WallClock
from hiltk.robots.messages import (
    Job,
    error_of,
    error_words,
    finding_of,
    finding_words,
    job_of,
    reading_of,
    reading_words,
    summary,
)
from hiltk.robots.other_robots import make_bus
from hiltk.robots.safety import ArmStopped, Safety, require_workspace
from hiltk.robots.servo_log import ServoLog, say

HOLD_PERIODS = 3  # without a goal: the last one stands, and the log says so
PARK_S = 2.0  # without a goal: the arm parks
IDLE_S = 600.0  # the same where silence was announced by `hold`
LOOK_S = 1.0  # how often servos are looked at while nobody asks
REALTIME_PRIORITY = 10

_POLL_S = 0.05
_ANSWER_S = 180.0  # a client waits no longer for an answer; a slow ramp of all joints takes a tenth of that
_PARK_TRIES, _PORT_BACK_S = 3, 10.0


# ---------------------------------------------------------------- the keeper


class _Gone(Exception):
    """The client is gone, or this process was told to end."""


class _Stop(Exception):
    """The client says stop while something else goes on."""


class Keeper:
    """Serves one client until it leaves.

    Args:
        job: which arm.
        bus, clock: its servos and its time.
        connection: to the client.
        is_orphan: says that the client's process is gone, even where a child of it holds the connection open.
        schedule: is called once everything is imported and open, and says how this process is scheduled.
        tell: a person at the terminal, where the client is gone and can no longer do so.
    """

    def __init__(
        self,
        job: Job,
        bus: Bus,
        clock: Clock,
        connection: Connection,
        is_orphan: Callable[[], bool] = lambda: False,
        schedule: Callable[[], str] = lambda: "a thread",
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.job, self.arm, self.bus, self.clock = job, job.arm, bus, clock
        self.connection, self.is_orphan, self._schedule, self._tell = connection, is_orphan, schedule, tell
        self.ending = False  # set from outside: by a signal
        self.client_left = False
        self.parked_alone = False
        self._waiting: deque[dict[str, Any]] = deque()
        self._rows = ServoLog(job.log)
        self.safety = Safety(job.arm, bus, clock, job.fps, self._rows.add)
        self._findings: list[Finding] = []
        self._asked_s = self._looked_s = 0.0
        self._idle = True  # silence is meant: before the first goal, and after `hold`
        self._held = False  # said already that the last goal stands
        self._given_up = False  # parking failed: no second try until somebody asks for one

    def serve(self) -> None:
        """Until the client leaves; the arm is then parked or, where that fails, held."""
        try:
            self.bus.open()
            reading = self.safety.begin()
        except Exception as error:
            self.bus.close()
            self._answer({"id": 0, **error_words(error)})
            self._rows.close()
            self.connection.close()
            return
        self._asked_s = self._looked_s = self.clock.now()
        scheduling = self._schedule()
        say(scheduling)
        self._answer({"id": 0, "reading": reading_words(reading), "scheduling": scheduling})
        try:
            while True:
                self._serve_one()
        except _Gone:
            pass
        except Exception as error:  # whatever it is, the arm must not be left standing
            say(f"the keeper failed: {error!r}")
        self.leave()
        self.connection.close()

    def _serve_one(self) -> None:
        message = self._next()
        if message is None:
            self._watch()
            return
        do, values = message["do"], message.get("values", [])
        if do == "stop":
            self._stopped()
            return
        answer: dict[str, Any] = {"id": message["id"]}
        try:
            answer |= self._do(do, values)
        except _Stop:
            self._stopped()
            assert self.safety.stopped is not None
            answer |= error_words(self.safety.stopped)
        except _Gone:
            raise
        except Exception as error:
            if isinstance(error, ArmStopped):
                say(str(error))
                if not error.goes_on:
                    self._rest_alone(error.what)
            answer |= error_words(error)
        self._answer(answer)
        if do == "close":
            raise _Gone

    def _do(self, do: str, values: list[float]) -> dict[str, Any]:
        safety = self.safety
        if do == "observe":
            reading = safety.observe()
            self._looked_s = reading.stamp_s
            return {"reading": reading_words(reading)}
        if do == "command":
            self._require_awake()
            sent = safety.command(values)
            self._asked_s, self._held, self._idle = safety.commanded_s, False, False
            return {"sent": sent.tolist()}
        self._asked_s, self._held = self.clock.now(), False
        if do in ("move_to", "park"):
            reading = safety.move_to(self.arm.park_deg if do == "park" else values, self._poll)
            self._asked_s, self._idle = self.clock.now(), True
            self.parked_alone = self._given_up = False
            return {"reading": reading_words(reading)}
        if do == "hold":
            self._idle = True
            return {}
        if do == "relax":
            return {"left": safety.release()}
        if do == "close":
            self._findings += self.leave()
            return {}
        raise UserError(f"the keeper knows no '{do}'")

    def _require_awake(self) -> None:
        if self.parked_alone:
            raise ArmStopped(
                f"there was no command for {PARK_S:g} s, so the arm has parked",
                code="silence",
                where=f"arm '{self.arm.name}'",
                fix="hold() says that a break is meant; move_to begins again",
            )

    # ------------------------------------------------------------------ listening

    def _next(self, wait_s: float = _POLL_S) -> dict[str, Any] | None:
        """The next message; None where there is none for a moment.

        Raises:
            _Gone: there will be none.
        """
        if self._waiting:
            return self._waiting.popleft()
        self.client_left |= self.is_orphan()
        if self.ending or self.client_left:
            raise _Gone
        try:
            if not self.connection.poll(wait_s):
                return None
            return dict(json.loads(self.connection.recv_bytes()))
        except (EOFError, OSError, ValueError) as error:
            self.client_left = True
            raise _Gone from error

    def _poll(self) -> None:
        """Listen while the arm moves: what a client asks waits, unless it says stop or leaves."""
        while (message := self._fresh()) is not None:
            if message["do"] == "stop":
                raise _Stop
            self._waiting.append(message)

    def _fresh(self) -> dict[str, Any] | None:
        waiting, self._waiting = self._waiting, deque()
        try:
            return self._next(0.0)
        finally:
            self._waiting = waiting

    def _poll_leaving(self) -> None:
        """The same on the way out, where a client that leaves changes nothing any more."""
        try:
            if not self.client_left:
                self._poll()
        except _Gone:
            self.client_left = True

    def _answer(self, answer: dict[str, Any]) -> None:
        found, self._findings = self._findings + self.safety.findings(), []
        for finding in found:
            say(f"{finding.code}: {finding.what}")
        if found:
            answer["findings"] = [finding_words(finding) for finding in found]
        try:
            self.connection.send_bytes(json.dumps(answer).encode())
        except OSError:
            self.client_left = True  # seen at the next read

    # ------------------------------------------------------------------ silence

    def _watch(self) -> None:
        """What happens while nobody asks for anything."""
        now = self.clock.now()
        silent = now - self._asked_s
        if not self.safety.powered or self._given_up:
            return
        if not self._idle and not self._held and silent > HOLD_PERIODS / self.job.fps:
            self._held = True
            say(f"no command for {silent:.2f} s: the last goal stands")
        stopped = self.safety.stopped is not None and self.safety.stopped.code == "stopped"
        if silent > (IDLE_S if self._idle else PARK_S) and not stopped:
            self._rest_alone(f"no command for {silent:.1f} s")
            self.parked_alone = True
        elif now - self._looked_s >= LOOK_S:
            self._looked_s = now
            try:
                self.safety.observe()
            except ArmStopped as error:
                say(str(error))
                if not error.goes_on:
                    self._rest_alone(error.what)

    def _stopped(self) -> None:
        say("stop: the arm holds where it is")
        self.safety.stop()
        self._idle = True
        self._asked_s = self.clock.now()

    # ------------------------------------------------------------------ the way to rest

    def leave(self) -> list[Finding]:
        """Park, torque off servo by servo, port closed; what is left to a person, where anything is."""
        left = self._rest("the command has ended") if self.safety.powered else []
        self.safety.powered = False
        self.bus.close()
        self._rows.close()
        return left

    def _rest_alone(self, why: str) -> None:
        """The same while the client is still there, which hears of it with the next answer."""
        if not self._given_up:
            left = self._rest(why)
            self._given_up = bool(left)
            self._findings += left

    def _rest(self, why: str) -> list[Finding]:
        """Park and let go; torque stays on where the park pose was not reached."""
        safety = self.safety
        if safety.stopped is not None and safety.stopped.code == "stopped":  # whoever said so saw why
            return [self._still_holding("it was stopped")]
        self._say(f"parking: {why}")
        safety.leaving = True
        try:
            failure = self._parked()
        except _Stop:
            self._stopped()
            return [self._still_holding("parking was stopped")]
        finally:
            safety.leaving = False
        if failure is not None:
            return [self._still_holding(summary(failure))]
        holding = safety.release()
        if holding:
            return [self._still_holding(f"torque did not go off in {', '.join(holding)}")]
        self._say("parked, torque off")
        return []

    def _say(self, text: str) -> None:
        say(text)
        if self.client_left:
            self._tell(f"arm '{self.arm.name}': {text}")

    def _parked(self) -> Exception | None:
        """Go to the park pose, again where bus or port failed; what kept the arm from it, or None."""
        failure: Exception | None = None
        for _ in range(_PARK_TRIES):
            try:
                self._find_servos()
                self.safety.park(self._poll_leaving)
                return None
            except ArmStopped as error:
                failure = error
                if error.code not in ("bus", "port"):
                    break
            except _Stop:
                raise
            except Exception as error:  # of the driver or the system: another try costs nothing
                failure = error
        return failure

    def _find_servos(self) -> None:
        """Wait a little for a port or a servo that is away; an arm of which a link is unknown is not moved."""
        until = time.monotonic() + _PORT_BACK_S
        while True:
            try:
                self.bus.read()
                return
            except BusError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _still_holding(self, why: str) -> Finding:
        silent = self.bus.silent()
        holding = [joint for joint in JOINTS if joint not in silent]
        reading = self.safety.reading
        warm = f", {np.max(reading.temperature_c):.0f} C at the hottest" if reading is not None else ""
        who = f"{', '.join(holding)} hold{'s' if len(holding) == 1 else ''}{warm}" if holding else "no servo answers"
        finding = Finding(
            code="still_holding",
            what=f"the arm is not parked ({why}): {who}" + (f"; {', '.join(silent)} silent" if silent else ""),
            where=f"arm '{self.arm.name}'",
            fix=f"support the arm, then `hiltk arm relax {self.arm.name}`, or switch the servos' supply off",
            severity=Severity.error,
        )
        self._say(f"{finding.what}\n  fix: {finding.fix}")
        return finding


def main() -> None:
    """Body of the process: ``python -m hiltk.robots.keeper FD TERMINAL``, with the job on that connection.

    TERMINAL is another file descriptor, or -1.
    """
    connection, parent = Connection(int(sys.argv[1])), os.getppid()
    try:
        job = job_of(json.loads(connection.recv_bytes()))
    except EOFError:  # killed right after it started us
        return
    say(f"keeper {os.getpid()} of arm '{job.arm.name}' for process {parent}")
    emulated = None
    try:
        if job.arm.is_emulated:
            from hiltk.robots.emulated.client import start_emulator

            emulated = start_emulator(job.arm, Path(job.path))
    except Exception as error:
        connection.send_bytes(json.dumps({"id": 0, **error_words(error)}).encode())
        return
    clock: Clock = emulated.clock if emulated is not None else WallClock()
    bus = make_bus(job.arm, lambda: emulated.port if emulated else job.arm.port, clock)
    keeper = Keeper(job, bus, clock, connection, lambda: os.getppid() != parent, lambda: _scheduled(job.arm), _tell)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: setattr(keeper, "ending", True))
    keeper.serve()
    if emulated is not None:
        emulated.close()


def _tell(text: str) -> None:
    """Where the command wrote to a terminal, that is still open when it is gone."""
    if (terminal := int(sys.argv[2])) >= 0:
        with contextlib.suppress(OSError):
            os.write(terminal, f"{text}\n".encode())


def _scheduled(arm: ArmFile) -> str:
    """Ask for real-time scheduling, which reads that wait make safe; what came of it."""
    gc.collect()
    gc.freeze()
    if arm.is_simulated_time:
        return "the arm's process: simulated time, normal scheduling"
    if not hasattr(os, "sched_setscheduler"):
        return "the arm's process: normal scheduling (this system has no SCHED_FIFO)"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
        return f"the arm's process: real-time scheduling (SCHED_FIFO {REALTIME_PRIORITY})"
    except OSError:
        return "the arm's process: normal scheduling (SCHED_FIFO is not allowed: `rtprio` in /etc/security/limits.conf)"


# ---------------------------------------------------------------- the client


class ArmClient:
    """The arm as a program drives it. Joints are LeRobot's (6,): degrees, gripper 0..100 last.

    Attributes:
        clock: the arm's.
        start: the arm as it was found.
        scheduling: whether the arm's process has real-time scheduling, in a sentence for the log.
        findings: what the keeper had to say so far, each once.

    Args:
        arm: its file, and ``path`` where that lies.
        emulator: of an emulated arm the caller's own `EmulatedArm`; None: one is started or joined.
        fps: rate of the commands: what a joint may move in one, and what counts as silence.
        log: CSV file for a row per reading; its folder is made.
        start: starts a keeper and gives the connection to it.

    Raises:
        UserError: the arm cannot be driven: port, servos, calibration, temperature, voltage, missing limits.
    """

    def __init__(
        self,
        arm: ArmFile,
        path: Path,
        emulator: Any = None,
        *,
        fps: float = 10.0,
        log: Path | None = None,
        start: Callable[[Job], Connection] | None = None,
    ) -> None:
        require_workspace(arm)
        self.arm, self.path, self._log = arm, path, log
        self.findings: list[Finding] = []
        self._own_emulator = None
        if arm.is_emulated and emulator is None:
            from hiltk.robots.emulated.client import start_emulator

            emulator = self._own_emulator = start_emulator(arm, path)
        self.clock: Clock = emulator.clock if emulator is not None else WallClock()
        self._asking, self._sending = threading.Lock(), threading.Lock()
        self._count = 0
        self._closed = False
        job = Job(arm, str(path.absolute()), fps, str(log.absolute()) if log else "")
        self._connection = (start or start_keeper)(job)
        try:
            answer = self._receive(0)
            self.start, self.scheduling = reading_of(answer["reading"]), str(answer["scheduling"])
        except BaseException:
            self._connection.close()
            if self._own_emulator is not None:
                self._own_emulator.close()
            raise

    def observe(self) -> Reading:
        """Joints and servos now; ``fresh`` is False where this read failed and the last one is repeated."""
        return reading_of(self._ask("observe")["reading"])

    def command(self, joints_deg: ArrayLike) -> np.ndarray:
        """Send a goal for this tick, after `observe`; what was really sent (6,), within limits and speeds."""
        return np.array(self._ask("command", joints_deg)["sent"])

    def move_to(self, joints_deg: ArrayLike) -> Reading:
        """Go to a pose at capped speed, verified; torque comes on where it is off, and silence is allowed after it."""
        return reading_of(self._ask("move_to", joints_deg)["reading"])

    def park(self) -> Reading:
        """Go to the park pose; torque stays on."""
        return reading_of(self._ask("park")["reading"])

    def hold(self) -> None:
        """Say that no goals come for a while, and that this is meant: ten minutes instead of two seconds."""
        self._ask("hold")

    def stop(self) -> None:
        """Freeze the arm now, whatever else is going on, and from whatever thread; torque stays on.

        What waits for the arm ends with `ArmStopped`, as does every command until `move_to` or `park`.
        """
        self._send({"id": -1, "do": "stop"})

    def relax(self) -> list[str]:
        """Torque off at once: the arm must be parked or supported. The joints that did not confirm it."""
        return list(self._ask("relax")["left"])

    def log(self) -> Path | None:
        """Where the rows of this run's readings are; None: nowhere."""
        return self._log

    def close(self) -> list[Finding]:
        """Park, torque off, end; after `stop` the arm is left holding. What is left to a person to do, mostly nothing.

        Never raises: it stands in ``finally``.
        """
        if self._closed:
            return []
        self._closed = True
        before = len(self.findings)
        try:
            self._ask("close")
        except (UserError, OSError) as error:
            self.findings.append(
                Finding(
                    code="still_holding",
                    what=f"nobody knows whether the arm has parked: {summary(error)}",
                    where=f"arm '{self.arm.name}'",
                    fix=f"support it, then `hiltk arm relax {self.arm.name}`",
                    severity=Severity.error,
                )
            )
        self._connection.close()
        if self._own_emulator is not None:
            self._own_emulator.close()
        return [finding for finding in self.findings[before:] if finding.severity is Severity.error]

    def __enter__(self) -> ArmClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ------------------------------------------------------------------ talking

    def _ask(self, do: str, values: ArrayLike = ()) -> dict[str, Any]:
        with self._asking:
            self._count += 1
            plain = [float(value) for value in np.ravel(np.asarray(values, dtype=np.float64))]
            self._send({"id": self._count, "do": do, "values": plain})
            return self._receive(self._count)

    def _send(self, message: dict[str, Any]) -> None:
        with self._sending:
            try:
                self._connection.send_bytes(json.dumps(message).encode())
            except OSError as error:
                raise self._lost() from error

    def _receive(self, number: int) -> dict[str, Any]:
        """The answer with this number; answers that an interrupted call no longer waited for are passed over."""
        while True:
            try:
                if not self._connection.poll(_ANSWER_S):
                    raise self._lost()
                answer = dict(json.loads(self._connection.recv_bytes()))
            except (EOFError, OSError) as error:
                raise self._lost() from error
            self.findings += [finding_of(words) for words in answer.get("findings", [])]
            if answer["id"] == number:
                if "error" in answer:
                    raise error_of(answer["error"])
                return answer

    def _lost(self) -> ArmStopped:
        return ArmStopped(
            "the process that keeps the arm is gone or does not answer; the servos hold their last goal",
            code="keeper",
            goes_on=False,
            where=f"arm '{self.arm.name}', {log_of(self.path)}",
            fix=f"support the arm, then `hiltk arm relax {self.arm.name}`",
        )


def start_keeper(job: Job) -> Connection:
    """A keeper in a process and a session of its own; the connection to it."""
    ours, theirs = socket.socketpair()
    terminal = -1
    with theirs, _log_file(Path(job.path)) as output, contextlib.ExitStack() as kept:
        if os.isatty(2):
            terminal = os.dup(2)
            kept.callback(os.close, terminal)
        process = subprocess.Popen(
            [sys.executable, "-m", "hiltk.robots.keeper", str(theirs.fileno()), str(terminal)],
            pass_fds=[theirs.fileno(), *([terminal] if terminal >= 0 else [])],
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # takes its exit status, so that no zombie is left
    connection = Connection(ours.detach())
    connection.send_bytes(json.dumps(asdict(job)).encode())
    return connection


def _log_file(path: Path) -> TextIO:
    """A folder that is read-only or full keeps no arm from being kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return log_of(path).open("w")
    except OSError:
        return open(os.devnull, "w")


def log_of(path: Path) -> Path:
    """The keeper's own log, beside the arm's file."""
    return path.with_name(f".{path.stem}.keeper.log")


def relax(arm: ArmFile, port: str) -> list[str]:
    """Torque off without a keeper and without asking how the servos are; the joints that did not confirm it.

    Raises:
        UserError: the port cannot be opened.
    """
    bus = make_bus(arm, lambda: port, WallClock())
    bus.open(checks=False)
    try:
        return bus.relax()
    finally:
        bus.close()


if __name__ == "__main__":
    main()
