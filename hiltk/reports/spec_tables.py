"""A spec, and the differences between two artifacts, as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from hiltk.artifacts.provenance import flat
from hiltk.artifacts.store import Artifact, spec_file
from hiltk.data.lerobot_io import dataset_spec
from hiltk.errors import UserError
from hiltk.spec import Difference, Dimension, GripperFormat, ImageSpec, Spec, Stats, compare, refusing_steps

UNKNOWN = "unknown"


# ---------------------------------------------------------------- one spec


def spec_and_run(artifact: Artifact) -> tuple[Spec | None, dict[str, Any]]:
    """The spec (None for kinds that have none, e.g. reports) and ``run.yaml`` of an artifact.

    Raises:
        UserError: it is no artifact, or one of its files is damaged.
    """
    if artifact.kind == "datasets":
        return dataset_spec(artifact.path), artifact.run()  # also checks the tables against the spec
    if spec_file(artifact.kind, artifact.path).is_file():
        return artifact.spec(), artifact.run()
    if record := artifact.run():
        return None, record
    raise UserError(
        "this folder is no artifact of hiltk's", where=str(artifact.path), fix="name a dataset, policy, ..."
    )


def spec_tables(spec: Spec, kind: str = "") -> list[Table]:
    """Everything the spec of an artifact of this kind says, in the order a reader asks."""
    tables = [_pairs("contract", contract_rows(spec)), _pairs("reward", reward_rows(spec, kind))]
    tables += [_pairs("robot", robot_rows(spec)), _dimensions("state", spec.state.dims, spec.stats)]
    tables += [_dimensions("action", spec.action.dims, spec.stats), _cameras(spec.images)]
    return tables + ([_dimensions("joint limits", spec.robot.joints, {})] if spec.robot.joints else [])


def contract_rows(spec: Spec) -> list[tuple[str, str]]:
    """What state, action and time mean."""
    action = spec.action
    full = f"{action.scale_m:g} m a step at full action, {action.frame} frame" if action.scale_m else "as its units say"
    gripper = action.gripper.name
    if action.gripper is not GripperFormat.none:
        gripper += f", {action.gripper_step:g} of 0..100 a step at full action"
    sources = ", ".join(f"{key} from {stats.source}" for key, stats in spec.stats.items())
    return [
        ("task", spec.task or UNKNOWN),
        ("fps", f"{spec.fps:g}"),
        ("action scale", full),
        ("action semantics", action.semantics.name),
        ("gripper", gripper),
        ("statistics", sources or "none"),
        ("fingerprint", spec.fingerprint()),
    ]


def reward_rows(spec: Spec, kind: str = "") -> list[tuple[str, str]]:
    """Who judges success, for how long, and the rewards; in a classifier's own spec (``kind``) that is itself."""
    r = spec.reward
    who = "this classifier" if kind == "classifiers" else f"classifier {r.classifier or UNKNOWN}"
    judge = f"{who} at probability {r.threshold:g}" if r.source == "classifier" else r.source
    meaning = {"truncated": "cut short: values bootstrap past it", "terminal": "an end: no bootstrapping"}
    return [
        ("success judged by", judge),
        ("must hold", f"{r.hold_steps} steps, not before step {r.min_steps}"),
        ("reward", f"{r.success_value:g} at success, {r.step_value:g} every other step"),
        ("time-out", f"{r.timeout} ({meaning.get(r.timeout, '')})"),
    ]


def robot_rows(spec: Spec) -> list[tuple[str, str]]:
    """Which arm, calibrated how, and where episodes start."""
    r = spec.robot
    return [
        ("robot", r.name or UNKNOWN),
        *([("arm's file", f"{r.arm} {r.arm_hash}")] if r.arm else []),
        ("model hash", r.model_hash or UNKNOWN),
        ("end effector", r.ee_site or UNKNOWN),
        ("calibration", " ".join(filter(None, (r.calibration_id, r.calibration_hash))) or UNKNOWN),
        ("locked joints", ", ".join(r.locked) or "none"),
        (
            "workspace",
            f"{_numbers(r.workspace_low_m)} to {_numbers(r.workspace_high_m)} m" if r.workspace_low_m else UNKNOWN,
        ),
        ("reset position", f"{_numbers(r.reset_ee_m)} m, ± {_numbers(r.reset_noise_m)}" if r.reset_ee_m else UNKNOWN),
        ("reset joints", _numbers(r.reset_joints) or UNKNOWN),
    ]


def _numbers(values: list[float]) -> str:
    return " ".join(f"{v:.4g}" for v in values)


def _pairs(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows:
        table.add_row(escape(name), escape(value))
    return table


def _dimensions(title: str, dims: list[Dimension], stats: dict[str, Stats]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("name", "unit", "range", "frame", "mean", "std"):
        table.add_column(column, no_wrap=column == "name")
    known = stats.get({"state": "observation.state"}.get(title, title))
    for i, d in enumerate(dims):
        ranged = f"{d.low:.4g} to {d.high:.4g}" if d.low < d.high else UNKNOWN
        spread = (f"{known.mean[i]:.4g}", f"{known.std[i]:.4g}") if known and len(known.mean) == len(dims) else ("", "")
        table.add_row(*map(escape, (d.name, d.unit, ranged, d.frame, *spread)))
    return table


def _cameras(images: list[ImageSpec]) -> Table:
    table = Table(title="cameras", title_justify="left")
    for column in ("name", "native", "crop", "resized to", "colour", "values"):
        table.add_column(column)
    for i in images:
        crop = "{2} x {3} at {0}, {1}".format(*i.crop) if i.crop else "whole frame"
        camera = [
            i.driver,
            f"{i.native_fps:g} Hz" if i.native_fps else "",
            f"exposure {i.exposure}" if i.exposure else "",
        ]
        native = ", ".join(filter(None, (f"{i.native_height} x {i.native_width}", *camera)))
        sizes = (native, crop, f"{i.height} x {i.width}")
        table.add_row(*map(escape, (i.name, *sizes, i.color, f"{i.dtype} {i.low:g} to {i.high:g}")))
    return table


# ---------------------------------------------------------------- two artifacts


@dataclass(frozen=True)
class SpecDifference:
    """One named difference of two specs, and the steps that refuse to join them because of it."""

    path: str
    left: Any
    right: Any
    refused_by: tuple[str, ...]


def spec_differences(left: Spec, right: Spec, kinds: tuple[str, str] = ("", "")) -> list[SpecDifference]:
    """All named differences but statistics, those first for which the two cannot be joined.

    Args:
        kinds: of the two artifacts, e.g. ``datasets``: only datasets can be merged.
    """
    steps = refusing_steps(left, right, kinds)
    found = [d for d in compare(left, right) if not d.path.startswith("stats")]
    rows = [SpecDifference(d.path, d.left, d.right, steps.get(d.path, ())) for d in found]
    return sorted(rows, key=lambda row: -len(row.refused_by))


def config_differences(left: dict[str, Any], right: dict[str, Any], *, ignore: Collection[str]) -> list[Difference]:
    """In what two records (``run.yaml``) differ: the step, and the settings, by dotted name.

    A setting that only one run has is None in the other; between runs of different steps such settings say nothing and
    are left out.
    """
    before, after = flat(left.get("config") or {}), flat(right.get("config") or {})
    steps = [Difference("step", left.get("step"), right.get("step"))]
    if steps[0].left == steps[0].right:
        steps, keys = [], [*before, *(k for k in after if k not in before)]
    else:
        keys = [k for k in before if k in after]
    keys = [k for k in keys if k.split(".")[0] not in ignore]
    return steps + [Difference(k, before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)]


@dataclass(frozen=True)
class StatsDifference:
    """One dimension of which two artifacts have other statistics.

    Attributes:
        name: e.g. ``observation.state: elbow_flex.pos``.
        left: mean, std, low, high; empty where the first artifact has none.
        right: the same of the second.
        shift: distance of the means in standard deviations (the larger of the two); NaN where one is missing.
        ratio: the second standard deviation by the first.
    """

    name: str
    left: tuple[float, ...]
    right: tuple[float, ...]
    shift: float
    ratio: float


def stats_differences(left: Spec, right: Spec, *, tolerance: float = 1e-6) -> list[StatsDifference]:
    """Dimensions whose statistics differ by more than ``tolerance`` of size or spread, the largest shift first."""
    a, b = _by_dimension(left), _by_dimension(right)
    names = [*a, *(n for n in b if n not in a)]
    rows = [_stats_row(n, a.get(n, ()), b.get(n, ())) for n in names if not _close(a.get(n), b.get(n), tolerance)]
    return sorted(rows, key=lambda row: -row.shift if math.isfinite(row.shift) else -math.inf)


def _by_dimension(spec: Spec) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for key, stats in spec.stats.items():
        known = {"observation.state": spec.state.names, "action": spec.action.names}.get(key, [])
        names = known if len(known) == len(stats.mean) else [str(i) for i in range(len(stats.mean))]
        columns = zip(stats.mean, stats.std, stats.low, stats.high, strict=False)
        found |= {f"{key}: {name}": values for name, values in zip(names, columns, strict=False)}
    return found


def _close(a: tuple[float, ...] | None, b: tuple[float, ...] | None, tolerance: float) -> bool:
    if a is None or b is None:
        return False
    return all(math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance * a[1]) for x, y in zip(a, b, strict=True))


def _stats_row(name: str, a: tuple[float, ...], b: tuple[float, ...]) -> StatsDifference:
    if not (a and b):
        return StatsDifference(name, a, b, math.nan, math.nan)
    return StatsDifference(name, a, b, abs(a[0] - b[0]) / max(a[1], b[1]), b[1] / a[1])


def difference_tables(
    specs: list[SpecDifference], config: list[Difference], stats: list[StatsDifference], names: tuple[str, str]
) -> list[Table]:
    """The three tables of `hiltk diff`; those without rows are left out."""
    tables = []
    if specs:
        table = _compared("spec", ("field", *names, "refused by"))
        for row in specs:
            cells = (row.path, _cell(row.left), _cell(row.right), "\n".join(row.refused_by) or "no step")
            table.add_row(*map(escape, cells), style="red" if row.refused_by else "")
        table.columns[-1].no_wrap = True
        tables.append(table)
    if config:
        table = _compared("config", ("setting", *names))
        for difference in config:
            table.add_row(*map(escape, (difference.path, _cell(difference.left), _cell(difference.right))))
        tables.append(table)
    if stats:
        columns = ("dimension", "\n".join(names), "shift,\nin std", "std\nratio")  # one above the other: 80 columns
        table = _compared("statistics: mean ± std [lowest, highest]", columns)
        for s in stats:
            both = f"{_summary(s.left)}\n{_summary(s.right)}"
            name = s.name.removeprefix("observation.")
            table.add_row(*map(escape, (name, both, f"{s.shift:.3g}", f"{s.ratio:.3g}")))
        tables.append(table)
    return tables


def _compared(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(escape(column), overflow="fold", no_wrap=place == 0)
    return table


def _cell(value: Any) -> str:
    if isinstance(value, dict):  # a camera or dimension that only one of them has; `hiltk show` has its fields
        return "there"
    return "-" if value is None else str(value)


def _summary(values: tuple[float, ...]) -> str:
    return "{:.4g} ± {:.3g} [{:.4g}, {:.4g}]".format(*values) if values else "-"
