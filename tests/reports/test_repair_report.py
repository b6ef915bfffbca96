"""Numbers, table and figure of a repair."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hiltk.arm.state import action_spec
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.repair import Rebuilt
from hiltk.data.servo import Servo
from hiltk.reports.repair_report import (
    RepairReport,
    action_numbers,
    make_report,
    plot_report,
    print_report,
    servo_facts,
)
from hiltk.spec import GripperFormat, Spec
from tests.data.handmade import handmade


@pytest.fixture
def report() -> RepairReport:
    """Two episodes of three rows along x: the first in steps of 10 mm, the second with one of 30 mm, scale 20 mm."""
    positions = np.zeros((6, 3))
    positions[:, 0] = [0, 0.01, 0.02, 0, 0.03, 0.03]
    actions = np.zeros((6, 4), np.float32)
    actions[:, 0] = [0.5, 0.5, 0, 1.0, 0, 0]
    clipped = np.zeros((6, 4), bool)
    clipped[3, 0] = True
    valid = np.array([True, True, False] * 2)
    spec = Spec(action=action_spec(0.02, GripperFormat.continuous, 15.0))
    return make_report(
        Rebuilt(actions, valid, clipped, positions), np.repeat([0, 1], 3), np.ones(6, bool), spec, foreign=False
    )


def test_by_hand(report: RepairReport) -> None:
    assert (report.repaired, report.intact, report.transitions) == ([0, 1], [], 4)
    assert report.clipped == {"delta_x": 0.25, "delta_y": 0.0, "delta_z": 0.0, "gripper": 0.0}
    assert report.residual_mm["as_stored"] == {"median": 0.0, "max": pytest.approx(10.0, abs=1e-4)}
    assert report.residual_mm["unclipped"]["max"] == pytest.approx(0, abs=1e-4)
    assert report.pictured is not None and report.pictured.episode == 1
    np.testing.assert_allclose(report.pictured.replayed_m[:, 0], [0, 0.02, 0.02], atol=1e-8)
    assert (report.scale_m, report.fitting_scale_m, report.fraction_repaired, report.masked) == (0.02, 0.03, 1.0, 0)
    assert report.per_episode == {"repaired": [1, 1], "clipped": [0, 0.5], "residual_mm": [0, pytest.approx(10)]}


def test_only_repaired_episodes_count() -> None:
    positions, actions = np.zeros((4, 3)), np.zeros((4, 3), np.float32)
    positions[3, 0] = 1.0  # a jump in the intact episode
    clipped = np.zeros((4, 3), bool)
    clipped[2] = True
    spec = Spec(action=action_spec(0.02, GripperFormat.none, 15.0))
    made = Rebuilt(actions, np.array([True, False] * 2), clipped, positions)
    rows = np.array([True, True, False, False])
    report = make_report(made, np.array([0, 0, 1, 1]), rows, spec, foreign=False)
    assert (report.repaired, report.intact, report.transitions) == ([0], [1], 1)
    assert max(report.clipped.values()) == 0 and report.residual_mm["as_stored"]["max"] == 0


def test_table_and_warning(report: RepairReport) -> None:
    out = io.StringIO()
    print_report(report, "fixed@d-0001", Console(file=out, width=200))
    assert "fixed@d-0001" in out.getvalue() and "delta_x 25.0%" in out.getvalue()
    assert "more than 10% of delta_x hit the limit" in out.getvalue()
    assert "env.action_scale_m=0.03 would fit (when recording)" in out.getvalue() and "100.0% of all" in out.getvalue()


def test_an_unused_scale_is_told_and_a_fitting_one_is_not(report: RepairReport) -> None:
    far = replace(report, clipped=dict.fromkeys(report.clipped, 0.0), foreign=True)
    assert "action_scale_m=0.03 would fit" in replace(far, scale_m=0.2).warnings()[0]
    assert replace(far, scale_m=0.04).warnings() == []


def test_servos_in_words() -> None:
    positions, actions = np.zeros((3, 3)), np.full((3, 4), 0.5, np.float32)
    made = Rebuilt(actions, np.array([True, True, False]), np.zeros((3, 4), bool), positions)
    servo = Servo(*(np.array([value, np.nan, value, value, value, value]) for value in (1.25, 0.6, -0.5, 0.1, 0.99)))
    facts = servo_facts(servo, np.array([0.0, 1.0, 3.0]), 0.1)
    spec = Spec(action=action_spec(0.02, GripperFormat.continuous, 15.0))
    report = make_report(made, np.zeros(3, int), np.ones(3, bool), spec, foreign=True, servo=facts)
    assert report.residual_mm == {"servo": {"median": 1.0, "max": 3.0}} and report.semantics == "commanded"
    assert report.pictured is not None
    np.testing.assert_allclose(report.pictured.replayed_m, 0.01)  # each action sends the arm half a full action away
    out = io.StringIO()
    print_report(report, "x@d-0001", Console(file=out, width=200))
    assert "lag 1.25 frames, gain 0.60, offset -0.5 deg" in out.getvalue() and "did not move" in out.getvalue()
    assert json.loads(json.dumps(report.to_dict()))["servo"]["joints"]["shoulder_lift"]["gain"] is None


def test_figure(report: RepairReport, tmp_path: Path) -> None:
    import cv2

    plot_report(report, tmp_path / "repair.png")
    image = cv2.imread(str(tmp_path / "repair.png"))
    assert image.shape[0] > 400 and image.std() > 5


def test_what_a_repair_changed_by_hand(tmp_path: Path) -> None:
    """Two episodes of two and three transitions; what the last rows hold is no action."""
    actions = np.zeros((7, 4), np.float32)
    actions[[2, 6]] = 90.0
    actions[1, 0], actions[4, 1], actions[5] = 0.5, -0.25, np.nan
    found = action_numbers(LeRobotFiles(handmade(tmp_path / "made", {"action": actions}, [3, 4])))
    numbers = {"action": "4 numbers from -0.25 to 0.5", "zero or missing actions": "60.0%"}
    assert found == {"episodes": 2, "frames": 7} | numbers
    none = LeRobotFiles(handmade(tmp_path / "none", {"other": actions}, [3, 4]))
    assert action_numbers(none) == {"episodes": 2, "frames": 7, "action": "none"}
