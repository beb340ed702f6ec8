"""Fixtures of this folder: a whole instance on either database, and a worker's bench with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.runner.worker.world import Bench
    from tests.support.instances import Instance


@pytest.fixture
def instance(tmp_path: Path, database_url: str) -> Iterator[Instance]:
    from tests.support.instances import Instance

    made = Instance(tmp_path / "data", database_url)
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    from tests.runner.worker.world import Bench

    made = Bench(tmp_path)
    yield made
    made.close()
