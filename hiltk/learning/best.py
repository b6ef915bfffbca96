"""The best checkpoint so far, by success without help and not by a loss."""

from __future__ import annotations

import os
import shutil
from collections import deque
from pathlib import Path
from typing import Any

from hiltk.agents.policy import WEIGHTS, Policy

WINDOW = 20
FOLDER = "best"


class BestPolicy:
    """Keeps ``best/`` in the policy's folder: the weights after the `WINDOW` episodes with the most success alone.

    Of equally good ones the later is kept. Nothing is kept before the first full window, or while nothing succeeds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.rate, self.episode = 0.0, -1

    def update(self, policy: Policy, episode: int, autonomous: float) -> None:
        """Note one more episode; save the policy if it has never done better."""
        self.recent.append(autonomous)
        rate = sum(self.recent) / WINDOW
        if len(self.recent) < WINDOW or rate == 0 or rate < self.rate:
            return
        self.rate, self.episode = rate, episode
        if self.folder.is_dir():  # config and spec are there; writing them costs ten times what weights do
            temporary = self.folder.with_suffix(".tmp.safetensors")
            policy.save_weights(temporary)
            os.replace(temporary, self.folder / WEIGHTS)
        else:
            self._create(policy)

    def _create(self, policy: Policy) -> None:
        temporary = self.folder.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        policy.save(temporary)
        os.replace(temporary, self.folder)

    def note(self) -> dict[str, Any]:
        """For ``run.yaml``: which episode ``best/`` is of, if there is one."""
        if self.episode < 0:
            return {}
        return {"best": {"episode": self.episode, "autonomous_success": self.rate, "window": WINDOW, "folder": FOLDER}}

    def state_dict(self) -> dict[str, Any]:
        return {"recent": list(self.recent), "rate": self.rate, "episode": self.episode}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.recent = deque(state["recent"], maxlen=WINDOW)
        self.rate, self.episode = state["rate"], state["episode"]
