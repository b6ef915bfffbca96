"""The success classifier: frames in, probability of success out, with everything needed to use it inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from yaml import YAMLError

from hiltk.agents.encoders import Encoder, build_encoder, rebuildable
from hiltk.agents.weights import require_finite
from hiltk.config.groups import EncoderConf
from hiltk.data.frames import Frames
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.formats import CLASSIFIER, with_new_names
from hiltk.images import to_tensor
from hiltk.observation import Observation
from hiltk.rewards.calibration import sigmoid
from hiltk.rewards.training_images import Statistics
from hiltk.spec import ImageSpec, Spec

WEIGHTS, CONFIG = "classifier.safetensors", "classifier.yaml"


class Network(nn.Module):
    """An encoder of every camera and a two-layer head, all of it trained (LeRobot 0.6.1 never trains its neck)."""

    def __init__(self, encoder: Encoder, hidden: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        features = int(encoder.out_features)
        self.head = nn.Sequential(nn.Linear(features, hidden), nn.Dropout(dropout), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, images: dict[str, Tensor]) -> Tensor:
        """Logits (B,) of frames (B, 3, H, W) uint8 or float in [0, 1]."""
        return self.judge(self.encoder(images))

    def judge(self, features: Tensor) -> Tensor:
        """Logits (B,) of what the encoder made of frames, (B, F)."""
        return self.head(features).squeeze(-1)


class SuccessClassifier(nn.Module):
    """One network, or an ensemble of several that differ by their random numbers (Lakshminarayanan et al. 2017).

    The artifact carries the preprocessing (the image part of its spec), the calibration temperature, the threshold,
    the hold rule and the statistics of its training images; an environment takes them from here and from nowhere else.

    Args:
        encoder: the encoder, as for policies.
        spec: its images are the cameras looked at; its reward part holds threshold, hold_steps and min_steps.
        hidden: width of the head.
        dropout: of the head, while training.
        temperature: logits are divided by it (Guo et al. 2017, section 4.2).
        members: number of networks; their mean probability counts.
    """

    def __init__(
        self,
        encoder: EncoderConf,
        spec: Spec,
        *,
        hidden: int = 64,
        dropout: float = 0.1,
        temperature: float = 1.0,
        members: int = 1,
    ) -> None:
        super().__init__()
        self.hidden, self.dropout, self.temperature = hidden, dropout, temperature
        self.spec = replace(spec, reward=replace(spec.reward, source="classifier"))
        encoders = [build_encoder(encoder, spec.images) for _ in range(members)]
        self.encoder_conf = rebuildable(encoder, encoders[0])
        self.members = nn.ModuleList([Network(e, hidden, dropout) for e in encoders])
        self._frames = {image.key: (image.height, image.width, 3) for image in spec.images}
        self.statistics: Statistics | None = None  # of the training images; None in artifacts that had none yet
        self.embedding = torch.zeros(0)  # (B, F), what the encoder made of the newest frames, for who watches drift
        self.encoder.register_forward_hook(self._remember)

    @property
    def encoder(self) -> Encoder:
        """The first network's."""
        return self.networks[0].encoder

    @property
    def networks(self) -> list[Network]:
        return [cast(Network, network) for network in self.members]

    @property
    def threshold(self) -> float:
        return self.spec.reward.threshold

    @property
    def hold_steps(self) -> int:
        return self.spec.reward.hold_steps

    @property
    def min_steps(self) -> int:
        return self.spec.reward.min_steps

    @property
    def cameras(self) -> list[str]:
        return [image.name for image in self.spec.images]

    def forward(self, images: dict[str, Tensor]) -> Tensor:
        """Logits (K, B) of K networks, before the temperature, of frames (B, 3, H, W) uint8 or float in [0, 1]."""
        return torch.stack([network(images) for network in self.members])

    def probability(self, observation: Observation) -> float:
        """Probability that success shows in one observation as the observation pipeline returns it.

        Raises:
            UserError: a camera is missing, or its frame has another size or dtype than the classifier was trained on.
        """
        frames = {}
        for key, shape in self._frames.items():
            frame = _camera(observation, key)
            _check(key, frame, shape, frame.shape)
            frames[key] = frame[None]
        return float(self._probabilities(frames).mean())

    def probabilities(self, images: Mapping[str, Frames | np.ndarray], batch_size: int = 512) -> np.ndarray:
        """Probabilities (B,) float64 of B frames per camera, (B, H, W, 3) uint8.

        Raises:
            UserError: a camera is missing, or its frames have another size or dtype than the classifier was trained on.
        """
        return self.opinions(images, batch_size).mean(0)

    def opinions(self, images: Mapping[str, Frames | np.ndarray], batch_size: int = 512) -> np.ndarray:
        """Probabilities (K, B) of each network; their standard deviation says how far they are from agreeing.

        Raises:
            UserError: as `probabilities`.
        """
        for key, shape in self._frames.items():
            frames = _camera(images, key)
            _check(key, frames, shape, frames.shape[1:])
        count = len(images[next(iter(self._frames))])
        parts = [
            self._probabilities({k: images[k][i : i + batch_size] for k in self._frames})
            for i in range(0, count, batch_size)
        ]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(self.members), 0))

    def embeddings(self, images: Mapping[str, Frames | np.ndarray], batch_size: int = 512) -> dict[str, np.ndarray]:
        """What the encoder makes of N frames per camera (N, H, W, 3) uint8: by camera (N, D) float32."""
        parts = []
        for i in range(0, len(images[next(iter(self._frames))]), batch_size):
            self._probabilities({k: images[k][i : i + batch_size] for k in self._frames})
            parts.append(self.embedding.cpu().numpy())
        return dict(zip(self.cameras, np.split(np.concatenate(parts), len(self.cameras), axis=1), strict=True))

    @torch.inference_mode()
    def _probabilities(self, frames: dict[str, np.ndarray]) -> np.ndarray:
        """(K, B). Doubles, so that confident scores stay apart and a threshold can lie between them."""
        was_training = self.training
        if was_training:
            self.eval()
        logits = self({k: to_tensor(v, self.device) for k, v in frames.items()})
        if was_training:
            self.train()
        return sigmoid(logits.double().cpu().numpy() / self.temperature)

    def _remember(self, encoder: nn.Module, frames: Any, features: Tensor) -> None:
        self.embedding = features.detach()

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def set_rule(self, *, threshold: float, hold_steps: int, min_steps: int) -> None:
        """Store the success rule: this many frames in a row at or above the threshold, not before `min_steps`."""
        rule = replace(self.spec.reward, threshold=threshold, hold_steps=hold_steps, min_steps=min_steps)
        self.spec = replace(self.spec, reward=rule)

    def require_fits(self, images: list[ImageSpec], *, name: str) -> None:
        """Refuse an environment or dataset whose images are made differently (devlogs 075 and 084: another crop).

        Raises:
            UserError: a camera is missing or differs in size, colour order, dtype or crop.
        """
        others = {image.name: image for image in images}
        for image in self.spec.images:
            if image.name not in others:
                raise UserError(
                    f"the classifier looks at camera '{image.name}', which {name} does not have",
                    where=f"cameras of {name}: {', '.join(others) or 'none'}",
                    fix=nearest(image.name, list(others)) or "add the camera, or train a classifier without it",
                )
            problems = _image_differences(image, others[image.name])
            if problems:
                raise UserError(
                    f"camera '{image.name}' of {name} is not what the classifier was trained on: {'; '.join(problems)}",
                    where=image.key,
                    fix="train the classifier on frames made like these",
                )

    def save(self, folder: Path) -> None:
        """Write weights and config into an existing folder."""
        save_file({k: v.contiguous().cpu() for k, v in self.state_dict().items()}, folder / WEIGHTS)
        config = {
            **CLASSIFIER.stamp(),
            "temperature": self.temperature,
            "hidden": self.hidden,
            "dropout": self.dropout,
            "members": len(self.members),
            "encoder": asdict(self.encoder_conf),
            "spec": self.spec.to_stored(),
        }
        OmegaConf.save(OmegaConf.create(config), folder / CONFIG)
        if self.statistics:
            self.statistics.save(folder)

    @staticmethod
    def load(folder: Path) -> SuccessClassifier:
        """Read a classifier artifact; no code from the file is ever run.

        Raises:
            UserError: a file is missing or damaged, the weights do not fit the config, or one is not finite.
        """
        folder = Path(folder)
        if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
            fix = f"a classifier folder holds {WEIGHTS} and {CONFIG}"
            raise UserError("this is not a success classifier", where=str(folder), fix=fix)
        classifier = _from_config(folder / CONFIG)
        try:
            weights = load_file(folder / WEIGHTS)
            classifier.load_state_dict(_of_members(weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"the classifier's weights cannot be used: {reason}", where=str(folder / WEIGHTS)
            ) from error
        require_finite(weights, folder / WEIGHTS)
        classifier.statistics = Statistics.load(folder)
        return classifier.eval()


def _from_config(path: Path) -> SuccessClassifier:
    try:
        stored: Any = OmegaConf.to_container(OmegaConf.load(path))
        config = with_new_names(CLASSIFIER.upgrade(stored, str(path)))
        encoder: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(EncoderConf), config["encoder"]))
        return SuccessClassifier(
            encoder,
            Spec.from_dict(config["spec"], where=str(path)),
            hidden=int(config["hidden"]),
            dropout=float(config["dropout"]),
            temperature=float(config["temperature"]),
            members=int(config.get("members", 1)),
        )
    except (ConfigError, OSError, YAMLError, OmegaConfBaseException, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the classifier's config cannot be read: {error!r}", where=str(path)) from error


def _of_members(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of today; before there were ensembles the only network had no number."""
    return {k if k.startswith("members.") else f"members.0.{k}": v for k, v in weights.items()}


def _camera[F: (np.ndarray, Frames | np.ndarray)](images: Mapping[str, F], key: str) -> F:
    if key not in images:
        present = ", ".join(k for k in images)
        raise UserError(f"the success classifier needs '{key}'", where=f"present: {present}", fix="add the camera")
    return images[key]


def _check(key: str, frames: Frames | np.ndarray, shape: tuple[int, ...], found: tuple[int, ...]) -> None:
    if frames.dtype != np.uint8:
        raise UserError(
            f"{key} has dtype {frames.dtype}, the success classifier takes uint8 in 0..255",
            where=key,
            fix="pass frames as the observation pipeline returns them",
        )
    if found != shape:
        raise UserError(
            f"{key} has frames of shape {found}, the success classifier was trained on {shape}",
            where=key,
            fix="use the image size and crop the classifier was trained with, or train another",
        )


def _image_differences(own: ImageSpec, other: ImageSpec) -> list[str]:
    """What would change the pixels. Crops can only be compared where the frames they are cut from are equally large."""
    fields = ["height", "width", "color", "dtype", "low", "high"]
    if (own.native_height, own.native_width) == (other.native_height, other.native_width):
        fields.append("crop")
    pairs = [(f, getattr(own, f), getattr(other, f)) for f in fields]
    return [f"{field} {theirs!r}, trained on {ours!r}" for field, ours, theirs in pairs if ours != theirs]
