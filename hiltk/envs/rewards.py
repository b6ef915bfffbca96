"""The success rule around an environment: a judge's opinion of each observation becomes reward and end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym
import numpy as np

from hiltk.envs.base import HilEnv, Info
from hiltk.errors import ConfigError
from hiltk.findings import Finding
from hiltk.observation import Observation, ObservationPipeline
from hiltk.reward_rule import Hold, check_rule, end, is_positive, is_success_reward, step_reward
from hiltk.spec import STATE_KEY, RewardSpec, Spec

if TYPE_CHECKING:
    from hiltk.rewards.drift import DriftMonitor

Judge = Callable[[Observation, Info], bool]


class Classifier(Protocol):
    """What the rule needs of `hiltk.rewards.classifier.SuccessClassifier`."""

    @property
    def threshold(self) -> float: ...

    def probability(self, observation: Observation) -> float: ...


def predicate_judge(observation: Observation, info: Info) -> bool:
    """The task's own predicate."""
    return bool(info["success_now"])


def nobody_judge(observation: Observation, info: Info) -> bool:
    """Never: a person does, after the episode."""
    return False


def classifier_judge(classifier: Classifier) -> Judge:
    """The classifier's probability against its own threshold; the number is left in ``info["success_probability"]``."""

    def judge(observation: Observation, info: Info) -> bool:
        info["success_probability"] = float(classifier.probability(observation))
        return bool(is_positive(info["success_probability"], classifier.threshold))

    return judge


def shows_success(env: HilEnv, info: Info) -> bool:
    """Whether an observation shows success, for its label: the predicate, or the rule's verdict where there is none."""
    return bool(info["success_now"] if env.has_predicate else info["success"])


class SuccessRule(HilEnv):
    """An environment with reward: observations through the pipeline, success judged, held, rewarded once.

    Success is declared at the first step that is not before ``min_steps`` (counted from 1) and whose observation ends a
    run of ``hold_steps`` positive ones; the observation of `reset` does not count. Its reward is ``success_value``, and
    the episode ends; that of every other step is ``step_value``, positive or not, so flicker gains nothing (devlog 072
    rewarded every positive frame, and hovering at the threshold beat finishing the task). Where the inner environment
    ends the episode itself, its last observation decides alone. With ``source: env`` reward and end are the inner
    environment's own.

    Keys added to ``info``, also at `reset`: ``success`` (the verdict, true from then on), ``true_success`` (the task's
    own predicate has held for ``true_hold_steps``, true from then on; None where there is no predicate),
    ``timeout`` (bool), and with a classifier ``success_probability``.

    Args:
        env: gives no reward and does not end by success (or does, see above). What it declares holds here, too.
        spec: the rule; copied into ``io_spec.reward``.
        judge: whether success shows in an observation; None: by ``spec.source``, the predicate, or nobody (person).
        end_on_success: False keeps the episode open after success, for recorders that want more positive frames.
            May be changed between steps.
        true_hold_steps: the task's own hold time in steps; 0: ``spec.hold_steps``.
        drift: whom the judge shows every observation; told here when an episode begins.

    Raises:
        ConfigError: a value of the rule is unknown or out of range, or a classifier's judge or a predicate is missing.
    """

    def __init__(
        self,
        env: HilEnv,
        spec: RewardSpec,
        judge: Judge | None = None,
        *,
        end_on_success: bool = True,
        true_hold_steps: int = 0,
        drift: DriftMonitor | None = None,
    ) -> None:
        check_rule(spec)
        if judge is None and spec.source == "classifier":
            raise ConfigError("reward.source=classifier needs a classifier", fix="set reward.classifier=<name>")
        if judge is None and spec.source == "predicate" and not env.has_predicate:
            raise ConfigError(
                "this environment does not say when its task is done",
                where="reward.source=predicate",
                fix="reward=classifier reward.classifier=NAME" + (", or reward=env" if env.has_own_reward else ""),
            )
        self.env = env
        self.rule = spec
        self.judge = judge or (nobody_judge if spec.source == "person" else predicate_judge)
        self.end_on_success = end_on_success
        self.io_spec = copy.deepcopy(env.io_spec)
        self.io_spec.reward = copy.deepcopy(spec)
        self.has_predicate, self.has_own_reward, self.repeatable = env.has_predicate, env.has_own_reward, env.repeatable
        self.person_sets_scene = env.person_sets_scene
        self.strata, self.max_steps, self.renderer_name = env.strata, env.max_steps, env.renderer_name
        self.drift = drift
        self.observation_space = observation_space(self.io_spec)
        self.action_space = env.action_space
        self.metadata, self.render_mode = env.metadata, env.render_mode
        self._pipeline = ObservationPipeline(self.io_spec)
        self.true_hold_steps = true_hold_steps or spec.hold_steps
        self._start_episode()

    @property
    def unwrapped(self) -> Any:
        """The bare environment, e.g. the `So101SimEnv` a scripted expert looks into."""
        return self.env.unwrapped

    @property
    def fps(self) -> float:
        """Control rate, Hz."""
        return self.io_spec.fps

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        raw, info = self.env.reset(seed=seed, options=options)
        observation = self._pipeline(raw)
        self._start_episode()
        info = dict(info)
        if self.rule.source != "env":
            self.judge(observation, info)  # for the probability it may leave; what it says does not count
        info |= {"success": False, "true_success": self._true_success(info), "timeout": False}
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, Info]:
        raw, env_reward, ended, truncated, info = self.env.step(action)
        observation, info = self._pipeline(raw), dict(info)
        reward, over = self._judge(observation, info, float(env_reward), ended)
        info["success"], info["timeout"] = self._hold.held, bool(truncated and not over)
        if self.has_predicate:
            self._true_hold.see(bool(info["success_now"]), last=ended)
        info["true_success"] = self._true_success(info)
        terminated, closed = end(self.rule, over=over, timeout=truncated)
        if terminated or closed:
            self.env.rest()
        return observation, reward, terminated, closed, info

    def rest(self) -> None:
        self.env.rest()

    def take_findings(self) -> list[Finding]:
        return self.env.take_findings()

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()

    def _start_episode(self) -> None:
        if self.drift:
            self.drift.begin()
        self._hold = Hold(self.rule.hold_steps, self.rule.min_steps)
        self._true_hold = Hold(self.true_hold_steps)

    def _judge(self, observation: Observation, info: Info, env_reward: float, ended: bool) -> tuple[float, bool]:
        """Reward, and whether the episode is over; updates the hold."""
        if self.rule.source == "env":
            positive = info["success_now"] if self.has_predicate else is_success_reward(env_reward, self.rule)
            self._hold.held = self._hold.held or (ended and bool(positive))
            return env_reward, ended
        newly = self._hold.see(self.judge(observation, info), last=ended)
        return step_reward(self.rule, success=newly), ended or (self._hold.held and self.end_on_success)

    def _true_success(self, info: Info) -> bool | None:
        return self._true_hold.held if self.has_predicate else None


def observation_space(spec: Spec, *, native: bool = False) -> gym.spaces.Dict:
    """The Gymnasium space of what the observation pipeline returns for ``spec``.

    Args:
        native: of what goes into it, with images as the cameras give them.
    """
    spaces: dict[str, gym.Space[Any]] = {
        STATE_KEY: gym.spaces.Box(-np.inf, np.inf, (len(spec.state.dims),), np.float32)
    }
    for image in spec.images:
        size = (image.native_height, image.native_width) if native else (image.height, image.width)
        spaces[image.key] = gym.spaces.Box(0, 255, (*size, 3), np.uint8)
    return gym.spaces.Dict(spaces)
