"""When a human takes over from the policy. How the human then acts is `scripted.py`'s business, or a person's.

Sources: HIL-SERL (Luo et al. 2024, arXiv 2410.21845, its section on interventions, and the project page): interventions
are frequent at first and fewer as the policy succeeds; they correct something particular and give control back. "Long
sparse interventions that lead to task success" are what to avoid: they make the value function overestimate. Devlog
072 adds from the code's authors: let the policy explore 20 to 30 steps, then correct briefly.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from hiltk.config.groups import InterventionConf, Schedule
from hiltk.errors import ConfigError, UserError


class InterventionSchedule:
    """Decides, step by step, who acts. Steps of an episode count from 0.

    ``brief``: the policy has the first ``explore_steps`` steps, so the first a human can take is that number.
    Then a takeover is *due*. A human who is satisfied leaves it due. Otherwise one draw decides: with `probability` the
    takeover starts at this step and lasts until the human is satisfied, for at most ``max_steps`` steps; without, or
    after it, the policy has ``explore_steps`` steps again. One draw per due takeover, not one per step: else a low
    probability would only delay the takeover instead of sparing it.

    ``long`` (the anti-pattern, for study): the policy has ``2 * explore_steps`` steps before each draw, the probability
    stays what it is, and a takeover lasts to the end of the episode, satisfied or not.

    ``never`` and ``always``: as they say.

    Whatever the schedule, the human acts in at most ``budget_steps`` steps of the whole training: what learners are
    given, when they are compared.

    Raises:
        ConfigError: a number of ``conf`` is out of range.
    """

    def __init__(self, conf: InterventionConf, seed: int = 0) -> None:
        _check(conf)
        self.conf = conf
        self._rng = np.random.default_rng(seed)
        self._recent: deque[bool] = deque(maxlen=conf.window)
        self._spent = 0  # steps the human has acted so far
        self.begin_episode()

    @property
    def success_rate(self) -> float:
        """Autonomous success over the last ``window`` episodes; those not played yet count as failures.

        Else one lucky first episode would silence the human for the second.
        """
        return sum(self._recent) / self.conf.window

    @property
    def probability(self) -> float:
        """The chance that a takeover that is due happens."""
        if self.conf.schedule is Schedule.brief:
            return self.conf.probability * (1 - self.success_rate)
        if self.conf.schedule is Schedule.long:
            return self.conf.probability
        return float(self.conf.schedule is Schedule.always)

    @property
    def takeover_started(self) -> bool:
        """Whether the step last asked about is the first of a takeover; the loop then resets the human."""
        return self._started

    def begin_episode(self) -> None:
        self._acting = self._started = False
        self._since = 0  # first step of the present phase: the policy's, the human's, or waiting after a declined draw

    def human_acts(self, step: int, satisfied: bool) -> bool:
        """Whether the human chooses the action of ``step``; to be asked once per step, before acting.

        Args:
            step: number of the step in its episode, from 0.
            satisfied: whether a person would keep their hands off now (`Human.satisfied`).
        """
        was_acting = self._acting
        if was_acting and self._is_over(step, satisfied):
            self._switch(step, human=False)
        elif not was_acting and self._starts(step, satisfied):
            self._switch(step, human=True)
        self._started = self._acting and not was_acting
        self._spent += self._acting
        return self._acting

    def end_episode(self, autonomous_success: bool | None) -> None:
        """Remember how the episode ended; None when it says nothing about the policy (e.g. it was cut short)."""
        if autonomous_success is not None:
            self._recent.append(bool(autonomous_success))

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the future, as plain JSON-able values."""
        return {
            "rng": self._rng.bit_generator.state,
            "recent": list(self._recent),
            "acting": self._acting,
            "started": self._started,
            "since": self._since,
            "spent": self._spent,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, draw for draw.

        Raises:
            UserError: the state is not one of an intervention schedule.
        """
        try:
            rng = np.random.default_rng()
            rng.bit_generator.state = state["rng"]
            recent = [bool(success) for success in state["recent"]]
            acting, started, since = (bool(state["acting"]), bool(state["started"]), int(state["since"]))
            spent = int(state.get("spent", 0))  # absent in checkpoints from before there was a budget
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is not the state of an intervention schedule: {error!r}") from error
        self._rng, self._recent = rng, deque(recent, maxlen=self.conf.window)
        self._acting, self._started, self._since, self._spent = acting, started, since, spent

    def _starts(self, step: int, satisfied: bool) -> bool:
        if self._exhausted:
            return False
        if self.conf.schedule is Schedule.always:
            return True
        if self.conf.schedule is Schedule.never or satisfied or step - self._since < self._wait:
            return False
        if self._rng.random() < self.probability:
            return True
        self._since = step
        return False

    @property
    def _wait(self) -> int:
        """Steps the policy has before a takeover is due."""
        return self.conf.explore_steps * (2 if self.conf.schedule is Schedule.long else 1)

    @property
    def _exhausted(self) -> bool:
        return self.conf.budget_steps is not None and self._spent >= self.conf.budget_steps

    def _is_over(self, step: int, satisfied: bool) -> bool:
        if self._exhausted:
            return True
        return self.conf.schedule is Schedule.brief and (satisfied or step - self._since >= self.conf.max_steps)

    def _switch(self, step: int, *, human: bool) -> None:
        self._acting, self._since = human, step


def _check(conf: InterventionConf) -> None:
    for key, value, low in (
        ("explore_steps", conf.explore_steps, 0),
        ("max_steps", conf.max_steps, 1),
        ("window", conf.window, 1),
        ("budget_steps", 0 if conf.budget_steps is None else conf.budget_steps, 0),
    ):
        if value < low:
            raise ConfigError(f"must be at least {low}", where=f"intervention.{key}={value}")
    if not 0 <= conf.probability <= 1:
        raise ConfigError("must lie between 0 and 1", where=f"intervention.probability={conf.probability}")
