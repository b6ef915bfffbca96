"""Recordings as plain LeRobot makes them with a leader arm, without a spec of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hiltk.artifacts.store import Artifact
from tests.faults.inject import JOINTS, Good


def leader_recording(path: Path, demos: Good, goals: Callable[[np.ndarray], np.ndarray]) -> Artifact:
    """The joints as plain LeRobot records a leader arm: actions are the leader's positions."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        name: {"dtype": "float32", "shape": (6,), "names": [*JOINTS, "gripper.pos"]}
        for name in ("observation.state", "action")
    }
    dataset = LeRobotDataset.create("someone/leader", fps=10, features=features, root=path, use_videos=False)
    for start, stop in demos.data.bounds:
        joints = demos.files.column("observation.state")[start:stop, :6]
        for state, action in zip(joints, goals(joints), strict=True):
            dataset.add_frame({"observation.state": state, "action": action.astype(np.float32), "task": "lift"})
        dataset.save_episode()
    dataset.finalize()
    return Artifact("datasets", path.name, "", path, origin=str(path))


def ahead(joints: np.ndarray) -> np.ndarray:
    return np.concatenate([joints[1:], joints[-1:]])


def behind(joints: np.ndarray) -> np.ndarray:
    return np.concatenate([joints[:1], joints[:-1]])
