"""When a training run is good enough to end, by a test that may look after every episode.

Looking again and again at a test made for one look finds what it looks for: sooner or later luck gives any policy a
good streak. This one may be looked at as often as one likes. It is a bet against "the policy succeeds in at most
``rate`` of the episodes": a stake of 1 that is multiplied after each episode by how much likelier the outcome was under
a guess made before it than under ``rate``. While that claim is true no way of guessing makes the stake grow on average,
so it reaches 1/a at any time with a chance of at most a (Ville's inequality), also where success changes from episode
to episode. An e-process with a predictable plug-in; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random
variables by betting", arXiv 2010.09686, and Ramdas et al. 2023, "Game-theoretic statistics", arXiv 2210.01948.

What is shown is the success of the policy as it trains, exploring and judged by the run's own reward rule. Evaluation,
without exploration, finds more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from hiltk.config.commands import UntilConf
from hiltk.config.setting import require
from hiltk.learning.metrics import Row, alone

WINDOW = 20  # episodes left alone that the guess is made from


def stakes(outcomes: Sequence[bool], rate: float) -> list[float]:
    """What the stake is after each episode.

    The guess is the success of the last `WINDOW` outcomes (with half a success and half a failure more, Krichevsky and
    Trofimov 1981), so what a policy did before it could do it is forgotten. While it is not above ``rate`` nothing is
    staked.

    Args:
        outcomes: of the episodes left alone, in order.
        rate: success that is to be exceeded, above 0 and below 1.
    """
    recent: deque[bool] = deque(maxlen=WINDOW)
    logs, log = [], 0.0
    for success in outcomes:
        guess = (sum(recent) + 0.5) / (len(recent) + 1)
        if guess > rate:
            log += math.log(guess / rate) if success else math.log((1 - guess) / (1 - rate))
        recent.append(success)
        logs.append(log)
    return [math.exp(min(log, 700.0)) for log in logs]


def reached(conf: UntilConf, rows: Sequence[Row]) -> bool:
    """Whether some episode has shown success above ``conf.rate``; False where that is not set.

    A function of the metrics alone, so a resumed run ends where the uninterrupted one does.
    """
    if conf.rate is None:
        return False
    return max(stakes(alone(rows), conf.rate), default=0.0) >= 1 / (1 - conf.confidence)


def check_until(conf: UntilConf) -> None:
    """Refuse numbers out of range.

    Raises:
        ConfigError: naming the key.
    """
    if conf.rate is not None:
        require(0 < conf.rate < 1, "until.rate", conf.rate, "above 0 and below 1, or null")
    require(0 < conf.confidence < 1, "until.confidence", conf.confidence, "above 0 and below 1")
