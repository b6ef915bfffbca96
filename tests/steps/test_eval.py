"""`hiltk eval` in the real simulator, with networks nobody trained and with the scripted expert in a policy's place."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest

from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import EvalConf, TrainConf
from hiltk.config.groups import (
    EncoderConf,
    EnvConf,
    GymnasiumConf,
    HumanConf,
    RewardConf,
    SacConf,
    So101SimConf,
    TaskConf,
)
from hiltk.envs.make import make_env
from hiltk.errors import ConfigError, UserError
from hiltk.evaluation.seeds import episode_seeds
from hiltk.humans.scripted import ScriptedExpert
from hiltk.spec import STATE_KEY, GripperFormat, Spec, Stats
from hiltk.steps import eval as step

ENV = So101SimConf(image_height=16, image_width=16)
TASK = TaskConf(time_limit_s=3.0)
TINY = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)


@pytest.fixture(scope="module")
def env_spec() -> Spec:
    return make_env(ENV, TASK, RewardConf(), seed=0).io_spec


@pytest.fixture
def save_policy(tmp_path: Path, env_spec: Spec) -> Callable[..., Artifact]:
    """``save_policy(name, spec, seed=)``: an untrained network that fits the environment."""

    def save(name: str, spec: Spec | None = None, *, seed: int = 0, **notes: Any) -> Artifact:
        spec = copy.deepcopy(spec or env_spec)
        size = len(spec.state.dims)
        spec.stats = {STATE_KEY: Stats([0.0] * size, [1.0] * size, [-1.0] * size, [1.0] * size, "test")}
        cfg = TrainConf(root=str(tmp_path), name=name, env=ENV, agent=SacConf(hidden=[8]), seed=seed)
        with create("policies", name, root=tmp_path, step="train", cfg=cfg, inputs=[], seed=seed) as draft:
            encoder = TINY if spec.images else EncoderConf(name="none")
            Policy(cfg.agent, encoder, spec).save(draft.path)
            draft.notes = notes
        return draft.done

    return save


@pytest.fixture
def conf(tmp_path: Path) -> Callable[..., EvalConf]:
    def make(**options: Any) -> EvalConf:
        base: dict[str, Any] = {"name": "check", "env": ENV, "task": TASK, "episodes": 2, "videos": 1}
        return EvalConf(root=str(tmp_path), **(base | options))

    return make


class Expert:
    """Acts as the scripted human does, so that there are successes to count."""

    def __init__(self, spec: Spec, env: Any) -> None:
        self.spec, self.env, self.human = spec, env, ScriptedExpert(env.unwrapped, HumanConf(noise=0.0))

    def to(self, device: object) -> Expert:
        return self

    def act(self, observation: dict[str, np.ndarray], deterministic: bool = True) -> np.ndarray:
        if not observation[STATE_KEY][6:12].any():  # velocities are zero only at the start
            self.human.reset(0)
        return self.human.act(observation)


@pytest.fixture
def expert_plays(monkeypatch: pytest.MonkeyPatch, env_spec: Spec) -> None:
    """Whatever policy is evaluated, the expert acts in its place."""
    env = make_env(ENV, TASK, RewardConf(), seed=0)
    monkeypatch.setattr(step, "load_policy", lambda path: Expert(env_spec, env))
    cameras = ENV.cameras
    monkeypatch.setattr(step, "make_env", lambda c, *a, **k: env if c.cameras == cameras else make_env(c, *a, **k))


def frames(file: Path) -> int:
    with av.open(str(file)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_two_policies_on_the_same_episodes(save_policy: Any, conf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    best = {"episode": 40, "autonomous_success": 1.0, "autonomous_success_of_last": 0.5, "p_value": 0.001, "window": 20}
    inputs = [save_policy("bc-s3", seed=3), save_policy("hil-s3", seed=3, weights="best", best=best)]
    done = step.run(conf(policies=["bc-s3", "hil-s3@p-0001"], strata=["near", "far"]))
    episodes = pd.read_csv(done.path / "episodes.csv")
    columns = ["policy", "seed", "episode", "stratum", "success", "steps", "return", "success_at_reset"]
    assert list(episodes.columns) == columns and not episodes.success_at_reset.any()
    for policy in ("bc-s3", "hil-s3"):
        own = episodes[episodes.policy == policy]
        assert own.seed.tolist() == episode_seeds(0, "near", 2) + episode_seeds(0, "far", 2)
        assert (own.steps == 30).all() and not own.success.any()
    summary = pd.read_csv(done.path / "summary.csv")
    assert summary[summary.policy == "bc-s3"].stratum.tolist() == ["near", "far", "total"]
    assert summary.n.tolist() == [2, 2, 4] * 2
    assert (pd.read_csv(done.path / "comparison.csv").p_value == 1).all()
    record = done.run()
    assert [i["fingerprint"] for i in record["inputs"]] == [a.fingerprint for a in inputs]
    assert record["policies"]["bc-s3"] == {"ref": "bc-s3@p-0001", "step": "train", "seed": 3}
    assert done.spec().task == "lift"
    printed = capsys.readouterr().out
    assert "0/4" in printed and "renderer: cpu\n" in printed
    assert "total: every stratum counts by its episodes\n" in printed
    assert "hil-s3: the best weights, not the last" in printed and "bc-s3: the" not in printed


def test_seeds_of_one_training_are_shown_as_their_mean(
    save_policy: Any, conf: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        save_policy(f"hil-s{seed}", seed=seed)
    step.run(conf(policies=["hil-s0", "hil-s1"], strata=["near"], videos=0))
    printed = capsys.readouterr().out
    assert "Mean of the seeds" in printed and "mean of seeds 0, 1" in printed and "0, 0 of 2" in printed


def test_without_successes_only_failures_are_filmed(save_policy: Any, conf: Any) -> None:
    save_policy("hil")
    done = step.run(conf(policies=["hil"], strata=["near"]))
    assert [f.name for f in (done.path / "videos").iterdir()] == ["hil_failure_1.mp4"]
    # 31 observations, the last one held for a second at 10 Hz.
    assert frames(done.path / "videos" / "hil_failure_1.mp4") == 30 + 10
    assert (done.path / "filmstrip_hil.png").is_file()
    assert not (done.path / "comparison.csv").exists()


@pytest.mark.usefixtures("expert_plays")
def test_without_failures_only_successes_are_filmed(save_policy: Any, conf: Any) -> None:
    save_policy("hil")
    done = step.run(conf(policies=["hil"], strata=["near"], videos=2))
    episodes = pd.read_csv(done.path / "episodes.csv")
    assert episodes.success.all()
    assert sorted(f.name for f in (done.path / "videos").iterdir()) == ["hil_success_1.mp4", "hil_success_2.mp4"]
    assert frames(done.path / "videos" / "hil_success_1.mp4") == episodes.steps[0] + 10


def test_every_environment_is_closed(save_policy: Any, conf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    closed: list[Any] = []

    def make(*args: Any, **options: Any) -> Any:
        env = make_env(*args, **options)
        monkeypatch.setattr(env, "close", lambda: closed.append(env))
        opened.append(env)
        return env

    monkeypatch.setattr(step, "make_env", make)
    save_policy("hil")
    step.run(conf(policies=["hil"], strata=["near"], episodes=1))
    assert len(opened) == 2 and closed == opened[::-1]  # the one for films first
    with pytest.raises(ConfigError):
        step.run(conf(policies=["hil"], strata=["faar"]))
    assert len(opened) == len(closed) == 3


def test_no_films_on_request_and_the_same_numbers_again(save_policy: Any, conf: Any) -> None:
    save_policy("hil")
    runs = [step.run(conf(policies=["hil"], strata=["yaw"], videos=0)) for _ in range(2)]
    assert runs[1].version == "e-0002"
    first, second = ((run.path / "episodes.csv").read_text() for run in runs)
    assert first == second
    assert not (runs[0].path / "videos").exists()


def test_stochastic_is_another_policy(save_policy: Any, conf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    save_policy("hil")
    modes: set[bool] = set()
    act = Policy.act
    monkeypatch.setattr(
        Policy, "act", lambda self, o, deterministic=True: (modes.add(deterministic), act(self, o, deterministic))[1]
    )
    step.run(conf(policies=["hil"], strata=["near"], episodes=1, videos=0, stochastic=True))
    assert modes == {False}


def test_cameras_the_policy_lacks_are_no_obstacle(save_policy: Any, conf: Any) -> None:
    save_policy("hil")
    both = So101SimConf(image_height=16, image_width=16, cameras=["wrist", "front"])
    done = step.run(conf(policies=["hil"], strata=["near"], env=both, episodes=1, videos=0))
    assert len(pd.read_csv(done.path / "episodes.csv")) == 1


def change_gripper(spec: Spec) -> None:
    spec.action.gripper = GripperFormat.discrete3


def change_scale(spec: Spec) -> None:
    spec.action.scale_m = 0.01


def change_fps(spec: Spec) -> None:
    spec.fps = 30.0


def change_camera(spec: Spec) -> None:
    spec.images[0].name = "side"


def change_image_size(spec: Spec) -> None:
    spec.images[0].height = 32


def change_state(spec: Spec) -> None:
    spec.state.dims = spec.state.dims[:6]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_gripper, "action.gripper: 'discrete3' against 'continuous'"),
        (change_scale, "action.scale_m: 0.01 against 0.02"),
        (change_fps, "fps: 30.0 against 10.0"),
        (change_camera, "a camera that the environment 'so101_sim' lacks: side"),
        (change_image_size, "images.wrist.height: 32 against 16"),
        (change_state, "state.dims.order"),
    ],
)
def test_policy_of_another_contract_is_refused(
    change: Callable[[Spec], None], named: str, save_policy: Any, conf: Any, env_spec: Spec, tmp_path: Path
) -> None:
    spec = copy.deepcopy(env_spec)
    change(spec)
    save_policy("other", spec)
    with pytest.raises(UserError) as error:
        step.run(conf(policies=["other"]))
    assert named in str(error.value)
    assert "other@p-0001" in str(error.value)
    assert not (tmp_path / "evaluations").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strata": ["faar"]}, "did you mean 'far'"),
        ({"policies": []}, "no policy"),
        ({"policies": ["hil", "hil"]}, "named twice"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"videos": -1}, "videos must be at least 0"),
        ({"threads": 0}, "threads=0"),
        ({"seed": -2}, "seed=-2"),
        ({"device": "tpu"}, "'tpu' is no device of torch"),
    ],
)
def test_config_mistakes(options: dict[str, Any], message: str, save_policy: Any, conf: Any) -> None:
    save_policy("hil")
    with pytest.raises(ConfigError, match=message):
        step.run(conf(**({"policies": ["hil"]} | options)))


def test_unknown_policy_names_the_nearest(save_policy: Any, conf: Any) -> None:
    save_policy("hil-s0")
    with pytest.raises(UserError, match="did you mean 'hil-s0'"):
        step.run(conf(policies=["hil-s"]))


def test_all_strata_by_default_or_the_tasks_own(conf: Any) -> None:
    env = make_env(ENV, TASK, RewardConf(), seed=0)
    assert step.choose_strata(conf(policies=["p"]), env) == ["near", "far", "left_edge", "right_edge", "yaw"]
    assert step.choose_strata(conf(policies=["p"], task=TaskConf(stratum="far")), env) == ["far"]
    assert step.choose_strata(conf(policies=["p"], strata=["all", "yaw"]), env) == ["all", "yaw"]


def test_versions_tell_policies_of_one_name_apart(save_policy: Any, tmp_path: Path) -> None:
    save_policy("hil")
    save_policy("hil")
    save_policy("bc")
    artifacts = [resolve(ref, "policies", tmp_path) for ref in ("hil@p-0001", "hil", "bc")]
    assert step.labels(artifacts) == ["hil@p-0001", "hil@p-0002", "bc"]


def test_somebody_elses_environment(save_policy: Any, conf: Any) -> None:
    gym_conf: EnvConf = GymnasiumConf(id="MountainCarContinuous-v0", kwargs={"render_mode": None})
    save_policy("car", make_env(gym_conf, TASK, RewardConf(source="env"), seed=0).io_spec)
    done = step.run(conf(policies=["car"], env=gym_conf, episodes=1))
    episodes = pd.read_csv(done.path / "episodes.csv")
    assert episodes.stratum.tolist() == ["all"] and episodes.steps.tolist() == [999]
    assert episodes["return"][0] < 0  # the environment's own reward: the cost of moving
    assert not (done.path / "videos").exists()  # it has no camera


def judged(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))


def test_a_person_judges_blind_and_an_interrupted_evaluation_goes_on(
    save_policy: Any, conf: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_policy("hil")
    save_policy("bc", seed=1)
    asked = {"policies": ["hil", "bc"], "judge": "person", "task": TaskConf(time_limit_s=0.4), "strata": ["near"]}
    judged(monkeypatch, "s", "f")
    with pytest.raises(UserError, match="nobody is there to answer: episode 3 of 4"):
        step.run(conf(**asked))
    judged(monkeypatch, "u", "s", "f")  # the second was a success after all
    done = step.run(conf(**asked, resume=True))
    said = capsys.readouterr().out
    assert "goes on after 2 judged episodes" in said and "counts as a success now" in said
    assert "hil" not in said.split("goes on after")[1].split("Success on unseen")[0]  # who acts is not told
    rows = pd.read_csv(done.path / "episodes.csv")
    assert rows.success.tolist() == [True, True, True, False]
    assert sorted(rows.policy[:2]) == sorted(rows.policy[2:]) == ["bc", "hil"]
    assert rows.seed[0] == rows.seed[1] != rows.seed[2]
    assert done.spec().reward.source == "person"
    assert len(list((done.path / "videos").glob("*.mp4"))) == 2  # of those after the interruption


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier": "cube"}, "knows the truth"),
    ],
)
def test_who_judges_is_checked_before_anything_moves(
    options: dict[str, Any], message: str, save_policy: Any, conf: Any
) -> None:
    save_policy("hil")
    with pytest.raises(ConfigError, match=message):
        step.run(conf(policies=["hil"], **options))
