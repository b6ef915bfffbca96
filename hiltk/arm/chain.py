"""A serial chain of hinges read off a MuJoCo model, with vectorised forward kinematics in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce

import mujoco
import numpy as np

from hiltk.errors import UserError


@dataclass(frozen=True)
class Chain:
    """Hinges between a base body and a site, J of them.

    Attributes:
        links: (J, 4, 4) each moving body's frame in its parent's (the first in the base's), at its zero.
        axes: (J, 3) hinge axis, unit length, in the moving body.
        anchors: (J, 3) a point on the axis, metres, in the moving body.
        zero: (J,) joint angle, rad, at which the links are as given.
        limits: (J, 2) lowest and highest joint angle, rad.
        tool: (4, 4) the site in the last body.
    """

    links: np.ndarray
    axes: np.ndarray
    anchors: np.ndarray
    zero: np.ndarray
    limits: np.ndarray
    tool: np.ndarray

    def poses(self, angles_rad: np.ndarray) -> np.ndarray:
        """Transforms (..., 4, 4) of the site in the base's frame for joint angles (..., J)."""
        return reduce(np.matmul, self._moved_links(np.asarray(angles_rad, dtype=np.float64))) @ self.tool

    def _moved_links(self, angles_rad: np.ndarray) -> Iterator[np.ndarray]:
        turn = (angles_rad - self.zero)[..., None, None]
        sine, versine = np.sin(turn), 2 * np.sin(turn / 2) ** 2
        for i, (by_sine, by_versine) in enumerate(self._factors):
            yield (self.links[i] + sine[..., i, :, :] * by_sine + versine[..., i, :, :] * by_versine)

    @cached_property
    def _factors(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per joint, what sin(q) and 1 - cos(q) multiply: Rodrigues' formula with the link's frame multiplied in."""
        factors = []
        for link, axis, anchor in zip(self.links, self.axes, self.anchors, strict=True):
            cross = np.cross(np.eye(3), axis)  # cross @ v == axis x v
            blocks = (np.column_stack([block, -block @ anchor]) for block in (cross, cross @ cross))
            by_sine, by_versine = (link @ np.vstack([block, np.zeros(4)]) for block in blocks)
            factors.append((by_sine, by_versine))
        return factors


def read_chain(model: mujoco.MjModel, joints: tuple[str, ...], site: str) -> Chain:
    """The chain that ends in ``site`` and moves by ``joints``, base first.

    Raises:
        UserError: the site does not hang on exactly these joints in this order, one body each.
    """
    bodies = _bodies_to(model, model.site_bodyid[model.site(site).id])
    first = model.jnt_bodyid[model.joint(joints[0]).id]
    bodies = bodies[bodies.index(first) :] if first in bodies else bodies
    found = [name for body in bodies for name in _joint_names(model, body)]
    if found != list(joints) or any(model.body_jntnum[body] > 1 for body in bodies):
        raise UserError(
            f"'{site}' must hang on the joints {', '.join(joints)} in this order, one body each",
            where=f"joints on its way from the base: {', '.join(found) or 'none'}",
        )
    links, frame = [], np.eye(4)
    for body in bodies:
        frame = frame @ _transform(model.body_pos[body], model.body_quat[body])
        if model.body_jntnum[body]:
            links.append(frame)
            frame = np.eye(4)
    ids = [model.joint(name).id for name in joints]
    return Chain(
        links=np.array(links),
        axes=model.jnt_axis[ids].copy(),
        anchors=model.jnt_pos[ids].copy(),
        zero=model.qpos0[model.jnt_qposadr[ids]].copy(),
        limits=model.jnt_range[ids].copy(),
        tool=frame @ _transform(model.site(site).pos, model.site(site).quat),
    )


def _bodies_to(model: mujoco.MjModel, body: int) -> list[int]:
    """Ids of the bodies from the world's child down to ``body``."""
    path = []
    while body > 0:
        path.append(int(body))
        body = model.body_parentid[body]
    return path[::-1]


def _joint_names(model: mujoco.MjModel, body: int) -> list[str]:
    first = model.body_jntadr[body]
    return [model.joint(joint).name for joint in range(first, first + model.body_jntnum[body])]


def _transform(position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """The 4x4 transform of a position (3,) and a unit quaternion (4,), scalar first."""
    matrix, rotation = np.eye(4), np.empty(9)
    mujoco.mju_quat2Mat(rotation, quaternion)
    matrix[:3, :3], matrix[:3, 3] = rotation.reshape(3, 3), position
    return matrix
