"""`make run`: a server on a sample Git repository made of these examples, and one execution to look at.

Everything is kept in `.data`, so that a second `make run` goes on where the first one stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DATA", ROOT / ".data")).resolve()
REPOSITORY = DATA / "sample-flows"
PORT = int(os.environ.get("PORT", "8080"))
URL = f"http://127.0.0.1:{PORT}"
PATIENCE_S = 60


def main() -> int:
    DATA.mkdir(parents=True, exist_ok=True)
    make_repository()
    config = write_config()
    server = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--data", str(DATA), "--config", str(config), "--port", str(PORT),
         "--auth", "none"],
        cwd=ROOT,
    )  # fmt: skip
    try:
        if not show(server) and server.poll() is None:
            print("the server runs, but the sample did not come through: see above", file=sys.stderr)
        return server.wait()
    except KeyboardInterrupt:
        # The terminal has sent the signal to the server too.
        return server.wait()
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait()


def show(server: subprocess.Popen[bytes]) -> bool:
    """Wait for server and sync, run one flow and print what happened; False when something did not come."""
    if not wait(server, lambda: fetch("/health/ready") is not None):
        return False
    if not wait(server, lambda: (fetch("/api/v1/git/sources/sample") or {}).get("state") in {"Synced", "Degraded"}):
        return False
    flows = fetch("/api/v1/flows/search?size=1") or {}
    execution = fetch("/api/v1/executions/tutorial/hello?wait=true", method="POST") or {}
    if "id" not in execution:
        return False
    state = execution["state"]["current"]
    greeting = execution.get("outputs", {}).get("greeting", "")
    near = os.path.relpath(REPOSITORY)
    shown = str(REPOSITORY) if near.startswith("..") else near
    print(
        f"""
  {flows.get("total", 0)} flows were synced from {shown}
  tutorial.hello ran: {state} {greeting!r}
      {URL}/ui/main/executions/tutorial/hello/{execution["id"]}
  change a flow and commit, and it is here a moment later:
      edit {shown}/namespaces/tutorial/flows/hello.yaml
      git -C {json.dumps(shown) if " " in shown else shown} commit -am "Greet differently"
  Ctrl+C stops the server
""",
        flush=True,
    )
    return True


def make_repository() -> None:
    """A Git repository in the layout `namespaces/<namespace>/flows/`, made once and then the user's own."""
    if (REPOSITORY / ".git").exists():
        return
    flows = REPOSITORY / "namespaces" / "tutorial" / "flows"
    flows.mkdir(parents=True)
    for example in sorted((ROOT / "examples").glob("*.yaml")):
        shutil.copy(example, flows / example.name)
    git("init", "--quiet", "--initial-branch=main")
    if not git("config", "--get", "user.email", check=False):
        git("config", "user.name", "Lanner sample")
        git("config", "user.email", "sample@localhost")
    git("add", "--all")
    git("commit", "--quiet", "-m", "The examples of Lanner")


def git(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def write_config() -> Path:
    """`.data/lanner.yaml`, written once; afterwards it is the user's."""
    path = DATA / "lanner.yaml"
    if not path.exists():
        path.write_text(
            "# Made by `make run`; yours from now on.\n"
            "git:\n"
            "  allow_file_urls: true\n"
            "  defaults: {poll: 2s}\n"
            "  sources:\n"
            "    - name: sample\n"
            f"      url: {json.dumps(REPOSITORY.as_uri())}\n"
            "      ref: {branch: main}\n"
            '      namespaces: ["tutorial", "tutorial.**"]\n',
            encoding="utf-8",
        )
    return path


def wait(server: subprocess.Popen[bytes], condition: Any) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        if condition():
            return True
        time.sleep(0.1)
    return False


def fetch(path: str, method: str = "GET") -> dict[str, Any] | None:
    """The JSON answer, or None while there is no good one."""
    request = urllib.request.Request(URL + path, method=method)  # noqa: S310 - a fixed loopback address
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read() or b"{}")  # type: ignore[no-any-return]
    except (urllib.error.URLError, ValueError, OSError):
        return None


if __name__ == "__main__":
    sys.exit(main())
