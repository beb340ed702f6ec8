"""The monkey: starts the server, kills it at random moments, starts it again; at the end it lets it be.

A server is one process, or with ``--roles split`` one for each part, of which one at a time is killed.
It notes every kill with the processes that the server had, so that the auditor can look for what is left of them.
It ends, and stops the server with it, on SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
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
DRAIN_S = 6.0
"""Longest time between SIGTERM and SIGKILL; the scripts that a drain waits for take three seconds at most."""


PARTS = {
    "whole": {"server": ["serve"]},
    "split": {
        "web": ["serve", "--role", "web,sync"],
        "scheduler": ["serve", "--role", "scheduler"],
        "executor": ["serve", "--role", "executor"],
        "executor-2": ["serve", "--role", "executor,scheduler"],
        "worker": ["worker"],
        "worker-2": ["worker"],
        "worker-3": ["worker"],
    },
}
"""Processes of a server by the name they have in the journal, with their command lines."""


class Monkey:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.url = f"http://127.0.0.1:{options.port}"
        self.parts = PARTS[options.roles]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.journal = options.journal.open("a", encoding="utf-8")
        self.log = options.log.open("ab")
        self.stopping = False

    def note(self, what: str, **more: Any) -> None:
        self.journal.write(json.dumps({"at": time.time(), "what": what, **more}) + "\n")
        self.journal.flush()

    def start(self, part: str) -> None:
        command = [sys.executable, "-m", "service", *self.parts[part], "--config", str(self.options.config)]
        self.running[part] = subprocess.Popen(
            command,
            stdout=self.log,
            stderr=self.log,
            cwd=ROOT,
            env=clean_environment() | {"PYTHONPATH": str(ROOT)} | _test_switches(),
        )

    def wait_ready(self) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < READY_S:
            for part, process in self.running.items():
                if process.poll() is not None:
                    self.note("refused", part=part, code=process.returncode)
                    raise SystemExit(f"the {part} did not start: {process.returncode}")
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer:
                    if answer.status == 200:
                        self.note("ready", after=round(time.monotonic() - begun, 3))
                        return
            except OSError:
                time.sleep(0.05)
        self.note("never ready")
        raise SystemExit("the server did not get ready")

    def kill(self, part: str, how: str) -> None:
        process = self.running[part]
        if self.options.drain and how == "running":
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                how = f"drained with {process.wait(self.random.uniform(0, DRAIN_S))}"
        left = descendants(process.pid)
        process.kill()
        process.wait()
        self.note("kill", part=part, how=how, processes=left)

    def run(self) -> None:
        # One makes the schema before the others look at it.
        for part in self.parts:
            self.start(part)
            if len(self.running) == 1:
                self.wait_ready()
        self.note("begun")
        kills = 0
        while kills < self.options.kills and not self.stopping:
            time.sleep(min(LONGEST_S, self.random.expovariate(1 / MEAN_S)))
            part = self.random.choice(list(self.parts))
            if self.random.random() < 0.1:
                self.running[part].send_signal(signal.SIGSTOP)
                time.sleep(self.random.uniform(0.5, 3))
                self.running[part].send_signal(signal.SIGCONT)
                self.note("stopped for a while", part=part)
                continue
            self.kill(part, "running")
            kills += 1
            long = self.options.long_pauses and self.random.random() < 0.1
            time.sleep(70 if long else self.random.uniform(0, 5))
            self.start(part)
            if kills < self.options.kills and self.random.random() < 0.2:
                time.sleep(self.random.uniform(0, 1))
                self.kill(part, "starting")
                kills += 1
                self.start(part)
            self.wait_ready()
        self.note("done", kills=kills)
        while not self.stopping:
            time.sleep(0.1)
        left = [one for process in self.running.values() for one in descendants(process.pid)]
        for process in self.running.values():
            process.terminate()
        codes = {part: process.wait(60) for part, process in self.running.items()}
        self.note("stopped", codes=codes, processes=left)


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
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--roles", choices=tuple(PARTS), default="whole")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--long-pauses", action="store_true", help="one pause in ten is longer than adoption waits")
    parser.add_argument("--drain", action="store_true", help="SIGTERM first, SIGKILL at a random moment of the drain")
    monkey = Monkey(parser.parse_args())

    def stop(*_: object) -> None:
        monkey.stopping = True

    signal.signal(signal.SIGTERM, stop)
    monkey.run()


if __name__ == "__main__":
    main()
