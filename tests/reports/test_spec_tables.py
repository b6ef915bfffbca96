"""What `hiltk show` and `hiltk diff` say, from specs and records written by hand."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from hiltk.reports.spec_tables import (
    config_differences,
    difference_tables,
    spec_differences,
    spec_tables,
    stats_differences,
)
from hiltk.spec import STATE_KEY, Semantics, Spec, Stats
from tests.conftest import build_spec


def spec() -> Spec:
    made = build_spec(cameras=("wrist", "front"))
    size = len(made.state.dims)
    made.stats = {STATE_KEY: Stats([1.0] * size, [2.0] * size, [-3.0] * size, [5.0] * size, "40 frames")}
    return made


def printed(tables: list[Table], width: int = 200) -> str:
    out = io.StringIO()
    for table in tables:
        Console(file=out, width=width).print(table)
    return out.getvalue()


def test_everything_in_a_spec_is_shown() -> None:
    made = spec()
    made.images[0].crop, made.images[0].native_height, made.images[0].native_width = [0, 80, 480, 480], 480, 640
    made.reward.source, made.reward.classifier, made.reward.threshold = "classifier", "abc123", 0.83
    made.robot.calibration_id, made.robot.calibration_hash, made.robot.locked = "my_arm", "ffff", ["wrist_roll"]
    text = printed(spec_tables(made))
    for said in (
        "0.02 m a step at full action, base frame", "commanded", "continuous, 15 of 0..100", "40 frames", "lift",
        "classifier abc123 at probability 0.83", "truncated (cut short", "my_arm ffff", "wrist_roll", "unknown",
        "480 x 480 at 0, 80", "480 x 640", "uint8 0 to 255", "rgb", "front", "whole frame", "elbow_flex.pos", "deg",
    ):  # fmt: skip
        assert said in text, said
    assert all(d.name in text for d in [*made.state.dims, *made.action.dims])


def test_spec_differences_say_which_ones_are_refused() -> None:
    left, right = spec(), spec()
    right.fps, right.robot.name = 30.0, "other"
    right.state.dims[0] = replace(right.state.dims[0], low=-5.0)
    right.stats[STATE_KEY].mean[0] = 9.0  # of the statistics' table
    found = [(d.path, d.refused_by) for d in spec_differences(left, right)]
    assert found == [("fps", ("train",)), ("state.dims.shoulder_pan.pos.low", ()), ("robot.name", ())]


def test_of_two_datasets_it_is_said_what_merging_and_a_classifier_refuse() -> None:
    left, right = spec(), spec()
    right.task, right.fps, right.action.semantics, right.reward.threshold = "reach", 30.0, Semantics.achieved, 0.9
    kinds = ("datasets", "datasets")
    found = {d.path: d.refused_by for d in spec_differences(left, right, kinds)}
    assert found == {
        "fps": ("train", "merge"),
        "task": ("train-classifier", "merge"),
        "action.semantics": ("merge",),
        "reward.threshold": (),
    }
    assert not any(d.refused_by for d in spec_differences(left, right, ("classifiers", "datasets")))
    right.images[0].height = 32
    found = {d.path: d.refused_by for d in spec_differences(left, right, ("classifiers", "datasets"))}
    assert found.pop("images.wrist.height") == ("train",) and not any(found.values())


def test_a_classifiers_own_spec_means_itself() -> None:
    made = spec()
    made.reward.source, made.reward.threshold, made.reward.hold_steps = "classifier", 0.83, 3
    assert "this classifier at probability 0.83" in printed(spec_tables(made, "classifiers"))
    assert "classifier unknown at" in printed(spec_tables(made, "policies"))


def test_80_columns_break_no_name() -> None:
    left, right = spec(), spec()
    left.robot.workspace_high_m, left.task, right.task = [0.1234567, 0.1234567, 0.1234567], "lift", "reach"
    right.images = right.images[:1]
    right.stats[STATE_KEY].mean[1] = 9.123456
    tables = difference_tables(
        spec_differences(left, right, ("datasets", "datasets")), [], stats_differences(left, right), ("a@1", "b@2")
    )
    text = printed(tables, width=80)
    for said in ("robot.workspace_high_m", "train-classifier", "[lowest, highest]", "state: shoulder_lift.pos"):
        assert said in text, said
    assert "native_height" not in text and max(map(len, text.splitlines())) <= 80
    state = printed(spec_tables(left), width=80)
    assert all(d.name in state for d in left.state.dims)


def test_config_differences() -> None:
    left = {"step": "train", "config": {"seed": 0, "root": "a", "agent": {"lr": 1e-3}, "old": 1}}
    right = {"step": "train", "config": {"seed": 1, "root": "b", "agent": {"lr": 1e-3}, "new": 2}}
    rows = [(d.path, d.left, d.right) for d in config_differences(left, right, ignore=("root",))]
    assert rows == [("seed", 0, 1), ("old", 1, None), ("new", None, 2)]
    rows = [(d.path, d.left, d.right) for d in config_differences(left, right | {"step": "eval"}, ignore=("root",))]
    assert rows == [("step", "train", "eval"), ("seed", 0, 1)]
    assert config_differences(left, copy.deepcopy(left), ignore=()) == []


def test_stats_differences_by_hand() -> None:
    """Means 1 and 5, deviations 2 and 4: one standard deviation apart, twice as wide."""
    left, right = spec(), spec()
    right.stats[STATE_KEY].mean[2], right.stats[STATE_KEY].std[2] = 5.0, 4.0
    right.stats[STATE_KEY].low[1] = -3.0 + 1e-9  # rounding
    [row] = stats_differences(left, right)
    assert (row.name, row.shift, row.ratio) == (f"{STATE_KEY}: elbow_flex.pos", 1.0, 2.0)
    right.stats = {}
    assert len(stats_differences(left, right)) == 18 and math.isnan(stats_differences(left, right)[0].shift)


def test_the_three_tables() -> None:
    left, right = spec(), spec()
    right.fps, right.stats[STATE_KEY].mean[0] = 30.0, 9.0
    config = config_differences({"config": {"a": 1}}, {"config": {"a": [2]}}, ignore=())
    tables = difference_tables(spec_differences(left, right), config, stats_differences(left, right), ("a@1", "b@2"))
    text = printed(tables)
    assert len(tables) == 3 and "refused" in text and "[2]" in text and "a@1" in text and "shoulder_pan.pos" in text
    assert difference_tables([], [], [], ("a", "b")) == []
