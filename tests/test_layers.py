"""Imports point one way: what is low knows nothing of what is built on it (and the command line of nothing heavy)."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import hiltk

ROOT = Path(hiltk.__file__).parent
LAYERS = [
    {"errors", "findings", "formats", "limits", "verbs", "spec", "observation", "reward_rule", "config"},
    {"arm", "artifacts"},
    {"data", "rewards", "agents"},
    {"envs", "humans"},
    {"learning", "evaluation", "diagnostics", "checks"},
    {"reports"},
    {"steps", "configuring", "orchestration"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imports(file: Path) -> set[str]:
    """The parts of hiltk that a file imports, wherever in the file."""
    names = {
        node.module
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hiltk.")
    }
    return {name.split(".")[1] for name in names}


def test_imports_point_one_way() -> None:
    wrong = []
    for file in ROOT.rglob("*.py"):
        own = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        wrong += [f"{file.relative_to(ROOT)} -> {other}" for other in imports(file) if RANK[other] > RANK[own]]
    assert wrong == []


def test_every_part_has_its_place() -> None:
    parts = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()} - {"__init__"}
    assert parts == set(RANK)


def test_no_module_imports_a_private_name_of_another() -> None:
    """What two modules need stands below both, with a name of its own."""
    wrong = []
    for file in ROOT.rglob("*.py"):
        nodes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
        names = [f"{n.module}.{alias.name}" for n in nodes if str(n.module).startswith("hiltk") for alias in n.names]
        wrong += [f"{file.relative_to(ROOT)} -> {name}" for name in names if name.rpartition(".")[2].startswith("_")]
    assert wrong == []


def test_artifacts_are_imported_in_one_order() -> None:
    """Also inside functions: provenance and store once needed each other."""
    folder = ROOT / "artifacts"
    graph = {}
    for file in folder.glob("*.py"):
        nodes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom) and n.module]
        names = {name for n in nodes for name in (n.module, *(f"{n.module}.{alias.name}" for alias in n.names))}
        graph[file.stem] = {other.stem for other in folder.glob("*.py") if f"hiltk.artifacts.{other.stem}" in names}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # a cycle is an error
    assert order.index("store") < order.index("provenance") < order.index("writing")
