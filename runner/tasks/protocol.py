"""Lines that scripts print to speak to Lanner: ``::{"outputs": …, "metrics": …, "logs": …}::`` (``flows.md`` 6.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runner.logs import LEVELS
from runner.plugin import Metric
from runner.worker.bare.spool import MARKER, STDERR
from runner.worker.supervisor import Frame

Add = Callable[[str, str, datetime, int], None]
"""Level, message, moment, sequence number."""

_KINDS = ("counter", "timer", "gauge")


@dataclass(slots=True)
class Reading:
    """What a script's lines say, read in order.

    The sequence numbers depend on the lines alone, so reading a spool again from its start gives the same ones.
    """

    add: Add
    variables: dict[str, Any] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    _seq: int = 0

    def frames(self, frames: list[Frame]) -> None:
        for _, micros, stream, data in frames:
            at = datetime.fromtimestamp(micros / 1e6, UTC)
            if stream == MARKER:
                self._say("WARN", f"{data.decode()} lines dropped", at)
                continue
            text = data.decode("utf-8", "replace")
            if text.startswith("::{") and text.endswith("}::"):
                self._protocol(text, at)
            else:
                self._say("ERROR" if stream == STDERR else "INFO", text, at)

    def _say(self, level: str, message: str, at: datetime) -> None:
        self.add(level, message, at, self._seq)
        self._seq += 1

    def _protocol(self, text: str, at: datetime) -> None:
        try:
            said = _storable(json.loads(text[2:-2], parse_constant=_refuse))
        except (ValueError, RecursionError) as error:
            self._say("WARN", f"Invalid outputs '{text[:200]}': {error}", at)
            return
        outputs = said.get("outputs")
        if isinstance(outputs, dict):
            self.variables.update(outputs)
        elif outputs is not None:
            self._say("WARN", f"Invalid outputs: a map was expected, not {type(outputs).__name__}", at)
        for entry in _entries(said.get("metrics")):
            try:
                self.metrics.append(_metric(entry))
            except (KeyError, TypeError, ValueError) as error:
                self._say("WARN", f"Invalid metric {json.dumps(entry)[:200]}: {error}", at)
        for entry in _entries(said.get("logs")):
            level = str(entry.get("level", "")).upper() if isinstance(entry, dict) else ""
            if level not in LEVELS:
                self._say("WARN", f"Invalid log {json.dumps(entry)[:200]}: the level is not one of {list(LEVELS)}", at)
            else:
                self._say(level, str(entry.get("message", "")), at)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _storable(said: Any) -> Any:
    """JSON may escape half a character (a lone surrogate), which no database and no file takes: it becomes ``?``."""
    text = json.dumps(said, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(text.encode("utf-8", "replace"))
    return said


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _metric(entry: Any) -> Metric:
    kind = str(entry["type"]).lower()
    if kind not in _KINDS:
        raise ValueError(f"type is not one of {', '.join(_KINDS)}")
    value = entry["value"]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("value is no number")
    tags = entry.get("tags") or {}
    return Metric(
        name=str(entry["name"]), type=kind, value=float(value), tags={str(k): str(v) for k, v in dict(tags).items()}
    )
