"""The renderer pool: what renders where, killed at its limits, and nothing reachable (reliability.md S10, 4.4 B)."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.clock import ManualClock
from namespaces.errors import Unavailable
from namespaces.expressions import LimitReached, Limits, NoPorts, RefusedOutside, RenderError, SyntaxProblem
from namespaces.expressions.values import BigInteger
from runner.renderer import Renderer
from runner.renderer_frames import FrameTooLarge, length_of, packed, unpacked
from tests.namespaces.expressions.support import CONTEXT, LazyMap, PlainPorts

_LOOP = "{% for x in list %}{{ x }}{% endfor %}"
#: Made for catastrophic backtracking: it takes hours.
_HANG = "{{ '" + "a" * 50 + "!' | regexMatch('(a+)+$') }}"
_HOG = "{{ [1] | jq('[range(100000000)]') }}"


@pytest.fixture(scope="module")
def shared() -> Iterator[Renderer]:
    with Renderer(2, Limits(seconds=20)) as renderer:
        yield renderer


@pytest.fixture
def hasty() -> Iterator[Renderer]:
    """A renderer that waits a second for a template: enough for good ones, soon over for bad ones."""
    with Renderer(1, Limits(seconds=1)) as renderer:
        yield renderer


# -- where a template renders


def test_no_process_exists_before_a_template_needs_one() -> None:
    with Renderer(2) as renderer:
        assert renderer.render("plain", {}, NoPorts()) == "plain"
        assert renderer.render("{{ s | upper }}", CONTEXT, NoPorts()) == "HELLO"
        assert renderer.render_typed("{{ list }}", CONTEXT, NoPorts()) == ["a", "b", "c"]
        assert renderer.processes == 0

        assert renderer.render(_LOOP, CONTEXT, NoPorts()) == "abc"
        assert renderer.processes == 1


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (_LOOP, "abc"),
        ("{{ numbers | sort }}", "[1,2,3]"),
        ("{{ plain | jq('.a') | first }}", "1"),
        ("{{ date | date('yyyy') }}{{ 1..2 }}", "2013[1,2]"),
        ("{{ date }}{{ 1..2 }}", "2013-09-08T14:19:12.123456Z[1,2]"),
        ("{{ yaml('a: 1').a }}", "1"),
        ("{{ fromIon('{a:1}').a }}", "1"),
        ("{{ isPublicHoliday('2024-11-11', 'FR') }}", "true"),
        ("{{ 1..2 }}{{ '2024-05-01' | date('EEEE', locale='fr') }}", "[1,2]mercredi"),
        ("{{ decrypt('I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK', encrypt('I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK', 'x')) }}", "x"),
        ("{{ render(vars.third) }}", "1"),
        ("{{ nul ?? missing ?? 'd' }}{{ 1..1 }}", "d[1]"),
        ("{% for x in m %}{{ x.key }}{% endfor %}", "knsize"),
        ("{{ randomPort() > 1023 }}", "true"),
        ("{{ 'é✓' | regexReplace('é', 'e') }}", "e✓"),
    ],
)
def test_the_whole_language_is_available_in_the_process(shared: Renderer, template: str, text: str) -> None:
    assert shared.render(template, CONTEXT, NoPorts()) == text


def test_maps_and_lists_render_text_by_text(shared: Renderer) -> None:
    value = {"{{ s }}": [_LOOP, 5, {"a": "{{ n }}"}]}

    assert shared.render_value(value, CONTEXT, NoPorts()) == {"hello": ["abc", 5, {"a": "5"}]}


def test_recursive_rendering_happens_in_the_process(shared: Renderer) -> None:
    assert shared.render("{{ vars.third }}", CONTEXT, NoPorts(), recursive=True) == "1"


def test_clock_and_zone_come_from_the_caller(shared: Renderer) -> None:
    clock = ManualClock(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))

    made = shared.render("{{ now() }}{{ 1..1 }}", {}, NoPorts(), now=clock.now, zone="Asia/Tokyo")

    assert made == "2030-01-02T12:04:05.000000+09:00[1]"


@pytest.mark.parametrize(
    "value",
    [
        1, 1.5, True, None, "x", "\x00raw", "\ud800", 2**70, -(2**80), [1, [None]], {"a": {"b": 2}}, {"\x00": 1}, {"\x00": {"v": 1}},
        datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
        datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30))), date(2024, 1, 2), Decimal("1.30"), BigInteger(5),
    ],
)  # fmt: skip
def test_typed_values_cross_the_pipe_unchanged(shared: Renderer, value: object) -> None:
    made = shared.render_typed("{{ 1..1 | first == 1 ? [v] : 0 }}", {"v": value}, NoPorts())

    assert made == [value]
    assert isinstance(made, list)
    assert type(made[0]) is type(value)
    if isinstance(value, datetime):
        seen: Any = made[0]
        assert seen.isoformat() == value.isoformat()
        assert str(seen.tzinfo) == str(value.tzinfo)


# -- what the process asks the parent for


def test_ports_are_asked_through_the_pipe(shared: Renderer) -> None:
    ports = PlainPorts(K="secret", a={"b": [1, 2]}, **{"q.sql": "select"})

    made = shared.render(
        "{% for x in kv('a').b %}{{ x }}{% endfor %}{{ secret('K') }}{{ read('q.sql') }}{{ errorLogs()[0].message }}",
        {},
        ports,
    )

    assert made == "12secretselectboom"
    assert ports.asked == [("kv", "a", None, True), ("secret", "K", None, None, False), ("read", "q.sql", None, None)]


def test_an_error_of_a_port_is_the_error_of_the_template(shared: Renderer) -> None:
    with pytest.raises(RenderError, match="Cannot find secret for key 'X'") as raised:
        shared.render("\n{{ secret('X') | sort }}", {}, PlainPorts())

    assert raised.value.line == 2


def test_trouble_of_the_server_itself_is_raised_as_it_is(shared: Renderer) -> None:
    class Broken(NoPorts):
        def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
            raise ConnectionError("the database is away")

    with pytest.raises(ConnectionError, match="the database is away"):
        shared.render("{{ kv('a') | sort }}", {}, Broken())
    assert shared.render(_LOOP, CONTEXT, NoPorts()) == "abc"


def test_waiting_for_a_port_does_not_count(hasty: Renderer) -> None:
    told = threading.Event()

    class Slow(NoPorts):
        def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
            told.wait(1.3)  # nobody tells: longer than the template may take
            return [2, 1]

    assert hasty.render("{{ kv('a') | sort }}", {}, Slow()) == "[1,2]"


def test_lazy_maps_are_asked_key_by_key(shared: Renderer) -> None:
    task = LazyMap({"rows": [3, 1]})
    outputs = LazyMap({"t": task})

    template = "{% for x in outputs.t.rows %}{{ x }}{% endfor %}{{ outputs.t.rows[0] }}{{ outputs.x.y ?? 'd' }}{{ outputs contains 't' }}"

    assert shared.render(template, {"outputs": outputs}, NoPorts()) == "313dtrue"
    assert outputs.asked == ["t", "x"]
    assert task.asked == ["rows"]


def test_lazy_maps_print_and_loop(shared: Renderer) -> None:
    outputs = LazyMap({"a": LazyMap({"b": None}, walkable=True), "c": 2}, walkable=True)
    context = {"outputs": outputs}

    assert shared.render("{{ outputs }}{{ 1..1 }}", context, NoPorts()) == '{"a":{"b":null},"c":2}[1]'
    assert (
        shared.render("{% for x in outputs %}{{ x.key }}{% endfor %}{{ outputs | length }}", context, NoPorts())
        == "ac2"
    )
    assert shared.render_typed("{{ (1..1 | first) == 1 ? outputs : 1 }}", context, NoPorts()) is outputs


def test_a_root_is_only_fetched_when_the_template_needs_it(shared: Renderer) -> None:
    context = LazyMap({"list": ["a"], "vars": {"x": "{{ inputs.a }}{{ 1..1 }}"}, "inputs": {"a": "b"}, "other": 1})

    assert shared.render(_LOOP, context, NoPorts()) == "a"
    assert shared.render("{{ render(vars.x) }}", context, NoPorts()) == "b[1]"
    assert "other" not in context.asked


# -- errors


@pytest.mark.parametrize(
    ("template", "kind", "message"),
    [
        ("{{ nope.a.b }}{{ 1..1 }}", RenderError, "Unable to find `nope` used in the expression"),
        ("{{ 1..1", RenderError, "unclosed `{{`"),
        ("{{ range(1, 1000000000) }}", LimitReached, "range too large"),
        ("{{ render(inputs.text) }}", RefusedOutside, "secret() is not available in text from outside"),
        ("{% include 'x' %}", RenderError, "not supported"),
        ("{% for a in range(1, 1000) %}" * 3 + "{% endfor %}" * 3, LimitReached, "steps"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", LimitReached, "too deeply nested"),
        ("{% set a = list %}" + "{% set a = [a, a, a, a] %}" * 20 + "{{ a }}", LimitReached, "too large"),
        ("{% set a = list %}" + "{% set a = [a, a, a, a] %}" * 20 + "{% set b = [a] %}{{ [a] == b }}", RenderError, ""),
    ],
)  # fmt: skip
def test_errors_come_back_with_their_kind(
    shared: Renderer, template: str, kind: type[RenderError], message: str
) -> None:
    with pytest.raises(kind) as raised:
        shared.render(template, {**CONTEXT, "envs": {}}, NoPorts())

    assert message in str(raised.value)
    assert not isinstance(raised.value, SyntaxProblem) or raised.value.line == 1


# -- limits


def test_a_hanging_pattern_is_killed_and_the_next_rendering_works(hasty: Renderer) -> None:
    with pytest.raises(LimitReached, match="took more than 1 s"):
        hasty.render(_HANG, {}, NoPorts())

    assert hasty.processes == 0
    assert hasty.render(_LOOP, CONTEXT, NoPorts()) == "abc"


def test_a_memory_hog_is_stopped_and_the_next_rendering_works() -> None:
    with Renderer(1, Limits(seconds=20, memory_bytes=64 * 1024 * 1024)) as renderer:
        with pytest.raises(LimitReached, match="memory"):
            renderer.render(_HOG, {}, NoPorts())

        assert renderer.render(_LOOP, CONTEXT, NoPorts()) == "abc"


def test_memory_of_python_itself_is_bounded_too() -> None:
    many = "{% set a = ['" + "x" * 1000 + "'] %}" + "{% set a = a | merge(a) %}" * 30

    with Renderer(1, Limits(seconds=20, memory_bytes=64 * 1024 * 1024)) as renderer:
        with pytest.raises(LimitReached):
            renderer.render(many + "{{ 1..1 }}", {}, NoPorts())

        assert renderer.render(_LOOP, CONTEXT, NoPorts()) == "abc"


def test_a_context_above_the_limit_is_refused_before_anything_is_sent(shared: Renderer) -> None:
    big = "x" * (49 * 1024 * 1024)

    with pytest.raises(LimitReached, match="context is too large"):
        shared.render("{{ inputs.big | sort }}", {"inputs": {"big": big}}, NoPorts())
    with pytest.raises(RenderError, match="too large"):
        shared.render("{{ inputs.big | sort }}", {"inputs": LazyMap({"big": big})}, NoPorts())


def test_a_large_result_of_data_within_the_limits_is_refused(shared: Renderer) -> None:
    with pytest.raises(LimitReached, match="expression result too large"):
        shared.render("{{ 1..2 }}{{ inputs.big }}", {"inputs": {"big": "x" * 2_000_000}}, NoPorts())


# -- what the process is


def test_the_process_has_no_environment_no_descriptors_and_its_own_session() -> None:
    held = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        with Renderer(1) as renderer:
            seen: dict[str, Any] = {}

            class Looking(NoPorts):
                def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
                    pid = renderer.pids()[0]
                    with open(f"/proc/{pid}/environ", "rb") as environ:
                        seen["environment"] = environ.read()
                    seen["descriptors"] = {
                        fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int)
                    }
                    seen["session"] = os.getsid(pid)
                    seen["pid"] = pid
                    with open(f"/proc/{pid}/limits") as limits:
                        seen["limits"] = limits.read()
                    return [1]

            assert renderer.render("{{ kv('a') | sort }}", {}, Looking()) == "[1]"
    finally:
        os.close(held)

    assert seen["environment"] == b""
    assert seen["session"] == seen["pid"]
    kinds = {target.split(":")[0] for target in seen["descriptors"].values()}
    assert kinds == {"pipe", "/dev/null"}
    assert sum(target.startswith("pipe") for target in seen["descriptors"].values()) == 2
    for line in seen["limits"].splitlines():
        if line.startswith(("Max address space", "Max cpu time")):
            assert "unlimited" not in line.split("  ")[1:3]


def test_a_process_ends_when_its_parent_is_killed() -> None:
    code = (
        "import os, sys; from namespaces.expressions import NoPorts; from runner.renderer import Renderer; "
        "renderer = Renderer(1); renderer.render('{{ 1..1 }}', {}, NoPorts()); "
        "print(renderer.pids()[0], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": "."}
    ) as parent:
        assert parent.stdout is not None
        watched = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([watched], [], [], 30)[0] == [watched]
    finally:
        os.close(watched)


def test_closing_ends_the_processes() -> None:
    renderer = Renderer(1)
    renderer.render(_LOOP, CONTEXT, NoPorts())
    pid = renderer.pids()[0]

    renderer.close()

    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(Unavailable, match="closed"):
        renderer.render(_LOOP, CONTEXT, NoPorts())
    assert renderer.render("{{ s }}", CONTEXT, NoPorts()) == "hello"


def test_an_interpreter_that_does_not_start_is_reported_and_does_not_block_the_pool() -> None:
    with Renderer(1, python="/bin/false") as renderer:
        for _ in range(2):
            with pytest.raises(Unavailable, match="did not start"):
                renderer.render(_LOOP, CONTEXT, NoPorts())
        assert renderer.processes == 0


# -- many threads


def test_eight_threads_share_two_processes(shared: Renderer) -> None:
    def one(number: int) -> str:
        ports = PlainPorts(a=[number, number + 1])
        return shared.render(
            "{% for x in kv('a') %}{{ x }},{% endfor %}{{ inputs.n }}", {"inputs": {"n": number}}, ports
        )

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(one, range(200)))

    assert made == [f"{n},{n + 1},{n}" for n in range(200)]
    assert shared.processes <= 2


def test_a_hanging_template_does_not_disturb_other_threads() -> None:
    with Renderer(2, Limits(seconds=1)) as renderer, ThreadPoolExecutor(8) as threads:
        bad = threads.submit(renderer.render, _HANG, {}, NoPorts())
        good = [threads.submit(renderer.render, _LOOP, CONTEXT, NoPorts()) for _ in range(20)]

        assert [job.result() for job in good] == ["abc"] * 20
        with pytest.raises(LimitReached):
            bad.result()


def test_closing_while_others_render_ends_everything() -> None:
    renderer = Renderer(1, Limits(seconds=20))
    inside, leave = threading.Event(), threading.Event()

    class Waiting(NoPorts):
        def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
            inside.set()
            leave.wait(20)
            return [1]

    with ThreadPoolExecutor(2) as threads:
        busy = threads.submit(renderer.render, "{{ kv('a') | sort }}", {}, Waiting())
        assert inside.wait(20)
        renderer.close()
        leave.set()

        assert busy.result() == "[1]"
    assert renderer.processes == 0


# -- frames


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())) | st.dates()
    | st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Europe/Paris"), timezone(timedelta(minutes=-90))])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=3), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(_values)
def test_any_value_survives_a_frame(value: Any) -> None:
    frame = packed({"v": value})

    assert length_of(frame[:4]) == len(frame) - 4
    assert unpacked(frame[4:]) == {"v": value}


@pytest.mark.slow
def test_frames_have_a_greatest_size() -> None:
    with pytest.raises(FrameTooLarge):
        length_of(b"\xff\xff\xff\xff")
    with pytest.raises(FrameTooLarge):
        packed({"v": "x" * (49 * 1024 * 1024)})
