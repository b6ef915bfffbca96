"""Planted policies: blind to one input, deaf to all, drowned in noise. Each is named, and a sound one is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm, sobol_indices

from hiltk.agents.policy import Policy
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.data.statistics import vector_stats
from hiltk.diagnostics.changes import CAMERA, CUBE, LIGHT, Changes
from hiltk.diagnostics.frames import Moments, some_moments
from hiltk.diagnostics.pictures import Pictures
from hiltk.diagnostics.policy import EVERYTHING, NOISE, PolicyDiagnosis, as_rows, diagnose, figure, findings, verdict
from hiltk.errors import UserError
from hiltk.spec import STATE_KEY, Spec
from tests.conftest import build_episode, build_spec

WRIST, FRONT = "observation.images.wrist", "observation.images.front"
STATES = 18


@pytest.fixture(scope="module")
def spec() -> Spec:
    spec = build_spec(cameras=("wrist", "front"))
    states = np.concatenate([build_episode(spec, seed=s).observations[STATE_KEY] for s in range(4)])
    spec.stats = {STATE_KEY: vector_stats(states, spec.state.dims, "test")}
    return spec


@pytest.fixture(scope="module")
def moments(spec: Spec) -> Moments:
    episodes = [build_episode(spec, seed=s) for s in range(4)]
    return some_moments(episodes, [STATE_KEY, *spec.image_keys], 1, 40, seed=0)


def policy(spec: Spec) -> Policy:
    """A random one, quiet, whose first layer has columns for state, wrist and front features, 8 each for a camera."""
    torch.manual_seed(0)
    made = Policy(SacConf(hidden=[32]), EncoderConf(channels=[4], kernels=[3], strides=[4], features=8), spec).eval()
    with torch.no_grad():
        made.actor.trunk[-1].weight *= 4  # an untrained one hardly moves
        made.actor.trunk[-1].bias[4:] = -5.0  # of the deviations
        made.actor.trunk[-1].weight[4:] = 0.0
    return made


@torch.no_grad()
def blind(made: Policy, columns: slice) -> Policy:
    made.actor.trunk[0].weight[:, columns] = 0
    return made


def scenes(spec: Spec, count: int = 6) -> Changes:
    """The cube moves in the wrist camera only, light and camera pose change nothing."""
    rng = np.random.default_rng(0)

    def pictures(wrist_seed: int) -> Pictures:
        wrist = np.random.default_rng(wrist_seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
        frames = {WRIST: wrist, FRONT: np.full((count, 16, 16, 3), 90, np.uint8)}
        return Pictures("x", frames, places, np.zeros((count, STATES), np.float32))

    places = rng.uniform(0.1, 0.3, (count, 2))
    return Changes(pictures(1), {CUBE: pictures(2), LIGHT: pictures(1), CAMERA: pictures(1)}, wanted=CUBE)


def codes(d: PolicyDiagnosis) -> list[str]:
    return [f.code for f in findings(d)]


def share(d: PolicyDiagnosis, what: str) -> float:
    effect = d.of(what)
    assert effect is not None
    return d.share(effect)


def test_a_sound_policy_uses_everything(spec: Spec, moments: Moments) -> None:
    d = diagnose("p", policy(spec), moments, scenes(spec))
    assert codes(d) == [] and "Nothing stands out" in verdict([d])
    assert [e.what for e in d.effects][:4] == [EVERYTHING, "state", "camera wrist", "camera front"]
    assert share(d, EVERYTHING) == 1
    assert all(share(d, what) > 0.05 for what in ("state", "camera wrist", "camera front", CUBE))
    assert share(d, LIGHT) == share(d, CAMERA) == 0


def test_a_policy_that_ignores_its_state_is_named(spec: Spec, moments: Moments) -> None:
    d = diagnose("p", blind(policy(spec), slice(0, STATES)), moments, None)
    assert codes(d) == ["ignores_state"] and share(d, "state") == 0
    assert all(d.share(e) == 0 for e in d.effects if e.kind == "dimension")
    assert "It ignores its state: replacing it by another episode's changes the action by 0.0% of its" in verdict([d])
    assert "LRN001" in verdict([d])


def test_a_policy_that_is_blind_on_one_eye_or_both(spec: Spec, moments: Moments) -> None:
    one = diagnose("p", blind(policy(spec), slice(STATES + 8, None)), moments, scenes(spec))
    assert codes(one) == ["ignores_camera"] and share(one, "camera front") == 0
    assert findings(one)[0].what.startswith("it ignores camera front")
    both = diagnose("p", blind(policy(spec), slice(STATES, None)), moments, scenes(spec))
    assert codes(both) == ["ignores_camera", "ignores_camera", "same_motion"]
    assert share(both, "state") == pytest.approx(1) and share(both, CUBE) == 0


def test_a_state_divided_by_almost_nothing_is_ignored(spec: Spec, moments: Moments) -> None:
    """S1, the other way about: one dimension drowns the others, here by statistics that clip all of them."""
    made = policy(spec)
    made.torso.normalize.std.fill_(1e-8)
    with torch.no_grad():
        made.torso.normalize.mean.fill_(-1e6)  # every dimension is at the clip, always
    assert codes(diagnose("p", made, moments, None)) == ["ignores_state"]


def test_a_constant_policy_is_named_and_nothing_else_is_said_of_it(spec: Spec, moments: Moments) -> None:
    made = policy(spec)
    torch.nn.init.zeros_(made.actor.trunk[-1].weight)
    d = diagnose("p", made, moments, scenes(spec))
    assert codes(d) == ["constant"] and d.effects[0].size == 0
    assert not any(np.isnan(list(row.values())[3:5]).any() for row in as_rows(d))  # type: ignore[arg-type, call-overload]


def test_noise_and_limits(spec: Spec, moments: Moments) -> None:
    loud = policy(spec)
    with torch.no_grad():
        loud.actor.trunk[-1].bias[4:] = 1.0
    torch.manual_seed(0)
    d = diagnose("p", loud, moments, None)
    assert codes(d) == ["noise"] and share(d, NOISE) > 0.8
    pinned = policy(spec)
    with torch.no_grad():
        pinned.actor.trunk[-1].weight[:4] *= 300
    d = diagnose("p", pinned, moments, None)
    assert d.saturated.mean() > 0.9 and codes(d) == ["saturation"]


class Linear:
    """a = W s, one column for each of three dimensions; no images."""

    def __init__(self, spec: Spec, weights: np.ndarray) -> None:
        self.spec = replace(spec, images=[], state=replace(spec.state, dims=spec.state.dims[:3]))
        self.frame_stack, self.device, self.weights = 1, torch.device("cpu"), torch.from_numpy(weights).double()

    def decide(self, observations: dict[str, torch.Tensor], deterministic: bool = True) -> torch.Tensor:
        return observations[STATE_KEY].double() @ self.weights.T


def test_squared_shares_are_total_sobol_indices(spec: Spec) -> None:
    """Of a = 1 x + 2 y + 0 z with independent inputs of deviation 1, 1 and 5: 1/5, 4/5, 0. SciPy agrees."""
    weights, deviations = np.array([[1.0, 2.0, 0.0]] * 4), np.array([1.0, 1.0, 5.0])
    made = Linear(spec, weights)
    x = (np.random.default_rng(0).normal(size=(20_000, 3)) * deviations).astype(np.float32)
    d = diagnose("p", made, Moments({STATE_KEY: x}, np.arange(len(x))), None)  # type: ignore[arg-type]
    squared = [share(d, name) ** 2 for name in made.spec.state.names]
    assert squared == pytest.approx([0.2, 0.8, 0.0], abs=0.02)
    theirs = sobol_indices(
        func=lambda v: weights[0] @ v, n=4096, dists=[norm(scale=s) for s in deviations], random_state=0
    ).total_order
    assert squared == pytest.approx(theirs.tolist(), abs=0.03)
    assert d.effects[0].size == pytest.approx(np.sqrt(2 * 5), rel=0.02)  # two independent moments


def test_moments_of_one_episode_cannot_be_compared(spec: Spec) -> None:
    alone = some_moments([build_episode(spec)], [STATE_KEY], 1, 8, seed=0)
    with pytest.raises(UserError, match="at least two episodes"):
        alone.others(np.random.default_rng(0))


def test_others_are_from_other_episodes_and_stacks_stay_within_one(spec: Spec) -> None:
    episodes = [build_episode(spec, length=5 + s, seed=s) for s in range(3)]
    moments = some_moments(episodes, [STATE_KEY], 3, 1000, seed=0)
    assert len(moments) == 5 + 6 + 7 and moments.observations[STATE_KEY].shape == (18, 3 * STATES)
    assert (moments.others(np.random.default_rng(0)).episode != moments.episode).all()
    first = moments.observations[STATE_KEY][moments.episode == 1]
    states = episodes[1].observations[STATE_KEY]
    np.testing.assert_array_equal(first[2], states[:3].ravel())
    np.testing.assert_array_equal(first[0], np.tile(states[0], 3))


def test_swapping_columns_leaves_the_rest(spec: Spec, moments: Moments) -> None:
    other = moments.others(np.random.default_rng(0))
    seen = moments.swapped(STATE_KEY, other, np.array([2]))[STATE_KEY]
    np.testing.assert_array_equal(seen[:, 2], other.observations[STATE_KEY][:, 2])
    np.testing.assert_array_equal(np.delete(seen, 2, 1), np.delete(moments.observations[STATE_KEY], 2, 1))


def test_figure_and_table(spec: Spec, moments: Moments, tmp_path: Path) -> None:
    found = [diagnose("p", policy(spec), moments, scenes(spec)), diagnose("q", policy(spec), moments, None)]
    figure(found, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    rows = list(as_rows(found[0]))
    assert rows[0]["percent"] == 100 and len(rows) == 1 + 1 + 2 + STATES + 1 + 3
