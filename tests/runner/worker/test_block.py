from __future__ import annotations

import json
import threading

from runner.engine.states import State
from tests.runner.worker.world import Bench

SHELL = "io.kestra.plugin.scripts.shell.Commands"


def block(*children: str, **properties: object) -> str:
    lines = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in properties.items())
    head = f"  - id: wd\n    type: io.kestra.plugin.core.flow.WorkingDirectory\n{lines}    tasks:\n"
    return head + "".join(children)


def child(name: str, *lines: str, **properties: object) -> str:
    more = "".join(f"        {key}: {json.dumps(value)}\n" for key, value in properties.items())
    return f"      - id: {name}\n        type: {SHELL}\n{more}        commands: {json.dumps(lines)}\n"


def states(end: object) -> list[tuple[str, State]]:
    return [(c.task_id, c.state) for c in end.children]  # type: ignore[attr-defined]


def test_children_share_one_folder_and_run_in_order(bench: Bench) -> None:
    end = bench.run(block(child("a", "echo one > f.txt"), child("b", "cat f.txt")))
    assert states(end) == [("a", State.SUCCESS), ("b", State.SUCCESS)]
    assert "one" in bench.reporter.messages()
    assert [entry.name for entry in bench.spawner.root.iterdir()] == ["heartbeat"]


def test_logs_belong_to_the_child(bench: Bench) -> None:
    end = bench.run(block(child("a", "echo one")))
    (line,) = [line for line in bench.reporter.lines if line.message == "one"]
    assert line.task_id == "a"
    assert line.task_run_id != bench.tr()
    assert end.children[0].attempts[0][0] is State.SUCCESS


def test_a_later_child_sees_the_outputs_of_an_earlier_one(bench: Bench) -> None:
    bench.variables = {"outputs": {"before": {"x": "kept"}}}
    bench.run(
        block(
            child("a", 'echo \'::{"outputs":{"n":3}}::\''),
            child("b", "echo {{ outputs.a.vars.n }} {{ outputs.before.x }} {{ taskrun.parentId }}"),
        )
    )
    assert f"3 kept {bench.tr()}" in bench.reporter.messages()


def test_inside_a_loop_outputs_are_found_by_the_loops_value(bench: Bench) -> None:
    tasks = block(child("a", 'echo \'::{"outputs":{"n":3}}::\''), child("b", "echo got {{ outputs.a['v1'].vars.n }}"))
    bench.run(tasks, value="v1")
    assert "got 3" in bench.reporter.messages()


def test_the_first_failing_child_stops_the_rest(bench: Bench) -> None:
    end = bench.run(block(child("a", "exit 1"), child("b", "echo never")))
    assert states(end) == [("a", State.FAILED)]
    assert end.state is State.SUCCESS  # the block's own preparation; children count besides
    assert end.children[0].error == "Command failed with exit code 1"


def test_allowed_failures_conditions_and_disabled_children(bench: Bench) -> None:
    end = bench.run(
        block(
            child("a", "exit 1", allowFailure=True),
            child("b", "true", runIf="{{ 1 == 2 }}"),
            child("c", "true", disabled=True),
            child("d", "true", runIf="{{ missing }}", allowFailure=True),
            child("e", "true"),
        )
    )
    assert states(end) == [
        ("a", State.WARNING),
        ("b", State.SKIPPED),
        ("d", State.WARNING),
        ("e", State.SUCCESS),
    ]


def test_a_child_is_tried_again_in_the_same_folder(bench: Bench) -> None:
    retry = {"type": "constant", "interval": "PT0.1S", "maxAttempts": 3}
    end = bench.run(block(child("a", "echo x >> tries", "test $(wc -l < tries) = 3", retry=retry)))
    assert [state for state, _, _ in end.children[0].attempts] == [State.FAILED, State.FAILED, State.SUCCESS]
    assert states(end) == [("a", State.SUCCESS)]


def test_a_childs_timeout_fails_it(bench: Bench) -> None:
    end = bench.run(block(child("a", "sleep 60", timeout="PT0.2S")))
    assert end.children[0].error == "Timeout after PT0.2S"


def test_input_and_output_files_of_the_block(bench: Bench) -> None:
    end = bench.run(
        block(child("a", "cat in.txt > out.txt"), inputFiles={"in.txt": "Hello {{ flow.id }}"}, outputFiles=["out.txt"])
    )
    assert bench.text(end.outputs["outputFiles"]["out.txt"]) == "Hello f"


def test_files_that_cannot_be_prepared_fail_the_block_itself(bench: Bench) -> None:
    end = bench.run(block(child("a", "true"), inputFiles={"../x": "y"}))
    assert end.state is State.FAILED
    assert end.children == ()
    assert "leaves the working directory" in end.error


def test_the_cache_carries_files_from_run_to_run(bench: Bench) -> None:
    tasks = block(
        child("a", "ls kept.txt 2>/dev/null || echo none", "echo x > kept.txt"), cache={"patterns": ["*.txt"]}
    )
    bench.run(tasks)
    bench.run(tasks, number=2)
    assert bench.reporter.messages() == ["none", "kept.txt"]


def test_a_cache_older_than_its_ttl_is_not_used(bench: Bench) -> None:
    cache = {"patterns": ["*.txt"], "ttl": "PT0S"}
    tasks = block(child("a", "ls kept.txt 2>/dev/null || echo none", "echo x > kept.txt"), cache=cache)
    bench.run(tasks)
    bench.run(tasks, number=2)
    assert bench.reporter.messages() == ["none", "none"]


def test_kill_ends_the_child_at_work_and_the_block(bench: Bench) -> None:
    began = threading.Event()
    bench.reporter.on_lines = lambda lines: began.set() if any(line.message == "on" for line in lines) else None
    claim = bench.claim(block(child("a", "echo on", "sleep 600"), child("b", "true")))
    thread = threading.Thread(target=bench.runner.run, args=(claim.task_run.id, 1))
    thread.start()
    assert began.wait(20)
    assert bench.runner.cancel(claim.task_run.id, 1)
    thread.join(20)
    end = bench.reporter.ends[bench.tr(), 1]
    assert end.state is State.KILLED
    assert states(end) == [("a", State.KILLED)]


def test_kestras_local_files_in_a_working_directory(bench: Bench) -> None:
    local = "io.kestra.plugin.core.storage.LocalFiles"
    first = f"      - {{id: first, type: {local}, inputs: {{out/stay.txt: '{{{{ taskrun.id }}}}'}}}}\n"
    second = f"      - {{id: second, type: {local}, outputs: ['out/*']}}\n"
    given = "{{ outputs.second.uris['out/stay.txt'] }}"
    last = f'      - {{id: last, type: io.kestra.plugin.core.debug.Return, format: "{given}"}}\n'
    end = bench.run(block(first, second, last))
    assert states(end)[-1] == ("last", State.SUCCESS)
    assert end.children[2].outputs["value"].startswith("kestra://")


def test_an_inline_failure_inside_fails_the_block(bench: Bench) -> None:
    end = bench.run(block("      - {id: f, type: io.kestra.plugin.core.execution.Fail, errorMessage: no}\n"))
    assert states(end) == [("f", State.FAILED)]
    assert end.children[0].error == "no"
