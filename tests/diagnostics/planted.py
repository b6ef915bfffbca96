"""Training runs with one planted cause each, made by the real commands; small, and the fault as it happens in life.

Settings are set; datasets are altered on disk; classifiers are edited or trained on wrong labels. The checks that would
refuse a fault are ignored, as a user in a hurry would. One cannot be planted as it happened: demonstrations that newer
data evicts, because here they have a store of their own. What it does to learning, batches without demonstrations, is
planted by ``demo_fraction=0``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from hiltk.artifacts.store import Artifact
from hiltk.config.commands import BcConf, ChecksConf, ClassifierConf, ClassifierSplit, RecordConf, TrainConf
from hiltk.config.groups import (
    DrqConf,
    EncoderConf,
    HumanConf,
    InterventionConf,
    RewardConf,
    SacConf,
    Schedule,
    So101SimConf,
    TaskConf,
)
from hiltk.data.statistics import vector_stats
from hiltk.spec import STATE_KEY
from hiltk.steps import bc_pretrain, record, train, train_classifier
from tests.agents.resnets import group_norm_weights, resnet10_folder, resnet_conf
from tests.faults.inject import Good

ENV, TASK = So101SimConf(image_height=24, image_width=24), TaskConf(name="reach", time_limit_s=2.5)
AGENT = SacConf(hidden=[32, 32])
DRQ = DrqConf(
    hidden=[32, 32], own_encoder=False, frame_stack=1, n_step=1, noise="linear(0.2,0.1,2000)", explore_steps=0,
    discount=0.97, lr=3e-4, clip_target=True, imitation_weight=1.0,
)  # fmt: skip
ENCODER = EncoderConf(channels=[8, 16], kernels=[5, 3], strides=[4, 2], features=16, shift_pad=2)
IGNORED = ChecksConf(ignore=["ACT", "GRP", "IMG", "KIN", "LRN", "REW", "RUN"])


@dataclass
class World:
    """Sound demonstrations and what is made of them, for one seed; made when first asked for."""

    folder: Path
    seed: int

    @property
    def root(self) -> str:
        return str(self.folder)

    @cached_property
    def demos(self) -> Artifact:
        return self.record("demos", episodes=8)

    @cached_property
    def play(self) -> Artifact:
        return self.record("play", episodes=4, keep="all", human=HumanConf(name="wandering"))

    @cached_property
    def bc(self) -> Artifact:
        conf = BcConf(
            root=self.root, name="bc", datasets=[self.demos.name], agent=AGENT, encoder=ENCODER, seed=self.seed
        )
        return bc_pretrain.run(replace(conf, steps=250, batch_size=64, held_out=0, loss="likelihood"))

    @cached_property
    def classifier(self) -> Artifact:
        return self.classify("cube", [self.demos.name, self.play.name])

    def record(self, name: str, **changes: Any) -> Artifact:
        conf = RecordConf(root=self.root, name=name, env=ENV, task=TASK, steps_after_success=3, seed=100 + self.seed)
        return record.run(replace(conf, checks=IGNORED, **changes))

    def classify(self, name: str, datasets: list[str], steps: int = 300) -> Artifact:
        conf = ClassifierConf(
            root=self.root, name=name, datasets=datasets, encoder=ENCODER, steps=steps, lr=3e-3, seed=self.seed,
            split=ClassifierSplit.episode, hold_steps=2, min_steps=0, checks=IGNORED,
        )  # fmt: skip
        return train_classifier.run(conf)

    def train(self, name: str, **changes: Any) -> Artifact:
        base = TrainConf(
            root=self.root, name=name, env=ENV, task=TASK, agent=AGENT, encoder=ENCODER, demos=[self.demos.name],
            episodes=10, batch_size=64, utd=1.0, learning_starts=30, capacity=2000, checkpoint_every=5, seed=self.seed,
            checks=IGNORED,
        )  # fmt: skip
        return train.run(replace(base, **changes))

    # ------------------------------------------------------------------ things that are broken

    def broken(self, name: str, change: Callable[[Good], None]) -> str:
        """A copy of the demonstrations with a fault; its path."""
        target = self.folder / "broken" / name
        if not target.is_dir():
            target.parent.mkdir(exist_ok=True)
            good = Good(self.demos.path, target)
            change(good)
            good.write()
        return str(target)

    def with_threshold(self, classifier: Artifact, name: str, threshold: float) -> str:
        """A classifier with another threshold, as an editor leaves it; its path."""
        target = self.folder / "broken" / name
        target.mkdir(parents=True, exist_ok=True)
        for file in classifier.path.iterdir():
            if file.is_file() and file.name != "run.yaml":
                (target / file.name).write_bytes(file.read_bytes())
        conf = OmegaConf.load(target / "classifier.yaml")
        conf.spec.reward.threshold = threshold
        OmegaConf.save(conf, target / "classifier.yaml")
        return str(target)


# ---------------------------------------------------------------- sound runs


def healthy(w: World) -> Artifact:
    """From a cloned policy, with brief corrections."""
    return w.train("healthy", init=w.bc.name)


def healthy_scratch(w: World) -> Artifact:
    """From demonstrations alone."""
    return w.train("healthy-scratch", utd=2.0)


def healthy_drq(w: World) -> Artifact:
    """The other learner."""
    return w.train("healthy-drq", agent=DRQ)


def healthy_classifier(w: World) -> Artifact:
    """Reward by a classifier that knows its trade."""
    return w.train("healthy-classifier", init=w.bc.name, reward=RewardConf("classifier", w.classifier.name))


def healthy_resnet(w: World) -> Artifact:
    """A frozen encoder whose filters are as unequal as training leaves them."""
    return w.train("healthy-resnet", encoder=resnet_conf(_trained_looking(w.folder / "resnet-trained")))


HEALTHY: dict[str, Callable[[World], Artifact]] = {
    "cloned": healthy,
    "scratch": healthy_scratch,
    "drq": healthy_drq,
    "classifier": healthy_classifier,
    "resnet": healthy_resnet,
}


def _trained_looking(folder: Path) -> Path:
    """A ResNet whose filters differ in strength as those of trained networks do: by a log-normal factor."""
    resnet10_folder(folder)
    generator = torch.Generator().manual_seed(0)
    weights = {
        k: v * torch.exp(0.5 * torch.randn(len(v), 1, 1, 1, generator=generator)) if v.ndim == 4 else v
        for k, v in group_norm_weights().items()
    }
    save_file(weights, folder / "model.safetensors")
    return folder


# ---------------------------------------------------------------- planted causes


def noise(w: World) -> Artifact:
    """A schedule made for learning from nothing (devlog 044)."""
    return w.train("noise", agent=replace(DRQ, noise="linear(1.0,0.1,50000)"))


def entropy(w: World) -> Artifact:
    """The same with SAC: a temperature of 1 and a target entropy near that of uniform actions."""
    return w.train("entropy", init=w.bc.name, agent=replace(AGENT, temperature=1.0, target_entropy=2.0))


def zero_actions(w: World) -> Artifact:
    """The leader's joints were mirrored, zeros were stored (devlog 044)."""

    def change(good: Good) -> None:
        good.action[:] = 0

    return w.train("zero-actions", demos=[w.broken("zero-actions", change)])


def dead_state(w: World) -> Artifact:
    """The state was read from a model that nobody moved (S2): every row is the first."""

    def change(good: Good) -> None:
        good.state[:] = good.state[0]
        good.spec.stats[STATE_KEY] = vector_stats(good.state, good.spec.state.dims, "dead")

    return w.train("dead-state", demos=[w.broken("dead-state", change)])


def dead_pose(w: World) -> Artifact:
    """Only the end effector's pose stands still (S2)."""

    def change(good: Good) -> None:
        dead = [i for i, n in enumerate(good.spec.state.names) if n.startswith("ee.")]
        good.state[:, dead] = good.state[0, dead]
        good.spec.stats[STATE_KEY] = vector_stats(good.state, good.spec.state.dims, "dead")

    return w.train("dead-pose", demos=[w.broken("dead-pose", change)])


def low_threshold(w: World) -> Artifact:
    """A reward classifier trained in a hurry that fires at a hundredth (E4, devlog 072)."""
    path = w.with_threshold(w.classify("hasty", [w.demos.name, w.play.name], steps=25), "low-threshold", 0.01)
    return w.train("low-threshold", reward=RewardConf("classifier", path))


def flipped_labels(w: World) -> Artifact:
    """A reward classifier trained on labels that say the contrary (E10)."""

    def change(good: Good) -> None:
        good["success"][:] = ~good["success"].astype(bool)

    flipped = w.classify("flipped", [w.broken("flipped", change)])
    return w.train("flipped-labels", reward=RewardConf("classifier", flipped.name))


def no_demonstrations(w: World) -> Artifact:
    """Demonstrations are named and none is in a batch (S13, S14)."""
    return w.train("no-demonstrations", demo_fraction=0.0)


def terminal(w: World) -> Artifact:
    """Time-outs end the world."""
    conf = RewardConf(timeout="terminal")
    return w.train("terminal", reward=conf, task=replace(TASK, time_limit_s=1.5))


def random_encoder(w: World) -> Artifact:
    """The pretrained weights are not: a ResNet as it was initialised (S5)."""
    return w.train("random-encoder", encoder=resnet_conf(resnet10_folder(w.folder / "resnet", w.seed)))


def unrewarded(w: World) -> Artifact:
    """Sparse reward, nobody who shows, nobody who helps (devlog 058)."""
    return w.train("unrewarded", demos=[], intervention=InterventionConf(schedule=Schedule.never))


def tiny_actions(w: World) -> Artifact:
    """Scaled twice (A5): full actions move the arm by a millimetre."""
    env = replace(ENV, action_scale_m=0.001)
    demos = w.record("tiny", episodes=6, keep="all", env=env)
    return w.train("tiny-actions", env=env, demos=[demos.name])


def long_takeovers(w: World) -> Artifact:
    """Takeovers that last to success (devlog 072)."""
    conf = InterventionConf(schedule=Schedule.long, explore_steps=1)
    return w.train("long-takeovers", intervention=conf)


def short_discount(w: World) -> Artifact:
    """A discount that sees two steps."""
    return w.train("short-discount", agent=replace(AGENT, discount=0.4))


def short_demonstrations(w: World) -> Artifact:
    """They stop at success, training asks for it to hold (S9)."""
    demos = w.record("short", episodes=8, steps_after_success=0)
    return w.train("short-demonstrations", demos=[demos.name], reward=RewardConf(hold_steps=8))


def few_updates(w: World) -> Artifact:
    """The learner does not keep up (S10)."""
    return w.train("few-updates", utd=0.02)


def dark(w: World) -> Artifact:
    """Another lamp: the demonstrations are a third as bright as training (D10)."""

    def change(good: Good) -> None:
        good.frames("observation.images.wrist", lambda row, frame: frame // 3)

    return w.train("dark", demos=[w.broken("dark", change)])


PLANTED: dict[str, tuple[Callable[[World], Artifact], str]] = {
    "noise": (noise, "too much exploration noise"),
    "entropy": (entropy, "too much exploration noise"),
    "zero actions": (zero_actions, "zero actions"),
    "dead state": (dead_state, "dead proprioception"),
    "dead end effector": (dead_pose, "dead proprioception"),
    "low threshold": (low_threshold, "false successes of the reward classifier"),
    "flipped labels": (flipped_labels, "false successes of the reward classifier"),
    "no demonstrations": (no_demonstrations, "demonstrations do not reach the batches"),
    "terminal time-outs": (terminal, "time-outs stored as terminal"),
    "random encoder": (random_encoder, "an encoder frozen at random"),
    "unrewarded": (unrewarded, "reward is never reached"),
    "tiny actions": (tiny_actions, "actions too small"),
    "long takeovers": (long_takeovers, "takeovers that carry the episodes"),
    "short discount": (short_discount, "discount too low for the task"),
    "short demonstrations": (short_demonstrations, "demonstrations that follow another reward rule"),
    "few updates": (few_updates, "too few updates"),
    "dark": (dark, "domain shift between demonstrations and training"),
}
