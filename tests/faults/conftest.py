"""One instance for the bad inputs of a module: it must be as well after the last as before the first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.calling import Caller
from tests.support.instances import Instance


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("bad")
    made = Instance(folder / "data", f"sqlite:///{folder / 'lanner.db'}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(instance: Instance) -> Caller:
    from service.web import create_app

    return Caller(create_app(instance.lanner).test_client())
