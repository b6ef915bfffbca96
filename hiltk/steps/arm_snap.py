"""`hiltk arm snap`: pictures of every camera, for a look and for `hiltk diagnose encoder sets=[A,B]`."""

from __future__ import annotations

import time

from hiltk.console import say
from hiltk.errors import ConfigError, UserError
from hiltk.robots.arm_store import chosen_arm
from hiltk.robots.cameras import Cameras, image_spec
from hiltk.robots.snaps import SnapWriter
from hiltk.steps.arm_common import emulator_of


def run(name: str, *, arm: str, root: str, count: int, every: float, size: int) -> None:
    """Take ``count`` pictures, ``every`` seconds, and add them to ``ROOT/snaps/NAME``.

    Args:
        size: pixels of what networks see, height and width.

    Raises:
        UserError: a camera cannot be used, or the set is another arm's.
        ConfigError: a number that cannot be meant.
    """
    if count < 1 or every < 0 or size < 1:
        raise ConfigError("a picture at least, of a pixel at least", where="--count, --every, --size")
    file, path = chosen_arm(arm)
    if not file.cameras:
        raise UserError(f"the arm '{file.name}' has no cameras", where=str(path), fix="`hiltk doctor` lists them")
    images = [image_spec(camera, one, size, size) for camera, one in file.cameras.items()]
    writer = SnapWriter(root, name, file, images)
    with emulator_of(file, path) as emulator, Cameras(file, list(file.cameras), emulator) as cameras:
        for number in range(count):
            if number:
                time.sleep(every)
            pictures = cameras.read()
            ages = {camera: round(picture.age_s, 4) for camera, picture in pictures.items()}
            writer.add({camera: picture.image for camera, picture in pictures.items()}, ages)
    taken = f"{count} picture{'s' * (count > 1)} of {', '.join(file.cameras)}"
    say(f"{writer.folder}: {taken}, {len(writer)} in all")
    say(f"with another set: hiltk diagnose encoder POLICY sets=[{name},OTHER]")
