"""A task type of a third party: one class with fields and ``run``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import pytest

from namespaces.flows.catalog import Catalog
from runner.engine.states import State
from runner.plugin import Dynamic, Output, RunContext, RunFailed, Task
from tests.runner.worker import world
from tests.runner.worker.world import Bench


class Repeat(Task):
    type_name = "com.example.Repeat"
    text: Annotated[str, Dynamic]
    times: Annotated[int, Dynamic] = 2
    template: str = ""

    def run(self, context: RunContext) -> Output:
        if self.text == "wait":
            threading.Event().wait(5)
        if self.text == "refuse":
            raise RunFailed("I refuse", outputs={"seen": 1})
        if self.text == "bug":
            return Output(values={"x": 1 / 0})
        context.log("INFO", f"repeating in {context.working_dir.name}")
        uri = context.store("a.txt", b"kept")
        return Output(values={"text": self.text * self.times, "template": self.template, "uri": uri})


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    catalog = Catalog([Repeat])
    monkeypatch.setattr(world, "CATALOG", catalog)
    return Bench(tmp_path)


def task(**properties: object) -> str:
    return "  - {id: t, type: com.example.Repeat, " + ", ".join(f"{k}: {v!r}" for k, v in properties.items()) + "}\n"


def test_dynamic_fields_are_rendered_and_converted_and_others_left_alone(plugged: Bench) -> None:
    end = plugged.run(task(text="{{ flow.id }}", times="{{ 1 + 2 }}", template="{{ keep }}"))
    assert end.state is State.SUCCESS, end.error
    assert (end.outputs["text"], end.outputs["template"]) == ("fff", "{{ keep }}")
    assert plugged.text(end.outputs["uri"]) == "kept"
    assert plugged.reporter.messages() == ["repeating in work"]


def test_an_expected_failure_keeps_its_outputs(plugged: Bench) -> None:
    end = plugged.run(task(text="refuse"))
    assert (end.state, end.error, end.outputs) == (State.FAILED, "I refuse", {"seen": 1})


def test_a_bug_is_one_line_for_the_user(plugged: Bench) -> None:
    end = plugged.run(task(text="bug"))
    assert end.error == "ZeroDivisionError: division by zero"
    assert plugged.reporter.messages() == ["ZeroDivisionError: division by zero"]


def test_a_task_that_ignores_its_timeout_is_given_up(plugged: Bench) -> None:
    claim = plugged.claim("  - {id: t, type: com.example.Repeat, text: wait, timeout: PT0.1S}\n")
    thread = threading.Thread(target=plugged.runner.run, args=(claim.task_run.id, 1), daemon=True)
    thread.start()
    assert plugged.reporter.ended.wait(4)
    end = plugged.reporter.ends[claim.task_run.id, 1]
    assert (end.state, end.error) == (State.FAILED, "Timeout after PT0.1S")


def test_a_value_that_does_not_fit_its_type_is_named(plugged: Bench) -> None:
    end = plugged.run(task(text="x", times="{{ 'many' }}"))
    assert end.state is State.FAILED
    assert "`times`" in end.error
