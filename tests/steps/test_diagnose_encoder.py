"""`hiltk diagnose encoder` on real policies, datasets, folders, the simulator; a frozen encoder through the steps."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from hiltk.agents.encoders import ResNetEncoder
from hiltk.agents.make import load_policy
from hiltk.artifacts.store import resolve
from hiltk.config.commands import BcConf, DiagnoseEncoderConf, RecordConf, ReportConf, TrainConf
from hiltk.config.groups import EncoderConf, GymnasiumConf, SacConf, So101SimConf, TaskConf
from hiltk.data.lerobot_io import load_episodes
from hiltk.diagnostics.record import load
from hiltk.errors import ConfigError, UserError
from hiltk.steps import bc_pretrain, diagnose_encoder, record, report, train
from tests.agents.resnets import resnet10_folder, resnet_conf

ENV = So101SimConf(image_height=32, image_width=32)
TASK = TaskConf(time_limit_s=2.0)
AGENT = SacConf(hidden=[16, 16])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations, a policy cloned from them over a frozen encoder whose features are cached, and one over a CNN."""
    root = tmp_path_factory.mktemp("outputs")
    record.run(RecordConf(root=str(root), name="demos", env=ENV, task=TASK, episodes=4, keep="all"))
    encoder = resnet_conf(resnet10_folder(root / "resnet10"), cache_shifts=2)
    bc_pretrain.run(
        BcConf(root=str(root), name="bc", datasets=["demos"], agent=AGENT, encoder=encoder, steps=30, held_out=0.25)
    )
    small = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)
    bc_pretrain.run(BcConf(root=str(root), name="cnn", datasets=["demos"], agent=AGENT, encoder=small, steps=5))
    return root


def conf(root: Path, **changes: object) -> DiagnoseEncoderConf:
    base = DiagnoseEncoderConf(root=str(root), name="look", policies=["bc"], env=ENV, task=TASK, changes=4, saliency=1)
    return replace(base, **changes)  # type: ignore[arg-type]


def table(artifact_path: Path) -> pd.DataFrame:
    return pd.read_csv(artifact_path / "encoder.csv")


def frozen(folder: Path) -> dict[str, torch.Tensor]:
    encoder = load_policy(folder).torso.encoder
    assert isinstance(encoder, ResNetEncoder)
    return encoder.trunk.state_dict()


# ---------------------------------------------------------------- the frozen encoder through the other steps


def test_a_frozen_encoder_trains_cached_from_a_clone(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = resnet10_folder(tmp_path / "resnet10")
    hil = train.run(
        TrainConf(
            root=str(root), name="hil", env=ENV, task=TASK, agent=AGENT, encoder=resnet_conf(folder, cache_shifts=2),
            demos=["demos"], init="bc", episodes=2, batch_size=8, utd=0.2, learning_starts=5, capacity=300,
        )
    )  # fmt: skip
    assert "feature cache: up to" in capsys.readouterr().out
    shutil.rmtree(folder)
    bc = resolve("bc", "policies", root)
    ours, before = frozen(hil.path), frozen(bc.path)
    assert all(torch.equal(ours[k], v) for k, v in before.items())
    necks = [load_policy(a.path).torso.encoder.necks.state_dict() for a in (bc, hil)]  # type: ignore[union-attr]
    assert not all(torch.equal(v, necks[1][k]) for k, v in necks[0].items())
    assert np.isfinite(bc.run()["held_out_loss"])


# ---------------------------------------------------------------- what is seen


def test_two_folders_of_a_policys_camera(root: Path, tmp_path: Path) -> None:
    """The front/back test: numbers are those of the very frames through the very encoder."""
    [episode, *_] = load_episodes(resolve("demos", "datasets", root).path)
    picks = episode.observations["observation.images.wrist"][[0, -1]]
    for name, frame in zip(("front", "back"), picks, strict=True):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "cube.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    found = diagnose_encoder.run(conf(root, sets=[str(tmp_path / "front"), str(tmp_path / "back")]))
    rows = table(found.path).set_index("layer")
    assert rows.dimension.to_dict() == {"trunk": 32, "features": 12}
    encoder = load_policy(resolve("bc", "policies", root).path).torso.encoder
    with torch.no_grad():
        a, b = encoder.trunk(torch.from_numpy(picks).permute(0, 3, 1, 2)).mean((2, 3)).double()  # type: ignore[operator]
    assert rows.l2["trunk"] == pytest.approx((a - b).norm().item(), rel=1e-4)
    assert rows.cosine["trunk"] == pytest.approx((a @ b / a.norm() / b.norm()).item(), rel=1e-5)
    assert (found.path / "encoder.png").is_file() and found.kind == "evaluations"
    assert found.run()["step"] == "diagnose encoder"


def test_slices_of_a_dataset(root: Path) -> None:
    rows = table(diagnose_encoder.run(conf(root, sets=["demos:0-1", "demos:2-3"], frames="all")).path)
    lengths = [len(e) + 1 for e in load_episodes(resolve("demos", "datasets", root).path)]
    assert rows.images_a.tolist() == [sum(lengths[:2])] * 2 and rows.images_b.tolist() == [sum(lengths[2:])] * 2
    same = table(diagnose_encoder.run(conf(root, sets=["demos", "demos"])).path)
    np.testing.assert_allclose(same.cosine, 1)
    np.testing.assert_allclose(same.l2, 0, atol=1e-9)


def test_positions_in_the_simulator(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(diagnose_encoder.run(conf(root, positions="sim", images=30)).path)
    assert rows.images_a.tolist() == [30, 30]
    # Half the images lie near, half far: guessing the middle errs by some 6 cm.
    assert rows.chance_mm.between(40, 80).all()
    assert (rows.probe_mm < rows.chance_mm).all()  # even random features of a camera see something of the cube
    out = capsys.readouterr().out
    assert "near (30) against far (30)" in out and "mm" in out


def test_a_report_shows_the_diagnosis(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnose_encoder.run(conf(root, positions="sim", images=30, name="where"))
    words = load(found.path).verdict
    assert "wrist, trunk: the means of near and far are" in words and "a linear probe finds the object to" in words
    assert words in " ".join(capsys.readouterr().out.split())
    page = report.run(ReportConf(root=str(root), name="eyes", artifacts=["policies/bc", "evaluations/where"]))
    html = (page.path / "index.html").read_text()
    section = html[html.index("<h2>Diagnosis: near against far (evaluations/where@e-0001)</h2>") :]
    section = section[: section.index("</section>")]
    assert words in section and section.count("data:image/png") == 3
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", section)
    columns = list(table(found.path))
    assert cells[: len(columns)] == [c.replace("_", " ") for c in columns]
    rows = table(found.path)
    assert cells[len(columns) : len(columns) + 4] == ["bc@p-0001", "wrist", "trunk", "32"]
    assert len(cells) == 3 * len(columns)
    assert f"{rows.probe_mm[0]:.4g}" in cells
    (found.path / "diagnosis.json").write_text("{}")
    with pytest.raises(UserError, match="the diagnosis cannot be read"):
        report.run(ReportConf(root=str(root), name="broken", artifacts=["evaluations/where"]))
    assert not list((root / "reports" / "broken").glob("[!.]*"))


def test_a_pretrained_encoder_without_a_policy(root: Path, tmp_path: Path) -> None:
    encoder = resnet_conf(resnet10_folder(tmp_path / "resnet10"))
    sets = ["demos:0-1", "demos:2-3"]
    rows = table(diagnose_encoder.run(conf(root, policies=[], encoder=encoder, sets=sets)).path)
    assert rows.layer.tolist() == ["trunk"]  # the neck is untrained
    by_policy = table(diagnose_encoder.run(conf(root, sets=sets)).path)
    assert rows.l2[0] == pytest.approx(by_policy.l2[0], rel=1e-6)
    sim = table(diagnose_encoder.run(conf(root, policies=[], encoder=encoder, positions="sim", images=10)).path)
    assert sim.probe_mm.notna().all()


def test_a_trained_cnn(root: Path) -> None:
    rows = table(diagnose_encoder.run(conf(root, policies=["cnn"], sets=["demos:0-1", "demos:2-3"])).path)
    assert rows.layer.tolist() == ["features"] and rows.dimension.tolist() == [8]


def test_several_side_by_side_and_a_pretrained_one(root: Path, tmp_path: Path) -> None:
    encoder = resnet_conf(resnet10_folder(tmp_path / "resnet10"))
    found = diagnose_encoder.run(
        conf(root, policies=["bc", "cnn"], encoder=encoder, positions="sim", images=12, changes=6, saliency=2)
    )
    rows = table(found.path)
    assert rows.subject.tolist() == ["bc@p-0001", "bc@p-0001", "cnn@p-0001", encoder.weights]
    assert rows.layer.tolist() == ["trunk", "features", "features", "trunk"]
    np.testing.assert_allclose(rows.l2[0], rows.l2[3], rtol=1e-6)  # the same frozen weights
    for column in ("effective_rank", "cube_over_light", "cube_over_camera", "light_misleads_mm", "gaze"):
        assert rows[column].gt(0).all()
    assert set(load(found.path).pictures) == {"encoder.png", "changes.png", "saliency.png"}
    assert "The position is best read from" in load(found.path).verdict


def test_nothing_changed_and_nothing_mapped(root: Path) -> None:
    found = diagnose_encoder.run(conf(root, positions="sim", images=12, changes=0, saliency=0))
    assert set(load(found.path).pictures) == {"encoder.png"} and "gaze" not in table(found.path)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sets": ["a"]}, "two sets of images are compared, 1 are named"),
        ({"sets": []}, "positions=sim"),
        ({"positions": "guess"}, "is not a choice"),
        ({"positions": "sim", "env": GymnasiumConf(id="x")}, "env=so101_sim"),
        ({"sets": ["demos", "demos"], "frames": "some"}, "frames=first or frames=all"),
        ({"sets": ["demos", "demos"], "policies": []}, "has learned nothing yet"),
        ({"sets": ["demos", "demos"], "camera": "wrisst"}, "did you mean 'wrist'"),
        ({"positions": "sim", "images": 0}, "images must be at least 1"),
        ({"positions": "sim", "saliency": -1}, "cannot be negative"),
    ],
)
def test_contradictions(root: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        diagnose_encoder.run(conf(root, **changes))


def test_folders_need_a_pipeline(root: Path, tmp_path: Path) -> None:
    encoder = resnet_conf(root / "resnet10")
    with pytest.raises(ConfigError, match="size and crop of the images are not known"):
        diagnose_encoder.run(conf(root, policies=[], encoder=encoder, sets=[str(tmp_path), str(tmp_path)]))


def test_names_that_do_not_exist(root: Path) -> None:
    with pytest.raises(UserError, match="demoss"):
        diagnose_encoder.run(conf(root, sets=["demoss", "demos"]))
    with pytest.raises(UserError, match="no episodes '8-9'"):
        diagnose_encoder.run(conf(root, sets=["demos:0-1", "demos:8-9"]))


def test_other_image_sizes_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="the spec says"):
        diagnose_encoder.run(conf(root, positions="sim", images=10, env=So101SimConf(image_height=48, image_width=48)))
