"""`hiltk show` and `hiltk diff` through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.artifacts.store import resolve
from hiltk.artifacts.writing import create
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.spec import Spec


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=200)


@pytest.fixture
def root(shared_dataset: Path, tmp_path: Path) -> Path:
    """Two versions of a dataset, the second with another rate and gripper step; and a report."""
    root = tmp_path / "out"
    for seed in (0, 7):
        with create("datasets", "demos", root=root, step="record", cfg={"fps": seed}, inputs=[], seed=seed) as draft:
            shutil.copytree(shared_dataset, draft.path, dirs_exist_ok=True)
            spec = Spec.load(draft.path / SPEC_FILE)
            spec.action.gripper_step += seed
            spec.save(draft.path / SPEC_FILE)
    demos = [resolve("demos", "datasets", root)]
    with create("reports", "page", root=root, step="report", cfg={}, inputs=demos, seed=0) as draft:
        (draft.path / "index.html").write_text("<p>")
    return root


def test_show_says_where_it_comes_from_and_what_it_means(root: Path) -> None:
    result = hiltk("show", "demos", f"root={root}")
    assert result.exit_code == 0, result.output
    for said in ("demos@d-0002", "record", "seed", "base frame", "wrist", "shoulder_pan.pos", "22 of 0..100"):
        assert said in result.output, said


def test_show_as_json(root: Path) -> None:
    shown = json.loads(hiltk("show", "demos@d-0001", f"root={root}", "--json").output)
    assert shown["artifact"]["kind"] == "datasets" and shown["run"]["seed"] == 0
    assert Spec.from_dict(shown["spec"]).action.gripper_step == 15.0


def test_show_of_what_has_no_spec(root: Path) -> None:
    result = hiltk("show", "page", f"root={root}")
    assert result.exit_code == 0 and "demos@d-0002" in result.output and "contract" not in result.output


def test_diff_of_equals_is_nothing_and_0(root: Path) -> None:
    result = hiltk("diff", "demos@d-0001", "demos@d-0001", f"root={root}")
    assert (result.exit_code, result.output.strip()) == (0, "no differences")


def test_diff_names_what_differs_and_is_1(root: Path) -> None:
    result = hiltk("diff", "demos@d-0001", "demos@d-0002", f"root={root}")
    assert result.exit_code == 1 and "action.gripper_step" in result.output and "refused" in result.output
    assert "2 differences, 1 of which a step that joins them refuses" in result.output
    rows = json.loads(hiltk("diff", "demos@d-0001", "demos@d-0002", f"root={root}", "--json").output)
    assert [d["path"] for d in rows["spec"]] == ["action.gripper_step"]
    assert rows["config"] == [{"path": "fps", "left": 0, "right": 7}] and rows["statistics"] == []


def test_what_diff_says_of_another_task_is_what_merge_does(root: Path) -> None:
    file = resolve("demos@d-0001", "datasets", root).path / SPEC_FILE
    spec = Spec.load(file)
    spec.task, spec.action.gripper_step = "reach", Spec.load(file.parents[2] / "d-0002" / SPEC_FILE).action.gripper_step
    spec.save(file)
    rows = json.loads(hiltk("diff", "demos@d-0001", "demos@d-0002", f"root={root}", "--json").output)["spec"]
    assert [(d["path"], d["refused_by"]) for d in rows] == [("task", ["train-classifier", "merge"])]
    result = hiltk("merge", "datasets=[demos@d-0001,demos@d-0002]", "name=both", f"root={root}")
    assert result.exit_code == 1 and "task: 'reach' against" in result.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "demo"], 1, "there is no artifact 'demo'"),
        (["show", "demos", "kind=x"], 2, "'kind=x' is not a setting"),
        (["show"], 2, "takes one artifact, not 0"),
        (["show", "demos", "page"], 2, "takes one artifact, not 2"),
        (["diff", "demos"], 2, "takes 2 artifacts, not 1"),
        (["diff", "demos", "demos@d-0009"], 2, "has no version 'd-0009'"),  # 1 is: they differ
    ],
)
def test_mistakes(root: Path, words: list[str], code: int, said: str) -> None:
    result = hiltk(*words, f"root={root}")
    assert result.exit_code == code and said in result.output and "Traceback" not in result.output


def test_a_dataset_without_a_spec_is_sent_to_adopt(root: Path, shared_dataset: Path, tmp_path: Path) -> None:
    theirs = Path(shutil.copytree(shared_dataset, tmp_path / "theirs"))
    (theirs / SPEC_FILE).unlink()
    result = hiltk("show", str(theirs))
    assert result.exit_code == 1 and "hiltk adopt" in result.output


@pytest.mark.parametrize("words", [["show", "page"], ["diff", "demos", "demos"], ["check", "demos"]], ids=" ".join)
def test_the_root_is_a_setting_that_may_stand_anywhere_or_in_the_environment(
    root: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    assert hiltk(*words).exit_code != 0  # there is no ./outputs
    here = f"root={root}"
    for order in ([words[0], here, *words[1:]], [*words, here], [*words, "root=elsewhere", here]):
        assert hiltk(*order).exit_code == 0, order
    monkeypatch.setenv("HILTK_ROOT", str(root))
    assert hiltk(*words).exit_code == 0
    assert hiltk(*words, "root=elsewhere").exit_code != 0
