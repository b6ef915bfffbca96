"""Settings that several commands share, checked before any work begins."""

from __future__ import annotations

from hiltk.config.commands import ComputeConf
from hiltk.config.setting import check_choices
from hiltk.errors import ConfigError


def check_process(conf: ComputeConf) -> None:
    """Refuse a seed or a number of threads that cannot be meant, and every choice that is none.

    Raises:
        ConfigError: naming the key.
    """
    if conf.seed < 0:
        raise ConfigError("a seed cannot be negative", where=f"seed={conf.seed}", fix="seed=0")
    if conf.threads < 1:
        raise ConfigError("at least one thread is needed", where=f"threads={conf.threads}", fix="threads=1")
    check_choices(conf)
