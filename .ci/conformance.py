"""Runs Kestra's conformance suite against a server of this checkout, once for each way flows can arrive.

What passed is compared with `.ci/conformance-floor.json`, which only rises: `--raise` writes better counts into it.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FLOOR = ROOT / ".ci" / "conformance-floor.json"
MODES = ("api", "git")
START_S = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, default=None, help="folder of the suite")
    parser.add_argument("--mode", choices=MODES, action="append", help="only this way of deploying")
    parser.add_argument("--raise", dest="lift", action="store_true", help="write better counts into the floor file")
    parser.add_argument("--jobs", default="4")
    parser.add_argument("--keep", type=Path, help="keep results and server logs in this folder")
    options, more = parser.parse_known_args()
    suite = options.suite or find_suite()
    if suite is None:
        # The suite belongs to the workplace, not to the repository: a checkout elsewhere has none to fail by.
        print("NOT RUN: the conformance suite was not found, set LANNER_CONFORMANCE to its folder", file=sys.stderr)
        return 0
    floor = json.loads(FLOOR.read_text(encoding="utf-8"))
    fine = True
    for mode in options.mode or MODES:
        with tempfile.TemporaryDirectory(prefix="lanner-conformance-") as scratch:
            folder = options.keep / mode if options.keep else Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            results = run(suite, mode, folder, options.jobs, more)
        passed = count(results)
        print(f"{mode}: {passed['cases']} cases and {passed['expressions']} expressions passed, floor {floor[mode]}")
        for result in results:
            if result["status"] == "failed":
                print(f"  {result['id']}: {result['detail'][:200]}")
        fine = fine and not more_missing(passed, floor[mode], partial=bool(more))
        if options.lift and not more:
            floor[mode] = {key: max(floor[mode][key], passed[key]) for key in passed}
    if options.lift:
        FLOOR.write_text(json.dumps(floor, indent=2) + "\n", encoding="utf-8")
    return 0 if fine else 1


def find_suite() -> Path | None:
    named = os.environ.get("LANNER_CONFORMANCE")
    beside = [parent / "shared" / "conformance" for parent in ROOT.parents]
    for folder in (Path(named) if named else None, ROOT / "conformance", *beside):
        if folder is not None and (folder / "run.py").is_file():
            return folder
    return None


def more_missing(passed: dict[str, int], floor: dict[str, int], *, partial: bool) -> bool:
    """Whether something that passed once does not any more; a run of a part of the suite proves nothing."""
    if partial:
        return False
    lost = {key: floor[key] - passed[key] for key in floor if passed[key] < floor[key]}
    for key, number in lost.items():
        print(f"{number} {key} below the floor", file=sys.stderr)
    return bool(lost)


def count(results: list[dict[str, Any]]) -> dict[str, int]:
    passed = [result for result in results if result["status"] == "passed"]
    expressions = sum(result["area"].startswith("expressions") for result in passed)
    return {"cases": len(passed) - expressions, "expressions": expressions}


def run(suite: Path, mode: str, folder: Path, jobs: str, more: list[str]) -> list[dict[str, Any]]:
    """All results of one run; the server's log is in ``folder``. Raises ``SystemExit`` when the suite cannot run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    config = folder / "lanner.yaml"
    repository = folder / "flows-repository"
    make_repository(repository)
    config.write_text(
        "git:\n"
        "  allow_file_urls: true\n"
        "  defaults: {poll: 1s}\n"
        + (
            "  sources:\n"
            "    - name: conformance\n"
            f"      url: {json.dumps(repository.as_uri())}\n"
            "      layout: flat\n"
            '      namespaces: ["**"]\n'
            "      apply: {atomicity: file}\n"
            if mode == "git"
            else "  sources: []\n"
        ),
        encoding="utf-8",
    )
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--data", str(folder / "data"), "--config", str(config),
         "--port", str(port), "--auth", "none"],
        cwd=ROOT, env=os.environ | secrets(), stdout=log, stderr=log,
    )  # fmt: skip
    try:
        wait_ready(url, server, folder)
        found: list[dict[str, Any]] = []
        for cases in sorted(suite.glob("cases*.json")):
            output = folder / f"results-{cases.name}"
            command = [sys.executable, str(suite / "run.py"), "--url", url, "--deploy", mode, "--have", "all",
                       "--jobs", jobs, "--cases", str(cases), "--json", str(output), *more]  # fmt: skip
            if mode == "git":
                command += ["--repo", str(repository)]
            if found:
                command += ["--no-expressions"]  # the table is the same for all files of cases
            with (folder / f"suite-{cases.stem}.log").open("w") as lines:
                done = subprocess.run(command, stdout=lines, stderr=subprocess.STDOUT, check=False, cwd=folder)
            if done.returncode not in (0, 1) or not output.exists():
                raise SystemExit(f"the suite did not run:\n{(folder / f'suite-{cases.stem}.log').read_text()[-2000:]}")
            found += json.loads(output.read_text(encoding="utf-8"))["results"]
        if server.poll() is not None:
            raise SystemExit(f"the server ended during the suite:\n{(folder / 'server.log').read_text()[-3000:]}")
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()
    return found


def secrets() -> dict[str, str]:
    values = {
        "MY_SECRET": '{"secretKey":"secretValue"}',
        "NEW_LINE": "first\nsecond\nthird",
        "WEBHOOK_KEY": "secretKey",
    }
    return {f"SECRET_{name}": base64.b64encode(value.encode()).decode() for name, value in values.items()}


def make_repository(folder: Path) -> None:
    folder.mkdir()
    (folder / "README.md").write_text("Flows of the conformance suite.\n", encoding="utf-8")
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("config", "user.name", "Conformance"),
        ("config", "user.email", "conformance@example.com"),
        ("add", "--all"),
        ("commit", "--quiet", "-m", "An empty beginning"),
    ):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def wait_ready(url: str, server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2):  # noqa: S310 - a loopback address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{(folder / 'server.log').read_text()[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
