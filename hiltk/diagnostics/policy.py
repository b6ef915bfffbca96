"""Which inputs a policy relies on: its state, each camera, the object's place; and whether noise drowns it.

One input after the other is replaced by what another episode shows (permutation importance, Breiman 2001, section 10),
which unlike a gradient also sees through saturated activations. The squared ratio of the change that makes to the
change that replacing everything makes is Jansen's estimate (1999) of the input's total Sobol' index; inputs that are
correlated make it a measure of what the policy uses and not of what it could be told from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hiltk import limits
from hiltk.agents.policy import Policy
from hiltk.arm.gripper import COMMANDS
from hiltk.diagnostics.changes import CUBE, Changes
from hiltk.diagnostics.frames import Moments
from hiltk.diagnostics.subjects import decide, repeated
from hiltk.findings import Finding
from hiltk.spec import IMAGE_PREFIX, STATE_KEY, GripperFormat

EVERYTHING, STATE, NOISE = "everything", "state", "noise"
NOTHING = 0.01  # RMS change of an action in [-1, 1] below which it is always the same
FIXED = 0.05  # of the change by everything, below which the cube's place hardly counts
NOISY = float(np.sqrt(0.5))  # of the change by everything: noise then is as large as the action's own deviation


@dataclass(frozen=True)
class Effect:
    """What one change does to the action.

    Attributes:
        what: what was replaced or changed.
        kind: everything | state | dimension | camera | scene (in the simulator) | noise.
        change: (A,) root mean square change of each action dimension.
    """

    what: str
    kind: str
    change: np.ndarray

    @property
    def size(self) -> float:
        return float(np.sqrt((self.change**2).mean()))


@dataclass(frozen=True)
class PolicyDiagnosis:
    """One policy.

    Attributes:
        actions: names of the action's dimensions.
        effects: everything first.
        saturated: (A,) share of actions at their limit; NaN of a three-way gripper, which is nowhere else.
        gripper: (3,) share of close, hold and open; empty without a three-way gripper.
        places_mm, answers: the cube's places (N, 2) and the actions (N, A) there; empty where there was no simulator.
    """

    name: str
    actions: list[str]
    effects: list[Effect]
    saturated: np.ndarray
    gripper: np.ndarray
    places_mm: np.ndarray
    answers: np.ndarray

    def of(self, what: str) -> Effect | None:
        return next((e for e in self.effects if e.what == what), None)

    def share(self, effect: Effect) -> float:
        """The change as a part of the change that replacing everything makes."""
        whole = self.effects[0].size
        return effect.size / whole if whole else 0.0

    def shares(self, effect: Effect) -> np.ndarray:
        """The same for each action dimension, (A,); 0 where the action never changes."""
        whole = self.effects[0].change
        return np.divide(effect.change, whole, out=np.zeros_like(whole), where=whole > 0)


def diagnose(name: str, policy: Policy, moments: Moments, changes: Changes | None, seed: int = 0) -> PolicyDiagnosis:
    """Ask a policy what it does at these moments, with parts of them replaced, and in changed scenes.

    Random numbers of Torch are drawn for the exploration noise.

    Raises:
        UserError: the moments are of one episode only.
    """
    other = moments.others(np.random.default_rng(seed))
    usual = decide(policy, moments.observations)
    effects = [Effect(EVERYTHING, EVERYTHING, _rms(decide(policy, other.observations) - usual))]
    effects += [
        Effect(what, kind, _rms(decide(policy, seen) - usual)) for what, kind, seen in _swaps(policy, moments, other)
    ]
    noisy = decide(policy, moments.observations, deterministic=False)
    effects.append(Effect(NOISE, NOISE, _rms(noisy - usual)))
    places, answers = np.zeros((0, 2)), np.zeros((0, usual.shape[1]))
    if changes:
        scenes = {name: _at_start(policy, changes, name) for name in ("before", *changes.after)}
        answers = decide(policy, scenes["before"])
        effects += [Effect(n, "scene", _rms(decide(policy, scenes[n]) - answers)) for n in changes.after]
        assert changes.before.positions_m is not None
        places = 1000 * changes.before.positions_m
    saturated, gripper = (np.abs(usual) > limits.AT_LIMIT).mean(axis=0), np.zeros(0)
    if policy.spec.action.gripper is GripperFormat.discrete3:
        saturated[-1] = np.nan
        gripper = np.array([(usual[:, -1] == command).mean() for command in (-1, 0, 1)])
    return PolicyDiagnosis(name, policy.spec.action.names, effects, saturated, gripper, places, answers)


def _swaps(policy: Policy, moments: Moments, other: Moments) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    """What is replaced, of which kind it is, and the observations with it replaced."""
    yield STATE, STATE, moments.swapped(STATE_KEY, other)
    names = policy.spec.state.names
    for key in policy.spec.image_keys:
        yield f"camera {key.removeprefix(IMAGE_PREFIX)}", "camera", moments.swapped(key, other)
    for i, name in enumerate(names):
        stacked = np.arange(policy.frame_stack) * len(names) + i
        yield name, "dimension", moments.swapped(STATE_KEY, other, stacked)


def _at_start(policy: Policy, changes: Changes, name: str) -> dict[str, np.ndarray]:
    pictures = changes.before if name == "before" else changes.after[name]
    assert pictures.states is not None
    return repeated({STATE_KEY: pictures.states, **pictures.frames}, policy.frame_stack)


def _rms(change: np.ndarray) -> np.ndarray:
    return np.sqrt((change.astype(np.float64) ** 2).mean(axis=0))


# ---------------------------------------------------------------- in words


def findings(d: PolicyDiagnosis) -> list[Finding]:
    """What is wrong, most basic first; empty where nothing stands out."""
    if d.effects[0].size < NOTHING:
        return [
            Finding(
                code="constant",
                what=f"the action is the same whatever it sees (it changes by {d.effects[0].size:.2g} of 1)",
                fix="look at the statistics of the state (hiltk check: LRN001) and train again; this policy has "
                "learned nothing from its input",
            )
        ]
    found = [*_blind(d), *_same_motion(d)]
    if np.nanmean(d.saturated) >= limits.SATURATED.alarm:
        found.append(
            Finding(
                code="saturation",
                what=f"{np.nanmean(d.saturated):.0%} of its actions are at their limit, where tanh passes no gradient",
                fix="check the action scale of the demonstrations (hiltk check: ACT007); bc-pretrain with loss=mean",
            )
        )
    noise = d.of(NOISE)
    if noise and d.share(noise) > NOISY:
        found.append(
            Finding(
                code="noise",
                what=f"its exploration noise, {noise.size:.2f}, is larger than what its actions differ by from moment "
                f"to moment, {d.effects[0].size * NOISY:.2f}: in training it drowns the policy",
                fix="harmless in `hiltk eval`, which takes the mean; for training lower agent.noise or "
                "agent.temperature (hiltk check: LRN004)",
            )
        )
    return found


def _blind(d: PolicyDiagnosis) -> Iterator[Finding]:
    """Whole inputs that it does not use."""
    state = d.of(STATE)
    if state and d.share(state) < limits.USED.alarm:
        yield Finding(
            code="ignores_state",
            what=f"it ignores its state: replacing it by another episode's changes the action by {d.share(state):.1%} "
            "of its spread",
            fix="statistics with a standard deviation near zero do that (hiltk check: LRN001, LRN002); else the images "
            "alone explain the demonstrations",
        )
    for camera in (e for e in d.effects if e.kind == "camera" and d.share(e) < limits.USED.alarm):
        yield Finding(
            code="ignores_camera",
            what=f"it ignores {camera.what}: replacing it by another episode's changes the action by "
            f"{d.share(camera):.1%} of its spread",
            fix="hiltk diagnose encoder says whether the encoder sees the cube; look for the crop, and whether the "
            "state alone explains the demonstrations",
        )


def _same_motion(d: PolicyDiagnosis) -> Iterator[Finding]:
    """[072, 073: the same motion for all cubes]"""
    cube = d.of(CUBE)
    if cube and (d.share(cube) < FIXED or cube.size < NOTHING):
        yield Finding(
            code="same_motion",
            what="the same motion everywhere: at the start of an episode, another place of the cube changes the "
            f"action by {d.share(cube):.1%} of its spread",
            fix="if hiltk diagnose encoder finds the cube, demonstrate and correct over the whole area "
            "(practice=strata); if not, it is the encoder",
        )
    for nuisance in (e for e in d.effects if e.kind == "scene" and e.what != CUBE):
        if cube and nuisance.size > cube.size and d.share(nuisance) > FIXED:
            yield Finding(
                code="nuisance",
                what=f"another {nuisance.what} changes the action more than another place of the cube does "
                f"({d.share(nuisance):.0%} against {d.share(cube):.0%} of its spread)",
                fix="vary it in training (env.jitter), or keep it fixed on the robot",
            )


def verdict(diagnoses: Sequence[PolicyDiagnosis]) -> str:
    """One paragraph: for each policy which inputs it relies on, what is wrong, and what to do."""
    return " ".join(_sentence(d) for d in diagnoses)


def _sentence(d: PolicyDiagnosis) -> str:
    whole = [e for e in d.effects if e.kind in (STATE, "camera")]
    parts = ", ".join(f"{e.what} {d.share(e):.0%}" for e in whole)
    text = f"{d.name}: of the {d.effects[0].size:.2f} by which its actions differ from episode to episode, {parts}"
    cube, noise = d.of(CUBE), d.of(NOISE)
    text += f"; the cube's place at the start {d.share(cube):.0%}" if cube else ""
    text += f"; its noise is {d.share(noise):.0%} of that." if noise else "."
    text += f" {_gripper_words(d).capitalize()}." if len(d.gripper) else ""
    found = findings(d)
    if not found:
        return text + " Nothing stands out."
    return text + "".join(f" {f.what[0].upper()}{f.what[1:]}; {f.fix}." for f in found)


def _gripper_words(d: PolicyDiagnosis) -> str:
    return "gripper: " + ", ".join(f"{name} {share:.0%}" for name, share in zip(COMMANDS, d.gripper, strict=True))


# ---------------------------------------------------------------- figure


def figure(diagnoses: Sequence[PolicyDiagnosis], path: Path) -> None:
    """A row per policy: how much each input changes each action dimension; where it goes for each place of the cube."""
    columns = 2 if any(len(d.places_mm) for d in diagnoses) else 1
    rows = max(len(d.effects) for d in diagnoses)
    sheet = Figure(figsize=(6.2 * columns, (1.6 + 0.24 * rows) * len(diagnoses)), layout="constrained")
    axes = sheet.subplots(len(diagnoses), columns, squeeze=False)
    for row, d in zip(axes, diagnoses, strict=True):
        _draw_effects(row[0], d)
        if len(d.places_mm):
            _draw_answers(row[1], d)
    sheet.savefig(path, dpi=120)


def _draw_effects(axis: Axes, d: PolicyDiagnosis) -> None:
    effects = d.effects[1:]
    values = np.array([[*d.shares(e), d.share(e)] for e in effects])
    axis.imshow(values, cmap="YlGnBu", vmin=0, vmax=1.2, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        axis.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color="w" if value > 0.7 else "k")
    axis.set_yticks(range(len(effects)), [_label(e) for e in effects], fontsize=8)
    axis.set_xticks(range(len(d.actions) + 1), [*d.actions, "all"], fontsize=8)
    limits = ", ".join(f"{n} {s:.0%}" for n, s in zip(d.actions, d.saturated, strict=True) if s == s)
    gripper = f"\n{_gripper_words(d)}" if len(d.gripper) else ""
    axis.set_title(f"{d.name}: change of the action, % of its spread\nat its limit: {limits}{gripper}", fontsize=8)


def _label(effect: Effect) -> str:
    return {"state": "whole state", "scene": f"simulator: {effect.what}"}.get(effect.kind, effect.what)


def _draw_answers(axis: Axes, d: PolicyDiagnosis) -> None:
    x, y = d.places_mm.T
    axis.quiver(x, y, d.answers[:, 0], d.answers[:, 1], angles="xy", color="#0072B2", width=0.004)
    axis.scatter(x, y, s=8, c="#D55E00", zorder=2)
    axis.set_title(f"{d.name}: first action (x, y) for each place of the cube", fontsize=8)
    axis.set_xlabel("x of the cube, mm")
    axis.set_ylabel("y of the cube, mm")
    axis.set_aspect("equal", "datalim")


def _gripper(d: PolicyDiagnosis) -> dict[str, float]:
    pairs = zip(COMMANDS, d.gripper, strict=True) if len(d.gripper) else ()
    return {f"gripper_{name}_percent": 100 * float(share) for name, share in pairs}


def as_rows(d: PolicyDiagnosis) -> Iterator[Mapping[str, object]]:
    """Rows of the table, one for each effect."""
    for effect in d.effects:
        shares = {f"{n}_percent": 100 * s for n, s in zip(d.actions, d.shares(effect), strict=True)}
        row = {"policy": d.name, "changed": effect.what, "kind": effect.kind, "action_change": effect.size}
        row |= {"percent": 100 * d.share(effect), **shares}
        yield row | (
            {"at_limit_percent": 100 * np.nanmean(d.saturated), **_gripper(d)} if effect.kind == EVERYTHING else {}
        )
