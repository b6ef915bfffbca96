"""Where arms' files are, read with every mistake in them, and written."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import replace
from pathlib import Path

import yaml

from hiltk.errors import UserError, listed, nearest
from hiltk.formats import ARM
from hiltk.robots import arm_yaml
from hiltk.robots.arm_checks import mistakes
from hiltk.robots.arm_file import ArmFile
from hiltk.robots.arm_yaml import Reader
from hiltk.verbs import ARMS


def arm_path(reference: str) -> Path:
    """Where an arm's file is or would be: ``arms/NAME.yaml`` under the current folder, or the path that is given.

    Raises:
        UserError: the name cannot be a file's.
    """
    if "/" in reference or reference.endswith((".yaml", ".yml")):
        return Path(reference).expanduser()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", reference):
        raise UserError(f"'{reference}' cannot be the name of an arm", fix="use letters, digits, '.', '_' and '-'")
    return Path(ARMS) / f"{reference}.yaml"


def arm_names() -> list[str]:
    """The arms that have a file under the current folder."""
    return sorted(path.stem for path in Path(ARMS).glob("*.yaml") if not path.name.startswith("."))


def load_arm_file(reference: str, *, checked: bool = True) -> ArmFile:
    """Read an arm's file.

    Args:
        reference: ``NAME`` for ``arms/NAME.yaml`` under the current folder, or a path.
        checked: refuse what is readable but cannot be meant, too (`arm_checks`). Without it an arm that
            holds can be relaxed though its workspace, say, is mistyped.

    Raises:
        UserError: there is no such file, or it has mistakes: all of them, each with line, key and fix.
    """
    path = arm_path(reference)
    if not path.is_file():
        known = arm_names()
        fix = nearest(reference, known) or (f"there are: {listed(known, 8)}; or " if known else "")
        fix = fix if fix.endswith("?") else f"{fix}`hiltk arm init {path.stem}` makes it"
        raise UserError(f"there is no arm '{reference}'", where=str(path.absolute()), fix=fix)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"the arm's file cannot be read: {error}", where=str(path)) from error
    with contextlib.suppress(yaml.YAMLError, TypeError):  # which the reader tells with its line
        ARM.read_version(yaml.safe_load(text), str(path))
    reader = Reader()
    arm = reader.read(text, ArmFile)
    arm.name = path.stem
    found = reader.mistakes
    if not found and checked:
        found = [replace(m, line=_line(reader.lines, m.key)) for m in mistakes(arm)]
    if found:
        lines = "\n".join(f"    {mistake}" for mistake in found)
        count = f"{len(found)} mistakes" if len(found) > 1 else "a mistake"
        raise UserError(f"the arm's file has {count}:\n{lines}", where=str(path))
    return arm


def _line(lines: dict[str, int], key: str) -> int:
    """Of a key, or of what it would stand under."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines[key] if key else 0


def save_arm_file(arm: ArmFile, path: Path) -> None:
    """Write an arm's file, with a comment on every setting; a half-written one never stands there.

    Raises:
        UserError: it cannot be written.
    """
    heading = (
        f"The arm '{path.stem}': `env=so101 env.arm={path.stem}` is its only mention in any command.\n"
        f"Edit it by hand; `hiltk arm check {path.stem}` compares it with the arm. Datasets, classifiers and policies "
        "remember the hash of what changes them."
    )
    unless: tuple[str, ...] = () if arm.is_emulated else ("emulated",)
    _write(path, arm_yaml.write(arm, heading, unless))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.{os.getpid()}")
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    except OSError as error:
        raise UserError(f"the arm's file cannot be written: {error.strerror or error}", where=str(path)) from error


def chosen_arm(reference: str, *, checked: bool = True) -> tuple[ArmFile, Path]:
    """The arm that is named, or the only one there is, and where its file lies.

    Raises:
        UserError: as `load_arm_file`; none is named, and there is not exactly one.
    """
    if not reference:
        known = arm_names()
        if len(known) != 1:
            what = "no arm is named" + (f", and there are {len(known)}" if known else ", and there is none here")
            fix = f"one of {', '.join(known)}" if known else "`hiltk arm init NAME` makes one"
            raise UserError(what, where=str(Path(ARMS).absolute()), fix=fix)
        [reference] = known
    return load_arm_file(reference, checked=checked), arm_path(reference)


def save_calibration(arm: ArmFile, path: Path) -> None:
    """Put an arm's calibration into its file, and leave everything else in it as people wrote it.

    Raises:
        UserError: it cannot be written.
    """
    text = path.read_text(encoding="utf-8")
    block = arm_yaml.block("calibration", arm.calibration)
    found = re.compile(r"^calibration:.*\n(?:[ \t]+.*\n|#.*\n(?=[ \t]))*", re.MULTILINE).search(text)
    _write(path, text[: found.start()] + block + text[found.end() :] if found else f"{text.rstrip()}\n\n{block}")
