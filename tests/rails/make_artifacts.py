# uv run python -m tests.rails.make_artifacts
"""Makes the artifacts in ``tests/rails/artifacts/``, and what their policies and classifier say about a dataset.

They were made by an older version of the code (the commit stands in each ``run.yaml``) and show whether today's still
reads what people have on their disks. To make them anew is to drop that promise, so it is done for new kinds of
artifacts only: ``--checkout DIR`` makes them with the code of another checkout.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import typer
from safetensors.torch import save_file

from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.artifacts.store import resolve
from hiltk.data.lerobot_io import load_episodes
from hiltk.observation import Observation
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import STATE_KEY
from tests.agents.resnets import group_norm_weights
from tests.rails import command

ARTIFACTS = Path(__file__).parent / "artifacts"
GOLDEN, RESNET, UNFINISHED = "golden.npz", "resnet.safetensors", ".unfinished"
SEEN = 8  # observations of each episode that the golden actions are of

SMALL = ("env.image_height=16", "env.image_width=16", "task.time_limit_s=3")
LARGE = ("env.image_height=40", "env.image_width=40", "task.time_limit_s=1.5")  # LeRobot's encoder needs 39
CNN = ("encoder.channels=[4]", "encoder.kernels=[3]", "encoder.strides=[4]", "encoder.features=8")
LEROBOT = (
    *("encoder=lerobot", "encoder.channels=[4,4,4,4]", "encoder.embeddings=2", "encoder.features=8"),
    "agent.activation=silu",
)
SAC = ("demos=[demos]", "agent.hidden=[16,16]", *SMALL)
DRQ = ("demos=[demos]", "agent.hidden=[16,16]", "agent.bottleneck=8", "agent.frame_stack=2", *SMALL)
# The easiest that rule REW007 lets judge a training: hardly augmented, since there is so little to learn from.
CLASSIFIER = (
    *("train-classifier", "demos", "name=cube", "steps=300", "lr=5e-3", "hidden=8", "held_out=0.3", "versions=1"),
    *("encoder.channels=[4,8]", "encoder.kernels=[3,3]", "encoder.strides=[2,2]", "encoder.features=8"),
    *("encoder.shift_pad=1", "state_loss=0", "augment.color=0.1", "augment.gamma=0", "augment.light=0"),
    *("augment.blur=0", "augment.camera=0"),
)
# How each policy was trained; a training from it (init=) needs the same.
POLICIES: dict[str, tuple[str, ...]] = {
    "sac": ("agent=sac", "reward=classifier", "reward.classifier=cube", *SAC, *CNN),
    "hilserl": ("agent=hilserl", "reward.timeout=terminal", *SAC, *CNN),
    "drqv2": ("agent=drqv2_demos", "agent.own_encoder=false", *DRQ, *CNN),  # its own encoder is also RoboBase's
    "robobase": ("agent=drqv2_robobase", *DRQ),
    "resnet": ("encoder=resnet", f"encoder.weights={RESNET}", "encoder.embeddings=2", "encoder.features=8", *SAC),
    "three-way": ("env.gripper=discrete3", "agent.hidden=[16,16]", *SMALL, *CNN),
    "lerobot": ("demos=[large]", "agent.hidden=[16,16]", *LARGE, *LEROBOT),
}
TINY = ("batch_size=16", "learning_starts=12", "utd=0.5", "capacity=100")
INTERRUPTED = ("train", "name=interrupted", "episodes=4", "checkpoint_every=1", "agent=sac", *SAC, *CNN, *TINY)


def train(name: str, *more: str) -> tuple[str, ...]:
    """The training of one of `POLICIES`."""
    return ("train", f"name={name}", "episodes=2", "checkpoint_every=2", *POLICIES[name], *TINY, *more)


def observations(root: Path, dataset: str = "demos") -> list[list[Observation]]:
    """The first few of each episode of the dataset."""
    episodes = load_episodes(resolve(dataset, "datasets", root).path)
    return [[{k: v[t] for k, v in e.observations.items()} for t in range(SEEN)] for e in episodes]


def actions(policy: Policy, episodes: list[list[Observation]]) -> np.ndarray:
    """Deterministic actions (episodes, SEEN, A); a policy with a memory is told where episodes begin."""
    acts = []
    for episode in episodes:
        policy.reset()
        acts.append([policy.act(observation) for observation in episode])
    return np.array(acts)


def probabilities(root: Path) -> np.ndarray:
    """What the classifier says of every observation of the dataset (N,)."""
    classifier = SuccessClassifier.load(resolve("cube@c-0001", "classifiers", root).path)
    episodes = [e.observations for e in load_episodes(resolve("demos", "datasets", root).path)]
    seen = [{k: v[t] for k, v in e.items()} for e in episodes for t in range(len(e[STATE_KEY]))]
    return np.array([classifier.probability(o) for o in seen])


def columns(root: Path) -> dict[str, np.ndarray]:
    """What the dataset says of each step, episode after episode."""
    episodes = load_episodes(resolve("demos", "datasets", root).path)
    names = ("actions", "rewards", "success", "source", "is_intervention", "action_valid")
    found = {name: np.concatenate([getattr(e, name) for e in episodes]) for name in names}
    return found | {key: np.concatenate([e.observations[key] for e in episodes]) for key in episodes[0].observations}


def dataset_of(name: str) -> str:
    return "large" if name == "lerobot" else "demos"


def _make(folder: Path, checkout: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(group_norm_weights([4, 8, 12, 16], stem=4), folder / RESNET)
    first = (
        ("record", "name=demos", "episodes=6", "keep=all", "steps_after_success=8", *SMALL),
        ("record", "name=large", "episodes=1", "keep=all", "task.stratum=near", *LARGE),
        CLASSIFIER,
    )
    last = ("export-policy", "lerobot", "name=lerobot")
    command.run([*first, *(train(name) for name in POLICIES), last], folder, checkout)
    metrics = folder / "outputs" / "policies" / "interrupted" / UNFINISHED / "metrics.csv"
    command.run_and_kill(INTERRUPTED, folder, lambda: command.lines(metrics) >= 4, checkout)


def _golden(root: Path) -> dict[str, np.ndarray]:
    """What every policy does and the classifier says, by the name of the artifact."""
    golden = {
        name: actions(load_policy(resolve(name, "policies", root).path), observations(root, dataset_of(name)))
        for name in POLICIES
    }
    return golden | {"cube": probabilities(root)} | columns(root)


def main(checkout: Path = command.HERE) -> None:
    """Make all artifacts, with the code of another checkout if one is given."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _make(folder, checkout.resolve())
        root = folder / "outputs"
        np.savez_compressed(root / GOLDEN, **_golden(root))
        shutil.rmtree(ARTIFACTS, ignore_errors=True)
        shutil.copytree(root, ARTIFACTS, ignore=shutil.ignore_patterns("cache", ".lock", ".writer"))
        shutil.copy(folder / RESNET, ARTIFACTS)


if __name__ == "__main__":
    typer.run(main)
