"""What a keeper and its client send each other, as plain JSON: never pickles, which run what they contain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hiltk.errors import UserError
from hiltk.findings import Finding, Severity
from hiltk.robots.arm_file import ArmFile, CameraFile, EmulatedFile, JointCalibration, SafetyFile
from hiltk.robots.bus import Reading
from hiltk.robots.safety import ArmStopped

# Of a reading, six of each.
NUMBERS = ("joints_deg", "speed_deg_s", "load", "voltage_v", "temperature_c", "current_ma", "status", "moving")


@dataclass
class Job:
    """What a keeper is told when it starts, as JSON.

    Attributes:
        arm: the arm's file.
        path: where that file is, beside which an emulated arm keeps its state.
        fps: rate of the commands.
        log: file for a row per reading; empty: none.
    """

    arm: ArmFile
    path: str
    fps: float
    log: str = ""


def job_of(plain: Mapping[str, Any]) -> Job:
    arm = dict(plain["arm"])
    arm["calibration"] = {joint: JointCalibration(**one) for joint, one in arm["calibration"].items()}
    arm["cameras"] = {name: CameraFile(**one) for name, one in arm["cameras"].items()}
    arm["safety"], arm["emulated"] = SafetyFile(**arm["safety"]), EmulatedFile(**arm["emulated"])
    return Job(**{**plain, "arm": ArmFile(**arm)})


def reading_words(reading: Reading) -> dict[str, Any]:
    numbers = {name: getattr(reading, name).tolist() for name in NUMBERS}
    return {**numbers, "stamp_s": reading.stamp_s, "fresh": reading.fresh}


def reading_of(words: Mapping[str, Any]) -> Reading:
    arrays = {name: np.array(words[name], dtype=np.float64) for name in NUMBERS}
    arrays["status"], arrays["moving"] = arrays["status"].astype(int), arrays["moving"].astype(bool)
    return Reading(**arrays, stamp_s=words["stamp_s"], fresh=words["fresh"])


def finding_words(finding: Finding) -> dict[str, Any]:
    severity = finding.severity.value if finding.severity else None
    return {**asdict(finding), "severity": severity, "evidence": dict(finding.evidence)}


def finding_of(words: dict[str, Any]) -> Finding:
    return Finding(**{**words, "severity": Severity(words["severity"]) if words["severity"] else None})


def error_words(error: Exception) -> dict[str, Any]:
    if isinstance(error, UserError):
        words: dict[str, Any] = {"what": error.what, "where": error.where, "fix": error.fix}
        if isinstance(error, ArmStopped):
            words |= {"code": error.code, "goes_on": error.goes_on}
        return {"error": words}
    return {"error": {"what": f"the keeper failed: {error!r}", "where": "its log", "fix": ""}}


def error_of(words: dict[str, Any]) -> UserError:
    if "code" in words:
        return ArmStopped(**words)
    return UserError(words["what"], where=words["where"], fix=words["fix"])


def summary(error: Exception) -> str:
    return error.what if isinstance(error, UserError) else repr(error)
