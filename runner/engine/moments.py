"""Dates and spans as the JSON values of ``Scope.extra``."""

from __future__ import annotations

from datetime import datetime, timedelta


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
