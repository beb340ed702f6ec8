"""Script tasks in containers: what the client program is told, what it says at its end, and what it left behind.

The program itself is ``docker_client``; which scripts get a container, ``choice``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from runner.plugin import RunFailed
from runner.worker.properties import explain
from runner.worker.running import Running
from runner.worker.taskrunners.choice import Choice, engine, has_library

if TYPE_CHECKING:
    from namespaces.flows.types.tasks_scripts import Credentials, Docker

log = logging.getLogger(__name__)

ATTEMPT_LABEL = "lanner.attempt"
ROOT_LABEL = "lanner.worker-root"
"""The worker's spool: two servers on one engine leave each other's containers alone."""

_CLIENT = Path(__file__).with_name("docker_client.py")
_SPEC, _ERROR = "container.json", "container.error"
_SHARED = ("tmp", "out", "fetched", "packages")
"""Folders of an attempt that its container sees, beside the working folder. Never the spool around them."""
_SWEEP_TIMEOUT_S = 10


def read_options(written: Mapping[str, Any] | None) -> Docker:
    """The options of the Docker runner, from rendered values; older flows write some that no longer exist."""
    from namespaces.flows.types.tasks_scripts import Docker  # loaded with the catalog, not before

    known = {field.alias or name for name, field in Docker.model_fields.items()}
    try:
        return Docker.read({name: value for name, value in (written or {}).items() if name in known})
    except ValidationError as error:
        raise RunFailed(explain(error), code="invalid_property") from error


def check_allowed(context: Running, options: Docker) -> None:
    """Raises ``RunFailed`` for what only an operator may allow; warns of what has no effect here."""
    settings = context.services.settings
    for code, wanted, allowed, name in (
        ("volumes_refused", options.volumes, settings.docker_volumes, "volumes"),
        ("privileged_refused", options.privileged, settings.docker_privileged, "privileged"),
    ):
        if wanted and not allowed:
            hint = f"an operator allows it with tasks.docker.{name}: true"
            raise RunFailed(f"taskRunner.{name} is refused: tasks.docker.{name} is false", code=code, hint=hint)
    ignored = [
        *(["config"] if options.config else []),
        *([] if options.delete else ["delete: false"]),
        *([] if options.wait else ["wait: false"]),
        *(["memory.kernelMemory"] if options.memory and options.memory.kernel_memory else []),
    ]
    for name in ignored:
        context.log("WARN", f"taskRunner.{name} is ignored: Lanner waits for each container and removes it")


def client_of(
    context: Running, choice: Choice, options: Docker, image: str, argv: Sequence[str], env: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The command and environment of the client program; the container's own are in a file that it reads."""
    home, settings, limits = context.home, context.services.settings, context.services.limits
    folders = [context.working_dir, *(home / name for name in _SHARED if (home / name).is_dir())]
    for folder in folders:
        _open_up(folder)
    entry = [word for word in options.entry_point or () if word]
    memory = options.memory.model_dump(by_alias=True, exclude_none=True) if options.memory else {}
    grace = options.kill_grace_period.total_seconds() if options.kill_grace_period else 0
    attempt = f"{context.task_run_id}-{context.epoch}"
    spec = {
        "engine": choice.engine,
        "name": f"lanner-{attempt}",
        "image": image,
        "pull": options.pull_policy,
        "auth": _login(options.credentials),
        "entrypoint": entry or [argv[0]],
        "command": list(argv) if entry else list(argv[1:]),
        "env": dict(env),
        "cwd": str(context.working_dir),
        "user": options.user,
        "folders": [str(folder) for folder in folders],
        "volumes": list(options.volumes or ()) if settings.docker_volumes else [],
        "privileged": bool(options.privileged) and settings.docker_privileged,
        "network": options.network_mode,
        "hosts": list(options.extra_hosts or ()),
        "cpus": options.cpu.cpus if options.cpu else None,
        "memory": memory,
        "shm": options.shm_size,
        "devices": options.device_requests or [],
        "pids": limits.processes,
        "most_memory": limits.memory,
        "most_cpu_s": limits.cpu_s,
        "grace": int(min(grace, limits.kill_grace_s / 2)),
        "labels": {ATTEMPT_LABEL: attempt, ROOT_LABEL: str(home.parent)},
        "error": str(home / _ERROR),
    }
    path = home / _SPEC
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(spec, file)
    # PATH and HOME: the operator's `docker login` and the programs that keep it.
    mine = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ}
    marks = {"LANNER_TASKRUN_ID": context.task_run_id, "LANNER_EPOCH": str(context.epoch)}
    return [sys.executable, "-I", str(_CLIENT), str(path)], {"PATH": os.defpath, "LANG": "C.UTF-8", **mine, **marks}


def _open_up(folder: Path) -> None:
    """Any user of a container may read and write here; on the host the folder above keeps all others out."""
    for place, _, files in os.walk(folder):
        for path, bits in ((place, 0o777), *((os.path.join(place, name), 0o666) for name in files)):
            try:
                mode = os.lstat(path).st_mode
                if not stat.S_ISLNK(mode):
                    os.chmod(path, stat.S_IMODE(mode) | bits)
            except PermissionError:  # an earlier container of the same working folder owns it
                pass


def _login(written: Credentials | None) -> dict[str, str] | None:
    if written is None:
        return None
    user, password = written.username, written.password
    if written.auth and not user:
        try:
            user, _, password = base64.b64decode(written.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise RunFailed("taskRunner.credentials.auth is not base64 of user:password") from None
    login = {
        "username": user,
        "password": password,
        "serveraddress": written.registry,
        "identitytoken": written.identity_token,
        "registrytoken": written.registry_token,
    }
    return {name: value for name, value in login.items() if value}


# -- afterwards ----------------------------------------------------------------------------------------------------


def failure(folder: Path) -> tuple[str, str] | None:
    """Code and text of what kept the container from running to its end; None when nothing did."""
    try:
        said = json.loads((folder / _ERROR).read_bytes())
    except (OSError, ValueError):
        return None
    return said["code"], said["error"]


def remove_left(host: str, folder: Path) -> None:
    """Remove the container of an attempt whose client was killed; ``folder`` is the attempt's spool."""
    _remove(host, {ATTEMPT_LABEL: folder.name, ROOT_LABEL: str(folder.parent)})


def sweep(root: Path, host: str) -> None:
    """Remove the containers of this worker whose attempts are gone: those have no folder in the spool any more."""
    found = engine(host)
    if found is not None and found.startswith("unix://") and has_library():
        _remove(found, {ROOT_LABEL: str(root)}, keep=lambda attempt: (root / attempt).is_dir())


def _remove(host: str, labels: Mapping[str, str], keep: Callable[[str], bool] = lambda _: False) -> None:
    from docker import APIClient
    from docker.errors import DockerException, NotFound

    wanted = [f"{name}={value}" for name, value in labels.items()]
    try:
        api = APIClient(base_url=host, version="auto", timeout=_SWEEP_TIMEOUT_S)
        found: Iterable[Mapping[str, Any]] = api.containers(all=True, filters={"label": wanted})
        for container in found:
            attempt = container["Labels"].get(ATTEMPT_LABEL, "")
            if keep(attempt):
                continue
            log.info("removing the container that attempt %s left", attempt)
            with contextlib.suppress(NotFound):
                api.remove_container(container["Id"], force=True, v=True)
    except (DockerException, OSError) as error:
        log.warning("containers may be left at %s: %s", host, error)
