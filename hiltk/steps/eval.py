"""`hiltk eval`: how often a policy succeeds, where, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from tqdm import tqdm

from hiltk.agents.make import load_policy
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import examine, gather
from hiltk.checks.gate import gate
from hiltk.checks.show import print_findings
from hiltk.config.commands import EvalConf
from hiltk.config.groups import RewardConf
from hiltk.console import say
from hiltk.envs.base import HilEnv, Info
from hiltk.envs.make import announce_renderer, env_class, make_env
from hiltk.errors import ConfigError, nearest
from hiltk.evaluation.filming import examples, film_examples
from hiltk.evaluation.judged import (
    CLASSIFIER,
    ENOUGH,
    JUDGED,
    Verdicts,
    ask,
    blind_order,
    confusion,
    confusion_table,
)
from hiltk.evaluation.rollouts import (
    AT_RESET,
    EPISODE_COLUMNS,
    Actor,
    EpisodeResult,
    evaluate,
    require_fit,
    run_episode,
)
from hiltk.evaluation.tables import TOTAL_NOTE, compare_policies, success_table, summarise
from hiltk.evaluation.videos import Film, write_filmstrip, write_video
from hiltk.keys import Keys
from hiltk.learning.best import chosen
from hiltk.reports.sections import terminal_table
from hiltk.reports.success import boards
from hiltk.steps.common import set_up_torch

LIKE = ("policy", "success")  # so many films are kept of each combination
WHOLE = "all"  # the stratum that is the whole spawn area; it contains the others


@dataclass(frozen=True)
class Candidate:
    """One policy under evaluation."""

    label: str
    artifact: Artifact
    policy: Actor


def run(cfg: EvalConf) -> Artifact:
    """Evaluate policies on the same unseen episodes and write tables and films.

    The artifact holds ``episodes.csv``, ``summary.csv``, ``comparison.csv`` (two policies or more), ``confusion.csv``
    (a person and a classifier), ``videos/`` and ``filmstrip_<policy>.png``.

    Raises:
        ConfigError: no policy, an unknown stratum, or counts out of range.
        UserError: a policy does not fit the environment.
    """
    _check(cfg)
    device = set_up_torch(cfg)
    artifacts = [resolve(ref, "policies", cfg.root) for ref in cfg.policies]
    candidates = [
        Candidate(label, a, load_policy(a.path).to(device))
        for label, a in zip(labels(artifacts), artifacts, strict=True)
    ]
    with closing(_make_env(cfg)) as env:
        announce_renderer(env)
        return _run(cfg, env, candidates)


def _run(cfg: EvalConf, env: HilEnv, candidates: list[Candidate]) -> Artifact:
    artifacts = [candidate.artifact for candidate in candidates]
    inputs = [*artifacts, *([resolve(cfg.classifier, "classifiers", cfg.root)] if cfg.classifier else [])]
    for candidate in candidates:
        require_fit(candidate.policy.spec, env.io_spec, candidate.artifact.ref, f"the environment '{cfg.env.name}'")
    strata = choose_strata(cfg, env)
    checked = gate("eval", cfg, inputs, env=env)
    for candidate in candidates:
        if words := chosen(candidate.artifact.run()):
            Console().print(f"{candidate.label}: {words}", highlight=False, soft_wrap=True)
    judged = asks_person(cfg)
    store = create(
        "evaluations", cfg.name, root=cfg.root, step="eval", cfg=cfg, inputs=inputs, seed=cfg.seed,
        resumable=judged, resume=cfg.resume,
    )  # fmt: skip
    with store as draft:
        draft.spec = env.io_spec
        draft.notes |= checked
        draft.notes["policies"] = {c.label: _origin(c.artifact) for c in candidates}
        evaluate_them = _judge_all if judged else _evaluate_all
        episodes, films = evaluate_them(cfg, env, candidates, strata, draft.path)
        _write_tables(episodes, draft.path, env.io_spec.fps)
        _print_effort(draft.notes["policies"])
        if films:
            _write_all_films(films, draft.path)
        else:
            _film_all(cfg, env, candidates, episodes, draft.path)
    _print_seeds(draft.done)
    print_findings(examine(gather([draft.done]), select=["REW009"]).findings, Console())
    return draft.done


def _print_seeds(evaluation: Artifact) -> None:
    """Where several policies are seeds of one training: their mean, with the interval that includes their variation."""
    (board,) = boards([evaluation])
    if any(len(board.seeds(policy)) > 1 for policy in board.policies):
        Console().print(terminal_table(board, title="Mean of the seeds"))


def labels(artifacts: Sequence[Artifact]) -> list[str]:
    """Names of the policies in tables: the artifact's name, with its version where names repeat."""
    names = [a.name for a in artifacts]
    return [a.name if names.count(a.name) == 1 else f"{a.name}@{a.version}" for a in artifacts]


def choose_strata(cfg: EvalConf, env: HilEnv) -> list[str]:
    """The strata asked for; else the task's own; else all there are, without the one that contains the others.

    Raises:
        ConfigError: the environment has no such stratum.
    """
    asked = cfg.strata or ([cfg.task.stratum] if cfg.task.stratum != WHOLE and env.strata else [])
    known = [WHOLE, *(s for s in env.strata if s != WHOLE)] if env.strata else []
    for stratum in asked:
        if stratum not in known:
            raise ConfigError(
                f"unknown stratum '{stratum}'",
                where=f"strata={cfg.strata}; this environment has: {', '.join(known) or 'none'}",
                fix=nearest(stratum, known),
            )
    parts = [s for s in env.strata if s != WHOLE]
    return list(dict.fromkeys(asked)) or parts or [WHOLE if env.strata else ""]


def _check(cfg: EvalConf) -> None:
    if not cfg.policies:
        raise ConfigError("there is no policy to evaluate", where="policies=[]", fix="hiltk eval policies=[my-policy]")
    if len(set(cfg.policies)) < len(cfg.policies):
        raise ConfigError("a policy is named twice", where=f"policies={cfg.policies}", fix="name each policy once")
    if cfg.judge == "env" and not env_class(cfg.env).has_predicate:
        raise ConfigError(
            f"env={cfg.env.name} cannot tell success by itself, so there is nothing to evaluate against",
            where="judge=env",
            fix="judge=person, or an environment that can, e.g. env=so101_sim",
        )
    if cfg.classifier and not asks_person(cfg):
        raise ConfigError(
            f"env={cfg.env.name} knows the truth, a classifier is not asked",
            where=f"classifier={cfg.classifier}",
            fix="leave it out, or judge=person",
        )
    for key, least in (("episodes", 1), ("videos", 0)):
        if getattr(cfg, key) < least:
            raise ConfigError(f"{key} must be at least {least}", where=f"{key}={getattr(cfg, key)}")


def asks_person(cfg: EvalConf) -> bool:
    """Whether a person judges the episodes: asked for, or nobody else can."""
    return cfg.judge == "person" or (cfg.judge == "auto" and not env_class(cfg.env).has_predicate)


def _make_env(cfg: EvalConf) -> HilEnv:
    if asks_person(cfg):
        reward = RewardConf(source="classifier", classifier=cfg.classifier)
        return make_env(
            cfg.env, cfg.task, reward if cfg.classifier else RewardConf(source="person"), seed=cfg.seed, root=cfg.root
        )
    # Success is the environment's own word: a classifier that errs must not grade its own pupil.
    source = "env" if env_class(cfg.env).has_own_reward else "predicate"
    return make_env(cfg.env, cfg.task, RewardConf(source=source), seed=cfg.seed, root=cfg.root)


def _origin(artifact: Artifact) -> dict[str, object]:
    """Who the policy is: its reference, the step that made it, its seed, and a person's seconds behind it, if known."""
    record = artifact.run()
    origin = {"ref": artifact.ref, "step": record.get("step", ""), "seed": record.get("seed")}
    human = record.get("human_s") or {}
    return origin | ({"human_s": human["total"]} if "total" in human else {})


Films = dict[str, list[Film]]  # by policy


def _judge_all(
    cfg: EvalConf, env: HilEnv, candidates: list[Candidate], strata: list[str], folder: Path
) -> tuple[pd.DataFrame, Films]:
    """A person judges every episode, blind to who acts; films are of these very episodes, which come only once."""
    if cfg.episodes < ENOUGH:
        say(f"{cfg.episodes} episodes in a stratum say little; {ENOUGH} or more are worth an afternoon")
    classified = [CLASSIFIER] if cfg.classifier else []
    verdicts = Verdicts(folder / JUDGED, ["policy", *EPISODE_COLUMNS, AT_RESET, *classified])
    trials = blind_order(len(candidates), strata, cfg.episodes, cfg.seed)
    if verdicts.rows:
        say(f"goes on after {len(verdicts.rows)} judged episodes")
    kept: dict[int, Film] = {}  # by row: a verdict may yet be taken back
    with Keys() as keys:
        for count, trial in enumerate(trials[len(verdicts.rows) :], len(verdicts.rows) + 1):
            candidate, film = candidates[trial.policy], Film(trial.stratum.replace("_", " "), env.io_spec.fps)
            machine = False

            def verdict(info: Info, count: int = count) -> bool:
                nonlocal machine
                machine = bool(info["success"])
                return ask(keys, verdicts, f"episode {count} of {len(trials)}: did it succeed?")

            result = run_episode(
                env,
                candidate.policy,
                seed=trial.seed,
                stratum=trial.stratum,
                deterministic=not cfg.stochastic,
                film=film if env.io_spec.images and cfg.videos else None,
                verdict=verdict,
            )
            own = (result.seed, trial.number, trial.stratum, result.success, result.steps, result.total_reward)
            _say_of_hardware(env)
            row = dict(zip(EPISODE_COLUMNS, own, strict=True))
            verdicts.add({"policy": candidate.label, **row, AT_RESET: False, **dict.fromkeys(classified, machine)})
            alike = [r for r in kept if [verdicts.rows[r][k] for k in LIKE] == [verdicts.rows[-1][k] for k in LIKE]]
            if film.views and len(alike) < cfg.videos:
                kept[len(verdicts.rows) - 1] = film
    films: Films = {candidate.label: [] for candidate in candidates}
    for row_number, film in kept.items():
        film.success = bool(verdicts.rows[row_number]["success"])
        films[str(verdicts.rows[row_number]["policy"])].append(film)
    return verdicts.frame(), films


def _evaluate_all(
    cfg: EvalConf, env: HilEnv, candidates: list[Candidate], strata: list[str], folder: Path
) -> tuple[pd.DataFrame, Films]:
    """The environment judges. What it cannot play again is filmed at once."""
    frames, films = [], _Reels(cfg, env)
    with tqdm(total=len(candidates) * len(strata) * cfg.episodes, unit="ep", desc="eval", mininterval=0.5) as bar:
        for candidate in candidates:
            bar.set_description(f"eval {candidate.label}")

            def count(result: EpisodeResult, label: str = candidate.label) -> None:
                bar.update()
                films.keep(label)
                _say_of_hardware(env)

            frame = evaluate(
                env,
                candidate.policy,
                strata,
                cfg.episodes,
                cfg.seed,
                not cfg.stochastic,
                progress=count,
                film=films.next,
            )
            frame.insert(0, "policy", candidate.label)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True), films.kept


class _Reels:
    """Films of an environment in which no episode comes twice, made while it is evaluated; a few of each outcome."""

    def __init__(self, cfg: EvalConf, env: HilEnv) -> None:
        self.most = cfg.videos if env.io_spec.images and not env.repeatable else 0
        self.fps = env.io_spec.fps
        self.kept: Films = {}
        self._film: Film | None = None

    def next(self, stratum: str) -> Film | None:
        self._film = Film(stratum.replace("_", " "), self.fps) if self.most else None
        return self._film

    def keep(self, policy: str) -> None:
        """The film that was just made, unless there are enough like it."""
        own = self.kept.setdefault(policy, []) if self.most else []
        if self._film and sum(film.success == self._film.success for film in own) < self.most:
            own.append(self._film)


def _say_of_hardware(env: HilEnv) -> None:
    for said in env.take_findings():
        say(f"{said.code}: {said.what}; {said.fix}")


def _write_tables(episodes: pd.DataFrame, folder: Path, fps: float) -> None:
    summary, comparison = summarise(episodes), compare_policies(episodes)
    episodes.to_csv(folder / "episodes.csv", index=False)
    summary.to_csv(folder / "summary.csv", index=False)
    if len(comparison):
        comparison.to_csv(folder / "comparison.csv", index=False)
    if CLASSIFIER in episodes:
        beside = confusion(episodes)
        beside.to_csv(folder / "confusion.csv", index=False)
        Console().print(confusion_table(beside))
    Console().print(success_table(summary, comparison, fps, title="Success on unseen episodes"))
    Console().print(TOTAL_NOTE, highlight=False)


def _print_effort(origins: Mapping[str, Mapping[str, Any]]) -> None:
    known = [f"{label} {o['human_s'] / 60:.1f}" for label, o in origins.items() if "human_s" in o]
    if known:
        Console().print(f"a person's time behind each, minutes: {', '.join(known)}", highlight=False, soft_wrap=True)


def _film_all(cfg: EvalConf, env: HilEnv, candidates: list[Candidate], episodes: pd.DataFrame, folder: Path) -> None:
    conf = env_class(cfg.env).film_conf(cfg.env)
    if not cfg.videos or not env.repeatable or not (conf or env.io_spec.images):
        return
    (folder / "videos").mkdir()
    with closing(_make_env(replace(cfg, env=conf))) if conf else nullcontext(env) as film_env:
        for candidate in candidates:
            label, chosen = candidate.label, examples(episodes[episodes.policy == candidate.label], cfg.videos)
            films = film_examples(
                env, film_env, candidate.policy, chosen, label=label, deterministic=not cfg.stochastic
            )
            _write_films(list(tqdm(films, total=len(chosen), desc=f"film {label}")), label, folder)


def _write_all_films(films: Films, folder: Path) -> None:
    (folder / "videos").mkdir(exist_ok=True)
    for label, own in films.items():
        _write_films(own, label, folder)


def _write_films(films: list[Film], label: str, folder: Path) -> None:
    slug = re.sub(r"[^\w.-]+", "-", label)
    counts = {True: 0, False: 0}
    for film in films:
        counts[film.success] += 1
        outcome = "success" if film.success else "failure"
        write_video(film.finished(), folder / "videos" / f"{slug}_{outcome}_{counts[film.success]}.mp4", film.fps)
    firsts = [next((f for f in films if f.success is outcome), None) for outcome in (True, False)]
    if shown := [film for film in firsts if film]:
        write_filmstrip(shown, folder / f"filmstrip_{slug}.png")
