"""Typed schemas of every command and config group: what Hydra checks overrides against.

The YAML in ``conf/`` holds the values people read and change; the types, defaults and the meaning of each key are
here. Keys carry their unit in the name where they have one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from hiltk.spec import GripperFormat, Semantics


class Renderer(Enum):
    auto = "auto"  # cpu up to 128 x 128 rays a frame, the same pictures everywhere; above, gl where it works
    cpu = "cpu"  # ray casting with MuJoCo itself; no GL library, no display
    gl = "gl"  # MuJoCo's OpenGL renderer


class Fault(Enum):
    none = "none"
    zero_actions = "zero_actions"  # the joints are mirrored, the stored actions are zeros (devlog 044)


class Schedule(Enum):
    brief = "brief"  # explore first, then corrections of at most `max_steps`, rarer as the policy succeeds
    never = "never"
    always = "always"
    long = "long"  # the paper's anti-pattern: rare takeovers that carry the episode to success


class LabelSource(Enum):
    csv = "csv"  # a file: episode, first, last, kind
    predicate = "predicate"  # the simulator's own, asked again at every step
    keys = "keys"  # somebody at this terminal


class LabelOthers(Enum):
    keep = "keep"  # episodes that are not named keep their labels
    failure = "failure"  # they show no success


class LabelRewards(Enum):
    rule = "rule"  # reward and end of relabelled episodes follow, by the dataset's reward rule
    keep = "keep"  # nothing but the labels changes


class SplitBy(Enum):
    episode = "episode"
    session = "session"  # the datasets that were merged


class ClassifierSplit(Enum):
    episode = "episode"  # whole episodes of every session are held out
    session = "session"  # besides, every session is judged by a network trained on the others only
    auto = "auto"  # session, where two or more show both success and failure


# ---------------------------------------------------------------- groups


@dataclass
class EnvConf:
    """What the policy acts in (group ``env``)."""

    name: str = MISSING
    fps: float = 10.0


@dataclass
class JitterConf:
    """Strength of the per-episode appearance jitter, 0 (off) to 1 (strong)."""

    lighting: float = 0.0
    color: float = 0.0
    camera: float = 0.0


@dataclass
class So101SimConf(EnvConf):
    """The simulated SO-101 (``env=so101_sim``)."""

    name: str = "so101_sim"
    cameras: list[str] = field(default_factory=lambda: ["wrist"])  # of: wrist, front
    image_height: int = 64
    image_width: int = 64
    renderer: Renderer = Renderer.auto
    supersample: int = 1
    action_scale_m: float = 0.02  # metres per step at full action
    gripper: GripperFormat = GripperFormat.continuous
    gripper_step: float = 15.0  # of 0..100 per step at full action
    gripper_max: float = 50.0  # widest opening used, of 0..100
    workspace_low_m: list[float] = field(default_factory=lambda: [0.12, -0.16, 0.008])
    workspace_high_m: list[float] = field(default_factory=lambda: [0.36, 0.16, 0.22])
    reset_ee_m: list[float] = field(default_factory=lambda: [0.20, 0.0, 0.09])
    reset_noise_m: list[float] = field(default_factory=lambda: [0.02, 0.02, 0.01])
    physics_timestep_s: float = 0.005
    model_path: str = ""  # the official or your own MJCF/URDF; empty: the built-in primitive model
    jitter: JitterConf = field(default_factory=JitterConf)


@dataclass
class GymnasiumConf(EnvConf):
    """Any registered Gymnasium environment (``env=gymnasium env.id=...``)."""

    name: str = "gymnasium"
    fps: float = 0.0  # only a label, the environment keeps its own rate; 0: that rate
    id: str = MISSING
    module: str = ""  # imported first, so that it can register the id
    kwargs: dict[str, Any] = field(default_factory=dict)
    state_keys: list[str] = field(default_factory=list)  # dotted observation keys, concatenated; empty: all vectors
    image_keys: list[str] = field(default_factory=list)  # dotted observation keys; empty: all (H, W, 3) uint8
    image_height: int = 0  # 0: native size
    image_width: int = 0
    success_key: str = "is_success"  # in `info`; absent: reward > 0 at termination


@dataclass
class TaskConf:
    """What counts as success and where the cube appears (group ``task``)."""

    name: str = "lift"  # reach | grasp | lift
    time_limit_s: float = 5.0
    hold_steps: int = 2  # consecutive steps the predicate must hold
    stratum: str = "all"  # all | near | far | left_edge | right_edge | yaw
    spawn_x_m: list[float] = field(default_factory=lambda: [0.17, 0.31])
    spawn_y_m: list[float] = field(default_factory=lambda: [-0.11, 0.11])
    spawn_yaw_deg: list[float] = field(default_factory=lambda: [-45.0, 45.0])
    near_far_x_m: float = 0.22
    edge_y_m: float = 0.07
    yaw_deg: float = 30.0


@dataclass
class HumanConf:
    """Who demonstrates and corrects (group ``human``)."""

    # scripted: solves the task; clumsy: near misses; wandering: plays about (both: failures for a reward classifier)
    name: str = "scripted"
    noise: float = 0.2  # standard deviation of the action noise at full speed, in action units
    skill: float = 1.0  # 1: as good as the script gets; lower: slower and sloppier


@dataclass
class InterventionConf:
    """When the human takes over (group ``intervention``)."""

    schedule: Schedule = Schedule.brief
    explore_steps: int = 15  # steps the policy has before the first takeover, and between two
    max_steps: int = 10  # longest takeover
    probability: float = 1.0  # of a takeover when it is due, while the policy never succeeds
    window: int = 20  # episodes over which autonomous success is averaged; the probability falls with it
    budget_steps: int | None = None  # steps a human acts in the whole training, then never again; null: no limit


@dataclass
class RewardConf:
    """Where reward comes from (group ``reward``). With a classifier, its artifact holds threshold and hold rule."""

    source: str = "predicate"  # predicate | classifier | env
    classifier: str = ""  # artifact reference
    hold_steps: int = 0  # 0: the task's; with a classifier always its own
    min_steps: int = 0
    success_value: float = 1.0
    step_value: float = 0.0
    timeout: str = "truncated"  # truncated | terminal


@dataclass
class TrunkConf:
    """The structure of a pretrained ResNet: read off its weights, and kept in saved policies, which hold those."""

    norm: str = ""  # group (HIL-SERL's ResNet-10) | folded (into the convolutions); empty: not read yet
    bottleneck: bool = False
    stem: int = 64
    widths: list[int] = field(default_factory=list)  # channels of each stage
    depths: list[int] = field(default_factory=list)  # blocks of each stage


@dataclass
class EncoderConf:
    """What turns images into features (group ``encoder``)."""

    name: str = "cnn"  # cnn | resnet (pretrained and frozen, its neck trained) | lerobot (its own layout) | none
    channels: list[int] = field(default_factory=lambda: [16, 32, 32])
    kernels: list[int] = field(default_factory=lambda: [5, 3, 3])
    strides: list[int] = field(default_factory=lambda: [4, 2, 2])
    norm_groups: int = 0  # cnn: group normalisation after each convolution, with so many groups; 0: none
    features: int = 64  # per camera, after the projection
    shift_pad: int = 4  # random-shift augmentation, pixels; 0 turns it off
    weights: str = ""  # resnet: Hub id, folder or file of weights, or torchvision:resnet18
    embeddings: int = 8  # resnet, lerobot: spatial learned embeddings per channel
    dropout: float = 0.1  # resnet, lerobot: before the projection, while training
    cache_shifts: int = 0  # resnet: keep the trunk's output of this many fixed shifts of every frame; 0: off
    trunk: TrunkConf = field(default_factory=TrunkConf)  # resnet: left alone; a saved policy's is in its policy.yaml


@dataclass
class LearnerConf:
    """What every learner has (group ``agent``)."""

    name: str = MISSING
    hidden: list[int] = MISSING
    discount: float = MISSING
    tau: float = MISSING
    lr: float = MISSING
    n_step: int = 1  # rewards summed before bootstrapping; fewer where an episode ends or control passes


@dataclass
class AgentConf(LearnerConf):
    """SAC in RLPD style (``agent=sac``)."""

    name: str = "sac"
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    activation: str = "tanh"  # tanh | relu | silu
    critics: int = 2
    target_critics: int = 2  # the target takes the minimum over this many, drawn at random
    actor_q: str = "mean"  # mean | min over the ensemble in the actor loss
    discount: float = 0.97
    tau: float = 0.005
    lr: float = 3e-4
    temperature: float = 0.01
    target_entropy: float | None = None  # null: -dim(action)/2
    backup_entropy: bool = False
    target_encoder: bool = True  # EMA copy of the encoder for the target critics
    clip_target: bool = True  # keep TD targets inside the range the reward rule allows
    imitation_weight: float = 1.0  # weight of the imitation term on human transitions; 0: off
    imitation_end: float | None = None  # weight reached after `imitation_steps` updates; null: it stays
    imitation_steps: int = 10_000
    imitation_filter: bool = False  # imitate only where the critics prefer the human's action to the policy's
    mc_floor: bool = False  # targets are at least the return with which the stored episode really ended
    gripper_penalty: float = 0.02  # cost of closing or opening a three-way gripper, in the gripper's reward only


@dataclass
class DrqConf(LearnerConf):
    """DrQ-v2 (``agent=drqv2``): deterministic actor, scheduled noise, random shifts; the paper's values."""

    name: str = "drqv2"
    layout: str = "paper"  # paper | robobase: bottlenecks for images and state, separate for each critic
    own_encoder: bool = True  # the paper's four convolutions; false: what `encoder` says, frame by frame
    frame_stack: int = 3
    n_step: int = 3
    bottleneck: int = 50
    hidden: list[int] = field(default_factory=lambda: [1024, 1024])
    discount: float = 0.99
    tau: float = 0.01
    lr: float = 1e-4
    noise: str = "linear(1.0,0.1,100000)"  # standard deviation by environment step; see hiltk/agents/schedules.py
    noise_clip: float = 0.3  # of the noise in updates; none when acting
    explore_steps: int = 2000  # uniformly random actions at first
    clip_target: bool = False  # keep TD targets inside the range the reward rule allows
    imitation_weight: float = 0.0  # weight of the imitation term on human transitions; 0: off
    imitation_end: float | None = None  # weight reached after `imitation_steps` updates; null: it stays
    imitation_steps: int = 1
    state_mean: list[float] = field(default_factory=list)  # subtracted from the state; empty: the data's mean
    state_std: list[float] = field(default_factory=list)  # the state is divided by; empty: the data's deviation
    init_allow_missing: list[str] = field(default_factory=list)  # parameters `init=FILE.pt` may leave out


# ---------------------------------------------------------------- commands


@dataclass
class StepConf:
    """Keys every command has."""

    root: str = "outputs"  # folder of all artifacts
    name: str = MISSING  # name of the artifact this step writes


@dataclass
class ComputeConf(StepConf):
    """Keys of every command that draws random numbers and runs networks."""

    seed: int = 0
    threads: int = 1  # CPU threads of this process; more is slower beside another process
    device: str = "auto"  # auto | cpu | cuda


@dataclass
class ChecksConf:
    """Rules that commands run by themselves; see `hiltk check --list`."""

    ignore: list[str] = field(default_factory=list)  # codes (ACT003) or families (ACT) to leave out


@dataclass
class RecordConf(ComputeConf):
    """`hiltk record`."""

    env: EnvConf = MISSING
    task: TaskConf = field(default_factory=TaskConf)
    human: HumanConf = field(default_factory=HumanConf)
    reward: RewardConf = field(default_factory=RewardConf)
    episodes: int = 20
    keep: str = "successes"  # successes | failures | all
    steps_after_success: int = 0  # keep recording: more positive frames for a reward classifier
    fault: Fault = Fault.none
    video: bool = False  # store cameras as video (small, lossy) instead of exact images
    checks: ChecksConf = field(default_factory=ChecksConf)


@dataclass
class ForeignConf:
    """Conventions of a dataset made elsewhere, as stated (`hiltk fix-actions`) or inferred (`hiltk adopt`)."""

    joint_unit: str = "degrees"  # degrees | radians | normalized (±100 of the calibrated range)
    joints: list[str] = field(default_factory=list)  # empty: the six of the SO-101, in order
    gripper_unit: str = "percent"  # percent (0..100) | unit (0..1) | radians | percent_as_radians (100 is 1.745) | none
    calibration_path: str = ""  # LeRobot's calibration file of the arm; needed for joint_unit=normalized
    intervention_column: str = ""  # a column that is above 0 where a human had taken over from a policy
    cameras: dict[str, str] = field(default_factory=dict)  # ours: theirs, e.g. wrist: observation.images.gripper_cam
    success_column: str = ""  # a column that is above 0 where success shows, e.g. next.reward
    success_last_frames: int = 0  # the last N frames of every episode show success
    successful_episodes: list[int] = field(default_factory=list)  # empty: all
    task: str = ""
    image_height: int = 0  # size the networks get; 0: native
    image_width: int = 0


@dataclass
class StatedConf(ForeignConf):
    """Conventions of a dataset made elsewhere, all of them stated."""

    locked: dict[str, float] = field(default_factory=dict)  # joints that were held, in degrees: {wrist_roll: 90}
    fps: float = 0.0  # frames per second that come out; 0: as recorded
    commands: str = ""  # column of joint goals (a leader arm's positions), e.g. action; for method=commanded


@dataclass
class AdoptedConf(ForeignConf):
    """Conventions of a dataset made elsewhere, where known; what is empty or null is inferred from the data."""

    joint_unit: str = ""
    gripper_unit: str = ""
    actions: str = ""  # keep (they are end-effector deltas in [-1, 1]) | rebuild (from the joints)
    action_yaw_deg: int | None = None  # 0 | 90 (SIM frame) | 180 | 270: turns kept actions into the base frame
    action_scale_m: float | None = None  # metres per step at full action, of kept actions
    gripper_format: str = ""  # of kept actions: continuous | discrete3 | discrete012 | absolute | none
    gripper_step: float | None = None  # of 0..100 per step at full action, of kept actions


@dataclass
class AdoptConf(StepConf):
    """`hiltk adopt`."""

    dataset: str = MISSING
    foreign: AdoptedConf = field(default_factory=AdoptedConf)
    action_scale_m: float = 0.02  # of rebuilt actions
    gripper: GripperFormat = GripperFormat.continuous
    gripper_step: float = 15.0
    gripper_threshold: float = 0.3  # part of gripper_step that counts as closing or opening (discrete3 only)
    model_path: str = ""


@dataclass
class FixActionsConf(StepConf):
    """`hiltk fix-actions`."""

    dataset: str = MISSING
    action_scale_m: float = 0.02
    gripper_step: float = 15.0
    gripper: GripperFormat = GripperFormat.continuous
    gripper_threshold: float = 0.3  # part of gripper_step that counts as closing or opening (discrete3 only)
    model_path: str = ""
    zero_below: float = 1e-6
    method: Semantics = Semantics.achieved  # achieved: from consecutive states; commanded: from foreign.commands
    foreign: StatedConf = field(default_factory=StatedConf)
    force: bool = False  # rebuild every action, even in an intact dataset
    checks: ChecksConf = field(default_factory=ChecksConf)


def fine_encoder() -> EncoderConf:
    """What the success classifier sees with (``encoder=cnn_fine``)."""
    return EncoderConf(
        channels=[16, 32, 48, 48], kernels=[5, 3, 3, 3], strides=[2, 2, 2, 2], norm_groups=4, shift_pad=5
    )


@dataclass
class AugmentConf:
    """What the success classifier's training frames are changed by at random; 0 turns each off."""

    color: float = 0.5  # brightness, contrast and tint, relative, 0 to 1
    gamma: float = 0.5  # exponents between 2^-gamma and 2^gamma, 0 to 1
    light: float = 0.5  # a slope of light across the frame, a spot or shadow in it; relative, 0 to 1
    blur: float = 0.5  # of half the frames, Gaussian; largest standard deviation, pixels
    camera: float = 1.0  # turn, zoom and shift; 1 is 10 degrees, 10 % and an eighth of the image


@dataclass
class ClassifierConf(ComputeConf):
    """`hiltk train-classifier`."""

    datasets: list[str] = MISSING
    add: list[str] = field(default_factory=list)  # datasets of an earlier classifier's false positives, never held out
    add_weight: float = 4.0  # how often their frames are drawn, relative to the others
    weights: dict[str, float] = field(default_factory=dict)  # the same by session or dataset; 1 where not named
    unseen: list[str] = field(default_factory=list)  # datasets that the finished classifier is judged on, nothing more
    cameras: list[str] = field(default_factory=list)  # empty: all
    encoder: EncoderConf = field(default_factory=fine_encoder)
    hidden: int = 64  # width of the head
    dropout: float = 0.1
    members: int = 1  # networks in the ensemble
    state_loss: float = 1.0  # weight of reading the arm's posture off the images while training, beside success
    augment: AugmentConf = field(default_factory=AugmentConf)
    steps: int = 1200  # at most; the weights with the lowest held-out loss are kept
    patience: int = 20  # evaluations (every 50 steps) without a lower held-out loss before stopping
    batch_size: int = 64  # half of it successes
    lr: float = 2e-3  # at its highest: it rises over the first tenth of the steps and falls to nothing
    weight_decay: float = 1e-4
    hard: float = 0.9  # 0 to 1: how much rarer frames are drawn that were judged rightly when last seen
    held_out: float = 0.2  # fraction of episodes
    versions: int = 8  # augmented ones of each held-out episode, as far as memory allows; for threshold and hold
    split: ClassifierSplit = ClassifierSplit.auto
    max_false_positive_rate: float = 0.02  # per frame, on held-out episodes: bounds the threshold
    min_threshold: float = 0.8  # with four failures for each success, only above it is success the likelier
    hold_steps: int | None = None  # null: tuned by replaying held-out episodes
    min_steps: int | None = None
    checks: ChecksConf = field(default_factory=ChecksConf)


@dataclass
class UpdateConf(ComputeConf):
    """Keys of every command that trains a policy: how its gradient steps compute (`hiltk.agents.compute`)."""

    precision: str = "float32"  # float32 | bfloat16: products and convolutions; weights and losses stay float32
    compile: bool = False  # torch.compile of what sees the images: pays after some thousand steps, if at all


@dataclass
class BcConf(UpdateConf):
    """`hiltk bc-pretrain`."""

    datasets: list[str] = MISSING
    agent: LearnerConf = MISSING
    encoder: EncoderConf = field(default_factory=EncoderConf)
    loss: str = "mean"  # mean: squared error of tanh(mean); likelihood: of the squashed Gaussian
    steps: int = 1200
    batch_size: int = 128
    lr: float = 5e-4
    held_out: float = 0.1  # fraction of episodes
    init: str = ""
    checks: ChecksConf = field(default_factory=ChecksConf)


@dataclass
class TrainConf(UpdateConf):
    """`hiltk train`."""

    env: EnvConf = MISSING
    task: TaskConf = field(default_factory=TaskConf)
    human: HumanConf = field(default_factory=HumanConf)
    intervention: InterventionConf = field(default_factory=InterventionConf)
    agent: LearnerConf = MISSING
    encoder: EncoderConf = field(default_factory=EncoderConf)
    reward: RewardConf = field(default_factory=RewardConf)
    demos: list[str] = field(default_factory=list)
    init: str = ""  # policy to start from
    episodes: int = 150
    practice: str = "strata"  # where episodes spawn: strata (each in turn) | area (as the task says)
    utd: float = 2.0  # updates per environment step
    batch_size: int = 128
    demo_fraction: float = 0.5  # share of each batch drawn from demonstrations and interventions
    learning_starts: int = 100  # environment steps before the first update
    offline_updates: int = 0  # updates on the demonstrations alone, before the first episode
    capacity: int = 50_000  # online transitions
    capacity_gib: float | None = None  # the same as room on disk, GiB; the smaller of the two counts
    checkpoint_every: int = 5  # episodes; so many a kill can cost
    resume: bool = False
    checks: ChecksConf = field(default_factory=ChecksConf)


@dataclass
class EvalConf(ComputeConf):
    """`hiltk eval`."""

    policies: list[str] = MISSING  # one, or several to compare on the same seeds
    env: EnvConf = MISSING
    task: TaskConf = field(default_factory=TaskConf)
    strata: list[str] = field(default_factory=list)  # empty: all the environment has
    episodes: int = 40  # per stratum
    stochastic: bool = False
    videos: int = 3  # successes and failures filmed, each
    checks: ChecksConf = field(default_factory=ChecksConf)


@dataclass
class PreviewConf(ComputeConf):
    """`hiltk preview`."""

    classifier: str = MISSING
    dataset: str = ""  # empty: live episodes
    env: EnvConf = MISSING
    task: TaskConf = field(default_factory=TaskConf)
    human: HumanConf = field(default_factory=HumanConf)
    policy: str = ""  # acts instead of the human
    episodes: int = 0  # 0: the whole dataset, or 5 live ones
    films: int = 12  # that lie in the page; 0: none are made


@dataclass
class DiagnoseEncoderConf(ComputeConf):
    """`hiltk diagnose encoder`."""

    policies: list[str] = field(default_factory=list)
    env: EnvConf = MISSING
    task: TaskConf = field(default_factory=TaskConf)
    encoder: EncoderConf = field(default_factory=EncoderConf)  # a pretrained one beside the policies, or alone
    dataset: str = ""
    sets: list[str] = field(default_factory=list)
    camera: str = ""  # empty: all
    frames: str = "first"  # first | all, of the episodes of a dataset
    positions: str = ""  # sim
    images: int = 200  # of each set with positions=sim
    changes: int = 60  # pictures in which one thing at a time is changed; 0: none
    saliency: int = 4  # pictures of each camera to be mapped; 0: none


@dataclass
class DiagnoseBufferConf(StepConf):
    """`hiltk diagnose buffer`."""

    policy: str = MISSING
    demos: list[str] = field(default_factory=list)  # empty: those of its run.yaml
    seed: int = 0


@dataclass
class DiagnoseRunConf(ComputeConf):
    """`hiltk diagnose run`."""

    policy: str = MISSING
    samples: int = 256  # stored observations the policy is asked about


@dataclass
class DiagnosePolicyConf(ComputeConf):
    """`hiltk diagnose policy`."""

    policies: list[str] = MISSING
    env: EnvConf = MISSING
    task: TaskConf = field(default_factory=TaskConf)
    sets: list[str] = field(default_factory=list)  # empty: what each policy learned from
    frames: int = 512  # moments of the datasets at which the policy is asked
    positions: str = ""  # sim
    scenes: int = 60  # with positions=sim


@dataclass
class DiagnoseCriticConf(ComputeConf):
    """`hiltk diagnose critic`."""

    policies: list[str] = MISSING
    episodes: int = 30  # newest of each policy's training
    demos: bool = True  # also the demonstrations it learned from


@dataclass
class ExportPolicyConf(StepConf):
    """`hiltk export-policy`."""

    policy: str = MISSING
    stochastic: bool = False  # export the deviation: LeRobot then samples; false: as good as none


@dataclass
class ExportReplayConf(StepConf):
    """`hiltk export-replay`."""

    policy: str = MISSING


@dataclass
class LabelConf(StepConf):
    """`hiltk label`."""

    dataset: str = MISSING
    source: LabelSource = LabelSource.csv
    file: str = ""  # csv: the label file
    predicate: str = ""  # predicate: the task to judge by; empty: the one it was recorded for
    others: LabelOthers = LabelOthers.keep
    rewards: LabelRewards = LabelRewards.rule


@dataclass
class MergeConf(StepConf):
    """`hiltk merge`."""

    datasets: list[str] = MISSING
    allow: list[str] = field(default_factory=list)  # fields of the spec that may differ; the first dataset's is kept


@dataclass
class SplitConf(StepConf):
    """`hiltk split`."""

    dataset: str = MISSING
    held_out_name: str = ""  # of the held-out part; empty: <name>-held-out
    held_out: float = 0.2  # fraction of the episodes, or of the sessions
    by: SplitBy = SplitBy.episode
    episodes: list[str] = field(default_factory=list)  # hold these out instead: numbers from 0 and ranges
    sessions: list[str] = field(default_factory=list)  # hold these out instead
    seed: int = 0
    reencode: bool = False  # cut video files down to what is kept; another lossy generation


@dataclass
class DropConf(StepConf):
    """`hiltk drop-episodes`."""

    dataset: str = MISSING
    episodes: list[str] = field(default_factory=list)  # numbers from 0, and ranges
    success: bool | None = None  # drop those that ended in success (true) or did not (false)
    longer_than: int | None = None  # steps
    shorter_than: int | None = None
    strata: list[str] = field(default_factory=list)
    reencode: bool = False  # cut video files down to what is kept; another lossy generation


@dataclass
class StatsConf(StepConf):
    """`hiltk stats`."""

    dataset: str = MISSING


@dataclass
class InspectConf(StepConf):
    """`hiltk inspect`."""

    dataset: str = MISSING
    episodes: int = 12  # on the contact sheet
    brightness_frames: int = 120  # of each camera
    idle_below: float = 0.005  # a joint moves when it changes by more than this part of its range in one step
    gripper_turn: float = 5.0  # percent the gripper must travel to count as opening or closing


@dataclass
class ReportConf(StepConf):
    """`hiltk report`."""

    title: str = ""
    artifacts: list[str] = MISSING


def register() -> None:
    """Make the schemas known to Hydra; called once per process before composing."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, node in {
        "record": RecordConf,
        "adopt": AdoptConf,
        "fix_actions": FixActionsConf,
        "train_classifier": ClassifierConf,
        "bc_pretrain": BcConf,
        "train": TrainConf,
        "eval": EvalConf,
        "preview": PreviewConf,
        "diagnose_encoder": DiagnoseEncoderConf,
        "diagnose_buffer": DiagnoseBufferConf,
        "diagnose_run": DiagnoseRunConf,
        "diagnose_policy": DiagnosePolicyConf,
        "diagnose_critic": DiagnoseCriticConf,
        "export_policy": ExportPolicyConf,
        "export_replay": ExportReplayConf,
        "label": LabelConf,
        "merge": MergeConf,
        "split": SplitConf,
        "drop_episodes": DropConf,
        "stats": StatsConf,
        "inspect": InspectConf,
        "report": ReportConf,
    }.items():
        store.store(name=f"{name}_schema", node=node)
    for group, name, group_node in (
        ("env", "so101_sim", So101SimConf),
        ("env", "gymnasium", GymnasiumConf),
        ("task", "task", TaskConf),
        ("human", "human", HumanConf),
        ("intervention", "intervention", InterventionConf),
        ("agent", "agent", AgentConf),
        ("agent", "drqv2", DrqConf),
        ("encoder", "encoder", EncoderConf),
        ("reward", "reward", RewardConf),
    ):
        store.store(group=group, name=f"{name}_schema", node=group_node)
