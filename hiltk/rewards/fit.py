"""Fitting one network of a success classifier: balanced batches, augmentation, early stopping."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from hiltk.agents.encoders import ResNetEncoder
from hiltk.config.commands import ClassifierConf
from hiltk.images import to_tensor
from hiltk.rewards.augment import augmented
from hiltk.rewards.calibration import balanced_loss, fit_temperature
from hiltk.rewards.classifier import Network
from hiltk.rewards.frames import LabelledFrames, balanced_rows
from hiltk.rewards.maps import cached

EVALUATE_EVERY = 50
AVERAGE = 0.98  # of the weights over some 50 steps
See = Callable[[np.ndarray], dict[str, Tensor]]  # rows (B,) to what the network is shown of them


@dataclass(frozen=True)
class Fit:
    """How fitting went.

    Attributes:
        losses: (step, training loss, held-out loss) at each evaluation, of success alone; both classes weighted
            equally, the held-out loss at the temperature with which it is lowest.
        best_step: whose weights were kept.
    """

    losses: list[tuple[int, float, float]]
    best_step: int


def fit(
    network: Network, train: LabelledFrames, held_out: LabelledFrames, conf: ClassifierConf, *, seed: int, name: str
) -> Fit:
    """Train every parameter; leaves the averaged weights with the lowest held-out loss in the network.

    Beside success, a linear layer that is thrown away afterwards reads the arm's posture off the features. A label says
    one bit of a frame, the encoders of the arm say where it is, how high and how far the jaws are closed: what success
    depends on, and what a few episodes of labels do not teach (as the pose that Levine et al. 2016, "End-to-end
    training of deep visuomotor policies", train their vision layers on first).

    The weights of the latest steps are averaged with a half-life of 34 steps (Polyak & Juditsky 1992): with a high
    learning rate single steps jump about so much that the best of them is a matter of luck.

    The loss is taken after temperature scaling, as it will be used: otherwise a network looks worse the longer it
    trains, only because it grows surer of the few frames it gets wrong.

    Args:
        held_out: what training stops by, best with versions (`with_versions`): a handful of episodes in one light each
            is too little to tell an early network from a good one.
        seed: of batches and augmentation.
        name: what the progress bar says is trained.
    """
    losses: list[tuple[int, float, float]] = []
    best, best_step, best_weights, recent = np.inf, 0, {}, []
    update, plain = _updates(network, train, held_out, conf, seed, conf.steps)
    bar = tqdm(range(1, conf.steps + 1), desc=f"training {name}", mininterval=0.5)
    network.train()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
    for step in bar:
        recent.append(update())
        average.update_parameters(network)
        if step % EVALUATE_EVERY and step != conf.steps:
            continue
        logits = logits_of(average.module, held_out, see=plain)
        loss = balanced_loss(logits, held_out.success, fit_temperature(logits, held_out.success))
        losses.append((step, float(np.mean(recent)), loss))
        recent = []
        bar.set_postfix(loss=f"{losses[-1][1]:.4f}", held_out=f"{losses[-1][2]:.4f}")
        if losses[-1][2] < best:
            best, best_step, best_weights = (losses[-1][2], step, copy.deepcopy(average.module.state_dict()))
        elif step - best_step >= conf.patience * EVALUATE_EVERY:
            break
    bar.close()
    network.load_state_dict(best_weights)
    network.eval()
    return Fit(losses, best_step)


def fit_for(network: Network, train: LabelledFrames, conf: ClassifierConf, *, steps: int, seed: int, name: str) -> None:
    """Train for a number of steps known beforehand, with nothing held out."""
    update, _ = _updates(network, train, train, conf, seed, steps)
    network.train()
    for _ in tqdm(range(steps), desc=f"training {name}", mininterval=0.5):
        update()
    network.eval()


def logits_of(model: nn.Module, frames: LabelledFrames, batch_size: int = 512, see: See | None = None) -> np.ndarray:
    """Logits float64 of every frame, before the temperature and without dropout: (N,), of an ensemble (K, N).

    Args:
        model: a `Network` or a whole classifier.
        see: gives the images of rows, or what an encoder has made of them.
    """
    was_training, see = model.training, see or _plain(frames, _device(model))
    model.eval()
    with torch.inference_mode():
        every = np.arange(len(frames))
        parts = [model(see(every[i : i + batch_size])) for i in range(0, len(frames), batch_size)]
    model.train(was_training)
    return torch.cat(parts, dim=-1).double().cpu().numpy()


def _updates(
    network: Network, train: LabelledFrames, held_out: LabelledFrames, conf: ClassifierConf, seed: int, steps: int
) -> tuple[Callable[[], float], See]:
    """One gradient step on a batch with as many successes as failures, which returns its loss; and the plain view.

    The learning rate rises over the first tenth of ``steps`` and falls to nothing at the last (Smith & Topin 2018).
    """
    rng = np.random.default_rng(seed)
    device = _device(network)
    reader, state = _reader(network, train)
    trained = nn.ModuleList([network, reader]).parameters()
    optimizer = torch.optim.AdamW(trained, lr=conf.lr, weight_decay=conf.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, conf.lr, total_steps=max(steps, 20), pct_start=0.1)
    seen, plain = _views(network, train, held_out, conf, rng)
    weight = np.ones(len(train)) if train.weight is None else train.weight
    error = np.ones(len(train))  # of each frame's probability when it was last seen, 0 to 1

    def update() -> float:
        rows = balanced_rows(train.success, conf.batch_size, rng, weight * (1 - conf.hard + conf.hard * error))
        target = torch.from_numpy(train.success[rows]).to(device, torch.float32)
        features = network.encoder(seen(rows))
        logits = network.judge(features)
        loss = F.binary_cross_entropy_with_logits(logits, target)
        error[rows] = (logits.detach().sigmoid() - target).abs().cpu().numpy()
        posture = F.mse_loss(reader(features), state[rows]) if state.numel() else 0.0
        optimizer.zero_grad(set_to_none=True)
        (loss + conf.state_loss * posture).backward()
        optimizer.step()
        schedule.step()
        return loss.item()

    return update, plain


def _reader(network: Network, train: LabelledFrames) -> tuple[nn.Module, Tensor]:
    """A layer that reads the state off the features, and what it should read: (N, S), standardised; S may be 0."""
    if train.state is None:
        return nn.Identity(), torch.empty(len(train), 0)
    state = torch.from_numpy(train.state).to(_device(network), torch.float32)
    state = (state - state.mean(0)) / state.std(0, correction=0).clamp(min=1e-6)  # a locked joint does not move
    return nn.Linear(network.encoder.out_features, state.shape[1]).to(state.device), state


def _views(
    network: Network, train: LabelledFrames, held_out: LabelledFrames, conf: ClassifierConf, rng: np.random.Generator
) -> tuple[See, See]:
    """What the network is shown of training frames, augmented, and of held-out ones, as they are."""
    device = _device(network)

    def augment(frames: np.ndarray) -> Tensor:
        return augmented(frames, conf.augment, conf.encoder.shift_pad, rng, device)

    if not conf.encoder.cache_shifts:
        return lambda rows: {k: augment(v[rows]) for k, v in train.images.items()}, _plain(held_out, device)
    assert isinstance(network.encoder, ResNetEncoder)  # as `check_encoder` demands
    parts = [(train.images, conf.encoder.cache_shifts), (held_out.images, 1)]
    seen, known = cached(network.encoder, parts)
    return (
        lambda rows: seen(rows, rng.integers(seen.versions, size=len(rows)), augment),
        lambda rows: known(rows, np.zeros_like(rows), lambda frames: to_tensor(frames, device)),
    )


def _plain(frames: LabelledFrames, device: torch.device) -> See:
    return lambda rows: {k: to_tensor(v[rows], device) for k, v in frames.images.items()}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
