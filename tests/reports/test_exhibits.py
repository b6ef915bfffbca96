"""What is shown of an artifact as soon as it is there."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import av

from hiltk.artifacts.store import Artifact
from hiltk.reports.exhibits import exhibit
from tests.conftest import build_episode, build_spec, write_dataset


def test_a_dataset_is_shown_by_films_of_a_few_episodes(tmp_path: Path) -> None:
    spec = build_spec()
    write_dataset(tmp_path / "demos", spec, [build_episode(spec, length=4 + i, seed=i) for i in range(6)])
    found = exhibit(Artifact("datasets", "demos", "d-0001", tmp_path / "demos"), tmp_path / "page")
    assert found.facts == ["demos@d-0001: 6 episodes, 39 steps, 4 seconds of the robot's time."]
    (section,) = found.sections
    assert section.title == "3 of 6 episodes"
    assert [v.caption for v in section.videos] == ["episode 0", "episode 2", "episode 5"]
    assert all(v.file.is_relative_to(tmp_path / "page" / "demos@d-0001") for v in section.videos)
    with av.open(str(section.videos[-1].file)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10  # nine steps
    assert pickle.loads(pickle.dumps(found)) == found


def test_without_cameras_there_is_no_film(tmp_path: Path) -> None:
    spec = build_spec(cameras=())
    write_dataset(tmp_path / "demos", spec, [build_episode(spec)])
    assert not exhibit(Artifact("datasets", "demos", "d-0001", tmp_path / "demos"), tmp_path / "page").sections


def test_of_others_it_is_what_a_report_says(maker: Any, tmp_path: Path) -> None:
    trained = exhibit(maker.trained("hil-s0"), tmp_path)
    assert trained.sections[0].title == "Learning: hil"
    assert trained.facts and (tmp_path / "hil-s0@p-0001" / "learning_hil.png").is_file()
    assert exhibit(Artifact("reports", "r", "r-0001", tmp_path), tmp_path).sections == []
