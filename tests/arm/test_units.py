import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiltk.arm.units import to_degrees, to_radians

joint_vectors = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=0, max_dims=2, max_side=4).map(lambda shape: (*shape, 6)),
    elements=st.floats(-400, 400),
)


def test_known_values():
    np.testing.assert_allclose(to_radians([180, -90, 0, 45, 30, 0])[:5], np.array([1, -0.5, 0, 0.25, 1 / 6]) * np.pi)
    assert to_radians([0, 0, 0, 0, 0, 0])[5] == -0.174533  # closed: the URDF's lower limit
    np.testing.assert_allclose(to_radians([0, 0, 0, 0, 0, 100])[5], -0.174533 + 1.919862, rtol=0, atol=1e-15)
    np.testing.assert_allclose(to_radians([0, 0, 0, 0, 0, 50])[5], 0.785398, rtol=0, atol=1e-15)


@given(joint_vectors)
def test_there_and_back(joints):
    np.testing.assert_allclose(to_degrees(to_radians(joints)), joints, rtol=1e-14, atol=1e-12)
    np.testing.assert_allclose(to_radians(to_degrees(joints)), joints, rtol=1e-14, atol=1e-12)


@given(joint_vectors)
def test_inputs_stay_as_they_were(joints):
    before = joints.copy()
    to_radians(joints)
    to_degrees(joints)
    np.testing.assert_array_equal(joints, before)
