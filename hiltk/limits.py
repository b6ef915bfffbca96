"""Thresholds of failures that several modules use, each once.

A failure is looked for in settings and data before a run (rules), in its metrics while it runs (guards), and in what is
left of it afterwards (diagnoses, which `hiltk diagnose run` ranks). Where they look at the same number they share a
`Limit`; where they look at different ones for the same failure, both stand side by side here with the reason. What only
one rule or guard asks for stands beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limit:
    """Three points on the way from sound to spoilt, which may lie in either direction.

    Attributes:
        sound: what sound runs stay within; from here `hiltk diagnose run` begins to count.
        alarm: from here a rule, guard or diagnosis speaks.
        spoilt: where nothing worked; from here it counts in full.
    """

    sound: float
    alarm: float
    spoilt: float

    def degree(self, value: float) -> float:
        """0 up to ``sound``, 1 from ``spoilt`` on, straight between."""
        return ramp(value, self.sound, self.spoilt)


def ramp(value: float, sound: float, spoilt: float) -> float:
    """0 at ``sound``, 1 at ``spoilt``, straight between; 0 of what was never measured."""
    return min(max((value - sound) / (spoilt - sound), 0.0), 1.0) if math.isfinite(value) else 0.0


def beyond(q: Any, low: float, high: float) -> Any:
    """How far values lie outside the returns that a reward rule allows, in parts of their range; 0 inside."""
    import numpy as np  # here, since settings take their defaults from this module, and help imports nothing heavy

    return np.maximum(np.maximum(q - high, low - q), 0.0) / max(high - low, 1e-12)


# ---------------------------------------------------------------- actions

AT_LIMIT = 0.95  # of an action's range: beyond it tanh passes next to no gradient
SATURATED = Limit(sound=0.7, alarm=0.9, spoilt=0.95)  # share of a policy's actions at their limit
# Of a human's: an arm that moves too little for its actions is driven at full stretch. Only `diagnose run` asks; the
# rule that covers it (ACT006) reads the scale itself.
STRETCHED = Limit(sound=0.6, alarm=0.6, spoilt=0.9)
ACTION_SIZE = Limit(sound=0.15, alarm=0.1, spoilt=0.05)  # mean size, of a full action: below it the arm hardly moves
ALPHA_GONE = 0.02  # SAC's temperature below which nothing is explored
# SAC's target entropy per action dimension (unset is -0.5): at or below the first it makes a timid policy, above the
# second one that stays random.
TIMID_ENTROPY, WILD_ENTROPY = -1.0, -0.25
TEMPERATURE = 0.1  # SAC's, above which what a human shows counts little
# Exploration, as standard deviation of a full action (uniform noise over the whole range has 0.58). LRN004 reads the
# start of a schedule, which falls; `diagnose run` measures what there is at the end of a run.
NOISE = Limit(sound=0.3, alarm=0.5, spoilt=0.6)

# Share after the arm's last motion: of a whole dataset (REW005), or of one episode on the page of `hiltk inspect`.
IDLE_END = 0.2

# ---------------------------------------------------------------- reward and values

Q_BEYOND = Limit(sound=0.1, alarm=0.1, spoilt=1.0)  # mean value beyond the possible returns, in parts of their range
Q_PEAK_BEYOND = 0.5  # the same of the largest value of a batch, which errs further
POSITIVE = Limit(sound=0.01, alarm=0.01, spoilt=0.0)  # share of the transitions learned from that carry a reward
# Share of a dataset's frames that show success, below which a classifier starves (REW001, devlog 058). More than
# POSITIVE: success is rewarded once and then still shows.
SHOWS_SUCCESS = 0.02

# Steps that success may have to show before it counts, at most, and steps for which recordings go on after success:
# they must be able to satisfy any such rule, and a classifier wants to see what success looks like, beyond the moment
# at which it begins. Both are said for full actions of FAST_M; where these are smaller, as many steps cover the same
# way, within the longest time. At the hold of 10 of the devlogs policies learn more slowly, since they, too, must hold.
LONGEST_HOLD, LONGEST_HOLD_S = 8, 2.0
AFTER_SUCCESS, AFTER_SUCCESS_S = 15, 4.5
FAST_M = 0.02


def longest_hold(scale_m: float, fps: float) -> int:
    """`LONGEST_HOLD` where a full action moves the arm by ``scale_m``; 0: unknown."""
    return _as_far(LONGEST_HOLD, LONGEST_HOLD_S, scale_m, fps)


def after_success(scale_m: float, fps: float) -> int:
    """`AFTER_SUCCESS` where a full action moves the arm by ``scale_m``; 0: unknown."""
    return _as_far(AFTER_SUCCESS, AFTER_SUCCESS_S, scale_m, fps)


def _as_far(steps: int, seconds: float, scale_m: float, fps: float) -> int:
    as_far = steps * FAST_M / scale_m if scale_m else 0.0
    return max(steps, round(min(as_far, seconds * fps)))


# Of the episodes that a reward classifier ends, those it ends before success has held: a rule, guard and diagnosis
# speak where it is surely more than the alarm.
EARLY = Limit(sound=0.02, alarm=0.05, spoilt=0.5)
# Of a classifier on labelled frames, what is recognised and what is taken for success: a warning from the alarm on, an
# error where it is spoilt (frames of a run's demonstrations: REW007; of held-out episodes: LRN003).
RECALL, FALSE = Limit(sound=0.5, alarm=0.5, spoilt=0.2), Limit(sound=0.2, alarm=0.2, spoilt=0.5)
# A classifier's hold is tuned for the speed it was recorded at: between speeds this many times apart it means another
# stretch of the motion.
OTHER_PACE = 1.5

# ---------------------------------------------------------------- humans

TAKEN_OVER = Limit(sound=0.4, alarm=0.5, spoilt=0.8)  # share of the steps that the human makes
STILL_HELPED = 0.2  # share of the steps that the human makes, below which it need not become less any more
LONG_TAKEOVERS = Limit(sound=0.3, alarm=0.5, spoilt=0.8)  # share of the intervened episodes with a long takeover
HUMAN_DATA = 0.5  # share of the batches that is human, in parts of what demo_fraction promises; less is missing
# Share of the batches that are demonstrations. The guard counts corrections as well and compares with the settings;
# where they say demo_fraction=0 that finds nothing, so `diagnose run` looks at demonstrations alone.
DEMONSTRATED = Limit(sound=0.05, alarm=0.05, spoilt=0.0)

# ---------------------------------------------------------------- learner

UPDATES_BEHIND = Limit(sound=0.25, alarm=0.25, spoilt=0.9)  # missing updates per step, in parts of what utd promises
FALLEN = 0.4  # success without help, from its best

# ---------------------------------------------------------------- what is seen

# Change of the action when an input is taken from another episode, in parts of what exchanging everything changes.
USED = Limit(sound=0.1, alarm=0.02, spoilt=0.02)
FAR_STD = 5.0  # standard deviations from where a dimension of the state was: another unit, or other data
NARROW = 1e-3  # a standard deviation, in parts of how far the dimension reaches or spreads elsewhere: it stands still
# Two episodes are copies of one recording where this share of the shorter one's motion lies this near to poses of the
# other: in degrees (of 100 for the jaws), in standard deviations of a state without an arm, in grey levels of a small
# picture. Rounding to a servo's ticks or to half precision moves a joint by 0.04 degrees. Of the scripted human, with
# one cube and one reset pose for all, only the noise of actions different, the two most alike of 4950 pairs are 0.65
# degrees apart; without noise, over the whole table, 1.1 of 19900 pairs. Pictures encoded anew differ by 1.0 to 1.5
# (root mean square over 8 x 8 cells; JPEG at a quality of 60 to 80), those of the most alike demonstrations by 2.1.
COPIED, COPY_DEG, COPY_STD, COPY_GREY = 0.8, 0.1, 0.005, 1.6
# Relative difference of brightness. IMG004 compares first frames, where the arm is at its reset pose and only the light
# differs (and asks for three standard deviations besides); `diagnose run` compares all frames, whose content differs.
LIGHT_OF_FIRST_FRAMES = 0.15
LIGHT = Limit(sound=0.25, alarm=0.25, spoilt=0.8)

# ---------------------------------------------------------------- the arm on the desk

# What a person sets for an arm stands in its file (`hiltk.robots.arm_file.SafetyFile`); these are of the STS3215 and of
# how it is watched, taken from its tables and from what users report, never measured on a servo of ours.
START_C = 50.0  # hottest servo with which a session may begin
LOW_V = 4.5  # supply below which a servo is not driven: the weakest kit's 5 V, less what cables and motion take
UNEVEN_V = 1.0  # between servos of one chain: a bad cable or plug
DRIVEN = 0.95  # of full drive: a servo that gives this much for `STRAINED_S` holds more than it can
STRAINED_S = 2.0
STALL_MA = 1200.0  # with which a joint that does not move pushes against something
BUS_ERRORS = 1e-3  # share of the reads in which an answer was lost or corrupt
