"""Imports every room's tables, so that the metadata is whole."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from sqlalchemy import MetaData

from namespaces.store.base import metadata

ROOMS = ("namespaces.tables", "runner.tables", "sync.tables")


def whole_metadata() -> MetaData:
    """The metadata with the tables of all rooms."""
    for name in ROOMS:
        if find_spec(name) is not None:
            import_module(name)
    return metadata
