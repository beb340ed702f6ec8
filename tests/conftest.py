"""Fixtures of all tests: one per real thing. Nothing here doubles our own code."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from namespaces.clock import ManualClock
from namespaces.store.db import Database, create_schema, open_database
from tests.support import services
from tests.support.gitrepo import GitRepo

# No test asserts a time: a slow machine is not a bug. CI searches longer than a person waits.
hypothesis.settings.register_profile("lanner", deadline=None, max_examples=150 if services.in_ci() else 30)
hypothesis.settings.load_profile("lanner")


def pytest_configure() -> None:
    # What configures a Lanner on this machine must not reach the tests.
    for name in [name for name in os.environ if name.startswith("LANNER_")]:
        if not name.startswith(("LANNER_TEST_", "LANNER_CI")):
            del os.environ[name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Each reason once: a missing service skips hundreds of tests.
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"SKIPPED {number}: {reason.removeprefix('Skipped: ')}")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def git_repo(tmp_path: Path) -> GitRepo:
    """A bare remote and a work tree that pushes to it."""
    return GitRepo(tmp_path)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'lanner.db'}"


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A schema of its own on the PostgreSQL server, gone afterwards."""
    with services.postgres_schema() as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with every table, to be copied: making the tables costs ten times as much."""
    from service.migrations.models import whole_metadata

    whole_metadata()
    path = tmp_path_factory.mktemp("template") / "lanner.db"
    made = open_database(f"sqlite:///{path}")
    create_schema(made)
    made.close()
    return path


@pytest.fixture
def sqlite_database(sqlite_url: str, sqlite_template: Path) -> Iterator[Database]:
    """An SQLite file with every table."""
    shutil.copyfile(sqlite_template, sqlite_url.removeprefix("sqlite:///"))
    opened = open_database(sqlite_url)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    """A PostgreSQL schema with every table."""
    from service.migrations.models import whole_metadata

    whole_metadata()
    opened = open_database(postgres_url)
    create_schema(opened)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Both kinds of database in turn, empty."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Database:
    """Both kinds of database in turn, with every table."""
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    return services.require("RabbitMQ", services.RABBITMQ)


@pytest.fixture(scope="session")
def redis_url() -> str:
    return services.require("Redis", services.REDIS)
