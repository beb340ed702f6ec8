"""The pool of limited renderer processes behind ``namespaces.expressions`` (reliability.md S10).

Cheap templates render here; all others in a process that is killed at its limits. The rules of the language are
not here, nor what the ports do.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from namespaces import expressions
from namespaces.clock import SystemClock
from namespaces.errors import LannerError, Unavailable
from namespaces.expressions import PORT_NAMES, Limits, Ports, RenderError
from namespaces.expressions.failures import LimitReached, RefusedOutside, SyntaxProblem, refuse_long
from namespaces.hits import Hits
from runner.renderer_frames import FrameTooLarge, packed
from runner.renderer_process import RendererProcess, Stopped

_JOBS_PER_PROCESS = 10_000
_MAX_MAPS = 100_000
#: What a cheap template may make on its way in the server's own process, in characters.
_VOLUME = 32 * 1024 * 1024
_KINDS = {kind.__name__: kind for kind in (RenderError, LimitReached, RefusedOutside, SyntaxProblem)}
_LIMITS = Limits()
_clock = SystemClock()


@lru_cache(maxsize=16)
def _in_process(limits: Limits) -> Limits:
    """The limits of a cheap template, which shares this process with everybody."""
    return replace(limits, volume=min(limits.volume, _VOLUME))


class _Conversation:
    """One job's questions answered: maps by number, ports by name. A failure of the server's own is kept."""

    def __init__(
        self, context: Mapping[str, object], ports: Ports, now: Callable[[], datetime], limits: Limits
    ) -> None:
        self._maps: list[Mapping[Any, Any]] = [context]
        self._ports = ports
        self._now = now
        self._most = limits.context
        self._sent = 0
        self.trouble: Exception | None = None

    def number(self, value: Mapping[Any, Any]) -> int:
        if len(self._maps) >= _MAX_MAPS:
            raise LimitReached(f"the context has more than {_MAX_MAPS} maps")
        self._maps.append(value)
        return len(self._maps) - 1

    def map(self, number: int) -> object:
        return self._maps[number]

    def sent(self, frame: bytes) -> bytes:
        """The frame, unless with it more of the context would have been copied than one rendering may see."""
        self._sent += len(frame)
        if self._sent > self._most:
            raise _context_too_large(self._most)
        return frame

    def answer(self, question: Mapping[str, Any]) -> bytes:
        try:
            reply = packed(self._reply(question), self.number)
            return reply if "call" in question else self.sent(reply)
        except FrameTooLarge:
            return packed({"error": {"message": "the data is too large for an expression", "hint": "write a file"}})
        except LimitReached as error:
            self.trouble = error
            return packed({"error": {"message": error.message, "hint": error.hint}})
        except LannerError as error:
            return packed({"error": {"message": error.message, "hint": error.hint}})
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread when the job has ended
            self.trouble = error
            return packed({"error": {"message": "the server could not answer", "hint": ""}})

    def _reply(self, question: Mapping[str, Any]) -> dict[str, object]:
        if "get" in question:
            number, key = question["get"]
            try:
                return {"v": self._maps[number][key]}
            except KeyError:
                return {"miss": True}
        if "has" in question:
            number, key = question["has"]
            return {"v": key in self._maps[number]}
        if "keys" in question:
            return {"v": list(self._maps[question["keys"]])}
        if "all" in question:
            return {"v": dict(self._maps[question["all"]].items())}
        if "len" in question:
            return {"v": len(self._maps[question["len"]])}
        if "now" in question:
            return {"v": self._now()}
        name = str(question["call"])
        if name not in PORT_NAMES:
            raise RenderError(f"unknown port {name}")
        return {"v": getattr(self._ports, name)(*question["args"])}


def _context_too_large(most: int) -> LimitReached:
    return LimitReached(
        f"output_too_large: the context is too large for an expression: more than {most} bytes",
        hint="write large values to a file and hand on its URI",
        limit="context_bytes",
    )


class Renderer:
    """Renders texts from any number of threads. No process exists before the first text that needs one.

    ``size`` is the greatest number of renderer processes at once; further callers wait. ``recursive`` is what calls
    do that do not say (``recursive_rendering``); ``hits`` counts the limits that were met.
    """

    def __init__(
        self,
        size: int = 2,
        limits: Limits = _LIMITS,
        *,
        recursive: bool = False,
        hits: Hits | None = None,
        python: str = sys.executable,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self._size = size
        self._limits = limits
        self._recursive = recursive
        self._hits = hits or Hits()
        self._python = python
        self._idle: list[RendererProcess] = []
        self._all: set[RendererProcess] = set()
        self._count = 0
        self._closed = False
        self._free = threading.Condition()

    # -- the same three methods as namespaces.expressions

    def render(
        self,
        text: str,
        context: Mapping[str, object],
        ports: Ports,
        *,
        now: Callable[[], datetime] = _clock.now,
        zone: str = "UTC",
        limits: Limits | None = None,
        recursive: bool | None = None,
        restricted: bool = False,
    ) -> str:
        """As :func:`namespaces.expressions.render`, in this process only when the text is provably cheap."""
        if "{" not in text:
            return text
        bounds = limits or self._limits
        again = self._recursive if recursive is None else recursive
        try:
            refuse_long(text, bounds)
            if not again and expressions.parse(text, bounds).cheap:
                return expressions.render(
                    text, context, ports, now=now, zone=zone, limits=_in_process(bounds), restricted=restricted
                )
            value = self._remote(text, context, ports, now, zone, bounds, False, again, restricted)
        except LimitReached as error:
            self._hits.note(error.limit)
            raise
        assert isinstance(value, str)
        return value

    def render_typed(
        self,
        text: str,
        context: Mapping[str, object],
        ports: Ports,
        *,
        now: Callable[[], datetime] = _clock.now,
        zone: str = "UTC",
        limits: Limits | None = None,
        restricted: bool = False,
    ) -> object:
        """As :func:`namespaces.expressions.render_typed`."""
        bounds = limits or self._limits
        try:
            refuse_long(text, bounds)
            if expressions.parse(text, bounds).cheap:
                return expressions.render_typed(
                    text, context, ports, now=now, zone=zone, limits=_in_process(bounds), restricted=restricted
                )
            return self._remote(text, context, ports, now, zone, bounds, True, False, restricted)
        except LimitReached as error:
            self._hits.note(error.limit)
            raise

    def render_value(
        self,
        value: object,
        context: Mapping[str, object],
        ports: Ports,
        *,
        now: Callable[[], datetime] = _clock.now,
        zone: str = "UTC",
        limits: Limits | None = None,
        recursive: bool | None = None,
        restricted: bool = False,
    ) -> object:
        """As :func:`namespaces.expressions.render_value`."""
        from namespaces.expressions import rendering

        def one(text: str) -> str:
            return self.render(
                text, context, ports, now=now, zone=zone, limits=limits, recursive=recursive, restricted=restricted
            )

        return rendering.render_value(value, one)

    def close(self) -> None:
        """Ends all idle processes; busy ones end with their job. Rendering afterwards raises."""
        with self._free:
            self._closed = True
            idle, self._idle = self._idle, []
            self._count -= len(idle)
            self._all.difference_update(idle)
            self._free.notify_all()
        for process in idle:
            process.kill()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def processes(self) -> int:
        """How many renderer processes exist now."""
        return self._count

    def pids(self) -> tuple[int, ...]:
        """The processes that exist now, busy or idle; for health figures and tests."""
        with self._free:
            return tuple(process.pid for process in self._all)

    # -- the pool

    def _take(self) -> RendererProcess:
        with self._free:
            while True:
                if self._closed:
                    raise Unavailable("the renderer is closed")
                if self._idle:
                    return self._idle.pop()
                if self._count < self._size:
                    self._count += 1
                    break
                self._free.wait()
        try:
            process = RendererProcess(self._python)
        except BaseException:
            self._gone(None)
            raise
        with self._free:
            self._all.add(process)
        return process

    def _gone(self, process: RendererProcess | None) -> None:
        with self._free:
            if process is not None:
                self._all.discard(process)
            self._count -= 1
            self._free.notify()

    def _give_back(self, process: RendererProcess) -> None:
        process.jobs += 1
        with self._free:
            if not self._closed and process.jobs < _JOBS_PER_PROCESS:
                self._idle.append(process)
                self._free.notify()
                return
        process.kill()
        self._gone(process)

    def _remote(
        self,
        text: str,
        context: Mapping[str, object],
        ports: Ports,
        now: Callable[[], datetime],
        zone: str,
        limits: Limits,
        typed: bool,
        recursive: bool,
        restricted: bool,
    ) -> object:
        talk = _Conversation(context, ports, now, limits)
        seen = {name for name in expressions.parse(text, limits).references if "." not in name}
        known = {name: context[name] for name in sorted(seen) if name in context}
        job = {
            "text": text, "context": known, "zone": zone, "limits": asdict(limits), "typed": typed,
            "recursive": recursive, "restricted": restricted,
        }  # fmt: skip
        try:
            frame = talk.sent(packed(job, talk.number))
        except FrameTooLarge as error:
            raise _context_too_large(limits.context) from error
        process = self._take()
        kept = False
        try:
            process.allow(limits.seconds)
            process.send(frame)
            while True:
                message = process.receive(talk.map)
                if "value" in message:
                    kept = True
                    return message["value"]
                if "fault" in message:
                    fault = message["fault"]
                    kept = "out of memory" not in fault["message"]
                    break
                process.send(talk.answer(message))
        except (Stopped, FrameTooLarge, ValueError) as error:
            raise LimitReached(
                "the renderer process ended: the expression took too much memory or time",
                hint=f"{limits.memory_bytes >> 20} MiB and {limits.seconds:g} s are allowed",
                limit="render_memory_bytes",
            ) from error
        finally:
            if kept:
                self._give_back(process)
            else:
                process.kill()
                self._gone(process)
        if talk.trouble is not None:
            raise talk.trouble
        raise _KINDS.get(fault["kind"], RenderError)(
            fault["message"], line=fault["line"], column=fault["column"], hint=fault["hint"], limit=fault["limit"]
        )
