"""Cron: what Kestra accepts, checked here before croniter sees it, and the next and previous times."""

from __future__ import annotations

from dataclasses import dataclass


class CronFault(ValueError):
    """Why an expression is refused."""


@dataclass(frozen=True, slots=True)
class Cron:
    """One accepted expression."""

    text: str
    with_seconds: bool

    def notes(self) -> list[tuple[str, str]]:
        """Code and sentence of what the author should know."""
        return []


def read_cron(text: str, *, with_seconds: bool = False) -> Cron:
    """Raises ``CronFault``."""
    return Cron(text, with_seconds)
