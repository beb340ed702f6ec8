"""Rules whose URL builders are made late behave like Werkzeug's own."""

from __future__ import annotations

import pytest
from werkzeug.routing import BuildError, Map, Rule

from service.rules import LazyRule

PATHS = ["/", "/flows/<namespace>/<id>", "/files/<path:name>", "/pages/<int:number>"]


@pytest.mark.parametrize("path", PATHS)
def test_a_lazy_rule_builds_and_matches_the_same(path: str) -> None:
    values = {"namespace": "a b", "id": "x-y", "name": "a/b", "number": 3, "q": "1"}

    def both(kind: type[Rule]) -> tuple[str, tuple[str, object]]:
        adapter = Map([kind(path, endpoint="e")]).bind("localhost")
        given = {key: value for key, value in values.items() if f"{key}>" in path or key == "q"}
        url = adapter.build("e", given)
        assert adapter.build("e", given) == url
        return url, adapter.match(url.partition("?")[0])

    assert both(LazyRule) == both(Rule)


def test_a_missing_value_is_still_an_error() -> None:
    adapter = Map([LazyRule("/<a>", endpoint="e")]).bind("localhost")

    with pytest.raises(BuildError):
        adapter.build("e", {})
