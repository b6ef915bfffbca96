"""The settings of every command, one class each; `COMMANDS` at the end says whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hiltk.config.groups import (
    CostsConf,
    EncoderConf,
    EnvConf,
    HumanConf,
    InterventionConf,
    LearnerConf,
    RewardConf,
    So101SimConf,
    TaskConf,
)
from hiltk.config.setting import REQUIRED, Reference, setting
from hiltk.limits import after_success
from hiltk.spec import GripperFormat, Semantics
from hiltk.verbs import ROOT_HELP, default_root

# ---------------------------------------------------------------- shared


@dataclass
class StepConf:
    """Settings every command has."""

    root: str = setting(default_root, ROOT_HELP, volatile=True)
    name: str = setting(REQUIRED, "name of the artifact this command writes", volatile=True)


@dataclass
class ComputeConf(StepConf):
    """Settings of every command that draws random numbers and runs networks."""

    seed: int = setting(0, "everything random follows from it")
    threads: int = setting(1, "CPU threads of this process; more is slower beside another process", volatile=True)
    device: str = setting(
        "auto",
        "where networks run: auto | cpu | cuda | mps, or another device of torch, e.g. cuda:1",
        choices=("auto", "cpu", "cuda", "mps"),
        open=True,
        volatile=True,
    )


@dataclass
class UpdateConf(ComputeConf):
    """Settings of every command that trains a policy: how its gradient steps compute (`hiltk.agents.compute`)."""

    precision: str = setting(
        "float32",
        "of gradient steps (autocast); weights and losses stay float32",
        choices=("float32", "bfloat16"),
    )
    costs: CostsConf = setting(CostsConf(), "a person's time, for human_s in metrics and run.yaml")
    compile: bool = setting(
        False,
        "torch.compile of the torso; takes minutes at first, is faster after thousands of steps, if ever",
    )


@dataclass
class ChecksConf:
    """Rules that commands check by themselves; see `hiltk check --list`."""

    ignore: list[str] = setting([], "rules or families to leave out, e.g. [ACT003]")


CHECKS = "rules checked by the command itself; hiltk check --list"

# ---------------------------------------------------------------- data


class Fault(Enum):
    none = "none"
    zero_actions = "zero_actions"


@dataclass
class RecordConf(ComputeConf):
    """`hiltk record`."""

    env: EnvConf = setting(REQUIRED, "what acts")
    task: TaskConf = setting(TaskConf(), "what counts as success")
    human: HumanConf = setting(HumanConf(), "who demonstrates")
    reward: RewardConf = setting(RewardConf(), "who judges")
    episodes: int = setting(20, "how many to keep")
    keep: str = setting("successes", "which episodes to keep", choices=("successes", "failures", "all"))
    steps_after_success: int = setting(
        after_success(So101SimConf.action_scale_m, So101SimConf.fps),
        "go on after success: shows how to hold, and what success looks like; by default long enough for "
        "any reward rule that train-classifier may choose",
    )
    fault: Fault = setting(Fault.none, "none | zero_actions: mirror the joints, store zeros as actions (devlog 044)")
    video: bool = setting(False, "cameras as video (small, lossy), not exact images")
    resume: bool = setting(
        False, "go on from the finished episodes of an interrupted recording of the same name", volatile=True
    )
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


KEEP, REBUILD = "keep", "rebuild"
JOINT_UNITS = ("degrees", "radians", "normalized")
GRIPPER_UNITS = ("percent", "unit", "radians", "percent_as_radians", "none")
STORED_GRIPPERS = ("continuous", "discrete3", "discrete012", "absolute", "none")
YAWS_DEG = (0, 90, 180, 270)
NONE = "none"  # what is typed where a dataset has none of it
MODEL = "model"
LEROBOTS_ZERO, OLD_ZERO = "lerobot", "so100_old"


@dataclass
class ForeignConf:
    """Conventions of a dataset made elsewhere, all of them stated or settled."""

    joint_unit: str = setting(
        "degrees", "degrees | radians | normalized (±100 of the calibrated range)", choices=JOINT_UNITS
    )
    state: str = setting(
        "", "column of the joints; COLUMN[0:6], COLUMN[5,0,1] or ONE+OTHER[0:2]: by number; empty: observation.state"
    )
    action: str = setting("", "column of the actions, written the same way; empty: action")
    joints: list[str] = setting([], "their names or numbers, in the arm's order; empty: the six of the SO-101")
    kinematics: str = setting(
        "",
        "model (of the arm; where nothing speaks against it) | none: another arm, joints and actions as stored, "
        "for train-classifier and curation only",
        choices=(MODEL, NONE),
    )
    model_path: str = setting("", "MJCF or URDF of the arm that recorded, as model_path", file=True)
    zero: str = setting(
        "",
        "lerobot | so100_old (before May 2025, LeRobot pull request 777: turns shoulder_lift and elbow_flex)",
        choices=(LEROBOTS_ZERO, OLD_ZERO),
    )
    gripper_unit: str = setting(
        "percent",
        "percent (0..100) | unit (0..1) | radians | percent_as_radians (100 is 1.745) | none",
        choices=GRIPPER_UNITS,
    )
    calibration_path: str = setting(
        "", "LeRobot's calibration file of the arm; joint_unit=normalized needs it, or ranges_deg", file=True
    )
    ranges_deg: list[float] = setting(
        [], "joint_unit=normalized without that file: degrees at 100 of the five joints, half of each calibrated range"
    )
    intervention_column: str = setting("", "column above 0 where a human had taken over from a policy")
    cameras: dict[str, str] = setting({}, "ours: theirs, e.g. {wrist: observation.images.cam}")
    success_column: str = setting("", "column above 0 where success shows, e.g. next.reward | none")
    success_last_frames: int = setting(0, "so many last frames of every episode show success")
    successful_episodes: list[int] = setting([], "numbers from 0; empty: all")
    task: str = setting("", "name of the task; empty: their own sentence")
    crop: dict[str, list[int]] = setting(
        {}, "by our name of a camera, crop.wrist=[top,left,height,width]: what is kept of its pictures, in pixels"
    )
    image_height: int = setting(0, "size the networks get; 0: as it is")
    image_width: int = setting(0, "size the networks get; 0: as it is")
    locked: dict[str, float] = setting({}, "joints that were held, in degrees, e.g. {wrist_roll: 90}")
    fps: float = setting(0.0, "frames per second that come out, as many or fewer; 0: as recorded")
    commands: str = setting("", "column of joint goals (a leader arm's positions), e.g. action; for method=commanded")


@dataclass
class StatedConf(ForeignConf):
    """The same for `hiltk fix-actions`: what is not stated is as it stands here."""


@dataclass
class AdoptedConf(ForeignConf):
    """Conventions of a dataset made elsewhere, where known; what is empty or null is inferred from the data."""

    joint_unit: str = ""
    gripper_unit: str = ""
    actions: str = setting(
        "", "keep (end-effector deltas in [-1, 1]) | rebuild (from the joints)", choices=(KEEP, REBUILD)
    )
    action_yaw_deg: int | None = setting(
        None, "0 | 90 (SIM frame) | 180 | 270: turns kept actions into the base frame", choices=YAWS_DEG
    )
    action_scale_m: float | None = setting(None, "metres per step at full action, of kept actions")
    gripper_format: str = setting("", "of kept actions", choices=STORED_GRIPPERS)
    gripper_step: float | None = setting(None, "of 0..100 per step at full action, of kept actions")


@dataclass
class AdoptConf(StepConf):
    """`hiltk adopt`."""

    dataset: str = setting(REQUIRED, "the dataset to adopt", reference="datasets")
    foreign: AdoptedConf = setting(AdoptedConf(), "what you know of it; empty or null: inferred, or asked")
    action_scale_m: float = setting(0.02, "metres per step at full action, of rebuilt actions")
    gripper: GripperFormat = setting(GripperFormat.continuous, "last dimension of rebuilt actions")
    gripper_step: float = setting(15.0, "of 0..100 per step at full action, of rebuilt actions")
    gripper_threshold: float = setting(0.3, "part of gripper_step that counts as closing or opening (discrete3)")
    method: Semantics = setting(
        Semantics.achieved, "of rebuilt actions, achieved: what the arm did; commanded: from foreign.commands"
    )
    model_path: str = setting("", "MJCF or URDF of the arm; empty: the built-in SO-101", file=True)
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class FixActionsConf(StepConf):
    """`hiltk fix-actions`."""

    dataset: str = setting(REQUIRED, "the dataset to repair", reference="datasets")
    action_scale_m: float = setting(0.02, "metres per step at full action")
    gripper_step: float = setting(15.0, "of 0..100 per step at full action")
    gripper: GripperFormat = setting(GripperFormat.continuous, "the last action dimension")
    gripper_threshold: float = setting(0.3, "part of gripper_step that counts as closing or opening (discrete3)")
    model_path: str = setting("", "MJCF or URDF of the arm; empty: the built-in SO-101", file=True)
    zero_below: float = setting(1e-6, "an action smaller than this in every dimension is zero")
    method: Semantics = setting(
        Semantics.achieved, "achieved: what the arm did, from consecutive states; commanded: from foreign.commands"
    )
    foreign: StatedConf = setting(StatedConf(), "conventions of a dataset made elsewhere")
    force: bool = setting(False, "rebuild every action, even in an intact dataset")
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


class LabelSource(Enum):
    csv = "csv"
    predicate = "predicate"
    keys = "keys"


class LabelOthers(Enum):
    keep = "keep"
    failure = "failure"


class LabelRewards(Enum):
    rule = "rule"
    keep = "keep"


@dataclass
class LabelConf(StepConf):
    """`hiltk label`."""

    dataset: str = setting(REQUIRED, "the dataset to label", reference="datasets")
    source: LabelSource = setting(
        LabelSource.csv, "csv: a file; predicate: the simulator's own, asked at every step; keys: you, at this terminal"
    )
    file: str = setting("", "csv: the label file, with the columns episode, first, last, kind", file=True)
    predicate: str = setting("", "predicate: reach | grasp | lift; empty: the task it was recorded for")
    others: LabelOthers = setting(
        LabelOthers.keep, "episodes without a label keep those they have (keep), or show no success (failure)"
    )
    rewards: LabelRewards = setting(
        LabelRewards.rule, "rule: reward and end follow the labels, by the dataset's reward rule; keep: they stay"
    )
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class MergeConf(StepConf):
    """`hiltk merge`."""

    datasets: list[str] = setting(REQUIRED, "the datasets to put together", reference="datasets")
    allow: list[str] = setting(
        [], "fields of the spec that may differ, e.g. [action.semantics]; the first dataset's is kept"
    )
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


class SplitBy(Enum):
    episode = "episode"
    session = "session"


REENCODE = "cut videos down to what is kept: smaller, another lossy generation"


@dataclass
class SplitConf(StepConf):
    """`hiltk split`."""

    dataset: str = setting(REQUIRED, "the dataset to split", reference="datasets")
    held_out_name: str = setting("", "name of the held-out part; empty: <name>-held-out")
    held_out: float = setting(0.2, "fraction of the episodes (or sessions), drawn by seed")
    by: SplitBy = setting(SplitBy.episode, "what is held out whole; a session is a dataset that was merged")
    episodes: list[str] = setting([], "hold these out instead: numbers from 0 and ranges (both ends), e.g. [3,7-9]")
    sessions: list[str] = setting([], "hold these out instead, by the merged datasets' names")
    seed: int = setting(0, "of the draw")
    reencode: bool = setting(False, REENCODE)
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class DropConf(StepConf):
    """`hiltk drop-episodes`."""

    dataset: str = setting(REQUIRED, "the dataset to take episodes from", reference="datasets")
    episodes: list[str] = setting([], "numbers from 0 and ranges (both ends), e.g. [3,7-9]")
    success: bool | None = setting(None, "true | false: drop those that ended in success, or did not")
    longer_than: int | None = setting(None, "steps: drop longer episodes")
    shorter_than: int | None = setting(None, "steps: drop shorter episodes")
    strata: list[str] = setting([], "drop those that began in one of these, e.g. [far]")
    reencode: bool = setting(False, REENCODE)
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class StatsConf(StepConf):
    """`hiltk stats`."""

    dataset: str = setting(REQUIRED, "the dataset to compute statistics of", reference="datasets")
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class InspectConf(StepConf):
    """`hiltk inspect`."""

    dataset: str = setting(REQUIRED, "the dataset to look at", reference="datasets")
    episodes: int = setting(12, "on the contact sheet, evenly chosen")
    brightness_frames: int = setting(120, "of each camera, evenly chosen")
    idle_below: float = setting(0.005, "a joint moves when it changes by more than this part of its range in one step")
    gripper_turn: float = setting(5.0, "percent the gripper must travel to count as opening or closing")


# ---------------------------------------------------------------- learning


@dataclass
class AugmentConf:
    """Augmentation of the success classifier's training frames; 0 turns each off."""

    color: float = setting(0.5, "brightness, contrast and tint, relative, 0 to 1")
    gamma: float = setting(0.5, "exponents between 2^-gamma and 2^gamma, 0 to 1")
    light: float = setting(0.5, "a slope of light across the frame, a spot or shadow in it; relative, 0 to 1")
    blur: float = setting(0.5, "of half the frames, Gaussian; largest standard deviation, pixels")
    camera: float = setting(
        1.0, "1 turns up to 10 degrees, zooms 10 %, shifts an eighth of the image; at least encoder.shift_pad"
    )


class ClassifierSplit(Enum):
    episode = "episode"
    session = "session"
    auto = "auto"


@dataclass
class ClassifierConf(ComputeConf):
    """`hiltk train-classifier`."""

    datasets: list[str] = setting(REQUIRED, "what to learn from", reference="datasets")
    add: list[str] = setting(
        [], "datasets of an earlier classifier's false positives, relabelled; never held out", reference="datasets"
    )
    add_weight: float = setting(4.0, "how often their frames are drawn, relative to the others")
    weights: dict[str, float] = setting({}, "the same by session or dataset, e.g. {cube: 2}; 1 where not named")
    unseen: list[str] = setting([], "test sets: the finished classifier is only judged on them", reference="datasets")
    cameras: list[str] = setting([], "which to look at; empty: all")
    encoder: EncoderConf = setting(EncoderConf(), "what turns images into features")
    hidden: int = setting(64, "width of the head")
    dropout: float = setting(0.1, "in the head, while training")
    members: int = setting(1, "networks in the ensemble: their mean decides, their spread is reported")
    state_loss: float = setting(
        1.0, "weight of an auxiliary loss, predicting the arm's state from the images; 0 turns it off"
    )
    augment: AugmentConf = setting(AugmentConf(), "augmentation of training frames; drawn once per version if cached")
    steps: int = setting(1200, "at most; the weights with the lowest held-out loss are kept")
    patience: int = setting(20, "early stopping: evaluations (every 50 steps) without a lower held-out loss")
    batch_size: int = setting(64, "half of it successes")
    lr: float = setting(2e-3, "peak learning rate: warm-up over the first tenth of the steps, then decay to zero")
    weight_decay: float = setting(1e-4, "of AdamW")
    hard: float = setting(0.9, "hard example mining, 0 (off) to 1: frames judged right are drawn that much less often")
    held_out: float = setting(0.2, "fraction of episodes never trained on")
    versions: int = setting(
        8, "augmented ones of each held-out episode, as far as memory allows; for threshold and hold"
    )
    split: ClassifierSplit = setting(
        ClassifierSplit.auto,
        "episode: whole episodes of every session are held out; session: besides, every session is judged by a network "
        "trained on the others only; auto: session, where two or more show both success and failure",
    )
    max_false_positive_rate: float = setting(0.02, "per frame, on held-out episodes: bounds the threshold")
    min_threshold: float = setting(0.8, "with four failures for each success, only above it is success the likelier")
    hold_steps: int | None = setting(
        None, "consecutive frames that must show success; null: tuned by replaying held-out episodes"
    )
    min_steps: int | None = setting(None, "no success before this step of an episode; null: tuned")
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class BcConf(UpdateConf):
    """`hiltk bc-pretrain`."""

    datasets: list[str] = setting(REQUIRED, "demonstrations", reference="datasets")
    agent: LearnerConf = setting(REQUIRED, "whose actor is trained")
    encoder: EncoderConf = setting(EncoderConf(), "what turns images into features")
    loss: str = setting(
        "mean",
        "mean: squared error of tanh(mean) | likelihood: of the squashed Gaussian",
        choices=("mean", "likelihood"),
    )
    steps: int = setting(1200, "gradient steps")
    batch_size: int = setting(128, "transitions in a gradient step")
    lr: float = setting(5e-4, "learning rate")
    held_out: float = setting(0.1, "fraction of episodes never trained on")
    init: str = setting(
        "", "policy to start from, or RoboBase's snapshot FILE.pt (agent=drqv2_robobase)", reference="policies"
    )
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class UntilConf:
    """When a training run is good enough to end before `TrainConf.episodes`."""

    rate: float | None = setting(
        None,
        "end once success in episodes left alone, exploring, is shown to exceed this, e.g. 0.7; null: train all "
        "`episodes`",
    )
    confidence: float = setting(0.95, "of that, valid although it is looked at after every episode")


@dataclass
class TrainConf(UpdateConf):
    """`hiltk train`."""

    env: EnvConf = setting(REQUIRED, "what acts")
    task: TaskConf = setting(TaskConf(), "what counts as success")
    human: HumanConf = setting(HumanConf(), "who corrects")
    intervention: InterventionConf = setting(InterventionConf(), "when the human takes over")
    agent: LearnerConf = setting(REQUIRED, "who learns")
    encoder: EncoderConf = setting(EncoderConf(), "what turns images into features")
    reward: RewardConf = setting(RewardConf(), "who judges")
    demos: list[str] = setting([], "datasets of demonstrations", reference="datasets")
    init: str = setting(
        "", "policy to start from, usually of bc-pretrain, or RoboBase's snapshot FILE.pt", reference="policies"
    )
    episodes: int = setting(150, "how many to train for, at most with `until`")
    until: UntilConf = setting(UntilConf(), "ends a run that is good; leave it off where learners are compared")
    practice: str = setting(
        "strata", "where episodes spawn: strata (each in turn) | area (as the task says)", choices=("strata", "area")
    )
    utd: float = setting(2.0, "updates per environment step (UTD ratio)")
    batch_size: int = setting(128, "transitions in an update")
    demo_fraction: float = setting(0.5, "share of each batch drawn from demonstrations and interventions")
    learning_starts: int = setting(100, "environment steps before the first update")
    offline_updates: int = setting(
        0, "updates on the demonstrations alone (offline pre-training), before the first episode"
    )
    capacity: int = setting(50_000, "online transitions kept in the replay buffer; the oldest are evicted")
    capacity_gib: float | None = setting(
        None, "size of the replay buffer on disk, GiB; the smaller of the two limits holds"
    )
    checkpoint_every: int = setting(5, "episodes between checkpoints; what a crash can cost at most")
    resume: bool = setting(False, "go on from the checkpoint of an interrupted run of the same name", volatile=True)
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


# ---------------------------------------------------------------- looking


@dataclass
class EvalConf(ComputeConf):
    """`hiltk eval`."""

    policies: list[str] = setting(REQUIRED, "one, or several to compare on the same seeds", reference="policies")
    env: EnvConf = setting(REQUIRED, "what acts")
    task: TaskConf = setting(TaskConf(), "what counts as success")
    strata: list[str] = setting([], "of the spawn area; empty: all the environment has")
    episodes: int = setting(40, "per stratum")
    stochastic: bool = setting(False, "sample actions instead of taking the mean")
    videos: int = setting(3, "successes and failures filmed, each")
    judge: str = setting(
        "auto",
        "who says whether an episode succeeded; env: the environment; person: you, after each, by key, without being "
        "told which policy acted; auto: the environment where it can",
        choices=("auto", "env", "person"),
    )
    classifier: str = setting(
        "",
        "with a person: a success classifier that ends episodes as in training; its verdict is stored beside yours",
        reference="classifiers",
    )
    resume: bool = setting(False, "with a person: go on with an interrupted evaluation", volatile=True)
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class PreviewConf(ComputeConf):
    """`hiltk preview`."""

    classifier: str = setting(REQUIRED, "the classifier to look at", reference="classifiers")
    dataset: str = setting("", "recorded episodes; empty: live ones", reference="datasets")
    env: EnvConf = setting(REQUIRED, "what acts without a dataset")
    task: TaskConf = setting(TaskConf(), "what counts as success")
    human: HumanConf = setting(HumanConf(), "who acts without a policy")
    policy: str = setting("", "who acts in live episodes; empty: the human", reference="policies")
    episodes: int = setting(0, "how many; 0: the whole dataset, or 5 live ones")
    films: int = setting(12, "of all episodes' films so many lie in the page; 0: make none")


POSITIONS = "sim"  # the one place where positions are known
SETS = "NAME, NAME:0-9, NAME:near"


@dataclass
class DiagnoseEncoderConf(ComputeConf):
    """`hiltk diagnose encoder`."""

    policies: list[str] = setting(
        [], "whose encoders and observation pipelines; empty: encoder and dataset", reference="policies"
    )
    env: EnvConf = setting(REQUIRED, "where positions=sim takes its images")
    task: TaskConf = setting(TaskConf(), "where the cube appears there")
    encoder: EncoderConf = setting(EncoderConf(), "a pretrained one to look at too, or alone")
    dataset: str = setting("", "without a policy: whose observation pipeline folders go through", reference="datasets")
    sets: list[str] = setting(
        [],
        f"two folders of images, or datasets: {SETS}; with positions=sim two strata",
        reference=Reference("datasets", episodes=True, unless="positions"),
    )
    camera: str = setting("", "look at this one only; empty: all")
    frames: str = setting("first", "of the episodes of a dataset", choices=("first", "all"))
    positions: str = setting(
        "", "sim: images of the simulated cube at known places, near against far", choices=(POSITIONS,)
    )
    images: int = setting(200, "of each set with positions=sim")
    changes: int = setting(60, "pictures in which one factor at a time is changed; 0: none")
    saliency: int = setting(4, "pictures of each camera to be mapped; 0: none")


@dataclass
class DiagnoseBufferConf(StepConf):
    """`hiltk diagnose buffer`."""

    policy: str = setting(REQUIRED, "a policy of `hiltk train`", reference="policies")
    demos: list[str] = setting([], "other demonstrations than those of its run.yaml", reference="datasets")
    seed: int = setting(0, "of the shuffles")


@dataclass
class DiagnoseRunConf(ComputeConf):
    """`hiltk diagnose run`."""

    policy: str = setting(REQUIRED, "a policy of `hiltk train`", reference="policies")
    samples: int = setting(256, "stored observations the policy is asked about")


@dataclass
class DiagnosePolicyConf(ComputeConf):
    """`hiltk diagnose policy`."""

    policies: list[str] = setting(REQUIRED, "one, or several to compare", reference="policies")
    env: EnvConf = setting(REQUIRED, "where positions=sim takes its scenes")
    task: TaskConf = setting(TaskConf(), "where the cube appears there")
    sets: list[str] = setting(
        [],
        f"datasets at which the policy is asked: {SETS}; empty: those it learned from",
        reference=Reference("datasets", episodes=True),
    )
    frames: int = setting(512, "moments of these at which the policy is asked")
    positions: str = setting(
        "", "sim: also move the cube, the light and the camera in the simulator", choices=(POSITIONS,)
    )
    scenes: int = setting(60, "with positions=sim")


@dataclass
class DiagnoseCriticConf(ComputeConf):
    """`hiltk diagnose critic`."""

    policies: list[str] = setting(REQUIRED, "one, or several to compare", reference="policies")
    episodes: int = setting(30, "newest of each policy's training")
    demos: bool = setting(True, "also the demonstrations it learned from")


@dataclass
class ExportPolicyConf(StepConf):
    """`hiltk export-policy`."""

    policy: str = setting(REQUIRED, "the policy to export", reference="policies")
    stochastic: bool = setting(
        False, "export the deviation, so that LeRobot samples as in training; false: as good as none"
    )


@dataclass
class ExportReplayConf(StepConf):
    """`hiltk export-replay`."""

    policy: str = setting(REQUIRED, "whose replay buffer", reference="policies")
    checks: ChecksConf = setting(ChecksConf(), CHECKS, volatile=True)


@dataclass
class ReportConf(StepConf):
    """`hiltk report`."""

    title: str = setting("", "heading; empty: the name")
    artifacts: list[str] = setting(REQUIRED, "what to show", reference="")


COMMANDS: dict[str, type[StepConf]] = {
    "record": RecordConf,
    "adopt": AdoptConf,
    "fix-actions": FixActionsConf,
    "label": LabelConf,
    "merge": MergeConf,
    "split": SplitConf,
    "drop-episodes": DropConf,
    "stats": StatsConf,
    "inspect": InspectConf,
    "train-classifier": ClassifierConf,
    "preview": PreviewConf,
    "bc-pretrain": BcConf,
    "train": TrainConf,
    "eval": EvalConf,
    "diagnose encoder": DiagnoseEncoderConf,
    "diagnose buffer": DiagnoseBufferConf,
    "diagnose run": DiagnoseRunConf,
    "diagnose policy": DiagnosePolicyConf,
    "diagnose critic": DiagnoseCriticConf,
    "export-policy": ExportPolicyConf,
    "export-replay": ExportReplayConf,
    "report": ReportConf,
}
