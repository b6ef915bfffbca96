"""`hiltk adopt` on what others store: answers that the data take back, and what to type that settles each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.spec import STATE_KEY
from tests.data.handmade import JOINTS, handmade

LENGTH, EPISODES = 40, 3
ROWS = LENGTH * EPISODES
STEP_DEG = 360 / 4095
AT, EPISODE = np.tile(np.arange(LENGTH), EPISODES)[:, None], np.repeat(np.arange(EPISODES), LENGTH)[:, None]
SWING = np.array([40, 30, 25, 20, 20, 45]) * np.sin(AT / np.array([20, 25, 22, 18, 30, 15]) + EPISODE)
STATE = np.round((np.array([0, -30, 40, 50, 0, 50]) + SWING) / STEP_DEG) * STEP_DEG
NAMES = [f"{joint}.pos" for joint in JOINTS]
PICTURES = np.random.default_rng(0).integers(0, 255, (ROWS, 24, 32, 3), np.uint8)
NEXT = np.roll(STATE, -1, axis=0)
GRADED = 0.05 + 0.95 * AT / (LENGTH - 1)


def theirs(path: Path, columns: dict[str, np.ndarray], names: list[str] | None = None, **info: Any) -> Path:
    handmade(path, columns, [LENGTH] * EPISODES, fps=30.0, names=names, pictures=PICTURES)
    said = json.loads((path / "meta" / "info.json").read_text())
    (path / "meta" / "info.json").write_text(json.dumps(said | info))
    return path


def adopted(theirs: Path, root: Path, *words: str, verb: str = "adopt") -> Result:
    return CliRunner().invoke(cli.app, [verb, str(theirs), "name=mine", f"root={root}", *words], terminal_width=300)


def made(root: Path) -> Path:
    return root / "datasets" / "mine" / "d-0001"


def settled(theirs: Path, root: Path, *words: str) -> Path:
    result = adopted(theirs, root, *words)
    assert result.exit_code == 0, result.output
    return made(root)


def refused(result: Result, *said: str) -> None:
    assert result.exit_code == 1 and "Traceback" not in result.output, result.output
    for text in said:
        assert text in result.output, result.output


def joints_of(path: Path) -> np.ndarray:
    return np.concatenate([e.observations[STATE_KEY][:, :6] for e in load_episodes(path, after_end=True)])


# ---------------------------------------------------------------- rewards


def test_a_graded_reward_is_no_success(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", {STATE_KEY: STATE, "action": NEXT, "next.reward": GRADED[:, 0]}, NAMES)
    refused(adopted(path, tmp_path), "next.reward is graded", "foreign.success_column=COLUMN|none")
    assert not (tmp_path / "datasets").exists()
    output = adopted(path, tmp_path, "foreign.success_column=none").output
    assert "120 in, 120 out; 0 of them after the end" in output and "117, 117 with a known action" in output
    assert not any(e.success.any() for e in load_episodes(made(tmp_path)))


def test_a_graded_reward_that_is_stated_is_told_of_and_refused_for_what_it_loses(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", {STATE_KEY: STATE, "action": NEXT, "next.reward": GRADED[:, 0]}, NAMES)
    words = ["foreign.success_column=next.reward"]
    refused(adopted(path, tmp_path, *words), "caution: foreign.success_column=next.reward is stated", "REW011")
    refused(adopted(path, tmp_path, *words, verb="fix-actions"), "REW011", "95% of 117 steps")


# ---------------------------------------------------------------- another arm, another zero, other units


def test_another_arm_is_refused_by_its_name(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", {STATE_KEY: STATE, "action": NEXT}, NAMES, robot_type="koch_follower")
    for verb in ("adopt", "fix-actions"):
        refused(adopted(path, tmp_path, verb=verb), "robot_type=koch_follower", "foreign.kinematics=model|none")
    assert not (tmp_path / "datasets").exists()
    assert adopted(path, tmp_path, "foreign.kinematics=none", verb="fix-actions").exit_code == 2
    spec = dataset_spec(settled(path, tmp_path, "foreign.kinematics=none", "foreign.success_last_frames=4"))
    assert spec.robot.name == "koch_follower" and spec.state.names == spec.action.names == NAMES
    episodes = load_episodes(made(tmp_path), after_end=True)
    np.testing.assert_allclose(joints_of(made(tmp_path)), STATE, atol=1e-4)
    np.testing.assert_allclose(episodes[0].actions, NEXT[: LENGTH - 1], atol=1e-4)
    assert episodes[0].success[-4:].all() and not episodes[0].success[:-4].any()


@pytest.mark.parametrize("words", [["foreign.kinematics=model"], ["foreign.model_path=ARM"], ["model_path=ARM"]])
def test_a_model_that_is_stated_is_the_arms(tmp_path: Path, words: list[str]) -> None:
    from hiltk.arm import model

    path = theirs(tmp_path / "theirs", {STATE_KEY: STATE, "action": NEXT}, NAMES, robot_type="koch_follower")
    arm = str(Path(model.__file__).with_name("so101.xml"))
    spec = dataset_spec(settled(path, tmp_path, *(word.replace("ARM", arm) for word in words)))
    assert spec.action.ee_deltas and spec.robot.model_hash


def test_a_panda_in_hil_serls_layout(tmp_path: Path) -> None:
    """18 numbers in radians, none of them an SO-101's: refused with and without a name of the arm."""
    middle, period = np.array([0, 0.195, 0, -2.43, 0, 2.62, 0.785]), np.array([9, 12, 10, 8, 14, 11, 7])
    seven = middle + 0.25 * np.sin(AT / period + EPISODE)
    tool = np.c_[np.full(ROWS, 0.5), 0.1 * np.sin(AT / 10), np.full(ROWS, 0.2)]
    state = np.c_[seven, np.zeros((ROWS, 7)), 0.5 + 0.5 * np.sin(AT / 9), tool]
    actions = np.random.default_rng(0).uniform(-1, 1, (ROWS, 4))
    for robot in ("franka_panda", ""):
        path = theirs(tmp_path / f"theirs{robot}", {STATE_KEY: state, "action": actions}, robot_type=robot or None)
        refused(adopted(path, tmp_path), f"robot_type={robot or 'unknown'}", "foreign.kinematics=model|none")
    settled(path, tmp_path, "foreign.kinematics=none")


def test_the_old_zero_of_an_so100(tmp_path: Path) -> None:
    old = STATE.copy()
    old[:, 1], old[:, 2] = 90 - STATE[:, 1], STATE[:, 2] + 90
    columns = {STATE_KEY: old, "action": np.roll(old, -1, axis=0)}
    path = theirs(tmp_path / "theirs", columns, [f"main_{joint}" for joint in JOINTS], robot_type="so100")
    for verb in ("adopt", "fix-actions"):
        refused(adopted(path, tmp_path, verb=verb), "foreign.zero=lerobot|so100_old", "pull request 777")
    np.testing.assert_allclose(joints_of(settled(path, tmp_path, "foreign.zero=so100_old")), STATE, atol=1e-4)


def test_normalised_joints_with_stated_ranges(tmp_path: Path) -> None:
    ranges = np.array([110.0, 100, 97, 95, 160])
    stored = np.c_[STATE[:, :5] / ranges * 100, STATE[:, 5]]
    path = theirs(tmp_path / "theirs", {STATE_KEY: stored, "action": np.roll(stored, -1, axis=0)}, NAMES)
    refused(adopted(path, tmp_path), "foreign.ranges_deg", "half of each range")
    assert adopted(path, tmp_path, "foreign.ranges_deg=[110,100]").exit_code == 2
    stated = settled(path, tmp_path, "foreign.ranges_deg=[110,100,97,95,160]")
    np.testing.assert_allclose(joints_of(stated), STATE, atol=1e-3)


# ---------------------------------------------------------------- columns and pictures


def test_joints_without_names_among_others(tmp_path: Path) -> None:
    state = np.c_[STATE, 30 * (NEXT - STATE)]
    path = theirs(tmp_path / "theirs", {STATE_KEY: state, "action": NEXT})
    refused(adopted(path, tmp_path), "foreign.state=observation.state[0:6]")
    np.testing.assert_allclose(joints_of(settled(path, tmp_path, "foreign.state=observation.state[0:6]")), STATE)
    by_number = tmp_path / "by_number"
    np.testing.assert_allclose(joints_of(settled(path, by_number, "foreign.joints=[0,1,2,3,4,5]")), STATE)


def test_columns_under_other_names(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", {"state": STATE, "actions": NEXT})
    np.testing.assert_allclose(joints_of(settled(path, tmp_path)), STATE)
    path = theirs(tmp_path / "parts", {"arm": STATE[:, :5], "jaws": STATE[:, 5:], "told": NEXT})
    refused(adopted(path, tmp_path / "parts_out"), "foreign.state=COLUMN[0:6]", "there is no observation.state")
    out = settled(path, tmp_path / "parts_out", "foreign.state=arm+jaws[0]", "foreign.action=told")
    np.testing.assert_allclose(joints_of(out), STATE)


def test_a_part_of_the_pictures(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", {STATE_KEY: STATE, "action": NEXT}, NAMES)
    words = ["foreign.cameras={wrist: observation.images.cam}", "foreign.crop.wrist=[4,8,16,20]"]
    out = settled(path, tmp_path, *words)
    (image,) = dataset_spec(out).images
    assert (image.crop, image.height, image.width, image.native_height) == ([4, 8, 16, 20], 16, 20, 24)
    np.testing.assert_array_equal(load_episodes(out)[0].observations[image.key][0], PICTURES[0, 4:20, 8:28])
    for wrong in ("foreign.crop.wrist=[4,8,21,20]", "foreign.crop.front=[0,0,4,4]", "foreign.crop.wrist=[1,2]"):
        assert adopted(path, tmp_path, words[0], wrong).exit_code == 2, wrong
