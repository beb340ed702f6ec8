"""One limited renderer process: started bare, spoken to over a pipe pair, killed when its time is over.

The pool and what a process may ask for are in ``renderer``.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from namespaces.errors import Unavailable
from namespaces.expressions.failures import LimitReached
from runner.renderer_frames import length_of, unpacked

_CODE = "import sys; sys.path[:0] = sys.argv[1:]; from runner.renderer_child import main; main()"
_LIBRARIES = ("jinja2", "markupsafe", "orjson", "yaml", "jq", "amazon", "holidays", "babel", "cryptography", "tzdata",
              "cffi", "_cffi_backend", "dateutil", "six", "jsonconversion")  # fmt: skip
_START_S = 30.0


@lru_cache(maxsize=1)
def _search_path() -> list[str]:
    """The folders that hold our code and the libraries which templates may need, each once."""
    found = [str(Path(__file__).resolve().parent.parent)]
    for name in _LIBRARIES:
        spec = find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec else []
        if spec and spec.origin and not places:
            places = [spec.origin]
        found += [str(Path(place).parent) for place in places]
    return list(dict.fromkeys(found))


class Stopped(Exception):
    """The process ended, or was ended, in the middle of a job."""


class RendererProcess:
    """One renderer process and its pipe pair; used by one thread at a time."""

    def __init__(self, python: str) -> None:
        self.jobs = 0
        self._allowed = _START_S
        self._popen = subprocess.Popen(
            [python, "-I", "-S", "-B", "-X", "utf8", "-c", _CODE, *_search_path()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            close_fds=True,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._sink = self._popen.stdin.fileno()
        self._source = self._popen.stdout.fileno()
        os.set_blocking(self._sink, False)
        os.set_blocking(self._source, False)
        self._left = _START_S
        try:
            self.receive(None)
        except (Stopped, LimitReached) as error:
            self.kill()
            raise Unavailable("a renderer process did not start", hint="see `lanner doctor`") from error

    def allow(self, seconds: float) -> None:
        """The time that the process may take from now on; only waiting for it counts."""
        self._left = seconds
        self._allowed = seconds

    def kill(self) -> None:
        """Ends the process at once and takes its exit status."""
        self._popen.kill()
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what was not read goes with the process
                    stream.close()
        self._popen.wait()

    def _wait(self, *, write: bool) -> None:
        began = time.monotonic()
        fd = self._sink if write else self._source
        poller = select.poll()
        poller.register(fd, select.POLLOUT if write else select.POLLIN)
        ready = poller.poll(max(0, int(self._left * 1000)) + 1)
        self._left -= time.monotonic() - began
        if not ready:
            raise LimitReached(f"the expression took more than {self._allowed:g} s", limit="render_time")

    def send(self, frame: bytes) -> None:
        view = memoryview(frame)
        while view:
            try:
                view = view[os.write(self._sink, view) :]
            except BlockingIOError:
                self._wait(write=True)
            except BrokenPipeError as error:
                raise Stopped from error

    def receive(self, found: Callable[[int], object] | None) -> dict[str, Any]:
        """The next message. Raises :class:`LimitReached` after the allowed time, :class:`Stopped` at the end."""
        return unpacked(self._exactly(length_of(self._exactly(4))), found)

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            try:
                part = os.read(self._source, min(count, 1 << 20))
            except BlockingIOError:
                self._wait(write=False)
                continue
            if not part:
                raise Stopped
            parts.append(part)
            count -= len(part)
        return b"".join(parts)
