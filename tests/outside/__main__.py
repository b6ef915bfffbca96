"""``python -m tests.outside train name=x env=desk``: hiltk, with what this adds."""

from __future__ import annotations

import tests.outside  # noqa: F401
from hiltk.cli import main

if __name__ == "__main__":
    main()
