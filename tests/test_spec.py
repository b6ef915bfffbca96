from __future__ import annotations

from pathlib import Path

import pytest

from hiltk.errors import UserError
from hiltk.spec import (
    JOINT_PARTS,
    ActionSpec,
    Dimension,
    GripperFormat,
    ImageSpec,
    Spec,
    StateSpec,
    Stats,
    compare,
    require_compatible,
)


def full_spec() -> Spec:
    return Spec(
        task="lift",
        state=StateSpec(
            [
                Dimension("elbow_flex.pos", "deg", -96, 96),
                Dimension("ee.x", "m", 0, 0.4, "base"),
            ]
        ),
        action=ActionSpec([Dimension("delta_x", "1", -1, 1, "base"), Dimension("gripper", "1", -1, 1)]),
        images=[ImageSpec("wrist", 64, 64, 480, 640, [0, 80, 480, 480])],
        stats={"observation.state": Stats([1.0], [2.0], [0.0], [3.0], "demos")},
    )


def test_a_spec_survives_its_file(tmp_path: Path) -> None:
    full_spec().save(tmp_path / "spec.yaml")
    again = Spec.load(tmp_path / "spec.yaml")
    assert again == full_spec()
    assert again.fingerprint() == full_spec().fingerprint()


def test_any_change_changes_the_fingerprint() -> None:
    other = full_spec()
    other.images[0].crop[0] = 1
    assert other.fingerprint() != full_spec().fingerprint()


def test_differences_are_named() -> None:
    other = full_spec()
    other.state.dims[0].unit = "rad"
    other.action.gripper = GripperFormat.discrete3
    other.fps = 30.0
    assert [str(d) for d in compare(full_spec(), other)] == [
        "fps: 10.0 against 30.0",
        "state.dims.elbow_flex.pos.unit: 'deg' against 'rad'",
        "action.gripper: 'continuous' against 'discrete3'",
    ]


def test_a_reordered_state_differs() -> None:
    other = full_spec()
    other.state.dims.reverse()
    assert [d.path for d in compare(full_spec(), other)] == ["state.dims.order"]


def test_incompatible_specs_are_refused_with_both_values_and_names() -> None:
    other = full_spec()
    other.state.dims[0].unit = "rad"
    with pytest.raises(
        UserError,
        match=r"demos@d-0001 and env=so101_sim do not fit(.|\n)*'deg' against 'rad'",
    ):
        require_compatible(
            full_spec(),
            other,
            JOINT_PARTS,
            left_name="demos@d-0001",
            right_name="env=so101_sim",
        )


def test_what_only_describes_may_differ() -> None:
    other = full_spec()
    other.images[0].native_height = 64
    other.images[0].crop = []
    other.state.dims[0].low = -90
    other.reward.threshold = 0.9
    require_compatible(full_spec(), other, JOINT_PARTS, left_name="a", right_name="b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fpss: 10", "not a valid spec"),
        ("fps: fast", "not a valid spec"),
        ("- 1", "not a mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_nonsense_is_refused_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        Spec.load(tmp_path / "spec.yaml")
    assert "spec.yaml" in str(caught.value)


def test_a_missing_spec_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fix-actions"):
        Spec.load(tmp_path / "spec.yaml")
