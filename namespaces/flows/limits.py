"""What a flow text may be at most (``reliability.md`` R21); the values come from ``limits.*`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLimits:
    """The names are those of the settings."""

    flow_bytes: int = 1024 * 1024
    flow_nodes: int = 100_000
    """Nodes after aliases and merge keys are expanded."""
    flow_depth: int = 64
    flow_aliases: int = 1_000
    tasks_per_flow: int = 5_000


DEFAULTS = FlowLimits()


def size_text(size: int) -> str:
    """``1 MiB``, ``64 KiB`` or ``1,000 bytes``."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size:,} bytes"
