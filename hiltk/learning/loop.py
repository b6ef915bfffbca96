"""The training loop, synchronous in one process: act, let the human correct, store, update, log, checkpoint."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from tqdm import trange

from hiltk.agents.base import Agent, NotFinite
from hiltk.agents.compute import autocast, generator_state, set_generator_state
from hiltk.config.commands import TrainConf
from hiltk.data.episode import Source
from hiltk.data.replay import Batch, ReplaySampler
from hiltk.envs.base import HilEnv, Info
from hiltk.envs.rewards import shows_success
from hiltk.findings import Finding
from hiltk.humans.base import Human
from hiltk.humans.schedules import InterventionSchedule
from hiltk.learning import checkpoint, divergence
from hiltk.learning.best import BestPolicy
from hiltk.learning.effort import Effort, trained
from hiltk.learning.guards import Expected, GuardLog, Guards
from hiltk.learning.metrics import COLUMNS, CsvLog, Row, TrainingDisplay, early
from hiltk.learning.until import reached
from hiltk.observation import Observation
from hiltk.reward_rule import is_success_reward

HARDWARE = ("servo_", "bus_")  # how codes of what the hardware says begin


@dataclass
class Tally:
    """What happens during one episode."""

    steps: int = 0
    interventions: int = 0
    human_steps: int = 0
    reward: float = 0.0
    info: Info = field(default_factory=dict)
    metrics: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """HIL-SERL (arXiv 2410.21845, section 3): interventions go to both replay views, the policy's steps to one.

    Every executed step enters the online store once, with who chose it; corrections are a view on it, which the
    sampler mixes with the demonstrations. Episodes are seeded one by one, so on a CPU a run continued from a checkpoint
    is the run that was never interrupted.
    """

    def __init__(
        self,
        *,
        env: HilEnv,
        human: Human | None,
        schedule: InterventionSchedule,
        agent: Agent,
        sampler: ReplaySampler,
        conf: TrainConf,
        folder: Path,
        before: Effort | None = None,
    ) -> None:
        self.env, self.human, self.schedule = env, human, schedule
        self.agent, self.sampler, self.store = agent, sampler, sampler.online
        self.conf, self.folder = conf, folder
        self.before = before or Effort()  # a person's time that this run starts from
        self.episode = self.env_step = 0
        self.debt = 0.0  # updates owed: a fraction is carried over where `utd` is not whole
        self.wall_s = 0.0
        self.best = BestPolicy(folder)
        self.guards, self.guard_log = Guards(self._expected()), GuardLog(folder)

    def run(self) -> list[Row]:
        """Train until it is good (``until``), at most ``episodes``; returns the metrics, one row per episode."""
        self._resume()
        try:
            return self._train()
        except KeyboardInterrupt:
            kept = self.episode - self.episode % self.conf.checkpoint_every
            Console().print(f"stopped in episode {self.episode}; resume=true goes on from episode {kept}")
            raise

    def _train(self) -> list[Row]:
        log = CsvLog(self.folder, list(COLUMNS), keep=self.episode)
        self._guard_again(log.rows)
        if self.agent.updates == 0:
            self._learn_offline()
        with TrainingDisplay(self.conf.episodes) as display:
            while self.episode < self.conf.episodes and not reached(self.conf.until, log.rows):
                started = time.monotonic()
                tally = self._run_episode()
                elapsed = time.monotonic() - started
                self.wall_s += elapsed
                row = self._row(tally, elapsed)
                log.write(row)
                display.update(row)
                findings = self.guards.check(row) + self._drift() + self._hardware()
                for finding in findings:
                    display.announce(finding)
                if findings:
                    self.guard_log.write(self.episode, findings)
                if row["left_alone"]:
                    self.best.update(self.agent.given, self.episode, row["success"])
                self.episode += 1
                if self.episode % self.conf.checkpoint_every == 0:
                    self.save()
        return log.rows

    # ------------------------------------------------------------------ one episode

    def _run_episode(self) -> Tally:
        seed = episode_seed(self.conf.seed, self.episode)
        observation, _ = self.env.reset(seed=seed, options=self._where())
        self.store.begin(observation)
        self.agent.policy.reset()
        self.schedule.begin_episode()
        tally, done = Tally(), False
        while not done:
            observation, done = self._step(observation, tally, seed)
            tally.metrics += self._learn()
        self.schedule.end_episode(bool(tally.info.get("success")))
        return tally

    def _where(self) -> dict[str, Any]:
        """Practise every stratum in turn: spawning over the whole area would leave the edges to a few episodes."""
        if self.conf.practice == "area" or self.conf.task.stratum != "all" or len(self.env.strata) < 2:
            return {}
        return {"stratum": self.env.strata[self.episode % len(self.env.strata)]}

    def _step(self, observation: Observation, tally: Tally, seed: int) -> tuple[Observation, bool]:
        action, source = self._choose(observation, tally, seed)
        following, reward, terminated, truncated, info = self.env.step(action)
        self.store.add(
            info.get("executed_action", action),
            float(reward),
            following,
            terminated=terminated,
            truncated=truncated,
            source=source,
            is_intervention=source is Source.human,
            success=shows_success(self.env, info),
        )
        tally.steps += 1
        tally.reward += float(reward)
        tally.info = info
        self.env_step += 1
        return following, terminated or truncated

    def _choose(self, observation: Observation, tally: Tally, seed: int) -> tuple[np.ndarray, Source]:
        """The policy's exploring action, unless the human takes over."""
        self.agent.policy.advance(self.env_step)
        satisfied = self.human.satisfied() if self.human else True
        if self.human is None or not self.schedule.human_acts(tally.steps, satisfied):
            return self.agent.policy.act(observation, deterministic=False), Source.policy
        if self.schedule.takeover_started:
            self.human.reset(seed + tally.steps)
            tally.interventions += 1
        tally.human_steps += 1
        self.agent.policy.observe(observation)
        return self.human.act(observation), Source.human

    def _learn(self) -> list[dict[str, float]]:
        """The updates due after one environment step; the last of them also moves the actor."""
        if self.env_step < self.conf.learning_starts:
            return []
        self.debt += self.conf.utd
        due = int(self.debt)
        self.debt -= due
        return [self._update(actor=i == due - 1) for i in range(due)]

    def _learn_offline(self) -> None:
        """Updates on the demonstrations alone, before anything is known of the environment."""
        for _ in trange(self.conf.offline_updates, desc="offline", disable=not self.conf.offline_updates):
            self._update(actor=True)

    def _update(self, *, actor: bool) -> dict[str, float]:
        batch = self.sampler.sample(self.conf.batch_size, self.conf.demo_fraction).to(self.agent.policy.device)
        try:
            with autocast(self.conf.precision, self.agent.policy.device):
                metrics = self.agent.update(batch, actor=actor)
            if not all(map(math.isfinite, metrics.values())):
                raise NotFinite(metrics)
        except NotFinite as error:
            # The last checkpoint stays, but cannot help: a run resumed from it is the same run, to the digit.
            fix = "start again with a lower agent.lr; init= takes up a policy that is still good"
            raise divergence.diverged(self.folder, self.agent, batch, error, fix) from error
        rewarded = is_success_reward(
            batch.reward, self.agent.reward, discount=self.sampler.discount, steps=self.sampler.n_step
        )
        return metrics | _composition(batch, rewarded)

    def _row(self, tally: Tally, elapsed: float) -> Row:
        info, steps = tally.info, tally.steps
        success = float(bool(info.get("success")))
        row: Row = {
            "episode": self.episode,
            "env_step": self.env_step,
            "update": self.agent.updates,
            "success": success,
            "autonomous": success * (tally.human_steps == 0),
            "left_alone": float(self.schedule.left_alone),
            "intervention_rate": tally.human_steps / steps,
            "interventions": tally.interventions,
            "return": tally.reward,
            "length": steps,
            "steps_per_s": steps / max(elapsed, 1e-9),
            "wall_s": self.wall_s,
            "human_s": self.effort(self.episode + 1).total_s,
        }
        if tally.interventions:
            row["intervention_length"] = tally.human_steps / tally.interventions
        if tally.metrics:
            row["utd"] = len(tally.metrics) / steps
        if info.get("true_success") is not None:
            row["true_success"] = float(info["true_success"])
            row |= self._early(row, info)
        return row | _means(tally.metrics)

    def _early(self, row: Row, info: Info) -> Row:
        """Whether the classifier ended an episode too soon, and what the task was then short of."""
        if self.conf.reward.source != "classifier":
            return {}
        found = early(row["success"], row["true_success"])
        missing = {"missing_mm": 1000 * info["missing_m"]} if found and "missing_m" in info else {}
        return {"early": float(found), **missing}

    def effort(self, episodes: int) -> Effort:
        """A person's time up to here, after so many training episodes."""
        return self.before + trained(self.schedule.spent, episodes, self.env.io_spec.fps, self.conf.costs)

    # ------------------------------------------------------------------ guards

    def _expected(self) -> Expected:
        human = self.human is not None or len(self.sampler.demos.transitions()) > 0
        return Expected(
            q_low=self.agent.q_low,
            q_high=self.agent.q_high,
            utd=self.conf.utd,
            human_share=self.conf.demo_fraction if human else 0.0,
            sparse=self.conf.reward.source != "env",
        )

    def _drift(self) -> list[Finding]:
        """What the reward classifier's monitor has found in the newest episode, and no earlier part of the run."""
        monitor = self.env.drift
        known = {row["code"] for row in self.guard_log.rows}
        return [d.finding for d in monitor.take() if d.code not in known] if monitor else []

    def _hardware(self) -> list[Finding]:
        """What servos and supply had to say in the newest episode, each kind once in a run."""
        known = {row["code"] for row in self.guard_log.rows}
        return [found for found in self.env.take_findings() if found.code not in known]

    def _guard_again(self, rows: list[Row]) -> None:
        """Bring the guards to where they were after these episodes, without saying anything twice."""
        if rows:
            # Frames and servos are seen once, metrics can be judged again.
            self.guard_log.keep(("drift_", *HARDWARE), self.episode)
        self.guard_log.write(0, [])
        for row in rows:
            if findings := self.guards.check(row):
                self.guard_log.write(int(row["episode"]), findings)

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        return {
            "agent": self.agent.state_dict(),
            "online": self.store.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sampler_rng": self.sampler.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "episode": self.episode,
            "env_step": self.env_step,
            "debt": self.debt,
            "wall_s": self.wall_s,
            "best": self.best.state_dict(),
            **generator_state(self.agent.policy.device),
        }

    def save(self) -> None:
        """Checkpoint at an episode's end; at most ``checkpoint_every`` episodes are lost to a kill."""
        self.store.flush()
        checkpoint.save(self.folder, self.state_dict())

    def _resume(self) -> None:
        state = checkpoint.load(self.folder) if self.conf.resume else None
        if state is None:
            return
        self.agent.load_state_dict(state["agent"])
        self.store.load_state_dict(state["online"])
        self.schedule.load_state_dict(state["schedule"])
        self.sampler.rng.bit_generator.state = state["sampler_rng"]
        torch.set_rng_state(state["torch_rng"])
        set_generator_state(self.agent.policy.device, state)
        if "best" in state:
            self.best.load_state_dict(state["best"])
        self.episode, self.env_step = state["episode"], state["env_step"]
        self.debt, self.wall_s = state["debt"], state["wall_s"]


def episode_seed(seed: int, episode: int) -> int:
    """The seed of one training episode: a function of the run's seed and the episode's number alone."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Each metric averaged over the updates of an episode that have it."""
    keys = {k for r in rows for k in r}
    return {k: float(np.mean([r[k] for r in rows if k in r])) for k in sorted(keys)}


def _composition(batch: Batch, rewarded: torch.Tensor) -> dict[str, float]:
    """What a batch is made of: shares by who chose the action, and of transitions that are ``rewarded`` for success."""
    shares = {"demo_share": batch.human, "positive_share": rewarded}
    if batch.source is not None:
        shares |= {
            "batch_demos": batch.source == Source.demo,
            "batch_interventions": batch.source == Source.human,
            "batch_policy": batch.source == Source.policy,
        }
    return {name: rows.float().mean().item() for name, rows in shares.items()}
