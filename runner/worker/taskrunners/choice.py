"""Which task runner a script task gets, and why (``flows.md`` 6.6). Running is elsewhere."""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Choice:
    """``reason`` is one sentence for the log and the attempt; ``warn``: the flow asked for something it did not get.

    ``engine`` is the address of the container engine, for the Docker runner alone.
    """

    type: str
    reason: str
    warn: bool = False
    engine: str | None = None


_LEVELS = ("process", "bubblewrap", "container")
_LEVEL_OF = {PROCESS: "process", DOCKER: "container"}


def choose(
    named: Mapping[str, Any] | None,
    legacy: str | None,
    image: str | None,
    settings: TaskSettings,
    legacy_options: Mapping[str, Any] | None = None,
) -> Choice:
    """The runner for one script. Raises ``RunFailed`` when a container is required and cannot be had, and when the
    runner isolates less than ``tasks.minimum_isolation`` asks for (``reliability.md`` S17).
    """
    choice = _chosen(named, legacy, image, settings, legacy_options)
    level, least = _LEVEL_OF[choice.type], settings.minimum_isolation
    if _LEVELS.index(level) < _LEVELS.index(least):
        raise RunFailed(
            f"this script would run as a {level} ({choice.reason}), tasks.minimum_isolation is {least}",
            code="isolation_too_weak",
            hint="use the Docker task runner, with an engine that the worker can reach",
        )
    return choice


def _chosen(
    named: Mapping[str, Any] | None,
    legacy: str | None,
    image: str | None,
    settings: TaskSettings,
    legacy_options: Mapping[str, Any] | None,
) -> Choice:
    wanted = str(named["type"]) if named and named.get("type") else None
    if wanted is None and legacy:
        wanted = DOCKER if legacy == "DOCKER" else PROCESS
    if wanted in _PROCESS_NAMES:
        return Choice(PROCESS, "named by the task")
    if wanted is not None and wanted not in _DOCKER_NAMES:
        raise RunFailed(f"this worker has no task runner of type {wanted}", code="unknown_task_runner")
    options = named or legacy_options or {}
    host = str(options.get("host") or "") or settings.docker_host or ""
    if wanted is not None:
        return _container(host, "named by the task")
    if settings.default_task_runner == "process":
        return Choice(PROCESS, "tasks.default_task_runner is process", warn=image is not None)
    if settings.default_task_runner == "docker":
        return _container(host, "tasks.default_task_runner is docker")
    found = engine(host)
    if found is None:
        reason = "no container engine is reachable"
    elif not _is_local(found):
        reason = f"the engine at {found} is not on this machine"
    elif not has_library():
        reason = f"an engine answers at {found}, but the extra lanner[docker] is not installed"
    else:
        return Choice(DOCKER, f"an engine answers at {found}", engine=found)
    return Choice(PROCESS, reason, warn=image is not None)


def _container(host: str, reason: str) -> Choice:
    if host and not _is_local(host):
        raise RunFailed(
            f"the container engine at {host} cannot be used: Lanner shares the working folder with the container, "
            "so the engine has to be on this machine",
            code="containers_remote",
            hint="name a socket, unix:///…",
        )
    found = engine(host)
    if found is None:
        raise RunFailed(
            f"no container engine is reachable at {host or ', '.join(_usual())}",
            code="no_container_engine",
            hint="start Docker or Podman, set tasks.docker.host, or use the Process task runner",
        )
    if not has_library():
        raise RunFailed(
            "scripts in containers need the extra lanner[docker]",
            code="docker_extra_missing",
            hint="pip install lanner[docker]",
        )
    return Choice(DOCKER, reason, engine=found)


def has_library() -> bool:
    """Whether ``docker`` can be imported; it is slow to import, and only its client program needs it."""
    found = importlib.util.find_spec("docker")
    return found is not None and found.origin is not None


def _is_local(host: str) -> bool:
    return host.startswith(("unix://", "/"))


def _usual() -> list[str]:
    """Addresses to ask when none is configured."""
    own, named = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("DOCKER_HOST", "")
    paths = [*_SOCKETS, *([f"{own}/docker.sock", f"{own}/podman/podman.sock"] if own else [])]
    return [*([named] if named.startswith("unix://") else []), *(f"unix://{path}" for path in paths)]


_known: dict[str, tuple[float, str | None]] = {}
_lock = threading.Lock()


def engine(host: str) -> str | None:
    """The address of an engine that answers a ping, asked at most every 30 seconds; None when there is none."""
    places = [f"unix://{host}" if host.startswith("/") else host] if host else _usual()
    key = " ".join(places)
    with _lock:
        at, found = _known.get(key, (-_REMEMBERED_S, None))
        if time.monotonic() - at < _REMEMBERED_S and key in _known:
            return found
        found = next((place for place in places if _answers(place)), None)
        _known[key] = (time.monotonic(), found)
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
