"""Columns by what a person calls them: whole ones, some of their dimensions, several as one."""

from __future__ import annotations

import numpy as np
import pytest

from hiltk.config.commands import COMMANDS
from hiltk.configuring.typed import compose
from hiltk.data.columns import ChosenColumns, numeric
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.errors import ConfigError, UserError
from hiltk.verbs import STEPS
from tests.data.handmade import handmade

WIDE = np.arange(24.0).reshape(3, 8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LeRobotFiles:
    path = tmp_path_factory.mktemp("columns") / "data"
    return LeRobotFiles(handmade(path, {"arm": WIDE, "jaws": WIDE[:, :2] + 100}, [3]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arm", WIDE),
        ("arm[0:6]", WIDE[:, :6]),
        ("arm[6:]", WIDE[:, 6:]),
        ("arm[5,0,1]", WIDE[:, [5, 0, 1]]),
        ("arm[0:5]+jaws[1]", np.c_[WIDE[:, :5], WIDE[:, 1] + 100]),
    ],
)
def test_by_hand(files: LeRobotFiles, text: str, expected: np.ndarray) -> None:
    chosen = ChosenColumns(files, {"observation.state": text})
    np.testing.assert_array_equal(chosen.column("observation.state"), expected)
    assert chosen.features["observation.state"]["shape"] == [expected.shape[1]]
    np.testing.assert_array_equal(chosen.column("arm"), WIDE)  # what is not chosen stays
    assert chosen.bounds == files.bounds and "observation.state" in numeric(chosen)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("leg", UserError, "no column of numbers 'leg'"),
        ("arm[0:9]", UserError, "8 dimensions, numbered from 0"),
        ("arm[8]", UserError, "8 dimensions, numbered from 0"),
        ("arm[3:3]", UserError, "8 dimensions, numbered from 0"),
        ("arm[0:6", ConfigError, "names no column"),
        ("arm[,]", ConfigError, "names no dimensions"),
        ("+", ConfigError, "names no column"),
    ],
)
def test_what_is_not_there(files: LeRobotFiles, text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said.replace("[", r"\[")):
        ChosenColumns(files, {"observation.state": text})


def test_dimensions_are_typed_without_quotes() -> None:
    conf = compose(
        STEPS["adopt"], ["dataset=a", "name=b", "foreign.state=obs.state[0:6]", "foreign.crop.cam=[1,2,3,4]"]
    )
    assert isinstance(conf, COMMANDS["adopt"])
    assert conf.foreign.state == "obs.state[0:6]" and conf.foreign.crop == {"cam": [1, 2, 3, 4]}
