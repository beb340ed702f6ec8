from __future__ import annotations

import json
import os
import textwrap
import threading
import time

from tests.runner.worker.world import Bench

from runner.engine.states import State

SHELL = "io.kestra.plugin.scripts.shell.Commands"


def commands(*lines: str, **properties: object) -> str:
    extra = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in properties.items())
    listed = "".join(f"      - {json.dumps(line)}\n" for line in lines)
    return f"  - id: sh\n    type: {SHELL}\n{extra}    commands:\n{listed}"


def test_exit_code_zero_is_success_with_stdout_as_info_and_stderr_as_error(bench: Bench) -> None:
    end = bench.run(commands("echo out", "echo err >&2"))
    assert end.state is State.SUCCESS
    assert end.outputs == {"vars": {}, "exitCode": 0, "outputFiles": {}}
    assert sorted((line.message, line.level) for line in bench.reporter.lines if line.level >= 30) == [
        ("err", 50),
        ("out", 30),
    ]
