"""Renderings per second of a typical template, beside plain Jinja2 and its sandbox, measured in the same run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jinja2 import Environment
from jinja2.sandbox import ImmutableSandboxedEnvironment

from namespaces.expressions import NoPorts, parse, render
from namespaces.expressions.compiler import compile_template
from namespaces.expressions.parser import parse_template
from runner.renderer import Renderer

TEMPLATE = "Hello {{ inputs.name | upper }} from {{ flow.id }} run {{ execution.id }}"
CONTEXT = {"inputs": {"name": "bob"}, "flow": {"id": "hello"}, "execution": {"id": "4nI0yNo3BQmMFyKPCkfJk8"}}
LOOP = "{% for x in range(1, 10) %}{{ x }}{{ loop.last ? '' : ', ' }}{% endfor %}"


def per_second(one: Callable[[], object], seconds: float = 1.0) -> float:
    """Calls per second over about ``seconds``, after one call to warm up."""
    one()
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        for _ in range(50):
            one()
        count += 50
    return count / spent


def main() -> None:
    ports = NoPorts()
    plain = Environment().from_string(TEMPLATE)
    sandboxed = ImmutableSandboxedEnvironment().from_string(TEMPLATE)
    fresh = iter(range(10**9))
    rows: list[tuple[str, float]] = [
        ("render(), cached", per_second(lambda: render(TEMPLATE, CONTEXT, ports))),
        ("baseline: Jinja2, compiled template", per_second(lambda: plain.render(CONTEXT))),
        ("baseline: Jinja2 sandbox, compiled template", per_second(lambda: sandboxed.render(CONTEXT))),
        ("render(), text without a template", per_second(lambda: render("echo hello", CONTEXT, ports))),
        ("render(), never seen before", per_second(lambda: render(f"{TEMPLATE}{next(fresh)}", CONTEXT, ports))),
        ("parse(), never seen before", per_second(lambda: parse(f"{TEMPLATE}{next(fresh)}"))),
        ("parse and compile, without a cache", per_second(lambda: compile_template(parse_template(TEMPLATE)))),
        ("baseline: Jinja2 compile", per_second(lambda: Environment(cache_size=0).from_string(TEMPLATE))),
    ]
    with Renderer(1) as renderer:
        began = time.perf_counter()
        renderer.render(LOOP, CONTEXT, ports)
        start = time.perf_counter() - began
        rows += [
            ("Renderer, cheap (this process)", per_second(lambda: renderer.render(TEMPLATE, CONTEXT, ports))),
            ("Renderer, loop (limited process)", per_second(lambda: renderer.render(LOOP, CONTEXT, ports))),
            ("render(), the same loop (this process)", per_second(lambda: render(LOOP, CONTEXT, ports))),
        ]
    for name, rate in rows:
        print(f"{name:48s} {rate:12,.0f} /s  {1e6 / rate:10.1f} µs")
    print(f"{'start of a renderer process':48s} {'':12s}     {start * 1e3:8.1f} ms")


if __name__ == "__main__":
    main()
