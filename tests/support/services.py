"""Where the services of the tests are, and what happens when one is missing: skip here, fail in CI."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

POSTGRES = os.environ.get("LANNER_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/test")
RABBITMQ = os.environ.get("LANNER_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
REDIS = os.environ.get("LANNER_TEST_REDIS", "redis://127.0.0.1:6379/0")


def in_ci() -> bool:
    return bool(os.environ.get("CI") or os.environ.get("LANNER_CI"))


def missing(service: str, why: str) -> None:
    """Skip the test naming the service; in CI nothing may be left untested, so it fails."""
    text = f"needs {service}: {why}"
    if in_ci():
        pytest.fail(text)
    pytest.skip(text)


def require(service: str, url: str) -> str:
    """The URL when something listens there."""
    parts = urlsplit(url)
    default = {"amqp": 5672, "redis": 6379}.get(parts.scheme, 5432)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or default), timeout=2).close()
    except OSError as error:
        missing(service, f"nothing answers at {parts.hostname}:{parts.port or default} ({error.strerror or error})")
    return url


@contextmanager
def postgres_schema() -> Iterator[str]:
    """The URL of a schema of its own on the PostgreSQL server, gone afterwards."""
    url = require("PostgreSQL", POSTGRES)
    import sqlalchemy as sa

    name = f"t_{uuid.uuid4().hex[:16]}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    own = sa.make_url(url).update_query_dict({"options": f"-csearch_path={name}"})
    try:
        yield own.render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))
        engine.dispose()
