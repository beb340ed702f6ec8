"""A `lanner serve` of its own in another process, as a person would start it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import IO, Any

from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that was free a moment ago; the tests of one machine do not race for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def lanner(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None, output: IO[str] | None = None
) -> subprocess.Popen[str]:
    """Start the command line of this checkout. What talks a lot gets a file: nobody reads a pipe before the end."""
    return subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        stdout=output or subprocess.PIPE,
        stderr=output or subprocess.PIPE,
        text=True,
        cwd=cwd or ROOT,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)} | (env or {}),
    )


def run_lanner(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None, timeout_s: float = 50
) -> subprocess.CompletedProcess[str]:
    """Run the command line of this checkout to its end."""
    process = lanner(*arguments, env=env, cwd=cwd)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"lanner {' '.join(arguments)} did not end: {out}{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def clean_environment() -> dict[str, str]:
    """The environment without anything that configures Lanner; scripts are processes, whatever engine is here."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANNER_", "SECRET_", "ENV_"))}
    return kept | {"LANNER_TASKS__DEFAULT_TASK_RUNNER": "process"}


class LannerServer:
    """Use as a context manager; ``call`` speaks JSON to it."""

    def __init__(self, data: Path, *arguments: str, env: dict[str, str] | None = None, auth: str = "none") -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = ["serve", "--data", str(data), "--port", str(self.port), "--auth", auth, *arguments]
        self.env = env or {}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> LannerServer:
        self.process = lanner(*self.arguments, env=self.env)
        until(self._ready, f"{self.url}/health/ready", 30)
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"lanner serve ended with {self.process.returncode}: {self.process.stderr.read()}")  # type: ignore[union-attr]
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """One call below /api/v1; returns the parsed answer."""
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data=body, method=method)
        if body is not None:
            request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.communicate(timeout=45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError("the server did not stop") from None
        return int(self.process.returncode)

    def __enter__(self) -> LannerServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
