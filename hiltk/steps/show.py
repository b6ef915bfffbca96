"""`hiltk show`: what an artifact is, in words: its spec, and how it came to be. Writes nothing."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from hiltk.artifacts.store import Artifact, resolve
from hiltk.reports.spec_tables import spec_and_run, spec_tables

MADE = ("step", "status", "started", "finished", "seed", "fingerprint", "peak_memory_mb")


def run(reference: str, *, root: str, as_json: bool = False) -> None:
    """Print an artifact.

    Args:
        reference: as `resolve` takes it, of any kind.
        as_json: print one JSON object (``artifact``, ``run``, ``spec``) instead of tables.

    Raises:
        UserError: there is no such artifact, or it is damaged.
    """
    artifact = resolve(reference, "", root)
    spec, record = spec_and_run(artifact)
    if as_json:
        about = {"ref": artifact.ref, "kind": artifact.kind, "path": str(artifact.path)}
        print(
            json.dumps(
                {"artifact": about, "run": record, "spec": spec.to_dict() if spec else None}, indent=2, default=str
            )
        )
        return
    console = Console()
    console.print(_origin(artifact, record))
    for table in spec_tables(spec, artifact.kind) if spec else []:
        console.print(table)


def _origin(artifact: Artifact, record: dict[str, Any]) -> Table:
    """Where it lies, which step made it of what."""
    table = Table(title=artifact.ref, show_header=False, title_justify="left")
    rows = [("kind", artifact.kind), ("path", str(artifact.path))]
    rows += [(key.replace("_", " "), str(record[key])) for key in MADE if key in record]
    code = record.get("code") or {}
    rows += [("code", f"{code.get('commit', '')[:12]}{' and changes' if code.get('dirty') else ''}")] if code else []
    rows += [("input", f"{i['artifact']}@{i['version']} ({i['fingerprint']})") for i in record.get("inputs") or []]
    known = {*MADE, "code", "inputs", "key", "argv", "config", "packages"}
    rows += [(key.replace("_", " "), str(value)) for key, value in record.items() if key not in known]
    for name, value in rows:
        table.add_row(name, value)
    return table
