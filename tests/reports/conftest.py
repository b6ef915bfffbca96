"""Small artifacts of every kind with known numbers, written by the real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import create
from hiltk.config.commands import BcConf, ClassifierConf, EvalConf, FixActionsConf, TrainConf
from hiltk.config.groups import SacConf, So101SimConf
from hiltk.evaluation.seeds import episode_seeds
from hiltk.evaluation.tables import summarise
from hiltk.evaluation.videos import Film, write_filmstrip, write_video
from hiltk.spec import IMAGE_PREFIX

Store = Callable[..., Artifact]


class Maker:
    """Writes artifacts below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _write(
        self, kind: str, name: str, step: str, cfg: Any, seed: int, notes: dict[str, Any], fill: Any
    ) -> Artifact:
        with create(kind, name, root=self.root, step=step, cfg=cfg, inputs=[], seed=seed) as draft:
            draft.notes = notes
            fill(draft.path)
        return draft.done

    def trained(self, name: str, seed: int = 0, episodes: int = 40, **conf: Any) -> Artifact:
        n = np.arange(episodes)
        frame = pd.DataFrame(
            {
                "episode": n,
                "env_step": 20 * (n + 1),
                "success": 1.0,
                "true_success": (n % 10 != 0).astype(float),
                "autonomous": (n >= episodes // 2).astype(float),
                "intervention_rate": np.where(n < episodes // 2, 0.5, 0.0),
                "wall_s": 3.0 * (n + 1),
            }
        )
        cfg = TrainConf(root=str(self.root), name=name, env=So101SimConf(), agent=SacConf(), seed=seed, **conf)
        return self._write("policies", name, "train", cfg, seed, {"peak_memory_mb": 812.4}, _csv("metrics.csv", frame))

    def cloned(self, name: str, seed: int = 0) -> Artifact:
        frame = pd.DataFrame({"step": [50, 100], "loss": [0.2, 0.1], "held_out_loss": [0.25, np.nan]})
        cfg = BcConf(root=str(self.root), name=name, datasets=[], agent=SacConf(), seed=seed)
        return self._write("policies", name, "bc-pretrain", cfg, seed, {}, _csv("metrics.csv", frame))

    def classifier(self, name: str) -> Artifact:
        frame = pd.DataFrame({"threshold": [0.9, 0.5, 0.1], "recall": [0.5, 0.9, 1.0], "precision": [1.0, 0.98, 0.6]})
        notes = {"precision": 0.98, "recall": 0.9, "threshold": 0.5, "wrongly_ended": {"count": 1, "n": 8}}
        cfg = ClassifierConf(root=str(self.root), name=name, datasets=[])
        return self._write("classifiers", name, "train-classifier", cfg, 0, notes, _csv("curve.csv", frame))

    def repaired(self, name: str) -> Artifact:
        cfg = FixActionsConf(root=str(self.root), name=name, dataset="")
        return self._write("datasets", name, "fix-actions", cfg, 0, {}, lambda path: _picture(path / "repair.png"))

    def evaluation(
        self,
        name: str,
        wins: dict[str, dict[str, int]],
        *,
        seeds: dict[str, int] | None = None,
        refs: dict[str, str] | None = None,
        n: int = 10,
        run_seed: int = 0,
        film: bool = False,
        **conf: Any,
    ) -> Artifact:
        """``wins``: successes among ``n`` by policy and stratum; the first episodes are the successful ones."""
        rows = [
            (policy, seed, i, stratum, i < count, 10 + i, float(i < count))
            for policy, strata in wins.items()
            for stratum, count in strata.items()
            for i, seed in enumerate(episode_seeds(run_seed, stratum, n))
        ]
        columns = ["policy", "seed", "episode", "stratum", "success", "steps", "return"]
        episodes = pd.DataFrame(rows, columns=columns)
        origins = {
            policy: {"ref": (refs or {}).get(policy, f"{policy}@p-0001"), "seed": (seeds or {}).get(policy, 0)}
            for policy in wins
        }

        def fill(path: Path) -> None:
            episodes.to_csv(path / "episodes.csv", index=False)
            summarise(episodes).to_csv(path / "summary.csv", index=False)
            if film:
                _film(path, next(iter(wins)))

        cfg = EvalConf(root=str(self.root), name=name, policies=[], **({"env": So101SimConf()} | conf))
        return self._write("evaluations", name, "eval", cfg, run_seed, {"policies": origins}, fill)


def _csv(name: str, frame: pd.DataFrame) -> Callable[[Path], None]:
    return lambda path: frame.to_csv(path / name, index=False)


def _picture(file: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), (10, 120, 200)).save(file)


def _film(path: Path, policy: str) -> None:
    film = Film(policy, fps=10)
    for step in range(4):
        film({IMAGE_PREFIX + "wrist": np.full((16, 16, 3), 40 * step, np.uint8)}, step=step, success=step == 3)
    (path / "videos").mkdir()
    write_video(film.finished(), path / "videos" / f"{policy}_success_1.mp4", 10)
    write_filmstrip([film], path / f"filmstrip_{policy}.png")


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "outputs")
