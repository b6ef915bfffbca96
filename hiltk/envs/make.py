"""The environments there are; builds the one that a config asks for, with its reward rule around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from hiltk.config.groups import EnvConf, GymnasiumConf, Pace, RewardConf, So101Conf, So101SimConf, TaskConf
from hiltk.envs.base import HilEnv, Info, SceneEnv
from hiltk.envs.gymnasium_env import GymnasiumEnv
from hiltk.envs.rewards import Judge, SuccessRule, classifier_judge
from hiltk.envs.so101 import So101Env
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.errors import ConfigError, nearest
from hiltk.observation import Observation
from hiltk.reward_rule import check_rule, earliest_success
from hiltk.spec import RewardSpec, say_what_differs

if TYPE_CHECKING:
    import torch

    from hiltk.artifacts.store import Artifact
    from hiltk.rewards.classifier import SuccessClassifier
    from hiltk.rewards.drift import DriftMonitor


@dataclass(frozen=True)
class EnvRow:
    """One row of `ENVS`: the options of an environment, and its class, which says what it has."""

    conf: type[EnvConf]
    env: type[HilEnv]


# By `env.name`. Another package adds a row of its own before it calls hiltk.
ENVS: dict[str, EnvRow] = {
    "so101_sim": EnvRow(So101SimConf, So101SimEnv),
    "so101": EnvRow(So101Conf, So101Env),
    "gymnasium": EnvRow(GymnasiumConf, GymnasiumEnv),
}


def make_env(
    env: EnvConf,
    task: TaskConf,
    reward: RewardConf,
    *,
    seed: int,
    root: str | None = None,
    classifier: SuccessClassifier | None = None,
    device: torch.device | str = "cpu",
) -> SuccessRule:
    """The environment of ``env`` under the reward rule of ``reward``.

    A hold of 0 steps means the task's own (``reward.source=predicate``). With a classifier, threshold and hold are
    those stored with it, and its minimum steps the least: they were chosen together, on episodes it had not seen.

    Args:
        seed: of the first episode, where `reset` is not given one.
        root: the folder of all artifacts, for ``reward.classifier``; None: the default.
        classifier: used instead of loading ``reward.classifier``.
        device: where a loaded classifier runs.

    Raises:
        ConfigError: an unknown environment, reward source or value, a missing classifier, or a rule that no episode of
            this task can satisfy.
        UserError: the classifier does not exist, or was made for other images than this environment gives.
    """
    _check_source(reward, classifier)
    bare = make_bare_env(env, task, seed=seed)
    if reward.source != "classifier":
        return _with_rule(bare, task, _rule(reward, task.hold_steps if reward.source == "predicate" else 1))
    artifact = _resolve(reward.classifier, root) if reward.classifier else None
    classifier = classifier or _load(artifact).to(device)
    classifier.require_fits(bare.io_spec.images, name=f"env={env.name}")
    say_what_differs(classifier.spec, bare.io_spec, left_name="the classifier", right_name=f"env={env.name}")
    rule = _rule(reward, classifier.hold_steps)
    rule.min_steps = max(rule.min_steps, classifier.min_steps)
    rule.threshold = float(classifier.threshold)
    rule.classifier = artifact.fingerprint if artifact else ""
    return _with_rule(bare, task, rule, classifier)


def make_bare_env(env: EnvConf, task: TaskConf, *, seed: int) -> HilEnv:
    """The environment of ``env`` without a reward rule.

    Raises:
        ConfigError: its name is unknown, its config is not the one of that name, or it has no paces.
    """
    cls = env_class(env)
    if task.pace is not Pace.quick and not cls.has_paces:
        raise ConfigError(
            "only the simulated arm can be given another pace, this environment keeps its own",
            where=f"task.pace={task.pace.name}, env={env.name}",
            fix="leave it out, or env=so101_sim",
        )
    return cls(env, task, seed)


def env_class(env: EnvConf) -> type[HilEnv]:
    """The class of the environment that ``env`` configures: says what it has before it is built.

    Raises:
        ConfigError: its name is unknown, or its config is not the one of that name.
    """
    if env.name not in ENVS:
        names = ", ".join(ENVS)
        raise ConfigError(
            f"there is no environment '{env.name}'; there are: {names}",
            where=f"env.name={env.name}",
            fix=nearest(env.name, list(ENVS)) or "other packages' environments: env=gymnasium env.id=<their id>",
        )
    row = ENVS[env.name]
    if not isinstance(env, row.conf):
        raise ConfigError(f"'{env.name}' needs its own options", where="env", fix=f"select the group: env={env.name}")
    return row.env.of(env)


def scene_class(env: EnvConf, why: str = "only the simulated arm knows where its cube is") -> type[SceneEnv]:
    """As `env_class`, of an environment that knows and sets its scene.

    Args:
        why: what to say where it does not.

    Raises:
        ConfigError: it does not, or see `env_class`.
    """
    cls = env_class(env)
    if not issubclass(cls, SceneEnv) or not cls.repeatable:
        raise ConfigError(why, where="env", fix="env=so101_sim")
    return cls


def episode_steps(env: HilEnv, task: TaskConf) -> int:
    """Steps in the longest episode: the environment's own limit where it has one (``max_steps``), else the task's."""
    return env.max_steps or max(1, round(task.time_limit_s * env.io_spec.fps))


def announce_renderer(env: HilEnv) -> None:
    """Print which renderer draws the images (`auto` may have chosen it); nothing where hiltk draws none."""
    if env.renderer_name:
        Console().print(f"renderer: {env.renderer_name}", highlight=False)


def _check_source(reward: RewardConf, classifier: SuccessClassifier | None) -> None:
    if reward.source == "classifier" and classifier is None and not reward.classifier:
        raise ConfigError(
            "reward.source=classifier needs a classifier",
            where="reward.classifier is empty",
            fix="reward.classifier=<name of one that `hiltk train-classifier` made>",
        )
    if reward.source == "classifier" and reward.hold_steps:
        raise ConfigError(
            "the hold comes with the classifier, which it was chosen for",
            where=f"reward.hold_steps={reward.hold_steps}",
            fix="leave it out; to choose it by hand: hiltk train-classifier ... hold_steps=3",
        )


def _rule(reward: RewardConf, hold_steps: int) -> RewardSpec:
    return RewardSpec(
        source=reward.source,
        hold_steps=reward.hold_steps or hold_steps,
        min_steps=reward.min_steps,
        success_value=reward.success_value,
        step_value=reward.step_value,
        timeout=reward.timeout,
    )


def _with_rule(
    bare: HilEnv, task: TaskConf, rule: RewardSpec, classifier: SuccessClassifier | None = None
) -> SuccessRule:
    check_rule(rule)
    _check_reachable(bare, task, rule)
    drift = _monitor(classifier) if classifier else None
    judge = _watched(classifier, drift) if classifier else None
    return SuccessRule(bare, rule, judge, true_hold_steps=task.hold_steps, drift=drift)


def _monitor(classifier: SuccessClassifier) -> DriftMonitor | None:
    """What compares frames with the classifier's training images; None, and a line, where it knows nothing of them."""
    from hiltk.rewards.drift import UNWATCHED, DriftMonitor

    if classifier.statistics:
        return DriftMonitor(classifier.statistics)
    Console().print(UNWATCHED, highlight=False, soft_wrap=True)
    return None


def _watched(classifier: SuccessClassifier, drift: DriftMonitor | None) -> Judge:
    """The classifier's judge; what its encoder made of a frame is shown to the monitor."""
    judge = classifier_judge(classifier)
    if drift is None:
        return judge

    def watch(observation: Observation, info: Info) -> bool:
        positive = judge(observation, info)
        drift.see(observation, classifier.embedding[0].cpu().numpy())
        return positive

    return watch


def _check_reachable(bare: HilEnv, task: TaskConf, rule: RewardSpec) -> None:
    """Refuse a rule that every episode would time out under."""
    steps = episode_steps(bare, task)
    if earliest_success(rule) > steps:
        raise ConfigError(
            f"no episode is long enough for success: it ends after {steps} steps",
            where=f"reward.hold_steps={rule.hold_steps}, reward.min_steps={rule.min_steps}",
            fix="raise task.time_limit_s, or lower them",
        )


def _resolve(reference: str, root: str | None) -> Artifact:
    from hiltk.artifacts.store import resolve

    return resolve(reference, "classifiers", root)


def _load(artifact: Artifact | None) -> SuccessClassifier:
    from hiltk.rewards.classifier import SuccessClassifier

    assert artifact is not None, "`_check_source` asks for a reference where there is no classifier"
    return SuccessClassifier.load(artifact.path)
