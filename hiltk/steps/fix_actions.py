"""`hiltk fix-actions`: rebuild zero or missing actions from joint states; a dataset made elsewhere is adopted."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console

from hiltk.arm.kinematics import Kinematics
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import Draft, create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_written, notes, refuse
from hiltk.config.commands import REBUILD, AdoptedConf, FixActionsConf, StatedConf
from hiltk.data.adopt import adopt_as_stated, check_conventions
from hiltk.data.adopt_questions import Decider
from hiltk.data.fix_actions import fix_actions, write_fixed
from hiltk.data.foreign_files import open_foreign
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import SPEC_FILE, dataset_spec
from hiltk.errors import ConfigError
from hiltk.reports.repair_report import action_numbers, make_report, print_report, write_report
from hiltk.spec import GripperFormat, Semantics, Spec
from hiltk.steps.adopting import (
    check_numbers,
    numbered_as,
    print_adopted,
    print_adoption,
    wanted,
    with_arm_model,
    write_adopted,
)


def run(cfg: FixActionsConf) -> Artifact:
    """Write a new version of a dataset with its actions rebuilt; the input is left as it is.

    A dataset of hiltk's keeps its own action format, and episodes whose actions are sound. A dataset made elsewhere is
    adopted, as ``cfg.foreign`` and the action keys say.

    Raises:
        ConfigError: a convention is unknown or out of range.
        UserError: the dataset cannot be used, or there is nothing to fix.
    """
    expand(cfg.checks.ignore, "checks.ignore")
    check_numbers(cfg)
    source = resolve(cfg.dataset, "datasets", cfg.root)
    return _fix(cfg, source) if (source.path / SPEC_FILE).is_file() else _adopt(cfg, source)


def _adopt(cfg: FixActionsConf, source: Artifact) -> Artifact:
    """Nothing is inferred here but where the joints lie, and all actions are rebuilt."""
    cfg = with_arm_model(cfg)
    check_conventions(cfg.foreign, cfg.method)
    with open_foreign(source.path, cfg.foreign.cameras, cfg.foreign.task) as opened:
        kin = Kinematics(cfg.model_path)
        stated = AdoptedConf(**asdict(numbered_as(cfg.foreign, opened)) | {"actions": REBUILD})
        decider = Decider(stated, inferred=("foreign.joints",))
        adoption = adopt_as_stated(opened.files, decider, wanted(cfg), kin)
        Console().print(
            f"{source.ref} was made elsewhere: adopting it, as `hiltk adopt` does, by what is stated. "
            "`hiltk adopt` infers what is not, and can keep actions.",
            markup=False,
            soft_wrap=True,
        )
        print_adoption(decider, adoption, opened, source)
        decider.require_settled(str(source.path))
        assert adoption is not None, "only open questions leave an adoption undone"
        with create("datasets", cfg.name, root=cfg.root, step="fix-actions", cfg=cfg, inputs=[source], seed=0) as draft:
            report = write_adopted(draft, opened, decider, adoption, source, cfg.model_path, kin)
            _check(cfg, draft)
    print_adopted(report, draft.done)
    return draft.done


def _fix(cfg: FixActionsConf, source: Artifact) -> Artifact:
    """Replace the actions of broken episodes; everything else is copied, cameras included."""
    spec = dataset_spec(source.path)
    files = LeRobotFiles(source.path)
    _require_own_format(cfg, spec, files)
    kin = Kinematics(cfg.model_path)
    fixed = fix_actions(files, spec, kin, threshold=cfg.gripper_threshold, zero_below=cfg.zero_below, force=cfg.force)
    with create("datasets", cfg.name, root=cfg.root, step="fix-actions", cfg=cfg, inputs=[source], seed=0) as draft:
        write_fixed(files, fixed, draft.path)
        draft.spec = fixed.spec
        episode = fixed.recording.frames.episode
        report = make_report(fixed.rebuilt, episode, fixed.rows, fixed.spec, foreign=False, notes=fixed.notes)
        write_report(report, draft.path)
        changed = {"before": action_numbers(files), "after": action_numbers(LeRobotFiles(draft.path))}
        draft.notes = {"parent": source.ref, **changed, **report.summary()}
        _check(cfg, draft)
    print_report(report, draft.done.ref, Console())
    return draft.done


def _check(cfg: FixActionsConf, draft: Draft) -> None:
    """Refuse what a step that reads the dataset would refuse."""
    checked = examine_written("fix-actions", draft.path, cfg.name, draft.spec, cfg.checks.ignore)
    refuse(checked, "fix-actions")
    draft.notes |= notes(checked)


def _require_own_format(cfg: FixActionsConf, spec: Spec, files: LeRobotFiles) -> None:
    """Refuse settings that contradict what the dataset says of itself; defaults do not count as said.

    Raises:
        ConfigError: naming the first.
    """
    own = {
        "action_scale_m": spec.action.scale_m,
        "gripper": spec.action.gripper,
        "gripper_step": spec.action.gripper_step,
        "foreign": StatedConf(),
        "method": Semantics.achieved,
    }
    for key, value in own.items():
        default = StatedConf() if key == "foreign" else getattr(FixActionsConf, key)
        if getattr(cfg, key) not in (value, default):
            said = "foreign.*" if key == "foreign" else f"{key}={_word(getattr(cfg, key))}"
            has = f"it has {key}={_word(value)}"
            if key in ("foreign", "method"):  # hiltk's recorders store actions, no goals of joints
                has = "it is one of hiltk's"
            raise ConfigError(
                "the dataset's own spec decides what its actions mean",
                where=f"{said}, but {has}: {files.path}",
                fix=f"leave {said.split('=')[0]} out; these settings are for datasets made elsewhere",
            )


def _word(value: object) -> str:
    return value.name if isinstance(value, GripperFormat | Semantics) else str(value)
