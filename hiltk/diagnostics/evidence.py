"""What a training run left behind and what its policy outputs: the evidence that causes are ranked by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.agents.resnet import FrozenResNet
from hiltk.artifacts.store import Artifact, names, resolve, versions
from hiltk.checks.engine import examine, gather
from hiltk.checks.subject import DatasetSubject
from hiltk.config.groups import SacConf
from hiltk.data.episode import Source
from hiltk.data.replay_export import stored_observations
from hiltk.diagnostics import experience
from hiltk.diagnostics.experience import Experience
from hiltk.diagnostics.frames import Moments
from hiltk.diagnostics.shifts import shifts
from hiltk.diagnostics.subjects import decide
from hiltk.diagnostics.takeovers import Takeovers, interventions, summary
from hiltk.errors import UserError
from hiltk.evaluation.tables import TOTAL
from hiltk.findings import Finding, Severity
from hiltk.intervals import wilson
from hiltk.learning.guards import noted
from hiltk.learning.metrics import by_itself, early, missed
from hiltk.reward_rule import q_bounds
from hiltk.spec import IMAGE_PREFIX, STATE_KEY, Spec

RECENT = 20  # episodes that "at the end" means
DARK = 0.02  # of full scale: below it a relative difference of brightness says nothing
FRAMES = 60  # of each side, for the brightness of cameras


@dataclass
class Evidence:
    """One run of `hiltk train`.

    Attributes:
        inputs: datasets and classifier that it used.
        config: its settings, as plain containers.
        metrics: a row per episode; what was never measured is missing or NaN.
        guards: what they found while it was trained.
        policy: as it ended.
        samples, seed: stored observations that the policy is asked about.
    """

    run: Artifact
    inputs: list[Artifact]
    config: dict[str, Any]
    spec: Spec
    metrics: pd.DataFrame
    guards: list[Finding]
    demos: Experience
    online: Experience
    policy: Policy
    root: Path
    samples: int = 256
    seed: int = 0

    @staticmethod
    def of(run: Artifact, root: str | Path, samples: int = 256, seed: int = 0) -> Evidence:
        """Read everything that a run names.

        Raises:
            UserError: it is no run of `hiltk train`, or something it needs is gone or damaged.
        """
        record, spec = experience.require_training(run), run.spec()
        datasets = experience.demo_artifacts(run, root, [])
        classifiers = [
            resolve(experience.reference(i), "classifiers", root)
            for i in record.get("inputs") or []
            if i["kind"] == "classifiers"
        ]
        return Evidence(
            run=run,
            inputs=[*datasets, *classifiers],
            config=record.get("config") or {},
            spec=spec,
            metrics=measured(run.path / "metrics.csv"),
            guards=noted(run.path),
            demos=experience.demonstrations(datasets, spec, run.path),
            online=experience.online(run, spec),
            policy=load_policy(run.path),
            root=Path(root),
            samples=samples,
            seed=seed,
        )

    # ------------------------------------------------------------------ settings and metrics

    def setting(self, dotted: str, default: Any = None) -> Any:
        """A setting of the run; the default where it has none."""
        node: Any = self.config
        for part in dotted.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return default if node is None else node

    def metric(self, name: str, last: int = 0) -> float:
        """Mean of a metric over the last episodes that have it, or over all; NaN where none has."""
        values = self.metrics[name].dropna() if name in self.metrics else pd.Series(dtype=float)
        return float(values.tail(last or len(values)).mean()) if len(values) else float("nan")

    @cached_property
    def headroom(self) -> float:
        """What there is left to hold back: 1 up to half of the episodes succeeding unaided, 0 from 95 %.

        By the evaluation where there is one, else by the last episodes of training.
        """
        rate = self.evaluated if np.isfinite(self.evaluated) else self.unaided
        return float(np.clip((0.95 - rate) / 0.45, 0, 1)) if np.isfinite(rate) else 1.0

    @property
    def unaided(self) -> float:
        """Success in the last episodes left alone; in runs from before there were such, in all without a human step."""
        if "success" not in self.metrics:
            return float("nan")
        return float(by_itself(self.metrics).dropna().tail(RECENT).mean())

    @property
    def evaluated(self) -> float:
        """Success over all episodes of the newest evaluation; NaN where there is none."""
        return float(self.strata.successes.sum() / self.strata.n.sum()) if len(self.strata) else float("nan")

    def tripped(self, code: str) -> Finding | None:
        """What a guard found during training, if it spoke."""
        return next((f for f in self.guards if f.code == code), None)

    @property
    def missed(self) -> tuple[int, int]:
        """Episodes that truly succeeded and were not rewarded, of those that did."""
        return _missed(self.metrics)

    @property
    def missed_at_worst(self) -> tuple[int, int]:
        """The same within those `RECENT` episodes in a row where most is missed: half of the first twenty is lost on
        the critics, however few they are among all.
        """
        return self._at_worst(_missed)

    @property
    def early(self) -> tuple[int, int]:
        """Episodes that were rewarded before the task's own predicate had held, of those that were."""
        return _early(self.metrics)

    @property
    def early_at_worst(self) -> tuple[int, int]:
        """The same within those `RECENT` episodes in a row where there are most."""
        return self._at_worst(_early)

    def _at_worst(self, count: Callable[[pd.DataFrame], tuple[int, int]]) -> tuple[int, int]:
        starts = range(max(1, len(self.metrics) - RECENT + 1))
        return max((count(self.metrics.iloc[i : i + RECENT]) for i in starts), key=lambda found: wilson(*found).low)

    @property
    def discount(self) -> float:
        return float(self.setting("agent.discount", SacConf.discount))

    @property
    def worth_at_start(self) -> float:
        """What the reward of success is worth at an episode's start, in parts of it; NaN where nobody succeeded."""
        return self.discount**self.steps_to_success if np.isfinite(self.steps_to_success) else float("nan")

    @property
    def q_bounds(self) -> tuple[float, float]:
        """Least and largest return that the reward rule allows."""
        horizon = experience.longest_episode(self.config, self.metrics, self.spec.fps)
        return q_bounds(self.spec.reward, self.discount, horizon)

    @property
    def replays(self) -> float:
        """How often each transition was learned from, on average; NaN before the first."""
        steps = self.metric("env_step", 1)
        return self.metric("update", 1) * float(self.setting("batch_size", 0)) / steps if steps else float("nan")

    @property
    def updates_behind(self) -> float:
        """Missing updates per step, in parts of what ``utd`` promises; 0 where neither is known."""
        wanted, got = float(self.setting("utd", 0)), self.metric("utd")
        return 1 - got / wanted if wanted and np.isfinite(got) else 0.0

    # ------------------------------------------------------------------ rules

    @cached_property
    def refusals(self) -> list[Finding]:
        """What the gate of `hiltk train` finds in the inputs now, ignored or not."""
        all_ = gather(self.inputs)
        all_.step, all_.config, all_.target = "train", self.config, self.spec
        with torch.random.fork_rng(devices=[]):
            return examine(all_, step="train").findings

    def refused(self, *codes: str) -> Finding | None:
        """The first finding of these rules, errors before warnings."""
        own = [f for f in self.refusals if not codes or f.code in codes]
        return min(own, key=lambda f: f.severity is not Severity.error) if own else None

    # ------------------------------------------------------------------ experience

    @cached_property
    def corrections(self) -> Experience:
        """What the human did while the policy was trained."""
        return self.online.part(~self.online.of(Source.policy))

    @cached_property
    def takeovers(self) -> Takeovers:
        return summary(interventions(self.online, self.spec))

    @cached_property
    def shifts(self) -> pd.DataFrame:
        return shifts(self.demos, self.online, self.spec, self.seed)

    @cached_property
    def steps_to_success(self) -> float:
        """Median steps from an episode's start to its reward, over demonstrations and experience; NaN without one."""
        steps = [e.step[e.positive(self.spec)] + 1 for e in (self.demos, self.online)]
        every = np.concatenate(steps)
        return float(np.median(every)) if len(every) else float("nan")

    @cached_property
    def strata(self) -> pd.DataFrame:
        """Success by stratum in the newest evaluation of this very policy; empty where there is none."""
        found = pd.DataFrame(columns=["stratum", "n", "successes", "rate"])
        for evaluation in self._evaluations():
            table = _table(evaluation.path / "summary.csv")
            own = table[table.policy.isin([self.run.name, self.run.ref])] if len(table) else table
            found = own[own.stratum != TOTAL] if len(own) else found
        return found

    def _evaluations(self) -> Iterator[Artifact]:
        for name in names("evaluations", self.root):
            for version in versions("evaluations", name, self.root):
                one = resolve(f"{name}@{version}", "evaluations", self.root)
                record = one.run()
                inputs = [i.get("fingerprint") for i in record.get("inputs") or []]
                if record.get("step") == "eval" and self.run.fingerprint in inputs:
                    yield one

    # ------------------------------------------------------------------ cameras

    @cached_property
    def brightness(self) -> dict[str, tuple[float, float]]:
        """Mean brightness (0 to 1) of demonstrated and of experienced frames, by camera of the policy."""
        out: dict[str, tuple[float, float]] = {}
        datasets = [DatasetSubject(a.path, a.ref, a) for a in self.inputs if a.kind == "datasets"]
        for key in (k for k in self.moments.observations if k.startswith(IMAGE_PREFIX)):
            shown = [_frames(d, key) for d in datasets if key in d.files.cameras]
            if shown:
                demos = np.concatenate([frames.mean((1, 2, 3)) for frames in shown])
                out[key.removeprefix(IMAGE_PREFIX)] = (demos.mean() / 255, self.moments.observations[key].mean() / 255)
        return out

    @property
    def light_gap(self) -> float:
        """Relative difference of brightness between demonstrations and experience, of the camera with the largest."""
        gaps = [abs(online - demos) / max(demos, DARK) for demos, online in self.brightness.values()]
        return max(gaps, default=0.0)

    # ------------------------------------------------------------------ the policy

    @cached_property
    def moments(self) -> Moments:
        """Stored observations (B, ...) as the policy takes them."""
        stored, episodes = stored_observations(self.run.path, self.samples, self.seed, self.policy.frame_stack)
        wanted = [STATE_KEY, *self.policy.spec.image_keys]
        if missing := [k for k in wanted if k not in stored]:
            raise UserError(f"the replay store lacks '{missing[0]}'", where=str(self.run.path))
        return Moments({k: stored[k] for k in wanted}, episodes)

    def sensitivity(self, *keys: str) -> float:
        """How much of its actions a policy reads from these inputs: 0 nothing, 1 everything; NaN of a single episode.

        The root mean square change of the action when these inputs are taken from another episode, over what a change
        of everything makes (as `hiltk.diagnostics.policy`).
        """
        if len(np.unique(self.moments.episode)) < 2:
            return float("nan")
        other = self.moments.others(np.random.default_rng(self.seed))
        whole = _rms(decide(self.policy, other.observations) - self._actions)
        swapped = self.moments.observations | {k: other.observations[k] for k in keys}
        return _rms(decide(self.policy, swapped) - self._actions) / whole if whole > 1e-6 else 0.0

    @cached_property
    def _actions(self) -> np.ndarray:
        return decide(self.policy, self.moments.observations)

    @cached_property
    def noise(self) -> tuple[float, float]:
        """Root mean square of exploration around the policy's actions as the run ended, and of those actions.

        Where the noise is scheduled, no less than the schedule said.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            explored = decide(self.policy, self.moments.observations, deterministic=False)
        scheduled, measured = self.metric("noise", RECENT), _rms(explored - self._actions)
        return max(measured, min(scheduled, 1.0) if np.isfinite(scheduled) else 0.0), _rms(self._actions)

    @cached_property
    def frozen(self) -> FrozenResNet | None:
        """The part of the encoder that training cannot change."""
        return next((m for m in self.policy.modules() if isinstance(m, FrozenResNet)), None)


def _rms(change: np.ndarray) -> float:
    return float(np.sqrt(np.square(change.astype(np.float64)).mean()))


def _frames(dataset: DatasetSubject, key: str) -> np.ndarray:
    """Frames of one camera (N, H, W, 3), evenly spread over a dataset."""
    rows = np.linspace(0, len(dataset) - 1, min(FRAMES, len(dataset))).astype(int)
    return dataset.files.frames_at(key, rows)


def measured(file: Path) -> pd.DataFrame:
    """The metrics of a run (``metrics.csv``), one row per episode, without which little can be said about it.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    metrics = _table(file)
    if metrics.empty:
        raise UserError("the run's metrics are missing or empty", where=str(file), fix="restore them, or train again")
    return metrics


def _table(file: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(file) if file.is_file() else pd.DataFrame()
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"the table cannot be read: {error}", where=str(file)) from error


def _early(rows: pd.DataFrame) -> tuple[int, int]:
    rewarded = (rows.success > 0) & rows.true_success.notna()
    return int(early(rows.success, rows.true_success).sum()), int(rewarded.sum())


def _missed(rows: pd.DataFrame) -> tuple[int, int]:
    return int(missed(rows.success, rows.true_success).sum()), int((rows.true_success > 0).sum())
