# uv run python -m tests.rails.trainings OUT.json
# uv run python -m tests.rails.trainings OUT.json --checkout ../before
# uv run python -m tests.rails.trainings --compare BEFORE.json AFTER.json
"""Short trainings through the command line, as hashes of all they leave behind: to show that a change changes nothing.

On one machine the same code gives the same numbers, bit for bit. Run this on the code before a change and on the code
after it (``--checkout``), and compare. Nothing but commands and files is used, so the internals may move meanwhile.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.numpy import load_file

from tests.rails import command
from tests.rails.make_artifacts import CLASSIFIER, CNN, DRQ, SAC, SMALL, TINY

Hashes = dict[str, Any]
WALL_CLOCK = ("steps_per_s", "wall_s")

# A Gymnasium environment with a camera: push the point to the origin.
TINY_ENV = """
import gymnasium as gym
import numpy as np


class Point(gym.Env):
    observation_space = gym.spaces.Dict(
        {
            "place": gym.spaces.Box(-1, 1, (2,), np.float32),
            "camera": gym.spaces.Box(0, 255, (16, 16, 3), np.uint8),
        }
    )
    action_space = gym.spaces.Box(-0.2, 0.2, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self._seen(), {}

    def step(self, action):
        self.place = np.clip(self.place + action, -1, 1).astype(np.float32)
        there = bool(np.abs(self.place).max() < 0.4)
        return self._seen(), float(there), there, False, {"is_success": there}

    def _seen(self):
        image = np.zeros((16, 16, 3), np.uint8)
        row, column = ((self.place + 1) * 7.5).astype(int)
        image[row, column] = 255
        return {"place": self.place, "camera": image}


gym.register("rails/Point-v0", Point, max_episode_steps=30)
"""

TRAININGS: dict[str, tuple[str, ...]] = {
    "classifier": ("agent=sac", "reward=classifier", "reward.classifier=cube", *SAC, *CNN),
    "rlpd": ("agent=rlpd", "agent.critics=4", *SAC, *CNN),
    "hilserl": ("agent=hilserl", "reward.timeout=terminal", *SAC, *CNN),
    "drqv2": ("agent=drqv2_demos", *DRQ),
    "three-way": ("env.gripper=discrete3", *SAC, *CNN, "demos=[gripping]"),
    "gymnasium": (
        *("env=gymnasium", "env.id=rails/Point-v0", "env.module=rails_point", "reward=env", "intervention=never"),
        *("agent.hidden=[16,16]", *CNN),
    ),
    "killed": ("agent=sac", *SAC, *CNN),
}


def train(name: str, *more: str) -> tuple[str, ...]:
    return ("train", f"name={name}", "episodes=3", "checkpoint_every=1", *TRAININGS[name], *TINY, *more)


def run(checkout: Path, names: list[str]) -> Hashes:
    """Hashes of these trainings, by name."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "rails_point.py").write_text(TINY_ENV)
        record = ("record", "episodes=6", "keep=all", "steps_after_success=8", *SMALL)
        before = [(*record, "name=demos"), (*record, "name=gripping", "env.gripper=discrete3"), CLASSIFIER]
        command.run([*before, *(train(name) for name in names if name != "killed")], folder, checkout)
        if "killed" in names:
            metrics = folder / "outputs" / "policies" / "killed" / ".unfinished" / "metrics.csv"
            command.run_and_kill(train("killed"), folder, lambda: command.lines(metrics) >= 3, checkout)
            command.run([train("killed", "resume=true")], folder, checkout)
        return {name: _hashes(folder / "outputs" / "policies" / name / "p-0001") for name in names}


def _hashes(folder: Path) -> Hashes:
    """Tensors of the policy and of the last checkpoint (critics, optimisers), the replay's arrays, and the metrics."""
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    return {
        "weights": _of_arrays(load_file(folder / "policy.safetensors")),
        "checkpoint": _of_arrays(dict(_arrays(checkpoint))),
        "replay": _of_arrays({f.stem: np.load(f) for f in (folder / "online").glob("*.npy")}),
        "metrics": _metrics(folder / "metrics.csv"),
    }


def _of_arrays(arrays: dict[str, np.ndarray]) -> Hashes:
    """One hash per name, and one of all values that does not depend on the names."""
    named = {name: _hash(array) for name, array in sorted(arrays.items())}
    return {"values": hashlib.sha256(" ".join(sorted(named.values())).encode()).hexdigest()[:16], "named": named}


def _hash(array: np.ndarray) -> str:
    header = f"{array.dtype} {array.shape} ".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _arrays(state: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor inside nested containers, by its dotted place."""
    if isinstance(state, torch.Tensor):
        yield prefix, state.detach().numpy()
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    for key, value in items:
        yield from _arrays(value, f"{prefix}.{key}" if prefix else str(key))


def _metrics(file: Path) -> dict[str, list[str]]:
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    return {key: [row[key] for row in rows] for key in rows[0] if key not in WALL_CLOCK}


# ---------------------------------------------------------------- comparing


def differences(before: Hashes, after: Hashes) -> list[str]:
    """What differs, one line each."""
    found = [f"{name}: only in one of the two" for name in sorted(before.keys() ^ after.keys())]
    for name in (n for n in before if n in after):
        for part in ("weights", "checkpoint", "replay"):
            found += [f"{name}: {part}: {line}" for line in _differing(before[name][part], after[name][part])]
        one, two = before[name]["metrics"], after[name]["metrics"]
        columns = [k for k in [*one, *(k for k in two if k not in one)] if one.get(k) != two.get(k)]
        found += [f"{name}: metrics: {k}: {one.get(k)} before, {two.get(k)} after" for k in columns]
    return found


def _differing(before: Hashes, after: Hashes) -> list[str]:
    one, two = before["named"], after["named"]
    if before["values"] == after["values"]:
        gone, new = sorted(one.keys() - two.keys()), sorted(two.keys() - one.keys())
        moved = [k for k in one if k in two and one[k] != two[k]]
        return [f"the same values under other names: {gone or moved} are now {new or moved}"] if one != two else []
    lost = [f"{k} is gone" for k in one if k not in two] + [f"{k} is new" for k in two if k not in one]
    return lost + [f"{k} has other values" for k in one if k in two and one[k] != two[k]]


def main(
    out: Annotated[Path | None, typer.Argument(help="JSON file to write.")] = None,
    checkout: Annotated[Path, typer.Option(help="Whose code trains.")] = command.HERE,
    only: Annotated[list[str] | None, typer.Option(help=f"Of: {', '.join(TRAININGS)}; can be repeated.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two such files; exit code 1 if they differ.")
    ] = None,
) -> None:
    """Train and write hashes, or compare two files of them."""
    if compare:
        found = differences(*(json.loads(file.read_text()) for file in compare))
        print("\n".join(found) or "no differences")
        sys.exit(bool(found))
    if out is None:
        raise typer.BadParameter("name the JSON file to write")
    out.write_text(json.dumps(run(checkout.resolve(), only or list(TRAININGS)), indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
