"""Replay memory, sampling and SAC updates: hiltk beside LeRobot 0.6's own parts, in the same run.

    uv run python -m tests.benchmarks.bench_learning            # two 128 x 128 cameras, batch 256, discrete gripper
    uv run python -m tests.benchmarks.bench_learning 1 64 128   # the quickstart's batch: cameras, pixels, batch size
    uv run python -m tests.benchmarks.bench_learning --profile  # and where our time goes

Both sides compute on one thread and are measured in turn, in CPU seconds of the process: other work on the machine
then lengthens neither. Absolute times still mean little; the ratios are what to read, each the median of paired
measurements with the lowest and the highest. What LeRobot runs here, all of it as shipped:

- ``ReplayBuffer(optimize_memory=True)`` twice, mixed half and half, with the random shift as its learner has it,
  through ``torch.compile`` (the first call, up to a minute, is not counted); then the policy's preprocessor, which
  normalises.
- ``SACAlgorithm`` at UTD 1 with its defaults (two critics, a discrete critic of three values for the gripper), images
  through its own CNN made trainable (``freeze_vision_encoder=False``; by default it is random and frozen), or through
  a frozen ResNet-10 from a local folder of ``transformers`` (random weights: they cost what trained ones do).

Patched: nothing. The gripper's action is handed over as an index, which is what its discrete critic gathers by. Its
frozen ResNet stays in training mode, as its learner leaves it.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from hiltk.agents.compute import autocast, compile_torsos
from hiltk.agents.encoders import _centred
from hiltk.agents.features import attach
from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.data.episode import Source
from hiltk.data.replay import Batch, FrameStore, ReplaySampler, example_observation
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, GripperFormat, ImageSpec, RewardSpec, Spec, StateSpec, Stats

TRANSITIONS, STATES, ACTIONS, EPISODE = 600, 18, 4, 20
STATISTICS = {"mean": [[[0.485]], [[0.456]], [[0.406]]], "std": [[[0.229]], [[0.224]], [[0.225]]]}
LEROBOT = EncoderConf(
    name="lerobot", channels=[32] * 4, kernels=[7, 5, 3, 3], strides=[2] * 4, features=256, embeddings=8
)
Work = Callable[[], object]


@dataclass
class Case:
    cameras: int
    pixels: int
    batch: int
    gripper: GripperFormat = GripperFormat.continuous

    @property
    def spec(self) -> Spec:
        return Spec(
            state=StateSpec([Dimension(f"s{i}") for i in range(STATES)]),
            action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(ACTIONS)], gripper=self.gripper),
            images=[ImageSpec(f"cam{i}", self.pixels, self.pixels) for i in range(self.cameras)],
            stats={STATE_KEY: Stats([0.0] * STATES, [1.0] * STATES)},
        )

    @property
    def discrete(self) -> bool:
        return self.gripper is GripperFormat.discrete3

    def action(self, rng: np.random.Generator) -> np.ndarray:
        action = rng.uniform(-1, 1, ACTIONS).astype(np.float32)
        if self.discrete:
            action[-1] = rng.integers(-1, 2)
        return action


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
                last, following = t == EPISODE - 1, random_observation(spec, rng)
                store.add(case.action(rng), float(last), following, terminated=last, truncated=False, source=source)
    return ReplaySampler(*stores, discount=0.97, pad=4, rng=rng)


def our_bytes(sampler: ReplaySampler) -> float:
    return sampler.online.nbytes() / TRANSITIONS


def our_agent(case: Case, encoder: EncoderConf | None = None) -> SacAgent:
    conf = SacConf()
    return SacAgent(Policy(conf, encoder or EncoderConf(), case.spec), conf, RewardSpec(), 50)


def our_update(agent: SacAgent, batch: Batch, precision: str = "float32") -> Work:
    def work() -> None:
        with autocast(precision, agent.policy.device):
            agent.update(batch)

    return work


def scaled(batch: Batch) -> list[torch.Tensor]:
    """What the first convolution is handed, and the normalised state: LeRobot's preprocessor has done as much."""
    out = []
    for observation in (batch.observation, batch.next_observation):
        out += [_centred(v) for k, v in observation.items() if k != STATE_KEY]
        out.append((observation[STATE_KEY] - 0.5).clamp(-8, 8))
    return out


# ---------------------------------------------------------------- LeRobot's


def their_buffer(transitions: int, spec: Spec, optimize_memory: bool) -> Any:
    """An empty buffer of LeRobot's; its random shift is not compiled yet."""
    from lerobot.rl.buffer import ReplayBuffer, random_shift

    return ReplayBuffer(
        transitions,
        device="cpu",
        state_keys=[STATE_KEY, *spec.image_keys],
        image_augmentation_function=partial(random_shift, pad=4),
        optimize_memory=optimize_memory,
    )


def as_lerobot(observation: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Observations as LeRobot's actor sends them: floats in [0, 1], (1, C, H, W)."""
    tensors = {k: torch.from_numpy(v) for k, v in observation.items()}
    return {k: (t.permute(2, 0, 1).float() / 255 if t.ndim == 3 else t)[None] for k, t in tensors.items()}


def their_buffers(case: Case, optimize_memory: bool) -> list[Any]:
    spec, rng = case.spec, np.random.default_rng(0)
    buffers = []
    for _ in range(2):
        buffer = their_buffer(TRANSITIONS, spec, optimize_memory)
        state = as_lerobot(random_observation(spec, rng))
        for step in range(TRANSITIONS):
            following, last = as_lerobot(random_observation(spec, rng)), step % EPISODE == EPISODE - 1
            action = torch.from_numpy(case.action(rng))[None]
            action[:, -1] += case.discrete  # -1, 0, 1 to 0, 1, 2
            buffer.add(state, action, float(last), following, done=last, truncated=False)
            state = following
        buffers.append(buffer)
    return buffers


def their_bytes(buffer: Any) -> float:
    tensors = {id(t): t for t in (*buffer.states.values(), *buffer.next_states.values())}
    return sum(t.numel() * t.element_size() for t in tensors.values()) / TRANSITIONS


def their_batches(buffers: list[Any], batch: int) -> Iterator[dict[str, Any]]:
    """Half demonstrations, half online, as LeRobot's own mixer concatenates them."""
    from lerobot.rl.data_sources.data_mixer import OnlineOfflineMixer

    mixer = OnlineOfflineMixer(*buffers, online_ratio=0.5)
    while True:
        yield mixer.sample(batch)


def their_config(case: Case, resnet: str | None = None) -> Any:
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig

    spec, arm = case.spec, ACTIONS - case.discrete
    inputs = {STATE_KEY: PolicyFeature(FeatureType.STATE, (STATES,))}
    for image in spec.images:
        inputs[image.key] = PolicyFeature(FeatureType.VISUAL, (3, image.height, image.width))
    return GaussianActorConfig(
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (arm,))},
        vision_encoder_name=resnet,
        freeze_vision_encoder=resnet is not None,
        num_discrete_actions=3 if case.discrete else None,
        dataset_stats={image.key: STATISTICS for image in spec.images}
        | {STATE_KEY: {"min": [-4.0] * STATES, "max": [4.0] * STATES}},
        device="cpu",
    )


def their_algorithm(case: Case, resnet: str | None = None) -> Any:
    from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
    from lerobot.rl.algorithms.factory import make_algorithm
    from lerobot.rl.algorithms.sac.configuration_sac import SACAlgorithmConfig

    config = their_config(case, resnet)
    policy = GaussianActorPolicy(config).train()
    algorithm = make_algorithm(SACAlgorithmConfig.from_policy_config(config), policy)
    algorithm.make_optimizers_and_scheduler()
    return algorithm


def their_preprocessor(case: Case) -> Callable[[Any], Any]:
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.rl.trainer import preprocess_rl_batch

    config = their_config(case)
    processor, _ = make_pre_post_processors(policy_cfg=config, dataset_stats=config.dataset_stats)
    return partial(preprocess_rl_batch, processor)


def resnet10_folder(folder: Path) -> str:
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[1, 1, 1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(folder)
    return str(folder)


# ---------------------------------------------------------------- measuring


@dataclass
class Table:
    """Rows of measurements, printed as they come."""

    rounds: int
    rows: list[str] = field(default_factory=list)

    def head(self) -> None:
        print(f"{'':58s} {'hiltk':>9s} {'LeRobot':>9s}   ratio (lowest to highest)", flush=True)

    def compare(self, theirs: Work, ours: dict[str, Work], rounds: int | None = None) -> None:
        """Every one of ``ours`` against ``theirs``, all measured in turn ``rounds`` times after one call each."""
        works = [theirs, *ours.values()]
        for work in works:
            work()
        times = np.array([[cpu_seconds(work) for work in works] for _ in range(rounds or self.rounds)])
        for i, name in enumerate(ours, start=1):
            ratios = times[:, 0] / times[:, i]
            milliseconds = 1e3 * np.median(times, axis=0)
            print(
                f"{name:58s} {milliseconds[i]:6.0f} ms {milliseconds[0]:6.0f} ms   "
                f"{np.median(ratios):.1f} ({ratios.min():.1f} to {ratios.max():.1f})",
                flush=True,
            )


def cpu_seconds(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def parameters(modules: list[Any]) -> int:
    seen = {id(p): p.numel() for m in modules for p in m.parameters() if p.requires_grad}
    return sum(seen.values())


def profiled(name: str, work: Work) -> None:
    """Print where one call's time goes, and do not count it."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    events = sorted(profiler.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    print(f"  {name}: " + ", ".join(f"{e.key} {e.self_cpu_time_total / total:.0%}" for e in events[:8]), flush=True)


# ---------------------------------------------------------------- what is compared


def memory(sampler: ReplaySampler, single: list[Any], case: Case) -> None:
    double = their_buffers(case, optimize_memory=False)
    ours, theirs, theirs_double = our_bytes(sampler), their_bytes(single[0]), their_bytes(double[0])
    print(
        f"memory per transition: hiltk {ours / 1024:.1f} KiB, LeRobot {theirs / 1024:.1f} (optimize_memory) and "
        f"{theirs_double / 1024:.1f} KiB; ratio {theirs / ours:.1f} and {theirs_double / ours:.1f}"
    )


def sampling(table: Table, case: Case, sampler: ReplaySampler, buffers: list[Any], compiled: bool) -> None:
    batches, prepared = their_batches(buffers, case.batch), their_preprocessor(case)
    shift = buffers[0].image_augmentation_function

    def sample() -> Batch:
        return sampler.sample(case.batch, 0.5)

    rounds = 3 * table.rounds
    ours = {"sampled, uint8 (the encoder scales)": sample, "sampled and scaled to floats": lambda: scaled(sample())}
    if compiled:
        for buffer in buffers:
            buffer.image_augmentation_function = torch.compile(shift)
    how = "compiled" if compiled else "eager"
    table.compare(
        lambda: prepared(next(batches)), {f"{k}; {how} shift, normalised": v for k, v in ours.items()}, rounds
    )
    table.compare(lambda: next(batches), {f"{k}; {how} shift alone": v for k, v in ours.items()}, rounds)


def frozen(table: Table, case: Case, sampler: ReplaySampler, fixed: Any, folder: Path, profile: bool) -> None:
    """The frozen ResNet-10: as it is, in bfloat16, and from stored feature maps."""
    reference = resnet10_folder(folder)
    conf = EncoderConf(name="resnet", weights=reference, features=256)
    agent, algorithm = our_agent(case, conf), their_algorithm(case, reference)
    batch = sampler.sample(case.batch, 0.5)
    frames = torch.cat([o[k] for o in (batch.observation, batch.next_observation) for k in case.spec.image_keys])
    cached = our_agent(case, EncoderConf(name="resnet", weights=reference, features=256, cache_shifts=2))
    stores = [(store, store.size) for store in (sampler.demos, sampler.online)]
    attach(stores, cached.policy.torso.encoder, cached.policy.encoder_conf, np.random.default_rng(0))
    for store, _ in stores:  # a run computes them as it meets the frames; here they are to be there
        rows = np.arange(store.begin_row, store.end)
        for key in case.spec.image_keys:
            for shift in range(cached.policy.encoder_conf.cache_shifts):
                store.features.maps(key, rows, np.full(len(rows), shift))
    maps = sampler.sample(case.batch, 0.5)
    works = {
        "SAC, frozen ResNet-10": our_update(agent, batch),
        "  in bfloat16": our_update(agent, batch, "bfloat16"),
        "  from stored feature maps (cache_shifts=2)": our_update(cached, maps),
        "  from stored feature maps, sampling included": lambda: cached.update(sampler.sample(case.batch, 0.5)),
    }
    trunk = agent.policy.torso.encoder.trunk
    floors = {
        "  floor: that trunk once over its frames, float32": lambda: trunk(frames),
        "  floor: its convolutions alone, float32": convolutions_of(trunk, frames),
    }
    table.compare(lambda: algorithm.update(iter([fixed])), works | floors)
    if profile:
        for name in list(works)[:3]:
            profiled(name.strip(), works[name])
    for store, _ in stores:
        store.features = None


def convolutions_of(trunk: Any, frames: torch.Tensor) -> Work:
    """Only the convolutions of a forward pass, on inputs of the right shape."""
    calls: list[tuple[Any, tuple[torch.Tensor, ...]]] = []
    hooks = [
        m.register_forward_hook(lambda module, inputs, _: calls.append((module, inputs)))
        for m in trunk.modules()
        if isinstance(m, torch.nn.Conv2d)
    ]
    trunk(frames[:16])
    for hook in hooks:
        hook.remove()

    @torch.no_grad()
    def work() -> None:
        for _ in range(len(frames) // 16):
            for module, inputs in calls:
                module(*inputs)

    return work


def trained(table: Table, case: Case, sampler: ReplaySampler, fixed: Any, compiled: bool, profile: bool) -> None:
    """LeRobot's own CNN, trained, against the same layout and against our default."""
    algorithm, batch = their_algorithm(case), sampler.sample(case.batch, 0.5)
    works: dict[str, Work] = {}
    for name, conf in (("LeRobot's CNN layout (encoder=lerobot)", LEROBOT), ("our default CNN (encoder=cnn)", None)):
        if conf is LEROBOT and case.pixels < 39:
            continue
        agent = our_agent(case, conf)
        works[f"SAC, {name}"] = our_update(agent, batch)
        works["  in bfloat16" + " " * len(works)] = our_update(agent, batch, "bfloat16")
        if compiled:
            other = our_agent(case, conf)
            compile_torsos(other.torsos())
            works["  compiled" + " " * len(works)] = our_update(other, batch)
            start = time.perf_counter()
            for _ in range(2):  # the first checks the frames' range, and is compiled apart
                our_update(other, batch)()
            print(f"  compiling the torso of {name}: {time.perf_counter() - start:.0f} s before the third update")
        works["  floor: its convolutions forward, backward, forward" + " " * len(works)] = passes(agent, batch)
        sizes = parameters([agent.policy, agent.critic]), parameters([algorithm.policy, algorithm.critic_ensemble])
        print(f"  trainable parameters with {name}: hiltk {sizes[0]:,}, LeRobot {sizes[1]:,}")
    table.compare(lambda: algorithm.update(iter([fixed])), works)
    if profile:
        for name in works:
            profiled(name.strip(), works[name])


def passes(agent: SacAgent, batch: Batch) -> Work:
    """The encoder forward over s, backward, and forward over s': what no update can leave out."""
    encoder = agent.policy.torso.encoder

    def work() -> None:
        encoder(batch.observation).sum().backward()
        with torch.no_grad():
            encoder(batch.next_observation)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, help="cameras, pixels, batch size; default 2 128 256")
    parser.add_argument("--rounds", type=int, default=3, help="paired measurements of an update; of a sample thrice")
    parser.add_argument("--only", choices=("memory", "sampling", "frozen", "trained"), help="this part alone")
    parser.add_argument("--continuous", action="store_true", help="a continuous gripper, without a discrete critic")
    parser.add_argument("--eager", action="store_true", help="LeRobot's shift without torch.compile")
    parser.add_argument("--compile", action="store_true", help="our trained torsos through torch.compile, too")
    parser.add_argument("--profile", action="store_true", help="where our time goes")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    gripper = GripperFormat.continuous if arguments.continuous else GripperFormat.discrete3
    case = Case(*(arguments.sizes or (2, 128, 256)), gripper)
    print(f"{case.cameras} camera(s) of {case.pixels} x {case.pixels}, {STATES}-D state, batch {case.batch}, 1 thread")
    sampler, single = our_sampler(case), their_buffers(case, optimize_memory=True)
    table = Table(arguments.rounds)
    fixed = their_preprocessor(case)(next(their_batches(single, case.batch)))

    def wanted(part: str) -> bool:
        return arguments.only in (None, part)

    if wanted("memory"):
        memory(sampler, single, case)
    table.head()
    if wanted("sampling"):
        sampling(table, case, sampler, single, not arguments.eager)
    if wanted("trained"):
        trained(table, case, sampler, fixed, arguments.compile, arguments.profile)
    if wanted("frozen"):
        with tempfile.TemporaryDirectory() as folder:
            frozen(table, case, sampler, fixed, Path(folder), arguments.profile)


if __name__ == "__main__":
    main()
