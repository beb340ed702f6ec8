"""No row of the bad inputs is forgotten: each has a test that exists."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.faults.bad_input_rows import ABSENT, COUNTS, ROWS
from tests.support.servers import ROOT


def test_every_row_of_the_contract_is_listed() -> None:
    wanted = {f"{group}{number}" for group, count in COUNTS.items() for number in range(1, count + 1)}

    assert ROWS.keys() | ABSENT.keys() == wanted
    assert not ROWS.keys() & ABSENT.keys()


@cache
def functions(file: str) -> frozenset[str]:
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_exist(row: str) -> None:
    for place in ROWS[row]:
        file, _, name = place.partition("::")
        name, _, case = name.partition("[")
        assert name in functions(file), place
        assert not case or f'"{case}' in (ROOT / file).read_text(), place
