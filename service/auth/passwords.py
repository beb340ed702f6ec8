"""Passwords and user names: what is accepted, how they are kept, and the memory of pairs that were verified."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from collections import OrderedDict
from functools import cache
from typing import Any

from namespaces.clock import Clock

SHORTEST, LONGEST = 8, 256
REMEMBERED_S = 300
_MAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")

# The head of the public lists; a longer list would hardly refuse more that eight characters allow.
_COMMON = """
password password1 password12 password123 passw0rd p@ssw0rd p@ssword 12345678 123456789 1234567890 87654321
11111111 00000000 12341234 qwertyui qwerty123 qwertyuiop qwertz123 1q2w3e4r 1qaz2wsx zaq12wsx abcd1234
abc12345 iloveyou sunshine princess football baseball superman trustno1 starwars whatever computer internet
letmein1 letmein123 welcome1 welcome123 admin123 admin1234 administrator changeme changeme1 changeit
changethis secret123 topsecret default1 kestra123 kestra1234 lanner123 lanner1234 test1234 testtest
passwort passwort1 passwort123 hallo123 monkey123 dragon123 master123 mustang1 jennifer michelle jordan23
"""
COMMON = frozenset(_COMMON.split())


def username_faults(username: str) -> list[str]:
    """What Kestra's clients expect of a user name: it looks like an e-mail address."""
    if not _MAIL.fullmatch(username or ""):
        return ["Invalid username for Basic Authentication. Please provide a valid email address."]
    return []


def password_faults(password: str) -> list[str]:
    """``reliability.md`` S1: length and commonness, nothing about kinds of characters."""
    if not SHORTEST <= len(password or "") <= LONGEST:
        return [f"Invalid password for Basic Authentication: it must have {SHORTEST} to {LONGEST} characters."]
    if password.lower() in COMMON:
        return ["Invalid password for Basic Authentication. This password is on every attacker's list."]
    return []


@cache
def _hasher() -> Any:
    from argon2 import PasswordHasher  # 30 ms of import, paid at the first login

    return PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)


def hashed(password: str) -> str:
    """An argon2id hash (64 MiB, 3 passes)."""
    return str(_hasher().hash(password))


@cache
def _nobody() -> str:
    """The hash an unknown user is checked against, so that both answers take the same time."""
    return hashed(os.urandom(16).hex())


def matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is the hash's; None stands for an unknown user and costs as much."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        _hasher().verify(password_hash or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


class Verified:
    """Pairs that were verified lately, as keyed hashes: basic authentication comes with every call of the clients."""

    def __init__(self, clock: Clock, *, size: int = 1_000) -> None:
        self._clock = clock
        self._key = os.urandom(32)
        self._size = size
        self._until: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def _name(self, username: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{username}\0{password}".encode(), hashlib.sha256)

    def knows(self, username: str, password: str) -> bool:
        name = self._name(username, password)
        with self._lock:
            found = self._until.get(name)
            return found is not None and found[0] > self._clock.monotonic()

    def remember(self, username: str, password: str) -> None:
        name = self._name(username, password)
        with self._lock:
            self._until[name] = (self._clock.monotonic() + REMEMBERED_S, username)
            self._until.move_to_end(name)
            while len(self._until) > self._size:
                self._until.popitem(last=False)

    def forget(self, username: str) -> None:
        """After a change of the account: every pair of it counts as unknown at once."""
        with self._lock:
            for name in [name for name, (_, known) in self._until.items() if known == username]:
                del self._until[name]


class Failures:
    """Failed logins: after five an account waits, after twenty an address; nobody is locked out for good (S1)."""

    WINDOW_S = 900
    PER_ACCOUNT, PER_ADDRESS = 5, 20

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, username: str, address: str) -> float:
        """Seconds until the next try is looked at; 0 when it may come now. Doubles up to a minute."""
        now = self._clock.monotonic()
        with self._lock:
            return max(
                self._wait(f"u:{username}", self.PER_ACCOUNT, now), self._wait(f"a:{address}", self.PER_ADDRESS, now)
            )

    def _wait(self, key: str, allowed: int, now: float) -> float:
        tries = [at for at in self._at.get(key, ()) if at > now - self.WINDOW_S]
        over = len(tries) - allowed
        if over < 0:
            return 0.0
        return max(0.0, tries[-1] + min(60.0, 2.0**over) - now)

    def failed(self, username: str, address: str) -> None:
        now = self._clock.monotonic()
        with self._lock:
            for key in (f"u:{username}", f"a:{address}"):
                tries = [at for at in self._at.pop(key, []) if at > now - self.WINDOW_S]
                self._at[key] = [*tries[-50:], now]
            while len(self._at) > 10_000:
                self._at.popitem(last=False)

    def passed(self, username: str) -> None:
        with self._lock:
            self._at.pop(f"u:{username}", None)
