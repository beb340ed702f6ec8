"""The engine side of a server for the tests of the shell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from namespaces.clock import ManualClock
from namespaces.store.db import Database
from runner.renderer import Renderer
from tests.runner.shell.house import House


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.fixture
def house(database: Database, clock: ManualClock, renderer: Renderer) -> Iterator[House]:
    made = House(database, clock, renderer)
    yield made
    made.close()
