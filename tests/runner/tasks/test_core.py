"""What each core task type does, run through a real attempt with the world in memory."""

from __future__ import annotations

import json
import threading

import pytest

from runner.engine.states import State
from tests.runner.worker.world import Bench

CORE = "io.kestra.plugin.core."
FILES = "/company/team/f/executions/ex1/inputs/file/"


def task(kind: str, **properties: object) -> str:
    lines = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in properties.items())
    return f"  - id: t\n    type: {CORE}{kind}\n{lines}"


def given(bench: Bench, name: str, content: str) -> str:
    return bench.storage.put(FILES + name, content.encode())


# -- text, metrics, waiting ----------------------------------------------------------------------------------------


def test_return_and_log_as_a_worker_runs_them(bench: Bench) -> None:
    assert bench.run(task("debug.Return", format="{{ flow.id }}")).outputs == {"value": "f"}
    bench.run(task("log.Log", message=["a", "{{ 1 + 1 }}"], level="WARN"), number=2)
    assert bench.reporter.messages() == ["a", "2"]


def test_log_level_filters_and_log_to_file_keeps_lines_in_storage(bench: Bench) -> None:
    bench.run(task("log.Log", message="quiet", level="DEBUG", logLevel="INFO"))
    end = bench.run(task("log.Log", message="Hello World!", logToFile=True), number=2)
    assert bench.reporter.lines == []
    text = bench.text(end.info["logFile"])
    assert text.endswith("INFO Hello World!\n")
    assert text.count("\n") == 1


def test_a_render_error_fails_with_one_line(bench: Bench) -> None:
    end = bench.run(task("debug.Return", format="{{ missing }}"))
    assert end.state is State.FAILED
    assert end.error.startswith("Unable to find `missing`")
    assert len(bench.reporter.messages()) == 1


def test_metrics(bench: Bench) -> None:
    bench.run(
        task(
            "metric.Publish",
            metrics=[
                {"name": "rows", "type": "counter", "value": "{{ 2 + 3 }}", "tags": {"a": 1}},
                {"name": "took", "type": "timer", "value": "PT1.5S"},
            ],
        )
    )
    assert [(m.name, m.value, dict(m.tags)) for m in bench.reporter.metrics] == [
        ("rows", 5.0, {"a": "1"}),
        ("took", 1.5, {}),
    ]


def test_sleep_ends_at_a_kill_and_at_the_timeout(bench: Bench) -> None:
    claim = bench.claim(task("flow.Sleep", duration="PT10M"))
    thread = threading.Thread(target=bench.runner.run, args=(claim.task_run.id, 1))
    thread.start()
    while not bench.runner.cancel(claim.task_run.id, 1):
        pass
    thread.join(10)
    assert bench.reporter.ends[bench.tr(), 1].state is State.KILLED
    end = bench.run(task("flow.Sleep", duration="PT10M", timeout="PT0.{{ 1 }}S"), number=2)
    assert end.error == "Timeout after PT0.1S"


def test_a_bad_dynamic_value_names_the_property(bench: Bench) -> None:
    end = bench.run(task("flow.Sleep", duration="{{ 'soon' }}"))
    assert end.state is State.FAILED
    assert "`duration`" in end.error


def test_acts_on_other_executions(bench: Bench) -> None:
    bench.run(task("execution.Resume", executionId="{{ 'x' }}", inputs={"a": "{{ 1 }}"}))
    bench.run(task("execution.Kill", executionId="y", propagateKill=False), number=2)
    bench.run(task("trigger.Toggle", trigger="tr", enabled="{{ true }}"), number=3)
    assert bench.world.calls == [
        ("resume", "x", {"a": "1"}),
        ("kill", "y", False),
        ("toggle", "company.team", "f", "tr", True),
    ]


# -- kv, state -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "stored"),
    [
        ("text", None, "text"),
        ("{{ 1 + 1 }}", None, 2),
        ("{{ {'a': [1]} }}", None, {"a": [1]}),
        ("n {{ 'x' }}", None, "n x"),
        ({"a": "{{ 1 }}"}, None, {"a": "1"}),
        ("12", "STRING", "12"),
    ],
)
def test_kv_set_keeps_typed_values(bench: Bench, value: object, kind: str | None, stored: object) -> None:
    end = bench.run(task("kv.Set", key="k", value=value, **({"kvType": kind} if kind else {})))
    assert end.state is State.SUCCESS, end.error
    assert bench.world.kv["company.team", "k"] == stored
    assert type(bench.world.kv["company.team", "k"]) is type(stored)


def test_kv_set_hands_the_wanted_type_on(bench: Bench) -> None:
    bench.run(task("kv.Set", key="k", value="PT5M", kvType="{{ 'DURATION' }}"))
    assert bench.world.types["company.team", "k"] == "DURATION"
    assert bench.run(task("kv.Set", key="k", value="1", overwrite=False), number=2).state is State.FAILED


def test_kv_get_keys_and_delete(bench: Bench) -> None:
    bench.world.kv = {("company.team", "ab"): 1, ("company.team", "b"): 2, ("other", "x"): 3}
    assert bench.run(task("kv.Get", key="ab")).outputs == {"value": 1}
    assert bench.run(task("kv.Get", key="none"), number=2).outputs == {"value": None}
    assert bench.run(task("kv.Get", key="none", errorOnMissing=True), number=3).state is State.FAILED
    assert bench.run(task("kv.GetKeys", prefix="a"), number=4).outputs == {"keys": ["ab"]}
    assert bench.run(task("kv.Delete", key="ab"), number=5).outputs == {"deleted": True}
    assert bench.run(task("kv.Delete", key="ab"), number=6).outputs == {"deleted": False}
    assert bench.run(task("kv.Get", key="x", namespace="other"), number=7).outputs == {"value": 3}


def test_state_is_merged_read_and_deleted(bench: Bench) -> None:
    bench.run(task("state.Set", data={"a": "{{ 1 }}"}))
    assert bench.run(task("state.Set", data={"b": "2"}), number=2).outputs["count"] == 2
    assert bench.run(task("state.Get"), number=3).outputs == {"count": 2, "data": {"a": "1", "b": "2"}}
    assert bench.run(task("state.Delete"), number=4).outputs == {"deleted": True}
    assert bench.run(task("state.Get"), number=5).outputs["count"] == 0
    assert bench.run(task("state.Get", errorOnMissing=True), number=6).state is State.FAILED


def test_state_is_separate_per_value_of_a_loop_unless_told_otherwise(bench: Bench) -> None:
    bench.run(task("state.Set", data={"a": "1"}), value="v1")
    assert bench.run(task("state.Get"), number=2, value="v2").outputs["count"] == 0
    assert bench.run(task("state.Get"), number=3, value="v1").outputs["count"] == 1
    assert bench.run(task("state.Get", taskrunValue=False), number=4, value="v1").outputs["count"] == 0


# -- storage -------------------------------------------------------------------------------------------------------


def test_concat_puts_the_separator_after_every_file(bench: Bench) -> None:
    uris = [given(bench, "1", "a"), given(bench, "2", "b")]
    end = bench.run(task("storage.Concat", files=uris, separator="\n", extension=".txt"))
    assert bench.text(end.outputs["uri"]) == "a\nb\n"
    assert end.outputs["uri"].endswith(".txt")
    assert bench.text(bench.run(task("storage.Concat", files=json.dumps(uris)), number=2).outputs["uri"]) == "ab"


@pytest.mark.parametrize(
    ("properties", "parts"),
    [
        ({"rows": 2}, ["1\n2\n", "3\n4\n", "5\n"]),
        ({}, ["1\n", "2\n", "3\n", "4\n", "5\n"]),
        ({"partitions": 2}, ["1\n3\n5\n", "2\n4\n"]),
        ({"partitions": 9}, ["1\n", "2\n", "3\n", "4\n", "5\n"]),
        ({"bytes": "4"}, ["1\n2\n", "3\n4\n", "5\n"]),
    ],
)
def test_split(bench: Bench, properties: dict[str, object], parts: list[str]) -> None:
    uri = given(bench, "rows.csv", "1\n2\n3\n4\n5")
    end = bench.run(task("storage.Split", **{"from": uri}, **properties))
    assert [bench.text(part) for part in end.outputs["uris"]] == parts
    assert all(part.endswith(".csv") for part in end.outputs["uris"])


def test_split_by_size_counts_as_kestra_does(bench: Bench) -> None:
    uri = given(bench, "big", "".join(f"{n}".rjust(20) + "\n" for n in range(12288)))
    assert len(bench.run(task("storage.Split", **{"from": uri}, bytes="1KB")).outputs["uris"]) == 251


@pytest.mark.parametrize("text", ["1\n2\n3\n", "1\n2\n3"])
def test_reverse(bench: Bench, text: str) -> None:
    end = bench.run(task("storage.Reverse", **{"from": given(bench, "x", text)}))
    assert bench.text(end.outputs["uri"]) == "3\n2\n1\n"


def test_reverse_of_a_long_file(bench: Bench) -> None:
    lines = [f"line {n}" for n in range(30_000)]
    end = bench.run(task("storage.Reverse", **{"from": given(bench, "x", "\n".join(lines))}))
    assert bench.text(end.outputs["uri"]).splitlines() == lines[::-1]


ROWS = '{key:"k1",value:1}\n{"key":"k2","value":"dummy"}\n{key:"k1",value:4}\n'


def test_deduplicate_keeps_the_last_row_of_a_key(bench: Bench) -> None:
    end = bench.run(task("storage.DeduplicateItems", **{"from": given(bench, "x", ROWS)}, expr="{{ key }}"))
    assert end.outputs | {"uri": ""} == {"uri": "", "numKeys": 2, "processedItemsTotal": 3, "droppedItemsTotal": 1}
    assert bench.text(end.outputs["uri"]) == '{key:"k2",value:"dummy"}\n{key:"k1",value:4}\n'


@pytest.mark.parametrize(
    ("more", "dropped"),
    [({"errorOrNullBehavior": "EXCLUDE"}, 2), ({"errorOrNullBehavior": "INCLUDE"}, 1),
     ({"errorOrNullBehavior": "EXCLUDE", "filterType": "EXCLUDE"}, 2)],
)  # fmt: skip
def test_filter(bench: Bench, more: dict[str, str], dropped: int) -> None:
    uri = given(bench, "x", ROWS)
    end = bench.run(task("storage.FilterItems", **{"from": uri}, filterCondition=" {{ value % 2 == 0 }} ", **more))
    assert end.outputs["droppedItemsTotal"] == dropped
    assert end.outputs["processedItemsTotal"] == 3


def test_filter_fails_for_a_bad_row_by_default(bench: Bench) -> None:
    end = bench.run(
        task("storage.FilterItems", **{"from": given(bench, "x", ROWS)}, filterCondition="{{ value % 2 == 0 }}")
    )
    assert end.state is State.FAILED


def test_size_write_and_delete(bench: Bench) -> None:
    uri = given(bench, "x", "12345")
    assert bench.run(task("storage.Size", uri=uri)).outputs == {"size": 5}
    assert bench.run(task("storage.Delete", uri=uri), number=2).outputs == {"uri": uri, "deleted": True}
    assert bench.run(task("storage.Delete", uri=uri), number=3).outputs["deleted"] is False
    assert bench.run(task("storage.Delete", uri=uri, errorOnMissing=True), number=4).state is State.FAILED
    end = bench.run(task("storage.Write", content="n {{ 1 }}", extension=".md"), number=5)
    assert (bench.text(end.outputs["uri"]), end.outputs["uri"][-3:]) == ("n 1", ".md")
    end = bench.run(task("storage.Write", content={"a": "{{ 1 }}"}), number=6)
    assert bench.text(end.outputs["uri"]) == '{"a":"1"}'


def test_a_foreign_file_is_not_read(bench: Bench) -> None:
    uri = bench.storage.put("/company/team/f/executions/other/x", b"x")
    for number, kind in enumerate(("storage.Size", "storage.Delete"), 1):
        assert "didn't belong" in bench.run(task(kind, uri=uri), number=number).error
    bench.world.readable.add(uri)
    assert bench.run(task("storage.Size", uri=uri), number=3).outputs == {"size": 1}


def test_purging_the_files_of_this_execution(bench: Bench) -> None:
    uri = given(bench, "x", "1")
    assert bench.run(task("storage.PurgeCurrentExecutionFiles")).outputs == {"uris": [uri]}
    assert not bench.storage.exists(uri)


# -- namespace files -----------------------------------------------------------------------------------------------


def test_namespace_files_up_down_and_gone(bench: Bench) -> None:
    uri = given(bench, "x", "content")
    end = bench.run(
        task("namespace.UploadFiles", namespace="a.b", filesMap={"q/x.sql": uri, "y.txt": "text"}, destination="/d")
    )
    assert bench.world.files == {("a.b", "/d/q/x.sql"): b"content", ("a.b", "/d/y.txt"): b"text"}
    assert end.outputs["files"]["/d/y.txt"] == "kestra:///a/b/_files/d/y.txt"
    assert bench.run(
        task("namespace.UploadFiles", namespace="a.b", filesMap={"d/y.txt": "2"}, conflict="ERROR"), number=2
    ).error
    bench.run(task("namespace.UploadFiles", namespace="a.b", filesMap={"d/y.txt": "2"}, conflict="SKIP"), number=3)
    assert bench.world.files["a.b", "/d/y.txt"] == b"text"
    end = bench.run(task("namespace.DownloadFiles", namespace="a.b", files=["**.sql"]), number=4)
    assert bench.text(end.outputs["files"]["/d/q/x.sql"]) == "content"
    bench.run(task("namespace.DeleteFiles", namespace="a.b", files="y.txt"), number=5)
    assert list(bench.world.files) == [("a.b", "/d/q/x.sql")]


# -- maintenance, templates ----------------------------------------------------------------------------------------


def test_fetching_logs_counting_and_purging(bench: Bench) -> None:
    bench.world.rows = [{"level": "INFO", "message": "x"}]
    end = bench.run(task("log.Fetch", tasksId=["a"], level="WARN"))
    assert end.outputs["size"] == 1
    assert bench.text(end.outputs["uri"]) == '{level:"INFO",message:"x"}\n'
    assert bench.world.calls[0] == ("logs", "ex1", ["a"], "WARN")
    assert bench.run(task("log.PurgeLogs", endDate="2024-01-01T00:00:00Z"), number=2).outputs == {"count": 3}
    end = bench.run(
        task(
            "execution.Count",
            flows=[{"namespace": "a", "flowId": "b"}],
            startDate="{{ '2024' }}",
            expression="{{ count > 0 }}",
        ),
        number=3,
    )
    assert end.outputs == {"results": [{"namespace": "a", "flowId": "c", "count": 2}], "total": 2}
    end = bench.run(task("execution.PurgeExecutions", endDate="2024-01-01T00:00:00Z"), number=4)
    assert end.outputs == {"executionsCount": 1, "logsCount": 2, "metricsCount": 3, "storagesCount": 4}


def test_a_templated_task_runs_in_its_place(bench: Bench) -> None:
    bench.variables = {"inputs": {"kind": "debug.Return"}}
    spec = "id: inner\ntype: io.kestra.plugin.core.{{ inputs.kind }}\nformat: from inside"
    assert bench.run(task("templating.TemplatedTask", spec=spec)).outputs == {"value": "from inside"}
    script = "id: inner\ntype: io.kestra.plugin.scripts.shell.Commands\ncommands: [echo nested]"
    assert bench.run(task("templating.TemplatedTask", spec=script), number=2).state is State.SUCCESS
    assert "nested" in bench.reporter.messages()


@pytest.mark.parametrize(
    "spec",
    ["id: x\ntype: nope", "id: x\ntype: io.kestra.plugin.core.templating.TemplatedTask\nspec: y", "- a", ": :",
     "id: x\ntype: io.kestra.plugin.core.flow.Sequential\ntasks: [{id: y, type: io.kestra.plugin.core.debug.Return}]"],
)  # fmt: skip
def test_a_bad_template_fails_with_a_reason(bench: Bench, spec: str) -> None:
    end = bench.run(task("templating.TemplatedTask", spec=spec))
    assert end.state is State.FAILED
    assert "templated task" in end.error


def test_every_declared_task_type_has_an_implementation() -> None:
    from namespaces.flows.catalog import Catalog
    from runner.tasks import find

    assert [e.name for e in Catalog().of_kind("task") if find(e.name) is None] == []
