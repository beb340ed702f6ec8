"""The value types of `lanner.yaml`: durations, sizes and references to credentials.

No models and no file reading here; each type says in its error what a good value looks like.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, PlainSerializer, ValidationInfo
from pydantic_core import core_schema

from namespaces.errors import ConfigurationError

_SHORT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w|y)")
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_ISO = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[KMGT]i?B)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_DECIMAL_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_REFERENCE = re.compile(r"\$\{(env|file|secret):([^}]+)\}")


def parse_duration(value: Any) -> timedelta:
    """``60s``, ``5m``, ``1h30m``, ``7d``, ``1y`` (365 days) or ISO-8601 without months and years; 0 is no time."""
    if isinstance(value, timedelta):
        return value
    if value == 0 and not isinstance(value, bool):
        return timedelta(0)
    if isinstance(value, str) and value.strip() == "0":
        return timedelta(0)
    if isinstance(value, str):
        text = value.strip()
        parts = _SHORT.findall(text)
        if parts and not _SHORT.sub("", text).strip():
            return timedelta(seconds=sum(float(number) * _UNITS_S[unit] for number, unit in parts))
        iso = _ISO.fullmatch(text)
        if iso and any(iso.groups()):
            weeks, days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
            return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    raise ValueError("must be a duration such as 60s, 5m, 7d or PT5M")


def format_duration(value: timedelta) -> str:
    """The short form with the largest unit that divides the value."""
    seconds = value.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"


def parse_size(value: Any) -> int:
    """Bytes of ``512KiB``, ``1MiB``, ``2GiB``, ``10MB`` or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a size such as 512KiB, 10MiB or 1GiB")
    unit = (match[2] or "").lower()
    return int(float(match[1]) * (_SIZE_UNITS.get(unit) or _DECIMAL_UNITS[unit]))


def format_size(value: int) -> str:
    """The form with the largest binary unit that divides the value."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]
Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size, return_type=str)]


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential as written: a reference, never a literal in the file.

    Values of the environment are taken when the settings are read, because the server clears them from its
    environment afterwards (reliability S17); files are read at each use, so that a rotated file takes effect.
    """

    reference: str
    _value: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def given(cls, value: str, origin: str) -> Credential:
        """A value that came from an environment variable or an option of the command line."""
        return cls(reference=origin, _value=value)

    def resolve(self, secret: Callable[[str], str] | None = None) -> str:
        """The value. ``secret`` answers ``${secret:NAME}``. Raises ``ConfigurationError`` when there is none."""
        if self._value is not None:
            return self._value
        kind, name = _parts(self.reference)
        if kind == "file":
            try:
                return Path(name).read_text(encoding="utf-8").strip("\r\n")
            except OSError as error:
                raise ConfigurationError(
                    f"the file of {self.reference} cannot be read: {error.strerror}", hint="check path and owner"
                ) from error
        if kind == "secret" and secret is not None:
            return secret(name)
        if kind == "env":
            raise ConfigurationError(f"the environment variable {name} is not set", hint=f"set it, or remove {self}")
        raise ConfigurationError(f"{self.reference} cannot be used here", hint="use ${env:NAME} or ${file:/path}")

    def __str__(self) -> str:
        return self.reference

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=None)
        )

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> Credential:
        if isinstance(value, Credential):
            return value
        if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
            raise ValueError("must be a reference: ${env:NAME}, ${file:/path} or ${secret:NAME}; a literal is refused")
        kind, name = _parts(value)
        return cls(value, _environment(info).get(name) if kind == "env" else None)


def _parts(reference: str) -> tuple[str, str]:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return "value", reference
    return match[1], match[2].strip()


def _environment(info: ValidationInfo) -> Mapping[str, str]:
    context = info.context
    return context.get("environ", os.environ) if isinstance(context, dict) else os.environ


def _fill_url(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or "${" not in value:
        return value

    def filled(match: re.Match[str]) -> str:
        credential = Credential(match[0], _environment(info).get(match[2]) if match[1] == "env" else None)
        try:
            return credential.resolve()
        except ConfigurationError as error:
            raise ValueError(error.message) from error

    return _REFERENCE.sub(filled, value)


ServiceUrl = Annotated[str, BeforeValidator(_fill_url)]
"""A URL of a database or broker; ``${env:X}`` and ``${file:X}`` may stand for its password."""


def mask_url(url: str) -> str:
    """The URL with its password hidden, for messages."""
    return re.sub(r"(?<=://)([^/@:\s]*):[^@\s]*@", r"\1:***@", url)
