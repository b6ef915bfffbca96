"""Every mutant of `tests.rails.mutants` still has the line that it changes and the tests that must notice."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rails.mutants import MUTANTS, ROOT, Mutant, applied, line_of, places, sources

TEXTS = sources(ROOT)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_mutant_changes_one_place_and_is_still_python(mutant: Mutant) -> None:
    found = places(mutant, TEXTS)
    at = [f"{p.file.relative_to(ROOT)}:{line_of(p, TEXTS[p.file])}" for p in found]
    assert len(at) == 1, f"re-anchor '{mutant.name}' in tests/rails/mutants.py: {mutant.old!r} stands at {at}"
    text = TEXTS[found[0].file]
    changed = ast.parse(applied(mutant, found[0], text))
    assert ast.dump(changed) != ast.dump(ast.parse(text)), "code changes, and not a comment"


@pytest.mark.parametrize("test", sorted({t for m in MUTANTS for t in m.tests}))
def test_the_tests_that_kill_them_are_there(test: str) -> None:
    path, _, name = test.partition("::")
    file = ROOT / "tests" / path
    assert file.is_file(), f"{path} has moved: say where to in tests/rails/mutants.py"
    assert not name or name.partition("[")[0] in set(_functions(file)), f"{name} is not in {path} any more"


def _functions(file: Path) -> Iterator[str]:
    return (n.name for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.FunctionDef))


def test_names_are_unique() -> None:
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("y = f(a, b)\n", 1),
        ("y = f(\n    a,\n    b,\n)\n", 1),
        ("y = f(a, bc)\n", 0),
        ("y = gf(a, b)\n", 0),
        ("f(a, b)\nf(a,b)\n", 2),
    ],
)
def test_layout_does_not_matter_and_names_do(text: str, count: int) -> None:
    mutant = Mutant("m", "f(a, b)", "f(b, a)", ())
    found = places(mutant, {Path("x.py"): text})
    assert len(found) == count
    assert [text[p.start : p.stop].replace(" ", "")[0] for p in found] == ["f"] * count


def test_what_comes_before_is_kept() -> None:
    mutant, text = Mutant("m", "b = 2", "b = 3", (), after="a = 1"), "b = 2\na = 1\nb = 2\n"
    (place,) = places(mutant, {Path("x.py"): text})
    assert applied(mutant, place, text) == "b = 2\na = 1\nb = 3\n"
