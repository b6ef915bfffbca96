"""Can an encoder tell two sets of images apart, and where the object is? Numbers on embeddings (N, D), nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import entropy
from torch import nn

from hiltk.diagnostics.saliency import GAZE
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
        subject: whose encoder.
        moved: by what was changed in a picture, how far its embedding moves on average.
        wanted: the change among them that an encoder should answer to; empty where nothing was changed.
        misled_mm: by nuisance, how far it moves the answer of a probe that was fitted without it; empty where positions
            are not known.
        gaze: what the answer depends on, see `hiltk.diagnostics.saliency`; NaN where that is not known.
    """

    camera: str
    layer: str
    embeddings: tuple[np.ndarray, np.ndarray]
    comparison: Comparison
    probe: Probe | None
    subject: str = ""
    moved: Mapping[str, float] = field(default_factory=dict)
    wanted: str = ""
    misled_mm: Mapping[str, float] = field(default_factory=dict)
    gaze: float = float("nan")

    @property
    def effective_rank(self) -> float:
        return effective_rank(np.concatenate(self.embeddings))

    @property
    def ratios(self) -> dict[str, float]:
        """By nuisance, how many times as far the wanted change moves the embedding; infinite where it moves nothing."""
        return {
            name: self.moved[self.wanted] / by if by else float("inf")
            for name, by in self.moved.items()
            if name != self.wanted
        }

    @property
    def title(self) -> str:
        return ", ".join(filter(None, (self.subject, self.camera, self.layer)))


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


def effective_rank(x: np.ndarray) -> float:
    """Along how many directions embeddings (N, D) spread: exp of the entropy of their normalised singular values.

    Roy & Vetterli 2007, "The effective rank", definition 1, of the centred embeddings: 1 where they lie on a line,
    min(N - 1, D) where they fill all directions alike; 0 where they are all the same, NaN of none.
    """
    if not x.size:
        return float("nan")
    x = x.astype(np.float64)
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    values = values[values > 1e-7 * max(1.0, float(np.abs(x).max()))]  # rounding of float32 is no direction
    return float(np.exp(entropy(values))) if len(values) else 0.0


def misled(fitted: np.ndarray, positions_mm: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """How far (mm) a change from embeddings ``before`` to ``after`` (M, D) moves the answer of a linear probe."""
    answers = ridge(fitted, positions_mm, np.concatenate([before, after]).astype(np.float64))
    return _distance(answers[: len(before)], answers[len(before) :])


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


def filter_spread(module: nn.Module) -> float:
    """How unequal the norms of a network's filters are, over what equal independent weights would give; their median.

    For n independent weights of one distribution with kurtosis k a filter's norm has a relative deviation of
    sqrt((k - 1) / 4n). Training makes some filters strong and others weak: several times that.
    """
    ratios = []
    for conv in (m for m in module.modules() if isinstance(m, nn.Conv2d)):
        weight = conv.weight.detach().double().flatten(1)
        if weight.shape[0] < 4:
            continue
        centred = weight - weight.mean()
        kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
        norms = weight.norm(dim=1)
        expected = torch.sqrt((kurtosis - 1).clamp(min=0.1) / (4 * weight.shape[1]))
        ratios.append(float(norms.std() / norms.mean() / expected))
    return float(np.median(ratios)) if ratios else float("nan")


# ---------------------------------------------------------------- in words

COLLAPSED = 3.0  # effective rank below which not even a position and a turn fit in


def verdict(found: Sequence[Diagnosis], names: tuple[str, str]) -> str:
    """What the numbers say, in one paragraph: one sentence for each subject, camera and layer, and what to do."""
    several = len({d.subject for d in found}) > 1
    sentences = [
        f"{f'{d.subject}, ' if several else ''}{d.camera}, {d.layer}: {_apart(d.comparison, names)}{_found(d.probe)}"
        f"{_rank(d)}{_nuisances(d)}{_gaze(d)}."
        for d in found
    ]
    return " ".join([*sentences, *filter(None, [_best(found) if several else ""])])


def _best(found: Sequence[Diagnosis]) -> str:
    probed = [d for d in found if d.probe]
    if not probed:
        return ""
    best = min(probed, key=lambda d: d.probe.error_mm if d.probe else 0.0)
    assert best.probe
    return f"The position is best read from {best.title}: {best.probe.error_mm:.1f} mm."


def _rank(d: Diagnosis) -> str:
    few = d.comparison.images_a + d.comparison.images_b < 20
    if few or not d.effective_rank < COLLAPSED:
        return ""
    return (
        f"; it has collapsed: its {d.comparison.dimension} numbers vary along {d.effective_rank:.1f} directions, so "
        "train it on more images, or start from a pretrained one (encoder=resnet10)"
    )


def _nuisances(d: Diagnosis) -> str:
    worst = min(d.ratios, key=lambda name: d.ratios[name], default="")
    if not worst:
        return ""
    what = "moving the cube" if d.wanted == "cube" else f"the {d.wanted}"
    cause = worst if worst in ("brightness", "shift") else f"another {worst}"
    text, astray = f"; {what} moves it {d.ratios[worst]:.2g} times as far as {cause}", d.misled_mm.get(worst, 0.0)
    if astray:
        text += f", which takes a probe {astray:.0f} mm astray"
    if d.ratios[worst] < 1 or (d.probe and astray > d.probe.chance_mm / 2):
        setting = "encoder.shift_pad" if worst == "shift" else "env.jitter"
        text += f": keep it fixed on the robot, or vary it in training ({setting})"
    return text


def _gaze(d: Diagnosis) -> str:
    if np.isnan(d.gaze):
        return ""
    seen = "it looks at the cube" if d.gaze >= GAZE else "its answer does not depend on the cube"
    return f"; covering the cube matters {d.gaze:.1f} times as much as covering anything: {seen}"


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
    numbers = f"{c.dimension}-d: cosine {c.cosine:.3f}, L2 {c.l2:.3g}, effective rank {diagnosis.effective_rank:.1f}"
    axis.set_title(f"{diagnosis.title}\n{numbers}", fontsize=9)
    axis.set_xlabel("first principal direction")
    axis.set_ylabel("second")
    axis.legend()


def _draw_probe(axis: Axes, result: Probe) -> None:
    for position, guess in zip(result.positions, result.predictions, strict=True):
        axis.plot(*np.stack([position, guess]).T, color="#bbbbbb", lw=0.6, zorder=1)
    axis.scatter(result.positions[:, 0], result.positions[:, 1], s=10, c="#33383d", label="position", zorder=2)
    axis.scatter(result.predictions[:, 0], result.predictions[:, 1], s=10, c="#009E73", label="linear probe", zorder=2)
    axis.set_title(f"error {result.error_mm:.1f} mm, by chance {result.chance_mm:.1f} mm", fontsize=9)
    axis.set_xlabel("x, mm")
    axis.set_ylabel("y, mm")
    axis.set_aspect("equal", "datalim")
    axis.legend()


def changes_figure(found: Sequence[Diagnosis], path: Path) -> None:
    """How far each change moves the embeddings of each subject, camera and layer, the wanted change being 1."""
    found = [d for d in found if d.moved.get(d.wanted)]
    names = list(found[0].moved) if found else []
    sheet = Figure(figsize=(7, 1.2 + 0.32 * (len(names) + 1) * max(1, len(found))), layout="constrained")
    axis = sheet.subplots()
    for i, name in enumerate(names):
        places = np.arange(len(found)) * (len(names) + 1) + i
        lengths = [d.moved[name] / d.moved[d.wanted] for d in found]
        color = "#009E73" if name == found[0].wanted else ("#D55E00", "#E69F00", "#CC79A7")[i % 3]
        axis.barh(places, lengths, color=color, label=f"another place of the {name}" if name == "cube" else name)
        for place, length in zip(places, lengths, strict=True):
            axis.annotate(f" {length:.2f}", (length, place), va="center", fontsize=8)
    axis.set_yticks(np.arange(len(found)) * (len(names) + 1) + (len(names) - 1) / 2, [d.title for d in found])
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.axvline(1, color="#33383d", lw=0.8)
    axis.set_xlabel("mean displacement of the embedding; above 1 is bad")
    sheet.legend(loc="outside upper center", ncols=max(1, len(names)), fontsize=8)
    sheet.savefig(path, dpi=130)
