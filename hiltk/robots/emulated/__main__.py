"""See `hiltk.robots.emulated.process`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hiltk.errors import HiltkError
from hiltk.robots.emulated.process import main
from hiltk.robots.emulated.wire import Settings

if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), Settings(**json.load(sys.stdin)))
    except HiltkError as error:
        print(json.dumps({"error": [error.what, error.where, error.fix]}), flush=True)
