"""Steps run in order, feed each other, and are skipped exactly when nothing they depend on has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hiltk.artifacts import provenance
from hiltk.artifacts.store import resolve
from hiltk.artifacts.writing import create
from hiltk.errors import UserError
from hiltk.orchestration.execute import Event, State, execute, forecast, run_task
from hiltk.orchestration.plan import Pipeline, Step
from hiltk.orchestration.schedule import Schedule
from hiltk.verbs import STEPS

Make = Callable[..., Pipeline]


def run(pipeline: Pipeline) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What was made for the first seed, and how each step ended as (label, state); no processes."""
    events: list[Event] = []
    schedule = Schedule(pipeline)
    while task := schedule.next():
        schedule.begin(task)
        artifact = run_task(pipeline, task, schedule.made_for(task[0]), events.append)
        schedule.end(task, artifact.ref)
    return schedule.made_for(pipeline.seeds[0]), [(e.label, e.state.value) for e in events if e.seed == 0]


def test_a_chain_feeds_artifacts_from_step_to_step(pipeline: Make, tmp_path: Path) -> None:
    made, events = run(pipeline())
    assert made == {"first": "chain-first-s0@r-0001", "second": "chain-second-s0@r-0001"}
    assert events == [("first", "finished"), ("second", "finished")]
    second = resolve(made["second"], "reports", tmp_path)
    assert (second.path / "data").read_text() == "0+0"
    assert second.run()["inputs"][0]["artifact"] == "chain-first-s0"


def test_an_unchanged_chain_is_skipped(pipeline: Make) -> None:
    first, _ = run(pipeline())
    again, events = run(pipeline())
    assert again == first
    assert [state for _, state in events] == ["skipped"] * 2


def test_a_changed_setting_reruns_the_step_and_what_reads_it(pipeline: Make) -> None:
    run(pipeline())
    _, events = run(pipeline(second="sharper"))
    assert events == [("first", "skipped"), ("second", "finished")]
    _, events = run(pipeline(first="other", second="sharper"))
    assert events == [("first", "finished"), ("second", "finished")]


def test_what_reads_an_equal_result_is_not_rerun(
    pipeline: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step runs again, since its artifact is gone; it comes out the same, so the second need not."""
    made, _ = run(pipeline())
    lost = resolve(made["first"], "reports", tmp_path).path
    lost.rename(lost.with_name("r-0001-gone"))
    _, events = run(pipeline())
    assert events == [("first", "finished"), ("second", "skipped")]


def test_changed_code_reruns(pipeline: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run(pipeline())
    monkeypatch.setattr(provenance, "code_fingerprint", lambda module: "new")
    assert [s for _, s in run(pipeline())[1]] == ["finished"] * 2


def test_a_recording_cut_short_is_made_anew(pipeline: Make, tmp_path: Path) -> None:
    made, _ = run(pipeline())
    file = resolve(made["second"], "reports", tmp_path).path / "run.yaml"
    file.write_text(file.read_text() + "interrupted: true\n")
    assert run(pipeline())[1][-1] == ("second", "finished")


def test_a_tampered_artifact_is_made_anew(pipeline: Make, tmp_path: Path) -> None:
    made, _ = run(pipeline())
    (resolve(made["second"], "reports", tmp_path).path / "data").write_text("edited")
    made, events = run(pipeline())
    assert events[-1] == ("second", "finished")
    assert made["second"] == "chain-second-s0@r-0002"


def test_a_failure_is_told_in_one_line(pipeline: Make) -> None:
    events: list[Event] = []
    with pytest.raises(UserError, match="on fire"):
        run_task(pipeline(first="fail"), (0, "first"), {}, events.append)
    assert [(e.label, e.state, e.text) for e in events] == [("first", State.failed, "the robot is on fire")]


def test_steps_after_the_seeds_get_lists(pipeline: Make, tmp_path: Path) -> None:
    run(pipeline((0, 1)))
    assert (resolve("chain-page", "reports", tmp_path).path / "data").read_text() == "0+0+1+1+0"


def test_forecast_says_what_would_run_and_runs_nothing(pipeline: Make, tmp_path: Path) -> None:
    def plans(**titles: str) -> list[str]:
        return [state.value for state in forecast(pipeline(**titles)).values()]

    assert plans() == ["started"] * 3
    assert not list(tmp_path.iterdir())
    run(pipeline())
    assert plans() == ["skipped"] * 3
    # What reads something that will be made anew may change too.
    assert plans(second="new") == ["skipped", "started", "started"]
    assert plans(first="new") == ["started"] * 3


def test_an_interrupted_step_is_resumed_only_if_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    from hiltk.configuring.typed import compose

    seen: list[bool] = []

    def train(cfg: Any) -> Any:
        seen.append(cfg.resume)
        given = {"root": cfg.root, "step": "train", "cfg": replace(cfg, resume=False), "inputs": [], "seed": cfg.seed}
        with create("policies", cfg.name, resumable=True, resume=cfg.resume, **given) as draft:
            if len(seen) == 1:
                raise KeyboardInterrupt
            (draft.path / "weights").write_text("w")
        return draft.artifact

    verb = STEPS["train"]
    module = ModuleType(verb.module)
    module.run = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, verb.module, module)
    step, words = Step("hil", verb, {}), [f"root={tmp_path}", "name=hil"]
    with pytest.raises(KeyboardInterrupt):
        execute(step, compose(verb, words))
    execute(step, compose(verb, words))
    assert seen == [False, True]
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        execute(step, compose(verb, [*words, "seed=1"]))
    execute(step, compose(verb, [*words, "seed=2"]))
    assert seen == [False, False]  # seed 2 is another run than the interrupted seed 1
    assert resolve("hil", "policies", tmp_path).run()["seed"] == 2
    assert execute(step, compose(verb, [*words, "seed=2"]))[1]  # and now it is unchanged
