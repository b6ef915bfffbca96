"""`hiltk preview`: a success classifier at work, on a recorded dataset or on live episodes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from hiltk.agents.make import load_policy
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import PreviewConf
from hiltk.config.groups import RewardConf
from hiltk.data.decoded import cached_episodes
from hiltk.data.lerobot_io import dataset_spec
from hiltk.envs.make import announce_renderer, env_class, make_env
from hiltk.envs.rewards import SuccessRule
from hiltk.errors import ConfigError
from hiltk.evaluation.preview import Act, Look, look_at, play
from hiltk.evaluation.preview_film import film
from hiltk.evaluation.rollouts import require_fit
from hiltk.evaluation.seeds import episode_seeds
from hiltk.evaluation.videos import write_video
from hiltk.humans.make import human_row, make_human
from hiltk.reports.page import render
from hiltk.reports.preview import (
    episode_table,
    facts,
    frame_table,
    sections,
    strip_figure,
    verdict_words,
)
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.drift import UNWATCHED, DriftMonitor
from hiltk.spec import STATE_KEY
from hiltk.steps.common import frame_cache, set_up_torch

LIVE_EPISODES = 5
MOST_SAID = 10  # wrong episodes named in the terminal


def run(cfg: PreviewConf) -> Artifact:
    """Write ``index.html``, ``episodes.csv``, ``frames.csv``, ``strips/`` and ``videos/``.

    Raises:
        ConfigError: a setting is out of range, or two contradict each other.
        UserError: an artifact cannot be used, or its images are not made as the classifier's were.
    """
    _check(cfg)
    device = set_up_torch(cfg)
    source = resolve(cfg.classifier, "classifiers", cfg.root)
    classifier = SuccessClassifier.load(source.path).to(device)
    inputs = [source, *([resolve(cfg.dataset, "datasets", cfg.root)] if cfg.dataset else [])]
    inputs += [resolve(cfg.policy, "policies", cfg.root)] if cfg.policy else []
    taught = bool(cfg.dataset) and inputs[1].fingerprint in [
        i.get("fingerprint") for i in source.run().get("inputs", [])
    ]
    episodes = _recorded(cfg, classifier, inputs[1]) if cfg.dataset else _live(cfg, classifier, inputs, device)
    with create("reports", cfg.name, root=cfg.root, step="preview", cfg=cfg, inputs=inputs, seed=cfg.seed) as draft:
        looks, made = _draw(episodes, draft.path, films=cfg.films > 0)
        order = sorted(range(len(looks)), key=lambda i: looks[i].rank)
        looks, made = [looks[i] for i in order], [made[i] for i in order]
        said = facts(looks, taught)
        episode_table(looks).to_csv(draft.path / "episodes.csv", index=False)
        frame_table(looks).to_csv(draft.path / "frames.csv", index=False, float_format="%.6g")
        strips, films = [draft.path / "strips" / f"{n}.png" for n in made], []
        if cfg.films:
            films = [draft.path / "videos" / f"{n}.mp4" for n in made[: cfg.films]]
        title = f"Classifier {source.ref} on {inputs[1].ref if len(inputs) > 1 else 'live episodes'}"
        page = render(title, said, sections(looks, strips, films), inputs)
        (draft.path / "index.html").write_text(page, encoding="utf-8")
        draft.notes = {"facts": said}
    _print(title, looks, said, draft.done)
    return draft.done


def _check(cfg: PreviewConf) -> None:
    if cfg.dataset and cfg.policy:
        raise ConfigError(
            "a policy acts in live episodes; in a dataset everything has been done",
            where=f"dataset={cfg.dataset}, policy={cfg.policy}",
            fix="leave one of them out",
        )
    if not (cfg.dataset or cfg.policy) and not issubclass(env_class(cfg.env), human_row(cfg.human).needs):
        raise ConfigError(
            f"the {cfg.human.name} human knows only the simulated SO-101, not env={cfg.env.name}",
            where=f"human={cfg.human.name}",
            fix="policy=NAME, human=wandering, or dataset=NAME",
        )
    for key in ("episodes", "films"):
        if getattr(cfg, key) < 0:
            raise ConfigError(f"{key} cannot be negative", where=f"{key}={getattr(cfg, key)}")


# ---------------------------------------------------------------- episodes


def _recorded(cfg: PreviewConf, classifier: SuccessClassifier, dataset: Artifact) -> Iterator[Look]:
    """The episodes of a dataset, with what was recorded after their ends, through the classifier's own pipeline."""
    spec = dataset_spec(dataset.path)
    classifier.require_fits(spec.images, name=dataset.ref)
    wanted = replace(spec, images=classifier.spec.images)
    episodes = cached_episodes(
        dataset.path, wanted, cache=frame_cache(cfg.root), after_end=True, name=dataset.ref
    )  # fmt: skip
    shown = episodes[: cfg.episodes] if cfg.episodes else episodes
    drift = DriftMonitor(classifier.statistics) if classifier.statistics else None
    if drift is None:
        Console().print(UNWATCHED, highlight=False, soft_wrap=True)
    for number, episode in enumerate(tqdm(shown, "previewing", unit="episode", mininterval=0.5)):
        stratum = f" ({episode.stratum.replace('_', ' ')})" if episode.stratum else ""
        name = f"{dataset.name} {number}{stratum}"
        yield look_at(classifier, episode, name, spec.fps, drift, spec.reward.hold_steps)


def _live(
    cfg: PreviewConf, classifier: SuccessClassifier, inputs: list[Artifact], device: torch.device
) -> Iterator[Look]:
    """Episodes as they happen, judged by the environment's own reward rule."""
    count = cfg.episodes or LIVE_EPISODES
    reward = RewardConf(source="classifier", classifier=cfg.classifier)
    with closing(
        make_env(cfg.env, cfg.task, reward, seed=cfg.seed, root=cfg.root, classifier=classifier, device=device)
    ) as env:
        announce_renderer(env)
        act, begin = _actor(cfg, env, inputs, device)
        seeds = episode_seeds(cfg.seed, "preview", count)
        for number, seed in enumerate(tqdm(seeds, "previewing", unit="episode", mininterval=0.5)):
            begin(seed)
            yield play(env, classifier, act, seed, f"episode {number}")


def _actor(
    cfg: PreviewConf, env: SuccessRule, inputs: list[Artifact], device: torch.device
) -> tuple[Act, Callable[[int], None]]:
    """Who acts, and what they are told when an episode begins: its seed."""
    if not cfg.policy:
        human = make_human(cfg.human, env)
        return human.act, human.reset
    policy = load_policy(inputs[-1].path).to(device)
    require_fit(policy.spec, env.io_spec, inputs[-1].ref, f"the environment '{cfg.env.name}'")
    keys = [STATE_KEY, *policy.spec.image_keys]
    return lambda observation: policy.act({k: observation[k] for k in keys}), lambda seed: policy.reset()


# ---------------------------------------------------------------- pictures


def _draw(episodes: Iterator[Look], folder: Path, *, films: bool) -> tuple[list[Look], list[str]]:
    """Film and strip of each episode, whose frames are let go afterwards; the names of the files without suffix."""
    looks, names = [], []
    for folder_name in ("strips", *(["videos"] if films else [])):
        (folder / folder_name).mkdir()
    for number, look in enumerate(episodes):
        name = f"{number:03d}_{re.sub(r'[^A-Za-z0-9.-]+', '-', verdict_words(look).split(',')[0])}"
        strip_figure(look, folder / "strips" / f"{name}.png")
        if films:
            write_video(list(film(look)), folder / "videos" / f"{name}.mp4", look.fps)
        looks.append(replace(look, images={}))
        names.append(name)
    return looks, names


def _print(title: str, looks: list[Look], said: list[str], report: Artifact) -> None:
    console, table = Console(), Table(title=title, show_header=False)
    for fact in said:
        table.add_row(fact)
    console.print(table)
    wrong = [look for look in looks if look.wrong]
    for look in wrong[:MOST_SAID]:
        console.print(f"{look.name}: {verdict_words(look)}", style="yellow", markup=False, highlight=False)
    if len(wrong) > MOST_SAID:
        console.print(f"and {len(wrong) - MOST_SAID} more", style="yellow")
    console.print(f"report {report.ref}: {report.path / 'index.html'}", markup=False, soft_wrap=True)
