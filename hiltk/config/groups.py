"""Config groups: parts of which a command takes one of several options, e.g. ``env=gymnasium``.

An option is a YAML file in ``conf/<group>/``, which may give the defaults here other values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from hiltk.config.setting import REQUIRED, setting
from hiltk.limits import after_success
from hiltk.spec import SOURCES, TIMEOUTS, EeFrame, GripperFormat
from hiltk.verbs import ARMS

# ---------------------------------------------------------------- env, task


class Renderer(Enum):
    auto = "auto"
    cpu = "cpu"
    gl = "gl"


@dataclass
class EnvConf:
    """What the policy acts in (group ``env``)."""

    name: str = setting(REQUIRED, "which environment")
    fps: float = setting(10.0, "control rate, steps per second")


@dataclass
class JitterConf:
    """Change of appearance from episode to episode, 0 (off) to 1 (strong)."""

    lighting: float = setting(0.0, "of the lamp, 0 (off) to 1 (strong)")
    color: float = setting(0.0, "of the colours, 0 to 1")
    camera: float = setting(0.0, "of the cameras' poses, 0 to 1")


class Actions(Enum):
    ee = "ee"
    joints = "joints"


@dataclass
class ArmConf(EnvConf):
    """An SO-101, simulated or on a desk: what it sees and what actions do."""

    cameras: list[str] = setting(["wrist"], "which of its cameras: wrist, front")
    image_height: int = setting(64, "pixels")
    image_width: int = setting(64, "pixels")
    actions: Actions = setting(Actions.ee, "what they move: ee: the end effector, gripper pointing down | joints")
    action_scale_m: float = setting(0.02, "metres per step at full action, with actions=ee")
    joint_step_deg: float = setting(5.0, "degrees per step at full action, with actions=joints")
    gripper: GripperFormat = setting(GripperFormat.continuous, "what the last action dimension means")
    gripper_step: float = setting(15.0, "of 0..100 per step at full action")
    ee_frame: EeFrame = setting(
        EeFrame.base, "of the end-effector pose in the state; reset: relative to the pose at the episode's start"
    )


@dataclass
class So101SimConf(ArmConf):
    """The simulated SO-101 (``env=so101_sim``)."""

    name: str = "so101_sim"
    renderer: Renderer = setting(
        Renderer.auto,
        "cpu: ray casting with MuJoCo, needs no OpenGL, the same pictures everywhere; gl: MuJoCo's OpenGL renderer; "
        "auto: cpu up to 128 x 128 rays a frame, above gl where it works",
    )
    supersample: int = setting(1, "rays per pixel and axis of the cpu renderer")
    gripper_max: float = setting(50.0, "widest opening used, of 0..100")
    workspace_low_m: list[float] = setting([0.12, -0.16, 0.008], "lower bounds of the end effector, base frame")
    workspace_high_m: list[float] = setting([0.36, 0.16, 0.22], "upper bounds of the end effector, base frame")
    reset_ee_m: list[float] = setting([0.20, 0.0, 0.09], "where episodes start")
    reset_noise_m: list[float] = setting([0.02, 0.02, 0.01], "uniform, plus or minus")
    physics_timestep_s: float = setting(0.005, "of the simulation")
    model_path: str = setting("", "MJCF or URDF of the arm; empty: the built-in one", file=True)
    jitter: JitterConf = setting(JitterConf(), "change of appearance per episode")


class SceneReset(Enum):
    key = "key"
    timed = "timed"
    none = "none"


@dataclass
class So101Conf(ArmConf):
    """The SO-101 on the desk (``env=so101 env.arm=NAME``); what it is stands in ``arms/NAME.yaml``."""

    name: str = "so101"
    arm: str = setting(
        REQUIRED, "which arm: arms/NAME.yaml, as `hiltk arm init` wrote it, or a file", file=f"{ARMS}/{{}}.yaml"
    )
    scene_reset: SceneReset = setting(
        SceneReset.key,
        "before an episode, with a place for the cube proposed; key: waits until you press a key; timed: waits "
        "`scene_reset_s`; none: goes on at once. An emulated arm's cube puts itself there",
    )
    scene_reset_s: float = setting(5.0, "with scene_reset=timed, seconds")


@dataclass
class GymnasiumConf(EnvConf):
    """Any registered Gymnasium environment (``env=gymnasium env.id=...``)."""

    name: str = "gymnasium"
    fps: float = setting(0.0, "only a label, the environment keeps its own rate; 0: that rate")
    id: str = setting(REQUIRED, "registered id")
    module: str = setting("", "imported first, so that it can register the id")
    kwargs: dict[str, Any] = setting({}, "for gymnasium.make, e.g. 'env.kwargs={render_mode: rgb_array}'")
    state_keys: list[str] = setting([], "dotted observation keys, concatenated; empty: all vectors")
    image_keys: list[str] = setting([], "dotted observation keys; empty: all (H, W, 3) uint8")
    image_height: int = setting(0, "0: native size")
    image_width: int = setting(0, "0: native size")
    success_key: str = setting("is_success", "in `info`; absent there: reward > 0 at termination")


class Pace(Enum):
    quick = "quick"
    real = "real"


_REAL_STEP_M = 0.0035  # at full action


# Settings for which a pace has other defaults than stand here; whatever else says a value wins over it. A lift takes
# 1.5 s at the quick pace, which few arms on a desk can do; at the real one 4 to 8 s, as in devlog 072.
PACES: dict[Pace, dict[str, float]] = {
    Pace.quick: {},
    Pace.real: {
        "env.action_scale_m": _REAL_STEP_M,
        "env.gripper_step": 5.0,
        "task.time_limit_s": 15.0,
        "intervention.explore_steps": 25,
        "intervention.max_steps": 25,
        "reward.min_steps": 30,
        "steps_after_success": after_success(_REAL_STEP_M, EnvConf.fps),
    },
}


@dataclass
class TaskConf:
    """What counts as success and where the cube appears (group ``task``)."""

    name: str = setting("lift", "reach | grasp | lift")
    pace: Pace = setting(
        Pace.quick,
        "of the simulated arm; real: as on a desk, 40 to 80 steps a lift. Other defaults for "
        + ", ".join(f"{key}={value:g}" for key, value in PACES[Pace.real].items()),
    )
    time_limit_s: float = setting(5.0, "longest episode")
    hold_steps: int = setting(2, "consecutive steps the predicate must hold")
    stratum: str = setting("all", "where the cube spawns: all | near | far | left_edge | right_edge | yaw")
    spawn_x_m: list[float] = setting([0.17, 0.31], "spawn area, base frame")
    spawn_y_m: list[float] = setting([-0.11, 0.11], "spawn area, base frame")
    spawn_yaw_deg: list[float] = setting([-45.0, 45.0], "turn of the cube")
    near_far_x_m: float = setting(0.22, "border between the strata near and far")
    edge_y_m: float = setting(0.07, "beyond: left_edge, right_edge")
    yaw_deg: float = setting(30.0, "beyond: yaw")


# ---------------------------------------------------------------- human, intervention


class Schedule(Enum):
    brief = "brief"
    never = "never"
    always = "always"
    long = "long"


@dataclass
class HumanConf:
    """Who demonstrates and corrects (group ``human``)."""

    name: str = setting(
        "scripted", "scripted: solves the task | clumsy: near misses | wandering: plays about with an empty hand"
    )
    noise: float = setting(0.2, "standard deviation of the action noise at full speed, in action units")
    skill: float = setting(1.0, "1: as good as the script gets; lower: slower and sloppier")


@dataclass
class InterventionConf:
    """When the human takes over (group ``intervention``)."""

    schedule: Schedule = setting(
        Schedule.brief,
        "brief: explore first, then corrections of at most `max_steps`, in fewer episodes as the policy succeeds; "
        "long: rare takeovers that carry the episode to success, the paper's anti-pattern; never; always",
    )
    explore_steps: int = setting(15, "steps the policy has before the first takeover, and between two")
    max_steps: int = setting(10, "longest takeover")
    probability: float = setting(1.0, "of a takeover when it is due, in an episode that is not left alone")
    alone: float = setting(
        0.2,
        "brief: least share of the episodes left alone on purpose; only they tell how often the policy succeeds by "
        "itself",
    )
    window: int = setting(
        20, "brief: episodes over which success of those left alone is averaged; that share is left alone"
    )
    budget_steps: int | None = setting(
        None, "steps a human acts in the whole training, then never again; null: no limit"
    )


@dataclass
class CostsConf:
    """What a person's time is counted at, besides the steps they act in, which take 1 / fps seconds each."""

    reset_s: float = setting(5.0, "to set up the scene before an episode, seconds")
    label_s: float = setting(5.0, "to label an episode that the success classifier learned from, seconds")


# ---------------------------------------------------------------- reward


@dataclass
class RewardConf:
    """Where reward comes from (group ``reward``). With a classifier, its artifact holds threshold and hold rule."""

    source: str = setting("predicate", "who judges", choices=SOURCES)
    classifier: str = setting("", "a success classifier; required with source=classifier", reference="classifiers")
    hold_steps: int = setting(
        0, "steps success must show; 0: the task's, at once with source=env; with a classifier always its own"
    )
    min_steps: int = setting(0, "no success before this step; with a classifier the later of this and its own")
    success_value: float = setting(1.0, "reward at success, once")
    step_value: float = setting(0.0, "reward of every other step")
    timeout: str = setting("truncated", "truncated: bootstrap past the time limit | terminal", choices=TIMEOUTS)


# ---------------------------------------------------------------- encoder


@dataclass
class TrunkConf:
    """The structure of a pretrained ResNet: read off its weights, and kept in saved policies, which hold those."""

    norm: str = setting("", "group (HIL-SERL's ResNet-10) | folded (into the convolutions); empty: not read yet")
    bottleneck: bool = setting(False, "blocks of three convolutions instead of two")
    stem: int = setting(64, "channels of the first convolution")
    widths: list[int] = setting([], "channels of each stage")
    depths: list[int] = setting([], "blocks of each stage")


@dataclass
class EncoderConf:
    """What turns images into features (group ``encoder``)."""

    name: str = setting(
        "cnn", "cnn | resnet (pretrained and frozen, its neck trained) | lerobot (its own layout) | none"
    )
    channels: list[int] = setting([16, 32, 32], "cnn, lerobot: of each layer")
    kernels: list[int] = setting([5, 3, 3], "cnn: of each layer")
    strides: list[int] = setting([4, 2, 2], "cnn: of each layer")
    norm_groups: int = setting(0, "cnn: group normalisation after each convolution, with so many groups; 0: none")
    features: int = setting(64, "per camera, after the projection")
    shift_pad: int = setting(4, "random-shift augmentation, pixels; 0 turns it off")
    weights: str = setting("", "resnet: Hub id, folder or file of weights, or torchvision:resnet18", file=True)
    embeddings: int = setting(8, "resnet, lerobot: spatial learned embeddings per channel")
    dropout: float = setting(0.1, "resnet, lerobot: before the projection, while training")
    cache_shifts: int = setting(0, "resnet: keep the trunk's output of this many fixed shifts of every frame; 0: off")
    trunk: TrunkConf = setting(TrunkConf(), "resnet: read off its weights; leave it alone")


# ---------------------------------------------------------------- agent


@dataclass
class LearnerConf:
    """What every learner has (group ``agent``)."""

    activation = "relu"  # of the hidden layers; no setting, unless an algorithm makes it one

    name: str = setting(REQUIRED, "which algorithm")
    hidden: list[int] = setting(REQUIRED, "width of each hidden layer")
    discount: float = setting(REQUIRED, "discount factor (gamma), below 1")
    tau: float = setting(REQUIRED, "rate of target networks' moving average (Polyak averaging)")
    lr: float = setting(REQUIRED, "learning rate")
    policy_tau: float = setting(
        1.0,
        "rate of the moving average of the policy's weights, which a run gives in place of the newest; 1: the newest",
    )
    n_step: int = setting(
        1, "n-step returns: rewards summed before bootstrapping; fewer where an episode ends or control passes"
    )
    clip_target: bool = setting(REQUIRED, "keep TD targets inside the range the reward rule allows")
    imitation_weight: float = setting(REQUIRED, "weight of the imitation term on human transitions; 0: off")
    imitation_end: float | None = setting(
        None, "imitation weight reached after `imitation_steps` updates; null: it stays"
    )
    imitation_steps: int = setting(1, "updates until imitation_end is reached")


@dataclass
class SacConf(LearnerConf):
    """Soft actor-critic in RLPD style (``agent=sac``)."""

    name: str = "sac"
    hidden: list[int] = setting([256, 256])
    activation: str = setting("tanh", "of the hidden layers", choices=("tanh", "relu", "silu"))
    critics: int = setting(2, "critics in the ensemble")
    target_critics: int = setting(2, "the target takes the minimum over this many, drawn at random")
    actor_q: str = setting("mean", "over the ensemble, in the actor loss", choices=("mean", "min"))
    discount: float = 0.97
    tau: float = 0.005
    lr: float = 3e-4
    policy_tau: float = 0.001
    temperature: float = setting(0.01, "initial weight of the entropy (alpha)")
    target_entropy: float | None = setting(None, "null: -dim(action)/2, the gripper counted")
    backup_entropy: bool = setting(False, "entropy term in the critics' targets")
    target_encoder: bool = setting(True, "moving average of the encoder for the target critics")
    clip_target: bool = True
    imitation_weight: float = 1.0
    imitation_steps: int = 10_000
    imitation_filter: bool = setting(False, "imitate only where the critics prefer the human's action to the policy's")
    mc_floor: bool = setting(False, "TD targets are at least the observed (Monte Carlo) return")
    gripper_penalty: float = setting(
        0.02, "cost of closing or opening a discrete3 gripper, in the gripper's reward only"
    )


@dataclass
class DrqConf(LearnerConf):
    """DrQ-v2 (``agent=drqv2``): deterministic actor, scheduled noise, random shifts; the paper's values."""

    name: str = "drqv2"
    layout: str = setting(
        "paper",
        "robobase: bottlenecks for images and state, separate for each critic | paper",
        choices=("paper", "robobase"),
    )
    own_encoder: bool = setting(True, "the paper's four convolutions; false: what `encoder` says, frame by frame")
    frame_stack: int = setting(3, "frames the networks see at once")
    n_step: int = 3
    bottleneck: int = setting(50, "features between encoder and heads")
    hidden: list[int] = setting([1024, 1024])
    discount: float = 0.99
    tau: float = 0.01
    lr: float = 1e-4
    noise: str = setting(
        "linear(1.0,0.1,100000)",
        "standard deviation by environment step: a schedule, or 0.2, or step_linear(1.0,0.2,5000,0.05,20000)",
    )
    noise_clip: float = setting(0.3, "of the noise in updates; none when acting")
    explore_steps: int = setting(2000, "uniformly random actions at first")
    clip_target: bool = False
    imitation_weight: float = 0.0
    state_mean: list[float] = setting([], "normalises the state: its mean; empty: the data's")
    state_std: list[float] = setting([], "normalises the state: its standard deviation; empty: the data's")
    init_allow_missing: list[str] = setting([], "parameters `init=FILE.pt` may leave out")


# Hydra's name of each class, by group; the YAML of an option starts from one of them.
SCHEMAS: dict[str, dict[str, type]] = {
    "env": {"so101_sim_schema": So101SimConf, "so101_schema": So101Conf, "gymnasium_schema": GymnasiumConf},
    "task": {"task_schema": TaskConf},
    "human": {"human_schema": HumanConf},
    "intervention": {"intervention_schema": InterventionConf},
    "agent": {"sac_schema": SacConf, "drqv2_schema": DrqConf},
    "encoder": {"encoder_schema": EncoderConf},
    "reward": {"reward_schema": RewardConf},
}
