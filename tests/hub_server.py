"""A model hub on loopback: the few endpoints huggingface_hub uses, over real HTTP, with the ways in which they fail."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_" + "a" * 34


@dataclass
class Repo:
    """Files of a repository at one commit; ``gated`` lets in nobody, or, with "ask", those who bring :data:`TOKEN`."""

    files: dict[str, bytes]
    commit: str = "c" * 40
    gated: str | None = None


@dataclass
class Hub:
    """What the server holds, how it fails, and what it was asked.

    ``cut`` is the number of bytes after which the connection breaks when a file of that name is sent next, by file, and
    ``stall`` that after which it stands still and ``stalled`` is set; of ``broken`` files no transfer ever gets further
    than a byte. ``requests`` are (method, path, Range header),
    ``sent`` the bytes of bodies by file. With ``elsewhere`` files are sent from another host, which refuses tokens.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    ranges: bool = True
    cut: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    stall: dict[str, int] = field(default_factory=dict)
    stalled: threading.Event = field(default_factory=threading.Event)
    status: int | None = None
    elsewhere: bool = False
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    url: str = ""

    def add(self, name: str, folder: Path, **about: str) -> Repo:
        """A repository of the files in ``folder``."""
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        self.repos[name] = Repo(files, **about)
        return self.repos[name]

    def asked_for(self, name: str) -> list[tuple[str, str | None]]:
        """Method and range of every request for a file."""
        return [(method, span) for method, path, span in self.requests if path.endswith(f"/{name}")]


def etag(name: str, content: bytes) -> str:
    """What the hub calls the content: the sha256 of large files, git's own digest of small ones."""
    if name.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.status is not None:
            self._send(self.hub.status, b"", body=body)
        elif match := re.fullmatch(r"/api/(?:model|dataset)s/([^/]+/[^/]+)(/auth-check|/revision/(.+))?", path):
            self._api(match[1], match[3], check=match[2] == "/auth-check", body=body)
        elif path.startswith("/elsewhere/") and self.headers.get("Authorization"):
            self._send(400, b"", body=body)
        elif match := re.fullmatch(r"/(?:elsewhere/|datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3], body=body)
        else:
            self._send(404, b"{}", body=body)

    def _known(self, name: str, revision: str | None, *, body: bool) -> Repo | None:
        repo = self.hub.repos.get(name)
        if repo is None:
            self._send(401, b"{}", body=body, **{"X-Error-Code": "RepoNotFound"})
        elif revision not in (None, "main", repo.commit):
            self._send(404, b"{}", body=body, **{"X-Error-Code": "RevisionNotFound"})
            return None
        return repo

    def _let_in(self, repo: Repo) -> bool:
        return repo.gated is None or (repo.gated == "ask" and TOKEN in self.headers.get("Authorization", ""))

    def _api(self, name: str, revision: str | None, *, check: bool, body: bool) -> None:
        repo = self._known(name, revision, body=body)
        if repo is None:
            return
        if check and not self._let_in(repo):
            self._send(403, b"{}", body=body, **{"X-Error-Code": "GatedRepo"})
            return
        about = {
            "id": name, "sha": repo.commit, "private": False, "gated": "manual" if repo.gated else False, "tags": [],
            "siblings": [_sibling(file, content) for file, content in repo.files.items()],
        }  # fmt: skip
        self._send(200, json.dumps({} if check else about).encode(), body=body)

    def _file(self, name: str, revision: str, file: str, *, body: bool) -> None:
        repo = self._known(name, revision, body=body)
        if repo is None:
            return
        if not self._let_in(repo):
            self._send(403, b"{}", body=body, **{"X-Error-Code": "GatedRepo", "X-Repo-Commit": repo.commit})
            return
        if file not in repo.files:
            self._send(404, b"{}", body=body, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
            return
        content, status = repo.files[file], 200
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{etag(file, content)}"'}
        if self.hub.elsewhere and not self.path.startswith("/elsewhere/"):
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
            headers["Location"] = self.hub.url.replace("127.0.0.1", "localhost") + "/elsewhere" + self.path
            self._send(302, b"", body=body, **headers)
            return
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span and self.hub.ranges:
            first, last = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        if self.command == "GET":
            if (stall := self.hub.stall.get(file)) is not None:
                self._stand_still(content, stall, headers)
                return
            cut = 1 if file in self.hub.broken else self.hub.cut.pop(file, None)
            self.hub.sent[file] = self.hub.sent.get(file, 0) + len(content[:cut])
            self._send(status, content, body=body, cut=cut, **headers)
        else:
            self._send(status, content, body=body, **headers)

    def _stand_still(self, content: bytes, after: int, headers: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:after])
        self.wfile.flush()
        self.hub.stalled.set()
        while self.hub.stall:
            time.sleep(0.02)
        self.close_connection = True

    def _send(self, status: int, content: bytes, *, body: bool, cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        # No connection outlives its answer: one that was left open would be found by another test.
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True


def _sibling(file: str, content: bytes) -> dict[str, object]:
    about: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": etag("", content)}
    if file.endswith(".safetensors"):
        about["lfs"] = {"size": len(content), "sha256": etag(file, content), "pointerSize": 134}
    return about


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers on a free port of this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def use(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub, in this process, ask ``hub`` and keep what it gets in ``home``.

    It reads the environment when it is imported, so its constants are set.
    """
    from huggingface_hub import constants, file_download

    values = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value)
        if hasattr(file_download, name):
            monkeypatch.setattr(file_download, name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    forget_sessions()


def forget_sessions() -> None:
    """Let huggingface_hub open its connections anew, by the constants as they are now."""
    from huggingface_hub import utils

    # It was called otherwise up to 0.36.
    getattr(utils, "close_session" if hasattr(utils, "close_session") else "reset_sessions")()
