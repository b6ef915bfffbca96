"""`hiltk run` as a whole, with a step that needs no robot in place of `hiltk report`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hiltk.artifacts import provenance
from hiltk.artifacts.store import versions
from hiltk.errors import ConfigError, UserError
from hiltk.steps.run import run
from hiltk.verbs import STEPS
from tests.orchestration.fakes import CODE, FAKE

CHAIN = """
seeds: [0, 1]
jobs: 2
vars: {word: one}
seconds: {first: 40}
each_seed:
  first:
    report: {artifacts: [], title: "${vars.word}"}
  second:
    report: {artifacts: ["${out.first}"]}
together:
  page:
    report: {name: page, artifacts: ["${all.second}"]}
"""


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(STEPS, "report", FAKE)
    monkeypatch.setattr(provenance, "code_fingerprint", lambda module: CODE)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chain.yaml").write_text(CHAIN)
    return str(tmp_path / "chain.yaml")


def page() -> str:
    return Path("outputs/logs/chain/index.html").read_text()


def test_the_whole_chain_runs_is_skipped_and_grows(chain: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(chain, [])
    out = capsys.readouterr().out
    assert out.startswith("chain, seeds 0, 1: about 2 min (2 at a time)\n")
    assert f"watch: {Path('outputs/logs/chain/index.html').resolve().as_uri()}\n" in out
    assert "seed 1, second: chain-second-s1@r-0001" in out
    assert "\nfake page:\n" in out  # what the last step said
    result = Path("outputs/reports/page/r-0001/index.html")
    assert out.rstrip().endswith(f"page: {result}")
    assert result.read_text() == "['chain-second-s0@r-0001', 'chain-second-s1@r-0001']"
    assert "refresh" not in page() and "done after" in page()
    assert 'href="../../reports/page/r-0001/index.html"' in page()

    run(chain, [])
    out = capsys.readouterr().out
    assert out.startswith("chain, seeds 0, 1: nothing to do")
    assert out.count("unchanged, skipped") == 5 and "fake" not in out
    run(chain, ["seeds=[0,1,2]"])
    out = capsys.readouterr().out
    assert out.count("unchanged, skipped") == 4
    assert len(Path("outputs/order.txt").read_text().splitlines()) == 5 + 3  # the new seed's two, and the page of three

    run(chain, ["second.title=new"], dry_run=True)
    out = capsys.readouterr().out
    assert "seed 0: first: unchanged, would be skipped" in out
    assert "seed 0: second: would run" in out
    assert "together: page: would run" in out


def test_dry_run_writes_nothing(chain: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(chain, [], dry_run=True)
    assert capsys.readouterr().out.count("would run") == 5
    assert not Path("outputs").exists()


def test_a_mistake_in_a_later_step_is_found_before_the_first_runs(chain: str) -> None:
    with pytest.raises(ConfigError, match="step 'page'"):
        run(chain, ["page.titel=x"])
    assert not Path("outputs").exists()


def test_one_seed_fails_the_other_finishes(chain: str) -> None:
    with pytest.raises(UserError) as error:
        run(chain, ["first.title=fail:0", "jobs=1"])
    assert "1 of 2 seeds failed\n  seed 0, first: the robot is on fire\n    error: the robot is on fire" in str(
        error.value
    )
    assert "outputs/logs/chain/first-s0.log" in str(error.value)
    assert versions("reports", "chain-second-s1", "outputs") == ["r-0001"]
    assert not versions("reports", "page", "outputs")
    assert "failed after" in page() and "seed 0, first failed: the robot is on fire" in page()


def test_a_step_after_the_seeds_fails(chain: str) -> None:
    with pytest.raises(UserError, match="a step after the seeds failed\n  page: the robot is on fire"):
        run(chain, ["page.title=fail", "seeds=0"])


def test_an_unwritable_root_is_said_at_once(chain: str) -> None:
    Path("file").write_text("x")
    with pytest.raises(UserError, match="output folder cannot be written"):
        run(chain, ["root=file/outputs"])


def test_threads_are_limited_for_the_steps(chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    run(chain, ["seeds=[0]"])
    assert os.environ.pop("OMP_NUM_THREADS") == "1"
    assert {line.split()[2] for line in Path("outputs/order.txt").read_text().splitlines()} == {"1"}


COMMAND = """
import sys
from hiltk.cli import main
from hiltk.verbs import STEPS
from tests.orchestration.fakes import FAKE
if __name__ == "__main__":
    STEPS["report"] = FAKE
    main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_everything_and_the_page_says_so(chain: str, number: signal.Signals, code: int) -> None:
    """The real command; its steps end in order, and it says how to go on."""
    Path("command.py").write_text(COMMAND)
    command = [sys.executable, "command.py", "run", chain, "first.title=sleep", "seeds=0"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with Path("said").open("w") as said:
        # Background jobs of a shell ignore Ctrl-C, and hand that on.
        process = subprocess.Popen(command, env=environment, stdout=said, preexec_fn=_hears_ctrl_c)
    while not list(Path("outputs").glob("asleep-*")):
        assert process.poll() is None
        time.sleep(0.05)
    assert re.search(r'http-equiv="refresh" content="\d+"', page())
    process.send_signal(number)
    assert process.wait() == code
    assert Path("outputs/interrupted.txt").is_file()
    assert "the same command goes on from here" in Path("said").read_text()
    assert "interrupted after" in page() and "refresh" not in page()


def _hears_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
