"""The command line: help, exit codes, messages, completion. Steps are replaced by recorders of the config they get."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.config.commands import Fault
from hiltk.config.groups import GymnasiumConf, Schedule, So101SimConf
from hiltk.configuring.completion import complete
from hiltk.configuring.composing import compose_untyped
from hiltk.configuring.files import shipped
from hiltk.errors import UserError
from hiltk.interrupts import Terminated
from hiltk.verbs import STEPS, VERBS, Verb

HEAVY = ("torch", "lerobot", "mujoco", "hydra", "omegaconf", "numpy", "pandas", "datasets", "huggingface_hub", "cv2")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Every step replaced by one that notes its config."""
    seen: dict[str, list[Any]] = {name: [] for name in STEPS}
    for verb in STEPS.values():
        module = ModuleType(verb.module)
        module.run = seen[verb.name].append  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, verb.module, module)
    return seen


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=200)


def failing(monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException) -> None:
    def run(cfg: Any) -> None:
        raise error

    monkeypatch.setattr(sys.modules[STEPS[step].module], "run", run)


# ---------------------------------------------------------------- help


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, json\nfrom hiltk import cli\n"
        "try:\n    cli.app(['--help'])\nexcept SystemExit:\n    pass\n"
        "try:\n    cli.app(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('MODULES', json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = json.loads(out.rsplit("MODULES", 1)[1])
    assert "typer" in loaded
    assert not [m for m in HEAVY if m in loaded]
    assert all(name.split()[0] in out for name in STEPS)


@pytest.mark.parametrize("name", list(STEPS))
def test_help_of_a_verb_says_what_it_reads_writes_and_shows_commands(name: str) -> None:
    result = hiltk(*name.split(), "--help")
    assert result.exit_code == 0
    assert "reads:" in result.output
    assert "writes:" in result.output
    assert result.output.count(f"  hiltk {name} ") >= 3
    assert re.search(r"^ +name= +required; ", result.output, re.MULTILINE)
    assert "???" not in result.output


def test_help_fits_prose_to_the_terminal() -> None:
    lines = hiltk("train-classifier", "--help").output.split("Examples")[0].splitlines()
    prose = [line.strip() for line in lines]
    short = [line for line, following in pairwise(prose) if 0 < len(line) < 30 and following[:1].islower()]
    assert not short  # a word or two left over, where a longer line was broken


def test_help_keeps_brackets() -> None:
    assert "demos=[demos]" in hiltk("train", "--help").output  # rich would swallow them as markup


def test_version() -> None:
    assert hiltk("--version").output.startswith("hiltk 0.")


# ---------------------------------------------------------------- what a step gets


def test_overrides_and_groups_arrive_typed(steps: dict[str, list[Any]]) -> None:
    words = ["task=grasp", "intervention=long", "env.jitter.lighting=.5", "agent.hidden=[8,8]", "demos=[a@d-0001,b]"]
    result = hiltk("train", "name=x", *words)
    assert result.exit_code == 0, result.output
    [cfg] = steps["train"]
    assert isinstance(cfg.env, So101SimConf)
    assert (cfg.task.name, cfg.env.jitter.lighting) == ("grasp", 0.5)
    assert cfg.intervention.schedule is Schedule.long
    assert cfg.agent.hidden == [8, 8]
    assert cfg.demos == ["a@d-0001", "b"]


@pytest.mark.parametrize("verb", ["record", "train", "eval"])
def test_another_environment_brings_its_own_settings(steps: dict[str, list[Any]], verb: str) -> None:
    words = ["env=gymnasium", "env.id=Foo-v0", "env.kwargs.render_mode=rgb_array", "env.state_keys=[a.b]"]
    more = ["policies=[p]"] if verb == "eval" else []
    result = hiltk(verb, "name=x", *words, *more)
    assert result.exit_code == 0, result.output
    env = steps[verb][0].env
    assert isinstance(env, GymnasiumConf)
    assert (env.id, env.kwargs, env.state_keys) == ("Foo-v0", {"render_mode": "rgb_array"}, ["a.b"])


def test_plain_words_go_to_the_main_key(steps: dict[str, list[Any]]) -> None:
    assert hiltk("eval", "bc", "hub:me/lift@v-1", "name=x").exit_code == 0
    assert steps["eval"][0].policies == ["bc", "hub:me/lift@v-1"]
    assert hiltk("fix-actions", "./some dir/it's", "name=y").exit_code == 0
    assert steps["fix-actions"][0].dataset == "./some dir/it's"


def test_enums_come_by_name(steps: dict[str, list[Any]]) -> None:
    hiltk("record", "name=x", "fault=zero_actions")
    assert steps["record"][0].fault is Fault.zero_actions


def test_multirun_runs_every_combination(steps: dict[str, list[Any]], tmp_path: Path) -> None:
    result = hiltk("train", "-m", "name=x-${seed}", "seed=0,1", "intervention=never,long", f"root={tmp_path}")
    assert result.exit_code == 0, result.output
    got = [(c.name, c.intervention.schedule.name) for c in steps["train"]]
    assert got == [("x-0", "never"), ("x-0", "long"), ("x-1", "never"), ("x-1", "long")]


def test_multirun_goes_on_after_a_failure(
    steps: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(cfg: Any) -> None:
        if cfg.seed == 0:
            raise UserError("seed 0 is unlucky")
        steps["train"].append(cfg)

    monkeypatch.setattr(sys.modules[STEPS["train"].module], "run", run)
    result = hiltk("train", "-m", "name=x", "seed=0,1", f"root={tmp_path}")
    assert result.exit_code == 1
    assert "seed 0 is unlucky" in result.output
    assert [c.seed for c in steps["train"]] == [1]


def test_show_config_does_not_run(steps: dict[str, list[Any]]) -> None:
    result = hiltk("train", "name=x", "--cfg", "job")
    assert result.exit_code == 0
    assert "checkpoint_every: 5\n" in result.output
    assert not steps["train"]


def test_config_dir_adds_options(steps: dict[str, list[Any]], tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "tall.yaml").write_text("defaults: [lift, _self_]\ntime_limit_s: 9\n")
    result = hiltk("record", "name=x", "task=tall", "--config-dir", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert (steps["record"][0].task.name, steps["record"][0].task.time_limit_s) == ("lift", 9.0)


def test_nothing_is_left_behind(steps: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv, full = list(sys.argv), os.environ.get("HYDRA_FULL_ERROR")
    assert hiltk("record", "name=x").exit_code == 0
    assert hiltk("record", "nam=x").exit_code == 2
    assert not list(tmp_path.iterdir())  # Hydra's output folders and logs
    assert sys.argv == argv
    assert os.environ.get("HYDRA_FULL_ERROR") == full
    assert len(steps["record"]) == 1  # and a second call in the same process works


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train name=x agnet=sac", "did you mean 'agent'?"),
        ("train name=x agent=sacc", "did you mean 'sac'?"),
        ("train name=x env=so100_sim", "did you mean 'so101_sim'?"),
        ("train name=x env.image_hieght=3", "did you mean 'env.image_height'?"),
        ("train name=x intervention.shedule=never", "did you mean 'intervention.schedule'?"),
        ("train name=x +seeed=3", "did you mean 'seed'?"),
        ("train name=x ++env.jiter.color=1", "did you mean 'env.jitter'?"),
        ("train name=x ~agentt", "did you mean 'agent'?"),
        ("train name=x env.renderer=gpu", "one of auto, cpu, gl"),
        ("train name=x seed=abc", "it takes a whole number"),
        ("train name=x seed=${x}", "${x} names no setting"),
        ("train name=x seed=${sead}", "did you mean 'seed'?"),
        ("train name=x seed=${seed}", "refers to itself"),
        ("train name=x seed=${x:1}", "${x:...} is not known here"),
        ("train name=x seed=${oc.env:NOPE}", "the environment variable NOPE is not set"),
        ("train -m name=x seed=${oc.env:NOPE}", "the environment variable NOPE is not set"),
        ("train name=x encoder=nan", "there are: cnn, cnn_fine"),
        ("train name=x agent=1.5", "agent=1.5: there is no such agent"),
        ("train name=x task=null", "there are: grasp, lift, reach"),
        ("train name=x env=true", "env=true: there is no such env"),
        ("train -m name=x task=null", "there are: grasp, lift, reach"),
        ("train --cfg job name=x task=null", "there are: grasp, lift, reach"),
        ("train name=x =3", "'=3' says no setting"),
        ("train name=nan", "'nan' cannot be the name of an artifact"),
        ("train name=None", "not nan, NaN, None, null"),
        ("train name=", "'' cannot be the name of an artifact"),
        ("train name=null", "it takes text"),
        ("train name=[a]", "it takes text"),
        ("train name=a,b", "train -m"),
        ("train name=x demos=null", "it takes a list"),
        ("eval name=x policies=null", "it takes a list"),
        ("train name=x root=", "root=outputs"),
        ("train name=x agent.lr=nan", "agent.lr must be a finite number"),
        ("train name=x utd=inf", "utd must be a finite number"),
        ("record name=x task.time_limit_s=nan", "task.time_limit_s must be a finite number"),
        ("bc-pretrain name=x resume=true", "the same command starts anew"),
        ("train-classifier a name=x resume=true", "the same command starts anew"),
        ("train name=x agent.hidden=3", "it takes a list"),
        ("record name=x video=maybe", "it takes true or false"),
        ("record name=x episodes=1.5", "episodes=1.5 does not fit"),
        ("train name=x demos=[a", "cannot be read"),
        ("train", "`hiltk train` needs name="),
        ("eval name=x", "needs policies="),
        ("train name=x env=gymnasium", "env.id="),
        ("train name=x oops", "'oops' is not a setting"),
        ("fix-actions a b name=x", "takes one dataset, not 2"),
        ("trian", "Did you mean 'train'?"),
        ("train --config-dir /nowhere name=x", "/nowhere"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(steps: dict[str, list[Any]], words: str, said: str) -> None:
    result = hiltk(*words.split())
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert "_schema" not in result.output  # internal names of the schemas
    assert not any(steps.values())


def test_bad_input_is_exit_code_1(steps: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "eval", UserError("no such policy", where="here", fix="do that"))
    result = hiltk("eval", "p", "name=x")
    assert result.exit_code == 1
    assert result.stderr == "error: no such policy\n  where: here\n  fix:   do that\n"


def test_ctrl_c_is_one_line_and_130(steps: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "record", KeyboardInterrupt())
    result = hiltk("record", "name=x")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    failing(monkeypatch, "bc-pretrain", KeyboardInterrupt())
    result = hiltk("bc-pretrain", "a", "name=x")
    assert result.stderr == "interrupted; nothing is kept, the same command starts anew\n"


def test_other_signals_are_told_by_name_and_number(
    steps: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "record", Terminated(signal.SIGTERM))
    result = hiltk("record", "name=x")
    assert (result.exit_code, result.stderr) == (143, "interrupted by SIGTERM\n")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", ["record name=x", "eval p name=x", "-m train name=x", "check p", "show p", "run q"])
def test_every_command_hears_every_signal(words: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real ones, to this process, while the command works."""
    verb = next(word for word in words.split() if word in VERBS)
    heard = []

    def work(*args: object, **options: object) -> None:
        try:
            os.kill(os.getpid(), number)
            pytest.fail("not heard")
        except KeyboardInterrupt:
            heard.append(verb)
            raise

    module = ModuleType(VERBS[verb].module)
    module.run = work  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(f"hiltk.steps.{verb}", module, raising=False)
    words = f"{verb} {words.replace(verb, '', 1)}"
    assert hiltk(*words.split()).exit_code == 128 + number
    assert heard == [verb]


def test_whoever_reads_the_output_may_leave(steps: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """``hiltk train | head`` is no fault of hiltk."""
    failing(monkeypatch, "record", BrokenPipeError(32, "Broken pipe"))
    assert hiltk("record", "name=x").exit_code == 141


def test_our_own_faults_hide_the_trace_unless_asked(
    steps: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "record", IndexError("list index out of range"))
    result = hiltk("record", "name=x")
    assert result.exit_code == 70
    assert "internal error: IndexError: list index out of range" in result.stderr
    assert "HILTK_TRACEBACK=1" in result.stderr
    assert "Traceback" not in result.output
    monkeypatch.setenv("HILTK_TRACEBACK", "1")
    assert isinstance(hiltk("record", "name=x").exception, IndexError)


def test_unknown_pipeline_is_named() -> None:
    result = hiltk("run", "quikstart")
    assert result.exit_code == 2
    assert "did you mean 'quickstart'?" in result.output


# ---------------------------------------------------------------- where artifacts are


@pytest.mark.parametrize("verb", STEPS.values(), ids=lambda verb: verb.name)
def test_the_environment_sets_the_root_of_every_verb(verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, root in (("", "outputs"), ("/a", "/a"), ("/b", "/b"), ("/a", "/a")):
        monkeypatch.setenv("HILTK_ROOT", value)
        assert compose_untyped(verb, []).root == root
    assert compose_untyped(verb, ["root=/c"]).root == "/c"


def test_an_explicit_root_wins_over_the_environment(
    steps: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HILTK_ROOT", "/a")
    assert hiltk("record", "name=x").exit_code == hiltk("record", "name=x", "root=/b").exit_code == 0
    assert [cfg.root for cfg in steps["record"]] == ["/a", "/b"]


ROOTLESS = ("arm init", "arm scan", "arm calibrate", "arm home", "arm relax")  # they read and write arms/


@pytest.mark.parametrize("name", [name for name in VERBS if name not in ROOTLESS])
def test_help_says_what_sets_the_root(name: str) -> None:
    words = hiltk(*name.split(), "--help").output.replace("│", " ").split()
    assert "$HILTK_ROOT, else outputs" in " ".join(words)


# ---------------------------------------------------------------- completion


def cut(line: str) -> str:
    """A line as bash hands it over: one word a line, cut at ``=``; an empty last word is one too."""
    return "\n".join([*line.replace("=", " = ").split(), *([""] if line.endswith(" ") else [])])


AGENTS = [f"agent={file.stem}" for file in sorted((shipped("conf") / "agent").glob("*.yaml"))]


def offered(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What bash is offered at the end of a line."""
    verb, *before, last = cut(line).split("\n")[1:]
    monkeypatch.setenv("COMP_WORDS", cut(line))
    return complete(STEPS[verb], [w for w in before if w != "="], "" if last == "=" else last)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hiltk train ag", AGENTS),
        ("hiltk train int", [f"intervention={o}" for o in ("always", "brief", "long", "never")]),
        ("hiltk train checkp", ["checkpoint_every=", "checkpoint_every=5"]),
        ("hiltk train na", ["name=", "name=..."]),
        ("hiltk train agent=s", ["sac"]),
        ("hiltk train agent=", [a.removeprefix("agent=") for a in AGENTS]),
        ("hiltk train task=grasp ag", AGENTS),
        ("hiltk train env.jitter.", ["env.jitter.lighting=", "env.jitter.color=", "env.jitter.camera="]),
        ("hiltk train env=gymnasium env.i", ["env.id=", "env.image_keys=", "env.image_height=", "env.image_width="]),
        ("hiltk record name=x fault=z", ["zero_actions"]),
        ("hiltk record name=x video=", ["true", "false"]),
        ("hiltk record name=x keep=", ["successes", "failures", "all"]),
        ("hiltk drop-episodes d success=", ["true", "false"]),
        ("hiltk train agent=sac agent.activation=", ["tanh", "relu", "silu"]),
        ("hiltk adopt d foreign.joint_unit=r", ["radians"]),
    ],
)
def test_completion_of_settings(line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(line, monkeypatch) == expected


def test_completion_offers_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demos", "views"):
        (tmp_path / "outputs" / "datasets" / name / "d-0001").mkdir(parents=True)
    (tmp_path / "outputs" / "classifiers" / "cube" / "c-0001").mkdir(parents=True)
    assert offered("hiltk bc-pretrain datasets=", monkeypatch) == ["demos", "views"]
    assert offered("hiltk train-classifier demos add=", monkeypatch) == ["demos", "views"]
    assert offered("hiltk preview classifier=", monkeypatch) == ["cube"]
    assert offered("hiltk report artifacts=", monkeypatch) == ["demos", "views", "cube"]


@pytest.mark.parametrize("verb", ["show", "diff", "check", "run"])
def test_completion_of_commands_without_a_config(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for root, name in (("here", "demos"), ("there", "views")):
        (tmp_path / root / "datasets" / name / "d-0001").mkdir(parents=True)
    monkeypatch.setenv("HILTK_ROOT", str(tmp_path / "here"))

    def offered(line: str) -> list[str]:
        words = cut(f"hiltk {verb} {line}")
        env = {**os.environ, "_HILTK_COMPLETE": "complete_bash", "COMP_WORDS": words}
        env["COMP_CWORD"] = str(words.count("\n"))
        code = "import sys; sys.argv[0] = 'hiltk'; from hiltk.cli import main; main()"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env).stdout.split()

    if verb == "run":
        assert {"quickstart", "lift"} <= set(offered("")) and offered("quick") == ["quickstart"]
        return
    assert offered("") == ["demos", "root="]
    assert offered(f"root={tmp_path / 'there'} v") == ["views"]


def test_completion_in_zsh_keeps_words_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert complete(STEPS["train"], ["task=grasp"], "agent=s") == ["agent=sac"]


def test_completion_goes_through_typer() -> None:
    line = cut("hiltk train agent=s")
    env = {**os.environ, "_HILTK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "4"}
    code = "import sys; sys.argv[0] = 'hiltk'; from hiltk.cli import main; main()"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env).stdout == "sac\n"


# In a process of its own: by the time this test runs, pytest's has threads and signal masks that bash would inherit.
REAL_BASH = """
import sys
import pexpect
shell = pexpect.spawn("bash", ["--noprofile", "--rcfile", sys.argv[1], "-i"], timeout=60)
shell.expect_exact("READY ")
for typed, becomes in (("hiltk tr\\t", "train"), (" intervent\\t", "ion="), ("lo\\t", "ng ")):
    shell.send(typed)
    shell.expect_exact(becomes)
shell.close(force=True)
"""


def test_completion_in_a_real_bash(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"HOME": str(tmp_path), "TERM": "dumb", "PATH": path, "PYTHONPATH": str(Path(__file__).parents[1])}
    script = subprocess.run(["hiltk", "--show-completion", "bash"], capture_output=True, text=True, env=env).stdout
    (tmp_path / "rc").write_text(script + "\nPS1='READY '\nbind 'set bell-style none'\n")
    driver = [sys.executable, "-c", REAL_BASH, str(tmp_path / "rc")]
    done = subprocess.run(driver, capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
