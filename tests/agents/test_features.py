from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hiltk.agents.encoders import FrameByFrame, ResNetEncoder, check_encoder
from hiltk.agents.features import FeatureStore, attach, cache_bytes, fixed_shifts, map_shapes
from hiltk.agents.make import build_agent, build_policy
from hiltk.config.groups import DrqConf, EncoderConf
from hiltk.data import resources
from hiltk.data.episode import Episode, Source
from hiltk.data.replay import Batch, FrameStore, ReplaySampler, example_observation, store_episodes
from hiltk.data.statistics import vector_stats
from hiltk.errors import ConfigError, UserError
from hiltk.images import random_shift, shift_frame
from hiltk.spec import STATE_KEY, ImageSpec, RewardSpec, Spec
from tests.agents.resnets import resnet10_folder, resnet_conf
from tests.conftest import build_episode, build_spec

WRIST = ImageSpec("wrist", 16, 16, 16, 16)
KEY = WRIST.key


class Counting(ResNetEncoder):
    """Counts the frames its trunk looks at."""

    seen = 0

    @staticmethod
    def of(folder: Path, spec: Spec) -> Counting:
        encoder = Counting(resnet_conf(folder), spec.images).eval()
        encoder.trunk.register_forward_hook(lambda module, args, out: encoder._count(len(out)))
        return encoder

    def _count(self, frames: int) -> None:
        self.seen += frames


@pytest.fixture
def encoder(tmp_path: Path, tiny_spec: Spec) -> Counting:
    return Counting.of(resnet10_folder(tmp_path / "resnet10"), tiny_spec)


@pytest.fixture
def store(make_episode: Callable[..., Episode]) -> FrameStore:
    return store_episodes([make_episode(length=6, seed=s) for s in range(2)])


def cache(store: FrameStore, encoder: ResNetEncoder, shifts: int = 3) -> FeatureStore:
    return FeatureStore(store, encoder, shifts, 2, np.random.default_rng(0))


def test_shifts_are_those_of_the_augmentation() -> None:
    class Fixed:
        def integers(self, low: int, high: int, size: tuple[int, int]) -> np.ndarray:
            return np.array([[5], [1]])  # with a pad of 3: 2 down, 2 to the left

    frame = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    expected = random_shift(frame[None], 3, Fixed())[0]  # type: ignore[arg-type]
    np.testing.assert_array_equal(shift_frame(frame, 2, -2), expected)


def test_fixed_shifts_differ_and_begin_with_none() -> None:
    shifts = fixed_shifts(6, 2)
    assert shifts[0].tolist() == [0, 0] and np.abs(shifts).max() <= 2
    assert len({tuple(s) for s in shifts}) == 6
    np.testing.assert_array_equal(shifts, fixed_shifts(6, 2))
    assert len(fixed_shifts(100, 1)) == 9 and len(fixed_shifts(4, 0)) == 1


def test_maps_are_the_trunks_of_shifted_frames(store: FrameStore, encoder: Counting) -> None:
    made = cache(store, encoder)
    rows, shifts = np.array([0, 3, 3, 9]), np.array([0, 1, 2, 2])
    maps = made.maps(KEY, rows, shifts)
    for i, (row, shift) in enumerate(zip(rows, shifts, strict=True)):
        frame = shift_frame(store.frames[KEY][row], *made.offsets[shift])
        expected = encoder.trunk(torch.from_numpy(frame[None]).permute(0, 3, 1, 2))[0]
        np.testing.assert_allclose(maps[i], expected, rtol=2e-3, atol=2e-3)
    assert maps.dtype == np.float16


def test_each_row_and_shift_is_computed_once(store: FrameStore, encoder: Counting) -> None:
    made = cache(store, encoder)
    encoder.seen = 0
    rows = np.array([1, 1, 2, 1])
    made.maps(KEY, rows, np.array([0, 0, 0, 1]))
    assert encoder.seen == 3
    made.maps(KEY, rows, np.array([0, 1, 0, 0]))
    assert encoder.seen == 3


def test_a_map_is_the_same_to_the_bit_whatever_it_is_computed_with(tmp_path: Path) -> None:
    """A resumed run computes many at once which the run before it computed one by one."""
    spec = build_spec(64)
    store, encoder = store_episodes([build_episode(spec, length=11)]), Counting.of(resnet10_folder(tmp_path), spec)
    together, alone = cache(store, encoder), cache(store, encoder)
    rows = np.arange(12)
    shifts = rows % 3
    for count in (1, 3):
        parts = [alone.maps(KEY, rows[i : i + count], shifts[i : i + count]) for i in range(0, 12, count)]
        np.testing.assert_array_equal(np.concatenate(parts), together.maps(KEY, rows, shifts))
        alone.forget()


def test_overwritten_rows_are_computed_again(tiny_spec: Spec, encoder: Counting) -> None:
    store, rng = FrameStore(4, example_observation(tiny_spec), 4), np.random.default_rng(0)
    made = cache(store, encoder, shifts=1)
    store.begin(dressed(tiny_spec, rng))
    for _ in range(14):  # three times around the ring
        store.add(np.zeros(4), 0.0, dressed(tiny_spec, rng), terminated=False, truncated=False, source=Source.policy)
        rows = np.arange(store.begin_row, store.end)
        frames = torch.from_numpy(store.frames[KEY][rows % store.size]).permute(0, 3, 1, 2)
        np.testing.assert_allclose(
            made.maps(KEY, rows, np.zeros_like(rows)), encoder.trunk(frames), rtol=2e-3, atol=2e-3
        )


def dressed(spec: Spec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {k: rng.integers(0, 256, v.shape).astype(v.dtype) for k, v in example_observation(spec).items()}


def test_going_back_to_a_checkpoint_forgets(store: FrameStore, encoder: Counting) -> None:
    one_shift = cached_conf(1)  # with several, another one may be drawn and computed anyway
    attach([(store, store.size)], encoder, one_shift, np.random.default_rng(0))
    state = store.state_dict()
    store.gather(np.array([0, 1]))
    store.load_state_dict(state)
    encoder.seen = 0
    store.gather(np.array([0, 1]), following=False)
    assert encoder.seen == 2


def test_batches_hold_maps_instead_of_frames(store: FrameStore, encoder: Counting) -> None:
    plain = sample(store)
    attach([(store, store.size)], encoder, cached_conf(shifts=1), np.random.default_rng(0))
    batch = sample(store)
    assert set(batch.observation) == {"observation.state", "features.wrist"}
    assert batch.observation["features.wrist"].shape == (16, 32, 1, 1)
    # The same transitions, and by the encoder the same features: one shift is none.
    for ours, theirs in ((batch.observation, plain.observation), (batch.next_observation, plain.next_observation)):
        assert torch.equal(ours["observation.state"], theirs["observation.state"])
        torch.testing.assert_close(encoder(ours), encoder(theirs), rtol=2e-3, atol=2e-3)


def test_stacks_are_the_maps_of_each_frame_shifted_alike(store: FrameStore, encoder: Counting) -> None:
    rows = np.array([0, 1, 4, 8])  # the first episode has rows 0 to 6, the second begins at 7
    plain = store.gather(rows, stack=3)
    attach([(store, store.size)], FrameByFrame(encoder, [WRIST], 3), cached_conf(shifts=4), np.random.default_rng(0))
    data = store.gather(rows, stack=3)
    for part, firsts in (("observation", [[0, 0, 0], [0, 0, 1], [2, 3, 4], [7, 7, 8]]),
                         ("next_observation", [[0, 0, 1], [0, 1, 2], [3, 4, 5], [7, 8, 9]])):  # fmt: skip
        np.testing.assert_array_equal(data[part]["observation.state"], plain[part]["observation.state"])
        maps = data[part]["features.wrist"].reshape(4, 3, 32, 1, 1)
        shifts = []
        for stack, members in zip(maps, firsts, strict=True):
            everything = [store.features.maps(KEY, np.array(members), np.full(3, k)) for k in range(4)]
            [shift] = [k for k, those in enumerate(everything) if np.array_equal(those, stack)]
            shifts.append(shift)
        assert len(set(shifts)) > 1


def test_drqv2_learns_the_same_from_stored_stacks_as_from_frames(store: FrameStore, tmp_path: Path) -> None:
    """With one shift, which is none, up to what half precision loses."""
    conf = DrqConf(own_encoder=False, frame_stack=3, n_step=2, hidden=[8], bottleneck=4, noise="0")
    encoder = replace(resnet_conf(resnet10_folder(tmp_path / "r")), dropout=0.0, cache_shifts=1)
    spec = build_spec()
    spec.stats = {STATE_KEY: vector_stats(store.frames[STATE_KEY], spec.state.dims, "test")}
    metrics = []
    for cached in (False, True):
        torch.manual_seed(0)
        agent = build_agent(build_policy(conf, encoder, spec), conf, RewardSpec(), 20)
        if cached:
            attach([(store, store.size)], agent.policy.torso.encoder, encoder, np.random.default_rng(0))
        sampler = ReplaySampler(store, store, discount=0.99, pad=0, rng=np.random.default_rng(5), n_step=2, stack=3)
        for _ in range(3):
            metrics.append(agent.update(sampler.sample(16, 0.5)))
    for plain, stored in zip(metrics[:3], metrics[3:], strict=True):
        assert stored == pytest.approx(plain, rel=2e-2, abs=1e-3)


def sample(store: FrameStore) -> Batch:
    return ReplaySampler(store, store, discount=0.97, pad=0, rng=np.random.default_rng(5)).sample(16, 0.5)


def cached_conf(shifts: int = 3) -> EncoderConf:
    return EncoderConf(name="resnet", cache_shifts=shifts, shift_pad=2)


def test_memory_is_announced_by_hand(
    store: FrameStore, encoder: Counting, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert map_shapes(store.frames, encoder) == {KEY: (32, 1, 1)}
    assert cache_bytes(1000, {"a": (512, 4, 4), "b": (512, 3, 3)}, 4) == 1000 * 4 * (2 * 8192 + 8 + 2 * 4608 + 8)
    attach([(store, 2**24)], encoder, cached_conf(shifts=4), np.random.default_rng(0))
    assert "up to 4.50 GiB of memory for 4 shifts" in capsys.readouterr().out  # 2^24 * 4 * (2 * 32 + 8)
    monkeypatch.setattr(resources, "available_memory", lambda: 2**30)
    with pytest.raises(UserError, match=r"4\.50 GiB of memory, 1\.00 GiB are available"):
        attach([(store, 2**24)], encoder, cached_conf(shifts=4), np.random.default_rng(0))


def test_off_by_default_and_only_for_frozen_encoders(store: FrameStore, encoder: Counting) -> None:
    attach([(store, store.size)], encoder, EncoderConf(), np.random.default_rng(0))
    assert store.features is None
    for name in ("cnn", "none"):
        with pytest.raises(ConfigError, match="only what a frozen encoder"):
            check_encoder(EncoderConf(name=name, cache_shifts=2))
