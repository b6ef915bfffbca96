"""`hiltk report` on artifacts of every kind, written by the real store."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import create
from hiltk.config.commands import ClassifierConf, EvalConf, FixActionsConf, ReportConf, TrainConf
from hiltk.config.groups import SacConf, So101SimConf
from hiltk.errors import ConfigError, UserError
from hiltk.evaluation.seeds import episode_seeds
from hiltk.evaluation.videos import write_video
from hiltk.steps.report import run
from tests.conftest import build_episode, build_spec, write_dataset


def write(root: Path, kind: str, name: str, step: str, cfg: Any, seed: int = 0, **files: Any) -> Artifact:
    """An artifact with tables (DataFrames) and pictures (colours); key ``a__b`` is file ``a.b``."""
    notes = files.pop("notes", {})
    with create(kind, name, root=root, step=step, cfg=cfg, inputs=files.pop("inputs", []), seed=seed) as draft:
        draft.notes = notes
        for key, content in files.items():
            file = draft.path / key.replace("__", ".")
            if isinstance(content, pd.DataFrame):
                content.to_csv(file, index=False)
            else:
                Image.new("RGB", (30, 20), content).save(file)
    return draft.done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of BC and HIL, evaluated; a classifier; a repaired dataset."""
    root, env = tmp_path_factory.mktemp("report") / "outputs", So101SimConf()
    for seed in (0, 1):
        policies = []
        for kind, step in (("bc", "bc-pretrain"), ("hil", "train")):
            cfg = TrainConf(root=str(root), name=f"{kind}-s{seed}", env=env, agent=SacConf(), seed=seed)
            table = _cloning() if kind == "bc" else _training()
            policies.append(write(root, "policies", cfg.name, step, cfg, seed, metrics__csv=table))
        labels = [p.name for p in policies]
        origins = {p.name: {"ref": p.ref, "seed": seed} for p in policies}
        cfg_eval = EvalConf(root=str(root), name=f"check-s{seed}", policies=labels, env=env)
        table = _episodes(dict(zip(labels, (5, 10), strict=True)))
        evaluation = write(
            root, "evaluations", f"check-s{seed}", "eval", cfg_eval, inputs=policies,
            notes={"policies": origins}, episodes__csv=table, **{f"filmstrip_{labels[1]}__png": (9, 9, 9)},
        )  # fmt: skip
        (evaluation.path / "videos").mkdir()
        clip = [np.full((32, 32, 3), 10 * i, np.uint8) for i in range(5)]
        write_video(clip, evaluation.path / "videos" / f"{labels[1]}_success_1.mp4", 10)
    curve = pd.DataFrame({"threshold": [0.9, 0.1], "recall": [0.5, 1.0], "precision": [1.0, 0.8]})
    notes = {"precision": 1.0, "recall": 0.5, "threshold": 0.9}
    cfg_c = ClassifierConf(root=str(root), name="cube", datasets=[])
    write(root, "classifiers", "cube", "train-classifier", cfg_c, notes=notes, curve__csv=curve, curve__png=(1, 2, 3))
    cfg_d = FixActionsConf(root=str(root), name="fixed", dataset="")
    with create("datasets", "fixed", root=root, step="fix-actions", cfg=cfg_d, inputs=[], seed=0) as draft:
        write_dataset(draft.path, build_spec(), [build_episode(build_spec())])
        Image.new("RGB", (30, 20), (3, 2, 1)).save(draft.path / "repair.png")
    return root


def _training() -> pd.DataFrame:
    n = np.arange(30)
    columns = {
        "success": 1.0,
        "true_success": 1.0,
        "autonomous": (n > 9).astype(float),
        "intervention_rate": 0.4 - n / 100,
    }
    return pd.DataFrame({"episode": n, "env_step": 20 * (n + 1), "wall_s": 2.0 * (n + 1)} | columns)


def _cloning() -> pd.DataFrame:
    return pd.DataFrame({"step": [50, 100], "loss": [0.2, 0.1], "held_out_loss": [0.2, 0.15]})


def _episodes(wins: dict[str, int]) -> pd.DataFrame:
    rows = [
        (p, s, i, stratum, stratum == "near" or i < won, 12, 1.0)
        for p, won in wins.items()
        for stratum in ("near", "far")
        for i, s in enumerate(episode_seeds(0, stratum, 10))
    ]
    return pd.DataFrame(rows, columns=["policy", "seed", "episode", "stratum", "success", "steps", "return"])


EVERYTHING = [
    "policies/bc-s0", "policies/hil-s0@p-0001", "policies/bc-s1", "policies/hil-s1", "evaluations/check-s0",
    "evaluations/check-s1@e-0001", "classifiers/cube", "datasets/fixed",
]  # fmt: skip


def test_one_page_with_everything(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(ReportConf(root=str(root), name="quick", title="Quick & true", artifacts=EVERYTHING))
    html = (report.path / "index.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]{0,40})', html)
    assert addresses and all(a.startswith(("data:image/png;base64,", "data:video/mp4;base64,")) for a in addresses)
    assert "http" not in re.sub(r"base64,[^\"]*", "", html)
    # Our five figures, two filmstrips, the repair's and the classifier's own.
    assert sorted(f.name for f in (report.path / "figures").iterdir()) == [
        "classifier.png", "cloning_loss.png", "learning_hil.png", "success_1.png", "time_to_success.png",
    ]  # fmt: skip
    assert html.count("data:image/png") == 5 + 2 + 2
    assert html.count("data:video/mp4") == 2
    assert "Quick &amp; true" in html
    assert "Total: every stratum counts by its episodes." in html
    assert all(alt.strip() for alt in re.findall(r'<img [^>]*alt="([^"]*)"', html))
    assert html.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', html))
    for name in ("bc-s0@p-0001", "hil-s1@p-0001", "check-s1@e-0001", "cube@c-0001", "fixed@d-0001"):
        assert f"/{name}</summary>" in html, name
    text = capsys.readouterr().out
    for expected in ("bc", "hil", "near", "far", "75.0 % [52.2, 88.4]", "15, 15 of 20", "100.0 %", "+25.0"):
        assert expected in text, expected


def test_what_guards_found_is_in_the_report(root: Path) -> None:
    cfg = TrainConf(root=str(root), name="watched", env=So101SimConf(), agent=SacConf())
    findings = pd.DataFrame({"episode": [7], "code": ["q_bound"], "message": ["Q is <2>"], "fix": ["clip"]})
    write(root, "policies", "watched", "train", cfg, metrics__csv=_training(), guards__csv=findings)
    html = (run(ReportConf(root=str(root), name="g", artifacts=["policies/watched"])).path / "index.html").read_text()
    row = html[html.index("<h2>Guards</h2>") :]
    row = row[: row.index("</section>")]
    assert [c.strip() for c in re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row)][5:] == [
        "policies/watched@p-0001", "8", "q bound", "Q is &lt;2&gt;", "clip",
    ]  # fmt: skip
    write(root, "policies", "calm", "train", cfg, metrics__csv=_training(), guards__csv=findings.head(0))
    html = (run(ReportConf(root=str(root), name="g", artifacts=["policies/calm"])).path / "index.html").read_text()
    assert "No guard tripped in policies/calm@p-0001." in html


def test_grouped_numbers_and_inputs_are_saved(root: Path) -> None:
    evaluations = ["evaluations/check-s0", "check-s1"]
    report = run(ReportConf(root=str(root), name="numbers", artifacts=evaluations))
    assert [i["artifact"] for i in report.run()["inputs"]] == ["check-s0", "check-s1"]
    table = pd.read_csv(report.path / "success.csv").set_index(["policy", "seed", "stratum"])
    assert table.loc[("bc", "all", "far"), ["successes", "n"]].tolist() == [10, 20]
    assert table.loc[("hil", "1", "total"), ["successes", "n"]].tolist() == [20, 20]


@pytest.mark.parametrize("artifacts", [["datasets/fixed"], ["policies/hil-s0"], ["evaluations/check-s0"]])
def test_any_single_artifact_makes_a_page(root: Path, artifacts: list[str]) -> None:
    html = (run(ReportConf(root=str(root), name="one", artifacts=artifacts)).path / "index.html").read_text()
    assert "Where everything comes from" in html and "<h1>one</h1>" in html


def test_a_folder_nobody_recorded(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "policies" / "mine" / "p-0001"
    folder.mkdir(parents=True)
    html = (run(ReportConf(root=str(root), name="one", artifacts=[str(folder)])).path / "index.html").read_text()
    assert "no run.yaml" in html


def test_nothing_is_left_behind_when_a_table_is_damaged(root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(root, tmp_path / "outputs"))
    (root / "evaluations" / "check-s0" / "e-0001" / "episodes.csv").write_text("policy\n")
    with pytest.raises(UserError, match=r"episodes\.csv lacks the columns seed"):
        run(ReportConf(root=str(root), name="broken", artifacts=["evaluations/check-s0"]))
    assert not (root / "reports" / "broken").exists()


def test_mistakes(root: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to report"):
        run(ReportConf(root=str(root), name="x", artifacts=[]))
    with pytest.raises(UserError, match="did you mean 'check-s0'"):
        run(ReportConf(root=str(root), name="x", artifacts=["evaluations/chek-s0"]))


@pytest.mark.parametrize("name", ["bc-s0", "hil-s0"])
@pytest.mark.parametrize(("text", "said"), [("step,lo", "lacks the columns"), (None, "an empty metrics.csv")])
def test_a_damaged_table_is_refused(root: Path, tmp_path: Path, name: str, text: str | None, said: str) -> None:
    root = Path(shutil.copytree(root, tmp_path / "outputs"))
    file = root / "policies" / name / "p-0001" / "metrics.csv"
    file.write_text(text or file.read_text().splitlines()[0] + "\n")  # cut short: in or after the first line
    with pytest.raises(UserError, match=said):
        run(ReportConf(root=str(root), name="broken", artifacts=[f"policies/{name}"]))
    assert not list((root / "reports" / "broken").glob("r-*"))


@pytest.mark.parametrize("adopted", [True, False])
def test_a_damaged_dataset_is_refused(root: Path, tmp_path: Path, adopted: bool) -> None:
    """One of hiltk's, and one made elsewhere that has no spec; whole, both are reported on."""
    dataset = Path(shutil.copytree(root / "datasets" / "fixed" / "d-0001", tmp_path / "dataset"))
    if not adopted:
        (dataset / "meta" / "hiltk_spec.yaml").unlink()
    run(ReportConf(root=str(root), name="whole", artifacts=[str(dataset)]))
    file = next(dataset.glob("data/*/*.parquet"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match="damaged"):
        run(ReportConf(root=str(root), name="damaged", artifacts=[str(dataset)]))
    assert not list((root / "reports").glob("damaged/r-*"))
