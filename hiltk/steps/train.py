"""`hiltk train`: HIL-SERL in one process."""

from __future__ import annotations

import copy
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hiltk.agents.compute import check_compute, compile_torsos
from hiltk.agents.encoders import ENCODERS
from hiltk.agents.features import attach
from hiltk.agents.make import build_agent, build_policy, check_learner
from hiltk.agents.policy import Policy
from hiltk.agents.snapshots import is_snapshot, load_snapshot
from hiltk.artifacts.store import Artifact, resolve, unfinished
from hiltk.artifacts.writing import create, write_spec
from hiltk.checks.gate import gate
from hiltk.config.commands import TrainConf
from hiltk.config.groups import Schedule
from hiltk.console import say
from hiltk.data.episode import Episode
from hiltk.data.frames import Frames
from hiltk.data.replay import (
    FrameStore,
    ReplaySampler,
    example_observation,
    store_episodes,
)
from hiltk.data.resources import free_disk, human_size
from hiltk.envs.make import announce_renderer, episode_steps, make_env
from hiltk.envs.rewards import SuccessRule
from hiltk.errors import ConfigError, UserError
from hiltk.humans.make import make_human
from hiltk.humans.schedules import InterventionSchedule
from hiltk.learning import checkpoint
from hiltk.learning.best import chosen
from hiltk.learning.effort import behind
from hiltk.learning.loop import Trainer
from hiltk.learning.metrics import Row, alone
from hiltk.learning.until import check_until, reached
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.demonstrations import Demonstrations, judge_demonstrations
from hiltk.spec import (
    JOINT_PARTS,
    STATE_KEY,
    Spec,
    StateSpec,
    Stats,
    require_compatible,
    say_what_differs,
)
from hiltk.steps.common import load_datasets, say_how_long, set_up_torch, warm_start


def run(cfg: TrainConf) -> Artifact:
    """Read demonstrations, a start policy and a classifier; write a policy with its metrics."""
    _check(cfg)
    device = set_up_torch(cfg)
    check_compute(cfg.precision, cfg.compile, device)
    with closing(make_env(cfg.env, cfg.task, cfg.reward, seed=cfg.seed, root=cfg.root)) as env:
        announce_renderer(env)
        return _run(cfg, env, device)


def _run(cfg: TrainConf, env: SuccessRule, device: torch.device) -> Artifact:
    root, horizon = Path(cfg.root), episode_steps(env, cfg.task)
    demos, demo_spec, inputs = (
        load_datasets(cfg.demos, root, after_end=cfg.reward.source != "env") if cfg.demos else ([], None, [])
    )
    policy = _policy(cfg, env.io_spec, demo_spec).to(device)
    if cfg.reward.source == "classifier":
        inputs.append(resolve(cfg.reward.classifier, "classifiers", root))
    if cfg.init and not is_snapshot(cfg.init):
        inputs.append(warm_start(policy, cfg.init, root))
    shown = _judged(demos, env, cfg, device)
    checked = gate("train", cfg, inputs, env=env, demonstrations=shown)
    agent = build_agent(policy, cfg.agent, env.io_spec.reward, horizon)
    if cfg.compile:
        compile_torsos(agent.torsos())
    if is_snapshot(cfg.init):
        load_snapshot(agent, Path(cfg.init))
    memory = _demo_store(shown.episodes, policy.spec)
    capacity, slack = _ring_size(policy.spec, cfg, horizon, checkpoint.disk_bytes(agent))
    human = None if cfg.intervention.schedule is Schedule.never else make_human(cfg.human, env)
    store = create(
        "policies", cfg.name, root=root, step="train", cfg=cfg, inputs=inputs, seed=cfg.seed,
        resumable=True, resume=cfg.resume, may_change=("episodes", "until"),
    )  # fmt: skip
    with store as draft:
        write_spec(policy.spec, "policies", draft.path)  # so that what an interrupted run saw can be exported
        shown.save(draft.path)
        most, folder = cfg.episodes * (horizon + 1), draft.path / "online"
        online = FrameStore(
            capacity, example_observation(policy.spec), len(policy.spec.action.dims), folder, slack,
            most=most, longest=horizon + 1,
        )  # fmt: skip
        rng = np.random.default_rng(cfg.seed)
        attach([(memory, memory.size), (online, min(online.size, most))], policy.torso.encoder, cfg.encoder, rng)
        say_how_long(policy, memory, cfg.batch_size, round(cfg.episodes * horizon * cfg.utd))
        trainer = Trainer(
            env=env,
            human=human,
            schedule=InterventionSchedule(cfg.intervention, cfg.seed),
            agent=agent,
            sampler=ReplaySampler(
                memory,
                online,
                discount=cfg.agent.discount,
                pad=cfg.encoder.shift_pad,
                rng=rng,
                n_step=cfg.agent.n_step,
                stack=policy.frame_stack,
                returns=agent.needs_returns,
            ),
            conf=cfg,
            folder=draft.path,
            before=behind(inputs, cfg.costs, root),
        )
        rows = trainer.run()
        trainer.best.choose(agent.given)
        agent.given.save(draft.path)
        draft.spec = policy.spec
        effort = trainer.effort(len(rows))
        draft.notes = _summary(rows, cfg) | checked | trainer.best.note() | effort.note()
        online.trim()
    _report(draft.notes)
    say(str(effort))
    return draft.done


def _check(cfg: TrainConf) -> None:
    check_learner(cfg.agent, cfg.encoder)
    if not 0 <= cfg.demo_fraction <= 1:
        raise ConfigError(
            f"demo_fraction={cfg.demo_fraction} is not a share",
            where="demo_fraction",
            fix="a number from 0 to 1",
        )
    if min(cfg.episodes, cfg.batch_size, cfg.capacity, cfg.checkpoint_every) < 1:
        raise ConfigError(
            "episodes, batch_size, capacity and checkpoint_every must be at least 1",
            where="train",
        )
    check_until(cfg.until)
    if cfg.until.rate is not None and InterventionSchedule(cfg.intervention).never_leaves_alone:
        raise ConfigError(
            f"with until.rate={cfg.until.rate} the run looks at episodes left alone, and there will be none",
            where=f"intervention.schedule={cfg.intervention.schedule.name} alone={cfg.intervention.alone}",
            fix="intervention=brief intervention.alone=0.2",
        )
    if cfg.offline_updates and not cfg.demos:
        raise ConfigError("offline_updates needs demonstrations", where="offline_updates", fix="demos=[NAME]")
    if cfg.reward.source == "classifier" and not cfg.reward.classifier:
        raise ConfigError(
            "reward=classifier needs a classifier",
            where="reward.classifier",
            fix="reward.classifier=NAME",
        )


def _ring_size(spec: Spec, cfg: TrainConf, horizon: int, checkpoints: int) -> tuple[int, int]:
    """Capacity and slack of the store of this run's own experience; says how much disk it and the checkpoints take.

    Raises:
        ConfigError: ``capacity_gib`` has no room for an episode.
        UserError: the disk has no room for the store.
    """
    row_bytes = FrameStore(1, example_observation(spec), len(spec.action.dims)).row_bytes
    slack = (horizon + 1) * cfg.checkpoint_every
    capacity = _capacity(cfg, row_bytes, slack, horizon)
    rows = min(capacity + 1 + slack, cfg.episodes * (horizon + 1))
    size, free = rows * row_bytes, free_disk(Path(cfg.root))
    said = f"up to {rows:,} frames, {human_size(size)} on disk, and {human_size(checkpoints)} of checkpoints"
    say(f"replay: {said} ({human_size(free)} free)")
    if size + checkpoints > free + (_written(cfg) if cfg.resume else 0):
        raise UserError(
            f"the replay store can grow to {human_size(size)}, checkpoints to {human_size(checkpoints)}, "
            f"the disk has {human_size(free)} left",
            where=cfg.root,
            fix="lower capacity, capacity_gib or the image size, or set root= to a larger disk",
        )
    return capacity, slack


def _written(cfg: TrainConf) -> int:
    """Bytes that the interrupted run takes already; its store is as long as it can become, and may have holes."""
    draft = unfinished("policies", cfg.name, cfg.root)
    return sum(512 * f.stat().st_blocks for f in draft.rglob("*") if f.is_file()) if draft else 0


def _capacity(cfg: TrainConf, row_bytes: int, slack: int, horizon: int) -> int:
    """Online transitions kept: as many as ``capacity`` says and ``capacity_gib`` has room for."""
    if cfg.capacity_gib is None:
        return cfg.capacity
    fits = int(cfg.capacity_gib * 2**30) // row_bytes - 1 - slack
    if fits <= horizon:
        least = (horizon + 2 + slack) * row_bytes / 2**30
        raise ConfigError(
            f"capacity_gib={cfg.capacity_gib:g} has no room for one episode and what comes between two checkpoints",
            where="capacity_gib",
            fix=f"at least {math.ceil(least * 1000) / 1000:g}, a smaller checkpoint_every, or smaller images",
        )
    return min(cfg.capacity, fits)


def _policy(cfg: TrainConf, env_spec: Spec, demo_spec: Spec | None) -> Policy:
    """An untrained policy for this environment, normalising by the demonstrations' statistics.

    Raises:
        UserError: the demonstrations were made under another contract.
    """
    if demo_spec:
        # Nobody who looks at the state alone cares which cameras were running.
        parts = tuple(p for p in JOINT_PARTS if p != "images" or ENCODERS[cfg.encoder.name].sees)
        names = {"left_name": ", ".join(cfg.demos), "right_name": f"env={cfg.env.name}"}
        require_compatible(demo_spec, env_spec, parts, **names)
        say_what_differs(demo_spec, env_spec, **names)
    spec = copy.deepcopy(env_spec)
    spec.stats = {STATE_KEY: demo_spec.stats[STATE_KEY] if demo_spec else range_stats(spec.state)}
    return build_policy(cfg.agent, cfg.encoder, spec)


def range_stats(state: StateSpec) -> Stats:
    """Statistics guessed from the ranges in the spec, where there are no demonstrations to measure."""
    middle = [0.5 * (d.low + d.high) if _bounded(d.low, d.high) else 0.0 for d in state.dims]
    spread = [(d.high - d.low) / 4 if _bounded(d.low, d.high) else 1.0 for d in state.dims]
    return Stats(
        middle,
        spread,
        [d.low for d in state.dims],
        [d.high for d in state.dims],
        source="ranges in the spec",
    )


def _bounded(low: float, high: float) -> bool:
    return math.isfinite(low) and math.isfinite(high) and 0 < high - low < 1e6


def _judged(demos: list[Episode], env: SuccessRule, cfg: TrainConf, device: torch.device) -> Demonstrations:
    """The demonstrations under this run's reward rule; says how many satisfy it."""
    classifier = None
    if demos and cfg.reward.source == "classifier":
        with torch.random.fork_rng(devices=[]):  # loading a network draws numbers, which must not change the run's own
            classifier = SuccessClassifier.load(resolve(cfg.reward.classifier, "classifiers", cfg.root).path).to(device)
    found = judge_demonstrations(demos, env.rule, classifier, closed=env.has_own_reward)
    if demos:
        say(f"demonstrations: {found.satisfied.sum()} of {len(demos)} satisfy this run's reward rule")
    return found


def _demo_store(demos: list[Episode], spec: Spec) -> FrameStore:
    """Demonstrations in a store of their own, so that no online data can evict them; says how large it is."""
    wanted = example_observation(spec)
    if not demos:
        return FrameStore(1, wanted, len(spec.action.dims))
    store = store_episodes([_seen(episode, list(wanted)) for episode in demos])
    mapped = sum(frames.mapped_bytes for frames in store.frames.values() if isinstance(frames, Frames))
    cached = f", and {human_size(mapped)} of frames mapped from the cache" if mapped else ""
    say(f"demonstrations: {store.end:,} frames, {human_size(store.nbytes() - mapped)} of memory{cached}")
    return store


def _seen(episode: Episode, keys: list[str]) -> Episode:
    return replace(episode, observations={k: episode.observations[k] for k in keys})


def _summary(rows: list[Row], cfg: TrainConf) -> dict[str, Any]:
    last, by_itself = rows[-20:], alone(rows)
    return {
        "episodes": len(rows),
        "ended_by": "until" if reached(cfg.until, rows) else "episodes",
        "env_steps": rows[-1]["env_step"],
        "left_alone": {"episodes": len(by_itself), "of_last": len(by_itself[-20:]), "success": sum(by_itself[-20:])},
        "autonomous_success_last_20": float(np.mean([r["autonomous"] for r in last])),
        "intervention_rate_first_20": float(np.mean([r["intervention_rate"] for r in rows[:20]])),
        "intervention_rate_last_20": float(np.mean([r["intervention_rate"] for r in last])),
        "wall_s": rows[-1]["wall_s"],
    }


def _report(notes: dict[str, Any]) -> None:
    first, last, by_itself = (
        notes["intervention_rate_first_20"],
        notes["intervention_rate_last_20"],
        notes["left_alone"],
    )
    say(
        f"trained {notes['episodes']} episodes, {notes['env_steps']:.0f} steps in {notes['wall_s']:.0f} s; "
        f"interventions {first:.0%} of steps at first, {last:.0%} at the end; success in {by_itself['success']} of the "
        f"last {by_itself['of_last']} episodes left alone"
    )
    if notes["ended_by"] == "until":
        say("ended before its last episode: success exceeds until.rate")
    if words := chosen(notes):
        say(f"kept {words}")
