"""Drift: golden numbers, false alarms over whole trainings, and faults that must be called by their name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.errors import UserError
from hiltk.formats import STATISTICS
from hiltk.rewards.cloud import Cloud, fit_cloud
from hiltk.rewards.drift import LOOKS, Drift, DriftMonitor
from hiltk.rewards.training_images import (
    EPISODES,
    FALSE_ALARMS,
    NEWEST,
    SCALARS,
    TENSORS,
    Known,
    Statistics,
    known,
    measure,
    scale,
)
from hiltk.rewards.views import QUANTITIES, align, describe, look, small_grey

SIZE, LENGTH, CAMERAS = 32, 8, ("wrist", "front")
VERSION = STATISTICS.version
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
    return np.tanh((small - 110) @ PROJECTION / 30).astype(np.float32)


def statistics_of(episodes: list[Images], held_out: int) -> Statistics:
    count = len(episodes) * LENGTH
    number = np.repeat(np.arange(len(episodes)), LENGTH)
    return measure(
        {camera: np.stack([e[camera][0] for e in episodes]) for camera in CAMERAS},
        {camera: embed(np.concatenate([e[camera] for e in episodes])) for camera in CAMERAS},
        np.arange(count) % LENGTH >= LENGTH - 2,
        number,
        number >= len(episodes) - held_out,
    )


@pytest.fixture(scope="module")
def trained() -> Statistics:
    return statistics_of([episode(seed) for seed in range(40)], held_out=10)


def watch(monitor: DriftMonitor, images: Images) -> list[Drift]:
    """What is newly said of an episode."""
    monitor.begin()
    embeddings = np.concatenate([embed(images[camera]) for camera in CAMERAS], axis=1)
    new = []
    for t in range(len(embeddings)):
        new += monitor.see({f"observation.images.{c}": v[t] for c, v in images.items()}, embeddings[t])
    return new


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


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.4, 1.0))
def test_a_lamp_changes_neither_colours_nor_sharpness(seed: int, gain: float) -> None:
    frame = scene("wrist", seed)[0]
    before, after = describe(frame), describe((frame * gain).astype(np.uint8))
    assert after[0] == pytest.approx(gain * before[0], abs=1)
    np.testing.assert_allclose(after[1:4], before[1:4], atol=0.01)
    assert after[4] == pytest.approx(before[4], rel=0.05)


def blobs(size: int, right: float = 0.0, down: float = 0.0) -> np.ndarray:
    """A view (size, size, 3) whose things can be put anywhere, by fractions of its side."""
    y, x = np.mgrid[:size, :size] / size
    spots = [(0.3, 0.4, 120), (0.7, 0.6, 90), (0.55, 0.25, -60)]
    grey = 90 + sum(a * np.exp(-((x - u - right) ** 2 + (y - v - down) ** 2) / 0.02) for u, v, a in spots)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [32, 64, 160])
@settings(deadline=None)
@given(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.floats(0.5, 1.2))
def test_a_shift_is_measured_in_pixels_of_the_frame_whatever_the_light(
    size: int, right: float, down: float, gain: float
) -> None:
    moved = (blobs(size, right, down) * gain).astype(np.uint8)
    found = align(moved, small_grey(blobs(size)))
    np.testing.assert_allclose(found[:2], [right * size, down * size], atol=0.01 * size)
    assert 0 <= found[2] < 0.1  # the borders show something else


def test_what_cannot_be_aligned_is_unlike_and_not_shifted() -> None:
    usual = small_grey(blobs(64))
    np.testing.assert_allclose(align(blobs(64), usual), [0, 0, 0], atol=1e-3)
    for frame in (np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)):
        np.testing.assert_array_equal(align(frame, usual), [0, 0, 1])
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert np.abs(align(noise, usual)[:2]).max() <= 16 and align(noise, usual)[2] > 0.5


def test_limits_by_student() -> None:
    values, every = np.array([100.0, 200.0, 300.0]), np.ones(3, bool)
    # Mean 200, deviation 100. The moving average varies by 0.2 / 1.8 of the variance, the mean by a third of it;
    # t with 2 degrees of freedom is 2.92 at 5 %.
    made = known("contrast", values, every, 0.05)
    assert (made.mean, made.spread) == (pytest.approx(200), pytest.approx(100))
    assert made.limit == pytest.approx(2.919986 * (1 / 9 + 1 / 3) ** 0.5)
    # Around the mean of the two held out, as wide as all: deviation of logarithms 1 with 3 degrees of freedom, t 2.353.
    both = np.exp([1.0, 2.0, 3.0, 4.5, 5.5])
    new = np.array([False, False, False, True, True])
    made = known("embedding", both, new, 0.05)
    assert (made.mean, made.spread) == (pytest.approx(5), pytest.approx((2.5 / 3) ** 0.5))
    assert made.limit == pytest.approx(2.353363 * (1 / 9 + 1 / 2) ** 0.5)
    assert known("contrast", values[:1], every[:1], 0.05).limit == np.inf
    # Alike to the digit is no reason to call the next one drifted.
    assert known("brightness", np.full(9, 100.0), np.ones(9, bool), 0.05).spread == pytest.approx(4)
    assert known("right", np.zeros(9), np.ones(9, bool), 0.05).spread == 0.5


@settings(deadline=None)
@given(st.integers(3, 60), st.integers(0, 100), st.sampled_from(QUANTITIES))
def test_few_episodes_give_wide_limits(count: int, seed: int, quantity: str) -> None:
    values = np.exp(np.random.default_rng(seed).normal(size=count))
    every = np.ones(count, bool)
    few, many = (known(quantity, np.tile(values, n), np.tile(every, n), 1e-6).limit for n in (1, 4))
    assert few > many > 4.75 * (NEWEST / (2 - NEWEST)) ** 0.5  # a Gaussian's, of a mean known exactly


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


def test_saved_with_the_classifier_and_readable(trained: Statistics, tmp_path: Path) -> None:
    trained.save(tmp_path)
    plain = json.loads((tmp_path / SCALARS).read_text())
    assert (plain["episodes"], plain["frames"], plain["held_out"]) == (40, 320, 10)
    assert set(plain["cameras"]["wrist"]) == set(QUANTITIES)
    low, *_, high = plain["cameras"]["wrist"]["brightness"]["quantiles"]
    assert low < plain["cameras"]["wrist"]["brightness"]["mean"] < high
    loaded = Statistics.load(tmp_path)
    assert loaded is not None and loaded.cameras == trained.cameras
    for camera in CAMERAS:
        np.testing.assert_array_equal(loaded.clouds[camera].whitening, trained.clouds[camera].whitening)
        np.testing.assert_array_equal(loaded.usual[camera], trained.usual[camera])


def test_a_classifier_of_before_has_none(trained: Statistics, tmp_path: Path) -> None:
    assert Statistics.load(tmp_path) is None
    trained.save(tmp_path)
    (tmp_path / SCALARS).write_text('{"version": 1, "cameras": {}}')  # those of before looked at whole episodes
    assert Statistics.load(tmp_path) is None


@pytest.mark.parametrize("damage", ["{", "[]", f'{{"version": {VERSION}}}', f'{{"version": {VERSION + 1}}}'])
def test_damaged_statistics_are_refused(trained: Statistics, tmp_path: Path, damage: str) -> None:
    trained.save(tmp_path)
    (tmp_path / SCALARS).write_text(damage)
    with pytest.raises(UserError, match="statistics of its training images cannot be used"):
        Statistics.load(tmp_path)
    trained.save(tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(UserError, match="statistics of its training images cannot be used"):
        Statistics.load(tmp_path)


# ---------------------------------------------------------------- the charts


def grey_statistics(spread: float, limit: float) -> Statistics:
    """Of one camera that sees evenly grey frames, of which only the brightness is known to be about 100."""
    wide = Known(0.0, 1.0, [0.0] * 5, np.inf)
    charts = dict.fromkeys(QUANTITIES, wide) | {"brightness": Known(100.0, spread, [90, 95, 100, 105, 110], limit)}
    cloud = Cloud(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
    return Statistics({"wrist": charts}, {"wrist": cloud}, {"wrist": np.zeros((8, 8), np.float32)}, 9, 9, 9)


def show(monitor: DriftMonitor, brightness: int) -> list[Drift]:
    monitor.begin()
    frame = np.full((8, 8, 3), brightness, np.uint8)
    return monitor.see({"observation.images.wrist": frame}, np.zeros(1, np.float32))


def test_a_moving_average_by_hand() -> None:
    """Spread 5, limit 2: 30 away are 6 spreads; the average of the charts is 1.2 and then 2.16."""
    monitor = DriftMonitor(grey_statistics(5.0, 2.0))
    assert show(monitor, 130) == []
    (found,) = show(monitor, 130)
    assert (found.code, found.value, found.episodes) == ("drift_wrist_brightness_high", 130, 1)
    assert show(monitor, 130) == [] and [d.code for d in monitor.now] == [found.code]  # said once, and still so
    assert monitor.take() == [found] and monitor.take() == []
    # 2.2 spreads reach the limit after eleven episodes, by 1 - 0.8^11.
    monitor = DriftMonitor(grey_statistics(5.0, 2.0))
    assert [len(show(monitor, 89)) for _ in range(11)] == [0] * 10 + [1]
    # What alone is nothing new is told as the mean of the newest.
    monitor = DriftMonitor(grey_statistics(4.0, 1.0))
    said = [show(monitor, 94) for _ in range(5)]
    assert [len(found) for found in said] == [0] * 4 + [1] and (said[4][0].value, said[4][0].episodes) == (94, 5)


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_what_is_said_can_be_seen_and_what_is_seen_can_be_said(quantity: str, high: bool) -> None:
    """One chart out of its limits at a time: a distance that is too small says nothing, all others have their words."""
    frame, usual = blobs(32), np.zeros((32, 32), np.float32)
    values = dict(zip(QUANTITIES, [*look(frame, usual), 2.0], strict=True))
    value = float(scale(quantity, np.array(values[quantity])))
    wide = Known(0.0, 1.0, [0.0] * 5, np.inf)
    charts = dict.fromkeys(QUANTITIES, wide)
    charts[quantity] = Known(value + (-9.0 if high else 9.0), 1.0, [1e6] * 5, 0.5)
    cloud = Cloud(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
    monitor = DriftMonitor(Statistics({"wrist": charts}, {"wrist": cloud}, {"wrist": usual}, 9, 9, 9))
    found = monitor.see({"observation.images.wrist": frame}, np.array([2.0], np.float32))
    assert [(d.quantity, d.high) for d in found] == ([(quantity, high)] if (quantity, high) in LOOKS else [])
    assert all(f"'wrist' {LOOKS[quantity, high]} than " in d.finding.what for d in found)


@settings(deadline=None)
@given(st.integers(1, 155), st.floats(1.0, 20.0), st.floats(0.5, 4.0), st.booleans())
def test_the_larger_the_sooner(away: int, spread: float, limit: float, dark: bool) -> None:
    """A lasting step of k spreads is said as soon as k (1 - 0.8^t) is beyond the limit, and never where k is not."""
    monitor, step = DriftMonitor(grey_statistics(spread, limit)), min(away, 100 if dark else 155)
    monitors = next((t for t in range(1, 41) if show(monitor, 100 + (-step if dark else step))), None)
    expected = next((t for t in range(1, 41) if step / spread * (1 - (1 - NEWEST) ** t) > limit), None)
    assert monitors == expected
    if monitors:
        assert monitor.found[0].high is not dark


def test_false_alarms_of_whole_trainings() -> None:
    """200 trainings of 1000 episodes, each with 40 training episodes of its own to know them by, two cameras."""
    rng, runs, charts = np.random.default_rng(0), 200, 2 * len(QUANTITIES)
    chance = FALSE_ALARMS / (EPISODES * charts * 2)
    values = rng.normal(100, 30, (runs, charts, 40))
    made = [[known("contrast", v, np.ones(40, bool), chance) for v in run] for run in values]
    mean, spread, limit = (np.array([[getattr(k, n) for k in r] for r in made]) for n in ("mean", "spread", "limit"))
    average, alarms = np.zeros((runs, charts)), np.zeros((runs, charts), bool)
    for _ in range(EPISODES):
        average += NEWEST * ((rng.normal(100, 30, (runs, charts)) - mean) / spread - average)
        alarms |= abs(average) > limit
    assert 0 < alarms.any(axis=1).mean() <= FALSE_ALARMS


# ---------------------------------------------------------------- alarms


def test_a_training_in_which_nothing_changes_is_silent(trained: Statistics) -> None:
    monitor = DriftMonitor(trained)
    for seed in range(300):
        images = {camera: scene(camera, 1000 + seed)[:1] for camera in CAMERAS}
        assert watch(monitor, images) == []


def test_what_happens_in_an_episode_is_no_drift(trained: Statistics) -> None:
    """A policy reaches what training did not show: only the first frame is compared."""
    monitor = DriftMonitor(trained)
    for seed in range(20):
        images = episode(4000 + seed)
        for frames in images.values():
            frames[1:] = frames[1:] // 3
        assert watch(monitor, images) == []


def halved(frames: np.ndarray) -> np.ndarray:
    return frames // 2


def brighter(frames: np.ndarray) -> np.ndarray:
    return np.clip(frames * 1.25, 0, 255).astype(np.uint8)


def swapped(frames: np.ndarray) -> np.ndarray:
    return frames[..., ::-1].copy()


def blurred(frames: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(f, (0, 0), 2) for f in frames])


def moved(frames: np.ndarray) -> np.ndarray:
    away = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 0.0]])
    return np.stack([cv2.warpAffine(f, away, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE) for f in frames])


def covered(frames: np.ndarray) -> np.ndarray:
    frames = frames.copy()
    frames[:, :, : SIZE // 2] = (70, 55, 45)
    return frames


def exchanged(frames: np.ndarray) -> np.ndarray:
    return frames[:, ::-1, ::-1].copy()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (halved, {"is darker than anything the classifier was trained on: brightness"}),
        (brighter, {"is brighter than anything the classifier was trained on: brightness"}),
        (swapped, {"as if red and blue were swapped"}),
        (blurred, {"is more blurred than"}),
        (moved, {"shows things farther right than", "shows another scene"}),  # a tenth of the view is new
        (covered, {"is darker than", "shows another scene"}),
        (exchanged, {"shows another scene"}),
    ],
)
@pytest.mark.parametrize("camera", CAMERAS)
def test_a_fault_is_called_by_its_name(
    trained: Statistics, fault: Callable[[np.ndarray], np.ndarray], says: set[str], camera: str
) -> None:
    """Within five episodes, in the middle of a training as at its beginning."""
    for before in (0, 10):
        monitor = DriftMonitor(trained)
        for seed in range(before):
            assert watch(monitor, episode(2000 + seed)) == []
        found: list[Drift] = []
        for seed in range(5):
            images = episode(2100 + seed)
            found += watch(monitor, images | {camera: fault(images[camera])})
        assert found and {d.camera for d in found} == {camera}
        assert any(words in found[0].finding.what for words in says), found[0].finding.what
        assert found[0].finding.what.startswith(f"camera '{camera}' ") and "trained " in found[0].finding.what


def test_a_cause_is_said_once_and_hides_what_it_explains(trained: Statistics) -> None:
    monitor = DriftMonitor(trained)
    for seed in range(6):
        images = episode(3000 + seed)
        watch(monitor, images | {"wrist": images["wrist"] // 2})
    # Half the light is half the contrast and another embedding, too.
    assert [d.code for d in monitor.found] == ["drift_wrist_brightness_low"]
    assert monitor.take() == monitor.found and monitor.take() == []
    for seed in range(6):
        images = episode(3010 + seed)
        watch(monitor, images | {"wrist": np.clip(images["wrist"] * 1.6, 0, 255).astype(np.uint8)})
    assert "drift_wrist_brightness_high" in [d.code for d in monitor.take()]


def test_one_odd_episode_is_no_drift(trained: Statistics) -> None:
    monitor = DriftMonitor(trained)
    for seed in range(20):
        images = episode(5000 + seed)
        if seed % 10 == 5:  # somebody leans over the table
            images = {camera: (frames * 0.75).astype(np.uint8) for camera, frames in images.items()}
        assert watch(monitor, images) == []


def test_the_message_has_the_numbers() -> None:
    known = Known(110.0, 5.0, [92.4, 95.0, 110.0, 130.0, 140.6], 1.9)
    assert Drift("wrist", "brightness", False, 61.2, known).finding.what == (
        "camera 'wrist' is darker than anything the classifier was trained on: brightness 61, trained 92..141 "
        "(the first frame of an episode)"
    )
    assert Drift("wrist", "brightness", False, 96.2, known, episodes=5).finding.what == (
        "camera 'wrist' is darker than the classifier's training images on average: brightness 96, trained 92..141 "
        "(first frames of 5 episodes)"
    )
    share = Known(0.33, 0.01, [0.31, 0.32, 0.33, 0.34, 0.36], 1.9)
    said = Drift("wrist", "red", True, 0.52, share, swapped=True).finding.what
    assert said.endswith(
        "red 52 %, trained 31 %..36 %, as if red and blue were swapped (the first frame of an episode)"
    )
    shift = Known(0.1, 0.5, [-0.6, -0.3, 0.1, 0.4, 0.8], 1.9)
    assert "farther right than anything the classifier was trained on: shift to the right 6.2 px, trained -0.6" in (
        Drift("wrist", "right", True, 6.2, shift).finding.what
    )
