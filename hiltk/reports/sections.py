"""The sections of a report, one function per kind of evidence; a section without evidence is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from rich.table import Table as TerminalTable

from hiltk.artifacts.store import Artifact, title_of
from hiltk.diagnostics.record import load
from hiltk.evaluation.tables import TOTAL, TOTAL_NOTE, format_p
from hiltk.intervals import SeedDifference
from hiltk.learning.guards import FILE as GUARDS_FILE
from hiltk.learning.metrics import WINDOW, recent_rate
from hiltk.reports.curation import change_table
from hiltk.reports.figures import (
    WATCHED,
    Runs,
    Survival,
    learning_figure,
    loss_figure,
    success_figure,
    survival_figure,
    watched_figure,
)
from hiltk.reports.milestones import CLOCKS, LEVELS, milestones, waiting
from hiltk.reports.page import Cell, Figure, Section, Table, Video, own_figures
from hiltk.reports.sources import read_csv, training_runs
from hiltk.reports.success import SuccessBoard

LONG = 50  # letters in a cell: such a table is one of sentences
OVER_SEEDS = (
    "Seeds are trainings, each a policy of its own; the rate is their mean, and its 95 % interval includes the "
    "variation between them (beta-binomial, at least the t interval over the seeds)."
)
OVER_EPISODES = "Intervals are 95 % Wilson over the episodes of one training: they say nothing of another seed."
PAIRED_SEEDS = "Differences are paired by seed, on the episodes both policies played; 95 % interval over the seeds."
PAIRED_EPISODES = (
    "Differences are of these two policies, on the episodes both played: 95 % interval, exact McNemar test; they say "
    "nothing of another seed."
)


# ---------------------------------------------------------------- success


def success_section(board: SuccessBoard, file: Path) -> Section:
    """The table and the bars of one evaluation setting; the figure is written to ``file``."""
    success_figure(board, file)
    title = f"Success by stratum ({board.setting})" if board.setting else "Success by stratum"
    seeds = max(len(board.seeds(policy)) for policy in board.policies)
    text = "Success is judged by the task's own predicate, never by the reward classifier. "
    text += OVER_SEEDS if seeds > 1 else OVER_EPISODES
    if len(board.policies) > 1:
        text += f" {PAIRED_SEEDS if seeds > 1 else PAIRED_EPISODES}"
    text += f" {TOTAL_NOTE.capitalize()}."
    bars = ", ".join(f"{p} {100 * board.rate(p).rate:.0f} %" for p in board.policies)
    figure = Figure(
        file,
        f"Bars of success per stratum for each policy; in total {bars}.",
        "Bars: mean of the seeds, with 95 % intervals over them. Dots: single seeds."
        if seeds > 1
        else "With 95 % intervals.",
    )
    return Section(title, [text], [success_table(board)], [figure])


def success_table(board: SuccessBoard) -> Table:
    """Strata by policies: successes per training seed, then their mean with its interval, then differences."""
    first, *others = board.policies
    head = [[Cell("")], [Cell("stratum")]]
    for policy in board.policies:
        names = [f"seed {seed}" for seed in _seed_columns(board, policy)]
        head[0].append(Cell(policy, span=len(names) + 1, first=True))
        head[1] += _grouped([Cell(text) for text in [*names, "mean of the seeds" if names else "success"]])
    for second in others:
        head[0].append(Cell(f"{second} − {first}", first=True))
        head[1].append(Cell("points", first=True))
    return Table(head, [_success_row(board, stratum) for stratum in board.rows], total=True)


def _success_row(board: SuccessBoard, stratum: str) -> list[Cell]:
    row = [Cell(stratum.replace("_", " "))]
    for policy in board.policies:
        singles = [board.single(policy, stratum, seed) for seed in _seed_columns(board, policy)]
        cells = [Cell(f"{rate.count}/{rate.n}", share=rate.rate if rate.n else None) for rate in singles]
        row += _grouped([*cells, _rate_cell(board, policy, stratum)])
    for second in board.policies[1:]:
        gap = board.compare(board.policies[0], second, stratum)
        points, *notes = _difference(gap)
        row.append(Cell(points, note="\n".join(notes), first=True))
    return row


def _rate_cell(board: SuccessBoard, policy: str, stratum: str) -> Cell:
    rate, time = board.rate(policy, stratum), board.time_s(policy, stratum)
    if not rate.n:
        return Cell("")
    said = [f"{rate.count}/{rate.n}"] if len(rate.seeds) == 1 else []
    said += [] if time is None else [f"{time:.1f} s"]
    note = "\n".join(filter(None, (f"{100 * rate.low:.1f} to {100 * rate.high:.1f}", ", ".join(said))))
    return Cell(f"{100 * rate.rate:.1f} %", share=rate.rate, note=note)


def _difference(gap: SeedDifference) -> list[str]:
    """Points, interval, and either every seed's points or, of one pair of policies, McNemar's p; empty without any."""
    if not gap.n:
        return [""]
    singles = " ".join(f"{100 * pair.difference:+.1f}" for pair in gap.seeds)
    last = singles if len(gap.seeds) > 1 else format_p(gap.seeds[0].p_value)
    return [f"{100 * gap.difference:+.1f}", f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}", last]


def _grouped(cells: list[Cell]) -> list[Cell]:
    """The columns of one policy, set apart from those of the one before."""
    cells[0].first = True
    return cells


def _seed_columns(board: SuccessBoard, policy: str) -> list[int]:
    seeds = board.seeds(policy)
    return seeds if len(seeds) > 1 else []


def terminal_table(board: SuccessBoard, title: str = "") -> TerminalTable:
    """The same numbers for a terminal of 80 columns: above the mean of the seeds, below each of them."""
    out = TerminalTable(title=board.setting or title or None, title_justify="left")
    out.add_column("stratum", no_wrap=True)
    for policy in board.policies:
        seeds = ", ".join(map(str, _seed_columns(board, policy)))
        out.add_column(f"{policy}\n" + (f"mean of seeds {seeds}" if seeds else "95 % interval"), justify="right")
    for second in board.policies[1:]:
        out.add_column(f"{second} - {board.policies[0]}\npoints", justify="right")
    for row in board.rows:
        if row == TOTAL:
            out.add_section()
        out.add_row(row, *_terminal_cells(board, row), style="bold" if row == TOTAL else "")
    return out


def _terminal_cells(board: SuccessBoard, stratum: str) -> Iterator[str]:
    for policy in board.policies:
        rate = board.rate(policy, stratum)
        yield f"{rate}\n{rate.singles}"
    for second in board.policies[1:]:
        yield "\n".join(_difference(board.compare(board.policies[0], second, stratum)))


# ---------------------------------------------------------------- learning


def learning_sections(policies: Sequence[Artifact], folder: Path) -> Iterator[Section]:
    """One section per trained policy (all its seeds), one for behaviour cloning."""
    for label, runs in training_runs(policies, "train").items():
        file = folder / f"learning_{_slug(label)}.png"
        learning_figure(runs, file)
        ends = ", ".join(f"{100 * recent_rate(frame).iloc[-1]:.0f} %" for frame in runs.values())
        alt = f"Learning curves of {label}: success over the last {WINDOW} episodes left alone ends at {ends}."
        seeds = "Thin lines: seeds. Thick: their mean. " if len(runs) > 1 else ""
        caption = (
            f"{seeds}Rolling means over {WINDOW} episodes of training, with exploration; of success when left alone "
        )
        caption += (
            "over as many episodes in which nobody was to take over, since only these tell what the policy can do."
        )
        yield Section(f"Learning: {label}", figures=[Figure(file, alt, caption)], more=_watched(label, runs, folder))
    cloned = training_runs(policies, "bc-pretrain")
    losses = {_named(label, seed, runs): frame for label, runs in cloned.items() for seed, frame in runs.items()}
    if losses:
        file = folder / "cloning_loss.png"
        loss_figure(losses, file)
        ends = ", ".join(f"{label} {frame.loss.iloc[-1]:.4f}" for label, frame in losses.items())
        yield Section("Behaviour cloning", figures=[Figure(file, f"Loss of behaviour cloning; at the end: {ends}.")])


def milestone_section(policies: Sequence[Artifact], file: Path) -> Section | None:
    """Time until a policy succeeds by itself, where several trainings were given; the figure is written to ``file``."""
    runs = training_runs(policies, "train")
    if not any(len(seeds) > 1 for seeds in runs.values()):
        return None
    panels: list[Survival] = []
    for level, (clock, (_, name)) in product(LEVELS, CLOCKS.items()):
        found = {label: waiting(seeds, level, clock) for label, seeds in runs.items()}
        curves = {label: times.curve() for label, times in found.items() if times is not None}
        panels += [(f"{100 * level:.0f} % autonomous success", name, curves)] if curves else []
    survival_figure(panels, file)
    text = (
        f"Autonomous success over the last {WINDOW} episodes in which the policy was left alone. Curves are "
        "Kaplan-Meier estimates over the seeds; a seed that never got there counts as long as it ran."
    )
    table = milestones(runs)
    head = [[Cell(t) for t in ("", "level", "seeds there", *(f"median, {name}" for _, name in CLOCKS.values()))]]
    body = [
        [Cell(r.policy), Cell(f"{100 * r.level:.0f} %"), Cell(f"{r.reached} of {r.seeds}")]
        + [Cell("" if math.isnan(time) else f"{time:.0f}") for time in (r.episode, r.human_s)]
        for r in table.itertuples()
    ]
    there = "; ".join(f"{r.policy}: {r.reached} of {r.seeds} at {100 * r.level:.0f} %" for r in table.itertuples())
    alt = f"Survival curves of the time to {' and '.join(f'{100 * level:.0f}' for level in LEVELS)} % success. {there}."
    return Section("Time to success", [text], [Table(head, body)], [Figure(file, alt)])


def _watched(label: str, runs: Runs, folder: Path) -> list[Figure]:
    """What the guards watched, tripped or not, folded away."""
    file = folder / f"watched_{_slug(label)}.png"
    columns = watched_figure(runs, file)
    alt = f"What the guards watched in {label}, by episode: {', '.join(WATCHED[key] for key in columns)}."
    return [Figure(file, alt, "By episode; a line for each seed.")] if columns else []


def guard_section(policies: Sequence[Artifact]) -> Section | None:
    """What the guards of each training run found; None where no run had guards."""
    watched = [p for p in policies if (p.path / GUARDS_FILE).is_file()]
    if not watched:
        return None
    columns = ["episode", "code", "message", "fix"]
    rows = [
        [Cell(text) for text in (title_of(p), str(int(r.episode) + 1), r.code.replace("_", " "), r.message, r.fix)]
        for p in watched
        for r in read_csv(p, GUARDS_FILE, columns).itertuples()
    ]
    if not rows:
        return Section("Guards", [f"No guard tripped in {', '.join(map(title_of, watched))}."])
    head = [[Cell(text) for text in ("run", "episode", "guard", "what it means", "what to do")]]
    return Section("Guards", ["Each guard trips at most once in a run."], [Table(head, rows, words=True)])


def _named(label: str, seed: int | None, runs: object) -> str:
    return label if seed is None else f"{label}, seed {seed}"


# ---------------------------------------------------------------- data


def dataset_sections(datasets: Sequence[Artifact]) -> Iterator[Section]:
    """What making a dataset changed: its numbers before and after, and figures that came with it."""
    for dataset in datasets:
        record, figures = dataset.run(), own_figures(dataset)
        tables = [change_table(record["before"], record["after"])] if {"before", "after"} <= record.keys() else []
        if figures or tables:
            yield Section(f"Dataset: {title_of(dataset)}", tables=tables, figures=figures)


def diagnosis_section(diagnosis: Artifact) -> Section:
    """Verdict, table and pictures of any diagnosis.

    Raises:
        UserError: its record is missing or damaged.
    """
    record = load(diagnosis.path)
    head = [[Cell(str(column).replace("_", " ")) for column in record.table]]
    body = [[Cell(_written(value)) for value in row] for row in record.table.itertuples(index=False)]
    figures = [Figure(diagnosis.path / n, f"{record.title}. {text}", text) for n, text in record.pictures.items()]
    words = any(len(cell.text) > LONG for row in body for cell in row)  # evidence in sentences would run off the page
    tables = [Table(head, body, words=words)]
    return Section(f"Diagnosis: {record.title} ({title_of(diagnosis)})", [record.verdict], tables, figures)


def _written(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.4g}"


# ---------------------------------------------------------------- films


def film_sections(evaluations: Sequence[Artifact]) -> Iterator[Section]:
    """Film strips and films, one section per evaluation that has any; all but the first are folded away."""
    shown = 0
    for evaluation in evaluations:
        strips = [_strip(file) for file in sorted(evaluation.path.glob("filmstrip_*.png"))]
        videos = [_film(file) for file in sorted((evaluation.path / "videos").glob("*.mp4"), key=_in_order)]
        if strips or videos:
            yield Section(f"Episodes: {title_of(evaluation)}", figures=strips, videos=videos, folded=shown > 0)
            shown += 1


def _strip(file: Path) -> Figure:
    policy = file.stem.removeprefix("filmstrip_")
    alt = f"Frames of one success and one failure of {policy}, as far as there are any, from start to end."
    return Figure(file, alt, f"{policy}, from the first frame to the last; one row per camera.")


def _in_order(file: Path) -> tuple[str, bool, str]:
    """By policy, successes first."""
    policy, outcome, _ = file.stem.rsplit("_", 2)
    return policy, outcome != "success", file.stem


def _film(file: Path) -> Video:
    policy, outcome, number = file.stem.rsplit("_", 2)
    return Video(file, f"{policy}: {outcome} {number}")


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in label)
