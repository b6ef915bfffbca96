"""Imports point one way: what is low knows nothing of what is built on it (and the command line of nothing heavy)."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import hiltk
from hiltk.verbs import VERBS

ROOT = Path(hiltk.__file__).parent
ORDER = [
    "errors",
    "interrupts",
    "console",
    "keys",
    "formats",
    "findings",
    "limits",
    "verbs",
    "intervals",
    "spec",
    "images",
    "observation",
    "config",
    "reward_rule",
    "arm",
    "artifacts",
    "data",
    "agents",
    "rewards",
    "sim",
    "robots",
    "envs",
    "humans",
    "evaluation",
    "learning",
    "checks",
    "diagnostics",
    "reports",
    "configuring",
    "orchestration",
    "steps",
    "cli",
]  # from low to high: a module imports from parts before its own, or from its own


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {module(file): file for file in ROOT.rglob("*.py")}


def imports(file: Path) -> set[str]:
    """The modules of hiltk that a file imports: wherever in the file, those for types alone included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports by a relative name"
            found |= {name for a in node.names if (name := f"{node.module}.{a.name}") in FILES} or {str(node.module)}
    return found & FILES.keys()


def part(name: str) -> str:
    return name.split(".")[1]


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(
        "import hiltk.spec\nfrom hiltk import limits\nif TYPE_CHECKING:\n    from hiltk.data import replay\n"
        "def f():\n    from hiltk.agents.sac import Sac\n"
    )
    assert imports(file) == {"hiltk.spec", "hiltk.limits", "hiltk.data.replay", "hiltk.agents.sac"}


def test_parts_stand_in_one_order() -> None:
    rank = {name: i for i, name in enumerate(ORDER)}
    wrong = [
        f"{name} -> {other}"
        for name, file in FILES.items()
        for other in imports(file)
        if "hiltk" not in (name, other) and rank[part(other)] > rank[part(name)]
    ]
    assert wrong == []


def test_every_part_has_its_place() -> None:
    parts = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()} - {"__init__"}
    assert sorted(parts) == sorted(ORDER)


def test_no_modules_import_each_other() -> None:
    """Not even through others, inside functions or for types alone: one of them can be read before the other."""
    graph = {name: imports(file) - {name} for name, file in FILES.items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # a cycle is an error
    places = [order.index(f"hiltk.artifacts.{name}") for name in ("store", "provenance", "writing")]
    assert places == sorted(places)


def test_no_module_imports_a_private_name_of_another() -> None:
    """What two modules need stands below both, with a name of its own."""
    wrong = []
    for file in ROOT.rglob("*.py"):
        nodes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
        names = [f"{n.module}.{alias.name}" for n in nodes if str(n.module).startswith("hiltk") for alias in n.names]
        wrong += [f"{file.relative_to(ROOT)} -> {name}" for name in names if name.rpartition(".")[2].startswith("_")]
    assert wrong == []


def test_no_verb_is_built_on_another() -> None:
    """What two verbs need stands below `hiltk/steps`, or in a module of its own there."""
    verbs = {step.module for step in VERBS.values()}
    assert [(verb, other) for verb in verbs for other in imports(FILES[verb]) & verbs] == []
