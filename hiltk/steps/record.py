"""`hiltk record`: demonstrations of the scripted human, written as a LeRobotDataset v3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import Report, expand
from hiltk.checks.gate import examine_written, notes, refuse
from hiltk.config.commands import Fault, RecordConf
from hiltk.console import say
from hiltk.data.episode import Episode, Source
from hiltk.data.journal import EpisodeJournal
from hiltk.data.lerobot_io import DatasetWriter
from hiltk.envs.make import announce_renderer, make_env
from hiltk.envs.rewards import SuccessRule, shows_success
from hiltk.errors import ConfigError, UserError
from hiltk.evaluation.seeds import attempt_seed
from hiltk.humans.base import Human
from hiltk.humans.make import make_human
from hiltk.interrupts import Interrupts
from hiltk.observation import Observation
from hiltk.spec import RewardSpec
from hiltk.steps.checks import check_process
from hiltk.steps.common import set_up_torch

FAULTY = ("ACT001", "GRP002")  # what a fault breaks on purpose is no reason to refuse
JOURNAL = ".episodes"  # in the folder of the dataset, while it is recorded
ATTEMPTS_PER_EPISODE = 5  # after this many times the episodes asked for, the human is not up to the task


@dataclass
class Recorded:
    """What has been recorded so far."""

    attempts: int = 0
    kept: int = 0
    successes: int = 0
    frames: int = 0
    steps: int = 0
    strata: Counter[str] = field(default_factory=Counter)
    drift: list[str] = field(default_factory=list)  # what the reward classifier's monitor said
    arm: list[str] = field(default_factory=list)  # and the arm

    def count(self, episode: Episode, after: Episode | None, *, success: bool) -> None:
        self.kept += 1
        self.successes += success
        self.steps += len(episode)
        self.frames += len(episode) + 1 + (len(after) if after is not None else 0)
        self.strata[episode.stratum or "?"] += 1


@dataclass
class Kept:
    """Where kept episodes go: at once to the journal, from which a recording can go on, and into the dataset."""

    journal: EpisodeJournal
    writer: DatasetWriter
    tally: Recorded

    def add(self, episode: Episode, after: Episode | None, *, success: bool) -> None:
        so_far = {"attempts": self.tally.attempts, "success": success, "drift": self.tally.drift}
        self.journal.add(episode, after, so_far)
        self._write(episode, after, success=success)

    def _write(self, episode: Episode, after: Episode | None, *, success: bool) -> None:
        self.writer.add(episode, after=after)
        self.tally.count(episode, after, success=success)

    def restore(self, most: int) -> None:
        """Take up what an interrupted recording had kept: attempts are seeded one by one, and the next follows."""
        for episode, after, so_far in self.journal.read():
            if self.tally.kept == most:
                break
            self._write(episode, after, success=so_far["success"])
            self.tally.attempts, self.tally.drift = so_far["attempts"], so_far["drift"]
        if self.tally.kept:
            say(f"goes on after {self.tally.kept} finished episodes")


def run(cfg: RecordConf) -> Artifact:
    """Record episodes until ``cfg.episodes`` are kept.

    Ctrl-C, or another signal to end, commits the finished episodes and then goes on as Ctrl-C. Each of them is on disk
    when the next begins; ``resume=true`` goes on from there, whatever ended the recording.

    Raises:
        ConfigError: an option is unknown or contradicts another.
        UserError: the human fails too often, the output cannot be written, or what was recorded does not pass the
            checks (it is kept all the same).
    """
    _check(cfg)
    inputs = [resolve(cfg.reward.classifier, "classifiers", cfg.root)] if cfg.reward.classifier else []
    # Only a classifier is a network; without one torch need not be set up.
    device = set_up_torch(cfg) if cfg.reward.source == "classifier" else "cpu"
    tally = Recorded()
    with closing(make_env(cfg.env, cfg.task, cfg.reward, seed=cfg.seed, root=cfg.root, device=device)) as env:
        announce_renderer(env)
        artifact, interrupted, checked = _write(env, make_human(cfg.human, env), cfg, inputs, tally)
    _print(artifact, tally)
    refuse(checked, "record", fix=f"what was recorded is kept as {artifact.ref}")
    if interrupted:
        say(f"{tally.kept} of {cfg.episodes} episodes are in {artifact.ref}; resume=true goes on from there")
        raise interrupted
    return artifact


def _write(
    env: SuccessRule, human: Human, cfg: RecordConf, inputs: list[Artifact], tally: Recorded
) -> tuple[Artifact, KeyboardInterrupt | None, Report]:
    """Record into a new artifact; also what ended it early, if anything, and what the checks say."""
    store = create(
        "datasets", cfg.name, root=cfg.root, step="record", cfg=cfg, inputs=inputs, seed=cfg.seed,
        resumable=True, resume=cfg.resume, may_change=("episodes",),
    )  # fmt: skip
    interrupted = None
    with Interrupts() as interrupts, store as draft:
        draft.keep_only(JOURNAL)
        journal, writer = EpisodeJournal(draft.path / JOURNAL), DatasetWriter(draft.path, env.io_spec, video=cfg.video)
        with writer:
            try:
                kept = Kept(journal, writer, tally)
                interrupts.hold()
                kept.restore(cfg.episodes)
                interrupts.release()
                _record(env, human, kept, cfg, interrupts)
            except KeyboardInterrupt as signal:
                if not tally.kept:
                    raise
                interrupted = signal
            interrupts.hold()  # a second Ctrl-C waits until the artifact is complete
            writer.close()
            draft.spec, draft.goes_on = writer.spec, interrupted is not None
            ignore = [*cfg.checks.ignore, *(FAULTY if cfg.fault is not Fault.none else ())]
            checked = examine_written("record", draft.path, cfg.name, draft.spec, ignore)
            draft.notes = _notes(cfg, tally, interrupted=interrupted is not None) | notes(checked)
    return draft.done, interrupted, checked


def _check(cfg: RecordConf) -> None:
    check_process(cfg)
    expand(cfg.checks.ignore, "checks.ignore")
    if cfg.episodes < 1:
        raise ConfigError("at least one episode must be recorded", where=f"episodes={cfg.episodes}")
    if cfg.steps_after_success < 0:
        raise ConfigError("cannot be negative", where=f"steps_after_success={cfg.steps_after_success}")


def _record(env: SuccessRule, human: Human, kept: Kept, cfg: RecordConf, interrupts: Interrupts) -> None:
    """Write episodes until enough are kept."""
    # The rule must not close the episode: it goes on for `steps_after_success`.
    env.end_on_success = False
    tally = kept.tally
    bar = tqdm(total=cfg.episodes, initial=tally.kept, desc="recording", unit="episode", mininterval=0.5)
    with bar:
        while tally.kept < cfg.episodes:
            if tally.attempts >= ATTEMPTS_PER_EPISODE * cfg.episodes:
                raise _wrong_human(cfg, tally)
            seed, where = attempt_seed(cfg.seed, tally.attempts), _next_place(env, cfg, tally)
            episode, after, success = play(env, human, seed, cfg.steps_after_success, where)
            tally.attempts += 1
            for found in env.drift.take() if env.drift else []:
                tally.drift.append(found.finding.what)
                bar.write(f"drift: {found.finding.what}; {found.finding.fix}")
            for said in env.take_findings():
                tally.arm.append(said.what)
                bar.write(f"{said.code}: {said.what}; {said.fix}")
            if cfg.keep == "all" or success == (cfg.keep == "successes"):
                interrupts.hold()
                kept.add(_faulty(episode, cfg.fault), _faulty(after, cfg.fault), success=success)
                bar.update()
                interrupts.release()
            bar.set_postfix(attempts=tally.attempts)


def _next_place(env: SuccessRule, cfg: RecordConf, tally: Recorded) -> dict[str, Any]:
    """Where a person is to put the cube: into the stratum with the fewest episodes, so that all fill evenly."""
    if not env.person_sets_scene or cfg.task.stratum != "all" or len(env.strata) < 2:
        return {}
    return {"stratum": min(env.strata, key=lambda stratum: tally.strata[stratum])}


def _wrong_human(cfg: RecordConf, tally: Recorded) -> UserError:
    """What to say when too few attempts ended as wanted."""
    ended, fix = "succeeded", "raise task.time_limit_s or human.skill, lower human.noise, or keep=all"
    if cfg.keep == "failures":
        ended, fix = "failed", "human=clumsy or human=wandering, or keep=all"
    return UserError(
        f"only {tally.kept} of {cfg.episodes} episodes {ended} in {tally.attempts} attempts",
        where=f"task={cfg.task.name}, stratum={cfg.task.stratum}, human={cfg.human.name}",
        fix=fix,
    )


class EpisodeRecorder:
    """Collects what one episode is made of."""

    def __init__(self, env: SuccessRule, observation: Observation, info: dict[str, Any]) -> None:
        self.env, self.observations, self.success = env, [observation], [shows_success(env, info)]
        self.actions: list[np.ndarray] = []
        self.rewards: list[float] = []

    def add(self, action: np.ndarray, reward: float, observation: Observation, info: dict[str, Any]) -> None:
        self.actions.append(np.asarray(info.get("executed_action", action), np.float32))
        self.rewards.append(reward)
        self.observations.append(observation)
        self.success.append(shows_success(self.env, info))

    def episode(self, stratum: str, rule: RewardSpec, *, terminated: bool, truncated: bool) -> Episode:
        count = len(self.actions)
        return Episode(
            observations={k: np.stack([o[k] for o in self.observations]) for k in self.observations[0]},
            actions=np.stack(self.actions),
            rewards=np.array(self.rewards, np.float32),
            success=np.array(self.success),
            source=np.full(count, Source.demo, np.int64),
            is_intervention=np.zeros(count, bool),
            action_valid=np.ones(count, bool),
            terminated=terminated,
            truncated=truncated,
            stratum=stratum,
            rule=rule,
        )


def play(
    env: SuccessRule, human: Human, seed: int, steps_after_success: int, where: Mapping[str, Any] | None = None
) -> tuple[Episode, Episode | None, bool]:
    """One demonstration, what was seen after its success (None: nothing), and whether it succeeded.

    An episode may terminate without success: at a time-out that counts as an end, or because the environment says so.
    ``env.end_on_success`` must be False.
    """
    observation, info = env.reset(seed=seed, options=dict(where or {}))
    human.reset(seed)
    stratum = str(info.get("stratum", ""))
    frames, closed = EpisodeRecorder(env, observation, info), False
    while not (info["success"] or closed):
        action = human.act(observation)
        observation, reward, ended, truncated, info = env.step(action)
        frames.add(action, reward, observation, info)
        closed = ended or truncated
    success = bool(info["success"])
    terminated = success or ended
    episode = frames.episode(stratum, env.rule, terminated=terminated, truncated=truncated and not terminated)
    tail = EpisodeRecorder(env, observation, info)
    while info["success"] and not closed and len(tail.actions) < steps_after_success:
        action = human.act(observation)
        observation, _, ended, truncated, info = env.step(action)
        tail.add(action, 0.0, observation, info)
        closed = ended or truncated
    after = tail.episode(stratum, env.rule, terminated=False, truncated=False) if tail.actions else None
    return episode, after, success


def _faulty(episode: Episode | None, fault: Fault) -> Any:
    """The episode as a broken recorder stores it: the arm moved as normal, the actions are lost."""
    if episode is not None and fault is Fault.zero_actions:
        episode.actions = np.zeros_like(episode.actions)
    return episode


def _notes(cfg: RecordConf, tally: Recorded, *, interrupted: bool) -> dict[str, Any]:
    return {
        "episodes_asked": cfg.episodes,
        "episodes_kept": tally.kept,
        "attempts": tally.attempts,
        "successes": tally.successes,
        "frames": tally.frames,
        "interrupted": interrupted,
        "strata": dict(sorted(tally.strata.items())),
    } | {key: said for key, said in (("drift", tally.drift), ("arm", tally.arm)) if said}


def _print(artifact: Artifact, tally: Recorded) -> None:
    table = Table(title=f"recorded {artifact.ref}", show_header=False)
    table.add_row("episodes", f"{tally.kept} of {tally.attempts} attempts")
    table.add_row("successes", str(tally.successes))
    table.add_row("frames", str(tally.frames))
    table.add_row("mean length", f"{tally.steps / tally.kept:.1f} steps")
    for stratum, count in sorted(tally.strata.items()):
        table.add_row(f"stratum {stratum}", str(count))
    Console().print(table)
