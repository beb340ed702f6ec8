"""One server and one browser for all browser tests; each test has its own context and must leave no fault behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.browsing import CHROMIUM, Watch, chromium
from tests.e2e.demo import Demo
from tests.support import services


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        services.missing("chromium", f"{CHROMIUM} is not there: apt-get install chromium")
    try:
        import playwright  # noqa: F401
    except ImportError:
        services.missing("playwright", "the Python package is not installed")
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def demo(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("demo"))
    yield made
    made.close()


class Visitor:
    """A person's browser: ``page`` on the server, ``watch`` with what must not happen."""

    def __init__(self, browser: Any, demo: Demo, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        self.context = browser.new_context(base_url=demo.server.url, timezone_id="Europe/Berlin", **options)
        self.context.set_default_timeout(15_000)
        self.watch = Watch(self.context, demo.server.url)
        self.page = self.context.new_page()

    def close(self) -> None:
        self.context.close()
        assert self.watch.faults == []


@pytest.fixture
def visitor(browser: Any, demo: Demo) -> Iterator[Visitor]:
    made = Visitor(browser, demo)
    yield made
    made.close()


@pytest.fixture
def page(visitor: Visitor) -> Any:
    return visitor.page
