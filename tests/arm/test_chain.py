import mujoco
import numpy as np
import pytest

from hiltk.arm.chain import read_chain
from hiltk.errors import UserError


def crooked_arm(rng: np.random.Generator) -> mujoco.MjModel:
    """Three hinges about odd axes through odd points, one with a reference angle, with fixed bodies between."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    body = spec.worldbody.add_body(pos=rng.normal(size=3), quat=rng.normal(size=4))  # the base stands anywhere
    for i in range(3):
        body = body.add_body(pos=rng.normal(size=3), quat=rng.normal(size=4), mass=1, inertia=[1, 1, 1])
        body.add_joint(name=f"j{i}", axis=rng.normal(size=3), pos=rng.normal(size=3), ref=0.3 * i, range=[-2, 2])
        body = body.add_body(pos=rng.normal(size=3), quat=rng.normal(size=4))
    body.add_site(name="tip", pos=rng.normal(size=3), quat=rng.normal(size=4))
    return spec.compile()


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_mujoco(seed):
    rng = np.random.default_rng(seed)
    model = crooked_arm(rng)
    data = mujoco.MjData(model)
    chain = read_chain(model, ("j0", "j1", "j2"), "tip")
    base_rotation, base_position = np.empty(9), model.body_pos[1]
    mujoco.mju_quat2Mat(base_rotation, model.body_quat[1])
    base_rotation = base_rotation.reshape(3, 3)
    angles = rng.uniform(-2, 2, (20, 3))
    for q, pose in zip(angles, chain.poses(angles), strict=True):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        in_base = base_rotation.T @ (data.site("tip").xpos - base_position)
        np.testing.assert_allclose(pose[:3, 3], in_base, atol=1e-12)
        np.testing.assert_allclose(pose[:3, :3], base_rotation.T @ data.site("tip").xmat.reshape(3, 3), atol=1e-12)


def test_any_leading_dimensions():
    chain = read_chain(crooked_arm(np.random.default_rng(0)), ("j0", "j1", "j2"), "tip")
    angles = np.random.default_rng(1).uniform(-2, 2, (4, 5, 3))
    poses = chain.poses(angles)
    assert poses.shape == (4, 5, 4, 4)
    np.testing.assert_allclose(chain.poses(angles[2, 3]), poses[2, 3], atol=1e-14)


@pytest.mark.parametrize("joints", [("j1", "j0", "j2"), ("j0", "j1"), ("j0", "j2")])
def test_refuses_another_order(joints):
    with pytest.raises(UserError, match="in this order"):
        read_chain(crooked_arm(np.random.default_rng(0)), joints, "tip")


def test_refuses_a_site_elsewhere():
    spec = mujoco.MjSpec.from_string(
        "<mujoco><worldbody><site name='tip'/><body><joint name='j0'/><geom size='1'/></body></worldbody></mujoco>"
    )
    with pytest.raises(UserError, match="'tip' must hang on the joints j0"):
        read_chain(spec.compile(), ("j0",), "tip")
