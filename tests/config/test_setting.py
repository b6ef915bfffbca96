"""A setting is declared once; choices and references are read off the declaration."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

import pytest

from hiltk.config.commands import COMMANDS, AdoptedConf, TrainConf, UpdateConf
from hiltk.config.groups import DrqConf, GymnasiumConf, LearnerConf, SacConf, So101SimConf
from hiltk.config.setting import REQUIRED, Reference, check_choices, choices, declared, one_of, setting
from hiltk.errors import ConfigError


class Colour(Enum):
    red = "red"
    blue = "blue"


@dataclass
class Inner:
    word: str = setting("a", "a word", choices=("a", "b"))
    file: str = setting("", "a file", file=True)


@dataclass
class Outer:
    name: str = setting(REQUIRED, "who")
    many: list[str] = setting(["x"], "several", reference="datasets")
    colour: Colour = setting(Colour.red, "which")
    inner: Inner = setting(Inner(), "more")


@dataclass
class Child(Inner):
    word: str = "c"
    other: int = setting(1, "only here")


def test_a_declaration_is_read_back() -> None:
    by_key = {s.key: s for s in declared(Outer)}
    assert list(by_key) == ["name", "many", "colour", "inner", "inner.word", "inner.file", "inner.other"]
    assert by_key["name"].default == REQUIRED
    assert by_key["many"].reference == Reference("datasets") and by_key["many"].default == ["x"]
    assert by_key["colour"].choices == ("red", "blue")
    assert by_key["inner"].is_group and not by_key["inner.word"].is_group
    assert by_key["inner.file"].file and not by_key["inner.word"].file


def test_an_option_brings_its_own_settings_and_defaults() -> None:
    by_key = {s.key: s for s in declared(Outer, {"inner": Child})}
    assert (by_key["inner.word"].default, by_key["inner.word"].help) == ("c", "a word")  # what it meant, it still means
    assert by_key["inner.other"].default == 1
    assert "inner.other" not in {s.key for s in declared(Outer, {"inner": Inner})}
    assert "inner.other" not in {s.key for s in declared(Outer, {})}  # no group: the class it says


def test_lists_and_nested_settings_are_not_shared() -> None:
    one, other = Outer(), Outer()
    one.many.append("y")
    one.inner.word = "b"
    assert (other.many, other.inner.word) == (["x"], "a")


def test_a_default_may_be_made_when_it_is_asked_for() -> None:
    @dataclass
    class Where:
        root: str = setting(lambda: "here", "a folder")

    assert Where().root == "here"
    assert "here" in [f.default_factory() for f in fields(Where) if callable(f.default_factory)]


def test_a_choice_is_checked_wherever_it_lies() -> None:
    check_choices(Outer())
    check_choices(Outer(inner=Child()))  # its own default counts as a choice
    with pytest.raises(
        ConfigError, match=r"unknown inner\.word 'bb'[\s\S]*\(one of a, b\)\n  fix:   did you mean 'b'\?"
    ):
        check_choices(Outer(inner=Inner(word="bb")))
    with pytest.raises(ConfigError, match=r"unknown x\.word 'zzz'[\s\S]*fix:   x\.word=a or x\.word=b"):
        check_choices(Inner(word="zzz"), "x.")


def test_every_word_with_choices_is_checked_for_every_command() -> None:
    """Also a value that nobody listed by hand: none of them may get through."""
    for schema in [*COMMANDS.values(), SacConf, DrqConf, So101SimConf, GymnasiumConf]:
        for one in declared(schema):
            if one.choices and not one.open and one.type is str and "." not in one.key:
                conf = schema(**{one.key: "nonsense"})
                with pytest.raises(ConfigError, match=f"unknown {one.key} 'nonsense'"):
                    check_choices(conf)


def test_what_is_not_stated_is_no_wrong_choice() -> None:
    check_choices(AdoptedConf())
    with pytest.raises(ConfigError, match=r"unknown action_yaw_deg '45'[\s\S]*one of 0, 90, 180, 270"):
        check_choices(AdoptedConf(action_yaw_deg=45))


def test_one_of_names_the_nearest() -> None:
    one_of("device", "cpu", ("auto", "cpu"))
    with pytest.raises(ConfigError, match=r"unknown device 'cpuu'[\s\S]*did you mean 'cpu'"):
        one_of("device", "cpuu", ("auto", "cpu"))


def test_learners_share_what_they_share() -> None:
    assert issubclass(SacConf, LearnerConf) and issubclass(DrqConf, LearnerConf)
    shared = {f.name for f in fields(SacConf)} & {f.name for f in fields(DrqConf)}
    assert shared == {f.name for f in fields(LearnerConf)}


def test_code_has_what_the_fields_list() -> None:
    import torch

    from hiltk.agents.networks import ACTIVATIONS

    assert tuple(ACTIVATIONS) == choices(SacConf, "activation")
    assert all(isinstance(getattr(torch, word), torch.dtype) for word in choices(UpdateConf, "precision"))
    assert choices(TrainConf, "practice") == ("strata", "area")
