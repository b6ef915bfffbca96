"""LeRobot's own dataset tools, and what we put in their place: create, split, merge, convert from v2.1.

Nothing else in hiltk calls them. Three things LeRobot 0.6 does otherwise than we want. It re-encodes a video file of
which it keeps only some episodes (a second lossy generation, and minutes of work); here the file is copied, and frames
that nothing refers to stay in it. It reads the metadata of all episodes anew for every episode; here once. And it
aggregates statistics that may have no spread at all; `hiltk.data.curate` computes them anew, with floors.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hiltk.data.lerobot_files import RECORD_AGAIN, LeRobotFiles, damaged, read_stats, to_numpy
from hiltk.data.scheduling import scheduling_kept
from hiltk.data.statistics import column_stats
from hiltk.errors import HiltkError, UserError

V20, V21 = "v2.0", "v2.1"


def create_dataset(path: Path, fps: float, features: dict[str, dict[str, Any]], kind: str, *, video: bool) -> Any:
    """LeRobot's writer of a new dataset in the folder ``path``.

    Args:
        kind: of robot; empty where it is not known.
        video: store cameras as video instead of images.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    os.environ.setdefault("SVT_LOG", "1")  # LeRobot's video encoder prints a page per episode otherwise
    # A frame that it cannot write it only complains of; the episode then fails, which says it once.
    logging.getLogger("lerobot.datasets.image_writer").setLevel(logging.CRITICAL)
    return LeRobotDataset.create(
        repo_id="hiltk/dataset",
        fps=int(fps) if float(fps).is_integer() else fps,
        features=features,
        root=path,
        robot_type=kind or None,
        use_videos=video,
        video_backend="pyav",
    )


def split_off(
    files: LeRobotFiles, kind: str, episodes: Sequence[int], target: Path, *, copy_videos: bool, name: str
) -> None:
    """Write a dataset of some episodes into the folder ``target``.

    Args:
        kind: of robot, for the new metadata.
        name: what the dataset is called in messages.
        copy_videos: copy video files as they are; otherwise they are cut down to what is kept, encoded anew.

    Raises:
        UserError: LeRobot cannot do it.
    """
    with _lerobots_tools(name), own_parts(copy_videos=copy_videos):
        from lerobot.datasets.dataset_tools import split_dataset

        split_dataset(open_with_lerobot(files, kind), {".selected": list(episodes)}, output_dir=target)
    _move_up(target / ".selected", target)


def join(datasets: Sequence[tuple[LeRobotFiles, str]], target: Path, *, names: str) -> None:
    """Write the episodes of several datasets (with their kind of robot), one after the other, into ``target``.

    Raises:
        UserError: LeRobot cannot do it.
    """
    with _lerobots_tools(names):
        from lerobot.datasets.dataset_tools import merge_datasets

        opened = [open_with_lerobot(files, kind) for files, kind in datasets]
        merge_datasets(opened, "hiltk/dataset", output_dir=target / ".merged")
    _move_up(target / ".merged", target)


def open_with_lerobot(files: LeRobotFiles, kind: str) -> Any:
    """LeRobot's own object, of a dataset that has all that LeRobot reads: what it lacks, LeRobot asks the Hub for.

    Raises:
        UserError: tasks or statistics are missing or damaged.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    if not files.tasks():
        raise UserError("meta/tasks.parquet is missing or empty", where=str(files.path), fix=RECORD_AGAIN)
    if not read_stats(files.path):
        raise UserError("meta/stats.json is missing", where=str(files.path), fix="`hiltk stats` makes it anew")
    opened = LeRobotDataset("hiltk/dataset", root=files.path, video_backend="pyav")
    opened.meta.info.robot_type = kind or None
    return opened


@contextmanager
def _lerobots_tools(where: str, what: str = "LeRobot's dataset tools refuse") -> Iterator[None]:
    """Without LeRobot's notes about decoders it does not need (its progress bars stay), and with its errors as ours.

    Raises:
        UserError: LeRobot cannot do it.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with scheduling_kept():
            yield
    except HiltkError:
        raise
    except Exception as error:  # whatever pyarrow, datasets, PyAV and LeRobot make of files they do not expect
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{what}: {reason}", where=where, fix=RECORD_AGAIN) from error
    finally:
        logging.disable(before)


def _move_up(made: Path, target: Path) -> None:
    for part in made.iterdir():
        part.rename(target / part.name)
    made.rmdir()


@contextmanager
def own_parts(*, copy_videos: bool) -> Iterator[None]:
    """Our functions in the places of two of LeRobot's; a version built otherwise goes its own way."""
    from lerobot.datasets import dataset_tools

    ours: dict[str, Callable[..., Any]] = {"_load_episode_with_stats": _episode_reader()}
    ours |= {"_copy_and_reindex_videos": _copy_videos} if copy_videos else {}
    theirs = {name: getattr(dataset_tools, name) for name in ours if hasattr(dataset_tools, name)}
    try:
        for name in theirs:
            setattr(dataset_tools, name, ours[name])
        yield
    finally:
        for name, function in theirs.items():
            setattr(dataset_tools, name, function)


def _episode_reader() -> Callable[[Any, int], dict[str, Any]]:
    """Looks up episodes' rows of metadata; LeRobot reads the whole file for each, the square of their number in all."""
    import pandas as pd
    from lerobot.datasets.utils import DEFAULT_EPISODES_PATH

    @functools.cache
    def table(file: Path) -> pd.DataFrame:
        return pd.read_parquet(file).set_index("episode_index", drop=False)

    def read(source: Any, episode: int) -> dict[str, Any]:
        row = source.meta.episodes[episode]
        place = {name: row[f"meta/episodes/{name}"] for name in ("chunk_index", "file_index")}
        found: dict[str, Any] = table(source.root / DEFAULT_EPISODES_PATH.format(**place)).loc[episode].to_dict()
        return found

    return read


def _copy_videos(source: Any, target: Any, mapping: dict[int, int]) -> dict[int, dict[str, Any]]:
    """Copy the files the kept episodes lie in; returns, by new number, where each episode's frames are in them."""
    places: dict[int, dict[str, Any]] = {new: {} for new in mapping.values()}
    names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    for key in source.meta.video_keys:
        for old, new in mapping.items():
            row = source.meta.episodes[old]
            place = {name: row[f"videos/{key}/{name}"] for name in names}
            places[new] |= {f"videos/{key}/{name}": value for name, value in place.items()}
            file = source.meta.video_path.format(video_key=key, **{n: int(place[n]) for n in names[:2]})
            if not (target.root / file).exists():
                (target.root / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source.root / file, target.root / file)
    return places


# ---------------------------------------------------------------- the older format


def is_older(path: Path) -> str:
    """The version of a dataset that says it is a LeRobotDataset v2.0 or v2.1; empty for any other."""
    try:
        info = json.loads((path / "meta" / "info.json").read_text())
    except (OSError, ValueError):
        return ""
    version = str(info.get("codebase_version", "")) if isinstance(info, dict) else ""
    return version if version.startswith((V20, V21)) else ""


def to_v3(path: Path, scratch: Path) -> Path:
    """Convert a dataset of v2.0 or v2.1 into the folder ``scratch`` (existing, empty); returns the new one's folder.

    Raises:
        UserError: LeRobot's converter cannot read it.
    """
    if is_older(path).startswith(V20):
        path = _to_v21(path, scratch / "v21")
    link = scratch / "dataset"
    link.symlink_to(path.resolve(), target_is_directory=True)
    with _lerobots_tools(str(path), f"LeRobot's converter from {V21} cannot convert this dataset"):
        from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

        # It renames its input and puts the new dataset in its place; what it renames here is only our link.
        convert_dataset("local/dataset", root=link, push_to_hub=False)
    return link


def _to_v21(path: Path, target: Path) -> Path:
    """What v2.1 has and v2.0 has not: statistics per episode; those of pictures are the whole dataset's."""
    target.mkdir()
    for part in ("data", "videos", "images"):
        if (path / part).is_dir():
            (target / part).symlink_to((path / part).resolve(), target_is_directory=True)
    shutil.copytree(path / "meta", target / "meta")
    file = target / "meta" / "info.json"
    info = json.loads(file.read_text()) | {"codebase_version": V21}
    file.write_text(json.dumps(info))
    whole = read_stats(path)
    with damaged(path / "data"), (target / "meta" / "episodes_stats.jsonl").open("w") as lines:
        for place in sorted((path / "data").glob("*/episode_*.parquet")):
            table = pq.read_table(place, partitioning=None)
            numbers = {name: to_numpy(table.column(name)) for name in table.column_names if name in info["features"]}
            stats = {name: column_stats(values) for name, values in numbers.items() if values.dtype.kind in "biuf"}
            rest = {name: whole[name] | {"count": [len(table)]} for name in whole if name not in stats}
            number = int(place.stem.removeprefix("episode_"))
            lines.write(json.dumps({"episode_index": number, "stats": stats | rest}) + "\n")
    return target
