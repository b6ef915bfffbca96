"""`hiltk label`, `merge`, `split`, `drop-episodes`, `stats` and `inspect` from end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.artifacts.store import resolve, versions
from hiltk.config.commands import LabelConf, LabelSource, RecordConf, ReportConf
from hiltk.config.groups import HumanConf, So101SimConf, TaskConf
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import SPEC_FILE, dataset_spec, load_episodes
from hiltk.data.rewrite import replace_columns
from hiltk.errors import ConfigError, UserError
from hiltk.steps import label, record, report

ENV = So101SimConf(image_height=16, image_width=16)
JUDGED = ("success", "next.reward", "next.done", "next.truncated")


def hiltk(root: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.app, [*words, f"root={root}"], env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six simulated episodes, successes and a failure, with frames after success; and a dataset of two."""
    root = tmp_path_factory.mktemp("outputs")
    human, short = HumanConf(skill=0.7), TaskConf(time_limit_s=1.8)
    for name, episodes, seed in (("demos", 6, 3), ("more", 2, 50)):
        record.run(
            RecordConf(root=str(root), name=name, env=ENV, task=short, human=human, episodes=episodes, seed=seed,
                       keep="all", steps_after_success=3)
        )  # fmt: skip
    return root


def column(path: Path, name: str) -> np.ndarray:
    return LeRobotFiles(path).column(name)


# ---------------------------------------------------------------- label


def test_labels_from_a_file(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("episode,first,last,kind\n0,6,,\n0,8,9,exclude\n1,,,failure\n")
    result = hiltk(root, "label", "demos", "name=by-file", f"file={file}")
    assert result.exit_code == 0, result.output
    assert "2 of 6 episodes changed" in result.output
    made = resolve("by-file", "datasets", root)
    first, second = load_episodes(made.path, after_end=True)[:2]
    assert np.flatnonzero(~first.success).tolist() == [0, 1, 2, 3, 4, 5, 8, 9] and not second.success.any()
    assert (made.path / "labels.png").stat().st_size > 3000
    run = made.run()
    assert run["parent"] == "demos@d-0001" and run["relabelled"] == [0, 1]
    assert run["before"]["frames"] == run["after"]["frames"]
    again = hiltk(root, "label", "by-file", "name=again", f"file={made.path / 'labels.csv'}", "others=failure")
    assert again.exit_code == 1 and "nothing to change" in again.stderr  # its own labels, in full
    page = report.run(ReportConf(root=str(root), name="page", artifacts=["datasets/by-file"]))
    text = (page.path / "index.html").read_text()
    assert "success frames" in text and "before" in text and "after" in text


def test_the_simulator_gives_back_the_labels_it_gave(root: Path, tmp_path: Path) -> None:
    """Labels, rewards and ends are spoilt by hand, then restored to what was recorded, row for row."""
    recorded = resolve("demos", "datasets", root).path
    file = tmp_path / "labels.csv"
    file.write_text("episode,first,last,kind\n0,3,,\n1,0,9,\n2,,,failure\n3,,,failure\n4,2,2,\n5,1,5,\n")
    spoilt = label.run(LabelConf(root=str(root), name="spoilt", dataset="demos", file=str(file)))
    assert (column(spoilt.path, "success") != column(recorded, "success")).sum() > 20
    restored = label.run(LabelConf(root=str(root), name="restored", dataset="spoilt", source=LabelSource.predicate))
    for name in JUDGED:
        np.testing.assert_array_equal(column(restored.path, name), column(recorded, name), err_msg=name)


def test_another_tasks_predicate(root: Path) -> None:
    lifted = column(resolve("demos", "datasets", root).path, "success")
    made = label.run(
        LabelConf(root=str(root), name="grasps", dataset="demos", source=LabelSource.predicate, predicate="grasp")
    )
    grasped = column(made.path, "success")
    assert (grasped | ~lifted).all() and grasped.sum() > lifted.sum()  # whoever lifts it holds it, and held it before
    assert dataset_spec(made.path).task == "grasp"


def test_actions_that_lead_elsewhere_cannot_be_judged(root: Path, tmp_path: Path) -> None:
    source = resolve("demos", "datasets", root)
    copy = tmp_path / "root" / "datasets" / "demos" / "d-0001"
    files = LeRobotFiles(source.path)
    replace_columns(files, copy, {"action": np.zeros_like(files.column("action"))})
    shutil.copy(source.path / "run.yaml", copy / "run.yaml")
    conf = LabelConf(root=str(tmp_path / "root"), name="x", dataset="demos", source=LabelSource.predicate)
    with pytest.raises(UserError, match="6 of 6 episodes cannot be played again"):
        label.run(conf)
    assert not versions("datasets", "x", tmp_path / "root")


def test_only_simulated_recordings_have_a_predicate(root: Path, shared_dataset: Path) -> None:
    conf = LabelConf(root=str(root), name="x", dataset=str(shared_dataset), source=LabelSource.predicate)
    with pytest.raises(UserError, match="does not go back to a recording in the simulator"):
        label.run(conf)


def test_labels_by_keys(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter("f" + "n" + "s]e" + "w")
    monkeypatch.setattr("click.getchar", lambda: next(keys))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    made = label.run(LabelConf(root=str(root), name="by-keys", dataset="demos", source=LabelSource.keys))
    first, second, third = load_episodes(made.path, after_end=True)[:3]
    assert not first.success.any() and second.success[:11].all()
    assert (third.success == load_episodes(resolve("demos", "datasets", root).path, after_end=True)[2].success).all()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("label demos name=x source=keys", 1, "needs a terminal"),
        ("label demos name=x", 2, "file="),
        ("label demos name=x source=predicate file=a.csv", 2, "source=csv"),
        ("label demos name=x file=a.csv predicate=lift", 2, "only source=predicate"),
        ("label demos name=x source=predicate predicate=lif", 2, "did you mean 'lift'?"),
        ("label demos name=x source=foo", 2, "one of csv, predicate, keys"),
        ("label demos name=x file=nowhere.csv", 1, "cannot be read"),
        ("merge demos name=x", 2, "at least two"),
        ("merge demos demos@d-0001 name=x", 2, "named twice"),
        ("merge demos more name=x allow=[fps]", 2, "differ in 'fps'"),
        ("split demos name=x held_out=1.5", 2, "between 0 and 1"),
        ("split demos name=x held_out_name=x", 2, "two names"),
        ("split demos name=x by=session", 1, "one session"),
        ("split demos name=x episodes=[9]", 2, "there is no episode 9"),
        ("split demos name=x episodes=[0-5]", 1, "no episode is left for 'x'"),
        ("split demos name=x sessions=[demo]", 2, "there is no session 'demo'"),
        ("drop-episodes demos name=x", 2, "not said which"),
        ("drop-episodes demos name=x episodes=[6]", 2, "there is no episode 6"),
        ("drop-episodes demos name=x longer_than=1", 1, "no episode would be left"),
        ("drop-episodes demos name=x longer_than=500", 1, "nothing to drop"),
        ("drop-episodes demos name=x strata=[nearr]", 2, "no episode is of stratum"),
        ("inspect demos name=x episodes=0", 2, "at least 1"),
        ("inspect demos name=x idle_below=0", 2, "above 0"),
        ("stats demo name=x", 1, "did you mean 'demos'?"),
    ],
)
def test_mistakes(root: Path, words: str, code: int, said: str) -> None:
    result = hiltk(root, *words.split())
    assert (result.exit_code, "Traceback" in result.output) == (code, False), result.output
    assert said in result.stderr
    assert not versions("datasets", "x", root) and not versions("reports", "x", root)


def test_an_environments_own_rewards_are_left_alone(dataset_dir: Callable[..., Path], tmp_path: Path) -> None:
    path = dataset_dir()
    spec = dataset_spec(path)
    spec.reward.source = "env"
    spec.save(path / SPEC_FILE)
    (tmp_path / "labels.csv").write_text("episode,first\n0,2\n")
    conf = LabelConf(root=str(tmp_path / "root"), name="x", dataset=str(path), file=str(tmp_path / "labels.csv"))
    with pytest.raises(ConfigError, match="its environment's own"):
        label.run(conf)


# ---------------------------------------------------------------- merge, split, drop


def test_merge_and_hold_a_session_out(root: Path) -> None:
    merged = hiltk(root, "merge", "demos", "more", "name=both")
    assert merged.exit_code == 0, merged.output
    both = resolve("both", "datasets", root)
    assert both.run()["before"]["episodes"] == "6 + 2" and both.run()["after"]["episodes"] == 8
    assert [i["artifact"] for i in both.run()["inputs"]] == ["demos", "more"]
    split = hiltk(root, "split", "both", "name=seen", "held_out_name=unseen", "sessions=[more@d-0001]")
    assert split.exit_code == 0, split.output
    for part, original in (("seen", "demos"), ("unseen", "more")):
        made, expected = (load_episodes(resolve(n, "datasets", root).path) for n in (part, original))
        assert [len(e) for e in made] == [len(e) for e in expected]
        np.testing.assert_array_equal(made[-1].actions, expected[-1].actions)
        assert resolve(part, "datasets", root).run()["parent"] == "both@d-0001"
    # Labels can still be asked of the simulator: what was merged goes back to two recordings.
    nothing = hiltk(root, "label", "both", "name=x", "source=predicate")
    assert nothing.exit_code == 1 and "nothing to change" in nothing.stderr


def test_split_by_fraction_is_a_partition_and_repeatable(root: Path) -> None:
    for name in ("a", "b"):
        result = hiltk(root, "split", "demos", f"name={name}", "held_out=0.34", "seed=1")
        assert result.exit_code == 0, result.output
    parts = {n: resolve(n, "datasets", root) for n in ("a", "a-held-out", "b", "b-held-out")}
    numbers = {n: p.run()["episodes"] for n, p in parts.items()}
    assert sorted(numbers["a"] + numbers["a-held-out"]) == list(range(6)) and len(numbers["a-held-out"]) == 2
    assert numbers["a"] == numbers["b"]
    assert parts["a"].fingerprint == parts["b"].fingerprint


def test_drop_failures(root: Path) -> None:
    ended = [e.terminated for e in load_episodes(resolve("demos", "datasets", root).path)]
    assert 0 < ended.count(False) < 6
    result = hiltk(root, "drop-episodes", "demos", "name=good", "success=false")
    assert result.exit_code == 0, result.output
    made = resolve("good", "datasets", root)
    assert all(e.terminated for e in load_episodes(made.path)) and len(load_episodes(made.path)) == ended.count(True)
    assert made.run()["dropped"] == [n for n, e in enumerate(ended) if not e]


# ---------------------------------------------------------------- stats, inspect


def test_stats(root: Path) -> None:
    result = hiltk(root, "stats", "demos", "name=sane")
    assert result.exit_code == 0, result.output
    assert "wrist_roll.pos" in result.output
    source, made = resolve("demos", "datasets", root), resolve("sane", "datasets", root)
    for name in ("observation.state", "action", *JUDGED):
        np.testing.assert_array_equal(column(made.path, name), column(source.path, name))
    roll = dataset_spec(made.path).state.names.index("wrist_roll.pos")
    narrow, wide = (json.loads((a.path / "meta" / "stats.json").read_text()) for a in (source, made))
    spans = [s["observation.state"]["max"][roll] - s["observation.state"]["min"][roll] for s in (narrow, wide)]
    assert spans[0] < 1 < spans[1]
    assert any("wrist_roll.pos" in key for key in made.run()["before"])
    again = hiltk(root, "stats", "sane", "name=sane")
    assert again.exit_code == 0 and "right already" in again.output


def test_inspect(root: Path) -> None:
    result = hiltk(root, "inspect", "demos", "name=look", "episodes=4", "brightness_frames=10")
    assert result.exit_code == 0, result.output
    assert "6 episodes of 'lift'" in result.output and "index.html" in result.output
    made = resolve("look", "reports", root)
    page = (made.path / "index.html").read_text()
    for title in ("Episodes", "Contact sheet", "Brightness over time", "Actions", "States", "Episode by episode"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("data:image/png;base64,") == 4
    table = pd.read_csv(made.path / "table.csv")
    episodes = load_episodes(resolve("demos", "datasets", root).path)
    assert table.ended_in_success.tolist() == [e.terminated for e in episodes]
    assert table.frames.sum() == len(column(resolve("demos", "datasets", root).path, "success"))


def test_inspect_a_dataset_without_a_spec(root: Path, dataset_dir: Callable[..., Path]) -> None:
    path = dataset_dir()
    (path / SPEC_FILE).unlink()
    result = hiltk(root, "inspect", str(path), "name=theirs")
    assert result.exit_code == 0, result.output
    assert "There are no success labels" in result.output
