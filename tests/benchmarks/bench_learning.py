"""Replay memory, sampling and one SAC update: hiltk beside LeRobot 0.6's own parts, in the same run.

    uv run python -m tests.benchmarks.bench_learning            # the quickstart's batch: one 64 x 64 camera, batch 128
    uv run python -m tests.benchmarks.bench_learning 2 128 256  # cameras, pixels, batch size

Absolute times mean little on a shared machine; the ratios are what to read. LeRobot's SAC runs as shipped, with its
default image encoder made trainable (`freeze_vision_encoder=False`), no discrete gripper, and its augmentation not
compiled: compiling costs it 44 s at first use here. Both sides train every parameter of a 4-D continuous policy on
18-D states. The encoders differ, and that is part of what is measured; parameter counts are printed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent
from hiltk.config import AgentConf, EncoderConf
from hiltk.data.episode import Source
from hiltk.data.replay import FrameStore, ReplaySampler, example_observation
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, ImageSpec, RewardSpec, Spec, StateSpec, Stats

TRANSITIONS, STATES, ACTIONS, EPISODE = 600, 18, 4, 20


@dataclass
class Case:
    cameras: int
    pixels: int
    batch: int

    @property
    def spec(self) -> Spec:
        return Spec(
            state=StateSpec([Dimension(f"s{i}") for i in range(STATES)]),
            action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(ACTIONS)]),
            images=[ImageSpec(f"cam{i}", self.pixels, self.pixels) for i in range(self.cameras)],
            stats={STATE_KEY: Stats([0.0] * STATES, [1.0] * STATES)},
        )


def random_observation(spec: Spec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    observation: dict[str, np.ndarray] = {STATE_KEY: rng.normal(size=STATES).astype(np.float32)}
    for image in spec.images:
        observation[image.key] = rng.integers(0, 255, (image.height, image.width, 3), dtype=np.uint8)
    return observation


# ---------------------------------------------------------------- ours


def our_sampler(case: Case) -> ReplaySampler:
    spec, rng = case.spec, np.random.default_rng(0)
    stores = [FrameStore(TRANSITIONS * (EPISODE + 1) // EPISODE, example_observation(spec), ACTIONS) for _ in range(2)]
    for store, source in zip(stores, (Source.demo, Source.policy), strict=True):
        for _ in range(TRANSITIONS // EPISODE):
            store.begin(random_observation(spec, rng))
            for t in range(EPISODE):
                last = t == EPISODE - 1
                action = rng.uniform(-1, 1, ACTIONS)
                store.add(
                    action, float(last), random_observation(spec, rng), terminated=last, truncated=False, source=source
                )
    return ReplaySampler(*stores, discount=0.97, pad=4, rng=rng)


def our_bytes(sampler: ReplaySampler) -> float:
    return sampler.online.nbytes() / TRANSITIONS


def our_agent(case: Case) -> SacAgent:
    conf = AgentConf()
    return SacAgent(Policy(conf, EncoderConf(), case.spec), conf, RewardSpec(), 50)


# ---------------------------------------------------------------- LeRobot's


def their_buffers(case: Case, optimize_memory: bool) -> list[Any]:
    from lerobot.rl.buffer import ReplayBuffer, random_shift

    spec, rng = case.spec, np.random.default_rng(0)
    buffers = []
    for _ in range(2):
        buffer = ReplayBuffer(
            TRANSITIONS,
            device="cpu",
            state_keys=[STATE_KEY, *spec.image_keys],
            image_augmentation_function=partial(random_shift, pad=4),
            optimize_memory=optimize_memory,
        )
        state = their_state(spec, rng)
        for step in range(TRANSITIONS):
            following, last = their_state(spec, rng), step % EPISODE == EPISODE - 1
            action = torch.rand(1, ACTIONS) * 2 - 1
            buffer.add(state, action, float(last), following, done=last, truncated=False)
            state = following
        buffers.append(buffer)
    return buffers


def their_state(spec: Spec, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Observations as LeRobot's actor sends them: floats in [0, 1], (1, C, H, W)."""
    out = {}
    for key, value in random_observation(spec, rng).items():
        tensor = torch.from_numpy(value)
        out[key] = (tensor.permute(2, 0, 1).float() / 255 if tensor.ndim == 3 else tensor)[None]
    return out


def their_bytes(buffer: Any) -> float:
    tensors = {id(t): t for t in (*buffer.states.values(), *buffer.next_states.values())}
    return sum(t.numel() * t.element_size() for t in tensors.values()) / TRANSITIONS


def their_batches(buffers: list[Any], batch: int) -> Iterator[dict[str, Any]]:
    """Half demonstrations, half online, as LeRobot's own mixer concatenates them."""
    from lerobot.rl.buffer import concatenate_batch_transitions

    while True:
        halves = [b.sample(batch // 2) for b in buffers]
        yield concatenate_batch_transitions(*halves)


def their_algorithm(case: Case) -> Any:
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
    from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
    from lerobot.rl.algorithms.factory import make_algorithm
    from lerobot.rl.algorithms.sac.configuration_sac import SACAlgorithmConfig

    spec = case.spec
    inputs = {STATE_KEY: PolicyFeature(FeatureType.STATE, (STATES,))}
    for image in spec.images:
        inputs[image.key] = PolicyFeature(FeatureType.VISUAL, (3, image.height, image.width))
    config = GaussianActorConfig(
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTIONS,))},
        freeze_vision_encoder=False,
        device="cpu",
    )
    algorithm = make_algorithm(SACAlgorithmConfig.from_policy_config(config), GaussianActorPolicy(config))
    algorithm.make_optimizers_and_scheduler()
    return algorithm


# ---------------------------------------------------------------- measuring


def paired(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of each, and the median of the ratios theirs / ours, taken in turn so that noise hits both."""
    ours(), theirs()
    times = np.array([[seconds(ours), seconds(theirs)] for _ in range(rounds)])
    return float(np.median(times[:, 0])), float(np.median(times[:, 1])), float(np.median(times[:, 1] / times[:, 0]))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parameters(modules: list[Any]) -> int:
    seen = {id(p): p.numel() for m in modules for p in m.parameters() if p.requires_grad}
    return sum(seen.values())


def main(case: Case, rounds: int = 7) -> None:
    torch.set_num_threads(1)
    print(f"{case.cameras} camera(s) of {case.pixels} x {case.pixels}, {STATES}-D state, batch {case.batch}, 1 thread")
    sampler = our_sampler(case)
    double, single = their_buffers(case, optimize_memory=False), their_buffers(case, optimize_memory=True)
    ours, theirs, theirs_double = our_bytes(sampler), their_bytes(single[0]), their_bytes(double[0])
    print(
        f"memory per transition: hiltk {ours / 1024:.1f} KiB, LeRobot {theirs / 1024:.1f} (optimize_memory) and "
        f"{theirs_double / 1024:.1f} KiB; ratio {theirs / ours:.1f} and {theirs_double / ours:.1f}"
    )
    batches = their_batches(single, case.batch)
    a, b, ratio = paired(lambda: sampler.sample(case.batch, 0.5), lambda: next(batches), rounds)
    print(f"sampling with random shift: hiltk {1e3 * a:.1f} ms, LeRobot {1e3 * b:.1f} ms; ratio {ratio:.1f}")
    agent, algorithm = our_agent(case), their_algorithm(case)
    batch, fixed = sampler.sample(case.batch, 0.5), next(batches)
    a, b, ratio = paired(lambda: agent.update(batch), lambda: algorithm.update(iter([fixed])), rounds)
    print(f"one SAC update: hiltk {1e3 * a:.0f} ms, LeRobot {1e3 * b:.0f} ms; ratio {ratio:.1f}")
    sizes = parameters([agent.policy, agent.critic]), parameters([algorithm.policy, algorithm.critic_ensemble])
    print(f"trainable parameters: hiltk {sizes[0]:,}, LeRobot {sizes[1]:,}")


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]] or [1, 64, 128]
    main(Case(*arguments))
