"""`hiltk adopt`: a spec for a dataset made elsewhere, inferred from its data, with the evidence for every answer."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.prompt import Prompt

from hiltk.arm.kinematics import Kinematics
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_written, notes, refuse
from hiltk.config.commands import AdoptConf, FixActionsConf
from hiltk.data.adopt import Adoption, adopt, check_conventions
from hiltk.data.adopt_questions import OPEN, Ask, Decider, Guess, setting
from hiltk.data.consistency import require_consistent
from hiltk.data.converted import Output
from hiltk.data.foreign import write_converted
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.data.lerobot_tools import is_v21, to_v3
from hiltk.errors import ConfigError, UserError
from hiltk.reports.repair_report import (
    RepairReport,
    action_numbers,
    make_report,
    print_report,
    servo_facts,
    write_report,
)
from hiltk.spec import Spec


def run(cfg: AdoptConf) -> Artifact:
    """Write a new version of a dataset made elsewhere, with its spec; the input is left as it is.

    Raises:
        ConfigError: a statement is no choice, or out of range.
        UserError: the dataset is damaged, has a spec already, or does not say everything and nobody can be asked.
    """
    expand(cfg.checks.ignore, "checks.ignore")
    check_numbers(cfg)
    check_conventions(cfg.foreign, cfg.method)
    source = resolve(cfg.dataset, "datasets", cfg.root)
    if (source.path / SPEC_FILE).is_file():
        raise UserError(
            "the dataset has a spec already",
            where=str(source.path / SPEC_FILE),
            fix=f"hiltk show {cfg.dataset}; dead actions are rebuilt by `hiltk fix-actions`",
        )
    with ExitStack() as stack:
        files = _files(source.path, stack)
        require_consistent(files)
        kin = Kinematics(cfg.model_path)
        decider = Decider(cfg.foreign, _person())
        adoption = adopt(files, decider, wanted(cfg), kin)
        print_adoption(decider, adoption, files, source)
        decider.require_settled(str(source.path))
        assert adoption is not None, "only open questions leave an adoption undone"
        return write_adopted(files, decider, adoption, source, cfg, kin, step="adopt")


def wanted(cfg: AdoptConf | FixActionsConf) -> Output:
    """What rebuilt actions are to be."""
    return Output(cfg.action_scale_m, cfg.gripper, cfg.gripper_step, cfg.gripper_threshold, cfg.method)


def check_numbers(cfg: AdoptConf | FixActionsConf) -> None:
    """Refuse scales that cannot be meant.

    Raises:
        ConfigError: naming the first.
    """
    positive: dict[str, float | None] = {"action_scale_m": cfg.action_scale_m, "gripper_step": cfg.gripper_step}
    positive |= {f"foreign.{k}": getattr(cfg.foreign, k, None) for k in ("action_scale_m", "gripper_step")}
    for key, value in positive.items():
        if value is not None and not value > 0:
            raise ConfigError("must be above 0", where=f"{key}={value}")
    if not 0 < cfg.gripper_threshold <= 1:
        raise ConfigError("must be in (0, 1]", where=f"gripper_threshold={cfg.gripper_threshold}")


def _files(path: Path, stack: ExitStack) -> LeRobotFiles:
    if not is_v21(path):
        return LeRobotFiles(path, gaps=True)
    Console().print("LeRobot v2.1: converting with LeRobot's own converter")
    return LeRobotFiles(to_v3(path, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hiltk-")))))


def _person() -> Ask | None:
    """Whoever sits at the terminal; None where there is none."""
    return _ask if sys.stdin.isatty() else None


def _ask(guess: Guess) -> Any:
    console = Console()
    console.print(f"\n{guess.evidence}", markup=False)
    choices = [str(option) for option in guess.options] or None
    default = None if guess.value is None else setting(guess.value)
    answer = Prompt.ask(guess.key, choices=choices, default=default, console=console)
    if answer is None:
        raise ConfigError("there is no answer", where=guess.key)
    return _typed(str(answer), guess)


def _typed(answer: str, guess: Guess) -> Any:
    """An answer as the setting would be: a number, a list of names, or a word."""
    if guess.key == "foreign.joints":
        return [name.strip() for name in answer.strip("[]").split(",")]
    if guess.key not in ("foreign.action_yaw_deg", "foreign.action_scale_m", "foreign.gripper_step"):
        return answer
    try:
        number = float(answer)
    except ValueError as error:
        raise ConfigError(f"'{answer}' is not a number", where=guess.key) from error
    if not number > 0 and guess.key != "foreign.action_yaw_deg":
        raise ConfigError("must be above 0", where=f"{guess.key}={answer}")
    return int(number) if guess.key == "foreign.action_yaw_deg" else number


def print_adoption(decider: Decider, adoption: Adoption | None, files: LeRobotFiles, source: Artifact) -> None:
    """Every answer with its evidence below it, warnings last."""
    console = Console(highlight=False)
    about = f"{source.ref}: {len(files.bounds)} episodes, {files.bounds[-1][1]} frames, {files.fps:g} fps"
    console.print(about, style="bold", markup=False, soft_wrap=True)
    for made in decider.made:
        value = "?" if made.value is None else setting(made.value)
        style = "yellow" if made.how == OPEN else "bold"
        console.print(f"  {made.key}={value}  ({made.how})", style=style, markup=False, soft_wrap=True)
        console.print(Padding(escape(made.evidence), (0, 0, 0, 6)))
    for name, text in adoption.facts if adoption else []:
        console.print(f"  {name}  (seen)", markup=False)
        console.print(Padding(escape(text), (0, 0, 0, 6)))
    for warning in decider.warnings:
        console.print(f"caution: {warning}", style="yellow", markup=False)


def write_adopted(
    files: LeRobotFiles,
    decider: Decider,
    made: Adoption,
    source: Artifact,
    cfg: AdoptConf | FixActionsConf,
    kin: Kinematics,
    *,
    step: str,
) -> Artifact:
    """Write a dataset made elsewhere as one of hiltk's, unless a step that reads it would refuse it.

    Args:
        step: the command that was typed.

    Raises:
        UserError: a check finds an error in what was written.
    """
    recording, actions = made.recording, made.actions
    with create("datasets", cfg.name, root=cfg.root, step=step, cfg=cfg, inputs=[source], seed=0) as draft:
        spec = made.spec(files, cfg.model_path)
        draft.spec = write_converted(
            files, made.conf, spec, recording.joints_deg, actions.rebuilt, kin, draft.path, recording.frames
        )
        checked = examine_written(step, draft.path, cfg.name, draft.spec, cfg.checks.ignore)
        refuse(checked, step)
        record = {
            "answers": [asdict(decision) for decision in decider.made],
            "warnings": decider.warnings,
            "seen": [{"what": what, "evidence": text} for what, text in made.facts],
        }
        (draft.path / "adopt.json").write_text(json.dumps(record, indent=2) + "\n")
        draft.notes = {
            "parent": source.ref,
            "conventions": {decision.key: decision.value for decision in decider.made},
            "episodes": len(files.bounds),
            "frames": files.bounds[-1][1],
            "rebuilt_episodes": int(actions.replaced.sum()),
            "before": action_numbers(files),
            "after": action_numbers(LeRobotFiles(draft.path)),
            **notes(checked),
        }
        report = _report(made, draft.spec) if actions.replaced.any() else None
        if report:
            write_report(report, draft.path)
            draft.notes |= report.summary()
    if report:
        print_report(report, draft.done.ref, Console())
    Console().print(f"dataset {draft.done.ref}: {draft.done.path}", markup=False, soft_wrap=True)
    return draft.done


def _report(made: Adoption, spec: Spec) -> RepairReport:
    """How far the rebuilt actions would replay what the arm did."""
    actions, episode, led = made.actions, made.recording.frames.episode, made.actions.led
    return make_report(
        actions.rebuilt,
        episode,
        actions.replaced[episode],
        spec,
        foreign=True,
        notes=made.recording.notes,
        servo=servo_facts(led.servo, led.strayed_mm, led.estimated) if led else None,
        asked_m=led.asked_m if led else None,
    )
