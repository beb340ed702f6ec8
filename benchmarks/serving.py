"""A real server for a measure: ``python -m service serve`` on a free port, and what its process tree weighs."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.client import Client

ROOT = Path(__file__).resolve().parents[1]
READY_S = 60


class Server:
    """One data folder; ``start`` and ``stop`` as often as wanted. ``ready_s`` is what the last start took."""

    def __init__(self, folder: Path, *, database: str = "", config: str = "", roles: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.ready_s = 0.0
        self.begun = 0.0
        self._database = database
        self._config = config
        self._roles = roles
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"

    def start(self) -> Client:
        """Launch and wait until ``/health/ready`` says so; a client of the server."""
        command = [sys.executable, "-m", "service", "serve", "--data", str(self.folder / "data")]
        command += ["--port", str(self.port), "--auth", "none"]
        if self._database:
            command += ["--database", self._database]
        if self._config:
            written = self.folder / "lanner.yaml"
            written.write_text(self._config)
            command += ["--config", str(written)]
        if self._roles:
            command += ["--role", self._roles]
        with self.log.open("ab") as log:
            self.begun = time.perf_counter()
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=log, stderr=log)
        wait_ready(self.port, self.begun, self._process, self.log)
        self.ready_s = time.perf_counter() - self.begun
        return Client(self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def pids(self) -> list[int]:
        """The server and everything below it."""
        assert self._process is not None
        return tree(self._process.pid)

    def memory_mib(self) -> float:
        """Proportional set size of the process tree, in MiB."""
        return sum(pss_kib(pid) for pid in self.pids()) / 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()


def environment() -> dict[str, str]:
    """Defaults everywhere; scripts run with the interpreter that the baselines start, whatever `python` is here."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LANNER_")}
    return environ | {"PATH": f"{Path(sys.executable).parent}:{environ.get('PATH', '')}"}


def wait_ready(port: int, begun: float, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask every few milliseconds. Raises ``RuntimeError`` with the log's end when the server does not come up."""
    while time.perf_counter() - begun < READY_S:
        if process.poll() is not None:
            break
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.004)
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    found = [pid]
    for child in Path(f"/proc/{pid}/task").glob("*/children"):
        for word in child.read_text().split():
            found += tree(int(word))
    return found


def pss_kib(pid: int) -> int:
    """PSS; the resident size where the kernel does not show it (another user's process)."""
    for name, label in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
                if line.startswith(label):
                    return int(line.split()[1])
        except OSError:
            continue
    return 0


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lanner-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """An empty PostgreSQL database beside the one named by ``url``; an empty text stays SQLite."""
    if not url:
        yield ""
        return
    import sqlalchemy as sa

    name = f"bench_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield sa.make_url(url).set(drivername="postgresql", database=name).render_as_string(False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        engine.dispose()
