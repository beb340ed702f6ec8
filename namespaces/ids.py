"""Identifiers: opaque, URL-safe, 22 characters of base 62 (Kestra's form of a UUID)."""

from __future__ import annotations

import hashlib
import os
import time

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LENGTH = 22


def _base62(number: int) -> str:
    digits = []
    for _ in range(LENGTH):
        number, rest = divmod(number, 62)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


def new_id() -> str:
    """A new id that sorts by creation time (UUID version 7 layout: 48 bits of milliseconds, then random)."""
    milliseconds = time.time_ns() // 1_000_000
    return _base62(milliseconds << 80 | int.from_bytes(os.urandom(10), "big"))


def derived_id(*parts: str) -> str:
    """The same id for the same parts, so that a replayed decision names the same task run."""
    digest = hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).digest()
    return _base62(int.from_bytes(digest, "big"))
