from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from hiltk.evaluation import videos
from hiltk.evaluation.rollouts import run_episode
from hiltk.evaluation.videos import Film, compose, write_filmstrip, write_video


def decode(path: Path) -> tuple[np.ndarray, float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames), float(stream.average_rate)


def film_of(env: Any, policy: Any, stratum: str = "near") -> Film:
    film = Film("test", fps=10)
    run_episode(env, policy, seed=0, stratum=stratum, film=film)
    return film


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_film_decodes_to_what_was_seen(
    codec: str, make_line_env: Any, go_to: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(videos, "_CODECS", ("no-such-codec", codec))
    film = film_of(make_line_env(("wrist", "front")), go_to(), "far")
    write_video(film.finished(hold_s=0.5), tmp_path / "film.mp4", film.fps)
    frames, rate = decode(tmp_path / "film.mp4")
    assert rate == 10
    assert len(frames) == len(film.views) - 1 + 5
    assert frames.shape[1] >= 256 and frames.shape[2] >= 2 * 24 * 16
    for shown, views in zip(frames, film.views[:-1], strict=False):
        middle = shown[150, 200].astype(int)
        assert np.abs(middle - views["wrist"][0, 0]).max() < 12


def test_no_codec_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "_CODECS", ("no-such-codec",))
    with pytest.raises(Exception, match="no video encoder"):
        videos.video_codec()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (15, 21), (300, 401)])
def test_composites_are_even_and_enlarged_without_blur(height: int, width: int) -> None:
    view = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frame = compose({"wrist": view}, "caption", (0, 0, 0))
    assert frame.shape[0] % 2 == 0 and frame.shape[1] % 2 == 0
    scale = -(-256 // height)
    body = frame[36 : 36 + height * scale : scale, : width * scale : scale]
    shown = body[: height // 2]  # the camera's name covers the bottom
    np.testing.assert_array_equal(shown, view[: height // 2])


def test_outcome_stays_on_screen(line_env: Any, go_to: Any) -> None:
    for policy, outcome in ((go_to(), True), (go_to(reach=0.0), False)):
        film = film_of(line_env, policy)
        assert film.success is outcome
        frames = film.finished(hold_s=1.0)
        assert len(frames) == len(film.frames) - 1 + 10
        assert frames[-1] is frames[-10]


def test_filmstrip_has_a_band_per_film(make_line_env: Any, go_to: Any, tmp_path: Path) -> None:
    env = make_line_env(("wrist", "front"))
    films = [film_of(env, go_to()), film_of(env, go_to(reach=0.0))]
    write_filmstrip(films, tmp_path / "both.png")
    write_filmstrip(films[:1], tmp_path / "one.png")
    both, one = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("both", "one"))
    assert both.shape[0] == 2 * one.shape[0] and both.shape[1] == one.shape[1] == 8 * 132 - 4


def test_filmstrip_of_a_short_episode(line_env: Any, go_to: Any, tmp_path: Path) -> None:
    film = Film("short", fps=10)
    film.views = [{"wrist": np.zeros((16, 24, 3), np.uint8)}] * 2
    write_filmstrip([film], tmp_path / "short.png")
    assert Image.open(tmp_path / "short.png").height > 128
