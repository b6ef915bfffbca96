"""`hiltk inspect`: what is in a dataset, as one page, one table per episode and a few lines in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import InspectConf
from hiltk.data.survey import Contents, Rules, action_table, episode_table, gripper_turns, read_contents, state_table
from hiltk.errors import ConfigError
from hiltk.reports.inspection import (
    actions_section,
    brightness_section,
    contact_section,
    episodes_section,
    facts,
    states_section,
    table_section,
)
from hiltk.reports.page import Section, render


def run(cfg: InspectConf) -> Artifact:
    """Read the columns of a dataset and few of its frames; write ``index.html``, ``figures/`` and ``table.csv``.

    Raises:
        ConfigError: a setting is out of range.
        UserError: the dataset cannot be used.
    """
    _check(cfg)
    source = resolve(cfg.dataset, "datasets", cfg.root)
    contents = read_contents(source.path, source.ref)
    with create("reports", cfg.name, root=cfg.root, step="inspect", cfg=cfg, inputs=[source], seed=0) as draft:
        said, sections = _page(contents, cfg, draft.path)
        page = render(f"Dataset {source.ref}", said, sections, [source])
        (draft.path / "index.html").write_text(page, encoding="utf-8")
    _print(source.ref, said, draft.done, Console())
    return draft.done


def _check(cfg: InspectConf) -> None:
    for key, least in (("episodes", 1), ("brightness_frames", 2)):
        if getattr(cfg, key) < least:
            raise ConfigError(f"must be at least {least}", where=f"{key}={getattr(cfg, key)}")
    for key in ("idle_below", "gripper_turn"):
        if not getattr(cfg, key) > 0:
            raise ConfigError("must be above 0", where=f"{key}={getattr(cfg, key)}")


def _page(contents: Contents, cfg: InspectConf, folder: Path) -> tuple[list[str], list[Section]]:
    """Facts and sections; figures and the table are written on the way."""
    rules = Rules(cfg.idle_below, cfg.gripper_turn)
    episodes, states, actions = episode_table(contents, rules), state_table(contents), action_table(contents)
    episodes.to_csv(folder / "table.csv", index=False)
    figures = folder / "figures"
    figures.mkdir()
    turns = gripper_turns(contents, rules.gripper_turn)
    light, drifts = brightness_section(contents, cfg.brightness_frames, figures / "brightness.png")
    found: list[Section | None] = [
        episodes_section(contents, episodes, turns, figures / "episodes.png"),
        contact_section(contents, cfg.episodes, figures),
        light,
        actions_section(contents, actions, figures / "actions.png") if contents.action_dims else None,
        states_section(states) if contents.state_dims else None,
        table_section(episodes),
    ]
    return facts(contents, episodes, states, actions) + drifts, [section for section in found if section]


def _print(name: str, said: list[str], report: Artifact, console: Console) -> None:
    table = Table(title=name, show_header=False)
    for fact in said:
        table.add_row(fact)
    console.print(table)
    console.print(f"report {report.ref}: {report.path / 'index.html'}", markup=False, soft_wrap=True)
