"""The flows of the page about Kestra 2 are converted as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from namespaces.flows.catalog import Catalog
from namespaces.flows.migration import SourceFile, migrate

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "move-to-kestra-2.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize(("before", "after"), list(zip(BLOCKS[::2], BLOCKS[1::2], strict=True)), ids=("done", "yours"))
def test_the_page_shows_what_the_command_does(before: str, after: str) -> None:
    (outcome,) = migrate([SourceFile("f.yaml", before)], Catalog())

    assert outcome.text == after
