"""Films of episodes: annotated MP4 files, and strips of still frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hiltk.errors import UserError
from hiltk.observation import Observation
from hiltk.spec import IMAGE_PREFIX

VIEW_PX = 256  # smallest height of a view on film
_CAPTION_PX = 32
_RULE_PX = 4  # the coloured line below the caption
_CODECS = ("libx264", "libopenh264", "mpeg4")
INK, PAPER = (32, 33, 36), (250, 250, 250)
RUNNING, SUCCESS, FAILURE = (150, 155, 160), (0, 130, 90), (200, 60, 40)


@dataclass
class Film:
    """Collects the frames of one episode; call it as `run_episode`'s ``film``.

    ``views`` are the cameras' frames as they came, ``steps`` the number of each and whether it shows success. Nothing
    is drawn before somebody looks: while an arm is driven there is no time for it.
    """

    title: str
    fps: float
    views: list[dict[str, np.ndarray]] = field(default_factory=list)
    steps: list[tuple[int, bool]] = field(default_factory=list)
    success: bool = False

    def __call__(self, observation: Observation, *, step: int, success: bool) -> None:
        self.views.append(camera_views(observation))
        self.steps.append((step, success))
        self.success = success

    @property
    def frames(self) -> list[np.ndarray]:
        """Annotated composites (H, W, 3) uint8, all cameras side by side."""
        return [
            compose(views, f"{self.title}  {step / self.fps:.1f} s  step {step}", SUCCESS if success else RUNNING)
            for views, (step, success) in zip(self.views, self.steps, strict=True)
        ]

    def finished(self, hold_s: float = 1.0) -> list[np.ndarray]:
        """The frames with the outcome written on the last one, which stays for ``hold_s``."""
        outcome, color = ("success", SUCCESS) if self.success else ("failure", FAILURE)
        steps = len(self.views) - 1
        last = compose(self.views[-1], f"{self.title}  {steps / self.fps:.1f} s  {outcome}", color)
        return [*self.frames[:-1], *[last] * max(1, round(hold_s * self.fps))]


def camera_views(observation: Observation) -> dict[str, np.ndarray]:
    """The frames of an observation by camera name."""
    prefix = len(IMAGE_PREFIX)
    return {key[prefix:]: frame for key, frame in observation.items() if key.startswith(IMAGE_PREFIX)}


def compose(views: dict[str, np.ndarray], caption: str, color: tuple[int, int, int], least_px: int = 0) -> np.ndarray:
    """Views side by side, enlarged to at least `VIEW_PX` by repeating pixels, below a caption; even in both sizes.

    Args:
        least_px: smallest width; what the views leave is empty.
    """
    tallest = max(view.shape[0] for view in views.values())
    height = tallest * -(-VIEW_PX // tallest)
    enlarged = [_enlarge(view, height) for view in views.values()]
    width = max(least_px, sum(view.shape[1] for view in enlarged))
    top = _CAPTION_PX + _RULE_PX
    # Chroma is stored at half resolution: encoders refuse odd sizes.
    canvas = Image.new("RGB", (width + width % 2, top + height + height % 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((8, 5), caption, fill=INK, font=ImageFont.load_default(17))
    draw.rectangle((0, _CAPTION_PX, canvas.width, top - 1), fill=color)
    x = 0
    for name, view in zip(views, enlarged, strict=True):
        canvas.paste(Image.fromarray(view), (x, top))
        _tag(draw, name, x + 6, canvas.height - 22)
        x += view.shape[1]
    return np.asarray(canvas)


def write_video(frames: Sequence[np.ndarray], path: Path, fps: float) -> None:
    """Write frames (H, W, 3) uint8 as MP4, H.264 where the installed PyAV has an encoder for it, else MPEG-4.

    Raises:
        UserError: no encoder works.
    """
    import av
    from av.video.stream import VideoStream

    rate = Fraction(fps).limit_denominator(1000)
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(video_codec(), rate=rate)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def video_codec() -> str:
    """The first of our codecs that this PyAV can encode."""
    import av

    for name in _CODECS:
        try:
            av.codec.Codec(name, "w")
        except ValueError:
            continue
        return name
    raise UserError("no video encoder works", where=", ".join(_CODECS), fix="skip the films with videos=0")


def write_filmstrip(films: Sequence[Film], path: Path, columns: int = 8, cell_px: int = 128) -> None:
    """A PNG with one band per film: a heading, then per camera a row of frames evenly spaced from first to last."""
    bands = [_band(film, columns, cell_px) for film in films]
    width = max(band.shape[1] for band in bands)
    padded = [np.pad(b, ((0, 0), (0, width - b.shape[1]), (0, 0)), constant_values=PAPER[0]) for b in bands]
    Image.fromarray(np.concatenate(padded)).save(path)


def _band(film: Film, columns: int, cell_px: int) -> np.ndarray:
    picks = np.unique(np.linspace(0, len(film.views) - 1, columns).round().astype(int))
    cameras = list(film.views[0])
    gap, heading, times = 4, 26, 18
    width = columns * (cell_px + gap) - gap
    canvas = Image.new("RGB", (width, heading + len(cameras) * (cell_px + gap) + times), PAPER)
    draw = ImageDraw.Draw(canvas)
    outcome, color = ("success", SUCCESS) if film.success else ("failure", FAILURE)
    draw.text((0, 4), f"{outcome}: {film.title}", fill=color, font=ImageFont.load_default(15))
    for column, pick in enumerate(picks):
        x = column * (cell_px + gap)
        for row, camera in enumerate(cameras):
            cell = Image.fromarray(film.views[pick][camera]).resize((cell_px, cell_px), Image.Resampling.NEAREST)
            canvas.paste(cell, (x, heading + row * (cell_px + gap)))
        draw.text((x, canvas.height - times), f"{pick / film.fps:.1f} s", fill=INK, font=ImageFont.load_default(12))
    return np.asarray(canvas)


def _enlarge(view: np.ndarray, height: int) -> np.ndarray:
    width = round(view.shape[1] * height / view.shape[0])
    return np.asarray(Image.fromarray(view).resize((width, height), Image.Resampling.NEAREST))


def _tag(draw: ImageDraw.ImageDraw, text: str, x: int, y: int) -> None:
    font = ImageFont.load_default(12)
    left, top, right, bottom = draw.textbbox((x, y), text, font=font)
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=PAPER)
    draw.text((x, y), text, fill=INK, font=font)
