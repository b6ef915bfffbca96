"""Seeds that nobody can have tuned on: drawn from the hash of the commit that froze the settings.

A claim is made on seeds that did not exist while settings were chosen. Who wants to check one draws them again:

    uv run python -m tests.benchmarks.claim_seeds COMMIT --count 10
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess

LOWEST, HIGHEST = 10, 99_999  # settings are tuned on seeds below 10


def claim_seeds(commit: str, count: int, claim: str = "quickstart") -> list[int]:
    """Different seeds from `LOWEST` to `HIGHEST`, a function of the full hash of a commit and the claim's name."""
    found: list[int] = []
    number = 0
    while len(found) < count:
        digest = hashlib.sha256(f"{commit} {claim} {number}".encode()).digest()
        seed = LOWEST + int.from_bytes(digest[:8], "big") % (HIGHEST - LOWEST + 1)
        number += 1
        if seed not in found:
            found.append(seed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="the commit that froze the settings, e.g. its first eight digits")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--claim", default="quickstart", help="each claim draws its own")
    told = parser.parse_args()
    words = ["git", "rev-parse", "--verify", "--quiet", f"{told.commit}^{{commit}}"]
    commit = subprocess.run(words, capture_output=True, text=True).stdout.strip()
    if not commit:
        parser.error(f"there is no commit {told.commit} here")
    print(f"seeds=[{','.join(map(str, claim_seeds(commit, told.count, told.claim)))}]")


if __name__ == "__main__":
    main()
