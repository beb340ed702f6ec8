"""Alembic without an ini file: upgrades, and writing new migrations for developers (`make migration m="…"`)."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection, make_url

from namespaces.store.db import Database
from service.migrations.models import whole_metadata

HERE = Path(__file__).parent
log = logging.getLogger("lanner.migrations")


def upgrade(database: Database) -> None:
    """Bring the schema to the newest version; an SQLite file is copied first (``<file>.before-upgrade``)."""
    if database.url.get_backend_name() == "sqlite" and database.url.database:
        copy = Path(database.url.database).with_suffix(".before-upgrade")
        _copy(Path(database.url.database), copy)
        log.info("copied the database to %s", copy, extra={"action": "database_copied"})
    with connected(database.url) as connection:
        command.upgrade(configuration(connection), "head")


def configuration(connection: Connection) -> Config:
    config = Config()
    # Alembic reads the value through a config parser, in which % has a meaning.
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def connected(url: Any) -> Iterator[Connection]:
    """A connection of its own, outside the group-committing writer: schema changes are transactions of their own."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(parsed, poolclass=sa.pool.NullPool)
    with closing(engine.connect()) as connection:
        yield connection


def _copy(source: Path, target: Path) -> None:
    """SQLite's online backup: a plain copy would miss what is still in the write-ahead log."""
    fresh = target.with_suffix(".copying")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(fresh)) as new:
        old.backup(new)
    shutil.move(fresh, target)


def write_migration(message: str, *, initial: bool = False) -> Path:
    """Write the difference between the newest migration and the tables as a new file in `versions/`.

    ``initial`` writes the first one anew, for as long as nothing was released.
    """
    import tempfile

    versions = HERE / "versions"
    if initial:
        for old in versions.glob("*.py"):
            old.unlink()
    number = f"{len(list(versions.glob('[0-9]*.py'))) + 1:04d}"
    whole_metadata()
    with tempfile.TemporaryDirectory() as folder, connected(f"sqlite:///{folder}/now.db") as connection:
        config = configuration(connection)
        if number != "0001":
            command.upgrade(config, "head")
        script = command.revision(config, message=message, autogenerate=True, rev_id=number)
    assert script is not None
    assert not isinstance(script, list)
    return Path(script.path)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--initial"]
    print(write_migration(" ".join(arguments) or "change", initial="--initial" in sys.argv))
