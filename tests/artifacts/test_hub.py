"""`hub:owner/repo@tag` goes through the real huggingface_hub, here against a small server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SHA = "5a" * 20
FILES = {"meta/info.json": b'{"codebase_version": "v3.0"}', "data/chunk-000/file-000.parquet": b"PAR1" * 100}
REPO, TAG = "somebody/so101-pick", "d-0001"


class Hub(BaseHTTPRequestHandler):
    """The download half of the Hub's HTTP interface, for one dataset repository with one tag."""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        api = f"/api/datasets/{REPO}"
        if path in (f"{api}/revision/{TAG}", f"{api}/revision/main", api):
            listing = {"id": REPO, "sha": SHA, "siblings": [{"rfilename": f} for f in FILES]}
            self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"}, body)
        elif path == f"{api}/tree/{SHA}":
            entries = [{"type": "file", "path": f, "size": len(c), "oid": "0" * 40} for f, c in FILES.items()]
            self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"}, body)
        elif path.startswith(f"{api}/revision/"):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "no such revision"}, body)
        elif path.startswith(f"/datasets/{REPO}/resolve/{SHA}/"):
            content = FILES[path.split(f"{SHA}/")[1]]
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA}, body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "no such repository"}, body)

    def _send(self, code: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


RESOLVE = """
import sys, json
from hiltk.artifacts.store import resolve
from hiltk.errors import UserError
try:
    a = resolve(sys.argv[1], "datasets", "outputs")
    files = sorted(str(p.relative_to(a.path)) for p in a.path.rglob("*") if p.is_file())
    print(json.dumps([a.ref, a.name, a.version, a.fingerprint, a.as_input(), files]))
except UserError as error:
    print(json.dumps(str(error)))
"""


def resolved(ref: str, endpoint: str, cache: Path) -> list[object] | str:
    """`resolve` in a process of its own: huggingface_hub reads its settings once, when it is imported."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", RESOLVE, ref], capture_output=True, text=True, env=env, check=True)
    answer: list[object] | str = json.loads(done.stdout)
    return answer


def test_a_tag_is_fetched_and_pinned_to_its_commit(hub: str, tmp_path: Path) -> None:
    ref, name, version, fingerprint, as_input, files = resolved(f"hub:{REPO}@{TAG}", hub, tmp_path)
    assert (ref, name, version) == (f"hub:{REPO}@{TAG}", REPO, SHA)
    assert files == sorted(FILES)
    assert as_input == {"kind": "datasets", "artifact": ref, "version": SHA, "fingerprint": fingerprint}
    for name, content in FILES.items():
        path = tmp_path / "same" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    from hiltk.artifacts.fingerprint import fingerprint as of

    assert fingerprint == of(tmp_path / "same")  # links into the cache do not show


def test_without_a_tag_the_reference_names_the_commit(hub: str, tmp_path: Path) -> None:
    assert resolved(f"hub:{REPO}", hub, tmp_path)[0] == f"hub:{REPO}@{SHA}"


@pytest.mark.parametrize("ref", [f"hub:{REPO}@d-0009", "hub:somebody/else@d-0001", "hub:not a repository"])
def test_what_is_not_there_is_one_message(hub: str, tmp_path: Path, ref: str) -> None:
    message = resolved(ref, hub, tmp_path)
    assert isinstance(message, str)
    assert "cannot be fetched from the Hub" in message
    assert ref in message


def test_no_network_is_one_message(tmp_path: Path) -> None:
    message = resolved(f"hub:{REPO}@{TAG}", "http://127.0.0.1:9", tmp_path)
    assert isinstance(message, str)
    assert "cannot be fetched from the Hub" in message
