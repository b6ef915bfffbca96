"""Choosing rules, gates, and what is printed; on a dataset of three episodes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from hiltk.artifacts.store import resolve
from hiltk.checks import gate, show
from hiltk.checks.engine import examine, expand, find, gather, of_step
from hiltk.checks.rule import RULES, Reads, Rule
from hiltk.config.commands import ChecksConf, RecordConf
from hiltk.data.episode import Episode
from hiltk.errors import ConfigError, UserError
from hiltk.findings import Finding, Severity


@pytest.fixture
def broken(dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode]) -> Path:
    episodes = [make_episode(length=20, seed=seed) for seed in range(3)]
    for episode in episodes:
        episode.actions[:] = 0
    return dataset_dir(episodes=episodes)


def test_families_and_codes() -> None:
    assert expand(["ACT"], "ignore") == {c for c in RULES if c.startswith("ACT")}
    assert expand(["act001", "GRP"], "ignore") == {"ACT001", "GRP001", "GRP002"}
    with pytest.raises(ConfigError, match="did you mean 'ACT001'"):
        expand(["ACT0001"], "ignore")
    with pytest.raises(ConfigError, match="there is no rule"):
        expand([""], "ignore")


def test_rules_of_a_step() -> None:
    assert {r.code for r in of_step("train")} < set(RULES) == {r.code for r in of_step("")}
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        of_step("trian")


def test_one_rule() -> None:
    assert find("act001").code == "ACT001"
    with pytest.raises(ConfigError, match="did you mean 'ACT001'"):
        find("ACT0001")


def test_selecting_and_ignoring(broken: Path) -> None:
    all_ = gather([resolve(str(broken), "datasets")])
    assert {f.code for f in examine(all_, select=["ACT"]).errors} == {"ACT001"}
    report = examine(all_, select=["ACT"], ignore=["ACT001"])
    assert report.findings == [] and report.ignored == ["ACT001"]
    assert report.summary == "8 rules, 0 errors, 0 warnings"


def test_findings_carry_rule_and_artifact(broken: Path) -> None:
    (finding,) = examine(gather([resolve(str(broken), "datasets")]), select=["ACT001"]).findings
    assert (finding.code, finding.severity, finding.subject) == ("ACT001", Severity.error, str(broken))
    assert "100% of the motion in 3 of 3 episodes" in finding.what


def test_a_rule_may_soften_a_finding() -> None:
    class Subject:
        name = "x"

    def check(_: Any) -> list[Finding]:
        return [Finding("a"), Finding("b", severity=Severity.warning)]

    found = list(Rule("X", Severity.error, (), Reads.dataset, (), check).apply(Subject()))
    assert [f.severity for f in found] == [Severity.error, Severity.warning]


def test_a_gate_says_what_passed_and_refuses(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = resolve(str(broken), "datasets")
    cfg = RecordConf(name="x")
    with pytest.raises(UserError, match=r"bc-pretrain refuses: ACT001 .*") as caught:
        gate.gate("bc-pretrain", cfg, [artifact])
    assert "checks.ignore=[ACT001]" in caught.value.fix and str(broken) in caught.value.where
    printed = capsys.readouterr().out
    assert "rules pass" in printed and "error ACT001" in printed and "hiltk fix-actions" in printed
    cfg.checks = ChecksConf(ignore=["ACT001", "GRP"])
    gate.gate("bc-pretrain", cfg, [artifact])
    assert "ignored: ACT001, GRP001, GRP002" in capsys.readouterr().out


def test_a_gate_leaves_the_random_state_alone(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def examine_and_draw(*args: Any, **keys: Any) -> Any:
        torch.rand(3)  # as building a classifier's network does
        return examine(*args, **keys)

    monkeypatch.setattr(gate, "examine", examine_and_draw)
    before = torch.get_rng_state()
    gate.gate("eval", RecordConf(name="x"), [resolve(str(broken), "datasets")])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gate_refuses_rules_there_are_not(broken: Path) -> None:
    with pytest.raises(ConfigError, match="there is no rule 'ACT999'"):
        gate.gate("train", RecordConf(name="x", checks=ChecksConf(ignore=["ACT999"])), [])


def test_findings_by_artifact(broken: Path, dataset_dir: Callable[..., Path]) -> None:
    sound = dataset_dir("sound")
    artifacts = [resolve(str(path), "datasets") for path in (sound, broken)]
    report, out = examine(gather(artifacts), select=["ACT", "GRP"]), io.StringIO()
    show.print_report(report, Console(file=out, width=200))
    text = out.getvalue()
    assert f"{sound}  passes" in text and text.index("passes") < text.index("ACT001")
    assert "11 rules, 1 error, 0 warnings" in text
    data = show.as_data(report)
    assert [f["code"] for f in data["findings"]] == ["ACT001"] and data["errors"] == 1


def test_findings_carry_their_numbers(broken: Path) -> None:
    report = examine(gather([resolve(str(broken), "datasets")]), select=["ACT001"])
    (found,) = show.as_data(report)["findings"]
    assert found["evidence"] == {"silent_share": 1.0, "episodes": 3.0}


def test_an_explanation_states_the_thresholds_that_are_asked_for() -> None:
    assert "over 20 % of the arm's motion" in " ".join(find("ACT001").explanation.split())
    assert "above 0.5" in find("LRN004").clauses[0].text
    assert not [code for code, rule in RULES.items() if "{" in rule.explanation]


def test_nan_is_named_not_a_crash(dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode]) -> None:
    from hiltk.data.lerobot_files import LeRobotFiles
    from hiltk.data.rewrite import replace_columns

    files = LeRobotFiles(dataset_dir(episodes=[make_episode(length=20, seed=s) for s in range(3)]))
    action = files.column("action").copy()
    action[5] = np.nan
    replace_columns(files, files.path.with_name("nan"), {"action": action})
    report = examine(gather([resolve(str(files.path.with_name("nan")), "datasets")]))
    assert "ACT003" in {f.code for f in report.errors}
