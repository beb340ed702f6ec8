from __future__ import annotations

from tests.runner.worker.world import Bench

from runner.engine.states import State

LOCAL = "io.kestra.plugin.core.storage.LocalFiles"


def block(children: str, properties: str = "") -> str:
    return f"  - id: wd\n    type: io.kestra.plugin.core.flow.WorkingDirectory\n{properties}    tasks:\n{children}"


def shell(name: str, line: str, more: str = "") -> str:
    return f"""      - id: {name}
        type: io.kestra.plugin.scripts.shell.Commands
        commands: ['{line}']
{more}"""


def test_children_share_one_folder_and_run_in_order(bench: Bench) -> None:
    end = bench.run(block(shell("a", "echo one > f.txt") + shell("b", "cat f.txt")))
    assert [(c.task_id, c.state) for c in end.children] == [("a", State.SUCCESS), ("b", State.SUCCESS)]
    assert "one" in bench.reporter.messages()
