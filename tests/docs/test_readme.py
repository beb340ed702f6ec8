"""The walk-through of the README works word for word; only the port differs, so that tests need not share one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gitrepo import IDENTITY
from tests.support.servers import ROOT, clean_environment, free_port
from tests.support.waiting import until

README = (ROOT / "README.md").read_text(encoding="utf-8")


def walk_through() -> list[str]:
    section = README.partition("## Push to run")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout after `make setup`."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("examples", "namespaces", "sync", "runner", "service"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = folder / ".venv" / "bin" / "lanner"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" -m service "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture
def running(checkout: Path) -> Iterator[tuple[Path, int]]:
    """`make run`, as far as it does not install anything."""
    port = free_port()
    environment = clean_environment() | IDENTITY | {"PORT": str(port), "PYTHONPATH": str(checkout)}
    log = checkout / "run.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "examples/sample.py"], cwd=checkout, env=environment, stdout=output, stderr=output
        )
        try:
            until(lambda: "Ctrl+C stops the server" in log.read_text() or process.poll() is not None, "make run", 45)
            assert process.poll() is None, log.read_text()
            assert "tutorial.hello ran: SUCCESS 'Hello, world!'" in log.read_text()
            yield checkout, port
        finally:
            process.send_signal(signal.SIGINT)
            _stop_server(checkout)
            process.wait(45)


def _stop_server(checkout: Path) -> None:
    """Ctrl+C reaches both processes of a terminal; here the server gets its signal by the lock file's pid."""
    lock = checkout / ".data" / "lanner.db.lock"
    if lock.exists() and lock.read_text().isdigit():
        try:
            os.kill(int(lock.read_text()), signal.SIGINT)
        except ProcessLookupError:
            return


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_the_walk_through_of_the_readme_works_word_for_word(running: tuple[Path, int]) -> None:
    checkout, port = running
    environment = clean_environment() | IDENTITY | {"LANNER_URL": f"http://127.0.0.1:{port}"}
    blocks = walk_through()
    assert len(blocks) == 5

    outputs = []
    for block in blocks:
        text = block.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        done = subprocess.run(
            ["sh", "-e", "-c", text],
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}"
        outputs.append(done.stdout)

    changed, synced, started, broken, cured = outputs
    assert changed == ""
    assert "Synced" in synced
    assert re.search(r"tutorial +hello +2 ", synced)
    assert '"greeting": "Good morning, Ada!"' in started
    assert re.search(r"tutorial +webhook +1 +(SUCCESS|RUNNING|CREATED)", started)
    assert "Degraded" in broken
    assert re.search(r"hello\.yaml:\d+:\d+: .*taskz", broken)
    assert re.search(r"hello\.yaml:\d+:\d+: error .*taskz", cured)
    assert "Synced" in cured.splitlines()[-1]


def test_the_flow_in_the_readme_is_the_first_example() -> None:
    flow = re.findall(r"^```yaml\n(.*?)^```", README, re.M | re.S)[0]
    example = (ROOT / "examples" / "hello.yaml").read_text()

    assert [line for line in flow.splitlines() if line not in example.splitlines()] == []
    assert len(flow.splitlines()) <= 11
