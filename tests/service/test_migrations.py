"""The schema of new, old and foreign databases (reliability R19, R23)."""

from __future__ import annotations

from contextlib import closing

import pytest
import sqlalchemy as sa

from namespaces.errors import StartRefused
from namespaces.store.db import open_database
from service.migrations import schema
from service.migrations.models import whole_metadata


def described(connection: sa.Connection) -> dict[str, object]:
    """Tables with columns, keys and indexes, in a comparable form."""
    inspector = sa.inspect(connection)
    found: dict[str, object] = {}
    for table in sorted(inspector.get_table_names()):
        if table == schema.TABLE:
            continue
        found[table] = {
            "columns": {c["name"]: (str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)},
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(sorted(u["column_names"]) for u in inspector.get_unique_constraints(table)),
            "indexes": sorted((i["name"] or "", tuple(i["column_names"])) for i in inspector.get_indexes(table)),
        }
    return found


def test_migrations_end_at_the_tables_of_the_rooms(database_url: str) -> None:
    from alembic import command

    from service.migrations.upgrade import configuration, connected

    with connected(database_url) as connection:
        command.upgrade(configuration(connection), "head")
        migrated = described(connection)
        whole_metadata().drop_all(connection)
        whole_metadata().create_all(connection)
        made = described(connection)
        connection.rollback()

    assert migrated == made, "the tables changed: run make migration m='what changed'"


def test_migrations_and_tables_agree_for_alembic(database_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from service.migrations.upgrade import connected

    with closing(open_database(database_url)) as database:
        schema.ensure(database)
    with connected(database_url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})

        assert compare_metadata(context, whole_metadata()) == []


def test_a_new_database_is_made_and_marked(database_url: str) -> None:
    with closing(open_database(database_url)) as database:
        assert schema.ensure(database) is schema.State.EMPTY
        assert database.read(schema.inspect) == schema.Schema(schema.State.CURRENT, schema.HEAD)
        assert schema.ensure(database) is schema.State.CURRENT


def test_a_database_of_a_newer_release_is_refused(database_url: str) -> None:
    with closing(open_database(database_url)) as database:
        schema.ensure(database)
        database.write(lambda tx: tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))

        with pytest.raises(StartRefused, match="made by a newer Lanner"):
            schema.ensure(database)


def test_a_database_of_something_else_is_refused(database_url: str) -> None:
    with closing(open_database(database_url)) as database:
        database.write(lambda tx: tx.execute(sa.text("CREATE TABLE customers (id INTEGER)")))

        with pytest.raises(StartRefused, match="not Lanner's"):
            schema.ensure(database)


def test_the_list_of_versions_is_the_list_of_migrations() -> None:
    from alembic.script import ScriptDirectory

    from service.migrations.upgrade import HERE

    found = [script.revision for script in ScriptDirectory(str(HERE)).walk_revisions()]

    assert [version for version, _ in schema.VERSIONS] == list(reversed(found))


def test_looking_at_a_current_schema_does_not_load_alembic(sqlite_url: str) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from namespaces.store.db import open_database; from service.migrations import schema\n"
        f"schema.ensure(open_database({sqlite_url!r})); sys.exit('alembic' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
