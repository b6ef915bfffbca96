"""Any registered Gymnasium environment behind the contract of `HilEnv` (``env=gymnasium env.id=...``)."""

from __future__ import annotations

import importlib
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces.utils import flatdim, flatten
from numpy.random.mtrand import get_bit_generator, set_bit_generator

from hiltk.config.groups import GymnasiumConf, TaskConf
from hiltk.envs.base import HilEnv, Info, RawObservation
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.spec import (
    IMAGE_PREFIX,
    STATE_KEY,
    ActionSpec,
    Dimension,
    GripperFormat,
    ImageSpec,
    RobotSpec,
    Spec,
    StateSpec,
)

ROOT = "observation"  # name of the only entry of an observation that is not a mapping
DEFAULT_FPS = 10.0


@dataclass(frozen=True)
class Leaf:
    """One entry of a nested observation: its dotted name, how to reach it, and its space."""

    name: str
    path: tuple[Any, ...]
    space: gym.Space[Any]

    @property
    def is_image(self) -> bool:
        shape = self.space.shape
        return self.space.dtype == np.uint8 and shape is not None and len(shape) == 3 and shape[2] == 3

    def of(self, observation: Any) -> Any:
        for key in self.path:
            observation = observation[key]
        return observation

    def vector(self, observation: Any) -> np.ndarray:
        """The entry as numbers (D,) float32; discrete ones as one-hot."""
        value = self.of(observation)
        if not isinstance(self.space, gym.spaces.Box):
            value = flatten(self.space, value)
        return np.asarray(value, np.float32).reshape(-1)


class GymnasiumEnv(HilEnv):
    """Adapts somebody else's environment.

    Vectors of the observation (``conf.state_keys``, or all) are concatenated into ``observation.state`` with dimensions
    named ``<key>.<index>``; discrete entries become one-hot. Pictures (``conf.image_keys``, or all) become
    ``observation.images.<last part of the key>``. An observation without vectors gets one constant state dimension.

    Actions are in [-1, 1] on this side and mapped linearly to the bounds of the native box; the action spec's unit
    names the native range. ``info["success_now"]`` is ``info[conf.success_key]``, or where that is absent: the
    environment terminated with positive reward. A key that was asked for (another than the default) must appear by the
    end of the first episode.

    Unlike hiltk's own, the environment may give reward and end by itself; `SuccessRule` decides what becomes of it. An
    environment that registers no time limit gets the task's. The same seed gives the same episode, also for
    environments that draw from numpy's or Python's global random streams: they get private ones.

    Args:
        conf: id, module, and which parts of the observation to use.
        task: only ``time_limit_s`` is used.
        seed: of the first episode, when `reset` is not given one.

    Raises:
        ConfigError: the id, module or a key is unknown (the nearest is named), or the actions are no bounded box.
    """

    has_predicate = True
    has_own_reward = True
    repeatable = True
    strata = ("all",)

    def __init__(self, conf: GymnasiumConf, task: TaskConf | None = None, seed: int = 0) -> None:
        self._random = PrivateRandomness(seed)
        self._first_seed: int | None = seed
        self.conf = conf
        with self._random.active():
            self.native = make_native(conf)
        self.fps = conf.fps or float(self.native.metadata.get("render_fps") or DEFAULT_FPS)
        self.max_steps = self._time_limit(task or TaskConf())
        leaves = observation_leaves(self.native.observation_space)
        self._images = _choose(leaves, conf.image_keys, "image_keys", lambda leaf: leaf.is_image)
        self._vectors = _choose(leaves, conf.state_keys, "state_keys", lambda leaf: not leaf.is_image)
        for leaf in self._vectors:
            _check_vector(leaf)
        self._low, self._high = _action_bounds(self.native.action_space)
        self._cameras = _camera_names(self._images)
        self.io_spec = self._spec()
        self.observation_space = self._observation_space()
        self.action_space = gym.spaces.Box(-1.0, 1.0, self._low.shape, np.float32)
        self.metadata, self.render_mode = self.native.metadata, self.native.render_mode
        self._steps = 0
        self._key_owed = conf.success_key != GymnasiumConf.success_key  # until it has been seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[RawObservation, Info]:
        """Start an episode.

        Raises:
            ConfigError: ``options["stratum"]`` is not ``all``.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        stratum = options.pop("stratum", "all")
        if stratum not in self.strata:
            raise ConfigError(
                f"unknown stratum '{stratum}'", where=self.conf.id, fix="a Gymnasium environment has only 'all'"
            )
        seed = self._first_seed if seed is None else seed
        self._first_seed = None
        if seed is not None:
            self._random.seed(seed)
        with self._random.active():
            observation, info = self.native.reset(seed=seed, options=options or None)
        self._steps = 0
        return self._convert(observation), self._info(info, success=False)

    def step(self, action: np.ndarray) -> tuple[RawObservation, float, bool, bool, Info]:
        executed = self._check_action(action)
        with self._random.active():
            observation, reward, terminated, truncated, info = self.native.step(self._to_native(executed))
        self._steps += 1
        truncated = bool(truncated or self._steps >= self.max_steps)
        seen, info = list(info), self._info(info, success=bool(terminated and float(reward) > 0))
        info["executed_action"] = executed
        if self._key_owed and (terminated or truncated):
            raise self._no_such_key(seen)
        return (self._convert(observation), float(reward), bool(terminated), truncated, info)

    def render(self) -> Any:
        return self.native.render()

    def close(self) -> None:
        self.native.close()

    def _info(self, native: dict[str, Any], *, success: bool) -> Info:
        key = self.conf.success_key
        if key in native:
            success = _as_bool(native[key], key)
            self._key_owed = False
        return {**native, "success_now": success, "stratum": "all"}

    def _no_such_key(self, seen: list[str]) -> ConfigError:
        """Nobody will ever see it: nothing would be a success, and nothing would say why."""
        key = self.conf.success_key
        return ConfigError(
            f"info never had '{key}' in a whole episode",
            where=f"env.success_key={key}; {self.conf.id} says: {', '.join(seen) or 'nothing'}",
            fix=nearest(key, seen) or "one of these, or leave it out: success is then an end with a positive reward",
        )

    def _check_action(self, action: np.ndarray) -> np.ndarray:
        action = np.asarray(action, np.float32)
        if action.shape != self._low.shape:
            raise UserError(
                f"the action has shape {action.shape}, expected {self._low.shape}",
                where=", ".join(self.io_spec.action.names),
            )
        if not np.isfinite(action).all():
            raise UserError("the action is not finite", where=", ".join(self.io_spec.action.names))
        return np.clip(action, -1.0, 1.0)

    def _to_native(self, action: np.ndarray) -> np.ndarray:
        """From [-1, 1] (A,) to the native box, in its shape and dtype."""
        space = self.native.action_space
        native = self._low + (action.astype(np.float64) + 1) / 2 * (self._high - self._low)
        return np.clip(native, self._low, self._high).astype(space.dtype).reshape(space.shape)

    def _convert(self, observation: Any) -> RawObservation:
        # Everything is copied: environments may hand out the buffers they write the next observation into.
        parts = [leaf.vector(observation) for leaf in self._vectors]
        raw: RawObservation = {STATE_KEY: np.concatenate(parts) if parts else np.zeros(1, np.float32)}
        for name, leaf in zip(self._cameras, self._images, strict=True):
            raw[IMAGE_PREFIX + name] = np.array(leaf.of(observation))
        return raw

    def _time_limit(self, task: TaskConf) -> int:
        """Steps per episode: the registered limit, or the task's where the environment has none."""
        registered = self.native.spec.max_episode_steps if self.native.spec else None
        return registered or max(1, round(task.time_limit_s * self.fps))

    def _spec(self) -> Spec:
        dims = [dim for leaf in self._vectors for dim in _dimensions(leaf)] or [Dimension("constant", "1")]
        action = [
            Dimension(f"action.{i}", _native_unit(low, high), -1.0, 1.0)
            for i, (low, high) in enumerate(zip(self._low, self._high, strict=True))
        ]
        return Spec(
            task=self.conf.id,
            fps=self.fps,
            state=StateSpec(dims),
            # What the numbers do is the environment's business: no metres, no frame, no gripper dimension of ours.
            action=ActionSpec(action, scale_m=0.0, frame="", gripper=GripperFormat.none, gripper_step=0.0),
            images=[self._image_spec(n, leaf) for n, leaf in zip(self._cameras, self._images, strict=True)],
            robot=RobotSpec(name=self.conf.id),
        )

    def _image_spec(self, name: str, leaf: Leaf) -> ImageSpec:
        height, width, _ = leaf.space.shape or (0, 0, 0)
        return ImageSpec(name, self.conf.image_height or height, self.conf.image_width or width, height, width)

    def _observation_space(self) -> gym.spaces.Dict:
        size = len(self.io_spec.state.dims)
        spaces: dict[str, gym.Space[Any]] = {STATE_KEY: gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)}
        for image in self.io_spec.images:
            spaces[image.key] = gym.spaces.Box(0, 255, (image.native_height, image.native_width, 3), np.uint8)
        return gym.spaces.Dict(spaces)


def _as_bool(value: Any, key: str) -> bool:
    """What an environment says of success, as a truth value.

    Raises:
        ConfigError: it is neither one truth value nor one number.
    """
    number = np.asarray(value)
    if number.size != 1 or number.dtype.kind not in "biuf" or not np.isfinite(number).all():
        raise ConfigError(
            f"info['{key}'] is no truth value: {value!r}"[:200],
            where=f"env.success_key={key}",
            fix="name an entry that is true or false, or wrap the environment",
        )
    return bool(number.item())


class PrivateRandomness:
    """numpy's and Python's global random streams as one environment sees them.

    Environments such as gym-hil's draw from ``np.random`` itself, which ``reset(seed=...)`` does not seed. While
    `active`, the global streams are this object's; outside they go on where they were. Only the second of a pair of
    normal numbers, which ``np.random.randn`` keeps in store, is lost on the way in and on the way out.
    """

    def __init__(self, seed: int) -> None:
        self.seed(seed)

    def seed(self, seed: int) -> None:
        self._numpy = np.random.MT19937(seed)
        self._python = random.Random(seed).getstate()

    @contextmanager
    def active(self) -> Iterator[None]:
        # Swapping generators takes 0.2 microseconds, saving and restoring numpy's state 140.
        outer_numpy, outer_python = get_bit_generator(), random.getstate()
        set_bit_generator(self._numpy)
        random.setstate(self._python)
        try:
            yield
        finally:
            self._python = random.getstate()
            set_bit_generator(outer_numpy)
            random.setstate(outer_python)


def make_native(conf: GymnasiumConf) -> gym.Env[Any, Any]:
    """Import ``conf.module``, then make ``conf.id``, without a viewer and without needing OpenGL.

    Raises:
        ConfigError: the module cannot be imported, the id is not registered, or the constructor refuses the kwargs.
    """
    from hiltk.envs.headless import headless_mujoco

    if conf.module:
        _import(conf.module)
    try:
        with headless_mujoco(), warnings.catch_warnings():
            # About the environment's own declarations; nothing a user of it could fix.
            warnings.filterwarnings("ignore", module="gymnasium")
            return gym.make(conf.id, disable_env_checker=True, **conf.kwargs)
    except gym.error.UnregisteredEnv as error:
        raise _unknown_id(conf) from error
    except (gym.error.Error, ImportError) as error:
        raise ConfigError(f"the environment cannot be made: {error}", where=f"env.id={conf.id}") from error
    except TypeError as error:
        where = f"env.id={conf.id}, env.kwargs={conf.kwargs}"
        raise ConfigError(f"the environment refuses these arguments: {error}", where=where) from error


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the module that registers the environment cannot be imported: {error}",
            where=f"env.module={module}",
            fix=f"install the package that has '{module}', or correct the name",
        ) from error


def _unknown_id(conf: GymnasiumConf) -> ConfigError:
    fix = nearest(conf.id, list(gym.registry))
    if not conf.module:
        fix = f"{fix} " if fix else ""
        fix += "environments of other packages need env.module=<the package that registers them>"
    return ConfigError(f"no Gymnasium environment is called '{conf.id}'", where=f"env.id={conf.id}", fix=fix)


def observation_leaves(space: gym.Space[Any], path: tuple[Any, ...] = ()) -> list[Leaf]:
    """The entries of a nested observation space, depth first, with dotted names."""
    if isinstance(space, gym.spaces.Dict):
        return [leaf for key, inner in space.spaces.items() for leaf in observation_leaves(inner, (*path, key))]
    if isinstance(space, gym.spaces.Tuple):
        return [leaf for i, inner in enumerate(space.spaces) for leaf in observation_leaves(inner, (*path, i))]
    return [Leaf(".".join(map(str, path)) or ROOT, path, space)]


def _choose(leaves: list[Leaf], keys: list[str], option: str, default: Callable[[Leaf], bool]) -> list[Leaf]:
    """The leaves called ``keys`` in that order, or by default all for which ``default`` holds."""
    if not keys:
        return [leaf for leaf in leaves if default(leaf)]
    by_name = {leaf.name: leaf for leaf in leaves}
    for key in keys:
        if key not in by_name:
            fix = nearest(key, list(by_name)) or f"there are: {', '.join(by_name)}"
            raise ConfigError(f"the observation has no entry '{key}'", where=f"env.{option}", fix=fix)
        if not default(by_name[key]):
            kind = "not an (H, W, 3) uint8 image" if option == "image_keys" else "an image, not a vector"
            raise ConfigError(f"'{key}' is {kind}", where=f"env.{option}; its space: {by_name[key].space}")
    return [by_name[key] for key in keys]


def _check_vector(leaf: Leaf) -> None:
    """Refuse what would silently become thousands of state dimensions, or none."""
    picture_like = leaf.space.dtype == np.uint8 and len(leaf.space.shape or ()) >= 2
    if picture_like or not leaf.space.is_np_flattenable:
        raise ConfigError(
            f"'{leaf.name}' is neither a vector nor an (H, W, 3) uint8 image",
            where=f"its space: {leaf.space}",
            fix="name the entries to use in env.state_keys, or wrap the environment so that it gives RGB images",
        )


def _camera_names(images: list[Leaf]) -> list[str]:
    """The last part of each key, or all of it where two would share a name."""
    short = [leaf.name.rsplit(".", 1)[-1] for leaf in images]
    count = Counter(short)
    return [s if count[s] == 1 else leaf.name.replace(".", "_") for s, leaf in zip(short, images, strict=True)]


def _dimensions(leaf: Leaf) -> list[Dimension]:
    """One named dimension per number; the range is given where the space has a finite one."""
    size = flatdim(leaf.space)
    low, high = np.zeros(size), np.zeros(size)
    if isinstance(leaf.space, gym.spaces.Box):
        bounds = np.stack([leaf.space.low.ravel(), leaf.space.high.ravel()]).astype(float)
        low, high = np.where(np.isfinite(bounds).all(0), bounds, 0.0)
    names = [leaf.name] if size == 1 else [f"{leaf.name}.{i}" for i in range(size)]
    return [Dimension(n, "", float(lo), float(hi)) for n, lo, hi in zip(names, low, high, strict=True)]


def _action_bounds(space: gym.Space[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest native action, both (A,) float64."""
    if not isinstance(space, gym.spaces.Box):
        raise ConfigError(
            f"the environment's actions are {type(space).__name__}, hiltk's policies need a box of real numbers",
            where=f"its action space: {space}",
            fix="choose the environment's continuous variant, or wrap it",
        )
    low, high = space.low.ravel().astype(float), space.high.ravel().astype(float)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ConfigError("the environment's actions have no bounds", where=f"its action space: {space}")
    return low, high


def _native_unit(low: float, high: float) -> str:
    return "1" if (low, high) == (-1.0, 1.0) else f"[-1, 1] for [{low:g}, {high:g}]"
