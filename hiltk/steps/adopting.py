"""What `hiltk adopt` and `hiltk fix-actions` share for a dataset made elsewhere: answers are shown, files written."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from hiltk.arm.kinematics import Kinematics
from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import Draft
from hiltk.config.commands import AdoptConf, FixActionsConf, ForeignConf
from hiltk.data.adopt import Adoption
from hiltk.data.adopt_questions import DOUBT, OPEN, Decider, setting
from hiltk.data.converted import Output
from hiltk.data.foreign import write_converted
from hiltk.data.foreign_files import Opened, here
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.errors import ConfigError
from hiltk.reports.adoption_account import adoption_account, print_account
from hiltk.reports.repair_report import (
    RepairReport,
    action_numbers,
    make_report,
    print_report,
    servo_facts,
    write_report,
)
from hiltk.spec import Spec


def wanted(cfg: AdoptConf | FixActionsConf) -> Output:
    """What rebuilt actions are to be."""
    return Output(cfg.action_scale_m, cfg.gripper, cfg.gripper_step, cfg.gripper_threshold, cfg.method)


def with_arm_model[T: (AdoptConf, FixActionsConf)](cfg: T) -> T:
    """The settings with the arm's model under both of its names.

    Raises:
        ConfigError: they differ.
    """
    both = {path for path in (cfg.model_path, cfg.foreign.model_path) if path}
    if len(both) > 1:
        raise ConfigError("the arm has one model", where="model_path and foreign.model_path", fix="keep one")
    path = next(iter(both), "")
    return replace(cfg, model_path=path, foreign=replace(cfg.foreign, model_path=path))


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


def numbered_as[T: ForeignConf](conf: T, opened: Opened) -> T:
    """The settings, episodes numbered as in what was opened instead of as in the original.

    Raises:
        ConfigError: there never was such an episode.
        UserError: it was left out.
    """
    chosen = here(opened, conf.successful_episodes, "foreign.successful_episodes")
    return replace(conf, successful_episodes=chosen)


def print_adoption(decider: Decider, adoption: Adoption | None, opened: Opened, source: Artifact) -> None:
    """Every answer with its evidence below it, warnings last."""
    console, files = Console(highlight=False), opened.files
    about = f"{source.ref}: {len(files.bounds)} episodes, {files.bounds[-1][1]} frames, {files.fps:g} fps"
    console.print(about, style="bold", markup=False, soft_wrap=True)
    for made in decider.made:
        value = "?" if made.value is None else setting(made.value)
        style = "yellow" if made.how in (OPEN, DOUBT) else "bold"
        console.print(f"  {made.key}={value}  ({made.how})", style=style, markup=False, soft_wrap=True)
        console.print(Padding(escape(made.evidence), (0, 0, 0, 6)))
    for name, text in [*opened.notes, *(adoption.facts if adoption else [])]:
        console.print(f"  {name}  (seen)", markup=False)
        console.print(Padding(escape(text), (0, 0, 0, 6)))
    for warning in decider.warnings:
        console.print(f"caution: {warning}", style="yellow", markup=False)


def write_adopted(
    draft: Draft,
    opened: Opened,
    decider: Decider,
    made: Adoption,
    source: Artifact,
    model_path: str,
    kin: Kinematics,
) -> RepairReport | None:
    """Write a dataset made elsewhere as one of hiltk's.

    Returns:
        What was rebuilt; None where all actions were kept.
    """
    files, recording, actions = made.files, made.recording, made.actions
    spec = made.spec(model_path)
    draft.spec = write_converted(
        files, made.conf, spec, recording.joints_deg, actions.rebuilt, kin, draft.path, recording.frames
    )
    record = {
        "answers": [asdict(decision) for decision in decider.made],
        "warnings": decider.warnings,
        "seen": [{"what": what, "evidence": text} for what, text in [*opened.notes, *made.facts]],
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
    }
    left_out = [
        f"{what}: {why.removeprefix('left out: ')}" for what, why in opened.notes if "left out" in why
    ] + made.recording.frames.notes
    account = adoption_account(source.path, draft.path, draft.spec, left_out)
    draft.notes["account"] = asdict(account)
    print_account(account, Console())
    if not actions.replaced.any():
        return None
    report = _report(made, draft.spec)
    write_report(report, draft.path)
    draft.notes |= report.summary()
    return report


def print_adopted(report: RepairReport | None, done: Artifact) -> None:
    """What was rebuilt, and where the dataset is."""
    if report:
        print_report(report, done.ref, Console())
    Console().print(f"dataset {done.ref}: {done.path}", markup=False, soft_wrap=True)


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
