"""`hiltk export-policy`: a policy as a folder that LeRobot loads."""

from __future__ import annotations

from rich.console import Console

from hiltk.agents.lerobot_policy import check_exportable, export
from hiltk.agents.make import load_policy
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import ExportPolicyConf


def run(cfg: ExportPolicyConf) -> Artifact:
    """Read a policy, write a LeRobot policy folder beside the spec that says what its numbers mean.

    Raises:
        UserError: LeRobot has no network like the policy's.
    """
    source = resolve(cfg.policy, "policies", cfg.root)
    policy = load_policy(source.path)
    check_exportable(policy)
    with create("exports", cfg.name, root=cfg.root, step="export-policy", cfg=cfg, inputs=[source], seed=0) as draft:
        export(policy, draft.path, stochastic=cfg.stochastic)
        draft.spec = policy.spec
    acts = "samples its actions" if cfg.stochastic else "acts deterministically"
    Console().print(f"exported {source.ref}, which {acts}; in LeRobot: policy.path={draft.done.path}", soft_wrap=True)
    return draft.done
