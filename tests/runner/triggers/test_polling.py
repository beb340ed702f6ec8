"""Polling triggers against a real server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any, ClassVar

import pytest

from namespaces.clock import ManualClock
from namespaces.store.db import Database
from runner.egress import Egress, Rules
from runner.plugin import Dynamic, PollContext, RunFailed, Trigger
from runner.renderer import Renderer
from tests.runner.triggers.conftest import House, at


class Answers(BaseHTTPRequestHandler):
    body = b'{"ready": true}'
    code = 200

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    Answers.code, Answers.body = 200, b'{"ready": true}'
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def polled(database: Database, clock: ManualClock, renderer: Renderer) -> Iterator[House]:
    made = House(database, clock, renderer, egress=Egress(Rules(loopback=True)))
    yield made
    made.close()


def poll(url: str, rest: str = "") -> str:
    return f'- id: p\n  type: io.kestra.plugin.core.http.Trigger\n  uri: "{url}"\n  interval: PT30S\n{rest}'


def evaluate(house: House) -> None:
    """One pass, and the evaluation it began."""
    house.scheduler.run_once()
    assert house.triggers.polling is not None
    assert house.triggers.polling.settle(20)


def ask(house: House) -> None:
    """Evaluate in this thread, as the pool does."""
    flow = house.database.read(lambda c: house.registry.flow(c, "company.team", "f"))
    trigger = flow.trigger("p")
    assert trigger is not None
    assert house.triggers.polling is not None
    house.scheduler.follow()
    house.triggers.polling.evaluate(flow, trigger, house.clock.now())


def test_an_answer_that_meets_the_condition_starts_and_locks(polled: House, url: str) -> None:
    polled.deploy(poll(url, '  responseCondition: "{{ fromJson(response.body).ready }}"\n'))

    ask(polled)

    [row] = polled.executions_of()
    assert row.trigger["variables"]["code"] == 200
    assert row.trigger["variables"]["body"] == '{"ready": true}'
    assert polled.state("p").execution_id == row.id


def test_a_failing_answer_is_only_a_condition_that_does_not_hold(polled: House, url: str) -> None:
    polled.deploy(poll(url))
    Answers.code = 500

    ask(polled)

    assert polled.executions_of() == []
    assert polled.state("p").error is None


def test_an_error_is_told_and_starts_nothing_unless_asked_to(polled: House, url: str) -> None:
    polled.deploy(poll("http://127.0.0.1:9/"))

    ask(polled)
    quiet = polled.executions_of()
    polled.deploy(poll("http://127.0.0.1:9/", "  failOnTriggerError: true\n"))
    ask(polled)

    assert quiet == []
    assert [row.state for row in polled.executions_of()] == ["FAILED"]
    assert polled.state("p").failures == 1
    assert polled.state("p").error


def test_it_is_asked_again_an_interval_after_the_last_start_and_not_while_locked(polled: House, url: str) -> None:
    polled.deploy(poll(url))

    evaluate(polled)
    first = polled.state("p")
    polled.clock.advance(timedelta(seconds=31))
    evaluate(polled)
    held = len(polled.executions_of())
    polled.end_all()
    evaluate(polled)

    assert first.next_at == at("00:00:30")
    assert held == 1
    assert len(polled.executions_of()) == 2


def test_a_check_that_blocks_is_told_on_the_trigger(polled: House, url: str) -> None:
    polled.deploy(poll(url), more='checks: [{condition: "{{ trigger.code == 1 }}", message: not this one}]')

    ask(polled)

    assert polled.executions_of() == []
    assert polled.state("p").error == "not this one"


class Looks(Trigger):
    type_name = "com.example.Looks"
    seen: ClassVar[list[datetime | None]] = []
    answers: ClassVar[dict[str, Any]] = {"found": {"rows": 3}}

    what: Annotated[str, Dynamic]

    def poll(self, context: PollContext) -> Mapping[str, Any] | None:
        self.seen.append(context.previous)
        answer = self.answers.get(self.what)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def plugged(database: Database, clock: ManualClock, renderer: Renderer) -> Iterator[House]:
    Looks.seen.clear()
    made = House(database, clock, renderer, egress=Egress(Rules(loopback=True)), types=(Looks,))
    yield made
    made.close()


def looking(what: str, rest: str = "") -> str:
    return f'- id: p\n  type: com.example.Looks\n  what: "{what}"\n  interval: PT30S\n{rest}'


def test_what_a_plugins_trigger_gives_starts_the_flow_and_locks(plugged: House) -> None:
    plugged.deploy(looking("{{ 'fou' ~ 'nd' }}"))

    evaluate(plugged)
    plugged.clock.advance(timedelta(minutes=1))
    evaluate(plugged)

    [row] = plugged.executions_of()
    assert row.trigger["variables"]["rows"] == 3
    assert plugged.state("p").execution_id == row.id
    assert Looks.seen == [None]


def test_nothing_from_a_plugins_trigger_starts_nothing_and_the_next_look_knows_when_this_one_was(
    plugged: House,
) -> None:
    plugged.deploy(looking("nothing"))
    first = plugged.clock.now()

    evaluate(plugged)
    plugged.clock.advance(timedelta(seconds=31))
    evaluate(plugged)

    assert plugged.executions_of() == []
    assert Looks.seen == [None, first]


def test_conditions_hold_for_a_plugins_trigger_too(plugged: House) -> None:
    plugged.deploy(looking("found", '  when: "{{ trigger.rows > 3 }}"\n'))

    evaluate(plugged)

    assert plugged.executions_of() == []


@pytest.mark.parametrize("failure", [RunFailed("no such table"), KeyError("table")])
def test_whatever_a_plugins_trigger_raises_is_told_on_the_trigger(plugged: House, failure: Exception) -> None:
    Looks.answers = {**Looks.answers, "broken": failure}
    plugged.deploy(looking("broken"))

    evaluate(plugged)

    assert plugged.executions_of() == []
    assert "table" in str(plugged.state("p").error)
