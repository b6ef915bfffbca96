"""Drift: golden numbers, the rate of false alarms on unseen episodes, and faults that must be called by their name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.errors import UserError
from hiltk.rewards.drift import (
    DISTANCES,
    FALSE_ALARMS,
    QUANTITIES,
    SCALARS,
    START,
    TENSORS,
    Drift,
    DriftMonitor,
    Known,
    Statistics,
    describe,
    fit_cloud,
    measure,
    prediction_limit,
    thumbnail,
)

SIZE, LENGTH, CAMERAS = 24, 20, ("wrist", "front")
Images = dict[str, np.ndarray]


def scene(camera: str, seed: int) -> np.ndarray:
    """An episode (T, H, W, 3): a room that is always the same, a moving object, and a lamp that varies a little."""
    rng = np.random.default_rng([seed, CAMERAS.index(camera)])
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    room = np.stack([150 - 60 * y, 100 + 40 * x, 60 + 30 * y * x], axis=-1)
    room[SIZE // 2 :, 3:8] += 40 * (1 + CAMERAS.index(camera))
    start, speed, lamp = rng.uniform(8, 12), rng.uniform(0.1, 0.3), rng.normal(1, 0.02)
    frames = []
    for t in range(LENGTH):
        frame = room.copy()
        at = int(start + speed * t)
        frame[6:12, at : at + 5] = (190, 60, 40)
        frames.append(lamp * frame + rng.normal(0, 4, frame.shape))
    return np.clip(frames, 0, 255).astype(np.uint8)


def episode(seed: int) -> Images:
    return {camera: scene(camera, seed) for camera in CAMERAS}


PROJECTION = np.random.default_rng(0).normal(size=(SIZE * SIZE * 3 // 16, 12)) / 60


def embed(frames: np.ndarray) -> np.ndarray:
    """Stands in for an encoder: random projections (N, 12) of small grey frames, squashed as ours are."""
    small = frames.reshape(len(frames), SIZE // 4, 4, SIZE // 4, 4, 3).mean((2, 4)).reshape(len(frames), -1)
    return np.tanh((small - 110) @ PROJECTION / 10).astype(np.float32)


def statistics_of(episodes: list[Images], held_out: int) -> Statistics:
    count = len(episodes) * LENGTH
    frames = {camera: np.concatenate([e[camera] for e in episodes]) for camera in CAMERAS}
    number = np.repeat(np.arange(len(episodes)), LENGTH)
    return measure(
        {
            camera: {
                "plain": np.stack([describe(f) for f in v]),
                "scene": np.stack([thumbnail(f) for f in v]),
                "embedding": embed(v),
            }
            for camera, v in frames.items()
        },
        np.arange(count) % LENGTH >= LENGTH - 5,
        number,
        number >= len(episodes) - held_out,
    )


@pytest.fixture(scope="module")
def known() -> Statistics:
    return statistics_of([episode(seed) for seed in range(40)], held_out=10)


def watch(monitor: DriftMonitor, images: Images) -> list[Drift]:
    monitor.begin()
    embeddings = np.concatenate([embed(images[camera]) for camera in CAMERAS], axis=1)
    new = []
    for t in range(LENGTH):
        new += monitor.see({f"observation.images.{c}": v[t] for c, v in images.items()}, embeddings[t])
    return new + monitor.end()


# ---------------------------------------------------------------- golden numbers


def test_a_frame_in_numbers() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:] = (100, 50, 50)
    np.testing.assert_allclose(describe(frame), [200 / 3, 101 / 203, 51 / 203, 51 / 203, 0, 0], atol=1e-9)
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    # Grey 0 and 200 in turn: deviation 100; every second difference is 400 up or down, the edges reflected alike.
    np.testing.assert_allclose(describe(stripes), [100, 1 / 3, 1 / 3, 1 / 3, 4.0, 100], atol=1e-6)
    np.testing.assert_allclose(describe(np.zeros((8, 8, 3), np.uint8)), [0, 1 / 3, 1 / 3, 1 / 3, 0, 0])


@given(st.integers(0, 1000), st.floats(0.4, 1.0))
def test_a_lamp_changes_neither_colours_nor_sharpness(seed: int, gain: float) -> None:
    frame = scene("wrist", seed)[0]
    before, after = describe(frame), describe((frame * gain).astype(np.uint8))
    assert after[0] == pytest.approx(gain * before[0], abs=1)
    np.testing.assert_allclose(after[1:4], before[1:4], atol=0.01)
    assert after[4] == pytest.approx(before[4], rel=0.05)


def test_limits_by_student() -> None:
    values, every = np.array([1.0, 2.0, 3.0]), np.ones(3, bool)
    # Mean 2, deviation 1, of a new one sqrt(4 / 3); t with 2 degrees of freedom is 2.92 at 5 %.
    assert prediction_limit(values, [every], 0.05) == pytest.approx(2 + 2.919986 * (4 / 3) ** 0.5)
    # Around the mean of the two held out, as wide as all: deviation 1 with 3 degrees of freedom, t 2.353.
    both = np.array([1.0, 2.0, 3.0, 4.5, 5.5])
    first = np.array([False, False, False, True, True])
    expected = 5 + 2.353363 * (2.5 / 3 * 1.5) ** 0.5
    assert prediction_limit(both, [first, ~first], 0.05) == pytest.approx(expected)
    assert prediction_limit(values[:1], [every[:1]], 0.05) == np.inf


@given(st.integers(3, 60), st.integers(0, 100))
def test_few_episodes_give_wide_limits(count: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=count)
    limit = prediction_limit(values, [np.ones(count, bool)], 1e-4)
    assert limit > values.max()


def test_distance_of_embeddings() -> None:
    rng = np.random.default_rng(0)
    success = np.arange(4000) % 2 == 0
    spread = np.array([0.5, 2.0, 1.0])
    points = rng.normal(size=(4000, 3)) * spread + np.where(success[:, None], 10.0, -10.0)
    fitted = fit_cloud(points, success, episodes=4000)
    np.testing.assert_allclose(np.sqrt((fitted.distance(points) ** 2).mean()), 1.0, rtol=0.01)
    # Three deviations along one of three dimensions, from the nearer class: 3 / sqrt(3).
    away = np.full((1, 3), 10.0) + np.array([[0.0, 6.0, 0.0]])
    assert fitted.distance(away)[0] == pytest.approx(3**0.5, rel=0.05)


def test_few_episodes_shrink_towards_the_identity() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(3, 8)), 50, axis=0)  # three episodes of equal frames: rank 2 at most
    fitted = fit_cloud(points, np.zeros(150, bool), episodes=3)
    assert np.isfinite(fitted.whitening).all() and fitted.means.shape == (1, 8)
    assert fitted.distance(rng.normal(size=(1, 8)))[0] < 10


# ---------------------------------------------------------------- saved and loaded


def test_saved_with_the_classifier_and_readable(known: Statistics, tmp_path: Path) -> None:
    known.save(tmp_path)
    plain = json.loads((tmp_path / SCALARS).read_text())
    assert (plain["episodes"], plain["frames"], plain["held_out"], plain["false_alarms"]) == (40, 800, 10, FALSE_ALARMS)
    assert set(plain["cameras"]["wrist"]) == {*QUANTITIES, *DISTANCES}
    for stage in ("start", "whole"):
        brightness = plain["cameras"]["wrist"]["brightness"][stage]
        low, *_, high = brightness["quantiles"]
        assert brightness["low_limit"] < low < brightness["mean"] < high < brightness["high_limit"]
    loaded = Statistics.load(tmp_path)
    assert loaded is not None and loaded.cameras == known.cameras
    for camera in CAMERAS:
        for name in DISTANCES:
            np.testing.assert_array_equal(loaded.clouds[camera][name].whitening, known.clouds[camera][name].whitening)


def test_a_classifier_of_before_has_none(tmp_path: Path) -> None:
    assert Statistics.load(tmp_path) is None


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 1}', '{"version": 2, "cameras": {}}'])
def test_damaged_statistics_are_refused(known: Statistics, tmp_path: Path, damage: str) -> None:
    known.save(tmp_path)
    (tmp_path / SCALARS).write_text(damage)
    with pytest.raises(UserError, match="statistics of its training images cannot be used"):
        Statistics.load(tmp_path)
    known.save(tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(UserError, match="statistics of its training images cannot be used"):
        Statistics.load(tmp_path)


# ---------------------------------------------------------------- alarms


def test_unseen_episodes_of_the_same_kind_pass(known: Statistics) -> None:
    alarms = [watch(DriftMonitor(known), episode(1000 + seed)) for seed in range(120)]
    # One in a thousand is what the limits are made for: two in 120 happen by chance once in 150 times.
    assert sum(bool(found) for found in alarms) <= 1, [d.message for found in alarms for d in found]


def halved(frames: np.ndarray) -> np.ndarray:
    return frames // 2


def swapped(frames: np.ndarray) -> np.ndarray:
    return frames[..., ::-1].copy()


def blurred(frames: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(f, (0, 0), 2) for f in frames])


def moved(frames: np.ndarray) -> np.ndarray:
    away = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, 5.0]])
    return np.stack([cv2.warpAffine(f, away, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE) for f in frames])


def covered(frames: np.ndarray) -> np.ndarray:
    frames = frames.copy()
    frames[:, :, : SIZE // 2] = (70, 55, 45)
    return frames


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (halved, {"is darker than anything the classifier was trained on: brightness"}),
        (swapped, {"as if red and blue were swapped"}),
        (blurred, {"is more blurred than"}),
        (moved, {"shows another scene", "is redder"}),
        (covered, {"is darker than"}),
    ],
)
@pytest.mark.parametrize("camera", CAMERAS)
def test_a_fault_is_called_by_its_name(
    known: Statistics, fault: Callable[[np.ndarray], np.ndarray], says: set[str], camera: str
) -> None:
    for seed in range(5):
        images = episode(2000 + seed)
        found = watch(DriftMonitor(known), images | {camera: fault(images[camera])})
        assert found and {d.camera for d in found} == {camera}
        assert any(words in found[0].message for words in says), found[0].message
        assert found[0].message.startswith(f"camera '{camera}' ") and "trained " in found[0].message


def test_a_cause_is_said_once_and_hides_what_it_explains(known: Statistics) -> None:
    monitor = DriftMonitor(known)
    for seed in range(4):
        images = episode(3000 + seed)
        watch(monitor, images | {"wrist": images["wrist"] // 2})
    # Half the light is half the contrast and another embedding, too.
    assert [d.code for d in monitor.found] == ["drift_wrist_brightness_low"]
    assert monitor.take() == monitor.found and monitor.take() == []
    brighter = episode(3010)
    watch(monitor, brighter | {"wrist": np.clip(brighter["wrist"] * 1.6, 0, 255).astype(np.uint8)})
    assert [d.code for d in monitor.take()] == ["drift_wrist_brightness_high"]


def test_one_odd_frame_is_no_drift_and_episodes_do_not_mix(known: Statistics) -> None:
    monitor, images = DriftMonitor(known), episode(4000)
    odd = {camera: frames.copy() for camera, frames in images.items()}
    odd["wrist"][7] = (odd["wrist"][7] * 0.9).astype(np.uint8)
    assert watch(monitor, odd) == []
    dark = {key: frames // 2 for key, frames in images.items()}
    embeddings = np.concatenate([embed(dark[camera]) for camera in CAMERAS], axis=1)
    monitor.begin()
    for t in range(START - 1):
        assert monitor.see({f"observation.images.{c}": v[t] for c, v in dark.items()}, embeddings[t]) == []
    # Drift may make the classifier end every episode at once: one that short is judged by what there is.
    assert {d.code for d in monitor.end()} == {"drift_wrist_brightness_low", "drift_front_brightness_low"}
    assert monitor.end() == [] and watch(monitor, images) == []


def test_the_message_has_the_numbers() -> None:
    known = Known(110.0, 5.0, [92.4, 95.0, 110.0, 130.0, 140.6], 80.0, 150.0)
    assert Drift("wrist", "brightness", "start", 61.2, known).message == (
        "camera 'wrist' is darker than anything the classifier was trained on: brightness 61, trained 92..141 "
        "(in an episode's first frames)"
    )
    share = Known(0.33, 0.01, [0.31, 0.32, 0.33, 0.34, 0.36], 0.3, 0.37)
    said = Drift("wrist", "red", "whole", 0.52, share, swapped=True).message
    assert said.endswith("red 52 %, trained 31 %..36 %, as if red and blue were swapped (on average over an episode)")
