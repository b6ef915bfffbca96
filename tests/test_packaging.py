"""The wheel holds what a user needs, and the versions in pyproject.toml are pinned without naming a registry."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hiltk.artifacts.fingerprint import imported

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the same backend as `pip install` uses, from the dev group: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_configs_and_pipelines(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("conf", "pipelines"):
        expected = {f"hiltk/{p.relative_to(ROOT)}" for p in (ROOT / folder).rglob("*.yaml")}
        assert expected
        assert expected <= inside
    assert "hiltk/arm/so101.xml" in inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not [name for name in inside if name.startswith(("tests", "outputs", "notebooks"))]


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere it finds its own configs and pipelines."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from hiltk.orchestration.plan import find; print(find('lift')); from hiltk.cli import main; main()"
    words = ["train", "name=x", "--cfg", "job"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "hiltk" / "pipelines" / "lift.yaml"))
    assert "checkpoint_every:" in done.stdout


def test_the_failures_that_check_names_can_be_read_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from hiltk.steps.check import print_explanation, print_list; print_list(as_json=False); "
    code += "print_explanation('ACT001')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for named in (twice := re.findall(r"(\S+failures\.md) says what each id and devlog was", done.stdout)):
        assert Path(named).is_relative_to(tmp_path)
        assert Path(named).read_text() == (ROOT / "docs/failures.md").read_text()
    assert len(twice) == 2


def test_every_dependency_is_bounded_and_pinned(project: dict[str, Any]) -> None:
    pins = {re.split(r"[=\[ ]", p)[0] for p in project["tool"]["uv"]["constraint-dependencies"]}
    for requirement in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"]):
        name = re.split(r"[\[<>=]", requirement)[0]
        assert re.search(r"[>=]=\d", requirement), requirement
        assert name in pins, f"{name} is not pinned: renew the list as the comment above it says"


def test_no_registry_is_named(project: dict[str, Any]) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert "://" not in text
    assert all("==" in p for p in project["tool"]["uv"]["constraint-dependencies"])


def test_everything_imported_is_declared(project: dict[str, Any]) -> None:
    """No import leans on what another package happens to bring."""
    distributions = {"cv2": "opencv-python-headless", "hydra": "hydra-core", "yaml": "pyyaml", "PIL": "pillow"}
    distributions["serial"] = "pyserial"
    declared = {re.split(r"[\[<>=]", r)[0].replace("-", "_") for r in project["project"]["dependencies"]}
    files = [*(ROOT / "hiltk").rglob("*.py")]
    used = {name.split(".")[0] for file in files for name in imported(ast.parse(file.read_text()))}
    used -= set(sys.stdlib_module_names) | {"hiltk"}
    assert "torch" in used
    assert not {u for u in used if distributions.get(u, u).replace("-", "_") not in declared}
