"""`hiltk export-replay`: a policy's replay buffer as a dataset."""

from __future__ import annotations

from rich.console import Console

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_change
from hiltk.config.commands import ExportReplayConf
from hiltk.data.replay_export import export_store


def run(cfg: ExportReplayConf) -> Artifact:
    """Read the replay store of a trained policy, write a LeRobotDataset.

    Raises:
        UserError: the policy has no experience of its own, its store cannot be read, or a check finds an error in
            the result.
    """
    expand(cfg.checks.ignore, "checks.ignore")
    source = resolve(cfg.policy, "policies", cfg.root)
    with create("datasets", cfg.name, root=cfg.root, step="export-replay", cfg=cfg, inputs=[source], seed=0) as draft:
        episodes = export_store(source.path, source.spec(), draft.path)
        draft.notes = {"episodes": episodes}
        examine_change("export-replay", cfg, draft, [source])
    Console().print(f"exported {episodes} episodes of {source.ref} as {draft.done.ref}")
    return draft.done
