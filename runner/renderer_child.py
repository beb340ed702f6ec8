"""What runs inside a renderer process: reads jobs, renders, asks the parent for everything else.

Started with an empty environment and two pipes; sets its own limits before the first job. Knows no server code.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from datetime import datetime
from typing import Any, NoReturn

from namespaces.expressions import Limits, RenderError, render, render_typed
from namespaces.expressions.failures import LimitReached
from namespaces.expressions.ports import PORT_NAMES, Ports
from namespaces.expressions.state import Entry
from runner.renderer_frames import FrameTooLarge, length_of, packed, unpacked

_PAGE = resource.getpagesize()


class _Pipe:
    """Frames over two descriptors; the end of input ends the process."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            part = os.read(self._source, min(count, 1 << 20))
            if not part:
                raise SystemExit(0)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def receive(self, job: _Job | None) -> dict[str, Any]:
        return unpacked(self._exactly(length_of(self._exactly(4))), job.map if job else None)

    def send(self, message: Mapping[str, object], job: _Job | None = None) -> None:
        frame = packed(message, job.number if job else None)
        while frame:
            frame = frame[os.write(self._sink, frame) :]


class _RemoteMap(Mapping[Any, Any]):
    """A map that lives in the parent; what was seen once is not asked for again."""

    def __init__(self, job: _Job, number: int, known: dict[Any, Any] | None = None) -> None:
        self._job = job
        self.number = number
        self._known = known or {}
        self._complete = False

    def __getitem__(self, key: Any) -> Any:
        if key in self._known:
            return self._known[key]
        if self._complete:
            raise KeyError(key)
        answer = self._job.ask({"get": [self.number, key]})
        if answer.get("miss"):
            raise KeyError(key)
        self._known[key] = answer["v"]
        return answer["v"]

    def __contains__(self, key: object) -> bool:
        if key in self._known or self._complete:
            return key in self._known
        return bool(self._job.ask({"has": [self.number, key]})["v"])

    def _all(self) -> dict[Any, Any]:
        if not self._complete:
            whole = self._job.ask({"all": self.number})["v"]
            self._known = {**whole, **{key: value for key, value in self._known.items() if key in whole}}
            self._known = {key: self._known[key] for key in whole}
            self._complete = True
        return self._known

    def __iter__(self) -> Iterator[Any]:
        if self._complete:
            return iter(self._known)
        return iter(self._job.ask({"keys": self.number})["v"])

    def __len__(self) -> int:
        return len(self._known) if self._complete else int(self._job.ask({"len": self.number})["v"])

    def items(self) -> ItemsView[Any, Any]:
        return self._all().items()

    def values(self) -> ValuesView[Any]:
        return self._all().values()


class _Job:
    """One rendering: its maps in the parent and its port."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._maps: dict[int, _RemoteMap] = {}

    def map(self, number: int) -> _RemoteMap:
        return self._maps.setdefault(number, _RemoteMap(self, number))

    def number(self, value: Mapping[Any, Any]) -> int:
        """The parent's number of one of its maps; raises for maps made here, which are sent whole."""
        if isinstance(value, _RemoteMap):
            return value.number
        raise TypeError("not a map of the parent")

    def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        try:
            self._pipe.send(question, self)
        except FrameTooLarge as error:
            raise LimitReached("the arguments are too large") from error
        answer = self._pipe.receive(self)
        if "error" in answer:
            fault = answer["error"]
            raise RenderError(str(fault["message"]), hint=str(fault["hint"]))
        return answer


class _RemotePorts:
    """Every port asks the parent."""

    def __init__(self, job: _Job) -> None:
        for name in PORT_NAMES:
            setattr(self, name, _asking(job, name))


def _asking(job: _Job, name: str) -> Any:
    def ask(*args: object) -> Any:
        return job.ask({"call": name, "args": [_plain(arg) for arg in args]})["v"]

    return ask


def _plain(value: object) -> object:
    """Maps of this process as plain ones; the parent's go back as references."""
    if isinstance(value, Entry):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _fault(error: RenderError) -> dict[str, object]:
    return {
        "kind": type(error).__name__, "message": error.message, "hint": error.hint, "line": error.line,
        "column": error.column, "limit": error.limit,
    }  # fmt: skip


def _out_of_memory() -> LimitReached:
    return LimitReached("expression result too large: out of memory", limit="render_memory_bytes")


def _limit(limits: Limits) -> None:
    """Memory above what is in use now, and processor time, for this job alone."""
    with open("/proc/self/statm", "rb") as statm:
        used = int(statm.read().split()[0]) * _PAGE
    resource.setrlimit(resource.RLIMIT_AS, (used + limits.memory_bytes, resource.RLIM_INFINITY))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(spent.ru_utime + spent.ru_stime + limits.seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _answer(message: dict[str, Any], job: _Job) -> dict[str, object]:
    limits = Limits(**message["limits"])
    _limit(limits)
    context = _RemoteMap(job, 0, dict(message["context"]))
    ports: Ports = _RemotePorts(job)  # type: ignore[assignment]

    def now() -> datetime:
        moment = job.ask({"now": True})["v"]
        assert isinstance(moment, datetime)
        return moment

    text, zone, restricted = str(message["text"]), str(message["zone"]), bool(message["restricted"])
    try:
        if message["typed"]:
            value = render_typed(text, context, ports, now=now, zone=zone, limits=limits, restricted=restricted)
            return {"value": _plain(value)}
        recursive = bool(message["recursive"])
        return {
            "value": render(
                text, context, ports, now=now, zone=zone, limits=limits, recursive=recursive, restricted=restricted
            )
        }
    except RenderError as error:
        return {"fault": _fault(error)}
    except MemoryError:
        return {"fault": _fault(_out_of_memory())}


def main() -> NoReturn:
    """Serves jobs until the parent closes the pipe."""
    from namespaces.expressions import rendering

    sink = os.dup(1)
    os.dup2(2, 1)  # nothing that a library prints may reach the parent
    for kind, bound in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 64)):
        resource.setrlimit(kind, (bound, bound))
    rendering.resize_cache(entries=512, characters=1024 * 1024)
    rendering.warm()
    pipe = _Pipe(0, sink)
    pipe.send({"ready": os.getpid()})
    while True:
        job = _Job(pipe)
        message = pipe.receive(job)
        answer = _answer(message, job)
        try:
            pipe.send(answer, job)
        except FrameTooLarge:
            pipe.send({"fault": _fault(LimitReached("expression result too large", limit="rendered_bytes"))})
        except (TypeError, ValueError, MemoryError) as error:
            pipe.send({"fault": _fault(RenderError(f"the result cannot be handed back: {error}"))})


if __name__ == "__main__":
    sys.exit(main())
