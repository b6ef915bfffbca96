"""`hiltk bc-pretrain`: behaviour cloning of the policy that `hiltk train` uses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from tqdm import tqdm

from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.checks import check_cloning
from hiltk.agents.features import attach
from hiltk.agents.make import build_policy
from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact, create
from hiltk.config import BcConf
from hiltk.data.replay import Batch, FrameStore, store_episodes, to_batch
from hiltk.learning.metrics import CsvLog
from hiltk.steps.common import load_datasets, set_up_torch, split_by_episode, warm_start

REPORT_EVERY = 50


def run(cfg: BcConf) -> Artifact:
    """Read datasets, write a policy artifact with its loss on held-out episodes."""
    check_cloning(cfg)
    device, root = set_up_torch(cfg), Path(cfg.root)
    episodes, spec, inputs = load_datasets(cfg.datasets, root)
    train, held_out = split_by_episode(len(episodes), cfg.held_out, cfg.seed)
    policy = build_policy(cfg.agent, cfg.encoder, spec).to(device)
    if cfg.init:
        inputs.append(warm_start(policy, cfg.init, root))
    store = store_episodes([episodes[i] for i in train])
    tests = _held_out_batches(store_episodes([episodes[i] for i in held_out]), cfg, policy) if held_out else []
    attach([(store, store.size)], policy.torso.encoder, cfg.encoder, np.random.default_rng([cfg.seed, 1]))
    with create(
        "policies",
        cfg.name,
        root=root,
        step="bc-pretrain",
        cfg=cfg,
        inputs=inputs,
        seed=cfg.seed,
    ) as draft:
        log = CsvLog(draft.path, ["step", "loss", "held_out_loss"])
        held_out_loss = _fit(policy, store, tests, cfg, log)
        policy.save(draft.path)
        draft.spec = policy.spec
        draft.notes = {"held_out_episodes": held_out, "held_out_loss": held_out_loss}
    Console().print(
        f"cloned {len(train)} episodes ({len(store.transitions())} transitions); held-out loss {held_out_loss:.4f}"
    )
    return draft.done


def _fit(policy: Policy, store: FrameStore, tests: list[Batch], cfg: BcConf, log: CsvLog) -> float:
    """Train for the configured steps; returns the last held-out loss."""
    rng = np.random.default_rng(cfg.seed)
    cloning = BehaviorCloning(policy, lr=cfg.lr, loss=cfg.loss)
    rows, recent, held_out_loss = store.transitions(), [], float("nan")
    bar = tqdm(range(1, cfg.steps + 1), desc="cloning", mininterval=0.5)
    for step in bar:
        data = store.gather(rng.choice(rows, cfg.batch_size), stack=policy.frame_stack, following=False)
        recent.append(cloning.update(to_batch(data, cfg.encoder.shift_pad, rng))["loss"])
        if step % REPORT_EVERY == 0 or step == cfg.steps:
            held_out_loss = cloning.evaluate(tests) if tests else float("nan")
            log.write(
                {
                    "step": step,
                    "loss": float(np.mean(recent)),
                    "held_out_loss": held_out_loss,
                }
            )
            bar.set_postfix(loss=f"{np.mean(recent):.4f}", held_out=f"{held_out_loss:.4f}")
            recent = []
    return held_out_loss


def _held_out_batches(store: FrameStore, cfg: BcConf, policy: Policy) -> list[Batch]:
    """Every held-out transition once, unshifted."""
    rows, stack = store.transitions(), policy.frame_stack
    rng = np.random.default_rng(0)
    once = replace(cfg.encoder, cache_shifts=min(1, cfg.encoder.cache_shifts))
    attach([(store, store.size)], policy.torso.encoder, once, rng)
    pieces = [rows[i : i + cfg.batch_size] for i in range(0, len(rows), cfg.batch_size)]
    return [to_batch(store.gather(piece, stack=stack, following=False), 0, rng) for piece in pieces]
