"""The page of `hiltk inspect`: what is in a dataset, in figures, tables and a few sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from hiltk.data.repair import BROKEN_SHARE, ZERO_BELOW
from hiltk.data.survey import Contents, brightness, evenly, sampled_frames
from hiltk.errors import listed
from hiltk.limits import IDLE_END, SHOWS_SUCCESS
from hiltk.reports.colors import FAILURE, INTERVENTION, SUCCESS
from hiltk.reports.curation import MOST_STRIPS, bare, draw_strip
from hiltk.reports.figures import COLORS
from hiltk.reports.page import Cell, Section, Table
from hiltk.reports.page import Figure as Picture
from hiltk.spec import IMAGE_PREFIX

DRIFT = 0.15  # of the mean brightness (D10)
MOST_NAMED = 8  # joints or episodes in a sentence
MOST_ROWS = 200  # episodes in the page's table; all are in table.csv


# ---------------------------------------------------------------- in short


def facts(contents: Contents, episodes: pd.DataFrame, states: pd.DataFrame, actions: pd.DataFrame) -> list[str]:
    """What somebody should know before training on it."""
    found = [_size(contents, episodes), *contents.notes, *_success(contents)]
    found += [*(_idle(episodes) if contents.state_dims else []), *_takeovers(contents, episodes)]
    if contents.state_dims:
        found += _states(states)
    if contents.action_dims:
        found += _actions(contents, actions)
    return found


def _states(states: pd.DataFrame) -> list[str]:
    found, still = [], states.name[states.still].tolist()
    if still:
        found.append(
            f"{listed(still, MOST_NAMED)} hardly moved: {'its' if len(still) == 1 else 'their'} statistics need floors "
            "(hiltk's have them; `hiltk stats` gives them to LeRobot's)."
        )
    outside = states[states.outside > 0]
    found += [f"{row.name}: {_percent(row.outside)} of the frames outside the spec's range."
              for row in outside.itertuples(index=False)]  # fmt: skip
    return found


def _actions(contents: Contents, actions: pd.DataFrame) -> list[str]:
    moves = actions[~actions.name.str.contains("gripper")]  # which is meant to open and close fully
    clipped = moves[moves.at_limit > 0.1]
    found = [
        f"{row.name}: {_percent(row.at_limit)} of the actions at the limit." for row in clipped.itertuples(index=False)
    ]
    zero = float((np.abs(contents.action[contents.acts]) < ZERO_BELOW).all(1).mean()) if contents.acts.any() else 0.0
    if zero > BROKEN_SHARE:
        found.append(
            f"{_percent(zero)} of the actions are zero in every dimension: `hiltk fix-actions` rebuilds lost ones."
        )
    return found


def _size(contents: Contents, episodes: pd.DataFrame) -> str:
    minutes = episodes.seconds.sum() / 60
    lengths = f"{episodes.frames.min()} to {episodes.frames.max()}, median {episodes.frames.median():.0f}"
    task = f" of '{contents.task}'" if contents.task else ""
    return (
        f"{len(episodes)} episodes{task}, {int(episodes.frames.sum())} frames, {minutes:.1f} minutes at "
        f"{contents.files.fps:g} Hz. Frames per episode: {lengths}."
    )


def _success(contents: Contents) -> list[str]:
    if contents.success is None:
        return ["There are no success labels: `hiltk adopt` gives the dataset a spec, `hiltk label` labels it."]
    ended, share = contents.ended_in_success, float(contents.success.mean())
    if not contents.success.any():
        return [f"None of the {len(ended)} episodes shows success in any frame."]
    text = f"{int(ended.sum())} of {len(ended)} episodes ended in success; {_percent(share)} of all frames show it."
    few = " That is little for a reward classifier." if share < SHOWS_SUCCESS else ""
    return [text + few]


def _idle(episodes: pd.DataFrame) -> list[str]:
    share = float(np.average(episodes.idle, weights=episodes.frames))
    late = episodes.episode[episodes.idle_at_end > IDLE_END].tolist()
    text = f"The arm stands still in {_percent(share)} of the steps."
    if late:
        named = listed(late, MOST_NAMED)
        text += f" In {len(late)} episodes it does at the end, for over {IDLE_END:.0%}: {named}."
    return [text]


def _takeovers(contents: Contents, episodes: pd.DataFrame) -> list[str]:
    if not contents.intervention.any():
        return []
    count = int((episodes.intervention > 0).sum())
    share = float(np.average(episodes.intervention, weights=episodes.frames))
    return [f"A human took over in {count} of {len(episodes)} episodes, for {_percent(share)} of all steps."]


def drift_fact(camera: str, values: np.ndarray) -> str:
    """A sentence where brightness differs much between parts of the recording; empty otherwise."""
    tenths = [part.mean() for part in np.array_split(values, min(10, len(values)))]
    spread = (max(tenths) - min(tenths)) / max(float(np.mean(values)), 1e-6)
    if spread <= DRIFT:
        return ""
    return f"The {camera} camera's brightness drifts by {_percent(spread)} of its mean over the recording."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


# ---------------------------------------------------------------- sections


def episodes_section(contents: Contents, episodes: pd.DataFrame, turns: np.ndarray, file: Path) -> Section:
    """Every episode as a strip, and the table of episodes."""
    _strips(contents, turns, file)
    text = ["Each bar is one episode, from left to right in time."]
    alt = f"{len(episodes)} episodes as bars, coloured where success shows and where a human took over."
    caption = "Triangles: the gripper opens (up) or closes (down)." if turns.any() else ""
    return Section("Episodes", text, figures=[Picture(file, alt, caption)])


def _strips(contents: Contents, turns: np.ndarray, file: Path) -> None:
    shown = evenly(len(contents.bounds), MOST_STRIPS)
    figure = Figure(figsize=(7.2, 1.3 + 0.17 * len(shown)), layout="constrained")
    axis = figure.subplots()
    fps = contents.files.fps
    for place, episode in enumerate(shown):
        start, stop = contents.bounds[episode]
        draw_strip(axis, _colors(contents, start, stop), place + 0.1, 0.8, fps)
        for sign, marker in ((1, "^"), (-1, "v")):
            times = (np.flatnonzero(turns[start:stop] == sign) + 0.5) / fps
            axis.plot(times, np.full(len(times), place + 0.5), marker, ms=3.2, color="black", mew=0)
    ticks = np.arange(0, len(shown), max(1, len(shown) // 15))
    axis.set_yticks(ticks + 0.5, [str(shown[t]) for t in ticks])
    axis.set(ylim=(len(shown), 0), xlabel="seconds", ylabel="episode")
    axis.set_xlim(left=0)
    kinds = [(FAILURE, "no success"), (SUCCESS, "success shows"), (INTERVENTION, "human took over")]
    used = [True, contents.success is not None and contents.success.any(), contents.intervention.any()]
    handles = [Patch(color=color, label=label) for (color, label), use in zip(kinds, used, strict=True) if use]
    axis.legend(handles=handles, ncols=3, frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1.0))
    bare(axis)
    _save(figure, file)


def _colors(contents: Contents, start: int, stop: int) -> list[str]:
    colors = np.full(stop - start, FAILURE, dtype=object)
    if contents.success is not None:
        colors[contents.success[start:stop]] = SUCCESS
    colors[contents.intervention[start:stop]] = INTERVENTION
    return colors.tolist()


def contact_section(contents: Contents, episodes: int, folder: Path) -> Section | None:
    """First, middle and last frame of some episodes, a figure per camera."""
    shown = evenly(len(contents.bounds), episodes)
    pictures = []
    for camera in contents.cameras:
        name = camera.removeprefix(IMAGE_PREFIX)
        file = folder / f"contact_{name.replace('.', '_')}.png"
        _contact_sheet(contents, camera, shown, file)
        alt = f"First, middle and last frame of {len(shown)} episodes, {name} camera."
        pictures.append(Picture(file, alt, f"{name}: first, middle and last frame."))
    return Section("Contact sheet", figures=pictures) if pictures else None


def _contact_sheet(contents: Contents, camera: str, shown: np.ndarray, file: Path) -> None:
    rows = np.concatenate([_first_middle_last(*contents.bounds[e]) for e in shown])
    frames = list(sampled_frames(contents.files, camera, rows))
    height, width = frames[0].shape[:2]
    columns = min(len(shown), 3)
    lines = -(-len(shown) // columns)
    card = 7.2 / columns
    narrow = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.02, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(7.2, lines * (card * height / (3 * width) + 0.24)), layout=narrow)
    axes = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axis in axes:
        axis.set_axis_off()
    for i, episode in enumerate(shown):
        gap = np.full((height, max(1, width // 40), 3), 255, np.uint8)
        first, middle, last = frames[3 * i : 3 * i + 3]
        axes[i].imshow(np.hstack([first, gap, middle, gap, last]), interpolation="nearest")
        ended = ", success" if contents.ended_in_success[episode] else ""
        axes[i].set_title(f"{episode}{ended}", fontsize=8, loc="left", pad=2, color=SUCCESS if ended else "#33383d")
    _save(figure, file)


def _first_middle_last(start: int, stop: int) -> list[int]:
    return [start, (start + stop - 1) // 2, stop - 1]


def brightness_section(contents: Contents, most: int, file: Path) -> tuple[Section | None, list[str]]:
    """Mean brightness of evenly chosen frames over the recording, a line per camera; and sentences about its drift."""
    rows = evenly(contents.bounds[-1][1], most)
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    axis = figure.subplots()
    said = []
    for i, camera in enumerate(contents.cameras):
        name, values = camera.removeprefix(IMAGE_PREFIX), brightness(contents.files, camera, rows)
        axis.plot(
            contents.episode[rows] + _within(contents, rows), 100 * values, color=COLORS[i + 1], lw=1.4, label=name
        )
        said.append(drift_fact(name, values))
    if not contents.cameras:
        return None, []
    changes = [e for e in range(1, len(contents.session)) if contents.session[e] != contents.session[e - 1]]
    for episode in changes:
        axis.axvline(episode, color="#33383d", lw=1.0, ls=(0, (4, 3)))
    axis.set(xlabel="episode", ylabel="% of white", ylim=(0, 100), xlim=(0, len(contents.bounds)))
    axis.grid(axis="y", color="#e1e5e8")
    axis.legend(frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    axis.spines[["top", "right"]].set_visible(False)
    _save(figure, file)
    caption = f"Mean of {len(rows)} frames of each camera." + (" Dashed: another session." if changes else "")
    alt = "Brightness of each camera over the episodes."
    return Section("Brightness over time", figures=[Picture(file, alt, caption)]), [s for s in said if s]


def _within(contents: Contents, rows: np.ndarray) -> np.ndarray:
    """How far into its episode each row is, 0 to 1."""
    starts, stops = (np.array(side)[contents.episode[rows]] for side in zip(*contents.bounds, strict=True))
    return (rows - starts) / (stops - starts)


def actions_section(contents: Contents, actions: pd.DataFrame, file: Path) -> Section:
    """A histogram per action dimension, and their numbers."""
    values = contents.action[contents.acts]
    columns = min(4, max(1, len(actions)))
    lines = -(-len(actions) // columns)
    figure = Figure(figsize=(7.2, 1.9 * lines), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axis in axes[len(actions) :]:
        axis.set_visible(False)
    for i, (axis, d) in enumerate(zip(axes, contents.action_dims, strict=False)):
        low, high = min(d.low, values[:, i].min(initial=0)), max(d.high, values[:, i].max(initial=0))
        counts, edges = np.histogram(values[:, i], bins=41, range=(low, high if high > low else low + 1))
        axis.bar(edges[:-1], 100 * counts / max(1, counts.sum()), np.diff(edges), align="edge", color=SUCCESS)
        axis.set_title(d.name, fontsize=9)
        axis.tick_params(labelsize=8, length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.set_ylabel("% of actions" if i % columns == 0 else "", fontsize=8)
    _save(figure, file)
    head = ["dimension", "min", "mean", "max", "std", "zero", "at the limit"]
    body = [
        [Cell(r.name), *(Cell(f"{v:.3g}") for v in (r.min, r.mean, r.max, r.std)), _shared(r.zero), _shared(r.at_limit)]
        for r in actions.itertuples(index=False)
    ]
    alt = f"Histograms of {', '.join(actions.name)}."
    return Section("Actions", tables=[Table([[Cell(h) for h in head]], body)], figures=[Picture(file, alt)])


def states_section(states: pd.DataFrame) -> Section:
    """The range of every state dimension beside the spec's."""
    head = [
        [Cell(""), Cell("in the dataset", span=5, first=True), Cell("in the spec", span=3, first=True)],
        [Cell(t) for t in ("dimension", "min", "1 %", "median", "99 %", "max", "low", "high", "outside")],
    ]
    body = [
        [
            Cell(f"{r.name} ({r.unit})" if r.unit else r.name),
            *(Cell(f"{v:.4g}", first=i == 0) for i, v in enumerate((r.min, r.p1, r.median, r.p99, r.max))),
            *(Cell("" if np.isnan(v) else f"{v:.4g}", first=i == 0) for i, v in enumerate((r.low, r.high))),
            _shared(r.outside),
        ]
        for r in states.itertuples(index=False)
    ]
    return Section("States", tables=[Table(head, body)])


def table_section(episodes: pd.DataFrame) -> Section:
    """The table of episodes, as far as a page can show it; closed at first."""
    shown = episodes.head(MOST_ROWS)
    shown = shown[[c for c in shown if c == "episode" or shown[c].astype(str).str.len().any()]]
    shares = ("idle", "idle_at_start", "idle_at_end", "intervention", "zero_actions")
    body = [
        [_shared(v) if c in shares else Cell(str(v)) for c, v in zip(shown, row, strict=True)]
        for row in shown.itertuples(index=False)
    ]
    rest = f" The first {MOST_ROWS} of {len(episodes)}." if len(episodes) > MOST_ROWS else ""
    head = [[Cell(c.replace("_", " ")) for c in shown]]
    text = [f"All numbers are in table.csv, too.{rest} Episodes and frames count from 0."]
    return Section("Episode by episode", text, tables=[Table(head, body)], folded=True)


def _shared(share: float) -> Cell:
    return Cell(_percent(share), share=min(1.0, float(share)))


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, dpi=130, facecolor="white")
