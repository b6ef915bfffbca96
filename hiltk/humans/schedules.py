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

LEAST = 4  # left-alone episodes that an estimate needs; those missing count as failures


class InterventionSchedule:
    """Decides who acts: before each episode whether the policy is left alone, else step by step, counted from 0.

    ``brief``: an episode is left alone with the chance `alone_chance`, which grows with the success of such episodes.
    In the others the policy has the first ``explore_steps`` steps, so the first a human can take is that number.
    Then a takeover is *due*. A human who is satisfied leaves it due. Otherwise one draw decides: with ``probability``
    the takeover starts at this step and lasts until the human is satisfied, for at most ``max_steps`` steps; without,
    or after it, the policy has ``explore_steps`` steps again. One draw per due takeover, not one per step: else a low
    probability would only delay the takeover instead of sparing it.

    ``long`` (the anti-pattern, for study): the policy has ``2 * explore_steps`` steps before each draw, and a takeover
    lasts to the end of the episode, satisfied or not. No episode is left alone.

    ``never`` and ``always``: as they say.

    Only episodes left alone tell how often the policy succeeds by itself. The others are biased both ways: a human
    takes over whenever success takes longer than ``explore_steps``, so counting these episodes as failures says that a
    policy cannot do what it can; and those that nobody touched are the ones that went well early, so counting these
    alone says that it can do what it cannot. Whether an episode is left alone is decided before it begins, from
    earlier ones and a random number, so nothing in the episode can have decided whether it counts. A random number and
    not every fifth episode: where strata are practised in turn, that would be the same stratum each time.

    Whatever the schedule, the human acts in at most ``budget_steps`` steps of the whole training: what learners are
    given, when they are compared.

    Raises:
        ConfigError: a number of ``conf`` is out of range.
    """

    def __init__(self, conf: InterventionConf, seed: int = 0) -> None:
        _check(conf)
        self.conf = conf
        self._rng = np.random.default_rng(seed)
        # Of each recent episode whether it succeeded; None where it was not left alone.
        self._recent: deque[bool | None] = deque(maxlen=conf.window)
        self._spent = 0  # steps the human has acted so far
        self._alone = self._acting = self._started = False
        self._since = 0  # first step of the present phase: the policy's, the human's, or waiting after a declined draw

    @property
    def success_rate(self) -> float:
        """Success of those of the last ``window`` episodes that were left alone; fewer than `LEAST` miss as failures.

        Else one lucky first episode would silence the human for the second. While the policy learns, the estimate is
        of how good it was half a window ago.
        """
        alone = [success for success in self._recent if success is not None]
        return sum(alone) / max(len(alone), min(LEAST, self.conf.window))

    @property
    def alone_chance(self) -> float:
        """The chance that the next episode is left alone: with `Schedule.brief` the success rate, but never too small.

        An episode in which no human could act anyway is one that is left alone.
        """
        if self.conf.schedule is Schedule.never or self.conf.probability == 0 or self._exhausted:
            return 1.0
        return max(self.conf.alone, self.success_rate) if self.conf.schedule is Schedule.brief else 0.0

    @property
    def never_leaves_alone(self) -> bool:
        """Whether no episode to come can be left alone, however well the others go."""
        return self.alone_chance == 0 and self.conf.budget_steps is None

    @property
    def left_alone(self) -> bool:
        """Whether it was decided before this episode that nobody takes over in it."""
        return self._alone

    @property
    def takeover_started(self) -> bool:
        """Whether the step last asked about is the first of a takeover; the loop then resets the human."""
        return self._started

    def begin_episode(self) -> None:
        """Decide whether the policy is left alone; one draw an episode, whatever the schedule.

        Draws are independent. To make up for what earlier ones gave too little of would even out the numbers, and bring
        back the rhythm of the strata: at a fifth, one of five would be left alone six times as often as another.
        """
        self._alone = bool(self._rng.random() < self.alone_chance)
        self._acting = self._started = False
        self._since = 0

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

    def end_episode(self, success: bool | None) -> None:
        """Remember how the episode ended; None when it says nothing about the policy (e.g. it was cut short)."""
        self._recent.append(bool(success) if self._alone and success is not None else None)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the future, as plain JSON-able values."""
        return {
            "rng": self._rng.bit_generator.state,
            "recent": list(self._recent),
            "alone": self._alone,
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
            recent = [None if success is None else bool(success) for success in state["recent"]]
            acting, started, since = (bool(state["acting"]), bool(state["started"]), int(state["since"]))
            spent = int(state.get("spent", 0))  # absent in checkpoints from before there was a budget
            alone = bool(state.get("alone", False))  # or from before episodes were left alone on purpose
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is not the state of an intervention schedule: {error!r}") from error
        self._rng, self._recent = rng, deque(recent, maxlen=self.conf.window)
        self._acting, self._started, self._since, self._spent = acting, started, since, spent
        self._alone = alone

    def _starts(self, step: int, satisfied: bool) -> bool:
        if self._alone or self._exhausted:
            return False
        if self.conf.schedule is Schedule.always:
            return True
        if self.conf.schedule is Schedule.never or satisfied or step - self._since < self._wait:
            return False
        if self._rng.random() < self.conf.probability:
            return True
        self._since = step
        return False

    @property
    def _wait(self) -> int:
        """Steps the policy has before a takeover is due."""
        return self.conf.explore_steps * (2 if self.conf.schedule is Schedule.long else 1)

    @property
    def spent(self) -> int:
        """Steps the human has acted in, in the whole training."""
        return self._spent

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
    for key, share in (("probability", conf.probability), ("alone", conf.alone)):
        if not 0 <= share <= 1:
            raise ConfigError("must lie between 0 and 1", where=f"intervention.{key}={share}")
