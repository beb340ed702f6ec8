"""Fixtures for the worker's tests: a bench with every seam in memory and real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.runner.worker.world import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    from tests.runner.worker.world import Bench

    made = Bench(tmp_path)
    yield made
    made.close()
