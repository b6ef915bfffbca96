"""What an earlier hiltk stored or people typed for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner, Result

from hiltk import cli, formats
from hiltk.agents.make import load_policy
from hiltk.agents.policy import CONFIG, Policy
from hiltk.artifacts.store import resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import BcConf
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.configuring.composing import compose_untyped
from hiltk.errors import UserError
from hiltk.formats import Format, new_name, with_new_names
from hiltk.rewards.classifier import CONFIG as CLASSIFIER_CONFIG
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import STATE_KEY, Spec, Stats
from hiltk.verbs import STEPS

Renames = Callable[..., None]


@pytest.fixture
def renames(monkeypatch: pytest.MonkeyPatch) -> Renames:
    """``renames({"old.key": "new.key"})`` for the length of a test."""
    return lambda table: monkeypatch.setattr(formats, "RENAMED_KEYS", table)


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


# ---------------------------------------------------------------- versions


def test_the_first_version_needs_no_stamp_and_later_ones_say_who_reads_them() -> None:
    assert Format("x").stamp() == {"format": 1}
    assert THIRD.stamp() == {"format": 3, "needs": "0.4.0"}


def test_every_version_goes_through_the_migrations_from_there_on() -> None:
    for contents in ({"a": 1}, {"format": 1, "a": 1}, {"format": 2, "b": 1}, {"format": 3, "needs": "0.4.0", "b": 10}):
        before = dict(contents)
        assert THIRD.upgrade(contents, "here") == {"b": 10}
        assert contents == before


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (
            {"format": 4, "needs": "0.9.0"},
            r"a thing cannot be used: made by hiltk >= 0\.9\.0 \(format: 4; this is hiltk ",
        ),
        ({"format": 4}, "made by a newer hiltk"),
        ({"format": 0}, "format: 0 is no version"),
        ({"format": "new"}, "format: 'new' is no version"),
    ],
)
def test_what_cannot_be_read_says_why(contents: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        THIRD.upgrade(contents, "here")
    assert caught.value.where == "here" and ("upgrade hiltk" in caught.value.fix) == (contents["format"] == 4)


THIRD = Format(
    "a thing",
    since=("0.1.0", "0.2.0", "0.4.0"),
    migrations=(lambda was: {"b": was["a"]}, lambda was: {"b": 10 * was["b"]}),
)


# ---------------------------------------------------------------- renamed settings


def test_only_renamed_keys_move(renames: Renames) -> None:
    then = {"a": 1, "agent": {"old": 2, "other": 3}, "empty": {}}
    assert with_new_names(then) == then
    renames({"agent.old": "agent.new", "a": "b.c", "gone.key": "x", "empty": "full"})
    assert with_new_names(then) == {"agent": {"new": 2, "other": 3}, "full": {}, "b": {"c": 1}}
    assert then["a"] == 1 and (new_name("empty.deep"), new_name("emptyish")) == ("full.deep", "")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("speed=3", "'speed' is now 'utd'"),
        ("+speed=3", "'speed' is now 'utd'"),
        ("agent.rate=3", "'agent.rate' is now 'agent.lr'"),
        ("++agent.rate=3", "'agent.rate' is now 'agent.lr'"),
        ("learner=sac", "'learner' is now 'agent'"),
        ("learner.lr=3", "'learner' is now 'agent'"),
        ("~learner", "'learner' is now 'agent'"),
    ],
)
def test_an_old_key_answers_with_the_new_one(renames: Renames, word: str, said: str) -> None:
    renames({"speed": "utd", "agent.rate": "agent.lr", "learner": "agent"})
    result = hiltk("train", "name=x", word)
    assert result.exit_code == 2 and said in result.stderr, result.output
    assert "Traceback" not in result.output


def test_a_verb_that_has_neither_key_says_what_it_always_said(renames: Renames) -> None:
    renames({"speed": "utd"})
    assert "'speed' is not a setting of `hiltk merge`" in hiltk("merge", "name=x", "speed=3").stderr


def test_the_table_leads_to_keys_that_exist() -> None:
    for old, new in formats.RENAMED_KEYS.items():
        key = new.split(".")[0]
        assert any(key in compose_untyped(verb, []) for verb in STEPS.values()), new
        assert new not in formats.RENAMED_KEYS, f"{old} -> {new} -> ...: name the newest at once"


def test_stored_settings_are_read_by_their_new_names(renames: Renames, tiny_spec: Spec, tmp_path: Path) -> None:
    """``run.yaml``, a policy and a classifier that were written with other names."""
    cfg = BcConf(name="bc", root=str(tmp_path), datasets=[], agent=SacConf(hidden=[8]))
    with create("policies", "bc", root=tmp_path, step="bc-pretrain", cfg=cfg, inputs=[], seed=0) as draft:
        pass
    policy, classifier = small_policy(tiny_spec), SuccessClassifier(SMALL, tiny_spec, hidden=8)
    for made, file in ((policy, CONFIG), (classifier, CLASSIFIER_CONFIG)):
        made.save(tmp_path)
        edit(tmp_path / file, lambda config: config["encoder"].update(width=config["encoder"].pop("features")))
    edit(
        draft.done.path / "run.yaml",
        lambda run: run["config"]["agent"].update(layers=run["config"]["agent"].pop("hidden")),
    )
    renames({"encoder.width": "encoder.features", "agent.layers": "agent.hidden"})
    assert load_policy(tmp_path).encoder_conf.features == SuccessClassifier.load(tmp_path).encoder_conf.features == 6
    assert resolve("bc", "policies", tmp_path).run()["config"]["agent"]["hidden"] == [8]


SMALL = EncoderConf(channels=[2], kernels=[3], strides=[4], features=6)


def small_policy(spec: Spec) -> Policy:
    zeros, ones = [0.0] * len(spec.state.dims), [1.0] * len(spec.state.dims)
    spec.stats[STATE_KEY] = Stats(zeros, ones)
    return Policy(SacConf(hidden=[8]), SMALL, spec)


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    config: Any = OmegaConf.to_container(OmegaConf.load(file))
    change(config)
    OmegaConf.save(OmegaConf.create(config), file)
