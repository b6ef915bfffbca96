"""What an environment step costs, against the floor of MuJoCo's own physics and ray casting in the same run.

Run: python -m tests.benchmarks.bench_env [--steps 300]

The floor of a step is what no implementation on this simulator can avoid: the same number of `mj_step` on the same
world with the same commands, and one raw `mj_multiRay` over the same rays. Both sides alternate, so that other load on
the machine hits them alike; the ratio is the number to look at.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mujoco
import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.poses import WRIST_ROLL_DEG
from hiltk.config.groups import GymnasiumConf, HumanConf, Renderer, So101SimConf, TaskConf
from hiltk.envs.gymnasium_env import GymnasiumEnv
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.humans.scripted import ScriptedExpert
from hiltk.sim.renderers import VISIBLE_GROUPS, gl_works

CASES: list[tuple[str, list[str], int, Renderer]] = [
    ("state only", [], 64, Renderer.cpu),
    ("wrist 64 px", ["wrist"], 64, Renderer.cpu),
    ("wrist 128 px", ["wrist"], 128, Renderer.cpu),
    ("wrist + front 128 px", ["wrist", "front"], 128, Renderer.cpu),
    ("wrist 64 px, OpenGL", ["wrist"], 64, Renderer.gl),
    ("wrist 128 px, OpenGL", ["wrist"], 128, Renderer.gl),
]


class Floor:
    """Raw MuJoCo doing the unavoidable part of a step of ``env`` in a world of its own."""

    def __init__(self, env: So101SimEnv) -> None:
        self.env, self.model = env, env.scene.model
        self.data = mujoco.MjData(self.model)
        self.substeps = round(1 / env.conf.fps / self.model.opt.timestep)
        self.rays = env.conf.image_height * env.conf.image_width
        camera = np.random.default_rng(0).normal(size=(self.rays, 3)) * 0.3 - [0, 0, 1]
        self.directions = camera / np.linalg.norm(camera, axis=1, keepdims=True)
        self.geom, self.distance = np.zeros(self.rays, np.int32), np.zeros(self.rays)
        self.normal = np.zeros(3 * self.rays)

    def copy(self) -> None:
        """Start where the environment is now."""
        self.data.qpos, self.data.qvel, self.data.ctrl = self.env.data.qpos, self.env.data.qvel, self.env.data.ctrl

    def physics(self) -> None:
        mujoco.mj_step(self.model, self.data, self.substeps)

    def cast(self) -> None:
        for name in self.env.conf.cameras:
            camera = self.env.scene.cameras[name]
            rays = (self.directions @ self.data.cam_xmat[camera].reshape(3, 3).T).ravel()
            mujoco.mj_multiRay(
                self.model, self.data, self.data.cam_xpos[camera], rays, VISIBLE_GROUPS, 1, -1,
                self.geom, self.distance, self.normal, self.rays, 4.0,
            )  # fmt: skip


def clock(call: Callable[..., object], *arguments: object) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def measure(env: So101SimEnv, steps: int) -> dict[str, float]:
    """Median milliseconds per step of the environment and of the parts of its floor."""
    expert, floor = ScriptedExpert(env, HumanConf(noise=0.2)), Floor(env)
    times: dict[str, list[float]] = {"step": [], "physics": [], "rays": [], "ik": []}
    kinematics = Kinematics()
    for step in range(steps):
        if step % 20 == 0:
            env.reset(seed=step)
            expert.reset(step)
            joints = env.joints_deg()
        action = expert.act({})
        floor.copy()
        times["step"].append(clock(env.step, action))
        times["physics"].append(clock(floor.physics))
        times["rays"].append(clock(floor.cast))
        target = kinematics.forward(joints)[0] + action[:3] * env.conf.action_scale_m
        times["ik"].append(clock(kinematics.inverse, joints, target, WRIST_ROLL_DEG))
        joints = env.joints_deg()
    return {name: float(np.median(values)) * 1e3 for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    print(f"{'':22s} {'step ms':>8s} {'steps/s':>8s} {'physics':>8s} {'rays':>8s} {'ik':>8s} {'step / floor':>13s}")
    for name, cameras, size, renderer in CASES:
        if renderer is Renderer.gl and not gl_works():
            print(f"{name:22s} no OpenGL here", file=sys.stderr)
            continue
        conf = So101SimConf(cameras=cameras, image_height=size, image_width=size, renderer=renderer)
        env = So101SimEnv(conf, TaskConf())
        ms = measure(env, steps)
        floor = ms["physics"] + (0 if renderer is Renderer.gl else ms["rays"])
        rays = "-" if renderer is Renderer.gl else f"{ms['rays']:.2f}"
        print(
            f"{name:22s} {ms['step']:8.2f} {1e3 / ms['step']:8.0f} {ms['physics']:8.2f} {rays:>8s} {ms['ik']:8.2f} "
            f"{ms['step'] / floor:13.2f}",
            flush=True,
        )
        env.close()
    compare_with_panda(steps)


def compare_with_panda(steps: int) -> None:
    """LeRobot's own simulated task, gym-hil's Panda, through the same renderer: two cameras of 128 pixels each.

    LeRobot has no simulated SO-101; this is what its HIL-SERL guide trains in. Another robot, another scene: a peer for
    the order of magnitude, taken in turn with ours.
    """
    conf = So101SimConf(cameras=["wrist", "front"], image_height=128, image_width=128, renderer=Renderer.cpu)
    ours = So101SimEnv(conf, TaskConf())
    panda = GymnasiumConf(
        id="gym_hil/PandaPickCube-v0",
        module="gym_hil",
        success_key="succeed",
        kwargs={"reset_delay_seconds": 0.0, "image_obs": True},
    )
    theirs = GymnasiumEnv(panda, TaskConf())
    ours.reset(seed=0)
    theirs.reset(seed=0)
    actions = [np.zeros(env.action_space.shape, np.float32) for env in (ours, theirs)]
    times = np.array([[clock(ours.step, actions[0]), clock(theirs.step, actions[1])] for _ in range(min(steps, 45))])
    ratio = np.median(times[:, 1] / times[:, 0])
    milliseconds = np.median(times, axis=0) * 1e3
    print(
        f"two cameras of 128 px: hiltk SO-101 {milliseconds[0]:.1f} ms, gym-hil Panda {milliseconds[1]:.1f} ms a step; "
        f"ratio {ratio:.1f}"
    )
    ours.close()
    theirs.close()


if __name__ == "__main__":
    main()
