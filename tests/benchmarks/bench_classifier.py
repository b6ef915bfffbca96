"""The success classifier and LeRobot's, from the same 40 episodes, judged on the same 200 unseen ones.

    uv run hiltk run classifier                                            # records and trains ours (vars.task=grasp)
    uv run python -m tests.benchmarks.bench_classifier                     # about 15 minutes per seed
    uv run python -m tests.benchmarks.bench_classifier --classifiers cube --root outputs --seconds 60

Takes finished classifiers of ``hiltk train-classifier unseen=[...]``, reads from them what they learned from and what
they are judged on, and trains LeRobot 0.6.1's ``Classifier`` on the very same episodes (on all of them: it holds none
out) by its own recipe: ResNet-10 frozen, AdamW at 1e-4 with weight decay 0.01 and clipped gradients, batches of 16
drawn evenly from all frames, normalised by the dataset's mean and deviation; the reward of a frame is our label of it.

What was changed so that it runs here, all from outside:

- ``model_name`` is a folder with a ResNet-10 of random weights: pretrained ones lie on the Hub, out of reach here;
- frames are enlarged to 128 x 128: its spatial embedding is fixed to the 4 x 4 maps which only that size gives;
- "neck trained": only the trunk stays without gradients; as shipped, ``torch.no_grad`` covers the neck as well.

It is judged as it is deployed (frames in [0, 1] without the normalisation it was trained with, threshold 0.5, the first
positive frame ends the episode), and again with its preprocessor and a hold of two frames, as the labels are held.
``--seconds`` of CPU time, one thread, for each training of theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import cv2
import numpy as np
import torch
from torch import nn

from hiltk.artifacts.store import Artifact, resolve
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.frames import LabelledFrames, collect
from hiltk.rewards.unseen import Judgement, judge
from tests.benchmarks.bench_learning import resnet10_folder

SIZE, BATCH, CHUNK = 128, 16, 64
REWARD = "next.reward"


@dataclass
class Case:
    """One classifier of ours with the frames it learned from, held-out ones included, and those it is judged on."""

    name: str
    model: SuccessClassifier
    seen: LabelledFrames
    unseen: LabelledFrames
    true_hold: int

    def only(self, count: int) -> Case:
        """With so many of the unseen episodes, evenly chosen: theirs takes a twentieth of a second for one frame."""
        numbers = np.unique(self.unseen.episode)
        rows = np.isin(
            self.unseen.episode, numbers[np.linspace(0, len(numbers) - 1, min(count, len(numbers))).astype(int)]
        )
        images = {k: v[np.flatnonzero(rows)] for k, v in self.unseen.images.items()}
        some = LabelledFrames(images, self.unseen.success[rows], self.unseen.episode[rows], self.unseen.step[rows])
        return replace(self, unseen=some)


def case(artifact: Artifact, root: Path) -> Case:
    config = artifact.run()["config"]
    if not config.get("unseen"):
        raise SystemExit(f"{artifact.ref} was trained without unseen=[...]: nothing to judge it on")
    model = SuccessClassifier.load(artifact.path)
    keys = [image.key for image in model.spec.images]
    frames, hold = [], 2
    for references in (config["datasets"], config["unseen"]):
        paths = [resolve(reference, "datasets", root).path for reference in references]
        hold = dataset_spec(paths[0]).reward.hold_steps
        frames.append(collect([e for path in paths for e in load_episodes(path, after_end=True)], keys))
    return Case(artifact.ref, model, *frames, hold)


# ---------------------------------------------------------------- LeRobot's


def large(frames: np.ndarray) -> torch.Tensor:
    """(B, 3, 128, 128) float in [0, 1], as LeRobot's datasets give them."""
    resized = np.stack([cv2.resize(f, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) for f in frames])
    return torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 255


def batch_of(frames: LabelledFrames, rows: np.ndarray) -> dict[str, torch.Tensor]:
    images = {k: large(v[rows]) for k, v in frames.images.items()}
    return images | {REWARD: torch.from_numpy(frames.success[rows]).float()}


def statistics(frames: LabelledFrames) -> dict[str, dict[str, torch.Tensor]]:
    """Mean and deviation of every channel over all frames, shaped as LeRobot stores them."""
    found = {}
    for key, images in frames.images.items():
        pixels = images[:].astype(np.float32) / 255
        found[key] = {
            name: torch.from_numpy(value.reshape(3, 1, 1))
            for name, value in (("mean", pixels.mean((0, 1, 2))), ("std", pixels.std((0, 1, 2))))
        }
    return found


def build(keys: Sequence[str], weights: str, *, neck: bool) -> Any:
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.rewards.classifier import Classifier, RewardClassifierConfig

    features = {k: PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE)) for k in keys}
    config = RewardClassifierConfig(input_features=features, num_cameras=len(keys), model_name=weights)
    torch.manual_seed(0)
    model = Classifier(config)
    if neck:
        train_neck(model)
    return model


def train_neck(model: Any) -> None:
    """Replace the method whose ``no_grad`` covers the neck by one that covers the trunk alone."""

    def encode(images: torch.Tensor, key: str) -> torch.Tensor:
        trunk, *rest = model.encoders[key]
        with torch.no_grad():
            maps = trunk(images)
        out: torch.Tensor = nn.Sequential(*rest)(maps)
        return out

    model._get_encoder_output = encode


def train_theirs(model: Any, pre: Any, frames: LabelledFrames, seconds: float, seed: int) -> int:
    """By LeRobot's own optimiser preset, for so many CPU seconds; the number of steps made."""
    preset = model.config.get_optimizer_preset()
    optimizer = preset.build([p for p in model.parameters() if p.requires_grad])
    rng, start, steps = np.random.default_rng(seed), time.process_time(), 0
    model.train()
    while time.process_time() - start < seconds:
        loss, _ = model(pre(batch_of(frames, rng.integers(len(frames), size=BATCH))))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), preset.grad_clip_norm)
        optimizer.step()
        steps += 1
    model.eval()
    return steps


@torch.inference_mode()
def scores(model: Any, frames: LabelledFrames, pre: Any | None) -> np.ndarray:
    """Probabilities (N,); ``pre`` None: frames go in as `RewardClassifierProcessorStep` hands them over."""
    parts = []
    for start in range(0, len(frames), CHUNK):
        batch = batch_of(frames, np.arange(start, min(start + CHUNK, len(frames))))
        batch = pre(batch) if pre else batch
        parts.append(model.predict([batch[k] for k in frames.images]).probabilities)
    return torch.cat(parts).numpy()


def theirs(one: Case, seconds: float, seed: int, folder: Path) -> dict[str, Judgement]:
    from lerobot.rewards.classifier import make_classifier_processor

    found = {}
    for neck in (False, True):
        model = build(list(one.seen.images), resnet10_folder(folder), neck=neck)
        pre, _ = make_classifier_processor(model.config, dataset_stats=statistics(one.seen))
        steps = train_theirs(model, pre, one.seen, seconds, seed)
        name = "LeRobot, neck trained" if neck else "LeRobot"
        print(f"  {name}: {steps} steps of {BATCH} in {seconds:g} CPU seconds", flush=True)
        if not neck:
            raw = scores(model, one.unseen, None) > 0.5
            found["LeRobot as deployed"] = judge(raw, one.unseen, 1, 0, one.true_hold)
        normalised = scores(model, one.unseen, pre) > 0.5
        found[f"{name}, normalised, hold 2"] = judge(normalised, one.unseen, 2, 0, one.true_hold)
    return found


# ---------------------------------------------------------------- side by side


def ours(one: Case) -> Judgement:
    positive = one.model.probabilities(one.unseen.images) >= one.model.threshold
    return judge(positive, one.unseen, one.model.hold_steps, one.model.min_steps, one.true_hold)


def line(name: str, found: Judgement) -> str:
    delay = f"{np.median(found.delays):g}" if found.delays else "-"
    wrong, missed, early = (f"{s.count}/{s.n}" for s in (found.wrongly_rewarded, found.missed, found.early))
    return f"{name:44s} {found.accuracy!s:31s} {wrong:>8s} {missed:>8s} {early:>8s} {delay:>6s}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("outputs"))
    parser.add_argument("--classifiers", nargs="+", default=[f"classifier-classifier-s{seed}" for seed in range(3)])
    parser.add_argument("--seconds", type=float, default=300, help="CPU time of each training of LeRobot's")
    parser.add_argument("--episodes", type=int, default=200, help="unseen episodes to judge LeRobot's on")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for seed, reference in enumerate(args.classifiers):
        one = case(resolve(reference, "classifiers", args.root), args.root)
        print(f"{one.name}: {len(np.unique(one.seen.episode))} episodes seen, {len(np.unique(one.unseen.episode))} not")
        found = {"hiltk": ours(one)}
        if not args.ours_only:
            one = one.only(args.episodes)
            found[f"hiltk, {args.episodes} of the episodes"] = ours(one)
            with tempfile.TemporaryDirectory() as folder:
                found |= theirs(one, args.seconds, seed, Path(folder))
        print(f"{'':44s} {'frame accuracy':31s} {'rewarded':>8s} {'missed':>8s} {'early':>8s} {'delay':>6s}")
        for name, judgement in found.items():
            print(line(name, judgement), flush=True)
        figures[one.name] = {name: judgement.to_dict() for name, judgement in found.items()}
    print("rewarded: failed episodes; missed, early: successful ones; delay: median steps; intervals: 95 %, by episode")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
