"""Pictures are where and as bright as projection and Lambert's law say; OpenGL is used only where it works."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import mujoco
import numpy as np
import pytest

from hiltk.arm.units import to_radians
from hiltk.config.groups import Renderer, So101SimConf
from hiltk.errors import UserError
from hiltk.sim import renderers
from hiltk.sim.renderers import CpuRenderer, GlRenderer, gl_backend, gl_works, make_renderer
from hiltk.sim.scene import Scene, build_scene

ROOM = """
<mujoco>
  <visual><headlight ambient=".1 .1 .1" diffuse=".4 .4 .4" specular="0 0 0"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="flat" rgb1=".2 .4 .6" rgb2=".2 .4 .6" width="8" height="48"/>
    <texture name="squares" type="2d" builtin="checker" rgb1="1 1 1" rgb2="0 0 0" width="2" height="2"/>
    <material name="squares" texture="squares" texrepeat="2 2" specular="0"/>
    <material name="plain" rgba=".5 .25 0 1" specular="0"/>
  </asset>
  <worldbody>
    <light type="directional" dir="0 .6 -.8" diffuse=".5 .5 .5" specular="0 0 0" castshadow="false"/>
    <camera name="above" pos="0 0 2" fovy="90"/>
    <geom type="plane" size="1 1 .1" {material}/>
  </worldbody>
</mujoco>
"""


def room(material: str = 'material="plain"') -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(ROOM.format(material=material))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(So101SimConf())


@pytest.fixture
def posed(scene: Scene) -> mujoco.MjData:
    data = mujoco.MjData(scene.model)
    data.qpos[scene.joint_qpos] = to_radians([0, -28, 28, 80, 90, 40])
    mujoco.mj_forward(scene.model, data)
    return data


def test_brightness_is_ambient_plus_headlight_plus_lamp() -> None:
    model, data = room()
    frame = CpuRenderer(model, 9, 9).render(data, 0)
    # A floor seen from straight above: n.v = 1, n.l = 0.8, so 0.1 + 0.4 + 0.8 * 0.5 = 0.9 of the colour.
    assert frame[4, 4].tolist() == pytest.approx([0.9 * 0.5 * 255, 0.9 * 0.25 * 255, 0], abs=1)


def test_rays_that_miss_show_the_sky() -> None:
    model, data = room()
    frame = CpuRenderer(model, 9, 9).render(data, 0)
    # From 2 m at 90 degrees the frame is 4 m wide; the floor is 2 m.
    assert frame[0, 0].tolist() == pytest.approx([51, 102, 153], abs=1)
    assert frame[4, 0].tolist() == pytest.approx([51, 102, 153], abs=1)


def test_the_checker_repeats_as_the_material_says() -> None:
    model, data = room('material="squares"')
    frame = CpuRenderer(model, 64, 64).render(data, 0)[..., 0]
    floor = frame[16:48, 16:48]  # 2 m of floor in 32 pixels: two repeats of 1 m, four squares of 0.5 m
    squares = floor.reshape(4, 8, 4, 8).transpose(0, 2, 1, 3).reshape(4, 4, -1)
    assert (squares.max(axis=2) - squares.min(axis=2) == 0).all()
    bright = squares[..., 0] > 100
    assert (bright[:, 1:] != bright[:, :-1]).all()
    assert (bright[1:] != bright[:-1]).all()


def test_the_cube_is_red_where_projection_says(scene: Scene, posed: mujoco.MjData) -> None:
    size = 64
    for name, camera in scene.cameras.items():
        frame = CpuRenderer(scene.model, size, size).render(posed, camera).astype(int)
        red = (frame[..., 0] > 3 * frame[..., 1]) & (frame[..., 0] > 60) & (frame[..., 2] > 0.9 * frame[..., 1])
        there = posed.cam_xmat[camera].reshape(3, 3).T @ (posed.xpos[scene.cube_body] - posed.cam_xpos[camera])
        focal = size / 2 / np.tan(np.deg2rad(scene.model.cam_fovy[camera]) / 2)
        row = size / 2 + focal * there[1] / there[2]
        column = size / 2 - focal * there[0] / there[2]
        rows, columns = np.nonzero(red)
        assert len(rows) > 10, name
        assert red[int(row), int(column)], name
        assert np.hypot(rows - row, columns - column).max() < focal * 0.025 / -there[2], name


def test_supersampling_averages_the_finer_picture(scene: Scene, posed: mujoco.MjData) -> None:
    fine = CpuRenderer(scene.model, 64, 64).render(posed, 0).astype(float)
    coarse = CpuRenderer(scene.model, 32, 32, supersample=2).render(posed, 0)
    averaged = fine.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(coarse - averaged).max() <= 1


def test_a_changed_field_of_view_is_taken_over(scene: Scene, posed: mujoco.MjData) -> None:
    renderer = CpuRenderer(scene.model, 32, 32)
    before = renderer.render(posed, 0)
    nominal = scene.model.cam_fovy[0]
    scene.model.cam_fovy[0] = nominal * 1.5
    renderer.refresh()
    wider = renderer.render(posed, 0)
    scene.model.cam_fovy[0] = nominal
    renderer.refresh()
    assert (wider != before).any()
    assert (renderer.render(posed, 0) == before).all()


def test_models_without_materials_or_lights_are_drawn() -> None:
    xml = '<mujoco><worldbody><camera pos="0 0 1"/><geom size=".2" rgba="0 1 0 1"/></worldbody></mujoco>'
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    frame = CpuRenderer(model, 16, 16).render(data, 0)
    assert frame[8, 8, 1] > 100
    assert frame[8, 8, 0] == 0
    assert frame[0, 0].tolist() == [0, 0, 0]


def test_opengl_draws_the_same_picture(scene: Scene, posed: mujoco.MjData) -> None:
    if not gl_works():
        pytest.skip("no OpenGL here")
    ours, theirs = CpuRenderer(scene.model, 96, 96), GlRenderer(scene.model, 96, 96)
    for camera in scene.cameras.values():
        difference = np.abs(ours.render(posed, camera).astype(int) - theirs.render(posed, camera)).max(axis=2)
        # OpenGL filters the table's texture, which softens the edges of its squares.
        assert (difference > 12).mean() < 0.01
        assert difference.mean() < 3
    theirs.close()


class TestChoice:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        for name in ("MUJOCO_GL", "DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        gl_works.cache_clear()
        yield
        gl_works.cache_clear()

    def bare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine without libraries or display, on which starting a probe is a failure of the test."""

        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("a bare machine must not pay for a probe")

        monkeypatch.setattr(renderers, "_loads", lambda library: False)
        monkeypatch.setattr(renderers.sys, "platform", "linux")
        monkeypatch.setattr(subprocess, "run", refuse)

    def test_a_bare_machine_draws_without_a_probe(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bare(monkeypatch)
        assert make_renderer(scene.model, 64, 64, So101SimConf()).name == "cpu"
        assert make_renderer(scene.model, 256, 256, So101SimConf()).name == "cpu"

    def test_gl_on_a_bare_machine_is_refused(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bare(monkeypatch)
        with pytest.raises(UserError, match="renderer=cpu"):
            make_renderer(scene.model, 64, 64, So101SimConf(renderer=Renderer.gl))

    def test_auto_takes_the_cpu_for_small_frames_even_with_gl(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(renderers, "gl_works", lambda: True)
        made: list[str] = []
        monkeypatch.setattr(renderers, "GlRenderer", lambda *args: made.append("gl"))
        assert make_renderer(scene.model, 128, 128, So101SimConf()).name == "cpu"
        make_renderer(scene.model, 128, 128, So101SimConf(supersample=2))
        make_renderer(scene.model, 64, 64, So101SimConf(renderer=Renderer.gl))
        assert made == ["gl", "gl"]

    def test_a_crashing_driver_means_no_gl_and_is_tried_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tries: list[int] = []

        def crash(*args: object, **kwargs: object) -> subprocess.CompletedProcess[bytes]:
            tries.append(1)
            return subprocess.CompletedProcess([], -6)

        monkeypatch.setattr(renderers, "gl_backend", lambda: "egl")
        monkeypatch.setattr(subprocess, "run", crash)
        assert not gl_works()
        assert not gl_works()
        assert len(tries) == 1

    def test_the_users_choice_of_backend_stands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MUJOCO_GL", "osmesa")
        assert gl_backend() == "osmesa"
        monkeypatch.setenv("MUJOCO_GL", "disabled")
        assert gl_backend() == ""
