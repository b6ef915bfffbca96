from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.arm.gripper import quantise
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.errors import UserError
from hiltk.spec import (
    STATE_KEY,
    ActionSpec,
    Dimension,
    GripperFormat,
    ImageSpec,
    Spec,
    StateSpec,
    Stats,
)


def spec(states: int = 3) -> Spec:
    return Spec(
        state=StateSpec([Dimension(f"s{i}") for i in range(states)]),
        action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(4)]),
        images=[ImageSpec("wrist", 32, 32)],
        stats={STATE_KEY: Stats([1.0] * states, [2.0] * states)},
    )


def observation() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        STATE_KEY: rng.normal(size=3).astype(np.float32),
        "observation.images.wrist": rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
    }


def test_a_saved_policy_acts_as_before(tmp_path: Path) -> None:
    policy = Policy(SacConf(hidden=[16]), EncoderConf(features=8), spec())
    policy.save(tmp_path)
    again = load_policy(tmp_path)
    assert np.array_equal(policy.act(observation()), again.act(observation()))
    assert again.spec.fingerprint() == policy.spec.fingerprint()
    assert not np.array_equal(
        again.act(observation(), deterministic=False),
        again.act(observation(), deterministic=False),
    )


def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path) -> None:
    Policy(SacConf(hidden=[16]), EncoderConf(features=8), spec()).save(tmp_path)
    with pytest.raises(
        UserError,
        match=r"shape: actor.trunk.0.weight is \(16, 11\) in the file, \(24, 11\) here",
    ):
        Policy(SacConf(hidden=[24]), EncoderConf(features=8), spec()).load_weights(tmp_path)
    with pytest.raises(UserError, match=r"missing: actor\.trunk\.6"):
        Policy(SacConf(hidden=[16, 16]), EncoderConf(features=8), spec()).load_weights(tmp_path)


def test_damaged_or_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a policy"):
        load_policy(tmp_path)
    Policy(SacConf(hidden=[16]), EncoderConf(features=8), spec()).save(tmp_path)
    (tmp_path / "policy.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(UserError, match="cannot be read"):
        load_policy(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "- a\n- list",
        "agent: {",
        "agent: sac\nencoder: cnn",
        "agent: {name: sac}",
        "agent: {hiden: [8]}\nencoder: {}",
        "agent: {hidden: many}\nencoder: {}",
        "agent: {activation: tahn}\nencoder: {}",
        "agent: {}\nencoder: {channels: [1]}",
    ],
)
def test_a_damaged_config_is_bad_input(tmp_path: Path, text: str) -> None:
    Policy(SacConf(hidden=[16]), EncoderConf(features=8), spec()).save(tmp_path)
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(UserError, match="the policy's config cannot be used") as caught:
        load_policy(tmp_path)
    assert caught.value.exit_code == 1 and "policy.yaml" in caught.value.where


def test_a_config_that_is_no_text_is_bad_input(tmp_path: Path) -> None:
    Policy(SacConf(hidden=[16]), EncoderConf(features=8), spec()).save(tmp_path)
    (tmp_path / "policy.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be used"):
        load_policy(tmp_path)


def test_a_spec_without_statistics_is_refused() -> None:
    bare = spec()
    bare.stats = {}
    with pytest.raises(UserError, match="no statistics"):
        Policy(SacConf(), EncoderConf(), bare)


def test_three_way_grippers_get_three_values() -> None:
    action = np.array([[0.3, 0.1, 0.2, v] for v in (-0.9, -0.4, 0.0, 0.49, 0.5, 1.0)], np.float32)
    snapped = quantise(action, ActionSpec(gripper=GripperFormat.discrete3))
    assert snapped[:, 3].tolist() == [-1, 0, 0, 0, 1, 1]
    assert np.array_equal(snapped[:, :3], action[:, :3])
    assert quantise(action, ActionSpec()) is action
