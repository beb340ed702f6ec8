"""The limits of ``reliability.md`` R21 as one table, and their figures in ``/metrics``.

A test walks ``settings.limits``: a limit without a row here, without figures or without a test fails it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

from runner.limits import resident_bytes
from service.settings.model import Limits

if TYPE_CHECKING:
    from service.wiring import Lanner

_FULL = "429 with `Retry-After`; schedules skip the row (`backlog`)"
_RENDER = "render error, the task fails"
_CHECK = "validation error"

AT_THE_LIMIT: Mapping[str, str] = {
    "executions": _FULL,
    "executions_per_namespace": _FULL,
    "executions_per_flow": _FULL,
    "subprocesses": "further scripts wait, oldest first, by turns among namespaces",
    "body_bytes": "413",
    "upload_bytes": "413; a file from a webhook form or an input is refused",
    "webhook_body_bytes": "413",
    "form_parts": "413",
    "input_bytes": f"{_CHECK}, with the advice to use a FILE input",
    "flow_bytes": f"{_CHECK} `G006`",
    "flow_nodes": f"{_CHECK} `G006`",
    "flow_depth": f"{_CHECK} `G006`",
    "flow_aliases": f"{_CHECK} `G006`",
    "tasks_per_flow": f"{_CHECK} `F029`",
    "task_runs_per_execution": "the execution fails, `too_many_taskruns`",
    "subflow_depth": "the task fails, `subflow_depth`",
    "log_bytes": "the middle is dropped, a line tells how many lines",
    "log_line_bytes": "the line is cut and says so",
    "log_lines_per_second": "lines are dropped, a line tells how many; the script goes on",
    "output_row_bytes": "the outputs are kept in internal storage; flows notice nothing",
    "output_bytes": "the task fails, `output_too_large`",
    "task_cache_entries": "the oldest kept outputs of the task go",
    "context_bytes": "render error, `output_too_large`",
    "output_file_bytes": "the task fails and names the file",
    "output_files": "the task fails, `too_many_files`",
    "output_files_bytes": "the task fails and names the file",
    "expression_bytes": _RENDER,
    "template_bytes": _RENDER,
    "rendered_bytes": _RENDER,
    "render_time": _RENDER,
    "render_memory_bytes": _RENDER,
    "attempt_memory_bytes": "killed, the reason is `oom`",
    "attempt_cpu": "killed, the reason is `cpu`",
    "attempt_processes": "killed, the reason is `pids`",
    "attempt_file_bytes": "killed, the reason is `fsize`",
    "memory_bytes": "new executions get 503 until it is below",
    "webhook_rate": "429 with `Retry-After`",
}

Point = tuple[str, dict[str, str], float]
"""(metric, labels, value)."""


def configured(limits: Limits, subprocesses: int) -> dict[str, float]:
    """The values in force, in bytes, seconds or numbers; infinity where there is no limit."""
    found: dict[str, float] = {}
    for name in Limits.model_fields:
        value = getattr(limits, name)
        if isinstance(value, timedelta):
            value = value.total_seconds()
        found[name] = inf if value is None else float(value)
    return found | {"subprocesses": float(subprocesses)}


def figures(wiring: Lanner) -> Iterator[Point]:
    """What is configured, how often each limit was met in this process, and how near those are that fill up."""
    settings = wiring.settings
    met = wiring.hits.counts()
    for name, value in configured(settings.limits, settings.subprocesses).items():
        yield "lanner_limit", {"name": name}, value
        yield "lanner_limit_hits_total", {"name": name}, float(met.get(name, 0))
    used = {
        **wiring.executions.open.used(),
        "subprocesses": wiring.worker.slots.used,
        "memory_bytes": resident_bytes(),
    }
    for name, count in used.items():
        yield "lanner_limit_used", {"name": name}, float(count)
