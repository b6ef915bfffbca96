"""What ``run.yaml`` says about how an artifact came to be, and the key by which an equal run is recognised."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import resource
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hiltk.artifacts.fingerprint import PACKAGE, code_fingerprint, fingerprint
from hiltk.artifacts.store import image_folder, resolve, split_episodes
from hiltk.config.commands import COMMANDS
from hiltk.config.setting import REQUIRED, Reference, Setting, declared
from hiltk.formats import RUN
from hiltk.verbs import STEPS

PACKAGES = ("hiltk", "torch", "lerobot", "mujoco", "numpy")

# Settings of all commands that say where and how fast a step runs and what it refuses, not what it computes.
VOLATILE = frozenset(one.key for conf in COMMANDS.values() for one in declared(conf) if one.volatile)


def plain_config(cfg: Any) -> dict[str, Any]:
    """A config (dataclass, DictConfig or mapping) as plain containers with enums by name; unset keys are ``"???"``.

    Interpolations are resolved where they can be.
    """
    node = cfg if isinstance(cfg, DictConfig) else _to_node(cfg)
    try:
        return OmegaConf.to_container(node, resolve=True, enum_to_str=True)  # type: ignore[return-value]
    except OmegaConfBaseException:
        return OmegaConf.to_container(node, resolve=False, enum_to_str=True)  # type: ignore[return-value]


def _to_node(cfg: Any) -> DictConfig:
    # A structured node refuses values of a subclass's extra fields; plain data has no such trouble.
    data = dataclasses.asdict(cfg) if dataclasses.is_dataclass(cfg) and not isinstance(cfg, type) else cfg
    return OmegaConf.create(data)


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out


def defaults(cfg: Any) -> dict[str, Any]:
    """What each setting of a typed config is unless somebody sets it, by dotted key; empty for one without types."""
    if not dataclasses.is_dataclass(cfg) or isinstance(cfg, type):
        return {}
    options = {f.name: type(getattr(cfg, f.name)) for f in dataclasses.fields(cfg)}
    return flat(plain_config({s.key: s.default for s in declared(type(cfg), options) if not s.is_group}))


def _get(config: dict[str, Any], dotted: str) -> Any:
    node: Any = config
    for part in dotted.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _set(config: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for part in parents:
        config = config[part]
    config[last] = value


def _declared(step: str) -> dict[str, Setting]:
    """What a step's settings are declared to be, by dotted key; empty for a step without settings."""
    schema = COMMANDS.get(step.replace("_", "-"))
    return {s.key: s for s in declared(schema)} if schema else {}


def references(step: str, config: dict[str, Any]) -> list[tuple[str, Reference, list[str]]]:
    """``(key, what it names, names)`` of every setting of a step's config that names artifacts and is set."""
    found = []
    for key, one in _declared(step).items():
        if one.reference is None or (one.reference.unless and _get(config, one.reference.unless)):
            continue
        value = _get(config, key)
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and (names := [str(v) for v in values if v and v != REQUIRED]):
            found.append((key, one.reference, names))
    return found


def _external_files(step: str, config: dict[str, Any]) -> dict[str, str]:
    """Hashes of the files and folders on this machine that a config points to, e.g. a robot model or a label file."""
    named = {key: _file(_get(config, key), one.file) for key, one in _declared(step).items() if one.file}
    return {key: fingerprint(path) for key, path in named.items() if path is not None}


def _file(value: Any, by_name: bool | str) -> Path | None:
    """The file or folder that a setting points to; None where there is none."""
    if not value or not isinstance(value, str):
        return None
    paths = [Path(value).expanduser(), *([Path(by_name.format(value))] if isinstance(by_name, str) else [])]
    return next((path for path in paths if path.exists()), None)


def _content(name: str, reference: Reference, root: str | Path) -> str:
    """What an input holds: an artifact, some episodes of one, or what was made elsewhere, e.g. ``init=snapshot.pt``."""
    path = Path(name).expanduser()
    if path.is_file():
        return fingerprint(path)
    if reference.episodes and (folder := image_folder(name, root)):
        return fingerprint(folder)
    whole, which = split_episodes(name) if reference.episodes else (name, "")
    content = resolve(whole, reference.kind, root).fingerprint
    return f"{content}:{which}" if which else content


def step_key(step: str, cfg: Any, root: str | Path) -> str:
    """Sixteen hex digits that two runs of ``step`` share when they must give equivalent artifacts.

    Covers the config (without `VOLATILE` keys), the meaning of the code the step can reach, and the content of
    its inputs, which replaces their names and versions.

    Raises:
        UserError: an input does not exist.
    """
    step = step.replace("_", "-")
    config = plain_config(cfg)
    for key, reference, names in references(step, config):
        _set(config, key, [_content(name, reference, root) for name in names])
    record = {
        "step": step,
        "config": {k: v for k, v in config.items() if k not in VOLATILE},
        "files": _external_files(step, config),
        "code": code_fingerprint(STEPS[step].module),
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _git(*arguments: str) -> str | None:
    """Output of a git command in the checkout this code runs from; None outside a checkout or without git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _in_own_checkout() -> bool:
    """False for an installed wheel that happens to lie inside somebody else's repository."""
    top = _git("rev-parse", "--show-toplevel")
    return top is not None and Path(top).resolve() == PACKAGE.parent


def code_version() -> dict[str, Any]:
    """The commit and whether the tree differs from it; empty when the code is not in its git checkout."""
    if not _in_own_checkout():
        return {}
    changes = _git("status", "--porcelain")
    return {"commit": _git("rev-parse", "--verify", "HEAD") or "", "dirty": bool(changes)}


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide results, read from their metadata without importing them."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    return found


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def duration_s(record: dict[str, Any]) -> float | None:
    """Wall time between ``started`` and ``finished`` of a ``run.yaml``; None where either is missing."""
    try:
        start, end = (datetime.fromisoformat(str(record[key])) for key in ("started", "finished"))
    except (KeyError, ValueError):
        return None
    return (end - start).total_seconds()


def started_record(step: str, cfg: Any, inputs: list[dict[str, str]], seed: int, root: str | Path) -> dict[str, Any]:
    """The part of ``run.yaml`` that is known before the work starts."""
    return {
        **RUN.stamp(),
        "step": step,
        "status": "unfinished",
        "key": step_key(step, cfg, root),
        "argv": list(sys.argv),
        "seed": seed,
        "config": plain_config(cfg),
        "inputs": inputs,
        "code": code_version(),
        "packages": package_versions(),
        "started": now(),
    }


def peak_memory_mb() -> int:
    """The most memory this process has held so far, in MiB; in a pipeline that includes the steps before."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
