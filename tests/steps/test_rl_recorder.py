"""The user's own story by the commands they would type: LeRobot's RL recorder and a leader arm, up to training."""

from __future__ import annotations

import json
from pathlib import Path

import mujoco
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.arm.model import EE_SITE, JOINTS, load_arm
from hiltk.config.commands import RecordConf
from hiltk.config.groups import So101SimConf, TaskConf
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.steps import record
from tests.steps.test_fix_actions import WRIST

SIZE = 32
SMALL = (
    f"env.image_height={SIZE}", f"env.image_width={SIZE}", "task=lift", "agent.hidden=[16,16]", "encoder=cnn",
    "encoder.channels=[4]", "encoder.kernels=[3]", "encoder.strides=[4]", "encoder.features=8",
)  # fmt: skip


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=200)


def done(*words: str) -> str:
    result = hiltk(*words)
    assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"
    return result.output


def recorded_by_lerobot(path: Path, root: Path) -> tuple[Path, list[np.ndarray]]:
    """Simulated demonstrations as LeRobot's ``gym_manipulator`` would have stored them; the folder and their joints.

    The cameras are declared channels first, the state has no names, and while the human moves the leader the recorder
    stores the neutral action: no motion, gripper held.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    env = So101SimConf(image_height=SIZE, image_width=SIZE)
    cfg = RecordConf(root=str(root), name="sim", env=env, task=TaskConf(), episodes=4, steps_after_success=4)
    shown = load_episodes(record.run(cfg).path, after_end=True)
    one = {"dtype": "float32", "shape": (1,), "names": None}
    features = {
        "observation.state": {"dtype": "float32", "shape": (6,), "names": None},
        "action": {"dtype": "float32", "shape": (4,), "names": ["delta_x", "delta_y", "delta_z", "gripper"]},
        "next.reward": one,
        "next.done": one | {"dtype": "bool"},
        "complementary_info.discrete_penalty": one | {"names": ["discrete_penalty"]},
        "observation.images.wrist": {
            "dtype": "video", "shape": (3, SIZE, SIZE), "names": ["channels", "height", "width"]
        },
    }  # fmt: skip
    data = LeRobotDataset.create("me/leader", 10, features, root=path, use_videos=True, video_backend="pyav")
    joints = [episode.observations["observation.state"][:, :6] for episode in shown]
    for episode, held in zip(shown, joints, strict=True):
        for t in range(len(held)):
            last = t == len(held) - 1
            data.add_frame(
                {
                    "observation.state": held[t].astype(np.float32),
                    "action": np.array([0, 0, 0, 1], np.float32),
                    "next.reward": np.array([float(episode.success[t])], np.float32),
                    "next.done": np.array([last]),
                    "complementary_info.discrete_penalty": np.zeros(1, np.float32),
                    "observation.images.wrist": episode.observations[WRIST][t].transpose(2, 0, 1),
                    "task": "lift the cube",
                }
            )
        data.save_episode()
    data.finalize()
    return path, joints


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    folder = tmp_path_factory.mktemp("recorder")
    return recorded_by_lerobot(folder / "theirs", folder / "sim")


def test_a_recording_with_dead_actions_trains(recorder: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    theirs, joints = recorder
    root = f"root={tmp_path}"
    done("fix-actions", str(theirs), "name=mine", "foreign.success_column=next.reward", root)
    mine = tmp_path / "datasets" / "mine" / "d-0001"
    info = json.loads((mine / "meta" / "info.json").read_text())
    assert info["features"]["observation.images.wrist"]["shape"] == [SIZE, SIZE, 3]
    require_moved_as_the_arm_did(mine, joints)
    done("check", "mine", root)
    done("train-classifier", "mine", "name=cube", "encoder=cnn", *SMALL[-4:], "steps=40", "held_out=0.5", root)
    done("bc-pretrain", "mine", "name=bc", *SMALL[3:], "steps=20", "held_out=0.25", root)
    done(
        "train", "name=hil", "demos=[mine]", "init=bc", "reward=classifier", "reward.classifier=cube", *SMALL,
        "episodes=1", "batch_size=16", "learning_starts=10", "utd=0.1",
        "checks.ignore=[LRN003,REW007,REW008,REW010]", root,
    )  # fmt: skip


def require_moved_as_the_arm_did(mine: Path, joints: list[np.ndarray]) -> None:
    """Rebuilt actions against MuJoCo's own forward kinematics, to 1e-5 m."""
    model = load_arm().compile()
    data, spec = mujoco.MjData(model), dataset_spec(mine)
    addresses = [model.joint(name).qposadr[0] for name in JOINTS]
    for held, episode in zip(joints, load_episodes(mine, after_end=True), strict=True):
        where = []
        for row in held.astype(np.float32):
            data.qpos[addresses[:5]] = np.deg2rad(row[:5])
            mujoco.mj_kinematics(model, data)
            where.append(data.site(EE_SITE).xpos.copy())
        moved = np.diff(where, axis=0)
        inside = (np.abs(episode.actions[:, :3]) < 1).all(1)
        assert inside.mean() > 0.5
        np.testing.assert_allclose(episode.actions[inside, :3] * spec.action.scale_m, moved[inside], atol=1e-5)
