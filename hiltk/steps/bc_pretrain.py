"""`hiltk bc-pretrain`: behaviour cloning of the policy that `hiltk train` uses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from tqdm import tqdm

from hiltk.agents.base import NotFinite
from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.compute import autocast, check_compute, compile_torsos
from hiltk.agents.features import attach
from hiltk.agents.make import build_policy, check_cloning
from hiltk.agents.policy import Policy
from hiltk.agents.snapshots import is_snapshot, load_snapshot
from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import create
from hiltk.checks.gate import gate, keeps_copies_together
from hiltk.config.commands import BcConf
from hiltk.data.copies import recordings, traces_of
from hiltk.data.replay import Batch, FrameStore, store_episodes, to_batch
from hiltk.errors import UserError
from hiltk.learning.divergence import diverged
from hiltk.learning.effort import behind
from hiltk.learning.metrics import CsvLog
from hiltk.limits import longest_hold
from hiltk.spec import Spec
from hiltk.steps.common import load_datasets, say_how_long, set_up_torch, split_by_episode, warm_start

REPORT_EVERY = 50
FIX = "lower lr, or see whether the datasets hold numbers that are not finite"


def run(cfg: BcConf) -> Artifact:
    """Read datasets, write a policy artifact with its loss on held-out episodes."""
    check_cloning(cfg)
    device, root = set_up_torch(cfg), Path(cfg.root)
    check_compute(cfg.precision, cfg.compile, device)
    episodes, spec, inputs = load_datasets(cfg.datasets, root, after_end=_held)
    policy = build_policy(cfg.agent, cfg.encoder, spec).to(device)
    if is_snapshot(cfg.init):
        load_snapshot(policy, Path(cfg.init))
    elif cfg.init:
        inputs.append(warm_start(policy, cfg.init, root))
    checked = gate("bc-pretrain", cfg, inputs)
    same = recordings(traces_of(episodes, spec)) if cfg.held_out and keeps_copies_together(cfg) else None
    train, held_out = split_by_episode(len(episodes), cfg.held_out, cfg.seed, same)
    store = store_episodes([episodes[i] for i in train])
    tests = _held_out_batches(store_episodes([episodes[i] for i in held_out]), cfg, policy) if held_out else []
    attach([(store, store.size)], policy.torso.encoder, cfg.encoder, np.random.default_rng([cfg.seed, 1]))
    say_how_long(policy, store, cfg.batch_size, cfg.steps)
    with create(
        "policies",
        cfg.name,
        root=root,
        step="bc-pretrain",
        cfg=cfg,
        inputs=inputs,
        seed=cfg.seed,
    ) as draft:
        log = CsvLog(draft.path, ["step", "loss", "held_out_loss", "gradient"])
        held_out_loss = _fit(policy, store, tests, cfg, log)
        policy.save(draft.path)
        draft.spec = policy.spec
        effort = behind(inputs, cfg.costs, root)
        draft.notes = {"held_out_episodes": held_out, "held_out_loss": held_out_loss} | checked | effort.note()
    Console().print(
        f"cloned {len(train)} episodes ({len(store.transitions())} transitions); held-out loss {held_out_loss:.4f}"
    )
    return draft.done


def _held(spec: Spec) -> int:
    """Frames after success that are learned from: they show how to hold for as long as any rule asks."""
    return longest_hold(spec.action.scale_m, spec.fps) + 2


def _fit(policy: Policy, store: FrameStore, tests: list[Batch], cfg: BcConf, log: CsvLog) -> float:
    """Train for the configured steps; returns the last held-out loss.

    Raises:
        UserError: a loss or a gradient is not finite; the step is kept beside the versions of the policy.
    """
    rng = np.random.default_rng(cfg.seed)
    cloning = BehaviorCloning(policy, lr=cfg.lr, loss=cfg.loss)
    if cfg.compile:
        compile_torsos([policy.torso])
    rows, recent = store.transitions(), []
    bar = tqdm(range(1, cfg.steps + 1), desc="cloning", mininterval=0.5)
    for step in bar:
        data = store.gather(rng.choice(rows, cfg.batch_size), stack=policy.frame_stack, following=False)
        with autocast(cfg.precision, policy.device):
            recent.append(_update(cloning, to_batch(data, cfg.encoder.shift_pad, rng), log.path.parents[1]))
        if step % REPORT_EVERY == 0 or step == cfg.steps:
            means = {key: float(np.mean([r[key] for r in recent])) for key in recent[0]}
            held_out_loss = _held_out_loss(cloning, tests)
            log.write({"step": step, **means, "held_out_loss": held_out_loss})
            bar.set_postfix(loss=f"{means['loss']:.4f}", held_out=f"{held_out_loss:.4f}")
            recent = []
    return held_out_loss


def _update(cloning: BehaviorCloning, batch: Batch, folder: Path) -> dict[str, float]:
    try:
        return cloning.update(batch)
    except NotFinite as error:
        raise diverged(folder, cloning, batch, error, FIX) from error


def _held_out_loss(cloning: BehaviorCloning, tests: list[Batch]) -> float:
    """NaN where no episode is held out.

    Raises:
        UserError: it is NaN although one is.
    """
    if not tests:
        return math.nan
    loss = cloning.evaluate(tests)
    if not math.isfinite(loss):
        raise UserError(f"the loss of the held-out episodes is not finite at update {cloning.updates}", fix=FIX)
    return loss


def _held_out_batches(store: FrameStore, cfg: BcConf, policy: Policy) -> list[Batch]:
    """Every held-out transition once, unshifted."""
    rows, stack = store.transitions(), policy.frame_stack
    rng = np.random.default_rng(0)
    once = replace(cfg.encoder, cache_shifts=min(1, cfg.encoder.cache_shifts))
    attach([(store, store.size)], policy.torso.encoder, once, rng)
    pieces = [rows[i : i + cfg.batch_size] for i in range(0, len(rows), cfg.batch_size)]
    return [to_batch(store.gather(piece, stack=stack, following=False), 0, rng) for piece in pieces]
