"""Runs one container to its end: ``python -I docker_client.py SPEC``, in the script's place under the supervisor.

The container's output and exit code become this process's own; TERM stops the container, and whatever happens it is
removed. Started with ``-I``, so the standard library and ``docker`` are all there is. The worker's side is
``containers``, which writes the spec.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from docker import APIClient, errors, types, utils

TIMEOUT_S = 120


class Stopped(BaseException):
    """TERM came before the container ran."""


class Problem(Exception):
    """The script has not run, or not to its end; ``code`` is that of the failure."""

    def __init__(self, code: str, text: str, exit_code: int = 125) -> None:
        super().__init__(text)
        self.code = code
        self.exit_code = exit_code


class Container:
    """One container, known to the engine by a name that only this attempt has."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.image: str = spec["image"]
        self.started = False
        self.ending = False
        self.api: Any = None

    def connect(self) -> Any:
        return APIClient(base_url=self.spec["engine"], version="auto", timeout=TIMEOUT_S)

    def terminate(self, *_: object) -> None:
        """The handler of TERM."""
        if self.started:
            threading.Thread(target=self.stop, daemon=True).start()
        elif not self.ending:
            raise Stopped

    def stop(self) -> None:
        with contextlib.suppress(errors.DockerException, OSError):
            self.connect().stop(self.name, timeout=self.spec["grace"])

    def run(self) -> int:
        """From the image to the exit code."""
        self.api = self.connect()
        self.fetch()
        self.create()
        try:
            stream = self.api.attach(self.name, stdout=True, stderr=True, stream=True, demux=True)
            self.api.start(self.name)
        except errors.APIError as error:
            raise Problem("not_started", f"the container could not be started: {explained(error)}") from error
        self.started = True
        copy(stream)
        code = int(self.api.wait(self.name)["StatusCode"])
        if self.api.inspect_container(self.name)["State"].get("OOMKilled"):
            raise Problem("script_oom", "killed by the kernel: out of memory (oom)", code)
        return code

    def fetch(self) -> None:
        """Have the image, by the pull policy."""
        policy = self.spec["pull"]
        if policy != "ALWAYS":
            try:
                self.api.inspect_image(self.image)
                return
            except errors.ImageNotFound:
                if policy == "NEVER":
                    text = f"image {self.image} is not on this machine, and pullPolicy is NEVER"
                    raise Problem("image_missing", text) from None
        say("INFO", f"pulling image {self.image}")
        repository, tag = utils.parse_repository_tag(self.image)
        try:
            news = self.api.pull(
                repository, tag=tag or "latest", auth_config=self.spec["auth"], stream=True, decode=True
            )
            failed = next((line["error"] for line in news if "error" in line), None)
        except errors.APIError as error:
            failed = explained(error)
        if failed:
            raise Problem("image_missing", f"image {self.image} cannot be pulled: {failed}")

    def create(self) -> None:
        spec = self.spec
        try:
            self.api.create_container(
                self.image,
                name=self.name,
                entrypoint=spec["entrypoint"],
                command=spec["command"],
                environment=spec["env"],
                working_dir=spec["cwd"],
                user=spec["user"],
                labels=spec["labels"],
                host_config=self.host_config(),
            )
        except (errors.DockerException, ValueError, TypeError) as error:
            raise Problem("not_started", f"the container could not be made: {explained(error)}") from error

    def host_config(self) -> Any:
        spec, memory = self.spec, self.spec["memory"]
        seconds = math.ceil(spec["most_cpu_s"] or 0)
        options: dict[str, Any] = {
            "mounts": [types.Mount(path, path, type="bind") for path in spec["folders"]],
            "binds": spec["volumes"],
            "security_opt": ["no-new-privileges"],
            "pids_limit": spec["pids"],
            "network_mode": spec["network"],
            "extra_hosts": spec["hosts"],
            "nano_cpus": int(spec["cpus"] * 1e9) if spec["cpus"] else None,
            "mem_limit": smaller(size(memory.get("memory")), spec["most_memory"]),
            "ulimits": [types.Ulimit(name="cpu", soft=seconds, hard=seconds)] if seconds else None,
            "memswap_limit": size(memory.get("memorySwap")),
            "mem_reservation": size(memory.get("memoryReservation")),
            "mem_swappiness": int(memory["memorySwappiness"]) if memory.get("memorySwappiness") else None,
            "oom_kill_disable": memory.get("oomKillDisable"),
            "shm_size": size(spec["shm"]),
            "device_requests": [device(each) for each in spec["devices"]],
            "privileged": spec["privileged"],
        }
        return self.api.create_host_config(**{name: value for name, value in options.items() if value})

    def remove(self) -> None:
        self.ending = True
        if self.api is None:
            return
        with contextlib.suppress(errors.DockerException, OSError):
            if self.started:
                self.give_back()
        with contextlib.suppress(errors.DockerException, OSError):
            self.api.remove_container(self.name, force=True, v=True)

    def give_back(self) -> None:
        """Files of the container's users become the worker's, which has to read and remove them."""
        user, group = os.geteuid(), os.getegid()
        if user == 0 or all(os.lstat(path).st_uid == user for path in below(self.spec["folders"])):
            return
        if any("rootless" in option for option in self.api.info().get("SecurityOptions") or ()):
            user, group = 0, 0  # the worker's user goes by this name inside
        name = f"{self.name}-files"
        try:
            self.api.create_container(
                self.image,
                name=name,
                entrypoint=["chown"],
                command=["-R", f"{user}:{group}", *self.spec["folders"]],
                user="0",
                labels=self.spec["labels"],
                host_config=self.api.create_host_config(
                    mounts=[types.Mount(path, path, type="bind") for path in self.spec["folders"]],
                    network_mode="none",
                ),
            )
            self.api.start(name)
            self.api.wait(name)
        finally:
            self.api.remove_container(name, force=True, v=True)


def below(folders: Iterable[str]) -> Iterator[str]:
    for folder in folders:
        for place, inner, files in os.walk(folder):
            yield from (os.path.join(place, name) for name in (*inner, *files))


def size(text: Any) -> int | None:
    """``512MB`` in bytes."""
    return utils.parse_bytes(str(text).replace(" ", "")) if text not in (None, "") else None


def smaller(one: int | None, other: int | None) -> int | None:
    """The tighter of two bounds, either of which may be missing."""
    return min(one, other) if one and other else one or other


def device(wanted: dict[str, Any]) -> Any:
    return types.DeviceRequest(
        driver=wanted.get("driver"),
        count=wanted.get("count"),
        device_ids=wanted.get("deviceIds"),
        capabilities=wanted.get("capabilities"),
        options=wanted.get("options"),
    )


def copy(stream: Iterable[tuple[bytes | None, bytes | None]]) -> None:
    for out, err in stream:
        for fd, data in ((1, out), (2, err)):
            view = memoryview(data or b"")
            while view:
                view = view[os.write(fd, view) :]


def say(level: str, message: str) -> None:
    """One line of log, not of the script's output."""
    line = json.dumps({"logs": [{"level": level, "message": message}]})
    copy([(f"::{line}::\n".encode(), None)])


def explained(error: Exception) -> str:
    text = getattr(error, "explanation", None) or str(error)
    return " ".join(str(text).split())


def main(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    os.unlink(path)  # it holds the script's secrets, and nobody reads it again
    container = Container(spec)
    signal.signal(signal.SIGTERM, container.terminate)
    try:
        return container.run()
    except Stopped:
        return 128 + signal.SIGTERM
    except Problem as error:
        return failed(spec, error.code, str(error), error.exit_code)
    except (errors.DockerException, OSError) as error:
        return failed(spec, "container_failed", f"the engine at {spec['engine']} failed: {explained(error)}")
    finally:
        container.remove()


def failed(spec: dict[str, Any], code: str, text: str, exit_code: int = 125) -> int:
    """Leave the reason where the worker finds it."""
    with open(spec["error"], "w", encoding="utf-8") as file:
        json.dump({"code": code, "error": text}, file)
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
