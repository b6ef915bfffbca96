"""What every environment offers, be it a simulated arm, a real one or somebody else's Gymnasium environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from hiltk.arm.control import Control
from hiltk.config.groups import EnvConf, JitterConf, TaskConf
from hiltk.envs.tasks import Situation
from hiltk.findings import Finding
from hiltk.spec import Spec

if TYPE_CHECKING:
    from hiltk.rewards.drift import DriftMonitor

RawObservation = dict[str, Any]
Info = dict[str, Any]


class HilEnv(gym.Env[RawObservation, np.ndarray]):
    """A Gymnasium environment that carries a spec, and says what it has: nobody asks which environment it is.

    Observations are mappings with ``observation.state`` (D,) in the spec's units and
    ``observation.images.<camera>`` (H, W, 3) uint8 RGB. Actions are float32 (A,) as the spec's `ActionSpec` says.
    ``reset(seed=..., options={"stratum": "far"})`` spawns inside one named stratum.

    A bare environment gives no reward and never ends by success, unless `has_own_reward`; it only truncates at its
    time limit. The reward rule is applied outside, by `hiltk.envs.rewards.SuccessRule`. Keys of ``info``:

    - ``success_now`` (bool): the task's own predicate in this observation; only with `has_predicate`.
    - ``missing_m`` (float): what is missing for it, where that is a length; 0 where nothing is.
    - ``stratum`` (str): where this episode spawned.
    - ``executed_action`` (A,): what was really done, after clipping.

    Attributes:
        has_predicate: it can tell success by itself. An arm on a desk cannot.
        has_own_reward: its own reward and ends are what its task is about.
        repeatable: the same seed, options and actions give the same episode bit for bit.
        has_paces: ``task.pace`` means something to it.
        person_sets_scene: a person puts the cube where an episode's stratum wants it.
        strata: names of the parts of the spawn area, where it has such.
        max_steps: of its longest episode; 0: as many as fit into the task's time limit.
        renderer_name: what draws the images, where hiltk does.
        drift: compares what is seen with what the reward classifier was trained on.
    """

    io_spec: Spec
    has_predicate: bool = False
    has_own_reward: bool = False
    repeatable: bool = False
    has_paces: bool = False
    person_sets_scene: bool = False
    strata: tuple[str, ...] = ()
    max_steps: int = 0
    renderer_name: str = ""
    drift: DriftMonitor | None = None

    def __init__(self, conf: Any = None, task: TaskConf | None = None, seed: int = 0) -> None:
        """How `hiltk.envs.make` builds it.

        Args:
            conf: those of its row in `hiltk.envs.make.ENVS`.
            task: success predicate, time limit and spawn area, as far as they mean anything here.
            seed: of the first episode, where `reset` is not given one.
        """

    @classmethod
    def of(cls, conf: Any) -> type[HilEnv]:
        """The class that these options ask for: itself, unless they say more than the name does.

        Raises:
            UserError: what they point to cannot be read.
        """
        return cls

    def rest(self) -> None:
        """No action follows for a while: the episode has ended, a network learns, a person is asked."""

    def take_findings(self) -> list[Finding]:
        """What the hardware had to say since this was last asked: a servo that gets hot, a supply that sags."""
        return []

    @classmethod
    def film_conf(cls, conf: Any) -> EnvConf | None:
        """The same environment seen by more and sharper cameras, for films; None where cameras cannot be chosen."""
        return None


class SceneEnv(HilEnv):
    """An environment that knows its scene and can set it: an arm and a cube, as `hiltk.envs.tasks` describes them.

    ``reset(options={"cube_pose": (x_m, y_m, yaw_deg)})`` puts the cube there. Positions are in the base frame.

    Attributes:
        task: success predicate, time limit and spawn area.
        situation: what the task's predicate judges, now.
        control: what actions do to the arm.
        closing_in: whether the last step brought the tcp nearer to the cube.
    """

    has_predicate = True
    repeatable = True
    task: TaskConf
    situation: Situation
    closing_in: bool
    control: Control

    @classmethod
    def jittered(cls, conf: Any, jitter: JitterConf) -> EnvConf:
        """The same environment with this change of appearance."""
        raise NotImplementedError

    @classmethod
    def blind(cls, conf: Any) -> EnvConf:
        """The same environment without cameras."""
        raise NotImplementedError

    def joints_deg(self) -> np.ndarray:
        """Measured joints (6,): degrees, gripper 0..100."""
        raise NotImplementedError

    def cube_position(self) -> np.ndarray:
        """The cube's centre (3,), metres."""
        raise NotImplementedError

    def tcp_position(self) -> np.ndarray:
        """The point between the finger tips (3,), metres."""
        raise NotImplementedError

    def jaw_axis(self) -> np.ndarray:
        """Unit vector (3,) from the fixed towards the moving jaw."""
        raise NotImplementedError

    def pending_motion(self) -> np.ndarray:
        """How far the end effector still has to go to where it was last commanded to be (3,), metres."""
        raise NotImplementedError
