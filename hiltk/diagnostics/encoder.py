"""Can an encoder tell two sets of images apart, and where the object is? Numbers on embeddings (N, D), nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hiltk.errors import UserError

FOLDS = 5
PENALTIES = np.logspace(-4, 6, 41)  # of the ridge regression, per standardised feature
COLORS = ("#0072B2", "#D55E00")


@dataclass(frozen=True)
class Comparison:
    """How far two sets of embeddings are apart.

    Attributes:
        cosine: similarity of the mean embeddings; 1 where they point the same way.
        l2: distance of the mean embeddings.
        spread_a, spread_b: root mean square distance of a set's embeddings to their mean; 0 of a single image.
    """

    dimension: int
    images_a: int
    images_b: int
    cosine: float
    l2: float
    spread_a: float
    spread_b: float


@dataclass(frozen=True)
class Probe:
    """How well a linear regression on embeddings finds positions it was not fitted to.

    Attributes:
        positions, predictions: (N, 2) millimetres.
        error_mm: mean distance of prediction and position.
        chance_mm: the same, always guessing the mean position of the images fitted to.
    """

    positions: np.ndarray
    predictions: np.ndarray
    error_mm: float
    chance_mm: float


@dataclass(frozen=True)
class Diagnosis:
    """One layer's view of one camera.

    Attributes:
        embeddings: of both sets, (N, D) and (M, D).
        probe: None where positions are not known.
    """

    camera: str
    layer: str
    embeddings: tuple[np.ndarray, np.ndarray]
    comparison: Comparison
    probe: Probe | None


def compare(a: np.ndarray, b: np.ndarray) -> Comparison:
    """Compare embeddings (N, D) with embeddings (M, D)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    norms = np.linalg.norm(mean_a) * np.linalg.norm(mean_b)
    return Comparison(
        dimension=a.shape[1],
        images_a=len(a),
        images_b=len(b),
        cosine=float(mean_a @ mean_b / norms) if norms else float("nan"),
        l2=float(np.linalg.norm(mean_a - mean_b)),
        spread_a=_spread(a),
        spread_b=_spread(b),
    )


def probe(embeddings: np.ndarray, positions_mm: np.ndarray, seed: int = 0) -> Probe:
    """Predict positions (N, 2) from embeddings (N, D) by ridge regression, `FOLDS`-fold cross-validated.

    The penalty is chosen inside each fold's training part, by generalised cross-validation (Golub et al. 1979).

    Raises:
        UserError: there are too few images.
    """
    if len(embeddings) < 4 * FOLDS:
        raise UserError(f"a probe needs at least {4 * FOLDS} images, there are {len(embeddings)}", where="images")
    x, y = embeddings.astype(np.float64), positions_mm.astype(np.float64)
    order = np.random.default_rng(seed).permutation(len(x))
    predictions, guesses = np.empty_like(y), np.empty_like(y)
    for held_out in np.array_split(order, FOLDS):
        train = np.setdiff1d(order, held_out)
        predictions[held_out] = ridge(x[train], y[train], x[held_out])
        guesses[held_out] = y[train].mean(axis=0)
    return Probe(y, predictions, _distance(predictions, y), _distance(guesses, y))


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Fit standardised x (N, D) to y (N, K) and predict (M, K) for new (M, D)."""
    mean, scale, middle = x.mean(axis=0), x.std(axis=0), y.mean(axis=0)
    scale[scale < 1e-8 * max(1.0, scale.max())] = np.inf  # a feature that is constant here says nothing
    u, s, vt = np.linalg.svd((x - mean) / scale, full_matrices=False)
    inside = u.T @ (y - middle)
    best = min(PENALTIES * len(x), key=lambda penalty: _gcv(s, inside, y - middle, penalty))
    weights = vt.T @ (inside * (s / (s**2 + best))[:, None])
    return (new - mean) / scale @ weights + middle


def _gcv(s: np.ndarray, inside: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Squared residuals, weighed by the degrees of freedom that are left."""
    shrink = s**2 / (s**2 + penalty)
    residual = (y**2).sum() - ((1 - (1 - shrink) ** 2)[:, None] * inside**2).sum()
    left = len(y) - 1 - shrink.sum()
    return residual / left**2 if left > 1e-9 else np.inf


def _spread(x: np.ndarray) -> float:
    return float(np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=1).mean())


# ---------------------------------------------------------------- in words


def verdict(found: Sequence[Diagnosis], names: tuple[str, str]) -> str:
    """What the numbers say, in one paragraph."""
    return " ".join(f"{d.camera}, {d.layer}: {_apart(d.comparison, names)}{_found(d.probe)}." for d in found)


def _apart(c: Comparison, names: tuple[str, str]) -> str:
    text = f"the means of {names[0]} and {names[1]} are {c.l2:.3g} apart (cosine {c.cosine:.3f})"
    spread = max(c.spread_a, c.spread_b)
    if spread == 0:
        return text + "; single images have no spread to compare that with"
    if c.l2 < spread:
        return text + f", within the spread of one set, {spread:.3g}: on average it does not tell them apart"
    return text + f", beyond the spread of one set, {spread:.3g}: it tells them apart"


def _found(result: Probe | None) -> str:
    if result is None:
        return ""
    errors = f"{result.error_mm:.1f} mm, by guessing {result.chance_mm:.1f} mm"
    seen = "the position is there to be read" if result.error_mm < result.chance_mm / 2 else "little of the position"
    return f"; a linear probe finds the object to {errors}: {seen}"


# ---------------------------------------------------------------- figure


def figure(found: Sequence[Diagnosis], names: tuple[str, str], path: Path) -> None:
    """A row per camera and layer: both sets along their main directions; positions and the probe's guesses."""
    columns = 2 if any(d.probe for d in found) else 1
    sheet = Figure(figsize=(4.6 * columns, 3.8 * len(found)), layout="constrained")
    axes = sheet.subplots(len(found), columns, squeeze=False)
    for row, diagnosis in zip(axes, found, strict=True):
        _draw_sets(row[0], diagnosis, names)
        if diagnosis.probe:
            _draw_probe(row[1], diagnosis.probe)
    sheet.savefig(path, dpi=130)


def _draw_sets(axis: Axes, diagnosis: Diagnosis, names: tuple[str, str]) -> None:
    everything = np.concatenate(diagnosis.embeddings).astype(np.float64)
    centre = everything.mean(axis=0)
    directions = np.linalg.svd(everything - centre, full_matrices=False)[2][:2]
    for embeddings, name, color in zip(diagnosis.embeddings, names, COLORS, strict=True):
        flat = (embeddings - centre) @ directions.T
        axis.scatter(flat[:, 0], flat[:, -1] if flat.shape[1] > 1 else 0 * flat[:, 0], s=10, c=color, label=name)
    c = diagnosis.comparison
    axis.set_title(f"{diagnosis.camera}, {diagnosis.layer} ({c.dimension}-d): cosine {c.cosine:.3f}, L2 {c.l2:.3g}")
    axis.set_xlabel("first principal direction")
    axis.set_ylabel("second")
    axis.legend()


def _draw_probe(axis: Axes, result: Probe) -> None:
    for position, guess in zip(result.positions, result.predictions, strict=True):
        axis.plot(*np.stack([position, guess]).T, color="#bbbbbb", lw=0.6, zorder=1)
    axis.scatter(result.positions[:, 0], result.positions[:, 1], s=10, c="#33383d", label="position", zorder=2)
    axis.scatter(result.predictions[:, 0], result.predictions[:, 1], s=10, c="#009E73", label="linear probe", zorder=2)
    axis.set_title(f"error {result.error_mm:.1f} mm, by chance {result.chance_mm:.1f} mm")
    axis.set_xlabel("x, mm")
    axis.set_ylabel("y, mm")
    axis.set_aspect("equal", "datalim")
    axis.legend()
