from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from hiltk.artifacts.store import Artifact, split_episodes
from hiltk.config.groups import So101SimConf, TaskConf
from hiltk.data.episode import Episode
from hiltk.diagnostics.pictures import from_dataset, from_folder, from_simulator
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.errors import ConfigError, UserError
from hiltk.observation import fit_image
from hiltk.spec import ImageSpec, Spec

WRIST = ImageSpec("wrist", 8, 8, 20, 30, crop=[0, 5, 20, 20])
FRONT = ImageSpec("front", 4, 6, 4, 6)


def write(folder: Path, *frames: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{i}{suffix}"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


def frames(image: ImageSpec, count: int = 2) -> np.ndarray:
    shape = (count, image.native_height, image.native_width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_pictures_of_a_folder_go_through_crop_and_resize_in_rgb(tmp_path: Path) -> None:
    native = frames(WRIST)
    (write(tmp_path / "front", *native) / "notes.txt").write_text("x")
    pictures = from_folder(tmp_path / "front", [WRIST])
    assert pictures.name == "front" and pictures.positions_m is None
    np.testing.assert_array_equal(pictures.frames[WRIST.key], [fit_image(f, WRIST) for f in native])


def test_jpg_too(tmp_path: Path) -> None:
    grey = np.full((1, 4, 6, 3), 77, np.uint8)
    pictures = from_folder(write(tmp_path / "a", *grey, suffix=".JPG"), [FRONT])
    np.testing.assert_allclose(pictures.frames[FRONT.key], grey, atol=2)


def test_a_folder_for_each_camera(tmp_path: Path) -> None:
    write(tmp_path / "wrist", *frames(WRIST))
    with pytest.raises(UserError, match=r"no folder for camera 'front'(.|\n)*camera=front"):
        from_folder(tmp_path, [WRIST, FRONT])
    write(tmp_path / "front", *frames(FRONT, 3))
    both = from_folder(tmp_path, [WRIST, FRONT]).frames
    assert {k: len(v) for k, v in both.items()} == {WRIST.key: 2, FRONT.key: 3}


def test_pictures_that_are_not_the_cameras_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"4 x 6, camera 'wrist' gives 20 x 30(.|\n)*neither cropped nor resized"):
        from_folder(write(tmp_path / "a", *frames(FRONT)), [WRIST])
    with pytest.raises(UserError, match="no PNG or JPG"):
        from_folder(write(tmp_path / "b"), [WRIST])
    (write(tmp_path / "c") / "x.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be read"):
        from_folder(tmp_path / "c", [WRIST])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demos", ("demos", "")),
        ("demos:0-9", ("demos", "0-9")),
        ("demos@d-0001:near", ("demos@d-0001", "near")),
        ("hub:me/demos@v1:3", ("hub:me/demos@v1", "3")),
        ("hub:me/demos", ("hub:me/demos", "")),
        ("/data/x:left_edge", ("/data/x", "left_edge")),
    ],
)
def test_references(text: str, expected: tuple[str, str]) -> None:
    assert split_episodes(text) == expected


def test_slices_of_a_dataset(
    dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tiny_spec: Spec
) -> None:
    strata = ["near", "far", "near"]
    episodes = [make_episode(length=5 + i, seed=i, stratum=s) for i, s in enumerate(strata)]
    artifact = Artifact("datasets", "demos", "d-0001", dataset_dir(episodes=episodes))
    key, images = tiny_spec.image_keys[0], tiny_spec.images

    def of(which: str, first_only: bool = True) -> np.ndarray:
        return from_dataset(artifact, which, tiny_spec, images, first_only=first_only).frames[key]

    firsts = np.stack([e.observations[key][0] for e in episodes])
    np.testing.assert_array_equal(of(""), firsts)
    np.testing.assert_array_equal(of("near"), firsts[[0, 2]])
    np.testing.assert_array_equal(of("1-2"), firsts[1:])
    np.testing.assert_array_equal(of("1"), firsts[1:2])
    np.testing.assert_array_equal(of("1", first_only=False), episodes[1].observations[key])
    with pytest.raises(UserError, match="no episodes '7-9'"):
        of("7-9")


def test_the_simulator_knows_where_the_cube_is() -> None:
    env, task = So101SimConf(image_height=16, image_width=16), TaskConf(time_limit_s=1.0)
    spec = So101SimEnv(env, task).io_spec
    near, far = from_simulator(env, task, spec, spec.images, ["near", "far"], 3, seed=0)
    assert near.frames["observation.images.wrist"].shape == (3, 16, 16, 3)
    assert near.positions_m is not None and far.positions_m is not None
    assert (near.positions_m[:, 0] < task.near_far_x_m).all() and (far.positions_m[:, 0] >= task.near_far_x_m).all()
    assert len(np.unique(near.positions_m, axis=0)) == 3
    again, _ = from_simulator(env, task, spec, spec.images, ["near", "far"], 3, seed=0)
    np.testing.assert_array_equal(again.positions_m, near.positions_m)
    with pytest.raises(ConfigError):
        from_simulator(env, task, spec, spec.images, ["nowhere"], 1, seed=0)
