"""The monkey: starts the server, kills it at random moments, starts it again; at the end it lets it be.

It notes every kill with the processes that the server had, so that the auditor can look for what is left of them.
It ends, and stops the server with it, on SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.servers import ROOT, clean_environment

MEAN_S = 4.0
LONGEST_S = 15.0
READY_S = 60.0


class Monkey:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.url = f"http://127.0.0.1:{options.port}"
        self.server: subprocess.Popen[bytes] | None = None
        self.journal = options.journal.open("a", encoding="utf-8")
        self.log = options.log.open("ab")
        self.stopping = False

    def note(self, what: str, **more: Any) -> None:
        self.journal.write(json.dumps({"at": time.time(), "what": what, **more}) + "\n")
        self.journal.flush()

    def start(self) -> None:
        command = [sys.executable, "-m", "service", "serve", "--data", str(self.options.data), "--auth", "none"]
        command += ["--port", str(self.options.port)]
        if self.options.database:
            command += ["--database", self.options.database]
        self.server = subprocess.Popen(
            command,
            stdout=self.log,
            stderr=self.log,
            cwd=ROOT,
            env=clean_environment() | {"PYTHONPATH": str(ROOT)} | _test_switches(),
        )

    def wait_ready(self) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < READY_S:
            assert self.server is not None
            if self.server.poll() is not None:
                self.note("refused", code=self.server.returncode)
                raise SystemExit(f"the server did not start: {self.server.returncode}")
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer:
                    if answer.status == 200:
                        self.note("ready", after=round(time.monotonic() - begun, 3))
                        return
            except OSError:
                time.sleep(0.05)
        self.note("never ready")
        raise SystemExit("the server did not get ready")

    def kill(self, how: str) -> None:
        assert self.server is not None
        left = descendants(self.server.pid)
        self.server.kill()
        self.server.wait()
        self.note("kill", how=how, processes=left)

    def run(self) -> None:
        self.start()
        self.wait_ready()
        self.note("begun")
        kills = 0
        while kills < self.options.kills and not self.stopping:
            time.sleep(min(LONGEST_S, self.random.expovariate(1 / MEAN_S)))
            if self.random.random() < 0.1:
                assert self.server is not None
                self.server.send_signal(signal.SIGSTOP)
                time.sleep(self.random.uniform(0.5, 3))
                self.server.send_signal(signal.SIGCONT)
                self.note("stopped for a while")
                continue
            self.kill("running")
            kills += 1
            long = self.options.long_pauses and self.random.random() < 0.1
            time.sleep(70 if long else self.random.uniform(0, 5))
            self.start()
            if kills < self.options.kills and self.random.random() < 0.2:
                time.sleep(self.random.uniform(0, 1))
                self.kill("starting")
                kills += 1
                self.start()
            self.wait_ready()
        self.note("done", kills=kills)
        while not self.stopping:
            time.sleep(0.1)
        assert self.server is not None
        left = descendants(self.server.pid)
        self.server.terminate()
        self.note("stopped", code=self.server.wait(60), processes=left)


def _test_switches() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("LANNER_TEST_")}


def descendants(pid: int) -> list[tuple[int, str]]:
    """Pids below a process with the moment each began, which tells it from a later one of the same number."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append((int(entry.name), fields[19]))
    found, level = [], [pid]
    while level:
        below = [child for parent in level for child in children.get(parent, ())]
        found.extend(below)
        level = [child for child, _ in below]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--database", default="")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--long-pauses", action="store_true", help="one pause in ten is longer than adoption waits")
    monkey = Monkey(parser.parse_args())

    def stop(*_: object) -> None:
        monkey.stopping = True

    signal.signal(signal.SIGTERM, stop)
    monkey.run()


if __name__ == "__main__":
    main()
