"""The pure parts: topology, Gantt, log lines, differences, forms, words."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from namespaces.flows.catalog import Catalog
from namespaces.flows.model import Flow, Input
from namespaces.flows.parse import read_flow
from service.ui import gantt, inputform, logview, sources, topology, words

START = datetime(2026, 1, 1, tzinfo=UTC)


def flow(tasks: str) -> Flow:
    reading = read_flow(f"id: a\nnamespace: b\ntasks:\n{tasks}", Catalog())
    assert reading.flow is not None, reading.problems
    return reading.flow


LOG = "io.kestra.plugin.core.log.Log"
NESTED = f"""\
  - id: first
    type: {LOG}
    message: hi
  - id: both
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {{id: left, type: {LOG}, message: l}}
      - id: choose
        type: io.kestra.plugin.core.flow.If
        condition: "{{{{ true }}}}"
        then: [{{id: yes_task, type: {LOG}, message: y}}]
        else: [{{id: no_task, type: {LOG}, message: n}}]
  - id: last
    type: {LOG}
    message: bye
"""


def inside(node: Any, group: Any) -> bool:
    return bool(
        group.x <= node.x
        and group.y <= node.y
        and node.x + node.w <= group.x + group.w
        and node.y + node.h <= group.y + group.h
    )


def test_a_topology_draws_every_task_once_inside_its_groups() -> None:
    drawing = topology.draw_flow(flow(NESTED))
    groups = {group.task_id or group.text: group for group in drawing.groups}
    nodes = {node.task_id: node for node in drawing.nodes}

    assert set(nodes) == {"first", "left", "yes_task", "no_task", "last"}
    assert set(groups) == {"both", "choose", "then", "else"}
    assert inside(nodes["left"], groups["both"])
    assert inside(nodes["yes_task"], groups["then"])
    assert inside(groups["choose"], groups["both"])
    assert not inside(nodes["last"], groups["both"])
    assert nodes["first"].y < groups["both"].y < nodes["last"].y


def test_no_two_nodes_of_a_topology_overlap() -> None:
    nodes = topology.draw_flow(flow(NESTED)).nodes

    for one in nodes:
        for other in nodes:
            if one is not other:
                apart = (
                    one.x + one.w <= other.x
                    or other.x + other.w <= one.x
                    or one.y + one.h <= other.y
                    or other.y + other.h <= one.y
                )
                assert apart, (one.task_id, other.task_id)


def test_a_dag_is_layered_by_what_it_depends_on() -> None:
    tasks = [f"      - {{task: {{id: {name}, type: {LOG}, message: x}}, dependsOn: [{needs}]}}" for name, needs in
             (("c", "a, b"), ("a", ""), ("b", "a"))]  # fmt: skip
    drawing = topology.draw_flow(
        flow("  - id: dag\n    type: io.kestra.plugin.core.flow.Dag\n    tasks:\n" + "\n".join(tasks))
    )
    y = {node.task_id: node.y for node in drawing.nodes}

    assert y["a"] < y["b"] < y["c"]
    assert len(drawing.edges) == 3


def test_a_large_topology_starts_folded_and_opens_group_by_group() -> None:
    many = "".join(f"      - {{id: t{n}, type: {LOG}, message: x}}\n" for n in range(500))
    value = flow(f"  - id: big\n    type: io.kestra.plugin.core.flow.Parallel\n    tasks:\n{many}")
    folded = topology.draw_flow(value)
    began = time.perf_counter()
    opened = topology.draw_flow(value, ["big"])
    print(f"500 nodes: {(time.perf_counter() - began) * 1000:.0f} ms")

    assert [node.count for node in folded.nodes] == [500]
    assert folded.folded
    assert len(opened.nodes) == 500


def test_the_outline_holds_the_same_tasks() -> None:
    def ids(found: list[dict[str, Any]]) -> list[str]:
        return [one for branch in found for task in branch["tasks"] for one in (task["id"], *ids(task["branches"]))]

    assert ids(topology.outline(flow(NESTED))) == ["first", "both", "left", "choose", "yes_task", "no_task", "last"]


def run(
    name: str, begin: float, end: float | None, parent: str | None = None, state: str = "SUCCESS", **more: Any
) -> dict[str, Any]:
    history = [{"state": "CREATED", "date": (START + timedelta(seconds=begin)).isoformat()}]
    history.append({"state": "RUNNING", "date": (START + timedelta(seconds=begin + 1)).isoformat()})
    if end is not None:
        history.append({"state": state, "date": (START + timedelta(seconds=end)).isoformat()})
    current = state if end is not None else "RUNNING"
    shape: dict[str, Any] = {
        "id": name,
        "taskId": name,
        "state": {"current": current, "histories": history, "startDate": ""},
    }
    if parent:
        shape["parentTaskRunId"] = parent
    return shape | more


def draw(runs: list[dict[str, Any]], seconds: float, **more: Any) -> gantt.Chart:
    return gantt.chart(runs, start=START, end=START + timedelta(seconds=seconds), **more)


def test_a_bar_has_a_thin_wait_and_a_thick_run() -> None:
    chart = draw([run("a", 0, 5), run("b", 5, 10, state="FAILED")], 10)
    first, second = chart.rows

    assert isinstance(first, gantt.Row)
    assert isinstance(second, gantt.Row)
    assert [(part.x, part.w, part.wait) for part in first.parts] == [(0, 100, True), (100, 400, False)]
    assert second.parts[-1].look == "failed"
    assert (first.wait_s, first.run_s) == (1, 4)


def test_many_iterations_are_folded_with_their_counts_and_paged_when_opened() -> None:
    runs = [run("loop", 0, 100)]
    runs += [run(f"i{n}", 1, 3, "loop", "FAILED" if n < 2 else "SUCCESS", value=str(n)) for n in range(1000)]
    folded = draw(runs, 100)
    opened = draw(runs, 100, opened=["loop"], offsets={"loop": 100})

    assert len(folded.rows) == 1
    assert isinstance(folded.rows[0], gantt.Row)
    assert folded.rows[0].summary == "1,000 task runs: 998 success, 2 failed"
    assert len(opened.rows) == 102
    more = opened.rows[-1]
    assert isinstance(more, gantt.More)
    assert (more.previous, more.next, more.shown) == (0, 200, "101–200 of 1,000")


def test_a_long_idle_gap_is_folded_so_that_bars_stay_visible() -> None:
    chart = draw([run("a", 0, 10), run("b", 86_400, 86_410)], 86_410)
    bars = [part for row in chart.rows if isinstance(row, gantt.Row) for part in row.parts if not part.wait]

    assert len(chart.folds) == 1
    assert all(part.w > 300 for part in bars)
    assert bars[0].x < bars[1].x


def test_an_axis_only_grows() -> None:
    axis = gantt.Axis(0, 1000, [(0, 5), (900, 905)])
    places = [axis.x(at) for at in range(1001)]

    assert places == sorted(places)
    assert places[0] == 0
    assert places[-1] == pytest.approx(gantt.WIDTH)


def line(message: str, level: int = 30, **more: Any) -> Any:
    return SimpleNamespace(id=7, at=1_700_000_000_123_000, level=level, task_id="t", message=message, **more)


def shown(message: str) -> str:
    return str(logview.block([line(message)], 12, lambda one: f"/line?id={one}"))


def test_a_line_is_text_whatever_is_in_it() -> None:
    html = shown("<script>alert(1)</script>\x1b[31m<b>\x1b]0;title\x07\x1b[2J\x00&")

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert '<span class="a1">&lt;b&gt;</span>' in html
    assert "title" not in html.split("</time>")[1]
    assert "\x1b" not in html
    assert "\x00" not in html


def test_colours_of_16_and_256_become_classes_and_everything_else_is_dropped() -> None:
    assert logview.coloured(
        "\x1b[1;92mok\x1b[0m \x1b[38;5;196mred\x1b[39m \x1b[38;2;1;2;3mtrue\x1b[m \x1b[7mplain"
    ) == ('<span class="a10 ab">ok</span> <span class="a1">red</span> true plain')


def test_a_line_of_20_000_characters_is_cut_and_leads_to_the_whole() -> None:
    html = shown("x" * 20_000)

    assert len(html) < 5_000
    assert 'href="/line?id=7">show all 20,000 characters' in html


def test_blocks_hold_500_lines_and_number_them() -> None:
    html = str(logview.blocks([line("x")] * 1_100, 41, str))

    assert html.count('<ol class="block"') == 3
    assert 'id="L41"' in html
    assert 'id="L1140"' in html


def test_a_difference_folds_equal_lines() -> None:
    old = "\n".join(f"line {n}" for n in range(100))
    rows = sources.difference(old, old.replace("line 50", "LINE 50"))

    assert [row["sign"] for row in rows] == ["@", " ", " ", " ", "-", "+", " ", " ", " ", "@"]
    assert rows[0]["text"] == "47 equal lines"
    assert sources.difference(old, old) == []


def test_an_excerpt_has_four_lines_around_the_fault() -> None:
    found = sources.excerpt("\n".join("abcdefghijkl"), 6)

    assert [one["number"] for one in found] == list(range(2, 11))
    assert [one["number"] for one in found if one["fault"]] == [6]
    assert sources.excerpt("one line", 9) == []


def test_highlighting_keeps_the_lines_of_the_text() -> None:
    text = "id: a\n# <script>\nbody: |\n  one\n\n  two\n"

    assert len(sources.highlighted(text)) == 6
    assert "<script>" not in "".join(sources.highlighted(text))


def test_inputs_become_fields_that_fit_their_type() -> None:
    declared = [
        Input(id="a", type="INT", properties={"min": 1, "max": 9}),
        Input(id="b", type="SECRET", defaults="hidden"),
        Input(id="c", type="BOOL", required=False),
        Input(id="d", type="SELECT", properties={"values": ("x", "y")}, required=False),
        Input(id="e", type="FORM", properties={"inputs": (Input(id="f", type="FILE"),)}),
    ]
    found = {field.input_id: field for field in inputform.fields(declared, None, {"a": "5", "b": "typed"})}

    assert (found["a"].mode, found["a"].value, found["a"].hint) == ("numeric", "5", "at least 1; at most 9")
    assert (found["b"].kind, found["b"].value, found["b"].default) == ("password", "", "")
    assert [value for value, _ in found["c"].choices] == ["true", "false", ""]
    assert found["d"].widget == "select"
    assert (found["e.f"].widget, found["e.f"].name) == ("file", "input:e.f")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0001, "<1 ms"),
        (0.85, "850 ms"),
        (3.4, "3.4 s"),
        (125, "2 m 05 s"),
        (4320, "1 h 12 m"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_are_said_in_words(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [(2, "just now"), (59, "59 s ago"), (180, "3 min ago"), (-7200, "in 2 h"), (86_400 * 8, "24 Dec 2025")],
)
def test_times_are_near_or_dates(ago: float, text: str) -> None:
    assert words.relative(START - timedelta(seconds=ago), START) == text
