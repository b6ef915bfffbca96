"""Every step that joins artifacts refuses those that do not fit, with both values and where each came from."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiltk.agents.policy import Policy
from hiltk.artifacts.writing import create
from hiltk.config.commands import BcConf, ClassifierConf, EvalConf, TrainConf
from hiltk.config.groups import EncoderConf, RewardConf, SacConf, So101SimConf, TaskConf
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.envs.make import make_env
from hiltk.errors import UserError
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import STATE_KEY, GripperFormat, Spec, Stats
from hiltk.steps import bc_pretrain, eval, train, train_classifier
from tests.conftest import build_episode, write_dataset

ENV = So101SimConf(image_height=16, image_width=16)
TINY = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)
AGENT = SacConf(hidden=[8])
Change = Callable[[Spec], None]


@pytest.fixture(scope="module")
def env_spec() -> Spec:
    return make_env(ENV, TaskConf(), RewardConf(), seed=0).io_spec


def fps(spec: Spec) -> None:
    spec.fps = 30.0


def unit(spec: Spec) -> None:
    spec.state.dims[1].unit = "rad"


def frame(spec: Spec) -> None:
    spec.action.frame = spec.action.dims[0].frame = ""


def scale(spec: Spec) -> None:
    spec.action.scale_m = 0.05


def gripper(spec: Spec) -> None:
    spec.action.gripper = GripperFormat.discrete3


def arm(spec: Spec) -> None:
    spec.robot.model_hash = "0123456789abcdef"


def crop(spec: Spec) -> None:
    spec.images[0].crop = [0, 0, 12, 16]


def task(spec: Spec) -> None:
    spec.task = "reach"


def changed(spec: Spec, change: Change | None) -> Spec:
    spec = copy.deepcopy(spec)
    if change:
        change(spec)
    return spec


@pytest.fixture(scope="module", autouse=True)
def recorded(env_spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes, written once; `dataset` copies them under another spec."""
    RECORDED["path"] = written(tmp_path_factory.mktemp("joins") / "dataset", copy.deepcopy(env_spec))
    return RECORDED["path"]


def written(folder: Path, spec: Spec) -> Path:
    return write_dataset(folder, spec, [build_episode(spec, seed=seed, success=seed > 0) for seed in range(3)])


RECORDED: dict[str, Path] = {}


def dataset(root: Path, name: str, spec: Spec) -> str:
    folder = root / "datasets" / name / "d-0001"
    if spec.fps != Spec.load(RECORDED["path"] / SPEC_FILE).fps:  # in the spec alone it would contradict the tables
        written(folder, spec)
        return name
    shutil.copytree(RECORDED["path"], folder)
    spec.stats = Spec.load(folder / SPEC_FILE).stats
    spec.save(folder / SPEC_FILE)
    return name


def policy(root: Path, name: str, spec: Spec) -> str:
    size = len(spec.state.dims)
    spec.stats = {STATE_KEY: Stats([0.0] * size, [1.0] * size, [-1.0] * size, [1.0] * size, "test")}
    with create("policies", name, root=root, step="train", cfg={}, inputs=[], seed=0) as draft:
        Policy(AGENT, TINY, spec).save(draft.path)
    return name


def classifier(root: Path, name: str, spec: Spec) -> str:
    with create("classifiers", name, root=root, step="train-classifier", cfg={}, inputs=[], seed=0) as draft:
        SuccessClassifier(TINY, spec).save(draft.path)
        draft.spec = spec
    return name


def two_datasets(run: Callable[[Path, list[str]], Any]) -> Callable[[Path, Spec, Change], None]:
    def join(root: Path, spec: Spec, change: Change) -> None:
        run(root, [dataset(root, "first", changed(spec, None)), dataset(root, "second", changed(spec, change))])

    return join


def cloning(root: Path, names: list[str]) -> None:
    bc_pretrain.run(BcConf(root=str(root), name="out", datasets=names, agent=AGENT, encoder=TINY, steps=1))


def classifying(root: Path, names: list[str]) -> None:
    train_classifier.run(ClassifierConf(root=str(root), name="out", datasets=names, encoder=TINY, steps=1))


def demos_and_env(root: Path, spec: Spec, change: Change) -> None:
    demos = dataset(root, "first", changed(spec, change))
    train.run(TrainConf(root=str(root), name="out", env=ENV, agent=AGENT, encoder=TINY, demos=[demos], episodes=1))


def start_and_env(root: Path, spec: Spec, change: Change) -> None:
    start = policy(root, "first", changed(spec, change))
    train.run(TrainConf(root=str(root), name="out", env=ENV, agent=AGENT, encoder=TINY, init=start, episodes=1))


def judge_and_env(root: Path, spec: Spec, change: Change) -> None:
    judge = RewardConf(source="classifier", classifier=classifier(root, "first", changed(spec, change)))
    train.run(TrainConf(root=str(root), name="out", env=ENV, agent=AGENT, encoder=TINY, reward=judge, episodes=1))


def pupil_and_env(root: Path, spec: Spec, change: Change) -> None:
    pupil = policy(root, "first", changed(spec, change))
    eval.run(EvalConf(root=str(root), name="out", env=ENV, policies=[pupil], episodes=1, videos=0))


@pytest.mark.parametrize("change", [fps, unit, frame, scale, gripper, arm], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("join", "places"),
    [
        (two_datasets(cloning), ("first@d-0001", "second@d-0001")),
        (demos_and_env, ("first", "env=so101_sim")),
        (start_and_env, ("first@p-0001", "this run")),
        (pupil_and_env, ("first@p-0001", "so101_sim")),
    ],
    ids=["bc", "demos", "init", "eval"],
)
def test_a_mismatch_is_refused_with_both_values_and_their_places(
    tmp_path: Path, env_spec: Spec, join: Any, places: tuple[str, str], change: Change
) -> None:
    values = {fps: "10.0 against 30.0", unit: "'deg'", frame: "'base'", scale: "0.05", gripper: "'discrete3'"}
    values[arm] = "'0123456789abcdef'"
    with pytest.raises(UserError) as caught:
        join(tmp_path, env_spec, change)
    said = str(caught.value)
    expected = values[change]
    assert expected in said or " against ".join(reversed(expected.split(" against "))) in said
    assert all(place in said for place in places)
    assert not list(tmp_path.glob("*/out/?-0001"))


@pytest.mark.parametrize("change", [crop, task], ids=["crop", "task"])
def test_a_classifier_takes_no_mixture_of_images_or_tasks(tmp_path: Path, env_spec: Spec, change: Change) -> None:
    with pytest.raises(UserError) as caught:
        two_datasets(classifying)(tmp_path, env_spec, change)
    said = str(caught.value)
    assert "first@d-0001" in said and "second@d-0001" in said and " against " in said


def test_a_classifier_of_other_images_judges_no_run(tmp_path: Path, env_spec: Spec) -> None:
    with pytest.raises(UserError) as caught:
        judge_and_env(tmp_path, env_spec, crop)
    assert "camera 'wrist' of env=so101_sim" in str(caught.value) and "trained on [0, 0, 12, 16]" in str(caught.value)
