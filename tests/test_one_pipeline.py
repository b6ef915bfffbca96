"""Images are cropped, resized and scaled in one place: a second one made policies see what they were not trained on.

Failures D1, D2, D5, S8 and S12 of the project's history were each a second copy of the preprocessing.
"""

from __future__ import annotations

import ast
from pathlib import Path

import hiltk

ROOT = Path(hiltk.__file__).parent
# Who else may change a picture's size or scale, and why what comes out reaches no network.
ALLOWED = {
    "observation.py": "the pipeline",
    "sim/renderers.py": "a simulated camera: what a driver delivers, before the pipeline",
    "rewards/augment.py": "augmentation while the classifier trains",
    "rewards/versions.py": "the same augmentation of held-out frames, whose floats become bytes again",
    "evaluation/videos.py": "films for people",
    "robots/views.py": "the page of `hiltk arm check`, for people",
    "humans/labeller.py": "a preview for people",
    "checks/images.py": "numbers about brightness and sharpness",
    "checks/subject.py": "numbers about brightness, colour and likeness",
    "data/survey.py": "numbers about brightness",
    "data/copies.py": "numbers about likeness",
    "rewards/views.py": "numbers about light, colour and likeness",
    "diagnostics/evidence.py": "numbers about brightness",
}
SCALES = {"images.py"}  # where pixels become floats: one function, which every encoder calls
RESIZERS = {"resize", "interpolate", "resized_crop", "center_crop", "thumbnail"}


def offences(source: str) -> list[int]:
    """Lines that resize a picture or scale it by 255."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            scales = name in ("div", "div_", "mul", "mul_", "true_divide") and any(map(_is_255, node.args))
            if name in RESIZERS or scales:
                found.append(node.lineno)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Mult):
            if _is_255(node.right) or _is_255(node.left):
                found.append(node.lineno)
        elif isinstance(node, ast.IfExp) and (_is_255(node.body) or _is_255(node.orelse)):
            found.append(node.lineno)
    return found


def _is_255(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in (255, 127.5, 1 / 255)


def test_the_search_finds_what_it_looks_for() -> None:
    lines = ["cv2.resize(x, (1, 1))", "x / 255.0", "x.float().div_(255)", "255 * x", "255.0 if u else 1.0", "x / 2"]
    assert offences("\n".join(lines)) == [1, 2, 3, 4, 5]


def test_no_other_code_touches_images() -> None:
    wrong = {}
    for file in ROOT.rglob("*.py"):
        name = str(file.relative_to(ROOT))
        if name not in ALLOWED.keys() | SCALES and (lines := offences(file.read_text())):
            wrong[name] = lines
    assert wrong == {}, "images are made by hiltk.observation alone; see ALLOWED for what may be an exception"


def test_states_are_normalised_in_one_place() -> None:
    """By the policy's own statistics, inside the policy (`hiltk.agents.networks.StateNormalizer`); failure S1.

    Rules say how far data would lie from a network's mean; those numbers reach no network.
    """
    found = set()
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            divides = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
            by = (node.right if isinstance(node, ast.BinOp) else node.value) if divides else None
            if isinstance(by, ast.Attribute) and by.attr == "std":
                found.add(str(file.relative_to(ROOT)))
    assert found == {"agents/networks.py", "checks/learning.py"}
