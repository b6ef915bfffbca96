"""`hiltk bc-pretrain`: what it trains on and what it judges by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiltk.agents.bc import BehaviorCloning
from hiltk.config.commands import BcConf, ChecksConf
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import load_episodes
from hiltk.data.replay import Batch
from hiltk.spec import STATE_KEY
from hiltk.steps import bc_pretrain


def test_held_out_episodes_are_judged_by_and_never_trained_on(
    dataset_dir: Callable[..., Path],
    make_episode: Callable[..., Episode],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = dataset_dir(episodes=[make_episode(length=20, seed=seed) for seed in range(4)])
    seen: dict[str, set[bytes]] = {"trained": set(), "judged": set()}
    update, evaluate = BehaviorCloning.update, BehaviorCloning.evaluate

    def noting_update(self: BehaviorCloning, batch: Batch) -> Any:
        seen["trained"] |= states(batch.observation[STATE_KEY].numpy())
        return update(self, batch)

    def noting_evaluate(self: BehaviorCloning, batches: list[Batch]) -> Any:
        for batch in batches:
            seen["judged"] |= states(batch.observation[STATE_KEY].numpy())
        return evaluate(self, batches)

    monkeypatch.setattr(BehaviorCloning, "update", noting_update)
    monkeypatch.setattr(BehaviorCloning, "evaluate", noting_evaluate)
    made = bc_pretrain.run(
        BcConf(
            root=str(tmp_path / "root"), name="bc", datasets=[str(path)], steps=10, batch_size=64, held_out=0.25,
            agent=SacConf(hidden=[8]), encoder=EncoderConf(features=8), checks=ChecksConf(ignore=["IMG"]),
        )
    )  # fmt: skip
    [held_out] = made.run()["held_out_episodes"]
    episodes = [states(e.observations[STATE_KEY][:-1]) for e in load_episodes(path)]
    others = set().union(*(own for number, own in enumerate(episodes) if number != held_out))
    own = episodes[held_out] - others  # all begin in the same pose
    assert len(own) > 15
    assert not seen["trained"] & own and seen["trained"] == others
    assert seen["judged"] == episodes[held_out]


def states(rows: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in np.ascontiguousarray(rows, np.float32)}
