"""`hiltk adopt`: a spec for a dataset made elsewhere, inferred from its data, with the evidence for every answer."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.prompt import Prompt

from hiltk.arm.kinematics import Kinematics
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_written, notes, refuse
from hiltk.config.commands import AdoptConf
from hiltk.data.adopt import adopt, check_conventions
from hiltk.data.adopt_questions import Ask, Decider, Guess, setting
from hiltk.data.foreign_files import open_foreign
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.errors import ConfigError, UserError
from hiltk.steps.adopting import (
    check_numbers,
    numbered_as,
    print_adopted,
    print_adoption,
    wanted,
    with_arm_model,
    write_adopted,
)


def run(cfg: AdoptConf) -> Artifact:
    """Write a new version of a dataset made elsewhere, with its spec; the input is left as it is.

    Raises:
        ConfigError: a statement is no choice, or out of range.
        UserError: the dataset is damaged, has a spec already, or does not determine everything and nobody can be asked;
            or a step that reads the result would refuse it.
    """
    expand(cfg.checks.ignore, "checks.ignore")
    cfg = with_arm_model(cfg)
    check_numbers(cfg)
    check_conventions(cfg.foreign, cfg.method)
    source = resolve(cfg.dataset, "datasets", cfg.root)
    if (source.path / SPEC_FILE).is_file():
        raise UserError(
            "the dataset has a spec already",
            where=str(source.path / SPEC_FILE),
            fix=f"hiltk show {cfg.dataset}; zero actions are rebuilt by `hiltk fix-actions`",
        )
    with open_foreign(source.path, cfg.foreign.cameras, cfg.foreign.task) as opened:
        files, kin = opened.files, Kinematics(cfg.model_path)
        decider = Decider(numbered_as(cfg.foreign, opened), _person())
        adoption = adopt(files, decider, wanted(cfg), kin)
        print_adoption(decider, adoption, opened, source)
        decider.require_settled(str(source.path))
        assert adoption is not None, "only open questions leave an adoption undone"
        with create("datasets", cfg.name, root=cfg.root, step="adopt", cfg=cfg, inputs=[source], seed=0) as draft:
            report = write_adopted(draft, opened, decider, adoption, source, cfg.model_path, kin)
            checked = examine_written("adopt", draft.path, cfg.name, draft.spec, cfg.checks.ignore)
            refuse(checked, "adopt")
            draft.notes |= notes(checked)
    print_adopted(report, draft.done)
    return draft.done


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
        raise ConfigError("no answer was given", where=guess.key)
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
