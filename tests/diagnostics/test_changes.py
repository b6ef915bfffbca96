"""One thing changes at a time, and only that."""

from __future__ import annotations

import numpy as np

from hiltk.config.groups import So101SimConf, TaskConf
from hiltk.diagnostics.changes import BRIGHTNESS, CAMERA, CUBE, LIGHT, OTHER, SHIFT, displacement, in_simulator, of_sets
from hiltk.diagnostics.pictures import Pictures
from hiltk.diagnostics.saliency import cube_mask
from hiltk.envs.so101_sim import So101SimEnv

KEY = "observation.images.wrist"


def test_in_the_simulator_one_thing_changes_at_a_time() -> None:
    env, task = So101SimConf(image_height=32, image_width=32), TaskConf(time_limit_s=1.0)
    spec = So101SimEnv(env, task).io_spec
    changes = in_simulator(env, task, spec, spec.images, 4, seed=3)
    before, after = changes.before, changes.after
    assert list(after) == [CUBE, LIGHT, CAMERA] and changes.wanted == CUBE and changes.nuisances == [LIGHT, CAMERA]
    assert before.positions_m is not None and changes.empty is not None and len(before) == 4
    for name, pictures in after.items():
        np.testing.assert_array_equal(pictures.states, before.states)  # the arm is where it was
        same_place = np.allclose(pictures.positions_m, before.positions_m)  # type: ignore[arg-type]
        assert same_place == (name != CUBE)
        assert all((a != b).any() for a, b in zip(pictures.frames[KEY], before.frames[KEY], strict=True))
    places = (before.positions_m, after[CUBE].positions_m)
    assert changes.moved_mm == 1000 * np.linalg.norm(places[0] - places[1], axis=1).mean()  # type: ignore[operator]
    # Without the cube only the pixels of the cube change, and those are red.
    masks = cube_mask(before.frames[KEY], changes.empty.frames[KEY])
    seen = before.frames[KEY][masks].astype(int)
    assert 0.002 < masks.mean() < 0.2 and (seen[:, 0] > 2 * seen[:, 2]).mean() > 0.9
    again = in_simulator(env, task, spec, spec.images, 4, seed=3)
    np.testing.assert_array_equal(again.after[LIGHT].frames[KEY], after[LIGHT].frames[KEY])


def test_of_pictures_that_exist() -> None:
    rng = np.random.default_rng(0)
    first = Pictures(
        "a", {KEY: rng.integers(0, 120, (6, 16, 16, 3), dtype=np.uint8)}, states=np.arange(12.0).reshape(6, 2)
    )
    second = Pictures("b", {KEY: np.full((3, 16, 16, 3), 200, np.uint8)})
    changes = of_sets(first, second, 4, seed=0)
    frames = changes.before.frames[KEY]
    assert changes.wanted == OTHER and changes.nuisances == [BRIGHTNESS, SHIFT] and changes.empty is None
    assert len(frames) == 4 and np.isnan(changes.moved_mm)
    rows = [int(np.flatnonzero((first.frames[KEY] == f).all(axis=(1, 2, 3)))[0]) for f in frames]
    assert len(set(rows)) == 4
    np.testing.assert_array_equal(changes.before.states, first.states[rows])  # type: ignore[index]
    assert (changes.after[OTHER].frames[KEY] == 200).all()
    for bright, frame in zip(changes.after[BRIGHTNESS].frames[KEY], frames, strict=True):
        factor = bright.sum() / frame.sum()
        assert 0.45 < factor < 1.5 and abs(factor - 1) > 1e-3
        np.testing.assert_allclose(bright, frame * factor, atol=3)
    assert (changes.after[SHIFT].frames[KEY] != frames).any()
    assert len(of_sets(first, second, 100, seed=0).before) == 6


def test_displacement_by_hand() -> None:
    before = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    assert displacement(before, before + np.array([[3.0, 4.0], [0.0, 1.0]], np.float32)) == 3.0
