"""Causes in the learner and in what its policy sees. See `hiltk.diagnostics.causes`."""

from __future__ import annotations

import numpy as np

from hiltk import limits
from hiltk.diagnostics.encoder import filter_spread
from hiltk.diagnostics.evidence import RECENT, Evidence
from hiltk.diagnostics.suspects import Cause, Suspect, at_least
from hiltk.findings import Finding
from hiltk.limits import ramp
from hiltk.spec import STATE_KEY


def grown(e: Evidence) -> float:
    """Certainty of what a policy may show merely because it is young: 0.25 up to 2000 updates, 0.6 from 10000."""
    return 0.25 + 0.35 * ramp(e.metric("update", 1), 2_000, 10_000)


# ---------------------------------------------------------------- learner


def too_much_noise(e: Evidence) -> Suspect | None:
    """[F1, F5, devlogs 044, 072]"""
    noise, signal = e.noise
    scheduled, alpha = e.metric("noise", RECENT), e.metric("alpha", RECENT)
    # Uniform noise over the whole range has 0.58; what a sound policy ends with is 0.1 to 0.2. One that is merely young
    # explores as much: where the settings do not ask for it, noise becomes suspicious only after many updates.
    asked = scheduled > limits.NOISE.sound if np.isfinite(scheduled) else _asks_for_entropy(e)
    return Suspect(
        "too much exploration noise",
        limits.NOISE.degree(noise) * e.headroom,
        0.9 if asked else grown(e),
        Finding(
            f"exploration deviates from the policy's action by {noise:.2f} of a full action, the actions themselves "
            f"are {signal:.2f}: noise drowns the policy, and its replay buffer fills with random motion",
            fix="drqv2: agent.noise=linear(0.2,0.05,5000) agent.explore_steps=0; sac: agent.temperature=0.01 and "
            "agent.target_entropy=null; or bc-pretrain first",
            code="LRN005" if np.isfinite(alpha) else "LRN004",
            evidence={"noise_rms": noise, "action_rms": signal, "alpha": alpha},
        ),
    )


def _asks_for_entropy(e: Evidence) -> bool:
    """SAC's settings that keep a policy random: a temperature, or a target entropy, far above the defaults."""
    target = e.setting("agent.target_entropy")
    wide = target is not None and float(target) > limits.WILD_ENTROPY * len(e.spec.action.dims)
    return wide or max(float(e.setting("agent.temperature", 0.0)), e.metric("alpha", RECENT)) > limits.TEMPERATURE


def timid(e: Evidence) -> Suspect | None:
    """[F4, devlog 063]"""
    alpha, size = e.metric("alpha", RECENT), e.metric("action_size", RECENT)
    low = np.isfinite(alpha) and alpha <= limits.ALPHA_GONE
    return Suspect(
        "a timid policy",
        limits.ACTION_SIZE.degree(size) * e.headroom if low else 0.0,
        0.8,
        Finding(
            f"alpha is {alpha:.4f} and actions are {size:.2f} of full size: the arm hardly moves and no longer "
            "explores",
            fix="agent.target_entropy=null, or a higher agent.temperature",
            code="LRN005",
            evidence={"alpha": alpha, "action_size": size},
        ),
    )


def saturated(e: Evidence) -> Suspect | None:
    """[F1, F3, devlogs 023, 050]"""
    share = e.metric("saturation", 5)
    return Suspect(
        "saturated actions",
        limits.SATURATED.degree(share) * e.headroom,
        0.7,
        Finding(
            f"{share:.0%} of the policy's actions are at their limit, where tanh passes no gradient",
            fix="raise agent.temperature; bc-pretrain with loss=mean; look at the action scale of the demonstrations",
            code="guard saturation (F3)",
            evidence={"saturation": share},
        ),
    )


def too_few_updates(e: Evidence) -> Suspect | None:
    """[S10]"""
    steps, updates = e.metric("env_step", 1), e.metric("update", 1)
    wanted, got = float(e.setting("utd", 0)), e.metric("utd")
    rare = ramp(-np.log10(max(e.replays, 1e-3)), -1.5, 0.0)
    return Suspect(
        "too few updates",
        max(rare, limits.UPDATES_BEHIND.degree(e.updates_behind)) * e.headroom,
        0.9,
        Finding(
            f"{updates:.0f} updates in {steps:.0f} steps, so each transition is replayed {e.replays:.1f} times (the "
            "original learner: some 500 times)",
            fix="utd=2 with batch_size=128, offline_updates=500 before the first episode, or a faster device",
            code="guard update_ratio (S10)",
            evidence={
                "updates": updates,
                "env_steps": steps,
                "replays": e.replays,
                "utd": got,
                "utd_configured": wanted,
            },
        ),
    )


def unstable(e: Evidence) -> Suspect | None:
    """[A1, devlog 044]"""
    said = e.tripped("critic_loss") or e.tripped("gradient")
    return Suspect(
        "losses that explode",
        0.7 if said else 0.0,
        0.6,
        Finding(
            said.what if said else "losses and gradients stay near their median",
            fix="look at the data first (hiltk check); then a lower agent.lr or agent.tau",
            code="guard critic_loss (A1)",
            evidence={"critic_loss": e.metric("critic_loss", 3), "critic_gradient": e.metric("critic_gradient", 3)},
        ),
    )


def regression(e: Evidence) -> Suspect | None:
    """[F9, devlog 082]"""
    said = e.tripped("regression")
    return Suspect(
        "success that was lost again",
        0.8 if said else 0.0,
        0.7,
        Finding(
            said.what if said else f"success without help never fell by {100 * limits.FALLEN:.0f} points",
            fix="look at light, cameras and reset; best/ holds the weights of the best time",
            code="guard regression (F9)",
            evidence={"unaided": e.unaided},
        ),
    )


# ---------------------------------------------------------------- what the policy sees


def untrained_encoder(e: Evidence) -> Suspect | None:
    """[S5; an encoder frozen at random]"""
    if e.frozen is None:
        return None
    spread = filter_spread(e.frozen)
    return Suspect(
        "an encoder frozen at random",
        0.9 * (1 - ramp(spread, 1.3, 2.0)) * max(e.headroom, 0.5),
        0.9,
        Finding(
            f"the frozen encoder's filters differ in strength {spread:.1f} times as much as independent random draws do"
            + (": nobody trained it, and training cannot change it" if spread < 1.5 else ""),
            fix="encoder.weights=helper2424/resnet10 or the folder they were downloaded to; or encoder=cnn, which "
            "learns",
            code="S5 (hiltk diagnose encoder)",
            evidence={"filter_spread": spread},
        ),
    )


def ignored_images(e: Evidence) -> Suspect | None:
    """[F8, S1, devlog 072: the same motion for all cubes]"""
    images = e.policy.spec.image_keys
    if not images:
        return None
    sees, feels = e.sensitivity(*images), e.sensitivity(STATE_KEY)
    if not np.isfinite(sees):
        return None
    return Suspect(
        "a policy that ignores its images",
        limits.USED.degree(sees) * e.headroom,
        grown(e),
        Finding(
            f"exchanging the images changes the action by {sees:.0%} of what exchanging everything does, exchanging "
            f"the state by {feels:.0%}",
            fix="hiltk diagnose encoder says whether the images tell positions apart; more demonstrations from other "
            "positions",
            code="S12, F8 (hiltk diagnose encoder)",
            evidence={"image_sensitivity": sees, "state_sensitivity": feels},
        ),
    )


def ignored_state(e: Evidence) -> Suspect | None:
    """[S1]"""
    if not e.policy.spec.image_keys:
        return None
    feels = e.sensitivity(STATE_KEY)
    if not np.isfinite(feels):
        return None
    return Suspect(
        "a policy that ignores its own state",
        limits.USED.degree(feels) * e.headroom,
        grown(e),
        Finding(
            f"exchanging the state changes the action by {feels:.0%} of what exchanging everything does",
            fix="look at the statistics of the state and for columns that stand still",
            code="LRN001",
            evidence={"state_sensitivity": feels},
        ),
    )


# ---------------------------------------------------------------- the rest


def uneven(e: Evidence) -> Suspect | None:
    """[F8, devlog 072: easy positions only]"""
    if len(e.strata) < 2:
        return None
    best, worst = e.strata.loc[e.strata.rate.idxmax()], e.strata.loc[e.strata.rate.idxmin()]
    gap = float(best.rate - worst.rate)
    return Suspect(
        "easy positions only",
        at_least(round(gap * best.n), int(best.n)),
        0.8,
        Finding(
            f"evaluated at {best.stratum} it succeeds in {best.rate:.0%}, at {worst.stratum} in {worst.rate:.0%}: a "
            "local optimum that serves the easy positions",
            fix="demonstrate and correct at the hard positions (task.stratum=, practice=strata)",
            code="F8 (devlog 072)",
            evidence={
                "best": float(best.rate),
                "worst": float(worst.rate),
                "episodes_each": float(min(best.n, worst.n)),
            },
        ),
    )


LEARNER_CAUSES: list[Cause] = [
    too_much_noise, timid, saturated, too_few_updates, unstable, regression, untrained_encoder, ignored_images,
    ignored_state, uneven,
]  # fmt: skip
