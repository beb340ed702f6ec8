"""The limits of one attempt (``reliability.md`` R21); the values come from ``limits.*`` of the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from namespaces.hits import Hits


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, rates per second."""

    log_head: int = 8 << 20
    log_tail: int = 2 << 20
    log_line: int = 32 << 10
    log_rate: int = 5_000
    outputs: int = 10 << 20
    file: int = 1 << 30
    files: int = 1_000
    files_total: int = 10 << 30
    processes: int = 512
    written_file: int = 4 << 30
    """The longest file a script may write (RLIMIT_FSIZE)."""
    memory: int | None = None
    """Resident memory of a script with all it started; None: no bound."""
    cpu_s: float | None = None
    """Processor time of the same."""
    subprocesses: int = min(64, 2 * (os.cpu_count() or 1))
    """Scripts at once in this worker."""
    download: int = 1 << 30
    response: int = 10 << 20
    kill_grace_s: float = 10.0
    heartbeat_s: float = 5.0
    orphan_after_s: float = 60.0
    unresponsive_s: float = 5.0
    """A task that is no process and ignores its end is given up after so long."""
    hits: Hits = field(default_factory=Hits, compare=False, repr=False)


def number_too_large(value: object, place: str = "outputs") -> str | None:
    """Says where a value has an integer that JSON as kept here cannot hold exactly; None when it has none."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return f"number_too_large: {place} is an integer of {value.bit_length()} bits, more than 64 cannot be kept"
    pairs: list[tuple[object, object]] = []
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, list | tuple):
        pairs = list(enumerate(value))
    for key, item in pairs:
        name = f"{place}[{key}]" if isinstance(key, int) else f"{place}.{key}"
        found = number_too_large(item, name)
        if found:
            return found
    return None


TEXT_INSTEAD = "give it as a text"
