"""A person marks success frame by frame: a small player in the terminal, driven by single keys.

What the keys do is `Labels`, which knows nothing of terminals; `label_by_keys` shows it and feeds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from rich.console import Console, Group
from rich.text import Text

from hiltk.data.dataset import OwnDataset
from hiltk.data.labels import marks_of
from hiltk.spec import IMAGE_PREFIX

HELP = """\
,/. or arrows  one frame back, on    [/]  ten     s  a range starts here    f  failure: no frame shows success
n/p  next, previous episode          c  camera    e  ... to here: success   u  undo in this episode
w  write and stop                    q  give up   x  ... to here: not (or only this frame)"""
# What terminals send for keys that are no characters.
ALIASES = {"\x1b[C": ".", "\x1b[D": ",", "\x1b[A": "]", "\x1b[B": "[", "\x1bOC": ".", "\x1bOD": ","}
ALIASES |= {"\x1bOA": "]", "\x1bOB": "[", "\xe0M": ".", "\xe0K": ",", "\xe0H": "]", "\xe0P": "["}
MOVES = {",": -1, ".": 1, "[": -10, "]": 10}
INTERRUPT = ("\x03", "\x04")
_KEY = re.compile(r"\x1b[\[O].|\xe0.|.", re.DOTALL)  # a key held down, or quick fingers, give several at once
_COLUMNS, _LINES = 72, 26  # largest picture, in characters (two pixels above each other in one)


@dataclass
class Labels:
    """What has been marked so far, and where the player stands.

    Attributes:
        bounds: first row and row after the last of every episode.
        success: (N,) bool, changed by the keys.
        touched: episodes whose labels were set.
    """

    bounds: list[tuple[int, int]]
    success: np.ndarray
    episode: int = 0
    frame: int = 0
    camera: int = 0
    start: int | None = None
    touched: set[int] = field(default_factory=set)
    _before: dict[int, list[np.ndarray]] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Frames of this episode."""
        start, stop = self.bounds[self.episode]
        return stop - start

    @property
    def shown(self) -> np.ndarray:
        """The labels of this episode's frames, a view."""
        return self.success[slice(*self.bounds[self.episode])]

    def press(self, key: str) -> None:
        """Do what a key means; keys without a meaning do nothing."""
        key = ALIASES.get(key, key)
        if key in MOVES:
            self.frame = min(max(self.frame + MOVES[key], 0), self.length - 1)
        elif key in ("n", "p"):
            self._go(self.episode + (1 if key == "n" else -1))
        elif key == "c":
            self.camera += 1
        elif key == "s":
            self.start = self.frame
        elif key == "e" and self.start is not None:
            self._mark(self.start, self.frame, success=True)
        elif key == "x":
            self._mark(self.frame if self.start is None else self.start, self.frame, success=False)
        elif key == "f":
            self._mark(0, self.length - 1, success=False)
        elif key == "u":
            self._undo()

    def _go(self, episode: int) -> None:
        if 0 <= episode < len(self.bounds):
            self.episode, self.frame, self.start = episode, 0, None

    def _mark(self, one: int, other: int, *, success: bool) -> None:
        self._before.setdefault(self.episode, []).append(self.shown.copy())
        self.shown[min(one, other) : max(one, other) + 1] = success
        self.touched.add(self.episode)
        self.start = None

    def _undo(self) -> None:
        if before := self._before.get(self.episode):
            self.shown[:] = before.pop()
            if not before:
                self.touched.discard(self.episode)
        self.start = None


def label_by_keys(dataset: OwnDataset, keys: Callable[[], str], console: Console) -> tuple[np.ndarray, set[int]]:
    """Let somebody mark success; returns the labels (N,) bool and the episodes that were set.

    Args:
        keys: gives what was typed next, one or several keys, e.g. `click.getchar`.

    Raises:
        KeyboardInterrupt: they gave up (``q`` or Ctrl-C).
    """
    labels = Labels(dataset.files.bounds, dataset.columns.flags["success"].reshape(-1).astype(bool).copy())
    film = _Film(dataset)
    with console.screen(hide_cursor=True) as screen:
        while True:
            screen.update(view(labels, film))
            for key in _KEY.findall(keys()):
                if key == "w":
                    return labels.success, labels.touched
                if key == "q" or key in INTERRUPT:
                    raise KeyboardInterrupt
                labels.press(key)


class _Film:
    """Frames of the episode and camera that are looked at; the last ones asked for are kept."""

    def __init__(self, dataset: OwnDataset) -> None:
        self._files, self.cameras = dataset.files, dataset.files.cameras
        self._shown: tuple[int, str] | None = None
        self._frames = np.empty(0)

    def frame(self, labels: Labels) -> tuple[str, np.ndarray | None]:
        """The name of the camera and the frame (H, W, 3); None where there is no camera."""
        if not self.cameras:
            return "no camera", None
        camera = self.cameras[labels.camera % len(self.cameras)]
        if self._shown != (labels.episode, camera):
            self._frames = self._files.frames_at(camera, np.arange(*self._files.bounds[labels.episode]))
            self._shown = (labels.episode, camera)
        return camera.removeprefix(IMAGE_PREFIX), self._frames[labels.frame]


def view(labels: Labels, film: _Film) -> Group:
    """What the terminal shows: picture, strip of labels, where one is, and the keys."""
    camera, frame = film.frame(labels)
    marks = ", ".join(f"{a}-{b}" for a, b in marks_of(labels.shown)) or "none"
    place = f"episode {labels.episode} of {len(labels.bounds)} (from 0)   frame {labels.frame} of {labels.length}"
    place += f"   {camera}   success in frames: {marks}"
    if labels.start is not None:
        place += f"   range started at {labels.start}"
    picture = Text("(no picture)") if frame is None else half_blocks(frame)
    return Group(picture, strip(labels.shown, labels.frame), Text(place, style="bold"), Text(HELP, style="dim"))


def half_blocks(frame: np.ndarray) -> Text:
    """A frame (H, W, 3) uint8 in characters, each showing two pixels above each other."""
    height, width = frame.shape[:2]
    scale = min(_COLUMNS / width, 2 * _LINES / height)
    lines, columns = max(1, round(height * scale / 2)), max(1, round(width * scale))
    small = cv2.resize(frame, (columns, 2 * lines), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    text = Text()
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", style=f"rgb({top[0]},{top[1]},{top[2]}) on rgb({bottom[0]},{bottom[1]},{bottom[2]})")
        text.append("\n")
    return text


def strip(success: np.ndarray, frame: int) -> Text:
    """The labels of an episode in one line, with the place one is at; several frames to a character in long ones."""
    per = -(-len(success) // _COLUMNS)
    text = Text()
    for first in range(0, len(success), per):
        here = first <= frame < first + per
        style = "green" if success[first : first + per].any() else "grey50"
        text.append("█" if here else "▄", style=f"bold {style}" if here else style)
    return text
