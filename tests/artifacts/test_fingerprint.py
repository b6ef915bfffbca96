"""Fingerprints change with content and with the meaning of code, and with nothing else."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.artifacts import fingerprint as fp
from hiltk.artifacts import provenance
from hiltk.verbs import STEPS, Verb


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_golden_value(tmp_path: Path) -> None:
    """By hand: SHA-256 over one JSON record [path, size, SHA-256] per file, sorted by path."""
    fill(tmp_path, {"b/x": b"22", "a": b"1"})
    records = [["a", 1, hashlib.sha256(b"1").hexdigest()], ["b/x", 2, hashlib.sha256(b"22").hexdigest()]]
    expected = hashlib.sha256("".join(json.dumps(r) for r in records).encode()).hexdigest()[:16]
    assert fp.fingerprint(tmp_path) == expected


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from(["a", "b", "c/d", "c/e"]), st.binary(max_size=8), min_size=1), st.data())
def test_any_change_of_content_shows(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], data: st.DataObject
) -> None:
    first = fill(tmp_path_factory.mktemp("a"), files)
    second = fill(tmp_path_factory.mktemp("b"), dict(reversed(files.items())))
    assert fp.fingerprint(first) == fp.fingerprint(second)
    name = data.draw(st.sampled_from(sorted(files)))
    (second / name).write_bytes(files[name] + b"!")
    assert fp.fingerprint(first) != fp.fingerprint(second)


def test_provenance_caches_and_times_do_not_count(tmp_path: Path) -> None:
    fill(tmp_path, {"data": b"x"})
    before = fp.fingerprint(tmp_path)
    fill(tmp_path, {"run.yaml": b"now", ".cache/x": b"1", "__pycache__/y": b"2", ".lock": b""})
    os.utime(tmp_path / "data", (0, 0))
    assert fp.fingerprint(tmp_path) == before


def test_links_count_by_what_they_point_to(tmp_path: Path) -> None:
    """The Hub's cache is made of links to blobs."""
    plain = fill(tmp_path / "plain", {"data": b"x"})
    blobs = fill(tmp_path / "blobs", {"123": b"x"})
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "data").symlink_to(blobs / "123")
    assert fp.fingerprint(tmp_path / "linked") == fp.fingerprint(plain)


# ---------------------------------------------------------------- code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package named hiltk: step -> tools (lazily) -> deep; other is not reached."""
    root = tmp_path / "hiltk"
    fill(
        root,
        {
            "__init__.py": b"",
            "steps/__init__.py": b"",
            "steps/train.py": b"def run(cfg):\n    from hiltk.tools import cut\n    return cut\n",
            "tools/__init__.py": b"",
            "tools/cut.py": b"import numpy\nimport hiltk.deep\n",
            "tools/model.xml": b"<a/>",
            "deep.py": b"import hiltk.options\nX = 1\n",
            "options.py": b'n: int = setting(20, "how many")\n',
            "other.py": b"Y = 1\n",
        },
    )
    monkeypatch.setattr(fp, "PACKAGE", root)
    fp.code_fingerprint.cache_clear()
    return root


def code(package: Path) -> str:
    fp.code_fingerprint.cache_clear()
    return fp.code_fingerprint("hiltk.steps.train")


def test_closure_follows_lazy_imports_and_data_files(package: Path) -> None:
    found = {str(p.relative_to(package)) for p in fp.code_files("hiltk.steps.train")}
    assert found == {
        "__init__.py",
        "steps/__init__.py",
        "steps/train.py",
        "tools/__init__.py",
        "tools/cut.py",
        "tools/model.xml",
        "deep.py",
        "options.py",
    }


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("deep.py", "import hiltk.options\nX = 2\n", True),
        ("tools/model.xml", "<b/>", True),
        ("steps/train.py", "def run(cfg):\n    from hiltk.tools import cut\n    return cut, 1\n", True),
        ("other.py", "Y = 2\n", False),
        ("deep.py", '"""What X is."""\n\nimport hiltk.options\n\nX = 1  # one\n', False),
        ("deep.py", '"""What X is."""\nimport hiltk.options\nX = "1"\n', True),
        ("options.py", 'n: int = setting(20, "how many, at most")\n', False),
        ("options.py", 'n: int = setting(21, "how many")\n', True),
        ("options.py", 'n: int = setting(20, "how many", reference="datasets")\n', True),
    ],
)
def test_only_changes_of_meaning_that_are_reached_count(package: Path, file: str, text: str, changes: bool) -> None:
    before = code(package)
    (package / file).write_text(text)
    assert (code(package) != before) is changes


def test_real_steps_reach_what_they_run() -> None:
    fp.code_fingerprint.cache_clear()
    train = {p.name for p in fp.code_files("hiltk.steps.train")}
    assert {"sac.py", "so101_sim.py", "so101.xml", "replay.py", "groups.py", "commands.py"} <= train
    assert "cli.py" not in train
    assert "sac.py" not in {p.name for p in fp.code_files("hiltk.steps.record")} - train


def imports(file: Path) -> set[Path]:
    """Files of our own modules that a file's import statements name."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    ours = [fp.PACKAGE.parent.joinpath(*name.split(".")) for name in names if name.startswith("hiltk.")]
    candidates = {path for name in ours for path in (name.with_suffix(".py"), name / "__init__.py")}
    return {path for path in candidates if path.is_file()}


@pytest.mark.parametrize("verb", STEPS.values(), ids=lambda verb: verb.name)
def test_the_code_of_every_verb_is_its_module_and_all_it_imports(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the code of `diagnose ...` was two files: a pipeline skipped diagnoses whose code had changed."""
    asked: list[str] = []
    monkeypatch.setattr(provenance, "code_fingerprint", lambda module: asked.append(module) or "")
    provenance.step_key(verb.name, {}, tmp_path)
    files = set(fp.code_files(asked[0]))
    spec = importlib.util.find_spec(verb.module)
    assert spec and spec.origin and Path(spec.origin) in files
    missing = {imported for file in files if file.suffix == ".py" for imported in imports(file)} - files
    assert {path for path in missing if not any(path.is_relative_to(place) for place in fp.APART)} == set()


def test_what_a_verb_is_called_in_help_retrains_nothing() -> None:
    assert "verbs.py" not in {path.name for verb in STEPS.values() for path in fp.code_files(verb.module)}
