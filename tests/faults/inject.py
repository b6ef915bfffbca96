"""Breaks a good dataset in one way: a copy with other columns, frames, or words in its spec."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hiltk.artifacts.store import Artifact
from hiltk.checks.subject import DatasetSubject
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.rewrite import replace_columns
from hiltk.data.statistics import vector_stats
from hiltk.spec import STATE_KEY, Spec

JOINTS = ("shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos")
SPEC = Path("meta") / "hiltk_spec.yaml"


class Good:
    """The columns of a good dataset, to be changed and written elsewhere."""

    def __init__(self, path: Path, target: Path) -> None:
        self.files, self.target = LeRobotFiles(path), target
        self.data = DatasetSubject(path)
        self.columns: dict[str, np.ndarray] = {}
        self.spec = Spec.load(path / SPEC)
        self._later: list[Callable[[], None]] = []

    @property
    def episode(self) -> np.ndarray:
        return self.data.episode

    @property
    def count(self) -> int:
        return len(self.data.bounds)

    def __getitem__(self, name: str) -> np.ndarray:
        """A column, as a copy that will be written."""
        if name not in self.columns:
            self.columns[name] = self.files.column(name).copy()
        return self.columns[name]

    @property
    def action(self) -> np.ndarray:
        return self["action"]

    @property
    def state(self) -> np.ndarray:
        return self[STATE_KEY]

    def dims(self, *names: str) -> list[int]:
        """Numbers of the state's dimensions."""
        return [self.spec.state.names.index(n) for n in names]

    def half(self) -> np.ndarray:
        """Rows of the second half of the episodes."""
        return self.episode >= self.count // 2

    def frames(self, camera: str, change: Callable[[int, np.ndarray], np.ndarray]) -> None:
        """Replace the frames of a camera: ``change(row, frame)``."""
        self._later.append(lambda: _change_frames(self.target, camera, change))

    def stats_json(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edit LeRobot's statistics by hand."""
        self._later.append(lambda: _edit_json(self.target / "meta" / "stats.json", change))

    def write(self) -> Path:
        """As a recorder with that fault would have: with the statistics of what it recorded."""
        said = self.spec.stats[STATE_KEY]
        if STATE_KEY in self.columns and said == Spec.load(self.files.path / SPEC).stats[STATE_KEY]:
            self.spec.stats[STATE_KEY] = vector_stats(self.state, self.spec.state.dims, said.source)
        if self.columns:
            replace_columns(self.files, self.target, self.columns)
        else:
            shutil.copytree(self.files.path, self.target)
        for act in self._later:
            act()
        self.spec.save(self.target / SPEC)
        return self.target

    def artifact(self) -> Artifact:
        path = self.write()
        return Artifact("datasets", path.name, "", path, origin=str(path))


def _change_frames(path: Path, camera: str, change: Callable[[int, np.ndarray], np.ndarray]) -> None:
    first = 0
    for file in LeRobotFiles(path).data_files:
        table = pq.read_table(file, partitioning=None)
        index = table.schema.get_field_index(camera)
        cells = [
            {**cell, "bytes": _changed(cell["bytes"], first + i, change)}
            for i, cell in enumerate(table.column(index).to_pylist())
        ]
        field = table.schema.field(index)
        pq.write_table(table.set_column(index, field, pa.array(cells, field.type)), file)
        first += len(table)


def _changed(png: bytes, row: int, change: Callable[[int, np.ndarray], np.ndarray]) -> bytes:
    frame = cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    changed = np.ascontiguousarray(change(row, frame))
    return cv2.imencode(".png", cv2.cvtColor(changed, cv2.COLOR_RGB2BGR))[1].tobytes()


def _edit_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def copy_artifact(artifact: Artifact, root: Path) -> Artifact:
    """The same version in another store, to be broken there."""
    target = root / artifact.kind / artifact.name / artifact.version
    shutil.copytree(artifact.path, target)
    return Artifact(artifact.kind, artifact.name, artifact.version, target)
