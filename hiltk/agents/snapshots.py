"""Starting DrQ-v2, or its policy alone, from a RoboBase / Genesis snapshot: ``{"agent": state_dict}`` in torch's file.

Nothing is left to chance (devlog 041's loader skipped what did not fit): every parameter is loaded, or named by the
user as one that may be left out, or the file is refused. No code from the file is ever run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from hiltk.agents.drqv2 import DrqAgent, DrqPolicy
from hiltk.agents.weights import require_finite
from hiltk.errors import ConfigError, UserError, nearest

SUFFIXES = (".pt", ".pth")

# RoboBase's names and ours. Its layers are numbered with an identity between linear and activation: 0, 3, 6 are 0, 2, 4
# here; its output layer stands apart. A convolution's or layer's number is the group `layer`.
_CONVOLUTION = re.compile(r"encoder\.convs_per_cam\.(?P<view>\d+)\.(?P<layer>\d+)\.(?P<leaf>weight|bias)")
_NETWORK = re.compile(r"(?P<owner>actor\.actor_model|critic(?:_target)?\.qs\.(?P<head>\d+))\.(?P<rest>.+)")
_BOTTLENECK = re.compile(
    r"input_preprocess_modules\.(?P<part>fused_view_feats|low_dim_obs)\.(?P<layer>[01])\.(?P<leaf>weight|bias)"
)
_HIDDEN = re.compile(r"main_mlp\.(?P<layer>\d+)\.(?P<leaf>weight|bias)")
_OUTPUT = re.compile(r"out_mlp\.0\.(?P<leaf>weight|bias)")
_PARTS = {"fused_view_feats": "visual", "low_dim_obs": "state"}
# Plain types that an OmegaConf object names as those of its values.
_TYPES = {f"builtins.{t}" for t in ("bool", "dict", "float", "int", "list", "str", "tuple")}
_TYPES |= {"collections.defaultdict", "typing.Any"}
# The actor's network is registered twice, and every network carries the state of a recurrence that is not there.
_SURPLUS = re.compile(r"actor_model\..+|.+\.hidden_state")


@dataclass
class ParameterMatch:
    """How the parameters of a snapshot and of an agent go together; names are ours, of `unknown` the file's.

    Attributes:
        unused: the critics', where a policy alone is loaded.
    """

    loaded: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """One line per parameter that does not fit."""
        return [
            *(f"missing: {name}" for name in self.missing),
            *(f"mismatched: {name} {shapes}" for name, shapes in self.mismatched.items()),
            *(f"unknown: {name}" for name in self.unknown),
        ]

    def refused(self, allowed: list[str]) -> list[str]:
        """The lines about parameters that are not in ``allowed``, by name or by a dotted part that begins it."""
        return [line for line in self.lines() if not any(_covers(a, line.split(" ")[1]) for a in allowed)]


def is_snapshot(reference: str) -> bool:
    """Whether ``init=`` means a file of torch's, rather than a policy of ours."""
    return reference.endswith(SUFFIXES)


def load_snapshot(agent: object, path: Path) -> ParameterMatch:
    """Copy a snapshot's encoder, actor, critics and target critics into an agent, and say what was done.

    Args:
        agent: or a policy, which takes encoder and actor.

    Raises:
        ConfigError: it is not DrQ-v2 in RoboBase's layout, or an allowed name fits nothing.
        UserError: the file cannot be read without running code from it, or leaves parameters out that are not allowed
            to be missing. The agent is as it was then.
    """
    policy = agent.policy if isinstance(agent, DrqAgent) else agent
    if not isinstance(policy, DrqPolicy) or policy.drq.layout != "robobase":
        raise ConfigError(
            "a snapshot only fits DrQ-v2 in RoboBase's layout", where=f"init={path}", fix="agent=drqv2_robobase"
        )
    conf, own = policy.drq, _parameters(policy, agent if isinstance(agent, DrqAgent) else None)
    fit = compare(read_snapshot(path), own, layers=len(conf.hidden))
    _check_allowed(conf.init_allow_missing, fit)
    _print(fit, path)
    if refused := fit.refused(conf.init_allow_missing):
        listing = "\n".join(f"    {line}" for line in refused[:12])
        more = f"\n    and {len(refused) - 12} more" if len(refused) > 12 else ""
        raise UserError(
            f"the snapshot does not fit this configuration:\n{listing}{more}",
            where=str(path),
            fix="use its cameras, image size, state and agent.hidden, or name what may be left out: "
            "agent.init_allow_missing=[NAME,...]",
        )
    with torch.no_grad():
        for name, value in fit.loaded.items():
            own[name].copy_(value)
    return fit


def compare(state: dict[str, Tensor], own: dict[str, nn.Parameter], layers: int) -> ParameterMatch:
    """Match a RoboBase state dict with our parameters by name and shape; what we have nothing of is left alone."""
    fit, parts = ParameterMatch(), {name.split(".")[0] for name in own}
    for theirs, value in state.items():
        name = translate(theirs, layers)
        if name is not None and name.split(".")[0] not in parts:
            fit.unused.append(name)
        elif name is None or name not in own:
            fit.unknown += [] if _SURPLUS.fullmatch(theirs) else [theirs]
        elif value.shape != own[name].shape:
            fit.mismatched[name] = f"is {tuple(value.shape)} in the file, {tuple(own[name].shape)} here"
        else:
            fit.loaded[name] = value
    fit.missing = [name for name in own if name not in fit.loaded and name not in fit.mismatched]
    return fit


def translate(name: str, layers: int) -> str | None:
    """Our name of a RoboBase parameter; None where we have nothing like it.

    Args:
        layers: hidden layers of actor and critics, which number the output layer.
    """
    if m := _CONVOLUTION.fullmatch(name):
        return _numbered(f"policy.torso.encoder.trunks.{m['view']}", m["layer"], m["leaf"])
    network = _NETWORK.fullmatch(name)
    if network is None:
        return None
    owner = "target_critic" if network["owner"].startswith("critic_target") else network["owner"].split(".")[0]
    actor = owner == "actor"
    trunk = "policy.actor.trunk" if actor else f"{owner}.trunks.{network['head']}"
    head = "policy.actor.head" if actor else f"{owner}.heads.{network['head']}"
    if m := _BOTTLENECK.fullmatch(network["rest"]):
        return f"{trunk}.{_PARTS[m['part']]}.{m['layer']}.{m['leaf']}"
    if m := _HIDDEN.fullmatch(network["rest"]):
        return _numbered(head, m["layer"], m["leaf"])
    if m := _OUTPUT.fullmatch(network["rest"]):
        return f"{head}.{2 * layers}.{m['leaf']}"
    return None


def read_snapshot(path: Path) -> dict[str, Tensor]:
    """The state dict of a snapshot's agent, on the CPU.

    RoboBase also stores its configuration as OmegaConf objects. These classes, and the plain types they mention, are
    replaced by an empty one; any other class or function that the file wants to call is refused.

    Raises:
        UserError: no such file, not a snapshot, one that would have to run code, or a weight is not finite.
    """
    if not path.is_file():
        raise UserError("no such snapshot", where=str(path))
    try:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if foreign := [name for name in wanted if name not in _TYPES and not name.startswith("omegaconf.")]:
            raise UserError(
                f"the snapshot wants to run code: {', '.join(sorted(foreign))}",
                where=str(path),
                fix="where you trust the file, save its agent alone: torch.save({'agent': agent.state_dict()}, FILE)",
            )
        with torch.serialization.safe_globals([(_Nothing, name) for name in wanted]):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for damaged and foreign files
        raise UserError(f"the snapshot cannot be read: {str(error).splitlines()[0]}", where=str(path)) from error
    agent = data.get("agent") if isinstance(data, dict) else None
    if not isinstance(agent, dict) or not agent or not all(isinstance(v, Tensor) for v in agent.values()):
        raise UserError("this is not a snapshot", where=str(path), fix="it holds {'agent': state_dict}")
    require_finite(agent, path)
    return {str(k): v for k, v in agent.items()}


class _Nothing:
    """What a configuration object in a snapshot becomes: nothing of it is kept."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _parameters(policy: DrqPolicy, agent: DrqAgent | None) -> dict[str, nn.Parameter]:
    critics = {"critic": agent.critic, "target_critic": agent.target_critic} if agent else {}
    parts: dict[str, nn.Module] = {"policy": policy, **critics}
    return {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters()}


def _numbered(prefix: str, layer: str, leaf: str) -> str | None:
    number = int(layer)
    return f"{prefix}.{number // 3 * 2}.{leaf}" if number % 3 == 0 else None


def _covers(allowed: str, name: str) -> bool:
    return name == allowed or name.startswith(allowed + ".")


def _check_allowed(allowed: list[str], fit: ParameterMatch) -> None:
    names = [*fit.loaded, *fit.missing, *fit.mismatched, *fit.unknown, *fit.unused]
    for one in allowed:
        if not any(_covers(one, name) for name in names):
            raise ConfigError(
                f"no parameter is called '{one}'", where="agent.init_allow_missing", fix=nearest(one, names)
            )


def _print(fit: ParameterMatch, path: Path) -> None:
    console = Console()
    console.print(
        f"snapshot {path.name}: {len(fit.loaded)} parameters loaded, {len(fit.missing)} missing, "
        f"{len(fit.mismatched)} mismatched, {len(fit.unknown)} unknown"
        + (f"; {len(fit.unused)} of the critics not needed" if fit.unused else ""),
        highlight=False,
        soft_wrap=True,
    )
    for line in fit.lines():
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
