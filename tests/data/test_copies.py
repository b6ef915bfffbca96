"""Which episodes are one recording: copies however they were changed, and never two of one demonstrator."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.config.groups import HumanConf, RewardConf, So101SimConf, TaskConf
from hiltk.data.copies import ARM, Trace, copies, recordings
from hiltk.envs.make import make_env
from hiltk.humans.make import make_human
from hiltk.limits import COPY_DEG
from hiltk.spec import STATE_KEY, Dimension
from tests.conftest import joint_path

PATHS = [joint_path(30, seed) for seed in range(6)]
NOISE = np.random.default_rng(0)
SAME: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "equal": lambda p: p,
    "moved by rounding": lambda p: p + 1e-5,
    "half precision": lambda p: p.astype(np.float16).astype(float),
    "to a servo's ticks": lambda p: np.round(p / 0.088) * 0.088,
    "with noise": lambda p: p + NOISE.normal(0, 0.02, p.shape),
    "without its first frame": lambda p: p[1:],
    "without its last frames": lambda p: p[:-4],
    "its middle": lambda p: p[8:-8],
    "every second frame": lambda p: p[::2],
    "each frame twice": lambda p: np.repeat(p, 2, axis=0),
    "with a rest before": lambda p: np.concatenate([np.repeat(p[:1], 20, axis=0), p]),
    "backwards": lambda p: p[::-1],
    "two episodes in one": lambda p: np.concatenate([joint_path(20, 99), p]),
}


@pytest.mark.parametrize("change", SAME.values(), ids=list(SAME))
def test_a_copy_is_found_however_it_was_changed(change: Callable[[np.ndarray], np.ndarray]) -> None:
    found = recordings([Trace(p, ARM) for p in [*PATHS, *map(change, PATHS)]])
    assert found.tolist() == [*range(6), *range(6)]


def test_by_hand() -> None:
    """One dimension, tolerance 1: the first half of a way is part of it; shifted by 0.9 it still is, far beyond not."""
    long, short = np.arange(20.0)[:, None] * 10, np.arange(10.0)[:, None] * 10
    assert copies([long, short]).tolist() == [0, 0]
    assert copies([long, short + 0.9]).tolist() == [0, 0]
    assert copies([long, short + 300]).tolist() == [0, 1]
    assert copies([short, long, short + 300, short + 300.5]).tolist() == [0, 0, 2, 2]


def test_less_than_most_of_the_way_is_no_copy() -> None:
    """Seven tenths of the way are shared: a start that many have, from one reset pose."""
    first = np.arange(0, 110.0, 10)[:, None] * [1.0, 0.0]
    other = first.copy()
    other[8:, 1] = [20, 40, 60]
    assert copies([first, other]).tolist() == [0, 1]


def test_short_and_resting_episodes_say_nothing() -> None:
    rest = np.zeros((30, 6))
    assert recordings([Trace(p, ARM) for p in (rest, rest, PATHS[0][:4], PATHS[0][:4])]).tolist() == [0, 1, 2, 3]
    assert recordings([]).tolist() == []


def test_units_and_layouts_do_not_hide_a_copy() -> None:
    """Radians, other columns beside the joints, NaN in a column that nobody compares by."""
    path = PATHS[0]
    radians = [Dimension(d.name, "rad" if "gripper" not in d.name else d.unit) for d in ARM]
    wide = np.concatenate([np.full((len(path), 1), np.nan), path[:, ::-1]], axis=1)
    traces = [
        Trace(path, ARM),
        Trace(np.concatenate([np.deg2rad(path[:, :5]), path[:, 5:]], axis=1), radians),
        Trace(wide, [Dimension("force", "N"), *ARM[::-1]]),
    ]
    assert recordings(traces).tolist() == [0, 0, 0]


def test_states_without_an_arm() -> None:
    """Metres and metres a second: what counts as near follows from how far each dimension spreads."""
    dims = [Dimension("x", "m"), Dimension("v", "m/s")]
    walks = [np.cumsum(np.random.default_rng(s).normal(0, [0.01, 1.0], (60, 2)), axis=0) for s in range(30)]
    traces = [Trace(w, dims) for w in [*walks, *(w[2:] + 1e-5 for w in walks)]]
    assert recordings(traces).tolist() == [*range(30), *range(30)]


def moving_square(seed: int) -> np.ndarray:
    """(T, 64, 64, 3): a square that goes its own way over one background."""
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.normal(0, 3, (25, 2)), axis=0) + 26
    frames = np.full((25, 64, 64, 3), 90, np.uint8)
    for frame, (y, x) in zip(frames, at.clip(0, 48).astype(int), strict=True):
        frame[y : y + 16, x : x + 16] = (250, 220, 200)
    return frames


def test_pictures_where_the_state_stands_still() -> None:
    def encoded(frames: np.ndarray) -> np.ndarray:
        jpegs = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 70])[1] for frame in frames]
        return np.stack([cv2.imdecode(jpeg, cv2.IMREAD_COLOR) for jpeg in jpegs])

    films = [moving_square(seed) for seed in range(5)]
    rest = [Trace(np.zeros((len(f), 2)), [Dimension("x"), Dimension("y")], lambda f=f: f) for f in films]
    again = [Trace(r.state[1:], r.dims, lambda f=f: encoded(f[1:])) for r, f in zip(rest, films, strict=True)]
    assert recordings([*rest, *again]).tolist() == [*range(5), *range(5)]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_copies_are_a_partition_named_by_its_first(which: list[int]) -> None:
    found = recordings([Trace(PATHS[k], ARM) for k in which])
    assert found.tolist() == [which.index(k) for k in which]


@pytest.mark.parametrize(
    ("task", "human", "noise"),
    [("reach", 0.2, 0.0), ("lift", 0.2, 0.0), ("lift", 0.0, 0.01)],
    ids=["one cube", "one cube, lifted", "without noise"],
)
def test_demonstrations_from_one_pose_are_not_copies(task: str, human: float, noise: float) -> None:
    """The hardest case: everything is equal but the human's noise, or but where the cube lies."""
    spot = {"spawn_x_m": [0.24, 0.24], "spawn_y_m": [0.03, 0.03], "spawn_yaw_deg": [10.0, 10.0]}
    conf = TaskConf(name=task, **(spot if human else {}))
    env = make_env(So101SimConf(cameras=[], reset_noise_m=[noise] * 3), conf, RewardConf(), seed=0)
    person = make_human(HumanConf(noise=human), env)
    made = []
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        person.reset(seed)
        states, over = [observation[STATE_KEY]], False
        while not over:
            observation, _, terminated, truncated, _ = env.step(person.act(observation))
            states.append(observation[STATE_KEY])
            over = terminated or truncated
        made.append(Trace(np.array(states), env.io_spec.state.dims))
    assert recordings(made).tolist() == list(range(12))
    far = [Trace(t.state * 1.0, t.dims) for t in made]
    assert (recordings([*made, *far])[12:] == np.arange(12)).all()
    assert copies([t.state[:, :6] / (3 * COPY_DEG) for t in made]).tolist() == list(range(12))  # with a margin
