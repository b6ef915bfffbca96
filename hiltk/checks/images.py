"""IMG: cameras that are dark, stuck, swapped, turned or lit otherwise. A sample of the frames is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from hiltk.agents.encoders import ENCODERS
from hiltk.checks.rule import Reads, rule
from hiltk.checks.subject import DatasetSubject, Subjects
from hiltk.findings import Finding, Severity
from hiltk.limits import LIGHT_OF_FIRST_FRAMES

LEARNS_IMAGES = ("train-classifier", "bc-pretrain", "train")
MEAN, LEAST_STD, MOST_SATURATED = (0.05, 0.95), 0.02, 0.5
MOVED_DEG = 1.0  # between two frames: no camera on or before the arm sees exactly the same afterwards
LEAST_EPISODES = 6  # of which fewer show no change of view
ALIKE, APART = 0.3, 0.3  # correlation within each half, and how much lower it is between them
# One episode: how much more it is like the others once turned, and how much, in parts of how the others are like each
# other. Of 300 sound ones no camera with a view of its own came nearer than -0.2, of turned ones most had 0.4 to 0.9.
TURNED, AS_ALIKE = 0.2, 0.75
MOST_DEVIATIONS = 3.0

TURNS = {
    "is upside down (turned by 180 degrees)": lambda frame: frame[::-1, ::-1],
    "is mirrored left to right": lambda frame: frame[:, ::-1],
    "is mirrored top to bottom": lambda frame: frame[::-1],
}


@rule("IMG001", covers=("D1", "D3", "D7"), steps=LEARNS_IMAGES)
def unusable_frames(d: DatasetSubject) -> Iterator[Finding]:
    """Frames are black, white or flat.

    Symptom:  a classifier that never fires, an encoder whose output is constant.
    Cause:    a camera that is covered, off or overexposed; or images scaled twice on their way into the dataset: 0..1
              stored as bytes is black, 0..255 clamped to 1 is white.
    Detected: three frames of each of up to 60 episodes, all three of which show the same.
              - a mean outside {MEAN[0]:g} to {MEAN[1]:g} of full scale [black_frames, scaled_to_white]
              - a standard deviation below {LEAST_STD:g} of full scale [flat_frames]
              - where an arm is filmed, over half of the values at 255 (a rendered toy environment may well be half
                white) [half_overexposed]
    Fix:      drop these episodes; look at the camera, or at what wrote the images.
    Source:   devlogs 048, 059 and 068.
    """
    arm = d.spec is None or bool(d.spec.robot.model_hash)
    for camera in d.files.cameras:
        seen = d.seen(camera)
        dull = (seen.mean < MEAN[0]) | (seen.mean > MEAN[1]) | (seen.std < LEAST_STD)
        bad = np.flatnonzero((dull | ((seen.white > MOST_SATURATED) & arm)).all(1))
        if len(bad):
            yield Finding(
                f"{camera} shows nothing in {len(bad)} of {len(seen.mean)} episodes looked at: brightness "
                f"{seen.mean[bad].mean():.2f}, spread {seen.std[bad].mean():.3f} of full scale",
                where=d.episodes([d.episodes_seen[i] for i in bad]),
                fix="drop these episodes; look at the camera and at what scales its images",
                evidence={
                    "brightness": float(seen.mean[bad].mean()),
                    "spread": float(seen.std[bad].mean()),
                    "episodes": len(bad),
                },
            )


@rule("IMG002", covers=("D10", "G2", "G7"), steps=LEARNS_IMAGES)
def stuck_camera(d: DatasetSubject) -> Iterator[Finding]:
    """A camera repeats its last frame while the arm moves.

    Symptom:  the policy acts on the past; success falls in the middle of a session.
    Cause:    the camera's thread died, or it delivers fewer frames than the loop asks for.
    Detected: - two neighbouring frames of each of up to 60 episodes, taken where the arm moves most and by at least
                {MOVED_DEG:g} degree, are equal to the last bit in over 10 % of the episodes, at least two of them (or
                the only one) [camera_died]
    Fix:      replug the camera, lower its resolution or the loop's rate; drop these episodes.
    Source:   devlogs 047a, 076 and 081; vla-010.
    """
    if d.step_deg is None:
        return
    moving = d.step_deg[d.rows_seen[:, 1]] >= MOVED_DEG
    for camera in d.files.cameras if moving.any() else []:
        stuck = np.flatnonzero(d.seen(camera).repeated & moving)
        if len(stuck) >= min(2, moving.sum()) and len(stuck) > 0.1 * moving.sum():
            yield Finding(
                f"{camera} repeats a frame while the arm moves, in {len(stuck)} of {moving.sum()} episodes looked at",
                where=d.episodes([d.episodes_seen[i] for i in stuck]),
                fix="the camera died or is too slow for the loop: record these episodes again",
                evidence={"stuck_episodes": len(stuck), "moving_episodes": int(moving.sum())},
            )


@rule("IMG003", covers=("D8", "G4", "D10"), steps=LEARNS_IMAGES)
def changed_view(d: DatasetSubject) -> Iterator[Finding]:
    """A camera shows something else from some episode on, or in a single one.

    Symptom:  a policy that works in one half of the cases; half of the batch contradicts the other.
    Cause:    cameras swapped by the operating system (video0, video1), a camera replaced, bumped, or mounted upside
              down; images turned by a writer.
    Detected: small grey versions of the first frames of up to 60 episodes, where the arm rests. The dataset splits in
              two parts, each alike (mean correlation above {ALIKE:g}; recordings of one view have 0.4 to 0.75), that
              differ from each other ({APART:g} lower).
              - turning, mirroring or another camera's frames explain the second part: an error
                [upside_down_from_the_middle_on, cameras_swapped_from_the_middle_on]
              - turning, mirroring or another camera's frames make a single episode at least {TURNED:g} more like the
                others, and nearly as like them as they are like each other: an error [upside_down_in_the_last_episode,
                mirrored_in_an_episode_in_between, cameras_swapped_in_the_last_episode]
              - nothing explains it: a warning, since the scene may have been rearranged on purpose
                [another_view_from_the_middle_on]
    Fix:      address cameras by their path (by-id); split the dataset there and turn one part.
    Source:   devlogs 005, 026, 061 and 081.
    """
    small = {camera: d.seen(camera).small for camera in d.files.cameras}
    for camera, own in small.items():
        at = _change(own)
        if at is None:
            yield from _odd_ones(d, camera, small)
            continue
        options = {text: (np.stack([turn(f) for f in own[at:]])) for text, turn in TURNS.items()}
        options |= {f"is what '{name}' showed before": own[at:] for name in small if name != camera}
        references = dict.fromkeys(TURNS, own[:at])
        references |= {f"is what '{name}' showed before": other[:at] for name, other in small.items() if name != camera}
        scores = {text: _likeness(frames, references[text]) for text, frames in options.items()}
        best = max(scores, key=lambda text: scores[text])
        known = scores[best] > ALIKE and scores[best] > _likeness(own[at:], own[:at]) + APART
        yield Finding(
            f"{camera} {best if known else 'shows something else'} from episode {d.episodes_seen[at]} on",
            where=f"first frames of {len(own)} of {len(d.bounds)} episodes",
            fix="look at the episodes around it; hiltk keeps cameras by name, so record or convert the parts apart",
            severity=Severity.error if known else Severity.warning,
            evidence={"first_episode": int(d.episodes_seen[at]), "likeness": scores[best]},
        )


def _odd_ones(d: DatasetSubject, camera: str, small: dict[str, np.ndarray]) -> Iterator[Finding]:
    """Single episodes that fit the others once they are turned, or taken from another camera (E, T, T)."""
    own, count = small[camera], len(small[camera])
    if count < LEAST_EPISODES:
        return
    flat = own.reshape(count, -1)
    alike = flat @ flat.T
    now, within = (alike.sum(1) - np.diag(alike)) / (count - 1), _off_diagonal(alike)
    instead = {text: np.stack([turn(frame) for frame in own]) for text, turn in TURNS.items()}
    instead |= {f"shows what is '{name}' elsewhere": other for name, other in small.items() if name != camera}
    for text, frames in instead.items() if within > ALIKE else ():
        turned = frames.reshape(count, -1) @ flat.T
        then = (turned.sum(1) - np.diag(turned)) / (count - 1)
        odd = np.flatnonzero((then > now + TURNED) & (then > AS_ALIKE * within))
        if len(odd):
            yield Finding(
                f"{camera} {text} in {len(odd)} of {count} episodes looked at",
                where=f"{d.episodes([d.episodes_seen[i] for i in odd])}, first frames",
                fix="look at these episodes: drop them, or turn their pictures and record the dataset anew",
                evidence={
                    "episodes": len(odd),
                    "likeness": float(then[odd].mean()),
                    "as_it_is": float(now[odd].mean()),
                },
            )
            return


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Mean correlation of all pairs."""
    return float((a.reshape(len(a), -1) @ b.reshape(len(b), -1).T).mean())


def _change(frames: np.ndarray) -> int | None:
    """Where a series of thumbnails becomes another one; None if it does not."""
    count = len(frames)
    if count < LEAST_EPISODES:
        return None
    flat = frames.reshape(count, -1)
    alike = flat @ flat.T
    best, found = APART, None
    for at in range(2, count - 1):
        within = min(_off_diagonal(alike[:at, :at]), _off_diagonal(alike[at:, at:]))
        gap = within - float(alike[:at, at:].mean())
        if within > ALIKE and gap > best:
            best, found = gap, at
    return found


def _off_diagonal(square: np.ndarray) -> float:
    count = len(square)
    return float((square.sum() - np.trace(square)) / (count * (count - 1)))


@rule(
    "IMG004",
    covers=("D10", "S11"),
    steps=LEARNS_IMAGES,
    reads=Reads.together,
    severity=Severity.warning,
)
def other_light(all_: Subjects) -> Iterator[Finding]:
    """Domain shift: sessions that are used together are lit differently.

    Symptom:  success drops from 55 to 28 % between two checkpoints; a classifier that fires in the evening.
    Cause:    lamp, daylight or camera changed between the sessions; demonstrations of an older set-up in the config.
    Detected: first frames of the episodes of two datasets, for each camera. Appearance that varies on purpose from
              episode to episode does not count.
              - brightness differs by more than {LIGHT_OF_FIRST_FRAMES:%}, and by more than {MOST_DEVIATIONS:g} standard
                deviations of the episodes within each [evening_light]
              - so does the share of a colour [another_lamp]
    Fix:      record some episodes in today's light; leave the old session out.
    Source:   devlogs 076, 081 and 082; the 70 % run trained on demonstrations of another lamp.
    """
    for one, other in combinations(all_.datasets, 2):
        for camera in set(one.files.cameras) & set(other.files.cameras):
            a, b = (_light(d.seen(camera).colours) for d in (one, other))
            shift = np.abs(a.mean(0) - b.mean(0))
            spread = np.sqrt((a.var(0) + b.var(0)) / 2)
            relative = shift / np.maximum(np.minimum(a.mean(0), b.mean(0)), 1e-6)
            bad = (relative > LIGHT_OF_FIRST_FRAMES) & (shift > MOST_DEVIATIONS * spread)
            if bad.any():
                what = ("brightness", "share of red", "share of green", "share of blue")[int(relative.argmax())]
                yield Finding(
                    f"{camera}: {what} differs by {relative.max():.0%} between {one.name} and {other.name}",
                    where="first frames of their episodes",
                    evidence={"relative_difference": float(relative.max())},
                    fix="record in today's light, or leave the other session out",
                )


def _light(colours: np.ndarray) -> np.ndarray:
    """Brightness, and the share of each colour in it, per frame (E, 4)."""
    total = np.maximum(colours.sum(1, keepdims=True), 1e-6)
    return np.concatenate([total / 3, colours / total], axis=1)


@rule(
    "IMG005",
    covers=("D6",),
    steps=LEARNS_IMAGES,
    reads=Reads.together,
    severity=Severity.warning,
)
def small_for_resnet(all_: Subjects) -> Iterator[Finding]:
    """Images are too small for a ResNet.

    Symptom:  a pretrained encoder that cannot tell where the cube is.
    Cause:    images recorded at 84 pixels: a ResNet-10 halves them five times and leaves 3 x 3 cells.
    Detected: any other mismatch of sizes is refused with the specs.
              - encoder.name=resnet with images below 96 pixels [a_resnet_on_small_images]
    Fix:      record with env.image_height=128 env.image_width=128, or use encoder=cnn.
    Source:   devlogs 019, 026 and 064.
    """
    row = ENCODERS.get((all_.config.get("encoder") or {}).get("name", ""))
    if row is None:
        return
    for name, spec in all_.specs():
        small = [i for i in spec.images if min(i.height, i.width) < row.least_px]
        if small:
            yield Finding(
                f"a ResNet sees {name} at {small[0].height} x {small[0].width} pixels, made for 128 and more",
                where=", ".join(i.name for i in small),
                evidence={"height": small[0].height, "width": small[0].width},
                fix="record at 128 x 128, or encoder=cnn",
            )
            return
