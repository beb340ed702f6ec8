"""Every row of the conformance table of expressions, rendered directly; skipped where the table is not at hand."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from namespaces.expressions import NoPorts, RenderError, render

_FOLDER = Path(os.environ.get("LANNER_CONFORMANCE", Path(__file__).parents[4] / "shared" / "conformance"))
_TABLE = _FOLDER / "expressions.json"
_ROWS: list[dict[str, Any]] = json.loads(_TABLE.read_text())["rows"] if _TABLE.is_file() else []


@pytest.mark.skipif(not _ROWS, reason=f"needs the conformance table {_TABLE} (LANNER_CONFORMANCE names its folder)")
@pytest.mark.parametrize("row", _ROWS or [{"id": "none"}], ids=lambda row: row["id"])
def test_a_row_of_the_conformance_table_holds(row: dict[str, Any]) -> None:
    context = {
        "inputs": {"ctx": row.get("context") or {}},
        "flow": {"id": "expressions", "namespace": "io.kestra.tests.expressions", "revision": 1},
    }

    if row.get("error"):
        with pytest.raises(RenderError) as raised:
            render(row["template"], context, NoPorts())
        for part in row.get("error_contains", []):
            assert part in str(raised.value)
        return
    made = render(row["template"], context, NoPorts())

    if "result" in row:
        assert made == row["result"]
    elif "json" in row:
        assert json.loads(made) == row["json"]
    elif "matches" in row:
        assert re.fullmatch(row["matches"], made, re.DOTALL)
    else:
        assert [part for part in row["contains"] if part not in made] == []
