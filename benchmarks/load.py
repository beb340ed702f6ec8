"""A load generator in a process of its own: ``python -m benchmarks.load …`` prints its figures as one line of JSON.

Closed loop: each connection sends the next request after the answer. Open loop: requests leave by the clock, and
the latency counts from when each was due, so that a stalled server cannot hide its queue.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from benchmarks.client import Raw, request_bytes


@dataclass(frozen=True, slots=True)
class Load:
    """``latencies`` in seconds; ``errors`` are answers other than 2xx; ``seconds`` until the last answer."""

    latencies: list[float]
    errors: int
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0


def run(
    port: int,
    path: str,
    *,
    connections: int,
    count: int = 0,
    seconds: float = 0,
    rate: float = 0,
    method: str = "POST",
    body: str = "{}",
) -> Load:
    """Run a generator to its end: ``count`` requests, or ``seconds`` long, closed loop unless ``rate`` is given."""
    command = [
        sys.executable, "-m", "benchmarks.load", str(port), path, "--connections", str(connections),
        "--count", str(count), "--seconds", str(seconds), "--rate", str(rate), "--method", method, "--body", body,
    ]  # fmt: skip
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Load(**json.loads(out))


class _Generator:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._request = request_bytes(options.method, options.path, options.body.encode())
        self._lock = threading.Lock()
        self._sent = 0
        self._latencies: list[float] = []
        self._errors = 0
        self._begin = 0.0

    def run(self) -> Load:
        made = [Raw(self._options.port) for _ in range(self._options.connections)]
        threads = [threading.Thread(target=self._connection, args=(one,)) for one in made]
        self._begin = time.perf_counter() + 0.01
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Load(self._latencies, self._errors, time.perf_counter() - self._begin)

    def _next(self) -> float | None:
        """When the next request is due, None at the end."""
        with self._lock:
            number = self._sent
            self._sent += 1
        options = self._options
        if options.count and number >= options.count:
            return None
        due = self._begin + (number / options.rate if options.rate else 0)
        if options.seconds and (due if options.rate else time.perf_counter()) > self._begin + options.seconds:
            return None
        return due

    def _connection(self, raw: Raw) -> None:
        while (due := self._next()) is not None:
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            started = due if self._options.rate else time.perf_counter()
            status = raw.send(self._request)
            spent = time.perf_counter() - started
            with self._lock:
                if 200 <= status < 300:
                    self._latencies.append(spent)
                else:
                    self._errors += 1
        raw.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--method", default="POST")
    parser.add_argument("--body", default="{}")
    load = _Generator(parser.parse_args()).run()
    print(json.dumps({"latencies": load.latencies, "errors": load.errors, "seconds": load.seconds}))


if __name__ == "__main__":
    main()
