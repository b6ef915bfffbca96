"""Content hashes: of an artifact's files, and of the code a step runs."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
RUN_FILE = "run.yaml"
# What decides nothing about what a step makes: rules refuse or let pass, the table of verbs says what they are called.
APART = (PACKAGE / "checks", PACKAGE / "verbs.py")


def hash_file(path: Path) -> str:
    """SHA-256 of one file, read in pieces, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_files(folder: Path) -> list[Path]:
    """Files that make up an artifact: not its provenance record, not hidden files, not caches."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return sorted(p for p in files if p.name != RUN_FILE and not _is_cache(p.relative_to(folder)))


def _is_cache(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def fingerprint(path: Path) -> str:
    """Sixteen hex digits over the relative path, size and content of every file below ``path``.

    Independent of the order, place and time in which the files were written; ``run.yaml``, hidden files and
    caches do not count.
    """
    if path.is_file():
        return hash_file(path)[:16]
    digest = hashlib.sha256()
    for file in _content_files(path):
        record = [file.relative_to(path).as_posix(), file.stat().st_size, hash_file(file)]
        digest.update(json.dumps(record).encode())
    return digest.hexdigest()[:16]


# ---------------------------------------------------------------- code


def module_file(module: str) -> Path | None:
    """The source file of ``hiltk.<...>``; None for anything that is not one of our modules."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    base = PACKAGE.joinpath(*parts[1:])
    candidates = (base.with_suffix(".py"), base / "__init__.py") if len(parts) > 1 else (base / "__init__.py",)
    return next((c for c in candidates if c.is_file()), None)


def imported(tree: ast.AST) -> Iterator[str]:
    """Every dotted name a module may import, also inside functions; ``from a import b`` may mean module ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _with_parents(module: str) -> Iterator[str]:
    """``a.b.c`` and the packages ``a.b`` and ``a``, whose ``__init__`` runs too."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def code_files(module: str) -> list[Path]:
    """Source files of ``module`` and of every `hiltk` module its import statements lead to, found without importing.

    Data files lying beside a reached module (robot models, page templates) belong to it.
    """
    found: set[Path] = set()
    todo = list(_with_parents(module))
    while todo:
        file = module_file(todo.pop())
        if file is None or file in found or any(file.is_relative_to(place) for place in APART):
            continue
        found.add(file)
        for name in _read(file.read_text())[0]:
            todo += [m for m in _with_parents(name) if module_file(m)]
    return sorted(found | _data_files(f.parent for f in found))


def _data_files(folders: Iterable[Path]) -> set[Path]:
    """Files other than code directly inside our packages; the package root itself holds none."""
    return {
        p
        for f in set(folders) - {PACKAGE}
        for p in f.iterdir()
        if p.is_file() and p.suffix not in (".py", ".pyc", ".pyi")
    }


def _meaning(file: Path) -> str:
    """What of a file can change a result: for Python its syntax tree without documentation, else every byte."""
    return _read(file.read_text())[1] if file.suffix == ".py" else hash_file(file)


@functools.cache  # parsing takes longest, and steps share most of their code
def _read(text: str) -> tuple[frozenset[str], str]:
    """The modules that Python code may import, and a hash of its syntax tree without documentation."""
    tree = ast.parse(text)
    found = frozenset(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setting":
            node.args = node.args[:1]  # the default; behind it stands the help text
    return found, hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@functools.cache
def code_fingerprint(module: str) -> str:
    """Sixteen hex digits that change when code reachable from ``module`` changes its meaning.

    Comments, docstrings, help texts of settings and layout do not count, so that documenting the code does not
    retrain anything.
    """
    digest = hashlib.sha256()
    for file in code_files(module):
        digest.update(f"{file.relative_to(PACKAGE)}\0{_meaning(file)}\0".encode())
    return digest.hexdigest()[:16]
