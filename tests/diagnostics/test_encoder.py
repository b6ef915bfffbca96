from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hiltk.diagnostics.encoder import (
    Comparison,
    Diagnosis,
    Probe,
    changes_figure,
    compare,
    effective_rank,
    figure,
    misled,
    probe,
    ridge,
    verdict,
)
from hiltk.errors import UserError


def test_comparison_by_hand() -> None:
    """Means (3, 4) and (4, 3): cosine 24/25, distance sqrt 2; the points lie 1 and 2 from their means."""
    a = np.array([[2.0, 4.0], [4.0, 4.0]])
    b = np.array([[4.0, 5.0], [4.0, 1.0], [6.0, 3.0], [2.0, 3.0]])
    c = compare(a, b)
    assert (c.dimension, c.images_a, c.images_b) == (2, 2, 4)
    assert c.cosine == pytest.approx(0.96)
    assert c.l2 == pytest.approx(np.sqrt(2))
    assert (c.spread_a, c.spread_b) == pytest.approx((1.0, 2.0))


def test_the_devlogs_geometry() -> None:
    """Two single 512-d embeddings of length 40 at the devlog's cosine of 0.63 are 34.4 apart."""
    a, b = np.zeros((2, 1, 512))
    a[0, 0] = 40
    b[0, :2] = 40 * 0.63, 40 * np.sqrt(1 - 0.63**2)
    c = compare(a, b)
    assert c.cosine == pytest.approx(0.63)
    assert c.l2 == pytest.approx(40 * np.sqrt(2 * (1 - 0.63)))
    assert c.spread_a == c.spread_b == 0


def test_same_direction_and_opposite() -> None:
    x = np.array([[1.0, 2.0]], np.float32)
    assert compare(x, 3 * x).cosine == pytest.approx(1)
    assert compare(x, -x).cosine == pytest.approx(-1)
    assert np.isnan(compare(x, 0 * x).cosine)


def test_ridge_by_hand() -> None:
    """x = -1, 1 is standardised; y = -3, 3 has the slope 3, which the smallest penalty (2e-4) hardly shrinks."""
    out = ridge(np.array([[-1.0], [1.0]] * 5), np.array([[-3.0], [3.0]] * 5), np.array([[2.0], [0.0]]))
    np.testing.assert_allclose(out, np.array([[6 / (1 + 1e-4)], [0.0]]), rtol=1e-6, atol=1e-9)


def test_ridge_is_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(size=(50, 4)), rng.normal(size=(50, 2)), rng.normal(size=(7, 4))
    z, z_new = (x - x.mean(0)) / x.std(0), (new - x.mean(0)) / x.std(0)
    candidates: list[tuple[float, np.ndarray]] = []
    for penalty in np.logspace(-4, 6, 41) * 50:
        inverse = np.linalg.inv(z.T @ z + penalty * np.eye(4))
        hat = z @ inverse @ z.T
        residual = (y - y.mean(0)) - hat @ (y - y.mean(0))
        gcv = (residual**2).sum() / (50 - 1 - np.trace(hat)) ** 2
        candidates.append((gcv, z_new @ inverse @ z.T @ (y - y.mean(0)) + y.mean(0)))
    best = min(candidates, key=lambda c: c[0])[1]
    np.testing.assert_allclose(ridge(x, y, new), best, atol=1e-9)


def scene(count: int = 200) -> tuple[np.ndarray, np.random.Generator]:
    """Positions (N, 2) all over 140 x 220 mm."""
    rng = np.random.default_rng(0)
    return rng.uniform([170, -110], [310, 110], (count, 2)), rng


def test_a_probe_finds_positions_that_are_there() -> None:
    positions, rng = scene()
    embeddings = positions @ rng.normal(size=(2, 64)) + rng.normal(size=(200, 64))
    found = probe(embeddings, positions)
    assert found.error_mm < 1.5
    # The mean distance of a point to the middle of a rectangle of 140 x 220 mm is 70 mm, to three digits.
    assert found.chance_mm == pytest.approx(70, rel=0.1)
    np.testing.assert_allclose(found.predictions, positions, atol=5)


def test_a_probe_finds_nothing_in_noise_even_with_more_features_than_images() -> None:
    positions, rng = scene()
    found = probe(rng.normal(size=(200, 1000)), positions)
    assert found.error_mm > 0.93 * found.chance_mm


def test_a_probe_never_sees_what_it_predicts() -> None:
    """Each image has a feature of its own: a fit that knew them would be perfect, an honest one learns nothing."""
    positions, _ = scene(60)
    found = probe(np.eye(60), positions)
    assert found.error_mm > 0.9 * found.chance_mm


def test_constant_features_do_no_harm() -> None:
    positions, _ = scene()
    embeddings = np.concatenate([positions, np.ones((200, 3)), 1e6 * np.ones((200, 1))], axis=1).astype(np.float32)
    assert probe(embeddings, positions).error_mm < 0.1
    assert np.isfinite(probe(np.ones((40, 5)), positions[:40]).error_mm)


def test_the_same_seed_gives_the_same_folds() -> None:
    positions, rng = scene(40)
    embeddings = rng.normal(size=(40, 5))
    assert probe(embeddings, positions, 1).error_mm == probe(embeddings, positions, 1).error_mm
    assert probe(embeddings, positions, 1).error_mm != probe(embeddings, positions, 2).error_mm


def test_too_few_images() -> None:
    with pytest.raises(UserError, match="at least 20 images, there are 19"):
        probe(np.zeros((19, 2)), np.zeros((19, 2)))


def test_figure(tmp_path: Path) -> None:
    positions, rng = scene(30)
    a, b = rng.normal(size=(2, 15, 6))
    with_probe = Diagnosis("wrist", "trunk", (a, b), compare(a, b), probe(np.concatenate([a, b]), positions))
    single = Diagnosis("front", "features", (a[:1], b[:1]), compare(a[:1], b[:1]), None)
    figure([with_probe, single], ("front", "back"), tmp_path / "both.png")
    figure([single], ("front", "back"), tmp_path / "one.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("both.png", "one.png"))


def test_the_verdict_by_hand() -> None:
    apart = Comparison(8, 30, 30, cosine=0.5, l2=2.0, spread_a=0.5, spread_b=1.0)
    alike = Comparison(8, 30, 30, cosine=0.999, l2=0.25, spread_a=0.5, spread_b=1.0)
    single = Comparison(8, 1, 1, cosine=0.9, l2=0.25, spread_a=0.0, spread_b=0.0)

    def says(c: Comparison, errors: tuple[float, float] | None = None) -> str:
        empty = np.zeros((0, 2))
        known = Probe(empty, empty, *errors) if errors else None
        return verdict([Diagnosis("wrist", "trunk", (empty, empty), c, known)], ("near", "far"))

    assert says(apart) == (
        "wrist, trunk: the means of near and far are 2 apart (cosine 0.500), beyond the spread of one set, 1: it tells "
        "them apart."
    )
    assert "0.25 apart (cosine 0.999), within the spread of one set, 1: on average it does not" in says(alike)
    assert "no spread to compare" in says(single)
    assert says(alike, (20.0, 60.0)).endswith("to 20.0 mm, by guessing 60.0 mm: the position is there to be read.")
    assert says(alike, (40.0, 60.0)).endswith("little of the position.")


# ---------------------------------------------------------------- rank, nuisances, several subjects


def test_effective_rank_by_hand() -> None:
    """Singular values 3 and 1 are shares of 3/4 and 1/4: exp of their entropy is 1.755; equal ones count as many."""
    x = np.zeros((4, 6))
    x[0, 0], x[1, 0] = 3 / np.sqrt(2), -3 / np.sqrt(2)
    x[2, 1], x[3, 1] = 1 / np.sqrt(2), -1 / np.sqrt(2)
    shares = np.array([0.75, 0.25])
    assert effective_rank(x + 7) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    rng = np.random.default_rng(0)
    q = np.linalg.qr(np.c_[np.ones(9), rng.normal(size=(9, 5))])[0][:, 1:]  # centred, orthonormal columns
    assert effective_rank(q) == pytest.approx(5)
    assert effective_rank(np.outer(rng.normal(size=9), rng.normal(size=5)).astype(np.float32)) == pytest.approx(1)
    assert effective_rank(np.full((5, 3), 0.1, np.float32)) == 0
    assert np.isnan(effective_rank(np.zeros((0, 3))))


def test_a_nuisance_leads_a_probe_astray_by_what_it_adds() -> None:
    positions, rng = scene()
    embeddings = np.c_[positions, rng.normal(size=(200, 4))]
    before, after = embeddings[:20], embeddings[:20].copy()
    after[:, 0] += 30  # reads as 30 mm further in x
    after[:, 4] += 5  # of no interest
    assert misled(embeddings, positions, before, after) == pytest.approx(30, rel=0.02)
    assert misled(embeddings, positions, before, before) == 0


def nuisance_diagnosis(name: str, light: float, gaze: float = 3.0) -> Diagnosis:
    x = np.random.default_rng(0).normal(size=(30, 6))
    known = Probe(np.zeros((0, 2)), np.zeros((0, 2)), 10.0 if name == "a" else 30.0, 60.0)
    return Diagnosis(
        "wrist", "trunk", (x, x + 1), compare(x, x + 1), known,
        subject=name, moved={"cube": 2.0, "light": light}, wanted="cube", misled_mm={"light": 12.0}, gaze=gaze,
    )  # fmt: skip


def test_the_verdict_names_nuisances_gaze_and_the_best(tmp_path: Path) -> None:
    good, bad = nuisance_diagnosis("a", 0.5), nuisance_diagnosis("b", 8.0, gaze=0.9)
    assert good.ratios == {"light": 4.0} and bad.ratios == {"light": 0.25}
    words = verdict([good, bad], ("near", "far"))
    assert "a, wrist, trunk: the means" in words and "b, wrist, trunk: the means" in words
    assert "moving the cube moves it 4 times as far as another light, which takes a probe 12 mm astray" in words
    fix = "which takes a probe 12 mm astray: keep it fixed on the robot, or vary it in training (env.jitter)"
    assert f"0.25 times as far as another light, {fix}" in words and words.count("keep it fixed") == 1
    assert "3.0 times as much as covering anything: it looks at the cube" in words
    assert "its answer does not depend on the cube" in words and "collapsed" not in words
    assert words.endswith("The position is best read from a, wrist, trunk: 10.0 mm.")
    lost = verdict([replace(good, misled_mm={"light": 31.0})], ("near", "far"))
    assert "4 times as far as another light, which takes a probe 31 mm astray: keep it fixed" in lost  # of 60 by chance
    changes_figure([good, bad], tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_collapsed_encoder_is_named() -> None:
    line = np.outer(np.arange(30.0), np.ones(8))
    d = Diagnosis("wrist", "features", (line, line + 1), compare(line, line + 1), None)
    assert "collapsed: its 8 numbers vary along 1.0 directions" in verdict([d], ("near", "far"))
