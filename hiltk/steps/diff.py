"""`hiltk diff`: in what two artifacts differ: spec, settings, statistics. Writes nothing."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console

from hiltk.artifacts.provenance import VOLATILE
from hiltk.artifacts.store import resolve
from hiltk.reports.spec_tables import (
    config_differences,
    difference_tables,
    spec_and_run,
    spec_differences,
    stats_differences,
)
from hiltk.spec import Spec


def run(left: str, right: str, *, root: str, as_json: bool = False) -> int:
    """Print the differences of two artifacts of any kind; returns how many there are.

    Names, places and numbers of threads (`VOLATILE` settings) are no differences.

    Raises:
        UserError: there is no such artifact, or one is damaged.
    """
    a, b = resolve(left, "", root), resolve(right, "", root)
    (spec_a, run_a), (spec_b, run_b) = spec_and_run(a), spec_and_run(b)
    one, other = spec_a or Spec(), spec_b or Spec()
    specs = spec_differences(one, other, (a.kind, b.kind)) if spec_a and spec_b else []
    config = config_differences(run_a, run_b, ignore=VOLATILE)
    stats = stats_differences(one, other)
    count = len(specs) + len(config) + len(stats)
    if as_json:
        named = {"spec": [asdict(d) for d in specs], "config": [asdict(d) for d in config]}
        named["statistics"] = [asdict(d) for d in stats]
        print(json.dumps(named, indent=2, default=str))
        return count
    console = Console()
    for table in difference_tables(specs, config, stats, (a.ref, b.ref)):
        console.print(table)
    refused = sum(bool(d.refused_by) for d in specs)
    verdict = f"{count} differences, {refused} of which a step that joins them refuses" if count else "no differences"
    console.print(verdict, markup=False)
    return count
