"""Drift: golden numbers, false alarms over whole trainings, and faults that must be called by their name."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.rewards.cloud import Cloud
from hiltk.rewards.drift import LOOKS, Drift, DriftMonitor
from hiltk.rewards.training_images import (
    NEWEST,
    Known,
    Statistics,
    scale,
)
from hiltk.rewards.views import QUANTITIES, look
from tests.rewards.scenes import CAMERAS, SIZE, Images, blobs, embed, episode, scene


def watch(monitor: DriftMonitor, images: Images) -> list[Drift]:
    """What is newly said of an episode."""
    monitor.begin()
    embeddings = np.concatenate([embed(images[camera]) for camera in CAMERAS], axis=1)
    new = []
    for t in range(len(embeddings)):
        new += monitor.see({f"observation.images.{c}": v[t] for c, v in images.items()}, embeddings[t])
    return new


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
