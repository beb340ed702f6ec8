"""Whole flows into the model, and every finding of a broken one with its place and Kestra's words."""

# ruff: noqa: E501 - one broken flow and its message a line
from __future__ import annotations

import textwrap
from datetime import timedelta

import orjson
import pytest

from namespaces.errors import Problem, Severity
from namespaces.flows import model
from namespaces.flows.catalog import Catalog
from namespaces.flows.parse import Reading, read_flow, read_task, read_trigger, split_documents

CATALOG = Catalog()
HEAD = "id: f\nnamespace: company.team\n"
TASKS = "tasks:\n  - id: t\n    type: io.kestra.plugin.core.log.Log\n    message: x\n"


def read(text: str, **options: object) -> Reading:
    return read_flow(textwrap.dedent(text), CATALOG, **options)  # type: ignore[arg-type]


def flow(text: str) -> model.Flow:
    reading = read(text)
    assert reading.flow is not None, reading.problems
    return reading.flow


def errors(text: str) -> list[Problem]:
    reading = read(text)
    assert (reading.flow is None) == bool(reading.errors)
    return list(reading.errors)


def constraints(text: str) -> list[str]:
    return [p.constraint() for p in errors(text)]


def task(body: str) -> model.Task:
    indented = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return flow(HEAD + "tasks:\n  -\n" + indented + "\n").tasks[0]


def test_a_whole_flow_is_read() -> None:
    read_one = flow(
        """
        id: orders
        namespace: company.team
        description: Loads *orders*.
        labels: {env: prod, retries: 3, on: true}
        inputs:
          - {id: day, type: DATE, defaults: "2026-01-01"}
        variables: {region: eu, n: 1.10, list: [1, yes]}
        tasks:
          - id: fetch
            type: io.kestra.plugin.core.debug.Return
            format: "{{ inputs.day }}"
            timeout: PT5M
            retry: {type: exponential, interval: PT1S, maxInterval: PT10S, maxAttempts: 3}
            runIf: "{{ true }}"
            allowFailure: true
            logLevel: WARN
        errors: [{id: e, type: core.log.Log, message: oh}]
        finally: [{id: fin, type: core.log.Log, message: end}]
        afterExecution: [{id: after, type: core.log.Log, message: later}]
        outputs: [{id: o, type: STRING, value: "{{ outputs.fetch.value }}"}]
        concurrency: {limit: 2, behavior: CANCEL}
        retry: {type: constant, interval: PT1M, behavior: CREATE_NEW_EXECUTION}
        sla: [{id: s, type: MAX_DURATION, duration: PT1H, behavior: FAIL, labels: {late: true}}]
        checks: [{condition: "{{ true }}", message: m, behavior: FAIL_EXECUTION}]
        quotas: [{duration: PT1H, limit: 5}]
        disabled: true
        """
    )

    assert (read_one.namespace, read_one.id, read_one.disabled) == ("company.team", "orders", True)
    assert read_one.labels == (("env", "prod"), ("retries", "3"), ("on", "true"))
    assert read_one.variables == {"region": "eu", "n": 1.1, "list": [1, "yes"]}
    fetch = read_one.tasks[0]
    assert isinstance(fetch, model.Runnable)
    assert fetch.inline
    assert (fetch.timeout, fetch.run_if, fetch.allow_failure, fetch.log_level) == ("PT5M", "{{ true }}", True, "WARN")
    assert fetch.properties == {"format": "{{ inputs.day }}"}
    assert fetch.retry is not None
    assert fetch.retry.max_interval == timedelta(seconds=10)
    assert [t.id for t in read_one.walk()] == ["fetch", "e", "fin", "after"]
    assert read_one.concurrency == model.Concurrency(limit=2, behavior=model.ConcurrencyBehavior.CANCEL)
    assert read_one.sla[0].labels == (("late", "true"),)
    assert read_one.checks[0].behavior == "FAIL_EXECUTION"
    assert read_one.quotas[0].duration == timedelta(hours=1)
    assert read_one.retry is not None
    assert read_one.retry.behavior is model.RetryBehavior.CREATE_NEW_EXECUTION


def test_text_properties_keep_the_text_of_numbers_and_booleans() -> None:
    runnable = task("{id: t, type: core.log.Log, message: 010, level: INFO}")
    other = task("{id: t, type: core.debug.Return, format: 1.10}")

    assert runnable.properties == {"message": "010", "level": "INFO"}
    assert other.properties["format"] == "1.10"
    assert task("{id: t, type: core.log.Log, message: [1.50, TRUE, 3]}").properties["message"] == ["1.50", "TRUE", "3"]


def test_everything_in_a_flow_is_plain_json() -> None:
    made = flow(
        HEAD + TASKS + "labels: {version: 1.10}\nvariables: {n: 1.10, b: TRUE}\n"
        "inputs: [{id: s, type: STRING, defaults: 2.50}, {id: f, type: FLOAT, defaults: 2.50}]\n"
    )

    assert orjson.loads(orjson.dumps(made.written))["variables"] == {"n": 1.1, "b": True}
    assert made.labels == (("version", "1.10"),)
    assert [i.defaults for i in made.inputs] == ["2.50", 2.5]


def test_aliases_and_short_names_lead_to_the_canonical_type() -> None:
    for name in ("core.flow.WorkingDirectory", "io.kestra.core.tasks.flows.Worker"):
        made = task(f"{{id: t, type: {name}, tasks: [{{id: c, type: core.log.Log, message: x}}]}}")
        assert made.type == "io.kestra.plugin.core.flow.WorkingDirectory"
        assert made.written["type"] == name


def test_every_flowable_is_read_with_its_branches() -> None:
    log = "{id: %s, type: core.log.Log, message: x}"
    made = {
        t.id: t
        for t in flow(
            HEAD
            + f"""
tasks:
  - {{id: seq, type: core.flow.Sequential, tasks: [{log % "a"}], errors: [{log % "b"}], finally: [{log % "c"}]}}
  - {{id: par, type: core.flow.Parallel, concurrent: 2, tasks: [{log % "d"}]}}
  - id: dag
    type: core.flow.Dag
    tasks:
      - task: {log % "e"}
      - task: {log % "f"}
        dependsOn: [e]
  - {{id: iff, type: core.flow.If, condition: "{{{{ true }}}}", then: [{log % "g"}], else: [{log % "h"}]}}
  - {{id: sw, type: core.flow.Switch, value: x, cases: {{1: [{log % "i"}], true: [{log % "j"}]}}, defaults: [{log % "k"}]}}
  - {{id: each, type: core.flow.ForEach, values: [1, 2], concurrencyLimit: 0, tasks: [{log % "l"}]}}
  - {{id: eseq, type: core.flow.EachSequential, value: '["a"]', tasks: [{log % "m"}]}}
  - {{id: epar, type: core.flow.EachParallel, value: [a], concurrent: 3, tasks: [{log % "n"}]}}
  - {{id: until, type: core.flow.LoopUntil, condition: "{{{{ true }}}}", checkFrequency: {{interval: PT1S, maxIterations: 4}}, tasks: [{log % "o"}]}}
  - {{id: wait, type: core.flow.WaitFor, condition: "{{{{ true }}}}", tasks: [{log % "p"}]}}
  - {{id: sub, type: core.flow.Subflow, namespace: n, flowId: g, wait: false, labels: {{a: "{{{{ x }}}}"}}, inputs: {{i: 1}}}}
  - {{id: fei, type: core.flow.ForEachItem, items: "{{{{ x }}}}", namespace: n, flowId: g, batch: {{rows: 5}}}}
  - {{id: wd, type: core.flow.WorkingDirectory, tasks: [{log % "q"}]}}
  - {{id: pause, type: core.flow.Pause, delay: PT1S, behavior: WARN, onResume: [{{id: r, type: STRING}}]}}
  - {{id: appr, type: core.flow.Approval, onApprove: [{log % "s"}], onDeny: [{log % "t"}], onWait: [{log % "u"}]}}
  - {{id: loop, type: core.flow.Loop, values: {{a: 1}}, outputs: [{{id: o, type: STRING, value: x}}], tasks: [{log % "v"}]}}
"""
        ).tasks
    }

    assert {name: type(t).__name__ for name, t in made.items()} == {
        "seq": "Sequential",
        "par": "Parallel",
        "dag": "Dag",
        "iff": "If",
        "sw": "Switch",
        "each": "ForEach",
        "eseq": "ForEach",
        "epar": "EachParallel",
        "until": "LoopUntil",
        "wait": "LoopUntil",
        "sub": "Subflow",
        "fei": "ForEachItem",
        "wd": "WorkingDirectory",
        "pause": "Pause",
        "appr": "Approval",
        "loop": "Loop",
    }
    assert {k: [t.id for t in v] for k, v in made["seq"].branches.items()} == {
        "tasks": ["a"],
        "errors": ["b"],
        "finally": ["c"],
    }
    assert made["dag"].depends_on == {"e": (), "f": ("e",)}
    assert list(made["sw"].branches)[:3] == ["cases.1", "cases.true", "defaults"]
    assert (made["each"].concurrency_limit, made["each"].values) == (0, [1, 2])
    assert (made["until"].interval, made["until"].max_iterations) == (timedelta(seconds=1), 4)
    assert (made["wait"].interval, made["wait"].max_iterations) == (timedelta(seconds=1), 100)
    assert (made["sub"].wait, made["sub"].labels, made["sub"].inputs) == (False, (("a", "{{ x }}"),), {"i": 1})
    assert (made["pause"].pause_duration, made["pause"].behavior) == ("PT1S", "WARN")
    assert made["loop"].outputs[0].id == "o"
    assert made["loop"].concurrency_limit == 0


def test_triggers_and_nested_conditions_are_read() -> None:
    triggers = flow(
        HEAD
        + TASKS
        + textwrap.dedent(
            """
            triggers:
              - id: s
                type: io.kestra.plugin.core.trigger.Schedule
                cron: "0 6 * * *"
                timezone: Europe/Paris
                inputs: {a: 1}
                labels: [{key: k, value: "{{ trigger.date }}"}]
                stopAfter: [FAILED]
                conditions:
                  - type: io.kestra.plugin.core.condition.Not
                    conditions:
                      - {type: io.kestra.plugin.core.condition.DayWeekCondition, dayOfWeek: MONDAY}
              - id: w
                type: io.kestra.core.models.triggers.types.Webhook
                key: "{{ secret('K') }}"
            """
        )
    ).triggers

    assert triggers[0].properties == {"cron": "0 6 * * *", "timezone": "Europe/Paris"}
    assert triggers[0].labels == (("k", "{{ trigger.date }}"),)
    assert triggers[0].stop_after == ("FAILED",)
    assert triggers[0].conditions[0].conditions[0].type == "io.kestra.plugin.core.condition.DayWeek"
    assert triggers[1].type == "io.kestra.plugin.core.trigger.Webhook"


def test_all_findings_are_told_at_once_each_with_its_place() -> None:
    found = errors(
        """\
        id: my#flow
        namespace: MY$NAMESPACE
        taks: []
        tasks:
          - type: io.kestra.plugin.core.log.Lgo
            message: a
          - id: b
            type: io.kestra.plugin.core.log.Log
          - id: c
            type: io.kestra.plugin.core.flow.Parallel
            concurent: 2
            tasks:
              - id: d
                type: io.kestra.plugin.core.debug.Return
                timeout: P1Y
        """
    )

    assert [(p.code, p.path, p.line, p.column) for p in found] == [
        ("F005", "id", 1, 1),
        ("F005", "namespace", 2, 1),
        ("F003", "taks", 3, 1),
        ("F004", "tasks[0].id", 5, 5),
        ("F002", "tasks[0].type", 5, 5),
        ("F004", "tasks[1].message", 7, 5),
        ("F003", "tasks[2].concurent", 11, 5),
        ("F028", "tasks[2].tasks[0].timeout", 15, 9),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "Illegal flow source: expected a mapping with id, namespace, tasks"),
        ("just text", "Illegal flow source: expected a mapping"),
        ("", "Illegal flow source: expected a mapping"),
        (HEAD, "tasks: must not be empty"),
        (HEAD + "tasks: []", "tasks: must not be empty"),
        ("namespace: n\n" + TASKS, "id: must not be null"),
        ("id: f\n" + TASKS, "namespace: must not be null"),
        ("id: pause\nnamespace: n\n" + TASKS, "id: Flow id is a reserved keyword: pause. List of reserved keywords: pause,"),
        (f"id: {'a' * 101}\nnamespace: n\n" + TASKS, "id: size must be between 1 and 100"),
        ("id: f\nnamespace: a..b\n" + TASKS, "namespace: must match"),
        ("id: f\nnamespace: a._b\n" + TASKS, "namespace: must match"),
        (HEAD + "tasks: [{id: t.x, type: core.log.Log, message: x}]", 'tasks[0].id: must match "^[a-zA-Z0-9][a-zA-Z0-9_-]*"'),
        (HEAD + f"tasks: [{{id: {'a' * 257}, type: core.log.Log, message: x}}]", "tasks[0].id: size must be between 1 and 256"),
        (HEAD + "tasks: [{id: __proto__, type: core.log.Log, message: x}]", "tasks[0].id: must match"),
        (HEAD + "tasks: [{id: '🚀', type: core.log.Log, message: x}]", "tasks[0].id: must match"),
        (HEAD + "tasks: [{id: 'a ', type: core.log.Log, message: x}]", "tasks[0].id: must match"),
        (HEAD + "taks: 1\n" + TASKS, "unknown property 'taks', did you mean 'tasks'?"),
        (HEAD + "tasks: [{id: t, type: io.kestra.plugin.core.log.Lgo}]", "Invalid type: io.kestra.plugin.core.log.Lgo, did you mean io.kestra.plugin.core.log.Log?"),
        (HEAD + "tasks: [{id: t, type: io.kestra.plugin.aws.s3.Download}]", "Invalid type: io.kestra.plugin.aws.s3.Download"),
        (HEAD + "tasks: [{id: t, type: core.trigger.Schedule}]", "Invalid type: core.trigger.Schedule is a trigger, not a task"),
        (HEAD + "tasks: [{id: t}]", "tasks[0].type: must not be null"),
        (HEAD + "tasks: [x]", "tasks[0]: must be a task"),
        (HEAD + "tasks: {id: t}", "tasks: must be a list of tasks"),
        (HEAD + "tasks: [{id: t, type: core.log.Log, message: {a: 1}}]", "tasks[0].message: must be text or must be a list"),
        (HEAD + "tasks: [{id: t, type: core.log.Log, message: x, level: LOUD}]", "tasks[0].level: must be one of 'ERROR', 'WARN', 'INFO', 'DEBUG', 'TRACE', but is 'LOUD'"),
        (HEAD + "tasks: [{id: t, type: core.flow.Sleep, duration: -5}]", "tasks[0].duration: duration must not be negative"),
        (HEAD + "tasks: [{id: t, type: core.flow.Sleep, duration: PT99999999H}]", "tasks[0].duration: duration out of range"),
        (HEAD + "tasks: [{id: t, type: core.log.Log, message: x, timeout: PT}]", "tasks[0].timeout: not a duration: 'PT'"),
        (HEAD + "tasks: [{id: t, type: core.log.Log, message: x, disabled: maybe}]", "tasks[0].disabled: must be true or false"),
        (HEAD + "tasks: [{id: t, type: core.log.Log, message: x, runIf: a, when: b}]", "'runIf' and 'when' are two names of one property"),
        (HEAD + "tasks: [{id: t, type: core.log.Log, message: x, taskCache: {ttl: PT1S}}]", "tasks[0].taskCache.enabled: must not be null"),
        (HEAD + "tasks: [{id: t, type: core.flow.Parallel, concurrent: -1, tasks: [{id: u, type: core.log.Log, message: x}]}]", "tasks[0].concurrent: must be greater than or equal to 0"),
        (HEAD + "tasks: [{id: t, type: core.flow.Switch, value: x}]", "No task defined, neither cases or default have any tasks"),
        (HEAD + "tasks: [{id: t, type: core.flow.Dag, tasks: []}]", "No task defined"),
        (HEAD + "tasks: [{id: t, type: core.flow.WorkingDirectory}]", "The 'tasks' property cannot be empty"),
        (HEAD + "tasks: [{id: w, type: core.flow.WorkingDirectory, tasks: [{id: t, type: core.flow.Pause}]}]", "Only runnable tasks are allowed as children of a WorkingDirectory task"),
        (HEAD + "tasks: [{id: t, type: core.flow.Subflow, namespace: company.team, flowId: f}]", "Recursive call to flow [company.team.f]"),
        (HEAD + "tasks: [{id: t, type: core.kv.Set, key: k}]", "tasks[0].value: must not be null"),
        (HEAD + "tasks: [{id: t, type: scripts.python.Script, script: x, taskRunner: {type: core.runner.Prozess}}]", "tasks[0].taskRunner.type: Invalid type: core.runner.Prozess, did you mean io.kestra.plugin.core.runner.Process?"),
        (HEAD + "tasks: [{id: t, type: scripts.python.Script, script: x, taskRunner: {type: core.runner.Process, x: 1}}]", "tasks[0].taskRunner.x: Unrecognized field"),
        (HEAD + "tasks: [{id: t, type: core.http.Request, uri: u, options: {alowFailed: true}}]", "tasks[0].options.alowFailed: Unrecognized field \"alowFailed\" (core.http.Request): unknown property 'alowFailed', did you mean 'allowFailed'?"),
        (HEAD + "tasks: [{id: t, type: core.flow.Pause, onResume: [{id: a, type: INT, dependsOn: {inputs: [b]}}]}]", "depends on a non-existent input 'b'"),
        (HEAD + TASKS + "labels: {system.x: y}", "System labels can only be set by Kestra itself, offending label: system.x=y"),
        (HEAD + TASKS + "labels: {a: [1]}", "value of label 'a' must be text"),
        (HEAD + TASKS + "labels: [{key: a}]", "value of label 'a' must not be empty"),
        (HEAD + TASKS + "retry: {type: constant, interval: PT2H, maxDuration: PT1H}", "'interval' must be less than 'maxDuration' but is PT2H"),
        (HEAD + TASKS + "retry: {type: random, minInterval: PT2S, maxInterval: PT1S}", "'minInterval' must be less than 'maxInterval' but is PT2S"),
        (HEAD + TASKS + "retry: {type: constant}", "retry.interval: must not be null"),
        (HEAD + TASKS + "retry: {type: sometimes}", "retry.type: must be one of 'constant', 'exponential', 'random'"),
        (HEAD + TASKS + "retry: {type: constant, interval: PT1S, maxAttempts: 0}", "maxAttempts: must be greater than or equal to 1"),
        (HEAD + TASKS + "concurrency: {behavior: QUEUE}", "concurrency.limit: must not be null"),
        (HEAD + TASKS + "concurrency: {limit: 99999999999999999999}", "concurrency.limit: number too long"),
        (HEAD + TASKS + "concurrency: {limit: .inf}", "concurrency.limit: not a finite number"),
        (HEAD + TASKS + "concurrency: {limit: 12:30:45}", "concurrency.limit: must be an integer"),
        (HEAD + TASKS + "sla: [{id: s, type: MAX_DURATION, behavior: FAIL}]", "sla[0].duration: must not be null"),
        (HEAD + TASKS + "checks: [{message: m}]", "checks[0].when: must not be null"),
        (HEAD + TASKS + "quotas: [{duration: PT1S, limit: 1}]", "quotas[0].duration: must be at least PT1M"),
        (HEAD + TASKS + "variables: [1]", "variables: must be a map"),
        (HEAD + TASKS + "inputs: [{id: a, type: STRNG}]", "inputs[0].type: Invalid type: STRNG, did you mean 'STRING'?"),
        (HEAD + TASKS + "inputs: [{id: a}]", "inputs[0].type: Invalid type: null"),
        (HEAD + TASKS + "inputs: [{id: a, type: INT, validator: x}]", "inputs[0].validator: Unrecognized field"),
        (HEAD + TASKS + "inputs: [{id: a, type: INT}, {id: a, type: INT}]", "Duplicate input with name [a]"),
        (HEAD + TASKS + "inputs: [{id: a, type: INT}, {id: a.b, type: INT}]", "input 'a' is a value and cannot hold 'a.…' too"),
        (HEAD + TASKS + "inputs: [{id: a, type: ARRAY, itemType: ARRAY}]", "`itemType` cannot be `ARRAY`"),
        (HEAD + TASKS + "inputs: [{id: a, type: SELECT}]", "either `values` or `expression`"),
        (HEAD + TASKS + "inputs: [{id: a, type: SELECT, values: [x], defaults: y}]", "it must match the values `[x]`"),
        (HEAD + TASKS + "inputs: [{id: a, type: FILE, defaults: something}]", "inputs of type 'FILE'"),
        (HEAD + TASKS + "inputs: [{id: a, type: STRING, validator: '['}]", "invalid pattern [[]"),
        (HEAD + TASKS + "inputs: [{id: a, type: STRING, validator: '(a+)+$'}]", "invalid pattern [(a+)+$]: nested repetition"),
        (HEAD + TASKS + "inputs: [{id: a, type: DATE, after: 2024-13-45}]", "inputs[0].after: not a date: '2024-13-45'"),
        (HEAD + TASKS + "inputs: [{id: a, type: INT, min: 5, max: 1}]", "'min' must not be more than 'max'"),
        (HEAD + TASKS + "inputs: [{id: a, type: INT, dependsOn: {inputs: [b]}}]", "Input with id 'a' depends on a non-existent input 'b'."),
        (HEAD + TASKS + "inputs: [{id: a, type: INT, dependsOn: {inputs: [b]}}, {id: b, type: INT, dependsOn: {inputs: [a]}}]", "Cycle dependency detected for input with id 'a': [b]"),
        (HEAD + TASKS + "inputs: [{id: a, type: FORM, inputs: [{id: b, type: FORM, inputs: [{id: c, type: INT}]}]}]", "a FORM cannot hold another FORM"),
        (HEAD + TASKS + "inputs: [{id: a, type: OBJECT, properties: [{id: b, type: FILE}]}]", "an input of type OBJECT cannot hold one of type FILE"),
        (HEAD + TASKS + "inputs: [{id: a, type: TABLE, columns: [{id: b, type: INT, defaults: 1}]}]", "'defaults' is not allowed inside an input of type TABLE"),
        (HEAD + TASKS + "outputs: [{id: a, type: INT}]", "outputs[0].value: must not be null"),
        (HEAD + TASKS + "outputs: [{id: a, type: INT, value: 1}, {id: a, type: INT, value: 1}]", "Duplicate output with name [a]"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Schedule, cron: '0 0 12 * * *'}]", "triggers[0].cron: invalid cron expression '0 0 12 * * *': 6 fields need withSeconds: true"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Schedule, cron: '@daily', timezone: Mars/Base}]", "timezone '(Mars/Base)' is not a valid time-zone ID"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Webhook}]", "triggers[0].key: must not be null"),
        (HEAD + TASKS + f"triggers: [{{id: a, type: core.trigger.Webhook, key: {'x' * 257}}}]", "triggers[0].key: size must be between 0 and 256"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Webhook, key: k, signature: {scheme: github, secrets: ['']}}]", "secrets[0]: must not be empty"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Webhook, key: k, conditions: [{type: core.condition.MultipleCondition, id: x, conditions: {a: {type: core.condition.Weekend}}}]}]", "invalid webhook: conditions of type `MultipleCondition`"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Flow}, {id: a, type: core.trigger.Flow}]", "Duplicate trigger id with name [a]"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Flow, mode: AT_LEAST, dependsOn: [{flowId: x}]}]", "triggers[0].minSatisfied: must not be null"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Flow, window: {deadline: '10:00', lookback: P1D}, dependsOn: [{flowId: x}]}]", "`deadline` and `lookback`"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Flow, preconditions: {id: p, flows: [{namespace: n}], timeWindow: {type: DAILY_TIME_DEADLINE, window: P1D}}}]", "Time window of type `DAILY_TIME_DEADLINE` cannot have `window`"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Flow, preconditions: {id: p, where: [{id: w, filters: [{field: STATE, type: IN}]}]}}]", "`values` cannot be null for type IN"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Flow, conditions: [{type: core.condition.DateTimeBetween}]}]", "'after' or 'before' must be given"),
        (HEAD + TASKS + "pluginDefaults: [{type: core.log.Log}]", "Invalid Plugin Default: No 'values' provided"),
        (HEAD + TASKS + "pluginDefaults: [{type: core.log.Log, values: {nope: 1}}]", "Invalid Plugin Default: No property 'nope' exists in plugin 'core.log.Log'"),
        (HEAD + "inputs: [{id: my-key, type: STRING}]\ntasks: [{id: t, type: core.log.Log, message: '{{ inputs.my-key }}'}]", "offending input(s): [inputs.my-key]"),
        (HEAD + "tasks: [{id: my-task, type: core.debug.Return}, {id: t, type: core.log.Log, message: '{{ outputs.my-task.value }}'}]", "offending output(s): [outputs.my-task]"),
    ],
)  # fmt: skip
def test_a_broken_flow_says_what_is_wrong_in_kestras_words(text: str, said: str) -> None:
    found = constraints(text)

    assert any(said in one for one in found), found


def test_duplicate_task_ids_are_found_at_every_level() -> None:
    found = errors(
        HEAD
        + """
tasks:
  - {id: a, type: core.log.Log, message: x}
  - id: p
    type: core.flow.Parallel
    tasks: [{id: a, type: core.log.Log, message: x}, {id: b, type: core.log.Log, message: x}]
errors: [{id: b, type: core.log.Log, message: x}]
"""
    )

    assert [(p.code, p.message, p.line) for p in found] == [("F006", "Duplicate task id with name [a, b]", 8)]


def test_dag_faults_name_the_tasks() -> None:
    text = HEAD + "tasks: [{id: d, type: core.flow.Dag, tasks: [%s]}]"
    entry = "{task: {id: %s, type: core.log.Log, message: x}, dependsOn: [%s]}"

    assert constraints(text % ", ".join((entry % ("a", "b"), entry % ("b", "a"), entry % ("c", "a")))) == [
        "tasks[0].tasks: Cyclic dependency detected: a, b"
    ]
    assert constraints(text % (entry % ("a", "zzz"))) == ["tasks[0].tasks: Not existing task id in dependency: zzz"]


def test_a_flow_of_more_than_5000_tasks_is_refused_and_one_of_5000_is_not() -> None:
    def many(count: int) -> str:
        return HEAD + "tasks:\n" + "".join(f"- {{id: t{n}, type: core.log.Log, message: x}}\n" for n in range(count))

    assert errors(many(5_000)) == []
    assert [p.code for p in errors(many(5_001))] == ["F029"]


def test_a_number_too_long_is_text_where_text_is_wanted() -> None:
    digits = "9" * 200_000

    assert flow(HEAD + f"variables: {{n: {digits}}}\n" + TASKS).variables["n"] == digits


def warnings(text: str) -> list[str]:
    reading = read(text)
    assert reading.flow is not None, reading.problems
    return [f"{p.code} {p.message}" for p in reading.problems if p.severity is Severity.WARNING]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "tasks: [{id: t, type: io.kestra.core.tasks.log.Log, message: x}]", "F101 type is deprecated: io.kestra.core.tasks.log.Log is now io.kestra.plugin.core.log.Log"),
        (HEAD + "tasks: [{id: t, type: core.debug.Echo, format: x}]", "F101 core.debug.Echo is deprecated"),
        (HEAD + TASKS + "labels: {Team: x}", "F106 label key 'Team' is refused by Kestra 2"),
        (HEAD + TASKS + "inputs: [{id: a, type: INT, defaults: 1, required: false}]", "F105 `defaults` together with `required: false`"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Flow}]", "F103 This flow will be triggered for EVERY execution of EVERY flow on your instance"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Schedule, cron: '0 0 31 2 *'}]", "F104 cron expression '0 0 31 2 *' never fires"),
        (HEAD + TASKS + "triggers: [{id: a, type: core.trigger.Webhook, key: abc}]", "F107 the webhook key is shorter than 32"),
        (HEAD + TASKS + "retry: {type: constant, interval: PT0S, maxAttempts: 1000000}", "F108 retry without a pause"),
        (HEAD + TASKS + "pluginDefaults: [{type: core.http.Request, values: {method: POST}}]", "F109 no task, trigger, condition or task runner has the type core.http.Request"),
        (HEAD + "tasks: [{id: t, type: core.log.Log, message: '{{ a + }}'}]", "F110 expression cannot be read"),
        (HEAD + TASKS + "inputs: [{id: a, type: INT}]\ntriggers: [{id: s, type: core.trigger.Schedule, cron: '@daily'}]", "F113 Missing inputs for Schedule Trigger 's', missing inputs: 'a'"),
        (HEAD + TASKS + "triggers: [{id: s, type: core.trigger.Schedule, cron: '@daily', inputs: {a: \"{{ read('x') }}\"}}]", "F111 read() reads a file when the schedule fires"),
        (HEAD + "tasks: [{id: t, type: core.log.Log, message: '{{ nosuchfunction(1) }}'}]", "F112 "),
    ],
)  # fmt: skip
def test_what_is_only_doubtful_is_a_warning(text: str, said: str) -> None:
    found = warnings(text)

    assert any(one.startswith(said) for one in found), found


def test_a_prose_property_is_not_read_as_an_expression() -> None:
    assert warnings(HEAD + "description: 'use {{ a + }}'\n" + TASKS) == []


def test_the_namespace_of_the_place_stands_in_for_a_missing_one() -> None:
    reading = read("id: f\n" + TASKS, namespace="from.folder")

    assert reading.flow is not None
    assert reading.flow.namespace == "from.folder"


def test_a_json_flow_is_read() -> None:
    text = '{"id": "f", "namespace": "n", "tasks": [{"id": "t", "type": "core.log.Log", "message": "x"}]}'

    assert flow(text).tasks[0].id == "t"


def test_one_task_and_one_trigger_can_be_read_alone() -> None:
    good = read_task("id: t\ntype: core.log.Log\nmessage: x", CATALOG)
    bad = read_task("id: t\ntype: core.log.Log", CATALOG)
    trigger = read_trigger("id: t\ntype: core.trigger.Schedule\ncron: '@daily'", CATALOG)

    assert isinstance(good.value, model.Runnable)
    assert bad.value is None
    assert [p.constraint() for p in bad.problems] == ["message: must not be null"]
    assert isinstance(trigger.value, model.Trigger)


def test_a_bulk_text_is_cut_into_its_documents() -> None:
    text = "# head\n---\nid: a\ntext: |\n  ---\n  x\n--- # next\nid: b\n---\n\n"

    assert split_documents(text) == ["id: a\ntext: |\n  ---\n  x\n", "id: b\n"]


def test_server_managed_properties_are_ignored() -> None:
    read_one = flow(HEAD + TASKS + "revision: 7\ndeleted: false\ntenantId: main\n")

    assert read_one.revision == 1


def test_lists_and_maps_may_be_written_as_json_text() -> None:
    made = task("""{id: t, type: scripts.shell.Commands, commands: '["a"]', inputFiles: '{"x.txt": "y"}'}""")

    assert made.properties["commands"] == '["a"]'


def test_strict_refuses_expressions_that_cannot_be_read() -> None:
    text = HEAD + "tasks: [{id: t, type: core.log.Log, message: '{{ a + }}'}]"

    assert read(text).flow is not None
    assert [p.code for p in read(text, strict=1).errors] == ["F110"]


def test_a_duplicate_key_hides_no_other_finding() -> None:
    found = errors("id: f\nid: g\nnamespace: n\ntasks: [{id: t, type: core.log.Lgo}]\n")

    assert [(p.code, p.line) for p in found] == [("G003", 2), ("F002", 4)]
    assert found[0].message == "Illegal flow source: duplicate key 'id' (lines 1, 2)"


def test_a_text_that_is_no_yaml_is_told_in_kestras_words_with_its_line() -> None:
    found = errors("id: f\ntasks: [\n")

    assert [p.code for p in found] == ["G001"]
    assert found[0].message.startswith("Illegal flow source: ")
    assert found[0].line == 3


def test_the_place_of_an_input_counts_those_that_could_not_be_read() -> None:
    unreadable = HEAD + "inputs:\n  - {id: x, type: NOPE}\n"

    twice = errors(unreadable + "  - {id: a, type: STRING}\n  - {id: a, type: STRING}\n" + TASKS)
    lost = errors(unreadable + "  - {id: a, type: STRING, dependsOn: {inputs: [b]}}\n" + TASKS)

    assert [p.path for p in twice if p.code == "F007"] == ["inputs[2]"]
    assert [p.path for p in lost if p.code == "F010"] == ["inputs[1].dependsOn"]
