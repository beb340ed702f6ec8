"""Log levels and the value of one log line. Writing and reading rows is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

LEVELS = {"TRACE": 10, "DEBUG": 20, "INFO": 30, "WARN": 40, "ERROR": 50}
NAMES = {number: name for name, number in LEVELS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """``level`` is a number of ``LEVELS``; ``seq`` numbers the lines of an attempt when a supervisor wrote them."""

    at: datetime
    level: int
    message: str
    namespace: str
    flow_id: str
    execution_id: str | None = None
    task_id: str | None = None
    task_run_id: str | None = None
    attempt: int = 0
    trigger_id: str | None = None
    seq: int | None = None
