"""A dataclass as a YAML file that people edit: read with every mistake and its line, written with comments that teach.

What a field means is taken from its declaration (`hiltk.config.setting`).
"""

from __future__ import annotations

import math
import textwrap
import types
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from hiltk.errors import nearest

NOT_STORED = {"stored": False}  # metadata of a field that is no line of the file
WIDTH = 110
_NULL, _BOOL, _STR = "tag:yaml.org,2002:null", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Mistake:
    """Something in the file that cannot be meant.

    Attributes:
        key: dotted, as ``cameras.wrist.fps``.
        line: counted from 1; 0: not known, or the key is not there.
    """

    key: str
    what: str
    fix: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}, {self.key}" if self.line and self.key else self.key or f"line {self.line}"
        return f"{place}: {self.what}" + (f"; {self.fix}" if self.fix else "")


# ---------------------------------------------------------------- reading


class Reader:
    """Builds a dataclass from a YAML text.

    Attributes:
        lines: line of each dotted key that the text has.
        mistakes: what cannot be read; such a field keeps its default.
    """

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.mistakes: list[Mistake] = []

    def read[T](self, text: str, schema: type[T]) -> T:
        """The dataclass; what is wrong with the text is in `mistakes`."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            what = getattr(error, "problem", None) or str(error).splitlines()[0]
            if "'\\t'" in what:
                what = "a tab; YAML is indented with spaces"
            self.mistakes.append(Mistake("", f"this is no YAML: {what}", line=mark.line + 1 if mark else 0))
            return schema()
        if node is None:
            self.mistakes.append(Mistake("", "the file is empty", line=1))
            return schema()
        value: T = self._value(node, schema, "", schema())
        return value

    def _value(self, node: yaml.Node, hint: Any, key: str, default: Any) -> Any:
        self.lines.setdefault(key, node.start_mark.line + 1)
        if is_dataclass(hint):
            return self._record(node, hint, key, default)
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            if node.tag == _NULL:
                return None
            return self._value(node, next(one for one in inner if one is not type(None)), key, default)
        if origin is list:
            if not isinstance(node, yaml.SequenceNode):
                return self._wrong(node, key, "a list: [1, 2, 3]", default)
            blank = _blank(inner[0])
            return [self._value(one, inner[0], f"{key}[{i}]", blank) for i, one in enumerate(node.value)]
        if origin is dict:
            return self._mapping(node, inner[1], key, default)
        if hint is Any:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        return self._scalar(node, hint, key, default)

    def _record(self, node: yaml.Node, schema: Any, key: str, default: Any) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self._wrong(node, key, "settings, one `name: value` a line", default)
        hints = get_type_hints(schema)
        known = [f.name for f in stored(schema)]
        out: dict[str, Any] = {}
        for name, value in self._entries(node, key):
            dotted = _below(key, name)
            if name not in known:
                fix = nearest(name, known) or f"there are: {', '.join(known)}"
                self.mistakes.append(Mistake(dotted, "there is no such setting", fix, self.lines[dotted]))
                continue
            out[name] = self._value(value, hints[name], dotted, getattr(default, name))
        return schema(**out)

    def _mapping(self, node: yaml.Node, hint: Any, key: str, default: Any) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self._wrong(node, key, "a mapping of names, one `name: value` a line, or {}", default)
        return {name: self._value(v, hint, _below(key, name), _blank(hint)) for name, v in self._entries(node, key)}

    def _entries(self, node: yaml.MappingNode, key: str) -> Iterator[tuple[str, yaml.Node]]:
        seen: set[str] = set()
        for name_node, value in node.value:
            name = str(name_node.value)
            dotted, line = _below(key, name), name_node.start_mark.line + 1
            if name in seen:  # YAML takes the last one, and nobody notices
                first = f"it stands in line {self.lines[dotted]} already"
                self.mistakes.append(Mistake(dotted, f"written twice: {first}", "keep one", line))
                continue
            seen.add(name)
            self.lines[dotted] = line
            yield name, value

    def _scalar(self, node: yaml.Node, hint: type, key: str, default: Any) -> Any:
        wanted = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[hint]
        if not isinstance(node, yaml.ScalarNode):
            return self._wrong(node, key, wanted, default)
        text = str(node.value)
        if hint is str:  # as it is typed: a camera's serial number 0123 is neither octal nor a number
            return "" if node.tag == _NULL else text
        try:
            if node.tag == _BOOL or hint is bool:
                if hint is not bool or node.tag != _BOOL:
                    raise ValueError
                return yaml.SafeLoader("").construct_object(node)
            if hint is int:
                return int(text)
            number = float(text.removeprefix(".")) if text.lower().lstrip("-+") in (".nan", ".inf") else float(text)
            if not math.isfinite(number):
                raise ValueError
            return number
        except ValueError:
            return self._wrong(node, key, wanted, default)

    def _wrong(self, node: yaml.Node, key: str, wanted: str, default: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            found = "nothing" if node.tag == _NULL else f"'{node.value}'"
        else:
            found = "a list" if isinstance(node, yaml.SequenceNode) else "settings"
        self.mistakes.append(Mistake(key, f"{found} where {wanted} belongs", line=self.lines.get(key, 0)))
        return default


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _blank(hint: Any) -> Any:
    """What stands for an entry that cannot be read."""
    return None if hint is Any else hint()


# ---------------------------------------------------------------- writing


def stored(schema: Any) -> list[Field[Any]]:
    """The fields that the file has."""
    return [f for f in fields(schema) if f.metadata.get("stored", True)]


def write(value: Any, heading: str, unless: tuple[str, ...] = ()) -> str:
    """A dataclass as YAML, with what each field means above it.

    Args:
        heading: comment at the top of the file.
        unless: fields to leave out.
    """
    lines = [*_comment(heading, ""), *_record_lines(value, "", explained=True, unless=unless)]
    return "\n".join(lines) + "\n"


def block(name: str, value: Any) -> str:
    """One setting as the file has it, without words."""
    return "\n".join(_lines(name, value, "", explained=False)) + "\n"


def _record_lines(value: Any, indent: str, *, explained: bool, unless: tuple[str, ...] = ()) -> Iterator[str]:
    for f in stored(value):
        if f.name in unless:
            continue
        inner = getattr(value, f.name)
        about = f.metadata.get("help", "") if explained else ""
        if about and not indent:
            yield ""
        yield from _comment(about[:1].upper() + about[1:], indent)
        yield from _lines(f.name, inner, indent, explained=explained)


def _lines(name: str, value: Any, indent: str, *, explained: bool) -> Iterator[str]:
    if is_dataclass(value) and not isinstance(value, type):
        yield f"{indent}{_text(name)}:"
        yield from _record_lines(value, f"{indent}  ", explained=explained)
    elif isinstance(value, dict) and value and all(is_dataclass(one) for one in value.values()):
        yield f"{indent}{_text(name)}:"
        for i, (key, one) in enumerate(value.items()):
            plain = {f.name: getattr(one, f.name) for f in stored(one)}
            if all(isinstance(v, int) for v in plain.values()):  # a row of numbers, as of a table
                yield f"{indent}  {_text(key)}: {_text(plain)}"
            else:
                yield from _lines(key, one, f"{indent}  ", explained=explained and i == 0)
    else:
        yield f"{indent}{_text(name)}: {_text(value)}"


def _comment(text: str, indent: str) -> list[str]:
    return [
        f"{indent}# {line}"
        for paragraph in text.splitlines()
        for line in textwrap.wrap(paragraph, WIDTH - len(indent), break_on_hyphens=False, break_long_words=False)
    ]


def _text(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, float):
        return repr(value)  # PyYAML reads 1e-05 as text, and so does everybody who goes by YAML 1.1
    if isinstance(value, list):
        return f"[{', '.join(_text(one) for one in value)}]"
    dumped: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True
    )
    return dumped.rstrip("\n").removesuffix("\n...")
