"""The examples in the table of the language hold, and the reference page shows exactly that table."""

from __future__ import annotations

from pathlib import Path

import pytest

from namespaces.expressions import NoPorts, render
from namespaces.expressions.builtins import FILTERS, FUNCTIONS, TESTS
from namespaces.expressions.reference import page

_EXAMPLES = [example for table in (FILTERS, FUNCTIONS, TESTS) for entry in table.values() for example in entry.examples]


@pytest.mark.parametrize(("template", "result"), _EXAMPLES, ids=[template for template, _ in _EXAMPLES])
def test_an_example_of_the_reference_gives_what_it_says(template: str, result: str) -> None:
    assert render(template, {}, NoPorts()) == result


@pytest.mark.parametrize("name", sorted({*FILTERS, *FUNCTIONS, *TESTS}))
def test_every_name_is_documented(name: str) -> None:
    for table in (FILTERS, FUNCTIONS, TESTS):
        if name in table:
            assert table[name].doc


def test_the_reference_page_is_the_table() -> None:
    path = Path(__file__).parents[3] / "docs" / "reference" / "expressions.md"

    assert path.read_text() == page(), "run: python -m namespaces.expressions.reference > docs/reference/expressions.md"
