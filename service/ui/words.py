"""How pages say things: states, durations, times, sizes. Pure; the only other formatter is ``static/js/time.js``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

STATES: dict[str, tuple[str, str, str]] = {
    "CREATED": ("Created", "circle-dashed", "created"),
    "SUBMITTED": ("Submitted", "circle-dashed", "created"),
    "RESUBMITTED": ("Resubmitted", "circle-dashed", "created"),
    "QUEUED": ("Queued", "hourglass", "queued"),
    "RUNNING": ("Running", "loader-circle", "running"),
    "PAUSED": ("Paused", "pause", "paused"),
    "BREAKPOINT": ("Breakpoint", "circle-pause", "retried"),
    "RESTARTED": ("Restarted", "rotate-cw", "retrying"),
    "RETRYING": ("Retrying", "rotate-cw", "retrying"),
    "KILLING": ("Killing", "octagon-x", "killing"),
    "SUCCESS": ("Success", "check", "success"),
    "WARNING": ("Warning", "triangle-alert", "warning"),
    "FAILED": ("Failed", "x", "failed"),
    "KILLED": ("Killed", "ban", "killed"),
    "CANCELLED": ("Cancelled", "circle-slash", "cancelled"),
    "RETRIED": ("Retried", "history", "retried"),
    "SKIPPED": ("Skipped", "skip-forward", "skipped"),
}
"""(word, icon, look) by state."""
SYNC_STATES: dict[str, tuple[str, str, str]] = {
    "Synced": ("Synced", "check", "success"),
    "OutOfSync": ("OutOfSync", "pause", "paused"),
    "Paused": ("Paused", "circle-slash", "cancelled"),
    "Pinned": ("Pinned", "circle-slash", "cancelled"),
    "Degraded": ("Degraded", "triangle-alert", "warning"),
    "Error": ("Error", "x", "failed"),
    "Unknown": ("Unknown", "circle-dashed", "created"),
    "Released": ("Released", "circle-slash", "cancelled"),
}
TITLE_MARKS = {"success": "✓", "failed": "✗", "killed": "✗", "running": "▶", "paused": "⏸", "warning": "!"}
ENDED = frozenset({"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED", "SKIPPED"})
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")


def state_look(state: str) -> tuple[str, str, str]:
    """(word, icon, look) of a state, also of one this page does not know yet."""
    return STATES.get(state) or SYNC_STATES.get(state) or (state.capitalize(), "circle-dashed", "created")


def iteration_of(loop_run: Mapping[str, Any]) -> str:
    """``iteration 3 of loop: value``: an execution that a Loop has made."""
    name = f"{loop_run['key']}: " if "key" in loop_run else ""
    text = f"{name}{loop_run['value']}"
    return f"iteration {loop_run['index']} of {loop_run['taskId']}, {text if len(text) <= 60 else text[:59] + '…'}"


def moment(value: Any) -> datetime | None:
    """An instant given as ISO text, datetime or None."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.fromisoformat(str(value))


def iso(value: Any) -> str:
    found = moment(value)
    return "" if found is None else found.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def absolute(value: Any) -> str:
    """``2026-11-24 23:48:12 UTC``."""
    found = moment(value)
    return "" if found is None else found.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def relative(value: Any, now: datetime) -> str:
    """Up to seven days as a distance, then the date."""
    found = moment(value)
    if found is None:
        return ""
    seconds = (now - found).total_seconds()
    far = abs(seconds)
    if far < 5:
        return "just now"
    for unit, size, limit in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86_400), ("d", 86_400, 7 * 86_400)):
        if far < limit:
            amount = int(far // size)
            return f"{amount} {unit} ago" if seconds > 0 else f"in {amount} {unit}"
    return found.astimezone(UTC).strftime("%d %b %Y")


def seconds_of(value: Any) -> float | None:
    """Seconds of a number, a timedelta or an ISO duration as the API writes it (``PT1M2.5S``)."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", str(value))
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)


def duration(value: Any) -> str:
    """``850 ms``, ``3.4 s``, ``2 m 05 s``, ``1 h 12 m``, ``3 d 4 h``."""
    seconds = seconds_of(value)
    if seconds is None:
        return ""
    if 0 < seconds < 0.0005:
        return "<1 ms"
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""


def short_type(name: str) -> str:
    """The last two parts of a task type: ``log.Log``."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if len(parts) > 2 else name


def subject(message: str | None) -> str:
    return (message or "").partition("\n")[0][:120]


def many(count: int, one: str, more: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def total_words(total: int) -> str:
    """Totals are exact up to 10,000."""
    return "10,000+" if total > 10_000 else f"{total:,}"
