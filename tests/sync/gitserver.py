"""A real Git server over HTTP on loopback, with the faults a network has: auth, redirects, hanging, cut replies."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

BACKEND = "/usr/lib/git-core/git-http-backend"


class GitServer(ThreadingHTTPServer):
    """``password`` asks for Basic auth; ``redirect_to`` answers 301; ``hang`` never answers; ``cut`` ends packs early;
    ``status`` answers with it."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.password: str | None = None
        self.redirect_to: str | None = None
        self.cut: int | None = None
        self.status: int | None = None
        self.hang = False
        self.seen: list[str] = []
        """Authorization headers as they came."""
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    def url(self, name: str = "remote.git") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: GitServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        if length is not None:
            self._answer(self.rfile.read(int(length)))
            return
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        server = self.server
        given = self.headers.get("Authorization", "")
        server.seen.append(given)
        if server.hang:
            server.released.wait(60)
            self.close_connection = True
            return
        if server.status is not None:
            self._plain(server.status)
            return
        if server.redirect_to is not None:
            self._plain(301, {"Location": server.redirect_to + self.path.removeprefix("/remote.git")})
            return
        if server.password is not None:
            wanted = base64.b64encode(f"x-access-token:{server.password}".encode()).decode()
            if given != f"Basic {wanted}":
                self._plain(401, {"WWW-Authenticate": 'Basic realm="git"'})
                return
        self._backend(body)

    def _plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _backend(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run([BACKEND], input=body, env=environment, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        headers = {name.lower(): value for name, value in lines}
        self.send_response(int(headers.pop("status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.cut is not None and self.command == "POST" and b"PACK" in content[:200_000]:
            content = content[: content.index(b"PACK") + self.server.cut]
            self.close_connection = True
        self.wfile.write(content)


@contextmanager
def serving(root: Path) -> Iterator[GitServer]:
    server = GitServer(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
