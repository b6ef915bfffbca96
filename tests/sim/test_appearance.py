"""Appearance jitter: reproducible, bounded, restored, and seen in the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from hiltk.config.groups import JitterConf, So101SimConf, TaskConf
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.sim import appearance
from hiltk.sim.appearance import Appearance
from hiltk.sim.scene import Scene, build_scene


@pytest.fixture
def scene() -> Scene:
    return build_scene(So101SimConf())


def look(scene: Scene) -> dict[str, np.ndarray]:
    model = scene.model
    return {
        "lighting": np.concatenate([model.vis.headlight.diffuse, model.light_diffuse[0], model.light_dir[0]]),
        "color": np.concatenate([model.mat_rgba[:, :3].ravel(), model.geom_rgba[scene.cube_geom, :3]]),
        "camera": np.concatenate([model.cam_pos.ravel(), model.cam_quat.ravel(), model.cam_fovy]),
    }


@pytest.mark.parametrize("part", ["lighting", "color", "camera"])
def test_each_strength_changes_its_own_part_only(scene: Scene, part: str) -> None:
    before = look(scene)
    Appearance(scene, JitterConf(**{part: 1.0})).apply(np.random.default_rng(0))
    changed = {name for name, value in look(scene).items() if not np.allclose(value, before[name], atol=1e-6)}
    assert changed == {part}


def test_the_same_seed_gives_the_same_look_and_episodes_do_not_add_up(scene: Scene) -> None:
    jitter = Appearance(scene, JitterConf(1.0, 1.0, 1.0))
    jitter.apply(np.random.default_rng(5))
    first = look(scene)
    for seed in range(20):
        jitter.apply(np.random.default_rng(seed))
    jitter.apply(np.random.default_rng(5))
    assert all((first[name] == value).all() for name, value in look(scene).items())


def test_strength_zero_is_how_the_model_was_made(scene: Scene) -> None:
    before = look(scene)
    Appearance(scene, JitterConf()).apply(np.random.default_rng(0))
    for name, value in look(scene).items():
        assert value == pytest.approx(before[name], abs=1e-6)


def test_changes_stay_within_their_bounds(scene: Scene) -> None:
    model, position, fov = scene.model, scene.model.cam_pos.copy(), scene.model.cam_fovy.copy()
    quaternions = model.cam_quat.copy()
    jitter = Appearance(scene, JitterConf(1.0, 1.0, 0.5))
    for seed in range(50):
        jitter.apply(np.random.default_rng(seed))
        assert np.abs(model.cam_pos - position).max() <= 0.5 * appearance.CAMERA_SHIFT_M
        assert np.abs(model.cam_fovy - fov).max() <= 0.5 * appearance.CAMERA_FOV_DEG + 1e-4
        turned = 2 * np.arccos(np.clip(np.abs((model.cam_quat * quaternions).sum(axis=1)), 0, 1))
        assert turned.max() <= 0.5 * appearance.CAMERA_TURN_RAD * np.sqrt(3) + 1e-6
        assert np.linalg.norm(model.light_dir, axis=1) == pytest.approx(1.0)
        assert model.light_dir[0, 2] < 0  # the lamp never shines from below
        assert model.mat_rgba.max() <= 1
        assert model.mat_rgba.min() >= 0
        red, green, blue = model.geom_rgba[scene.cube_geom, :3]
        assert red > 4 * max(green, blue)  # still the red cube


def test_no_camera_ends_inside_the_arm() -> None:
    """At full strength one wrist camera in twenty was shifted into the part that carries it, and saw one colour."""
    conf = So101SimConf(image_height=8, image_width=8, jitter=JitterConf(0.0, 0.0, 1.0))
    env = So101SimEnv(conf, TaskConf(), 0)
    spread = [env.reset(seed=seed)[0]["observation.images.wrist"].reshape(-1, 3).std(0).max() for seed in range(60)]
    assert min(spread) > 10
