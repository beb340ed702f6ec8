"""Policies on a whole instance: at save, before a run, and for a task that is only known once it is rendered."""

from __future__ import annotations

from pathlib import Path

import pytest

from namespaces.errors import Conflict, InvalidFlow
from tests.support.instances import Instance

RETURN = "io.kestra.plugin.core.debug.Return"
DENY = {
    "id": "p",
    "rules": [{"type": "Deny", "where": [{"field": "type", "operator": "EQUAL_TO", "value": RETURN}]}],
}
ADD = {"id": "a", "rules": [{"type": "Add", "values": {"message": "added"}, "override": True}]}


def test_a_policy_forbids_the_save_and_the_start_of_what_was_saved_before(tmp_path: Path) -> None:
    folder, url = tmp_path / "data", f"sqlite:///{tmp_path / 'data' / 'lanner.db'}"
    before = Instance(folder, url)
    before.deploy("f", f"tasks: [{{id: t, type: {RETURN}}}]")
    before.close()

    ruled = Instance(folder, url, policies=[DENY, ADD])
    try:
        with pytest.raises(InvalidFlow, match="is not allowed here"):
            ruled.deploy("g", f"tasks: [{{id: t, type: {RETURN}}}]")
        with pytest.raises(Conflict, match="a policy forbids"):
            ruled.start("f")
        ruled.deploy("log", "tasks: [{id: t, type: io.kestra.plugin.core.log.Log, message: mine}]")
        assert ruled.logs(ruled.run("log")["id"]) == ["added"]
        ruled.deploy(
            "hidden",
            f'tasks: [{{id: t, type: io.kestra.plugin.core.templating.TemplatedTask, spec: "id: x\\ntype: {RETURN}"}}]',
        )
        hidden = ruled.run("hidden")
        assert hidden["state"]["current"] == "FAILED"
        assert any("is not allowed here" in line for line in ruled.logs(hidden["id"]))
    finally:
        ruled.close()
