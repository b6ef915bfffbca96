"""How a setting is declared: one field says type, default, meaning, choices, and what its value names.

Help, completion, the check of choices and the content hash of a run's inputs are all derived from here.
Standard library only: `hiltk VERB --help` reads this.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, cast, get_type_hints, overload

from hiltk.errors import ConfigError, nearest

REQUIRED: Any = "???"  # OmegaConf's word for a value that has to be given


@dataclass(frozen=True)
class Reference:
    """Says that a setting names artifacts.

    Attributes:
        kind: a key of `hiltk.artifacts.store.KINDS`; empty for any.
        episodes: ``NAME:0-9`` and ``NAME:near`` mean some episodes of a dataset, and a folder may hold plain images.
        unless: the setting beside it with which, once it is set, the words are no references.
    """

    kind: str
    episodes: bool = False
    unless: str = ""


@dataclass(frozen=True)
class Setting:
    """A declared setting.

    Attributes:
        key: its name, with dots where it belongs to a group.
        type: its annotation.
        default: `REQUIRED` where there is none.
        help: what it means; empty where the name says it.
        choices: the values it takes, where they can be listed, as they are typed.
        reference: the artifacts it names.
        file: whether it names a file or folder on this machine, whose content counts; a text like ``arms/{}.yaml``: or
            is the name in it.
        volatile: whether it says where, how fast or under which checks a step runs, and not what it computes.
        open: whether ``choices`` are the usual values, and there are others.
    """

    key: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...]
    reference: Reference | None
    file: bool | str
    volatile: bool
    open: bool

    @property
    def is_group(self) -> bool:
        """Whether it holds settings of its own."""
        return is_dataclass(self.type)


@overload
def setting[T](
    default: Callable[[], T],
    help: str = "",
    *,
    choices: Sequence[object] = (),
    reference: str | Reference | None = None,
    file: bool | str = False,
    volatile: bool = False,
    open: bool = False,
) -> T: ...
@overload
def setting[T](
    default: T,
    help: str = "",
    *,
    choices: Sequence[object] = (),
    reference: str | Reference | None = None,
    file: bool | str = False,
    volatile: bool = False,
    open: bool = False,
) -> T: ...
def setting(
    default: Any,
    help: str = "",
    *,
    choices: Sequence[object] = (),
    reference: str | Reference | None = None,
    file: bool | str = False,
    volatile: bool = False,
    open: bool = False,
) -> Any:
    """A dataclass field that declares a setting; typed as its default, so that mypy checks both.

    A subclass that gives a field another default and says nothing more keeps what the field said.

    Args:
        default: a value, or a function that gives it; lists, mappings and nested settings are copied for each instance.
        help: what it means, in a few words, with its unit.
        choices: the values it may have, besides its default; an enum's are its members.
        reference: the artifacts it names, by kind.
        file: it names a file or folder on this machine; ``arms/{}.yaml``: or is the name of one there.
        volatile: it says where, how fast or under which checks a step runs, and not what it computes.
        open: there are other values than ``choices``, for whoever uses them to judge.
    """
    if isinstance(reference, str):
        reference = Reference(reference)
    said = {"help": help, "choices": tuple(choices), "reference": reference, "file": file, "volatile": volatile}
    said["open"] = open
    if isinstance(default, list | dict) or is_dataclass(default):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=said)
    if callable(default):
        return field(default_factory=default, metadata=said)
    return field(default=default, metadata=said)


def declared(schema: type, options: Mapping[str, type] | None = None, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a schema, groups before their own settings.

    Args:
        options: the class of the option chosen of each group; without, the settings of all classes it can have.
    """
    hints = get_type_hints(schema)
    for f in fields(schema):
        key, hint = f"{prefix}{f.name}", hints[f.name]
        yield _setting(schema, f, key, hint)
        if is_dataclass(hint):
            own = cast(type, hint)
            classes = _family(own) if options is None else [options.get(key, own)]
            for one in classes:
                yield from declared(one, options, f"{key}.")


def _family(schema: type) -> Iterator[type]:
    yield schema
    below: type
    for below in schema.__subclasses__():
        yield from _family(below)


def _setting(schema: type, f: Field[Any], key: str, hint: Any) -> Setting:
    said = _said(schema, f.name)
    members = tuple(hint.__members__) if isinstance(hint, type) and issubclass(hint, Enum) else ()
    return Setting(
        key=key,
        type=hint,
        default=f.default_factory() if f.default_factory is not MISSING else f.default,
        help=said.get("help", ""),
        choices=members or tuple(map(str, said.get("choices", ()))),
        reference=said.get("reference"),
        file=said.get("file", False),
        volatile=said.get("volatile", False),
        open=said.get("open", False),
    )


def _said(schema: type, name: str) -> Mapping[str, Any]:
    """What a field's declaration says; where it gives only another default, its parent's."""
    for cls in schema.__mro__:
        f = cls.__dict__.get("__dataclass_fields__", {}).get(name)
        if f is not None and any(f.metadata.values()):
            return f.metadata
    return {}


# ---------------------------------------------------------------- choices


def choices(schema: type, name: str) -> tuple[Any, ...]:
    """The values that a field declares, besides its default."""
    return tuple(_said(schema, name)["choices"])


def check_choices(conf: Any, prefix: str = "") -> None:
    """Refuse every value that its field does not list.

    Args:
        conf: an instance of a schema.
        prefix: where it belongs, e.g. ``agent.``.

    Raises:
        ConfigError: naming the key and the nearest choice.
    """
    for f in fields(conf):
        value, said = getattr(conf, f.name), _said(type(conf), f.name)
        listed = () if said.get("open") else said.get("choices", ())
        if is_dataclass(value):
            check_choices(value, f"{prefix}{f.name}.")
        elif listed and value not in listed and value != f.default:
            one_of(f"{prefix}{f.name}", value, listed)


def check_numbers(conf: Any, prefix: str = "") -> None:
    """Refuse every number that is none: NaN, and infinity where that is not the default.

    Args:
        conf: an instance of a schema.
        prefix: where it belongs, e.g. ``agent.``.

    Raises:
        ConfigError: naming the key.
    """
    for f in fields(conf):
        value = getattr(conf, f.name)
        if is_dataclass(value):
            check_numbers(value, f"{prefix}{f.name}.")
        elif isinstance(value, float) and not math.isfinite(value) and value != f.default:
            require(False, f"{prefix}{f.name}", value, "a finite number")


def one_of(key: str, value: Any, options: Sequence[Any]) -> None:
    """Refuse a value that is not one of the options.

    Raises:
        ConfigError: with the nearest option.
    """
    if value not in options:
        raise wrong_choice(key, str(value), [str(option) for option in options])


def require(fits: bool, key: str, value: object, meaning: str) -> None:
    """Refuse a value out of range.

    Args:
        fits: whether it is in range.
        meaning: what it must be, e.g. ``at least 1``.

    Raises:
        ConfigError: naming the key.
    """
    if not fits:
        raise ConfigError(f"{key} must be {meaning}", where=f"{key}={value}", fix="leave it out for the default")


def wrong_choice(key: str, value: str, options: Sequence[str]) -> ConfigError:
    """The error that a value is not one of the options: it names the nearest, and all of them."""
    where = f"{key}={value} is not a choice (one of {', '.join(options)})"
    fix = nearest(value, options) or " or ".join(f"{key}={option}" for option in options)
    return ConfigError(f"unknown {key} '{value}'", where=where, fix=fix)
