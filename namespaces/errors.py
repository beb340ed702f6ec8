"""The one family of errors, and the validation finding. No I/O here.

Classes are named by what the *caller* does next; ``code`` is the stable, documented word
(`docs/reference/errors.md`), ``hint`` says what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class LannerError(Exception):
    """Base of every error that Lanner raises on purpose.

    ``message`` says what was seen and what was expected, ``hint`` what to do about it, ``where`` is
    ``file:line:column`` or a property path.
    """

    code = "error"
    status = 500

    def __init__(self, message: str, *, code: str | None = None, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InvalidInput(LannerError):
    """The caller sent something that cannot be accepted: correct it and send again (HTTP 422)."""

    code = "invalid"
    status = 422


class InvalidInputs(InvalidInput):
    """Declared inputs that were refused; ``faults`` are path and message of each."""

    code = "invalid_inputs"

    def __init__(self, faults: Iterable[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(message for _, message in self.faults), where=self.faults[0][0])


class BadRequest(LannerError):
    """The request itself is malformed: filters, bulk ids (HTTP 400)."""

    code = "bad_request"
    status = 400


class NotFound(LannerError):
    """The thing does not exist, or the caller may not know that it does (HTTP 404)."""

    code = "not_found"
    status = 404


class Conflict(LannerError):
    """The present state forbids the action (HTTP 409)."""

    code = "conflict"
    status = 409


class Gone(LannerError):
    """The thing existed and has expired (HTTP 410)."""

    code = "expired"
    status = 410


class Forbidden(LannerError):
    """The caller is known and may not do this (HTTP 403)."""

    code = "forbidden"
    status = 403


class Unauthorized(LannerError):
    """No or wrong credentials (HTTP 401)."""

    code = "unauthorized"
    status = 401


class TooLarge(LannerError):
    """A documented size limit was exceeded (HTTP 413)."""

    code = "too_large"
    status = 413


class TooMany(LannerError):
    """A documented rate or backlog limit was reached: wait and try again (HTTP 429)."""

    code = "too_many"
    status = 429


class Unavailable(LannerError):
    """A dependency is down or busy: try again later (HTTP 503)."""

    code = "unavailable"
    status = 503


class CorruptRow(LannerError):
    """A stored row holds what nobody can read: only what depends on this row stops, an operator should look (R20)."""

    code = "corrupt_row"


class StartRefused(LannerError):
    """The server must not start like this; an operator has to act (exit code 78)."""

    code = "start_refused"
    status = 503


class ConfigurationError(StartRefused):
    """A setting is wrong; ``where`` names file and line."""

    code = "configuration"


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Problem:
    """One validation finding.

    ``code`` is ``G…`` for what the reader and Git find and ``F…`` for the flow validator; ``path`` is the
    property path (``tasks[0].id``); ``line`` and ``column`` count from 1, 0 when unknown.
    """

    code: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    file: str = ""
    severity: Severity = Severity.ERROR
    hint: str = ""
    limit: str = ""
    """The name of the limit that was met (``limits.*``), if one was."""

    @property
    def where(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line or "", self.column or "") if part != "")
        return place or self.path

    def at_file(self, file: str) -> Problem:
        return replace(self, file=file)

    def constraint(self) -> str:
        """Kestra's form of a violation: ``path: message``."""
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidFlow(InvalidInput):
    """A flow text that cannot be accepted; ``problems`` holds every finding, errors and warnings."""

    code = "invalid_flow"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        errors = [p for p in self.problems if p.severity is Severity.ERROR]
        first = errors[0] if errors else None
        super().__init__(
            ", ".join(p.constraint() for p in errors) or "invalid flow",
            code=first.code if first else None,
            where=first.where if first and first.line else "",
        )


def did_you_mean(seen: str, known: Iterable[str], limit: int = 1) -> str:
    """``", did you mean 'x'?"`` for the nearest of the known names, or an empty text."""
    near = difflib.get_close_matches(seen, list(known), n=limit, cutoff=0.6)
    return f", did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
