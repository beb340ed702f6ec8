"""Every limit of reliability.md R21: its setting, its answer, its figures. One test a row, by changing the setting."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from runner.taskcache import cache_table
from service.limits import AT_THE_LIMIT
from service.settings.model import Limits
from service.web import create_app
from tests.support.instances import NS, Instance, whole

TESTS = Path(__file__).parents[1]
YAML = {"content_type": "application/x-yaml"}
LOG = "tasks: [{id: a, type: core.log.Log, message: hi}]"
PAUSE = "tasks: [{id: a, type: core.flow.Pause}]"
SHELL = "tasks: [{id: a, type: scripts.shell.Script, script: '%s'}]"


class House:
    """An instance with its application."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.client: FlaskClient = create_app(instance.lanner).test_client()

    def save(self, text: str) -> Any:
        return self.client.post("/api/v1/main/flows", data=text, **YAML)

    def post(self, flow_id: str = "f", **more: Any) -> Any:
        more.setdefault("content_type", "multipart/form-data")
        return self.client.post(f"/api/v1/main/executions/{NS}/{flow_id}", **more)

    def run(self, body: str, **more: Any) -> tuple[str, str]:
        """The end state of a flow and everything in its log."""
        self.instance.deploy("f", body)
        execution = self.instance.run("f", **more)
        return execution["state"]["current"], "\n".join(self.instance.logs(execution["id"]))

    def figure(self, metric: str, name: str) -> float:
        text = self.client.get("/metrics").get_data(as_text=True)
        found = re.search(rf'^{metric}{{name="{name}"}} (\S+)$', text, re.MULTILINE)
        assert found is not None, f"{metric} of {name} is not shown"
        return float(found[1])

    def met(self, name: str) -> bool:
        return self.figure("lanner_limit_hits_total", name) > 0


Make = Callable[..., House]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Make]:
    made: list[Instance] = []

    def make(**limits: Any) -> House:
        url = f"sqlite:///{tmp_path / 'lanner.db'}"
        made.append(Instance(tmp_path / "data", url, limits=limits))
        return House(made[-1])

    yield make
    for instance in made:
        instance.close()


# -- the table


def _marked() -> set[str]:
    """The names in ``pytest.mark.limit(…)`` of all tests."""
    names: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text()
        if "mark.limit(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.limit":
                names |= {str(ast.literal_eval(argument)) for argument in node.args}
    return names


def test_every_limit_has_an_answer_in_the_table_and_a_test_of_it() -> None:
    assert set(AT_THE_LIMIT) == set(Limits.model_fields)
    assert _marked() == set(Limits.model_fields)


def test_every_limit_shows_its_value_and_how_often_it_was_met(house: Make) -> None:
    made = house(executions=7, render_time="1500ms", attempt_memory_bytes="1GiB")

    values = {name: made.figure("lanner_limit", name) for name in Limits.model_fields}
    hits = {name: made.figure("lanner_limit_hits_total", name) for name in Limits.model_fields}

    assert set(hits.values()) == {0}
    assert (values["executions"], values["render_time"], values["attempt_memory_bytes"]) == (7, 1.5, 2**30)
    assert values["attempt_cpu"] == values["webhook_rate"] == float("inf")


# -- admission


@pytest.mark.limit("executions")
@pytest.mark.limit("executions_per_namespace")
@pytest.mark.limit("executions_per_flow")
@pytest.mark.parametrize("name", ["executions", "executions_per_namespace", "executions_per_flow"])
def test_more_open_executions_are_refused_with_429_and_a_time_to_wait(house: Make, name: str) -> None:
    made = house(**{name: 1})
    made.instance.deploy("f", PAUSE)
    made.instance.start("f")

    refused = made.post()

    assert (refused.status_code, refused.get_json()["code"]) == (429, "too_many_executions")
    assert int(refused.headers["Retry-After"]) > 0
    assert made.met(name)
    assert made.figure("lanner_limit_used", name) == 1


@pytest.mark.limit("memory_bytes")
def test_a_server_that_is_too_large_takes_no_new_work_and_shows_why(house: Make) -> None:
    made = house(memory_bytes="1MiB")
    made.instance.deploy("f", LOG)

    refused = made.post()

    assert (refused.status_code, refused.get_json()["code"]) == (503, "memory_limit")
    assert int(refused.headers["Retry-After"]) > 0
    assert made.met("memory_bytes")
    assert made.figure("lanner_limit_used", "memory_bytes") > 2**20
    assert made.client.get("/health/live").status_code == 200


@pytest.mark.slow
@pytest.mark.limit("subprocesses")
def test_scripts_beyond_the_limit_wait_for_a_place(house: Make, tmp_path: Path) -> None:
    made = house(subprocesses=1)
    lock = tmp_path / "lock"
    made.instance.deploy("f", SHELL % f"mkdir {lock} && sleep 0.3 && rmdir {lock}")

    started = [made.instance.start("f") for _ in range(3)]

    assert [made.instance.ended(one)["state"]["current"] for one in started] == ["SUCCESS"] * 3
    assert made.met("subprocesses")
    assert made.figure("lanner_limit", "subprocesses") == 1


# -- requests


@pytest.mark.limit("body_bytes")
def test_a_larger_body_is_413(house: Make) -> None:
    made = house(body_bytes=1000)

    assert made.save(whole("f", LOG) + "#" * 1000).status_code == 413
    assert made.met("body_bytes")


@pytest.mark.limit("upload_bytes")
def test_a_larger_upload_is_413(house: Make) -> None:
    made = house(upload_bytes=1000)
    made.instance.deploy("f", f"inputs: [{{id: i, type: FILE}}]\n{LOG}")

    assert made.post(data={"i": (io.BytesIO(b"x" * 2000), "i.txt")}).status_code == 413
    assert made.met("upload_bytes")


HOOK = f"{LOG}\ntriggers: [{{id: t, type: core.trigger.Webhook, key: a-key-that-is-long-enough-to-be-accepted}}]"
URL = f"/api/v1/main/executions/webhook/{NS}/f/a-key-that-is-long-enough-to-be-accepted"


@pytest.mark.limit("webhook_body_bytes")
def test_a_larger_webhook_body_is_413(house: Make) -> None:
    made = house(webhook_body_bytes=100)
    made.instance.deploy("f", HOOK)

    assert made.client.post(URL, data=b"x" * 101).status_code == 413
    assert made.met("webhook_body_bytes")
    assert made.client.post(URL, data=b"x" * 100).status_code == 200


@pytest.mark.limit("webhook_rate")
def test_more_webhook_calls_in_a_minute_are_429(house: Make) -> None:
    made = house(webhook_rate=1)
    made.instance.deploy("f", HOOK)

    assert made.client.post(URL).status_code == 200
    refused = made.client.post(URL)

    assert refused.status_code == 429
    assert "Retry-After" in refused.headers
    assert made.met("webhook_rate")


@pytest.mark.limit("form_parts")
@pytest.mark.parametrize("path", [f"/api/v1/main/executions/{NS}/f", URL])
def test_a_form_of_more_parts_is_413(house: Make, path: str) -> None:
    made = house(form_parts=2)
    made.instance.deploy("f", HOOK)
    form = dict.fromkeys("abc", "x")

    refused = made.client.post(path, data=form, content_type="multipart/form-data")

    assert refused.status_code == 413
    assert made.met("form_parts")


@pytest.mark.limit("input_bytes")
@pytest.mark.parametrize(("kind", "value"), [("STRING", "x" * 101), ("JSON", '["' + "x" * 100 + '"]')])
def test_a_longer_input_value_is_refused_by_name(house: Make, kind: str, value: str) -> None:
    made = house(input_bytes=100)
    made.instance.deploy("f", f"inputs: [{{id: i, type: {kind}}}]\n{LOG}")

    refused = made.post(data={"i": value})

    assert refused.status_code == 422
    assert "`i`" in refused.get_json()["message"]
    assert "longer than 100 bytes: use an input of type FILE" in refused.get_json()["message"]
    assert made.met("input_bytes")


# -- flows


@pytest.mark.limit("flow_bytes")
@pytest.mark.limit("flow_nodes")
@pytest.mark.limit("flow_depth")
@pytest.mark.limit("flow_aliases")
@pytest.mark.limit("tasks_per_flow")
@pytest.mark.parametrize(
    ("name", "most", "body", "words"),
    [
        ("flow_bytes", 1024, f"{LOG}\n#{'x' * 1000}", "larger than 1 KiB"),
        ("flow_nodes", 40, f"variables: {{l: [{'1, ' * 40}]}}\n{LOG}", "more than 40 nodes"),
        ("flow_depth", 5, f"variables: {{l: [[[[[1]]]]]}}\n{LOG}", "nesting deeper than 5"),
        ("flow_aliases", 1, f"variables: {{a: &a x, b: *a, c: *a}}\n{LOG}", "more than 1 aliases"),
        (
            "tasks_per_flow",
            1,
            "tasks: [{id: a, type: core.log.Log, message: x}, {id: b, type: core.log.Log, message: x}]",
            "at most 1 tasks, this one has 2",
        ),
    ],
)
def test_a_flow_beyond_a_limit_is_a_validation_error(house: Make, name: str, most: int, body: str, words: str) -> None:
    made = house(**{name: most})

    refused = made.save(whole("f", body))

    assert refused.status_code == 422
    assert words in refused.get_json()["message"]
    assert made.met(name)
    assert made.save(whole("g", LOG)).status_code == 200


def test_a_higher_limit_lets_a_deeper_flow_in(house: Make) -> None:
    made = house(flow_depth=200)
    deep = "variables: {l: " + "[" * 150 + "1" + "]" * 150 + "}\n" + LOG

    assert made.save(whole("f", deep)).status_code == 200


# -- executions


@pytest.mark.limit("task_runs_per_execution")
def test_more_task_runs_fail_the_execution(house: Make) -> None:
    made = house(task_runs_per_execution=5)

    state, log = made.run(
        """
        tasks:
          - id: each
            type: core.flow.ForEach
            values: [1, 2, 3, 4, 5, 6]
            tasks: [{id: a, type: core.log.Log, message: hi}]
        """
    )

    assert state == "FAILED"
    assert "too_many_taskruns" in log
    assert made.met("task_runs_per_execution")


@pytest.mark.limit("subflow_depth")
def test_deeper_subflows_fail_the_task(house: Make) -> None:
    made = house(subflow_depth=1)
    calls = f"tasks: [{{id: call, type: core.flow.Subflow, namespace: {NS}, flowId: %s, wait: true}}]"
    made.instance.deploy("last", LOG)
    made.instance.deploy("middle", calls % "last")

    state, _ = made.run(calls % "middle")

    assert state == "FAILED"
    assert made.instance.count("last") == 0
    assert made.met("subflow_depth")


@pytest.mark.limit("output_bytes")
@pytest.mark.limit("output_row_bytes")
@pytest.mark.parametrize(
    ("name", "state", "words"), [("output_row_bytes", "SUCCESS", "100"), ("output_bytes", "FAILED", "output_too_large")]
)
def test_large_outputs_move_to_storage_and_larger_ones_fail(house: Make, name: str, state: str, words: str) -> None:
    made = house(**{name: 50})

    ended, log = made.run(
        f"""
        tasks:
          - {{id: a, type: core.debug.Return, format: "{"x" * 100}"}}
          - {{id: b, type: core.log.Log, message: "{{{{ outputs.a.value | length }}}}"}}
        """
    )

    assert ended == state
    assert words in log
    assert made.met(name)


@pytest.mark.limit("task_cache_entries")
def test_the_oldest_kept_outputs_of_a_task_go_first(house: Make) -> None:
    made = house(task_cache_entries=1)
    made.instance.deploy(
        "f",
        """
        inputs: [{id: i, type: STRING}]
        tasks: [{id: a, type: core.debug.Return, format: "{{ inputs.i }}", taskCache: {enabled: true}}]
        """,
    )

    for value in ("one", "two"):
        made.instance.run("f", inputs={"i": value})
    kept = made.instance.database.read(lambda c: list(c.execute(sa.select(cache_table.c.outputs)).scalars()))

    assert [outputs["value"] for outputs in kept] == ["two"]
    assert made.met("task_cache_entries")


# -- expressions


@pytest.mark.limit("expression_bytes")
@pytest.mark.limit("template_bytes")
@pytest.mark.limit("rendered_bytes")
@pytest.mark.limit("context_bytes")
@pytest.mark.limit("render_time")
@pytest.mark.limit("render_memory_bytes")
@pytest.mark.parametrize(
    ("name", "most", "message", "words"),
    [
        ("expression_bytes", 20, "{{ 'a' ~ 'b' ~ 'c' ~ 'd' }}", "more than 20 bytes"),
        ("template_bytes", 20, "this is not so short {{ 1 }}", "more than 20 bytes are not rendered"),
        ("rendered_bytes", 20, "{{ 'ä' }}{{ 'öäüöäüöäüöä' }}", "expression result too large"),
        ("context_bytes", 200, "{% for x in vars.list %}{{ x }}{% endfor %}", "output_too_large"),
        ("render_time", "50ms", "{% for a in 1..90 %}{% for b in 1..90 %}{% for c in 1..90 %}{{ a }}{% endfor %}"
                                "{% endfor %}{% endfor %}", "more than 0.05 s"),
        ("render_memory_bytes", "1MiB", "{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 15 +
                                        "{% set b = [a ~ 1, a ~ 2, a ~ 3, a ~ 4, a ~ 5] %}{{ b | length }}", "memory"),
    ],
)  # fmt: skip
def test_a_rendering_beyond_a_limit_fails_the_task(house: Make, name: str, most: Any, message: str, words: str) -> None:
    made = house(**{name: most})
    values = ", ".join(str(number) for number in range(100, 200))

    state, log = made.run(
        f"""
        variables: {{list: [{values}]}}
        tasks:
          - id: a
            type: core.log.Log
            message: "{message}"
        """
    )

    assert state == "FAILED"
    assert words in log
    assert made.met(name)


# -- scripts


@pytest.mark.slow
@pytest.mark.limit("log_bytes")
@pytest.mark.limit("log_line_bytes")
@pytest.mark.limit("log_lines_per_second")
@pytest.mark.parametrize(
    ("limits", "script", "words"),
    [
        ({"log_bytes": 2000}, "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done", "lines dropped"),
        ({"log_line_bytes": 100}, "echo $(printf %0200d 1)", "[100 bytes cut]"),
        (
            {"log_lines_per_second": 1, "log_bytes": 5000},
            "i=0; while [ $i -lt 400 ]; do echo a line $i; i=$((i+1)); done",
            "lines dropped",
        ),
    ],
)
def test_a_log_beyond_a_limit_is_cut_and_the_script_goes_on(
    house: Make, limits: dict[str, Any], script: str, words: str
) -> None:
    made = house(**limits)

    state, log = made.run(SHELL % f"{script}; echo the end")

    assert state == "SUCCESS"
    assert words in log
    assert "the end" in log
    assert made.met(next(iter(limits)))


@pytest.mark.slow
@pytest.mark.limit("output_file_bytes")
@pytest.mark.limit("output_files")
@pytest.mark.limit("output_files_bytes")
@pytest.mark.parametrize(
    ("name", "most", "words"),
    [
        ("output_file_bytes", 50, "two.txt is too large"),
        ("output_files", 1, "2 output files, more than 1"),
        ("output_files_bytes", 90, "is too large"),
    ],
)
def test_output_files_beyond_a_limit_fail_the_task(house: Make, name: str, most: int, words: str) -> None:
    made = house(**{name: most})

    state, log = made.run(
        """
        tasks:
          - id: a
            type: scripts.shell.Script
            script: "printf %040d 1 > one.txt; printf %060d 1 > two.txt"
            outputFiles: ["*.txt"]
        """
    )

    assert state == "FAILED"
    assert words in log
    assert made.met(name)


@pytest.mark.slow
@pytest.mark.limit("attempt_memory_bytes")
@pytest.mark.limit("attempt_cpu")
@pytest.mark.limit("attempt_processes")
@pytest.mark.limit("attempt_file_bytes")
@pytest.mark.parametrize(
    ("name", "most", "script", "reason"),
    [
        ("attempt_memory_bytes", "64MiB", "x = bytearray(200 << 20); import time; time.sleep(30)", "oom"),
        ("attempt_cpu", "500ms", "while True: pass", "cpu"),
        (
            "attempt_processes",
            3,
            "import subprocess, time; a = [subprocess.Popen([\"sleep\", \"30\"]) for _ in range(6)]; time.sleep(30)",
            "pids",
        ),
        ("attempt_file_bytes", 1000, "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); "
                                     "open(\"f\", \"w\").write(\"x\" * 2000)", "fsize"),
    ],
)  # fmt: skip
def test_a_script_beyond_a_limit_is_killed_and_the_reason_named(
    house: Make, name: str, most: Any, script: str, reason: str
) -> None:
    made = house(**{name: most})

    state, log = made.run(f"tasks: [{{id: a, type: scripts.python.Script, script: '{script}'}}]")

    assert state == "FAILED"
    assert f"({reason})" in log
    assert made.met(name)
