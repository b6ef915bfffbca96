"""Precision and compilation of gradient steps, and what an update computes only once."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hiltk.agents import encoders
from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.compute import (
    autocast,
    check_compute,
    compile_torsos,
    devices,
    generator_state,
    require_device,
    set_generator_state,
    torch_device,
)
from hiltk.agents.make import build_agent, build_policy
from hiltk.agents.policy import Policy
from hiltk.agents.pretrained import load_trunk
from hiltk.agents.resnet import AT_ONCE
from hiltk.config.groups import DrqConf, EncoderConf, LearnerConf, SacConf
from hiltk.data.replay import Batch
from hiltk.errors import ConfigError
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, GripperFormat, ImageSpec, RewardSpec, Spec, StateSpec, Stats
from tests.agents.resnets import resnet10_folder, resnet_conf

CPU = torch.device("cpu")
PIXELS, SIZE = 40, 12
ENCODERS = {
    "cnn": EncoderConf(features=8, channels=[4, 8, 8]),
    "lerobot": EncoderConf(
        name="lerobot", features=8, channels=[4] * 4, kernels=[7, 5, 3, 3], strides=[2] * 4, embeddings=2
    ),
    "none": EncoderConf(name="none"),
}


def spec() -> Spec:
    return Spec(
        state=StateSpec([Dimension(f"s{i}") for i in range(3)]),
        action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(2)], gripper=GripperFormat.discrete3),
        images=[ImageSpec("wrist", PIXELS, PIXELS), ImageSpec("front", PIXELS, PIXELS)],
        stats={STATE_KEY: Stats([0.0] * 3, [1.0] * 3, [-1.0] * 3, [1.0] * 3)},
    )


def make_policy(conf: LearnerConf, encoder: EncoderConf) -> Policy:
    torch.manual_seed(0)
    return build_policy(conf, encoder, spec())


def sac(encoder: str = "cnn") -> Any:
    conf = SacConf(hidden=[16, 16], lr=1e-3)
    return build_agent(make_policy(conf, ENCODERS[encoder]), conf, RewardSpec(), 50)


def drq() -> Any:
    conf = DrqConf(hidden=[16, 16], bottleneck=8, frame_stack=1)
    return build_agent(make_policy(conf, ENCODERS["cnn"]), conf, RewardSpec(), 50)


def cloning() -> Any:
    return BehaviorCloning(make_policy(SacConf(hidden=[16, 16]), ENCODERS["cnn"]), lr=3e-3, loss="mean")


LEARNERS: dict[str, Callable[[], Any]] = {"sac": sac, "drqv2": drq, "bc": cloning}


def batch(size: int = SIZE) -> Batch:
    generator = torch.Generator().manual_seed(1)

    def observation() -> dict[str, torch.Tensor]:
        frames = {
            image.key: torch.randint(0, 256, (size, 3, PIXELS, PIXELS), dtype=torch.uint8, generator=generator)
            for image in spec().images
        }
        return frames | {STATE_KEY: torch.randn(size, 3, generator=generator)}

    action = torch.rand(size, 2, generator=generator) * 2 - 1
    action[:, -1] = torch.randint(-1, 2, (size,), generator=generator)
    human = torch.arange(size) % 2 == 0
    reward, discount = torch.rand(size, generator=generator), torch.full((size,), 0.97)
    return Batch(observation(), action, reward, observation(), discount, human)


def step(learner: Any, precision: str, seed: int = 5) -> dict[str, float]:
    torch.manual_seed(seed)
    with autocast(precision, CPU):
        metrics: dict[str, float] = learner.update(batch())
    return metrics


def weights(learner: Any) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in learner.policy.state_dict().items()}


def networks(learner: Any) -> list[nn.Module]:
    return [v for v in (learner.policy, *vars(learner).values()) if isinstance(v, nn.Module)]


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("name", LEARNERS)
def test_bfloat16_reaches_the_products_and_nothing_that_is_kept(name: str) -> None:
    learner, seen = LEARNERS[name](), Counter[tuple[str, torch.dtype]]()
    for module in {m for net in networks(learner) for m in net.modules()}:
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, _, out: seen.update([(type(m).__name__, out.dtype)]))
    before = weights(learner)
    metrics = step(learner, "bfloat16")
    assert seen and {dtype for _, dtype in seen} == {torch.bfloat16}
    assert np.isfinite(list(metrics.values())).all()
    after = weights(learner)
    assert any(not torch.equal(v, after[k]) for k, v in before.items())
    kept = [*learner.policy.parameters(), *(p for net in networks(learner) for p in net.parameters())]
    assert {p.dtype for p in kept} == {torch.float32}
    assert all(p.grad is None or (p.grad.dtype == torch.float32 and p.grad.isfinite().all()) for p in kept)
    assert {v.dtype for v in after.values()} == {v.dtype for v in before.values()} == {torch.float32}


@pytest.mark.parametrize("name", LEARNERS)
def test_float32_is_what_no_context_at_all_gives_bit_for_bit(name: str) -> None:
    one, other = LEARNERS[name](), LEARNERS[name]()
    step(one, "float32")
    torch.manual_seed(5)
    other.update(batch())
    assert all(torch.equal(v, weights(other)[k]) for k, v in weights(one).items())


@pytest.mark.parametrize("name", LEARNERS)
def test_in_bfloat16_too_a_learner_goes_on_from_its_state_bit_for_bit(name: str) -> None:
    one = LEARNERS[name]()
    step(one, "bfloat16")
    other = LEARNERS[name]()
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert step(one, "bfloat16", seed=8) == step(other, "bfloat16", seed=8)
    assert all(torch.equal(v, weights(other)[k]) for k, v in weights(one).items())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_features_and_heads_are_float32_in_every_precision(encoder: str) -> None:
    agent = sac(encoder)
    with autocast("bfloat16", CPU):
        features = agent.policy.torso(batch().observation)
        action, log_prob = agent.policy.actor.sample(features)
        values = [agent.critic(features, action), agent.policy.gripper(features), log_prob, action, features]
    assert {v.dtype for v in values} == {torch.float32}
    assert set(ENCODERS) | {"resnet"} == set(encoders.ENCODERS)  # the frozen one below


def test_bfloat16_features_of_a_frozen_trunk_are_close_and_float32(tmp_path: Path) -> None:
    trunk = load_trunk(str(resnet10_folder(tmp_path)))
    frames = batch().observation["observation.images.wrist"]
    exact = trunk(frames)
    with autocast("bfloat16", CPU):
        near = trunk(frames)
    assert near.dtype == exact.dtype == torch.float32
    assert not torch.equal(near, exact)
    assert (near - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_tiny_problem_is_learned_in_every_precision(precision: str) -> None:
    """The arm's action is the first state; 8 known observations, so the loss can go to zero."""
    learner, data = cloning(), batch(8)
    data.action[:, 0] = data.observation[STATE_KEY][:, 0].clamp(-0.9, 0.9)
    with autocast(precision, CPU):
        losses = [learner.update(data)["loss"] for _ in range(80)]
    assert losses[-1] < 0.1 * losses[0]
    assert learner.evaluate([data]) < 0.1 * losses[0]  # and in float32, as it will act


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_critics_fit_a_batch_in_every_precision(precision: str) -> None:
    agent, data = sac(), batch(8)
    data.discount.zero_()
    with autocast(precision, CPU):
        losses = [agent.update(data)["critic_loss"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.2 * losses[0]


# ---------------------------------------------------------------- refusals


def test_what_cannot_be_carried_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unknown precision 'bfloat61'") as caught:
        check_compute("bfloat61", False, CPU)
    assert "bfloat16" in str(caught.value)
    check_compute("bfloat16", False, CPU)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match="C\\+\\+ compiler"):
        check_compute("float32", True, CPU)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(ConfigError, match="bfloat16"):
        check_compute("bfloat16", False, torch.device("cuda"))


# ---------------------------------------------------------------- compilation


@pytest.mark.slow
def test_a_compiled_torso_computes_the_same_under_the_same_names() -> None:
    plain, compiled = sac(), sac()
    compile_torsos(compiled.torsos())
    for seed in (5, 6):
        one, other = step(plain, "float32", seed), step(compiled, "float32", seed)
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5)
    ours, theirs = weights(plain), weights(compiled)
    assert list(ours) == list(theirs)
    assert all(torch.allclose(v, theirs[k], atol=1e-4) for k, v in ours.items())


def test_compiling_reaches_the_torso_and_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: made.append(self))
    agent, learner = sac(), drq()
    compile_torsos(agent.torsos())
    compile_torsos([learner.policy.torso])
    assert made == [agent.policy.torso, agent.target_torso, learner.policy.torso]


# ---------------------------------------------------------------- what is computed once


def counted(module: nn.Module, calls: Counter[str], name: str) -> None:
    module.register_forward_hook(lambda m, inputs, out: calls.update([f"{name} {torch.is_grad_enabled()}"]))


@pytest.mark.parametrize("encoder", ["cnn", "lerobot"])
def test_sac_encodes_each_batch_once_and_every_head_shares_it(encoder: str) -> None:
    agent, calls = sac(encoder), Counter[str]()
    counted(agent.policy.torso, calls, "online")
    counted(agent.target_torso, calls, "target")
    agent.update(batch())
    assert calls == {"online True": 1, "target False": 1}  # s with a gradient, s' without


def test_drqv2_encodes_each_batch_once() -> None:
    agent, calls = drq(), Counter[str]()
    counted(agent.policy.torso, calls, "online")
    agent.update(batch())
    assert calls == {"online True": 1, "online False": 1}


@pytest.mark.parametrize("name", ["sac", "drqv2"])
def test_one_optimizer_owns_the_encoder(name: str) -> None:
    agent = LEARNERS[name]()
    owned = {id(p) for p in agent.policy.torso.parameters() if p.requires_grad}
    held = {
        key: {id(p) for group in value.param_groups for p in group["params"]}
        for key, value in vars(agent).items()
        if isinstance(value, torch.optim.Optimizer)
    }
    assert [key for key, ids in held.items() if ids & owned] == ["critic_optimizer"]
    assert owned <= held["critic_optimizer"]


@pytest.mark.parametrize("count", [0, 1, AT_ONCE, 2 * AT_ONCE + 1])
def test_a_trunk_sees_many_frames_as_it_sees_few(tmp_path: Path, count: int) -> None:
    trunk, conf = load_trunk(str(resnet10_folder(tmp_path))), resnet_conf(tmp_path)
    frames = torch.randint(0, 256, (count, 3, PIXELS, PIXELS), dtype=torch.uint8)
    maps = trunk(frames)
    assert conf.name == "resnet" and maps.shape[0] == count
    assert torch.allclose(maps, trunk._maps(frames), atol=1e-4)


# ---------------------------------------------------------------- devices


def _refusal(name: str) -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.device(name)
    return caught.value


KINDS = re.findall(r"\w+", re.search("one of (.*) device type", str(_refusal("nothing")))[1])  # type: ignore[index]


@pytest.mark.parametrize("name", [*KINDS, "cuda:1", "cuda:7", "mps:0", "cpu:0"])
def test_a_device_of_torch_is_there_or_it_is_said_what_is(name: str) -> None:
    """Each backend says in its own way that it is not there; some give tensors that hold nothing."""
    device = torch_device(name)
    try:
        require_device(device)
    except ConfigError as error:
        assert f"device={name}" in error.where and "device=cpu" in error.fix and name not in devices()
    else:
        assert torch.ones(1, device=device).item() == 1
    assert all(torch.zeros(1, device=found).item() == 0 for found in devices())


def test_something_else_is_no_device() -> None:
    with pytest.raises(ConfigError, match="'cdua' is no device of torch") as caught:
        torch_device("cdua")
    assert caught.value.fix == "did you mean 'cuda'?"
    with pytest.raises(ConfigError, match="is no device") as caught:
        torch_device("")
    assert "device=auto" in caught.value.fix


def test_the_random_numbers_of_every_device_go_on() -> None:
    for name in devices():
        device = torch.device(name)
        state = generator_state(device)
        assert bool(state) == (device.type != "cpu")
        drawn = torch.rand(3, device=device)
        set_generator_state(device, state)
        assert device.type == "cpu" or torch.equal(drawn, torch.rand(3, device=device))
