"""Fixtures of the storage suite."""

from __future__ import annotations

import pytest

from namespaces.store.db import Database


@pytest.fixture
def database_url_of(database: Database) -> str:
    """The address of ``database``, for a second look at it."""
    return database.url.render_as_string(hide_password=False)
