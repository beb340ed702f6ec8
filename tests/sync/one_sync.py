"""A process of its own that syncs one source once: ``python -m tests.sync.one_sync DATABASE MIRRORS REMOTE``."""

from __future__ import annotations

import sys
from pathlib import Path

from namespaces.clock import SystemClock
from namespaces.flows.catalog import Catalog
from namespaces.store.db import open_database
from service.migrations.models import whole_metadata
from sync.config import parse_sources
from sync.model import Settings
from sync.service import SyncService


def main() -> None:
    url, mirrors, remote = sys.argv[1:4]
    whole_metadata()
    settings = Settings(mirror_dir=Path(mirrors), allow_file_urls=True, allow_insecure_http=("127.0.0.1",))
    config = {
        "name": "data", "url": remote, "namespaces": ["company.**"],
        "apply": {"guard": {"max_deletes": 1000, "max_delete_percent": 100}},
    }  # fmt: skip
    sources = parse_sources([config], resolve_credential=str, settings=settings)
    database = open_database(url)
    service = SyncService(database, Catalog(), SystemClock(), sources, settings.mirror_dir, settings)
    run = service.sync_now("data")
    print(run.outcome if run else "nothing")
    service.stop()
    database.close()


if __name__ == "__main__":
    main()
