"""A pipeline file as data: which commands, in which order, with which settings.

The format::

    seeds: [0, 1, 2]          # the chain under `each_seed` runs once per seed
    jobs: 2                   # steps side by side, of one seed and of several: the number of processes
    vars: {image: 64}         # values to refer to, and to change from the command line: vars.image=84
    common:                   # settings for every step that has them
      env.image_height: ${vars.image}
    each_seed:                # label: {command: {setting: value, ...}}
      demos:
        record: {task.stratum: near, episodes: 20}
      bc:
        bc-pretrain: {datasets: ["${out.demos}"]}
    together:                 # after all seeds
      report:
        report: {artifacts: ["${all.bc}"]}
    seconds: {demos: 20}      # about how long steps take, to be told beforehand until earlier runs say better

`${out.<label>}` is the artifact an earlier step of the same seed wrote, `${all.<label>}` the list of them over all
seeds (lists inside lists are flattened), `${seed}` the seed. Unless set, a step's `name` is
`<pipeline>-<label>-s<seed>` (`<pipeline>-<label>` under `together`), its `seed`, where it has one, that seed, and its
`root` the pipeline's.

A step waits for the earlier steps whose artifacts it names, by such a reference or by their own name, and for no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from hiltk.configuring.composing import settings
from hiltk.configuring.files import pipelines, shipped
from hiltk.configuring.typed import compose
from hiltk.configuring.words import override
from hiltk.errors import ConfigError, HiltkError, nearest
from hiltk.verbs import STEPS, VERBS, Verb, default_root

_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_WORD = re.compile(r"[A-Za-z0-9._-]+")  # a name; a version or a choice of episodes behind it is another word


@dataclass
class PipelineConf:
    """The top level of a pipeline file."""

    seeds: list[int] = field(default_factory=lambda: [0])
    jobs: int = 1
    root: str = field(default_factory=default_root)
    vars: dict[str, Any] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)
    each_seed: dict[str, Any] = field(default_factory=dict)
    together: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One command of a chain; ``settings`` may still hold interpolations."""

    label: str
    verb: Verb
    settings: dict[str, Any]


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline. A step of ``each_seed`` or ``together`` may need those before it."""

    name: str
    seeds: tuple[int, ...]
    jobs: int
    root: str
    vars: dict[str, Any]
    each_seed: tuple[Step, ...]
    together: tuple[Step, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def config(self, step: Step, seed: int | None, made: Mapping[str, Any]) -> Any:
        """The typed config of one step.

        Args:
            step: one of ``each_seed`` (with its ``seed``) or of ``together`` (``seed`` None).
            made: references of what earlier steps wrote: by label, or for ``together`` lists of them.

        Raises:
            ConfigError: a setting does not fit the command, or refers to something that is not there.
        """
        return compose(step.verb, self._overrides(step, seed, made))

    def name_of(self, step: Step, seed: int | None) -> str:
        """What a step's artifact is called, as far as its settings say so in plain words."""
        own = f"{self.name}-{step.label}" + ("" if seed is None else f"-s{seed}")
        return str(step.settings.get("name") or own)

    def _overrides(self, step: Step, seed: int | None, made: Mapping[str, Any]) -> list[str]:
        defaults: dict[str, Any] = {"name": self.name_of(step, seed), "root": self.root}
        if _has(step.verb, "seed"):
            defaults["seed"] = seed or 0
        names = {"vars": self.vars, "seed": seed, "out" if seed is not None else "all": dict(made)}
        values = _resolve({**defaults, **step.settings}, names, step.label)
        return [override(key, _flat(value)) for key, value in values.items()]

    def check(self) -> None:
        """Compose every step once, with stand-ins for artifacts that do not exist yet.

        Raises:
            ConfigError: naming the step at fault.
        """
        assert self.needs is not None

    @cached_property
    def needs(self) -> dict[str, frozenset[str]]:
        """The labels of the earlier steps that each step waits for: those whose artifacts it names, or also writes.

        A name counts wherever it stands as a word of its own among the settings that a step is given: to wait in vain
        costs little, to start too early a run.

        Raises:
            ConfigError: a step's settings do not fit.
        """
        names: dict[str, str] = {}
        found: dict[str, frozenset[str]] = {}
        for step in (*self.each_seed, *self.together):
            seed = self.seeds[0] if step in self.each_seed else None
            made = {label: name if seed is not None else [name] for label, name in names.items()}
            name = self._checked(step, seed, made).name
            said = " ".join(o.partition("=")[2] for o in self._overrides(step, seed, made) if not o.startswith("root="))
            words = set(_WORD.findall(said))
            found[step.label] = frozenset(label for label, earlier in names.items() if earlier in words)
            names[step.label] = name
        return found

    def _checked(self, step: Step, seed: int | None, made: Mapping[str, Any]) -> Any:
        try:
            return self.config(step, seed, made)
        except HiltkError as error:
            raise ConfigError(
                f"step '{step.label}' of pipeline '{self.name}': {error.what}", where=error.where, fix=error.fix
            ) from error


def _resolve(values: dict[str, Any], names: dict[str, Any], label: str) -> dict[str, Any]:
    try:
        node = OmegaConf.create({**names, "_step": values})
        return OmegaConf.to_container(node._step, resolve=True)  # type: ignore[return-value]
    except InterpolationResolutionError as error:
        word = re.search(r"Interpolation key '([^']+)'", str(error))
        known = [f"{group}.{key}" for group, value in names.items() if isinstance(value, dict) for key in value]
        what = f"${{{word[1]}}} is not there yet" if word else str(error).splitlines()[0]
        fix = nearest(word[1], known) if word else ""
        raise ConfigError(what, where=f"step '{label}'", fix=fix or f"there are: {', '.join(known)}") from error


def _flat(value: Any) -> Any:
    """Lists inside lists, as ``["${all.bc}", "${all.hil}"]`` gives them, become one list of texts."""
    if not isinstance(value, list) or not any(isinstance(v, list) for v in value):
        return value
    return [item for v in value for item in (v if isinstance(v, list) else [v])]


# ---------------------------------------------------------------- reading


def find(name: str) -> Path:
    """The file of a pipeline, by name or path.

    Raises:
        ConfigError: there is none; the nearest name is given.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if Path(name).is_file():
            return Path(name)
        raise ConfigError("there is no such pipeline file", where=name)
    if name not in pipelines():
        listed = f"there are: {', '.join(pipelines())}"
        near = nearest(name, pipelines())
        raise ConfigError(f"there is no pipeline '{name}'", fix=f"{near}  ({listed})" if near else listed)
    return shipped("pipelines") / f"{name}.yaml"


def load(name: str, changes: list[str] | None = None) -> Pipeline:
    """Read a pipeline and apply ``key=value`` changes to its top level, or ``<label>.<setting>=value`` to a step.

    Every step's settings are checked.

    Raises:
        ConfigError: the file or a change does not fit.
    """
    file = find(name)
    conf = _read(file)
    for change in changes or []:
        _apply(conf, change)
    pipeline = _build(file.stem, conf)
    pipeline.check()
    return pipeline


def _read(file: Path) -> PipelineConf:
    try:
        return _merged(OmegaConf.load(file), str(file))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the pipeline cannot be read: {error}", where=str(file)) from error


def _merged(data: Any, where: str) -> PipelineConf:
    schema = OmegaConf.structured(PipelineConf)
    known = list(schema)
    for key in data:
        if key not in known:
            raise ConfigError(f"'{key}' has no meaning in a pipeline", where=where, fix=_hint(str(key), known))
    try:
        merged = OmegaConf.merge(schema, data)
        return PipelineConf(**OmegaConf.to_container(merged, resolve=False))  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0], where=where) from error


def _hint(word: str, known: list[str]) -> str:
    return nearest(word, known) or f"there are: {', '.join(known)}"


def _apply(conf: PipelineConf, change: str) -> None:
    """One ``key=value`` from the command line; the value is read as YAML."""
    path, equals, text = change.partition("=")
    if not equals:
        raise ConfigError(f"'{change}' is not a setting", fix="settings look like key=value")
    head, _, rest = path.partition(".")
    labels = {**conf.each_seed, **conf.together}
    value = _parsed(text, change)
    if head in labels and rest:
        _settings_of(labels[head], head)[rest] = value
    elif head in ("vars", "common") and rest:
        _set_existing(conf, head, rest, value)
    elif head in ("seeds", "jobs", "root") and not rest:
        if head == "seeds" and isinstance(value, int):
            value = [value]
        checked = _merged(OmegaConf.create({head: value}), change)
        setattr(conf, head, getattr(checked, head))
    else:
        raise ConfigError(f"'{path}' is not a setting of this pipeline", fix=_hint(path, _changeable(conf)))


def _parsed(text: str, change: str) -> Any:
    try:
        return _number(yaml.safe_load(text)) if text else ""
    except yaml.YAMLError as error:
        raise ConfigError(
            f"'{text}' cannot be read as a value: {getattr(error, 'problem', None) or 'it is not YAML'}",
            where=change,
            fix="close every bracket and quote, e.g. seeds=[0,1]",
        ) from error


def _number(value: Any) -> Any:
    """YAML 1.1 takes ``1e-4`` for text; here it is a number, as everywhere else in hiltk."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def _set_existing(conf: PipelineConf, head: str, rest: str, value: Any) -> None:
    if head == "vars" and rest not in conf.vars:
        known = [f"vars.{v}" for v in conf.vars]
        raise ConfigError(f"this pipeline has no 'vars.{rest}'", fix=_hint(f"vars.{rest}", known))
    getattr(conf, head)[rest] = value


def _changeable(conf: PipelineConf) -> list[str]:
    steps = [f"{label}.<setting>" for label in (*conf.each_seed, *conf.together)]
    return ["seeds", "jobs", "root", *(f"vars.{v}" for v in conf.vars), "common.<setting>", *steps]


# ---------------------------------------------------------------- building


def _build(name: str, conf: PipelineConf) -> Pipeline:
    if not conf.seeds:
        raise ConfigError("a pipeline needs at least one seed", where=name, fix="seeds: [0]")
    if conf.jobs < 1:
        raise ConfigError(f"jobs={conf.jobs}: at least one step must run at a time", where=name, fix="jobs=1")
    if min(conf.seeds) < 0:
        raise ConfigError("a seed cannot be negative", where=f"seeds={conf.seeds}", fix="seeds=[0]")
    if len(set(conf.seeds)) < len(conf.seeds):
        raise ConfigError("a seed appears twice", where=f"seeds={conf.seeds}")
    each, together = _steps(conf.each_seed, conf.common), _steps(conf.together, conf.common)
    _check_labels([s.label for s in (*each, *together)])
    _check_common(conf.common, (*each, *together))
    _check_seconds(conf.seconds, [s.label for s in (*each, *together)])
    return Pipeline(name, tuple(conf.seeds), conf.jobs, conf.root, conf.vars, each, together, conf.seconds)


def _check_labels(labels: list[str]) -> None:
    if not labels:
        raise ConfigError("the pipeline has no steps", fix="list them under each_seed: or together:")
    for label in labels:
        if not _LABEL.fullmatch(label) or label in PipelineConf.__dataclass_fields__:
            raise ConfigError(f"'{label}' cannot be a step's label", fix="use small letters, digits and '_'")
        if labels.count(label) > 1:
            raise ConfigError(f"two steps are called '{label}'", fix="give each step its own label")


def _steps(section: dict[str, Any], common: dict[str, Any]) -> tuple[Step, ...]:
    return tuple(_step(label, entry, common) for label, entry in section.items())


def _step(label: str, entry: Any, common: dict[str, Any]) -> Step:
    own = _settings_of(entry, label)
    verb = STEPS[next(iter(entry))]
    shared = {key: value for key, value in common.items() if _has(verb, key)}
    return Step(label, verb, {**shared, **own})


def _settings_of(entry: Any, label: str) -> dict[str, Any]:
    """The settings of ``{command: {...}}``, made if absent, so that they can be changed in place."""
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ConfigError(
            "a step is one command with its settings", where=f"step '{label}'", fix=f"{label}: {{record: {{}}}}"
        )
    command = str(next(iter(entry)))
    if command not in STEPS:
        what = f"`hiltk {command}` writes no artifact" if command in VERBS else f"there is no command '{command}'"
        raise ConfigError(what, where=f"step '{label}'", fix=_hint(command, list(STEPS)))
    entry[command] = entry[command] or {}
    if not isinstance(entry[command], dict):
        raise ConfigError(
            "settings are a mapping", where=f"step '{label}'", fix=f"{label}: {{{command}: {{key: value}}}}"
        )
    return entry[command]


def _top_level(verb: Verb) -> set[str]:
    return {key.split(".")[0] for key in settings(verb)}


def _has(verb: Verb, key: str) -> bool:
    return key.split(".")[0] in _top_level(verb)


def _check_common(common: dict[str, Any], steps: tuple[Step, ...]) -> None:
    for key in common:
        if not any(key in step.settings for step in steps):
            known = sorted({k for step in steps for k in _top_level(step.verb)})
            raise ConfigError(f"no step has the setting '{key}'", where="common", fix=_hint(key, known))


def _check_seconds(seconds: dict[str, float], labels: list[str]) -> None:
    for label, value in seconds.items():
        if label not in labels:
            raise ConfigError(f"there is no step '{label}'", where="seconds", fix=_hint(label, labels))
        if value <= 0:
            raise ConfigError(f"{label}: {value:g} is not a duration", where="seconds", fix="seconds, above 0")
