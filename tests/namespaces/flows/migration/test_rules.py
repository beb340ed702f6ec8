"""Every rule of ``versions.md`` 6: before and after, and what a person must do."""

# ruff: noqa: E501 - an expected line is as long as the rule makes it

from __future__ import annotations

from textwrap import dedent

import pytest

from namespaces.flows.catalog import Catalog
from namespaces.flows.migration import RULES, Outcome, SourceFile, Status, migrate
from namespaces.flows.parse import read_flow

CATALOG = Catalog()
CORE = "io.kestra.plugin.core."
HEAD = "id: f\nnamespace: n\n"
LOG = "tasks:\n  - {id: t, type: io.kestra.plugin.core.log.Log, message: x}\n"


def convert(body: str, *others: str, keep_1: bool = False) -> Outcome:
    files = [SourceFile(f"{n}.yaml", dedent(text)) for n, text in enumerate((HEAD + dedent(body), *others))]
    outcome = migrate(files, CATALOG, keep_1=keep_1)[0]
    again = migrate([SourceFile("0.yaml", outcome.text), *files[1:]], CATALOG, keep_1=keep_1)[0]
    assert again.text == outcome.text, "a second run changes nothing"
    assert not [remark for remark in outcome.remarks if remark.rule == "proof"], outcome.remarks
    return outcome


def body(outcome: Outcome) -> str:
    return outcome.text.removeprefix(HEAD)


def asked(outcome: Outcome) -> list[tuple[str, int]]:
    return [(remark.rule, remark.line) for remark in outcome.remarks if remark.kind == "needs you"]


CASES: dict[str, tuple[str, str, str]] = {
    "M01 a loop over values": (
        "M01",
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: ["a", "b"] # two
            tasks:
              # says it
              - id: t
                type: io.kestra.plugin.core.debug.Return
                format: "{{ taskrun.value }} {{ taskrun.iteration }} 'taskrun.value'"
              - id: u
                type: io.kestra.plugin.core.log.Log
                message: "{{ outputs.t[taskrun.value].value }} {{ currentEachOutput(outputs.t).value }}"
        """,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.Loop
            values: ["a", "b"] # two
            concurrencyLimit: 1
            tasks:
              # says it
              - id: t
                type: io.kestra.plugin.core.debug.Return
                format: "{{ item.value }} {{ item.index }} 'taskrun.value'"
              - id: u
                type: io.kestra.plugin.core.log.Log
                message: "{{ outputs.t.value }} {{ outputs.t.value }}"
        """,
    ),
    "M01 loops in loops": (
        "M01",
        """\
        tasks:
          - id: a
            type: io.kestra.plugin.core.flow.ForEach
            values: [1]
            concurrencyLimit: 0
            tasks:
              - id: b
                type: io.kestra.plugin.core.flow.ForEach
                values: "{{ taskrun.value }}"
                tasks:
                  - id: c
                    type: io.kestra.plugin.core.flow.ForEach
                    values: "{{ parent.taskrun.value }}"
                    tasks:
                      - id: in
                        type: io.kestra.plugin.core.flow.If
                        condition: "{{ taskrun.value == parent.taskrun.value }}"
                        then:
                          - id: t
                            type: io.kestra.plugin.core.log.Log
                            message: "{{ parent.taskrun.value }} {{ parents[1].taskrun.value }} {{ parents[2].taskrun.value }}"
        """,
        """\
        tasks:
          - id: a
            type: io.kestra.plugin.core.flow.Loop
            values: [1]
            concurrencyLimit: 0
            tasks:
              - id: b
                type: io.kestra.plugin.core.flow.Loop
                values: "{{ item.value }}"
                concurrencyLimit: 1
                tasks:
                  - id: c
                    type: io.kestra.plugin.core.flow.Loop
                    values: "{{ item.parent.value }}"
                    concurrencyLimit: 1
                    tasks:
                      - id: in
                        type: io.kestra.plugin.core.flow.If
                        condition: "{{ item.value == item.parent.value }}"
                        then:
                          - id: t
                            type: io.kestra.plugin.core.log.Log
                            message: "{{ item.value }} {{ item.parent.value }} {{ item.parents[0].value }}"
        """,
    ),
    "M01 an output behind the loop": (
        "M01",
        """\
        tasks:
          - id: my-each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a, b]
            tasks:
              - {id: t, type: io.kestra.plugin.core.debug.Return, format: x}
          - {id: u, type: io.kestra.plugin.core.log.Log, message: "{{ outputs.t['b'].value }}"}
        """,
        """\
        tasks:
          - id: my-each
            type: io.kestra.plugin.core.flow.Loop
            values: [a, b]
            concurrencyLimit: 1
            tasks:
              - {id: t, type: io.kestra.plugin.core.debug.Return, format: x}
            outputs:
              - id: t_value
                type: STRING
                value: "{{ outputs.t.value }}"
          - {id: u, type: io.kestra.plugin.core.log.Log, message: "{{ outputs['my-each'].outputs[1].outputs.t_value }}"}
        """,
    ),
    "M02 one after the other": (
        "M02",
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.EachSequential
            value: '["a"]'
            tasks:
              - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ taskrun.value }}"}
        """,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.Loop
            values: '["a"]'
            concurrencyLimit: 1
            tasks:
              - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ item.value }}"}
        """,
    ),
    "M02 all at once": (
        "M02",
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.EachParallel
            value: [a]
            tasks:
              # first
              - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ taskrun.value }}"}
              - id: s
                type: io.kestra.plugin.core.log.Log
                message: |
                  {{ taskrun.value }}
                    and more
        """,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.Loop
            values: [a]
            concurrencyLimit: 0
            tasks:
              - id: each_parallel
                type: io.kestra.plugin.core.flow.Parallel
                tasks:
                  # first
                  - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ item.value }}"}
                  - id: s
                    type: io.kestra.plugin.core.log.Log
                    message: |
                      {{ item.value }}
                        and more
        """,
    ),
    "M03 batches": (
        "M03",
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEachItem
            items: "{{ inputs.file }}" # all of them
            batch:
              rows: 4
              separator: ";"
            namespace: n
            flowId: child
            wait: true
            transmitFailed: false
            labels: {a: b}
            inputs:
              # the part
              file: "{{ taskrun.items }}"
              number: "{{ taskrun.iteration }}"
        inputs:
          - {id: file, type: FILE}
        """,
        """\
        tasks:
          - id: each_split
            type: io.kestra.plugin.core.storage.Split
            from: "{{ inputs.file }}" # all of them
            rows: 4
            separator: ";"
          - id: each
            type: io.kestra.plugin.core.flow.Loop
            values: "{{ outputs.each_split.uris }}"
            transmitFailed: false
            tasks:
              - id: each_items
                type: io.kestra.plugin.core.flow.Subflow
                namespace: n
                flowId: child
                inputs:
                  # the part
                  file: "{{ item.value }}"
                  number: "{{ item.index }}"
                labels: {a: b}
                wait: true
                transmitFailed: false
        inputs:
          - {id: file, type: FILE}
        """,
    ),
    "M03 merged outputs": (
        "M03",
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEachItem
            items: "{{ vars.file }}"
            namespace: n
            flowId: child
          - {id: u, type: io.kestra.plugin.core.storage.Size, uri: "{{ outputs.each_merge.subflowOutputs }}"}
        """,
        """\
        tasks:
          - id: each_split
            type: io.kestra.plugin.core.storage.Split
            from: "{{ vars.file }}"
            rows: 1
          - id: each
            type: io.kestra.plugin.core.flow.Loop
            values: "{{ outputs.each_split.uris }}"
            tasks:
              - id: each_items
                type: io.kestra.plugin.core.flow.Subflow
                namespace: n
                flowId: child
              - id: each_write
                type: io.kestra.plugin.core.storage.Write
                content: "{{ outputs.each_items.outputs | toJson }}\\n"
            outputs:
              - id: uri
                type: STRING
                value: "{{ outputs.each_write.uri }}"
          - id: each_merge
            type: io.kestra.plugin.core.storage.Concat
            files: "{{ loopOutputs(outputs.each.outputs, 'uri') }}"
          - {id: u, type: io.kestra.plugin.core.storage.Size, uri: "{{ outputs.each_merge.uri }}"}
        """,
    ),
    "M04 AllowFailure in a loop stays": (
        "M01",
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a]
            tasks:
              - id: may
                type: io.kestra.plugin.core.flow.AllowFailure
                tasks:
                  - {id: t, type: io.kestra.plugin.core.execution.Fail, errorMessage: "{{ parent.taskrun.value }}"}
        """,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.Loop
            values: [a]
            concurrencyLimit: 1
            tasks:
              - id: may
                type: io.kestra.plugin.core.flow.AllowFailure
                tasks:
                  - {id: t, type: io.kestra.plugin.core.execution.Fail, errorMessage: "{{ item.value }}"}
        """,
    ),
    "M05 runIf": (
        "M05",
        """\
        tasks:
          - id: t
            type: io.kestra.plugin.core.log.Log
            runIf : "{{ true }}"   # why
            message: runIf
        """,
        """\
        tasks:
          - id: t
            type: io.kestra.plugin.core.log.Log
            when : "{{ true }}"   # why
            message: runIf
        """,
    ),
    "M06 the condition of a check, and no other": (
        "M06",
        """\
        checks:
          - {condition: "{{ true }}", message: no}
        tasks:
          - id: t
            type: io.kestra.plugin.core.execution.Fail
            condition: "{{ false }}"
        """,
        """\
        checks:
          - {when: "{{ true }}", message: no}
        tasks:
          - id: t
            type: io.kestra.plugin.core.execution.Fail
            condition: "{{ false }}"
        """,
    ),
    "M07 conditions of a schedule": (
        "M07",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "0 8 * * *"
    conditions:
      # office hours
      - type: io.kestra.plugin.core.condition.TimeBetween
        after: "08:30:00"
        before: "17:00+02:00"
      - type: io.kestra.plugin.core.condition.Not
        conditions:
          - {type: io.kestra.plugin.core.condition.Weekend}
          - {type: io.kestra.plugin.core.condition.PublicHoliday, country: FR, subDivision: IDF}
""",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "0 8 * * *"
    # office hours
    when: "{{ ((trigger.date | date('HH:mm:ss')) > '08:30:00' and (trigger.date | date('HH:mm:ss', timeZone='+02:00')) < '17:00:00') and (not (isWeekend(trigger.date)) and not (isPublicHoliday(trigger.date, 'FR', 'IDF'))) }}"
""",
    ),
    "M07 each kind of condition": (
        "M07",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "0 8 * * *"
    scheduleConditions:
      - type: io.kestra.plugin.core.condition.Or
        conditions:
          - {type: io.kestra.plugin.core.condition.DayWeek, dayOfWeek: MONDAY, date: "{{ now() }}"}
          - {type: io.kestra.plugin.core.condition.DayWeekInMonth, dayOfWeek: FRIDAY, dayInMonth: LAST}
          - {type: io.kestra.plugin.core.condition.DateTimeBetween, after: "2024-01-01T00:00:00Z"}
          - {type: io.kestra.plugin.core.condition.Expression, expression: "{{ vars.x == 1 }}"}
""",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "0 8 * * *"
    when: "{{ (dayOfWeek(now()) == 'MONDAY') or (isDayWeekInMonth(trigger.date, 'FRIDAY', 'LAST')) or (trigger.date > '2024-01-01T00:00:00Z') or (vars.x == 1) }}"
""",
    ),
    "M08 conditions of a Flow trigger": (
        "M08",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    states: [SUCCESS, FAILED]
    conditions:
      - {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: a, flowId: up}
      - {type: io.kestra.plugin.core.condition.ExecutionStatus, notIn: [FAILED]}
      - {type: io.kestra.plugin.core.condition.ExecutionLabels, labels: {team: x}}
      - {type: io.kestra.plugin.core.condition.ExecutionOutputs, expression: "{{ trigger.outputs.n > 1 }}"}
      - {type: io.kestra.plugin.core.condition.HasRetryAttempt, in: [FAILED]}
""",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    dependsOn:
      - namespace: a
        flowId: up
        states:
          - SUCCESS
        labels:
          team: x
        when: "{{ (outputs.n > 1) and (hasRetryAttempt) }}"
""",
    ),
    "M08 namespaces by prefix, none of several, and one of several": (
        "M08",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    conditions:
      - {type: io.kestra.plugin.core.condition.ExecutionNamespace, namespace: a, comparison: PREFIX}
      - type: io.kestra.plugin.core.condition.Not
        conditions:
          - {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: a, flowId: x}
          - {type: io.kestra.plugin.core.condition.ExecutionStatus, in: [FAILED, KILLED]}
      - type: io.kestra.plugin.core.condition.Or
        conditions:
          - {type: io.kestra.plugin.core.condition.Expression, expression: "{{ trigger.state == 'SUCCESS' }}"}
          - {type: io.kestra.plugin.core.condition.ExecutionNamespace, namespace: b}
""",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    dependsOn:
      - when: "{{ (namespace | startsWith('a')) and (not (namespace == 'a' and flowId == 'x') and not (['FAILED', 'KILLED'] contains state)) and ((state == 'SUCCESS') or (namespace == 'b')) }}"
""",
    ),
    "M09 preconditions": (
        "M09",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    preconditions:
      id: both
      flows:
        # the upstream one
        - namespace: a
          flowId: up
      where:
        - id: w
          operand: OR
          filters:
            - {field: FLOW_ID, type: IN, values: [x, y]}
            - {field: NAMESPACE, type: STARTS_WITH, value: a.b}
            - {field: EXPRESSION, type: IS_TRUE, value: "{{ trigger.outputs.ok == 1 }}"}
""",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    dependsOn:
      # the upstream one
      - namespace: a
        flowId: up
      - when: "{{ (['x', 'y'] contains flowId) or (namespace | startsWith('a.b')) or (outputs.ok == 1) }}"
""",
    ),
    "M10 MultipleCondition": (
        "M10",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    conditions:
      - id: m
        type: io.kestra.plugin.core.condition.MultipleCondition
        window: PT2H
        windowAdvance: PT1H
        conditions:
          one: {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: a, flowId: x}
          two: {type: io.kestra.plugin.core.condition.ExecutionStatus, in: [SUCCESS]}
""",
        LOG
        + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    dependsOn:
      - namespace: a
        flowId: x
      - states:
          - SUCCESS
    window:
      every: PT2H
      offset: PT1H
      fireOnce: true
""",
    ),
    **{
        f"M11 {name}": (
            "M11",
            f"""\
{LOG}triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    preconditions:
      id: p
      timeWindow: {before}
      resetOnSuccess: {reset}
      flows:
        - {{namespace: a, flowId: x}}
""",
            f"""\
{LOG}triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    dependsOn:
      - {{namespace: a, flowId: x}}
"""
            + "".join(f"    {line}\n" for line in (["window:", *(f"  {one}" for one in after)] if after else [])),
        )
        for name, before, reset, after in (
            (
                "a deadline",
                '{type: DAILY_TIME_DEADLINE, deadline: "09:00:00"}',
                "true",
                ['deadline: "09:00:00"', "fireOnce: true"],
            ),
            (
                "a part of the day",
                '{type: DAILY_TIME_WINDOW, startTime: "06:00:00", endTime: "09:00:00"}',
                "false",
                ['from: "06:00:00"', 'to: "09:00:00"', "fireOnce: false"],
            ),
            ("a sliding window", "{type: SLIDING_WINDOW, window: PT1H}", "true", ["lookback: PT1H", "fireOnce: true"]),
            ("the default window", "{type: DURATION_WINDOW}", "true", []),
            ("the default window kept after firing", "{window: P1D}", "false", ["every: P1D", "fireOnce: false"]),
        )
    },
    "M13 plugin defaults": (
        "M13",
        """\
        # what all share
        pluginDefaults:
          # quiet
          - type: io.kestra.core.tasks.log.Log
            values: {level: WARN, retry: {type: constant, interval: PT1S}}
          - type: io.kestra.plugin.core.log
            values:
              timeout: PT1M
          - {type: io.kestra.plugin.core.log.Log, forced: true, values: {logLevel: ERROR}}
        tasks:
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: x
            retry:
              interval: PT2S
              type: constant
            logLevel: INFO
          - {id: u, type: io.kestra.plugin.core.log.Log, message: x, level: DEBUG}
        """,
        """\
        # what all share
        # quiet
        tasks:
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: x
            retry:
              interval: PT2S
              type: constant
            logLevel: ERROR
            level: WARN
            timeout: PT1M
          - {id: u, type: io.kestra.plugin.core.log.Log, message: x, level: DEBUG, logLevel: "ERROR", retry: {"type": "constant", "interval": "PT1S"}, timeout: "PT1M"}
        """,
    ),
    "M14 listeners": (
        "M14",
        LOG
        + """\
listeners:
  # when it went wrong
  - conditions:
      - type: io.kestra.plugin.core.condition.ExecutionStatus
        in: [FAILED, WARNING]
      - type: io.kestra.plugin.core.condition.Expression
        expression: "{{ vars.x == 1 }}"
    tasks:
      - id: l
        type: io.kestra.plugin.core.log.Log
        message: bad
""",
        LOG
        + """\
# when it went wrong
afterExecution:
  - id: l
    type: io.kestra.plugin.core.log.Log
    when: "{{ (['FAILED', 'WARNING'] contains execution.state) and (vars.x == 1) }}"
    message: bad
""",
    ),
    "M15 json in expressions only": (
        "M15",
        """\
        tasks:
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: 'json(x) {{ json(vars.x).a ~ "json(" }} {{ vars.x | json }} {{ vars.x is json }} {# json(x) #}'
          - id: s
            type: io.kestra.plugin.scripts.shell.Script
            script: |
              echo "json(x)" | json
                echo {{ json('{"a": "b"}') }}
        """,
        """\
        tasks:
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: 'json(x) {{ fromJson(vars.x).a ~ "json(" }} {{ vars.x | toJson }} {{ vars.x is json }} {# json(x) #}'
          - id: s
            type: io.kestra.plugin.scripts.shell.Script
            script: |
              echo "json(x)" | json
                echo {{ fromJson('{"a": "b"}') }}
        """,
    ),
    "M16 inputs": (
        "M16",
        """\
        inputs:
          - {name: a, type: BOOLEAN, defaults: true, required: false}
          - {id: b, type: ENUM, values: [x]}
          - id: c
            type: MULTISELECT
            options: [x]
          - id: d
            type: FILE
            extension: .csv
          - id: e
            required: false # says nothing
            type: ARRAY
            itemType: BOOLEAN
            defaults: []
        """
        + LOG.replace("\n", "\n        ").rstrip(" "),
        """\
        inputs:
          - {id: a, type: BOOL, defaults: true}
          - {id: b, type: SELECT, values: [x]}
          - id: c
            type: MULTISELECT
            values: [x]
          - id: d
            type: FILE
            allowedFileExtensions:
              - .csv
          - id: e
            # says nothing
            type: ARRAY
            itemType: BOOL
            defaults: []
        """
        + LOG.replace("\n", "\n        ").rstrip(" "),
    ),
    "M17 names of types": (
        "M17",
        """\
        tasks:
          - {id: a, type: io.kestra.core.tasks.log.Log, message: x}
          - {id: b, type: "io.kestra.plugin.core.debug.Echo", format: x, level: WARN}
          - id: c
            type: io.kestra.plugin.core.flow.WaitFor
            condition: "{{ true }}"
            tasks:
              - {id: d, type: io.kestra.plugin.core.log.Log, message: x}
        """,
        """\
        tasks:
          - {id: a, type: io.kestra.plugin.core.log.Log, message: x}
          - {id: b, type: "io.kestra.plugin.core.log.Log", message: x, level: WARN}
          - id: c
            type: io.kestra.plugin.core.flow.LoopUntil
            condition: "{{ true }}"
            tasks:
              - {id: d, type: io.kestra.plugin.core.log.Log, message: x}
        """,
    ),
    "M19 scripts": (
        "M19",
        """\
        tasks:
          - id: s
            type: io.kestra.plugin.scripts.shell.Script
            runner: DOCKER
            docker:
              image: alpine
              # as nobody
              user: "65534"
            script: "true"
          - {id: p, type: io.kestra.plugin.scripts.shell.Script, runner: PROCESS, script: "true"}
        """,
        """\
        tasks:
          - id: s
            type: io.kestra.plugin.scripts.shell.Script
            taskRunner:
              type: io.kestra.plugin.scripts.runner.docker.Docker
              user: "65534"
            # as nobody
            containerImage: alpine
            script: "true"
          - {id: p, type: io.kestra.plugin.scripts.shell.Script, taskRunner: {"type": "io.kestra.plugin.core.runner.Process"}, script: "true"}
        """,
    ),
    "M20 spellings": (
        "M20",
        """\
        retry: {type: constant, interval: PT1S, maxAttempt: 3}
        tasks:
          - {id: e, type: io.kestra.plugin.core.execution.Exit, state: CANCELED}
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: "{{ schedule.date }} 'schedule.date' {{ vars.schedule }}"
            retry:
              type: constant
              interval: PT1S
              maxAttempt: 3
        triggers:
          - {id: s, type: io.kestra.plugin.core.trigger.Schedule, cron: "0 0 * * *", minLogLevel: WARN}
        """,
        """\
        retry: {type: constant, interval: PT1S, maxAttempts: 3}
        tasks:
          - {id: e, type: io.kestra.plugin.core.execution.Exit, state: CANCELLED}
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: "{{ trigger.date }} 'schedule.date' {{ vars.schedule }}"
            retry:
              type: constant
              interval: PT1S
              maxAttempts: 3
        triggers:
          - {id: s, type: io.kestra.plugin.core.trigger.Schedule, cron: "0 0 * * *", logLevel: WARN}
        """,
    ),
    "M21 workers": (
        "M21",
        """\
        tasks:
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: x
            workerGroup:
              key: gpu
          - {id: u, type: io.kestra.plugin.core.log.Log, message: x, workerGroup: {key: gpu, fallback: FAIL}}
        """,
        """\
        tasks:
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: x
            workerSelector:
              tags:
                - gpu
              fallback: WAIT
          - {id: u, type: io.kestra.plugin.core.log.Log, message: x, workerSelector: {"tags": ["gpu"], "fallback": "FAIL"}}
        """,
    ),
    "M22 versions of files": (
        "M22",
        """\
        tasks:
          - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ read('a', version=3) }} {{ fileURI(path='a', version=1) }}"}
        """,
        """\
        tasks:
          - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ read('a', revision=3) }} {{ fileURI(path='a', revision=1) }}"}
        """,
    ),
    "M23 files of ION": (
        "M23",
        """\
        tasks:
          - {id: q, type: io.kestra.plugin.core.log.Fetch}
          - {id: r, type: io.kestra.plugin.core.debug.Return, format: "{{ read(outputs.q.uri) }}"}
        """,
        """\
        tasks:
          - {id: q, type: io.kestra.plugin.kestra.logs.Fetch}
          - {id: r, type: io.kestra.plugin.core.debug.Return, format: "{{ fromIon(read(outputs.q.uri), allRows=true) }}"}
        """,
    ),
    "M25 PurgeKV": (
        "M25",
        """\
        tasks:
          - {id: p, type: io.kestra.plugin.core.kv.PurgeKV, expiredOnly: false}
          - id: q
            type: io.kestra.plugin.core.kv.PurgeKV
            expiredOnly: "{{ true }}"
        """,
        """\
        tasks:
          - {id: p, type: io.kestra.plugin.core.kv.PurgeKV, behavior: {"type": "key", "expiredOnly": false}}
          - id: q
            type: io.kestra.plugin.core.kv.PurgeKV
            behavior:
              type: key
              expiredOnly: "{{ true }}"
        """,
    ),
    "M26 Pause": (
        "M26",
        """\
        tasks:
          - id: p
            type: io.kestra.plugin.core.flow.Pause
            delay: PT1S
            tasks:
              # behind it
              - id: t
                type: io.kestra.plugin.core.log.Log
                message: |
                  two
                  lines
          - {id: u, type: io.kestra.plugin.core.log.Log, message: x}
        """,
        """\
        tasks:
          - id: p
            type: io.kestra.plugin.core.flow.Pause
            pauseDuration: PT1S
          # behind it
          - id: t
            type: io.kestra.plugin.core.log.Log
            message: |
              two
              lines
          - {id: u, type: io.kestra.plugin.core.log.Log, message: x}
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_gives_what_the_table_says(name: str) -> None:
    rule, before, after = CASES[name]

    outcome = convert(before)

    assert body(outcome) == dedent(after)
    assert outcome.status is Status.CONVERTIBLE
    assert rule in {remark.rule for remark in outcome.remarks}
    strict = read_flow(outcome.text, CATALOG, language_default="2", strict=2)
    assert [(problem.code, problem.message) for problem in strict.errors] == []


MANUAL: dict[str, tuple[str, int, str]] = {
    "M01 finally would run in every iteration": (
        "M01", 9,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a]
            tasks: [{id: t, type: io.kestra.plugin.core.log.Log, message: x}]
            # at last
            finally: [{id: u, type: io.kestra.plugin.core.log.Log, message: x}]
        """,
    ),
    "M01 outputs of all iterations": (
        "M01", 8,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a]
            tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]
          - {id: u, type: io.kestra.plugin.core.log.Log, message: "{{ outputs.t | jq('.x') }}"}
        """,
    ),
    "M01 a computed key": (
        "M01", 8,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a]
            tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]
          - {id: u, type: io.kestra.plugin.core.log.Log, message: "{{ outputs.t[vars.x].value }}"}
        """,
    ),
    "M01 the states of its tasks": (
        "M01", 8,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a]
            tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]
          - {id: u, type: io.kestra.plugin.core.log.Log, message: "{{ tasks.t.state }}"}
        """,
    ),
    "M01 a task that acts on the execution": (
        "M01", 8,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a]
            tasks:
              - {id: t, type: io.kestra.plugin.core.execution.Exit}
        """,
    ),
    "M02 a limit of task runs": (
        "M02", 7,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.EachParallel
            value: [a]
            concurrent: 2
            tasks: [{id: t, type: io.kestra.plugin.core.log.Log, message: x}]
        """,
    ),
    "M03 the merged outputs are read": (
        "M03", 9,
        """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEachItem
            items: "{{ vars.file }}"
            namespace: n
            flowId: child
          - {id: u, type: io.kestra.plugin.core.log.Log, message: "{{ read(outputs.each_merge.subflowOutputs) }}"}
        """,
    ),
    "M07 a holiday of no country": (
        "M07", 11,
        LOG + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "0 8 * * *"
    conditions:
      - {type: io.kestra.plugin.core.condition.Weekend}
      - {type: io.kestra.plugin.core.condition.PublicHoliday}
""",
    ),
    "M07 an execution's namespace on a schedule": (
        "M07", 10,
        LOG + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "0 8 * * *"
    conditions:
      - {type: io.kestra.plugin.core.condition.ExecutionNamespace, namespace: a}
""",
    ),
    "M08 two flows can never hold": (
        "M08", 8,
        LOG + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    conditions:
      - {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: a, flowId: x}
      - {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: a, flowId: y}
""",
    ),
    "M09 a filter over something an entry does not know": (
        "M09", 8,
        LOG + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    preconditions:
      id: p
      where:
        - id: w
          filters: [{field: EXPRESSION, type: IS_TRUE, value: "{{ trigger.executionId == 'x' }}"}]
""",
    ),
    "M10 a member without a counterpart": (
        "M10", 8,
        LOG + """\
triggers:
  - id: s
    type: io.kestra.plugin.core.trigger.Flow
    conditions:
      - id: m
        type: io.kestra.plugin.core.condition.MultipleCondition
        conditions:
          one: {type: io.kestra.plugin.core.condition.Weekend}
""",
    ),
    "M14 a listener on a namespace": (
        "M14", 6,
        LOG + """\
listeners:
  - conditions: [{type: io.kestra.plugin.core.condition.ExecutionNamespace, namespace: a}]
    tasks: [{id: l, type: io.kestra.plugin.core.log.Log, message: x}]
""",
    ),
    "M16 a BOOLEAN that is neither": (
        "M16", 4,
        "inputs:\n  - {id: a, type: BOOLEAN, defaults: 'yes'}\n" + LOG,
    ),
    "M17 a template that is no flow": (
        "M17", 4,
        "tasks:\n  - {id: t, type: io.kestra.plugin.core.flow.Template, namespace: n, templateId: x}\n",
    ),
    "M18 removed types": (
        "M18", 4,
        "tasks:\n  - {id: t, type: io.kestra.plugin.core.execution.Resume, executionId: x}\n",
    ),
    "M18 outputDir": (
        "M18", 6,
        """\
        tasks:
          - id: t
            type: io.kestra.plugin.scripts.shell.Script
            script: echo > {{ outputDir }}/x
        """,
    ),
    "M19 options the runner has not": (
        "M19", 6,
        """\
        tasks:
          - id: t
            type: io.kestra.plugin.scripts.shell.Script
            docker: {image: a, dockerHost: b}
            script: x
        """,
    ),
    "M21 a key that is no tag": (
        "M21", 4,
        "tasks:\n  - {id: t, type: io.kestra.plugin.core.log.Log, message: x, workerGroup: {key: Big_One}}\n",
    ),
    "M23 a file of ION as text": (
        "M23", 5,
        """\
        tasks:
          - {id: q, type: io.kestra.plugin.core.log.Fetch}
          - {id: r, type: io.kestra.plugin.core.debug.Return, format: "{{ read(outputs.q.uri) | length }}"}
        """,
    ),
    "M26 a task that names its Pause": (
        "M26", 6,
        """\
        tasks:
          - id: p
            type: io.kestra.plugin.core.flow.Pause
            tasks:
              - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ parent.outputs }}"}
        """,
    ),
    "M27 outputs of a Subflow": (
        "M27", 4,
        "tasks:\n  - {id: t, type: io.kestra.plugin.core.flow.Subflow, namespace: n, flowId: x, outputs: {a: b}}\n",
    ),
    "M27 a schedule that leaves an input open": (
        "M27", 8,
        "inputs:\n  - {id: a, type: STRING}\n"
        + LOG
        + "triggers:\n  - {id: s, type: io.kestra.plugin.core.trigger.Schedule, cron: '0 0 * * *'}\n",
    ),
    "M27 inputs of a trigger as a list": (
        "M27", 6,
        LOG + "triggers:\n  - {id: s, type: io.kestra.plugin.core.trigger.Webhook, key: x, inputs: [{name: a, value: b}]}\n",
    ),
    "M27 label keys": ("M27", 3, "labels: {Team: x}\n" + LOG),
    "M27 a list that may be absent": (
        "M27", 5,
        """\
        tasks:
          - {id: k, type: io.kestra.plugin.core.kv.GetKeys}
          - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ outputs.k.keys ?? 'none' }}"}
        """,
    ),
    "M27 an optional secret": (
        "M27", 4, "tasks:\n  - {id: t, type: io.kestra.plugin.core.log.Log, message: \"{{ secret('A') ?? 'x' }}\"}\n",
    ),
    "M27 includes": ("M27", 4, "tasks:\n  - {id: t, type: io.kestra.plugin.core.log.Log, message: '[[> /a.txt]]'}\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", MANUAL)
def test_what_needs_a_person_is_told_with_its_place_and_marked(name: str) -> None:
    rule, line, text = MANUAL[name]

    outcome = convert(text)

    assert outcome.status is Status.NEEDS_YOU
    assert (rule, line) in asked(outcome)
    assert f"# lanner migrate {rule}: " in outcome.text


def test_the_other_rules_are_applied_where_one_needs_a_person() -> None:
    outcome = convert(
        """\
        tasks:
          - {id: t, type: io.kestra.plugin.core.execution.Resume, executionId: x, runIf: "{{ true }}"}
        """
    )

    assert 'when: "{{ true }}"' in outcome.text


def test_m07_a_condition_that_may_render_0_is_told() -> None:
    outcome = convert(
        LOG
        + "triggers:\n  - id: s\n    type: io.kestra.plugin.core.trigger.Schedule\n    cron: '0 0 * * *'\n    conditions:\n"
        + "      - {type: io.kestra.plugin.core.condition.Expression, expression: '{{ vars.x }}'}\n"
    )

    assert 'when: "{{ vars.x }}"' in outcome.text
    assert [remark.message for remark in outcome.remarks if remark.kind == "note"] == [
        "a rendered 0 held in 1.x and does not in a `when`"
    ]


def test_m07_two_weekdays_are_converted_with_a_warning() -> None:
    day = "      - {type: io.kestra.plugin.core.condition.DayWeek, dayOfWeek: %s}\n"
    outcome = convert(
        LOG
        + "triggers:\n  - id: s\n    type: io.kestra.plugin.core.trigger.Schedule\n    cron: '0 0 * * *'\n    conditions:\n"
        + day % "MONDAY"
        + day % "SUNDAY"
    )

    assert outcome.status is Status.CONVERTIBLE
    assert [remark.kind for remark in outcome.remarks] == ["converted", "note"]


def upstream(flow_id: str, output: str) -> str:
    return f"id: {flow_id}\nnamespace: a\noutputs:\n  - {{id: {output}, type: STRING, value: x}}\n{LOG}"


def test_m12_an_output_is_found_below_the_one_flow_that_declares_it() -> None:
    listening = """\
        tasks:
          - {id: t, type: io.kestra.plugin.core.log.Log, message: "{{ trigger.outputs.n }}"}
        triggers:
          - id: s
            type: io.kestra.plugin.core.trigger.Flow
            inputs: {x: "{{ trigger.outputs.m ?? 'none' }}"}
            preconditions:
              id: p
              flows: [{namespace: a, flowId: up-1}, {namespace: a, flowId: two}]
        """
    ups = upstream("up-1", "n"), upstream("two", "m")

    outcome = convert(listening, *ups)
    alone = convert(listening)

    assert "{{ trigger.outputs['up-1'].n }}" in outcome.text
    assert "{{ trigger.outputs.two.m ?? 'none' }}" in outcome.text
    assert outcome.status is Status.CONVERTIBLE
    assert [rule for rule, _ in asked(alone)] == ["M12", "M12"]


def test_m01_a_loop_stays_whose_tasks_another_file_names() -> None:
    looping = """\
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a]
            tasks: [{id: inner, type: io.kestra.plugin.core.debug.Return, format: x}]
        """
    caller = (
        "id: caller\nnamespace: n\ntasks:\n"
        "  - {id: call, type: io.kestra.plugin.core.flow.Subflow, namespace: n, flowId: f}\n"
        "  - {id: t, type: io.kestra.plugin.core.log.Log, message: '{{ outputs.call.outputs.inner }}'}\n"
    )

    assert [rule for rule, _ in asked(convert(looping, caller))] == ["M01"]
    assert convert(looping).status is Status.CONVERTIBLE


def test_m13_defaults_of_a_namespace_are_shown_as_policies() -> None:
    (outcome,) = migrate([SourceFile("namespace.yaml", "plugin_defaults:\n  - {type: t, values: {a: 1}}\n")], CATALOG)

    (remark,) = outcome.remarks
    assert (outcome.status, remark.rule) == (Status.NEEDS_YOU, "M13")
    assert '"type": "Add"' in remark.message
    assert '"values": {"a": 1}' in remark.message


def test_m16_callers_of_a_boolean_are_told() -> None:
    caller = "id: c\nnamespace: n\ninputs: [{id: a, type: BOOLEAN}]\n" + LOG
    text = "tasks:\n  - {id: t, type: io.kestra.plugin.core.flow.Subflow, namespace: n, flowId: c, inputs: {a: 'no'}}\n"

    assert asked(convert(text, caller)) == [("M16", 4)]


def test_m17_a_template_that_is_a_flow_is_called() -> None:
    template = "id: x\nnamespace: n\n" + LOG
    text = "tasks:\n  - {id: t, type: io.kestra.plugin.core.flow.Template, namespace: n, templateId: x, args: {a: b}}\n"

    assert "flow.Subflow, namespace: n, flowId: x, inputs: {a: b}}" in convert(text, template).text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("notifications.slack.SlackIncomingWebhook", "slack.notifications.SlackIncomingWebhook"),
        ("notifications.mail.MailSend", "email.MailSend"),
        ("langchain4j.ChatCompletion", "ai.ChatCompletion"),
        ("kubernetes.PodCreate", "kubernetes.core.PodCreate"),
        ("dbt.cli.Build", "dbt.cli.DbtCLI"),
    ],
)
def test_m17_renamed_plugins_need_not_be_installed(old: str, new: str) -> None:
    outcome = convert(f"tasks:\n  - {{id: t, type: io.kestra.plugin.{old}}}\n")

    assert body(outcome) == f"tasks:\n  - {{id: t, type: io.kestra.plugin.{new}}}\n"


def test_m24_a_delete_says_what_language_1_did() -> None:
    text = "tasks:\n  - id: d\n    type: io.kestra.plugin.fs.local.Delete\n    from: /tmp/x\n"

    assert body(convert(text)) == text + "    recursive: true\n"
    (newer,) = migrate([SourceFile("f", "# lanner: language=2\n" + HEAD + text)], CATALOG)
    assert newer.status is Status.OK


def test_keep_1_applies_only_what_runs_on_1_3_too() -> None:
    kept = {name: convert(before, keep_1=True) for name, (_, before, _) in CASES.items()}
    applied = {remark.rule for outcome in kept.values() for remark in outcome.remarks}

    assert applied == {name for name, about in RULES.items() if about.on_1} - {"M24"}


def test_every_rule_is_told_about_and_tested() -> None:
    tested = {rule for rule, _, _ in (*CASES.values(), *MANUAL.values())} | {"M04", "M12", "M24"}

    assert tested == set(RULES) == {f"M{number:02}" for number in range(1, 28)}
