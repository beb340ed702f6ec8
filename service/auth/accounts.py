"""Users, sessions and the first run: the rows behind a login. HTTP is not known here."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.audit import Entry, append
from namespaces.clock import Clock
from namespaces.errors import InvalidInput, NotFound, TooMany
from namespaces.store.db import Database
from namespaces.tables import SessionRow, UserRow
from service.auth import passwords

log = logging.getLogger("lanner.auth")
user_table = UserRow.__table__  # type: ignore[attr-defined]
session_table = SessionRow.__table__  # type: ignore[attr-defined]

IDLE = timedelta(hours=12)
LONGEST = timedelta(days=7)
SEEN_EVERY = timedelta(minutes=5)
SETUP_TOKEN_S = 30 * 60


@dataclass(frozen=True, slots=True)
class Session:
    """A browser session; ``csrf`` is the token its unsafe requests must carry."""

    username: str
    csrf: str


def _hash(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()


class Accounts:
    """One per server. ``initialized`` turns true with the first user and stays so."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.verified = passwords.Verified(clock)
        self.failures = passwords.Failures(clock)
        self._initialized = False
        self._setup: tuple[str, float] | None = None
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ users

    @property
    def initialized(self) -> bool:
        """Whether there is a user: the first-run doors are closed then."""
        if not self._initialized:
            count = sa.select(sa.func.count()).select_from(user_table)
            self._initialized = bool(self._database.read(lambda c: c.execute(count).scalar()))
        return self._initialized

    def save_user(self, username: str, password: str, *, admin: bool = True, by: str = "") -> None:
        """Create the user or give him a new password; his sessions end. Raises ``InvalidInput`` with all faults."""
        faults = [*passwords.username_faults(username), *passwords.password_faults(password)]
        if faults:
            raise InvalidInput("Invalid entity: " + ", ".join(faults), code="invalid_credentials")
        self.set_user(username, password, admin=admin, by=by)

    def set_user(self, username: str, password: str, *, admin: bool = True, by: str = "") -> None:
        """As ``save_user`` without looking at the name (an administrator given by configuration)."""
        password_hash = passwords.hashed(password)
        now = self._clock.now()

        def work(tx: Connection) -> None:
            known = tx.execute(sa.select(user_table.c.username).where(user_table.c.username == username)).scalar()
            if known is None:
                values = {"username": username, "password_hash": password_hash, "admin": admin, "created_at": now}
                tx.execute(sa.insert(user_table).values(values))
            else:
                change = sa.update(user_table).where(user_table.c.username == username)
                tx.execute(change.values(password_hash=password_hash))
            tx.execute(sa.delete(session_table).where(session_table.c.username == username))
            append(tx, Entry(actor=by or username, verb="user.credentials", object=username), now=now)

        self._database.write(work)
        self.verified.forget(username)
        self._initialized = True
        with self._lock:
            self._setup = None
        log.info("credentials of %s were set", username, extra={"action": "credentials_set"})

    def ensure_admin(self, username: str, password: str) -> None:
        """The administrator of the configuration: created, or given the configured password when it differs."""
        if not self._check(username, password):
            self.set_user(username, password, by="configuration")

    def check(self, username: str, password: str, address: str) -> bool:
        """Whether the pair is right. Raises ``TooMany`` while the account or address has to wait after failures."""
        if self.verified.knows(username, password):
            return True
        wait = self.failures.wait_s(username, address)
        if wait > 0:
            raise TooMany("too many failed logins, wait a little", code="login_delay")
        if not self._check(username, password):
            self.failures.failed(username, address)
            log.warning("login of %r from %s failed", username[:80], address, extra={"action": "login_failed"})
            # At most so many rows as the waiting after failures lets through.
            self._audit(Entry(actor=username[:80], verb="login", object="account", result="denied", address=address))
            return False
        self.failures.passed(username)
        self.verified.remember(username, password)
        return True

    def _audit(self, entry: Entry) -> None:
        now = self._clock.now()
        self._database.write(lambda tx: append(tx, entry, now=now))

    def _check(self, username: str, password: str) -> bool:
        query = sa.select(user_table.c.password_hash).where(user_table.c.username == username)
        stored = self._database.read(lambda c: c.execute(query).scalar())
        return passwords.matches(stored, password)

    def is_admin(self, username: str) -> bool:
        query = sa.select(user_table.c.admin).where(user_table.c.username == username)
        return bool(self._database.read(lambda c: c.execute(query).scalar()))

    # ------------------------------------------------------------------ first run

    def setup_token(self) -> str | None:
        """A one-time token for the first user, valid 30 minutes; None once there is a user. For the console only."""
        if self.initialized:
            return None
        with self._lock:
            if self._setup is None or self._setup[1] <= self._clock.monotonic():
                self._setup = (secrets.token_urlsafe(24), self._clock.monotonic() + SETUP_TOKEN_S)
            return self._setup[0]

    def setup(self, token: str, username: str, password: str) -> None:
        """Create the first user. Raises ``NotFound`` for a wrong or spent token, ``InvalidInput`` for a bad pair."""
        with self._lock:
            current = self._setup
        if self.initialized or current is None or current[1] <= self._clock.monotonic():
            raise NotFound("Not Found")
        if not hmac.compare_digest(current[0].encode(), token.encode()):
            raise NotFound("Not Found")
        self.save_user(username, password)

    # ------------------------------------------------------------------ sessions

    def open_session(self, username: str) -> tuple[str, Session]:
        """A new session: its secret id for the cookie, and what belongs to it."""
        session_id, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        now = self._clock.now()
        values = {
            "id_hash": _hash(session_id),
            "username": username,
            "csrf": csrf,
            "created_at": now,
            "seen_at": now,
        }

        def work(tx: Connection) -> None:
            tx.execute(sa.delete(session_table).where(session_table.c.created_at < now - LONGEST))
            tx.execute(sa.insert(session_table).values(values))
            append(tx, Entry(actor=username, verb="login", object="session"), now=now)

        self._database.write(work)
        return session_id, Session(username, csrf)

    def session(self, session_id: str) -> Session | None:
        """The session behind a cookie, None when it is unknown, idle for 12 hours or older than 7 days."""
        key = _hash(session_id)
        row = self._database.read(
            lambda c: c.execute(sa.select(session_table).where(session_table.c.id_hash == key)).one_or_none()
        )
        now = self._clock.now()
        if row is None or row.seen_at < now - IDLE or row.created_at < now - LONGEST:
            return None
        if row.seen_at < now - SEEN_EVERY:
            seen = sa.update(session_table).where(session_table.c.id_hash == key).values(seen_at=now)
            self._database.write(lambda tx: tx.execute(seen))
        return Session(row.username, row.csrf)

    def close_session(self, session_id: str) -> None:
        key = _hash(session_id)
        self._database.write(lambda tx: tx.execute(sa.delete(session_table).where(session_table.c.id_hash == key)))
