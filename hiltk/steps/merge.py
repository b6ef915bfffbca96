"""`hiltk merge`: the episodes of several datasets as one."""

from __future__ import annotations

from rich.console import Console

from hiltk.artifacts.store import Artifact, resolve_each
from hiltk.artifacts.writing import create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_change
from hiltk.config.commands import MergeConf
from hiltk.data.curate import CAN_BE_ALLOWED, merge, summarise
from hiltk.data.dataset import open_dataset
from hiltk.errors import ConfigError, nearest
from hiltk.reports.curation import print_change


def run(cfg: MergeConf) -> Artifact:
    """Write one dataset of several whose specs agree; every episode keeps the name of the dataset it came from.

    Raises:
        ConfigError: fewer than two are named, one is named twice, or a field cannot be allowed to differ.
        UserError: one cannot be used, two do not fit together, or a check finds an error in
            the result that none of them has.
    """
    _check(cfg)
    sources = resolve_each(cfg.datasets, "datasets", cfg.root)
    datasets = [open_dataset(source.path, source.ref) for source in sources]
    with create("datasets", cfg.name, root=cfg.root, step="merge", cfg=cfg, inputs=sources, seed=0) as draft:
        draft.spec = merge(datasets, draft.path, allow=cfg.allow)
        before = {s.ref: summarise(d).to_dict() for s, d in zip(sources, datasets, strict=True)}
        after = summarise(open_dataset(draft.path)).to_dict()
        draft.notes = {"parent": [s.ref for s in sources], "before": _columns(before), "after": after}
        examine_change("merge", cfg, draft, sources)
    print_change(f"merged {draft.done.ref}", _columns(before), after, Console())
    return draft.done


def _check(cfg: MergeConf) -> None:
    expand(cfg.checks.ignore, "checks.ignore")
    if len(cfg.datasets) < 2:
        raise ConfigError("at least two datasets are needed", where=f"datasets={cfg.datasets}", fix="datasets=[a,b]")
    for field in cfg.allow:
        if not any(field == f or field.startswith(f"{f}.") for f in CAN_BE_ALLOWED):
            fix = nearest(field, CAN_BE_ALLOWED) or f"of: {', '.join(CAN_BE_ALLOWED)}"
            raise ConfigError(f"datasets that differ in '{field}' cannot be one", where="allow", fix=fix)


def _columns(before: dict[str, dict[str, int]]) -> dict[str, str]:
    """The numbers of several datasets side by side: ``20 + 5``."""
    keys = next(iter(before.values()))
    return {key: " + ".join(str(numbers[key]) for numbers in before.values()) for key in keys}
