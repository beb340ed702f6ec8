"""The flows of the crash loop. Scripts append to a ledger outside Lanner's data folder, one write a line."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

NAMESPACE = "chaos"
KEY = "chaos-key-0123456789abcdef0123456789abcdef"
LINES = 20
LIMIT = 3
TICK = "tick"
"""Flow of the every-second schedule; its trigger has the same id."""

# How often each flow is called, of 100 calls.
WEIGHTS = {
    "one": 34,
    "chain": 14,
    "fan": 8,
    "each": 4,
    "loop": 4,
    "retry": 8,
    "sub": 8,
    "limited": 5,
    "paused": 6,
    "script": 4,
    "once": 2,
    "doomed": 3,
}

# Task runs of one finished execution by task id; what is not listed is counted by nobody.
RUNS = {
    "one": {"a": 1},
    "chain": {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1},
    "fan": {"fan": 1, "join": 1, **{f"t{n}": 1 for n in range(20)}},
    "each": {"each": 1, "item": 50, "after": 1},
    "loop": {"loop": 1, "all": 1},
    "retry": {"flaky": 1},
    "sub": {"child": 1, "after": 1},
    "limited": {"work": 1},
    "paused": {"wait": 1, "after": 1},
    "script": {"before": 1, "work": 1, "after": 1},
    "once": {"work": 1},
    TICK: {"a": 1},
}


def _return(task_id: str, text: str = "{{ trigger.body.key }}") -> str:
    return f'- id: {task_id}\n  type: io.kestra.plugin.core.debug.Return\n  format: "{text}"\n'


def _script(task_id: str, ledger: Path, body: str, more: str = "") -> str:
    """A script that notes its start and its end; ``body`` runs in between."""
    said = "$1 $LANNER_TASKRUN_ID $LANNER_ATTEMPT $LANNER_EPOCH $$ $(date +%s%N)"
    note = f'note() {{ printf "%s\\n" "{said}" >> "{ledger}"; }}'
    lines = [note, "note start", *body.splitlines()]
    lines += ['echo "::{\\"outputs\\":{\\"token\\":\\"$LANNER_TASKRUN_ID-$LANNER_EPOCH\\"}}::"', "note end"]
    head = f"- id: {task_id}\n  type: io.kestra.plugin.scripts.shell.Script\n"
    runner = "  taskRunner: {type: io.kestra.plugin.core.runner.Process}\n"
    return head + runner + indent(dedent(more), "  ") + "  script: |\n" + indent("\n".join(lines), "    ") + "\n"


def _flow(flow_id: str, tasks: str, more: str = "") -> str:
    trigger = f"triggers:\n  - id: hook\n    type: io.kestra.plugin.core.trigger.Webhook\n    key: {KEY}\n"
    return f"id: {flow_id}\nnamespace: {NAMESPACE}\n{dedent(more)}{trigger}tasks:\n{indent(tasks, '  ')}"


def flows(ledger: Path) -> list[str]:
    """All flows as YAML."""
    fan = "- id: fan\n  type: io.kestra.plugin.core.flow.Parallel\n  tasks:\n"
    fan += indent("".join(_return(f"t{n}") for n in range(20)), "    ")
    each = "- id: each\n  type: io.kestra.plugin.core.flow.ForEach\n  concurrencyLimit: 0\n"
    each += f"  values: {[str(n) for n in range(50)]}\n  tasks:\n"
    each += indent(_return("item", "{{ taskrun.value }}"), "    ")
    loop = "- id: loop\n  type: io.kestra.plugin.core.flow.Loop\n  concurrencyLimit: 4\n"
    loop += f"  values: {[str(n) for n in range(12)]}\n"
    loop += '  outputs: [{id: o, type: STRING, value: "{{ outputs.item.value }}"}]\n  tasks:\n'
    loop += indent(_return("item", "{{ item.value }}."), "    ")
    numbers = "".join(f"{n}." for n in range(12))
    loop += "- id: all\n  type: io.kestra.plugin.core.execution.Assert\n  conditions:\n"
    loop += f"""    - "{{{{ (loopOutputs(outputs.loop.outputs, 'o') | join('')) == '{numbers}' }}}}"\n"""
    loop += "    - '{{ outputs.loop.terminatedIterations.SUCCESS == 12 }}'\n"
    child = f"- id: child\n  type: io.kestra.plugin.core.flow.Subflow\n  namespace: {NAMESPACE}\n  flowId: leaf\n"
    child += '  wait: true\n  transmitFailed: true\n  inputs: {key: "{{ trigger.body.key }}"}\n'
    flaky = _script(
        "flaky",
        ledger,
        'if [ "$LANNER_ATTEMPT" -lt 2 ]; then note fail; exit 1; fi',
        "retry: {type: constant, interval: PT0.5S, maxAttempts: 10}\n",
    )
    numbered = f'for n in $(seq 1 {LINES}); do echo "line $n"; done\nsleep $(( 1 + $$ % 3 ))'
    pause = "- id: wait\n  type: io.kestra.plugin.core.flow.Pause\n  pauseDuration: PT2S\n"
    tick = f"id: {TICK}\nnamespace: {NAMESPACE}\ntriggers:\n  - id: {TICK}\n"
    tick += "    type: io.kestra.plugin.core.trigger.Schedule\n    cron: '* * * * * *'\n    withSeconds: true\n"
    tick += "    allowConcurrent: true\n    recoverMissedSchedules: ALL\ntasks:\n"
    tick += indent(_return("a", "{{ trigger.date }}"), "  ")
    leaf = f"id: leaf\nnamespace: {NAMESPACE}\ninputs: [{{id: key, type: STRING}}]\ntasks:\n"
    leaf += indent(_return("a", "{{ inputs.key }}") + _return("b", "{{ outputs.a.value }}"), "  ")
    return [
        leaf,
        tick,
        _flow("one", _return("a")),
        _flow("chain", "".join(_return(name) for name in "abcde")),
        _flow("fan", fan + _return("join")),
        _flow("each", each + _return("after")),
        _flow("loop", loop),
        _flow("retry", flaky),
        _flow("sub", child + _return("after")),
        _flow("limited", _script("work", ledger, "sleep 0.3"), f"concurrency: {{limit: {LIMIT}, behavior: QUEUE}}\n"),
        _flow("paused", pause + _return("after")),
        _flow("script", _return("before") + _script("work", ledger, numbered) + _return("after")),
        _flow("once", _script("work", ledger, "sleep 1", "onWorkerLost: FAIL\n")),
        _flow("doomed", _script("work", ledger, "sleep 3") + _script("never", ledger, "sleep 120")),
    ]
