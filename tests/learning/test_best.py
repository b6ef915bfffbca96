from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.learning.best import BestPolicy, chosen
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, Spec, StateSpec, Stats


def make_policy() -> Policy:
    spec = Spec(
        state=StateSpec([Dimension("x")]),
        action=ActionSpec([Dimension("dx", low=-1, high=1)]),
        stats={STATE_KEY: Stats([0.0], [1.0])},
    )
    return Policy(SacConf(hidden=[4]), EncoderConf(name="none"), spec)


def mark(policy: Policy, value: float) -> None:
    """Make the weights tell when they were saved."""
    with torch.no_grad():
        policy.actor.trunk[0].bias.fill_(value)


def saved(folder: Path) -> float:
    return float(load_policy(folder).actor.trunk[0].bias[0].detach())


def test_best_is_the_latest_of_the_most_successful_windows(tmp_path: Path) -> None:
    policy, best = make_policy(), BestPolicy(tmp_path)
    outcomes = [0.0] * 10 + [1.0] * 10 + [1.0] * 5 + [0.0] * 20 + [1.0] * 8
    kept = {}
    for episode, outcome in enumerate(outcomes):
        mark(policy, float(episode))
        best.update(policy, episode, outcome)
        kept[episode] = saved(best.folder) if best.folder.is_dir() else None
    assert kept[18] is None  # no window yet
    assert kept[19] == 19 and kept[24] == 24  # 50 %, then better
    # Failures push out the ten early ones first: 15 of 20 up to episode 29, fewer after it.
    assert kept[29] == 29 and kept[30] == 29 and kept[52] == 29
    # 15 of 20 against 8 of the last 20, Fisher: 0.0268 (one-sided); times 53 / 20 windows.
    assert best.note() == {
        "weights": "last",
        "best": {
            "episode": 29, "autonomous_success": 0.75, "autonomous_success_of_last": 0.4, "p_value": 0.071,
            "window": 20, "folder": "best",
        },
    }  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best"]


def test_nothing_is_kept_while_nothing_succeeds(tmp_path: Path) -> None:
    policy, best = make_policy(), BestPolicy(tmp_path)
    for episode in range(40):
        best.update(policy, episode, 0.0)
    assert not best.folder.exists() and best.note() == {"weights": "last"} and chosen(best.note()) == ""
    best.choose(policy)
    assert not any(tmp_path.iterdir())


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    policy, best = make_policy(), BestPolicy(tmp_path)
    for episode in range(25):
        best.update(policy, episode, 1.0)
    again = BestPolicy(tmp_path)
    again.load_state_dict(best.state_dict())
    assert chosen(again.note()) == "the last weights: no 20 episodes left alone went better than the last"
    mark(policy, 5.0)
    again.update(policy, 25, 0.0)
    assert again.episode == 24 and again.rate == pytest.approx(1.0) and saved(again.folder) != 5.0


def test_success_that_was_lost_again_brings_back_the_best_weights(tmp_path: Path) -> None:
    policy, best = make_policy(), BestPolicy(tmp_path)
    for episode, success in enumerate([1.0] * 30 + [0.0] * 12):
        mark(policy, float(episode))
        best.update(policy, episode, success)
    assert best.is_better  # 20 of 20 against 8 of 20
    for _ in range(2):  # a run killed while it ends does this again
        mark(policy, 41.0)
        best.choose(policy)
        assert float(policy.actor.trunk[0].bias[0].detach()) == 29 and saved(tmp_path / "last") == 41
    assert best.note()["weights"] == "best"
    assert chosen(best.note()).startswith(
        "the best weights, not the last, which are in last/: of 20 episodes left alone"
    )


def test_a_little_less_success_at_last_is_no_evidence(tmp_path: Path) -> None:
    policy, best = make_policy(), BestPolicy(tmp_path)
    for episode, success in enumerate([1.0] * 30 + [0.0] * 4):
        mark(policy, float(episode))
        best.update(policy, episode, success)
    best.choose(policy)
    assert float(policy.actor.trunk[0].bias[0].detach()) == 33 and not (tmp_path / "last").exists()
    assert "100% succeeded up to episode 29 and 80% at last, which is no evidence" in chosen(best.note())


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95])
def test_a_policy_that_stays_as_good_keeps_its_last_weights(truth: float, tmp_path: Path) -> None:
    """At most 5 % of runs take the luckiest window for better, within three standard errors of 400."""
    rng, taken = np.random.default_rng(0), 0
    for _ in range(400):
        best = BestPolicy(tmp_path)
        outcomes = rng.random(120) < truth
        sums = np.convolve(outcomes, np.ones(20, int), "valid")
        best.recent.extend(outcomes[-20:].astype(float))
        best.rate, best.episode, best.seen = float(sums.max()) / 20, 0, 120
        taken += best.is_better
    assert taken <= (0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5) * 400


def test_a_checkpoint_from_before_episodes_were_left_alone_is_read(tmp_path: Path) -> None:
    best = BestPolicy(tmp_path)
    best.load_state_dict({"recent": [1.0] * 20, "rate": 1.0, "episode": 30})
    assert best.seen == 20 and not best.is_better
