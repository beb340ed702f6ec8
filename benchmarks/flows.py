"""Texts of the flows that are run, all in the namespace ``bench``."""

from __future__ import annotations

HEAD = "namespace: bench\n"
LOG = "io.kestra.plugin.core.log.Log"
SHELL = "io.kestra.plugin.scripts.shell.Commands"
PYTHON = "io.kestra.plugin.scripts.python.Script"
PROCESS = "io.kestra.plugin.core.runner.Process"


def one() -> str:
    return f"id: one\n{HEAD}tasks:\n  - id: hello\n    type: {LOG}\n    message: hello\n"


def hooked(name: str = "hooked") -> str:
    """One Log task behind the webhook key ``k``."""
    return one().replace("id: one", f"id: {name}", 1) + (
        "triggers:\n  - id: hook\n    type: io.kestra.plugin.core.trigger.Webhook\n    key: k\n"
    )


def sequence(count: int) -> str:
    tasks = "".join(f"  - id: t{n}\n    type: {LOG}\n    message: number {n}\n" for n in range(count))
    return f"id: sequence{count}\n{HEAD}tasks:\n{tasks}"


def parallel(count: int) -> str:
    tasks = "".join(f"      - id: t{n}\n        type: {LOG}\n        message: number {n}\n" for n in range(count))
    head = (
        f"id: parallel{count}\n{HEAD}tasks:\n  - id: all\n    type: io.kestra.plugin.core.flow.Parallel\n    tasks:\n"
    )
    return head + tasks


def levels(count: int) -> list[str]:
    """Flows that call each other: ``level1`` logs, the others call the one below and wait."""
    last = f"id: level1\n{HEAD}tasks:\n  - id: log\n    type: {LOG}\n    message: the deepest\n"
    return [last, *(_calls(f"level{n}", f"level{n - 1}") for n in range(2, count + 1))]


def chain(count: int) -> str:
    return _calls(f"chain{count}", f"level{count}")


def _calls(flow_id: str, below: str) -> str:
    return (
        f"id: {flow_id}\n{HEAD}tasks:\n  - id: down\n    type: io.kestra.plugin.core.flow.Subflow\n"
        f"    namespace: bench\n    flowId: {below}\n"
    )


def each(count: int) -> str:
    return (
        f"id: each{count}\n{HEAD}tasks:\n  - id: each\n    type: io.kestra.plugin.core.flow.ForEach\n"
        f'    values: "{{{{ range(1, {count}) }}}}"\n    tasks:\n'
        f'      - id: log\n        type: {LOG}\n        message: "{{{{ taskrun.value }}}}"\n'
    )


def loop(count: int) -> str:
    return (
        f"id: loop{count}\n{HEAD}tasks:\n  - id: loop\n    type: io.kestra.plugin.core.flow.Loop\n"
        f'    values: "{{{{ range(1, {count}) }}}}"\n    tasks:\n'
        f'      - id: log\n        type: {LOG}\n        message: "{{{{ item.value }}}}"\n'
    )


def fibo(count: int, n: int) -> str:
    script = f"def fibo(n):\n  return n if n < 2 else fibo(n - 1) + fibo(n - 2)\nprint(fibo({n}))"
    indented = "".join(f"      {line}\n" for line in script.splitlines())
    tasks = "".join(
        f"  - id: t{i}\n    type: {PYTHON}\n    taskRunner:\n      type: {PROCESS}\n    script: |\n{indented}"
        for i in range(count)
    )
    return f"id: fibo{n}\n{HEAD}tasks:\n{tasks}"


def fibo_text(n: int) -> str:
    return f"def fibo(n):\n  return n if n < 2 else fibo(n - 1) + fibo(n - 2)\nprint(fibo({n}))"


def echoes(count: int) -> str:
    tasks = "".join(
        f"  - id: t{i}\n    type: {SHELL}\n    taskRunner:\n      type: {PROCESS}\n    commands:\n      - echo {i}\n"
        for i in range(count)
    )
    return f"id: echoes\n{HEAD}tasks:\n{tasks}"


def sleeps(count: int, name: str) -> str:
    """So many tasks at once that wait for a second each."""
    tasks = "".join(
        f"      - id: t{n}\n        type: io.kestra.plugin.core.flow.Sleep\n        duration: PT1S\n"
        for n in range(count)
    )
    head = f"id: {name}\n{HEAD}tasks:\n  - id: all\n    type: io.kestra.plugin.core.flow.Parallel\n    tasks:\n"
    return head + tasks


def scheduled(number: int, cron: str) -> str:
    return (
        f"id: due{number}\nnamespace: bench.due\ntasks:\n  - id: hello\n    type: {LOG}\n    message: hello\n"
        f'triggers:\n  - id: at\n    type: io.kestra.plugin.core.trigger.Schedule\n    cron: "{cron}"\n'
        "    timezone: UTC\n"
    )


def forty_lines(number: int) -> str:
    """A flow of forty lines, as most are."""
    from benchmarks.git_sync import FLOW

    return FLOW.format(i=number, t=number % 200, m=number % 60)
