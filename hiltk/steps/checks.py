"""Settings that several commands share, checked before any work begins."""

from __future__ import annotations

from hiltk.agents.compute import AUTO, torch_device
from hiltk.config.commands import ComputeConf
from hiltk.config.setting import check_choices
from hiltk.errors import ConfigError


def check_process(conf: ComputeConf) -> None:
    """Refuse a seed, a number of threads or a device that cannot be meant, and every choice that is none.

    Raises:
        ConfigError: naming the key.
    """
    if not 0 <= conf.seed < 2**63:
        raise ConfigError("a seed is a number from 0 to 2^63 - 1", where=f"seed={conf.seed}", fix="seed=0")
    if conf.threads < 1:
        raise ConfigError("at least one thread is needed", where=f"threads={conf.threads}", fix="threads=1")
    if conf.device != AUTO:
        torch_device(conf.device)
    check_choices(conf)
