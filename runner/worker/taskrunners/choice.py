"""Which task runner a script task gets, and why (``flows.md`` 6.6). Running is elsewhere."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from runner.plugin import RunFailed
from runner.worker.running import TaskSettings

PROCESS = "io.kestra.plugin.core.runner.Process"
DOCKER = "io.kestra.plugin.scripts.runner.docker.Docker"
_PROCESS_NAMES = {PROCESS, "core.runner.Process", "io.kestra.core.models.tasks.runners.ProcessTaskRunner"}
_DOCKER_NAMES = {
    DOCKER,
    "scripts.runner.docker.Docker",
    "io.kestra.plugin.scripts.runner.docker.DockerTaskRunner",
}
_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
_REMEMBERED_S = 30.0
_UNSUPPORTED = "this release does not run scripts in containers yet"


@dataclass(frozen=True, slots=True)
class Choice:
    """``reason`` is one sentence for the log and the attempt; ``warn``: the flow asked for something it did not get."""

    type: str
    reason: str
    warn: bool = False


def choose(named: Mapping[str, Any] | None, legacy: str | None, image: str | None, settings: TaskSettings) -> Choice:
    """The runner for one script. Raises ``RunFailed`` when a container is required and no engine answers."""
    wanted = str(named["type"]) if named and named.get("type") else None
    if wanted is None and legacy:
        wanted = DOCKER if legacy == "DOCKER" else PROCESS
    if wanted in _PROCESS_NAMES:
        return Choice(PROCESS, "named by the task")
    if wanted is not None and wanted not in _DOCKER_NAMES:
        raise RunFailed(f"this worker has no task runner of type {wanted}", code="unknown_task_runner")
    if wanted is not None:
        host = str((named or {}).get("host") or "") or settings.docker_host or ""
        _container(host)
    if settings.default_task_runner == "process":
        return Choice(PROCESS, "tasks.default_task_runner is process", warn=image is not None)
    if settings.default_task_runner == "docker":
        _container(settings.docker_host or "")
    found = engine(settings.docker_host or "")
    reason = f"{_UNSUPPORTED} (an engine answers at {found})" if found else "no container engine is reachable"
    return Choice(PROCESS, reason, warn=image is not None)


def _container(host: str) -> NoReturn:
    """Containers come with a later release; until then a flow that insists on one fails with one clear line."""
    if engine(host) is None:
        places = host or ", ".join(_sockets())
        raise RunFailed(
            f"no container engine is reachable at {places}",
            code="no_container_engine",
            hint="start Docker or Podman, set tasks.docker.host, or use the Process task runner",
        )
    raise RunFailed(_UNSUPPORTED, code="containers_unsupported", hint="use the Process task runner")


def _sockets() -> list[str]:
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [*_SOCKETS, *([f"{own}/docker.sock", f"{own}/podman/podman.sock"] if own else [])]


_known: dict[str, tuple[float, str | None]] = {}
_lock = threading.Lock()


def engine(host: str) -> str | None:
    """The address of an engine that answers a ping, asked at most every 30 seconds; None when there is none."""
    with _lock:
        at, found = _known.get(host, (-_REMEMBERED_S, None))
        if time.monotonic() - at < _REMEMBERED_S and host in _known:
            return found
        places = [host] if host else [f"unix://{path}" for path in _sockets() if os.path.exists(path)]
        found = next((place for place in places if _answers(place)), None)
        _known[host] = (time.monotonic(), found)
        return found


def _answers(place: str) -> bool:
    scheme, _, rest = place.partition("://")
    try:
        if scheme == "unix":
            link = socket.socket(socket.AF_UNIX)
            address: Any = "/" + rest.lstrip("/")
        else:
            name, _, port = rest.partition(":")
            link, address = socket.socket(), (name, int(port or 2375))
        with link:
            link.settimeout(1.0)
            link.connect(address)
            link.sendall(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
            return link.recv(64).startswith(b"HTTP/1.1 200")
    except (OSError, ValueError):
        return False
