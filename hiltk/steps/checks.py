"""Settings that several commands share, checked before any work begins."""

from __future__ import annotations

from hiltk.config.commands import ComputeConf
from hiltk.errors import ConfigError, nearest

DEVICES = ("auto", "cpu", "cuda")


def check_process(conf: ComputeConf) -> None:
    """Refuse a seed, a number of threads or a device that cannot be meant.

    Raises:
        ConfigError: naming the key.
    """
    if conf.seed < 0:
        raise ConfigError("a seed cannot be negative", where=f"seed={conf.seed}", fix="seed=0")
    if conf.threads < 1:
        raise ConfigError("at least one thread is needed", where=f"threads={conf.threads}", fix="threads=1")
    if conf.device not in DEVICES:
        hint = nearest(conf.device, DEVICES) or f"one of: {', '.join(DEVICES)}"
        raise ConfigError(f"unknown device '{conf.device}'", where=f"device={conf.device}", fix=hint)
