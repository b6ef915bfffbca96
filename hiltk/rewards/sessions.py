"""A classifier by session: on held-out episodes of each, and leaving one session out of training (domain shift)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hiltk.data.episode import Episode
from hiltk.reward_rule import EpisodeVerdict
from hiltk.rewards.calibration import Confusion, confusion
from hiltk.rewards.frames import LabelledFrames, Origin, Split, split_episodes

MOST_ROUNDS = 5  # trainings for sessions in turn; with more sessions than that, several are left out at once
Judged = tuple[LabelledFrames, np.ndarray, list[EpisodeVerdict]]  # frames, their probabilities, a verdict per episode


@dataclass(frozen=True)
class SessionScore:
    """What a classifier makes of one session.

    Attributes:
        unseen: no frame of the session was trained on; otherwise only these episodes were not.
        confusion: of frames, at the classifier's threshold.
        verdicts: per episode.
    """

    session: str
    unseen: bool
    confusion: Confusion
    verdicts: list[EpisodeVerdict]


def split_by_origin(episodes: Sequence[Episode], fraction: float, seed: int, origins: Sequence[Origin]) -> Split:
    """Hold out episodes of every session, none of the added ones; copies of one recording stay together.

    Raises:
        UserError: there are too few episodes of one class for both parts to show it.
    """
    recording = _recordings(origins)
    added = recording[[origin.added for origin in origins]]
    firsts = np.unique(recording, return_index=True)[1]
    drawn = np.sort(firsts[~np.isin(recording[firsts], added)])  # each recording once
    split = split_episodes([episodes[n] for n in drawn], fraction, seed, [origins[n].session for n in drawn])
    held_out = np.isin(recording, recording[drawn[split.held_out]])
    return Split(np.flatnonzero(~held_out), np.flatnonzero(held_out))


def _recordings(origins: Sequence[Origin]) -> np.ndarray:
    """(E,) int, the same for copies of one recording."""
    return np.array([n if origin.recording is None else origin.recording for n, origin in enumerate(origins)], int)


def score_sessions(
    judged: Judged, numbers: np.ndarray, origins: Sequence[Origin], threshold: float, *, unseen: bool
) -> list[SessionScore]:
    """One score for each session among the episodes judged.

    Args:
        numbers: of the episodes judged, in the order of their verdicts.
    """
    frames, probabilities, verdicts = judged
    sessions = np.array([origins[n].session for n in numbers])
    scores = []
    for session in dict.fromkeys(sessions.tolist()):
        rows = np.isin(frames.episode, numbers[sessions == session])
        counts = confusion(probabilities[rows], frames.success[rows], threshold)
        own = [v for v, s in zip(verdicts, sessions, strict=True) if s == session]
        scores.append(SessionScore(session, unseen, counts, own))
    return scores


def rounds(episodes: Sequence[Episode], origins: Sequence[Origin]) -> list[Split]:
    """Whole sessions to leave out in turn: those that show both classes, and without which the others still do.

    Copies of what is left out, in other sessions, are not learned from either.
    """
    sessions = [o.session for o in origins if not o.added]
    names = [s for s in dict.fromkeys(sessions) if _shows_both(episodes, _of(origins, [s]))]
    count = min(len(names), MOST_ROUNDS)
    recording, turns = _recordings(origins), [_of(origins, names[i::count]) for i in range(count)]
    splits = [Split(np.flatnonzero(~np.isin(recording, recording[left])), left) for left in turns]
    return [split for split in splits if _shows_both(episodes, split.train)]


def judge_unseen(
    splits: Sequence[Split], origins: Sequence[Origin], threshold: float, train_and_judge: Callable[[Split], Judged]
) -> list[SessionScore]:
    """Each session as a classifier sees it that was trained on the others.

    Args:
        train_and_judge: trains another classifier on one part of a split and judges the other.
    """
    return [
        score
        for split in splits
        for score in score_sessions(train_and_judge(split), split.held_out, origins, threshold, unseen=True)
    ]


def _of(origins: Sequence[Origin], sessions: Sequence[str]) -> np.ndarray:
    return np.array([n for n, o in enumerate(origins) if o.session in sessions and not o.added], int)


def _shows_both(episodes: Sequence[Episode], numbers: np.ndarray) -> bool:
    """Episodes that succeed and episodes that do not are among them, or at least frames of both."""
    labels = np.concatenate([episodes[n].success for n in numbers]) if len(numbers) else np.zeros(0, bool)
    return bool(labels.any() and not labels.all())
