from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.learning.best import BestPolicy
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
    assert best.note() == {
        "best": {"episode": 29, "autonomous_success": 0.75, "window": 20, "folder": "best"},
    }  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best"]


def test_nothing_is_kept_while_nothing_succeeds(tmp_path: Path) -> None:
    policy, best = make_policy(), BestPolicy(tmp_path)
    for episode in range(40):
        best.update(policy, episode, 0.0)
    assert not best.folder.exists() and best.note() == {}


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    policy, best = make_policy(), BestPolicy(tmp_path)
    for episode in range(25):
        best.update(policy, episode, 1.0)
    again = BestPolicy(tmp_path)
    again.load_state_dict(best.state_dict())
    mark(policy, 5.0)
    again.update(policy, 25, 0.0)
    assert again.episode == 24 and again.rate == pytest.approx(1.0) and saved(again.folder) != 5.0
