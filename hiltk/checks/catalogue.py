"""Coverage: every failure of the catalogue, and what detects it or makes it impossible.

Ids are those of the catalogue of failures: A actions and frames, B gripper, C units, state and kinematics, D images,
E reward and classifier, F policy and learner, G hardware and runtime, S silent defects. Rules name theirs themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from hiltk.checks.rule import RULES
from hiltk.limits import ACTION_SIZE, ALPHA_GONE, EARLY, FALLEN, POSITIVE, TAKEN_OVER

_COUNTS = {"A": 8, "B": 5, "C": 14, "D": 12, "E": 13, "F": 10, "G": 7, "S": 14}
IDS = [f"{letter}{n}" for letter, count in _COUNTS.items() for n in range(1, count + 1)]


@dataclass(frozen=True)
class Cover:
    """What covers failures besides rules.

    Attributes:
        ids: of the catalogue.
        by: a guard's name in `hiltk.learning.guards`, or the object that excludes it, dotted.
        why: one line.
    """

    ids: tuple[str, ...]
    by: str
    why: str


GUARDS = (
    Cover(("F6",), "q_bound", "Q outside the returns that the reward rule allows"),
    Cover(("A1",), "critic_loss", "an exploding loss, as zero actions made it"),
    Cover(("F3", "F1"), "saturation", "saturated actions: pre-activations far beyond tanh"),
    Cover(("F4",), "alpha_low", f"alpha below {ALPHA_GONE:g} with actions below {ACTION_SIZE.alarm:.0%} of full size"),
    Cover(("E1",), "positive_rate", f"under {POSITIVE.alarm:.0%} of the batches' transitions carry a reward"),
    Cover(
        ("E12",),
        "early_ends",
        f"over {EARLY.alarm:.0%} of the last 40 episodes were ended by the classifier before the task was done",
    ),
    Cover(("S10",), "update_ratio", "updates per step as measured, against the configured ratio"),
    Cover(
        ("S13", "S14"), "human_share", "less human data in the batches than configured: evicted, or lost at a resume"
    ),
    Cover(
        ("F8", "E2"),
        "long_interventions",
        f"the human makes over {TAKEN_OVER.alarm:.0%} of the steps, three episodes running",
    ),
    Cover(("E2",), "still_helped", "the human makes no fewer of the steps than 40 episodes before"),
    Cover(("F7",), "imitation_inert", "the imitation term has a weight and no samples"),
    Cover(("D10",), "drift", "domain shift: live frames unlike the reward classifier's training images"),
    Cover(
        ("F9",), "_regression", f"autonomous success falls by {100 * FALLEN:.0f} points; best/ keeps the best weights"
    ),
)

CONSTRUCTION = (
    Cover(("A2",), "hiltk.learning.loop.Trainer._step", "what is stored is the action that the environment executed"),
    Cover(
        ("A6",),
        "hiltk.arm.control.Control.checked",
        "an environment takes (A,) finite numbers in [-1, 1] and refuses anything else; no leader arm is driven yet",
    ),
    Cover(("B2",), "hiltk.spec.GripperFormat", "the format is stated in the spec, never inferred from a value"),
    Cover(
        ("B4",),
        "hiltk.arm.control.Control.command",
        "the gripper moves by at most gripper_step per step, within 0 and gripper_max",
    ),
    Cover(
        ("B5",),
        "hiltk.arm.control.Control.command",
        "inverse kinematics starts from the last command, not from joints re-read while the jaws close",
    ),
    Cover(("C2",), "hiltk.arm.kinematics.Kinematics.inverse", "joints are solved and clipped within their limits"),
    Cover(
        ("C7",), "hiltk.arm.kinematics.Kinematics.forward", "no per-joint offsets exist; joints are calibrated degrees"
    ),
    Cover(("C8",), "hiltk.spec.JOINT_PARTS", "artifacts made with another arm model (robot.model_hash) are not joined"),
    Cover(("C9",), "hiltk.envs.so101_sim.So101SimEnv._observe", "the state is computed from joints measured that step"),
    Cover(
        ("C10", "C11"),
        "hiltk.data.lerobot_io.require_same_state",
        "states are compared by name and order before anything is built; nothing is padded",
    ),
    Cover(
        ("C14", "S2"),
        "hiltk.arm.state.proprioception",
        "the end effector is always forward kinematics of the same row's joints",
    ),
    Cover(
        ("D1", "D2", "D7"),
        "hiltk.observation.ObservationPipeline._image",
        "only uint8 frames of the spec's shape pass; they are scaled once, inside the encoder",
    ),
    Cover(
        ("D4",),
        "hiltk.rewards.classifier.SuccessClassifier._probabilities",
        "training, evaluation and the live environment score frames by the same function",
    ),
    Cover(
        ("D5",),
        "hiltk.rewards.classifier.SuccessClassifier.require_fits",
        "crop, size and colours travel with the classifier; an environment that differs is refused",
    ),
    Cover(("D9",), "hiltk.data.replay.FrameStore.gather", "frames are stored singly and stacked when sampled"),
    Cover(("D11",), "hiltk.sim.scene.build_scene", "field of view is MuJoCo's fovy, vertical, in one model"),
    Cover(("D12",), "hiltk.spec.ImageSpec", "policies see camera frames only; there is no segmentation to mislabel"),
    Cover(("E3",), "hiltk.rewards.frames.split_episodes", "whole episodes are held out, never frames"),
    Cover(
        ("E4",),
        "hiltk.rewards.classifier.SuccessClassifier.set_rule",
        "threshold and hold rule are saved with the weights, and read from nowhere else",
    ),
    Cover(("E5",), "hiltk.envs.rewards.SuccessRule", "success is rewarded once, when it has held; flicker is not"),
    Cover(("E6",), "hiltk.steps.eval._make_env", "evaluation asks the environment's own predicate, not the classifier"),
    Cover(("E7",), "hiltk.reward_rule.Hold", "success is judged from observations; there is no key to press twice"),
    Cover(("E8",), "hiltk.data.lerobot_io.read_columns", "a missing next.reward is an error, not 0"),
    Cover(
        ("F2",),
        "hiltk.learning.loop.Trainer._choose",
        "actor and learner are one policy object in one process; there is nothing to push",
    ),
    Cover(
        ("F3",),
        "hiltk.agents.policy.Policy.load_weights",
        "every parameter fits or loading is refused; snapshots need a named allow-list",
    ),
    Cover(
        ("F10",),
        "hiltk.configuring.mistakes.explained",
        "unknown settings are refused by name; resume=true without a draft is an error",
    ),
    Cover(("G1",), "hiltk.data.lerobot_io.DatasetWriter.add", "each episode is on disk before the next move begins"),
    Cover(
        ("G1",),
        "hiltk.robots.keeper.Keeper.leave",
        "a process of its own parks the arm first, and then switches torque off servo by servo",
    ),
    Cover(
        ("G1",),
        "hiltk.robots.safety.Safety.observe",
        "heat, supply, load, current and status of every servo are looked at in every tick",
    ),
    Cover(
        ("A6", "B4", "B5", "C2"),
        "hiltk.robots.safety.Safety.command",
        "six finite numbers, within joint range, speed and workspace, counted from the last command",
    ),
    Cover(("G2",), "hiltk.orchestration.workers.Workers", "processes are spawned, never forked"),
    Cover(("G3",), "hiltk.humans.make.make_human", "no human of hiltk reads keys, so no window competes for them"),
    Cover(
        ("G4",),
        "hiltk.robots.ports.check_port",
        "ports go by names that stay; a number is refused where there are two arms",
    ),
    Cover(
        ("G4",),
        "hiltk.robots.ports.camera_source",
        "cameras go by names that stay; a number is refused where there are two",
    ),
    Cover(
        ("C12", "C13"),
        "hiltk.robots.arm_checks.mistakes",
        "workspace, reset and park pose lie within what the calibrated joints reach, and have no default",
    ),
    Cover(
        ("C6", "C7"),
        "hiltk.robots.calibration.require_agreement",
        "the calibration in the servos is compared with the arm's file, joint by joint",
    ),
    Cover(
        ("G5",),
        "hiltk.interrupts.Interrupts",
        "Ctrl-C, SIGTERM and SIGHUP are heard by every command, and never cut a file in half",
    ),
    Cover(
        ("G6",), "hiltk.artifacts.writing.create", "versions are written once, under a content hash, never overwritten"
    ),
    Cover(
        ("S3",), "hiltk.agents.policy.Policy.act", "acting is deterministic unless asked otherwise, and eval says which"
    ),
    Cover(("S4",), "hiltk.agents.bc.BehaviorCloning", "the loss is on tanh(mean), the action that is executed"),
    Cover(
        ("S5",),
        "hiltk.rewards.fit.fit",
        "every parameter of the classifier that can learn is given to the optimiser",
    ),
    Cover(("S6",), "hiltk.data.replay.to_batch", "random shifts happen once, in one place, also with cached features"),
    Cover(("S7",), "hiltk.data.replay.FrameStore", "a next state is the row that followed; segments never meet"),
    Cover(("S8", "D8"), "hiltk.observation.fit_image", "crop and resize are one function for every source of frames"),
    Cover(
        ("S9",),
        "hiltk.rewards.demonstrations.judge_demonstrations",
        "demonstrations end, and are rewarded, by the run's rule",
    ),
    Cover(("S12",), "hiltk.diagnostics.subjects.of_policy", "diagnoses call the policy's own encoder and pipeline"),
    Cover(
        ("S13",), "hiltk.steps.train._demo_store", "demonstrations have a store of their own that nothing evicts from"
    ),
    Cover(
        ("S14",),
        "hiltk.learning.loop.Trainer.state_dict",
        "corrections are rows of the online store, which is part of every checkpoint",
    ),
)


def covered() -> dict[str, list[str]]:
    """For every id of the catalogue the codes, guards and constructions that cover it, in this order."""
    found: dict[str, list[str]] = {id_: [] for id_ in IDS}
    for code, rule in sorted(RULES.items()):
        for id_ in rule.covers:
            found[id_].append(code)
    for cover in (*GUARDS, *CONSTRUCTION):
        for id_ in cover.ids:
            found[id_].append(cover.by)
    return found
