"""An example of each built-in type, for its page; a test validates all, and runs those that need nothing outside."""

from __future__ import annotations

_LOG = "{id: say, type: io.kestra.plugin.core.log.Log, message: Hello}"

_BODIES: dict[str, str] = {
    "core.flow.Sequential": f"tasks:\n  - {_LOG}",
    "core.flow.AllowFailure": "tasks:\n  - {id: may-fail, type: io.kestra.plugin.core.execution.Fail}",
    "core.flow.Parallel": f"concurrent: 2\ntasks:\n  - {_LOG}\n  - {_LOG.replace('id: say', 'id: too')}",
    "core.flow.Dag": (
        f"tasks:\n  - task: {_LOG}\n  - task: {_LOG.replace('id: say', 'id: then')}\n    dependsOn: [say]"
    ),
    "core.flow.If": f"condition: \"{{{{ flow.namespace == 'company.team' }}}}\"\nthen:\n  - {_LOG}",
    "core.flow.Switch": f'value: "{{{{ flow.id }}}}"\ncases:\n  example:\n    - {_LOG}\ndefaults:\n  - '
    + _LOG.replace("id: say", "id: other"),
    "core.flow.ForEach": (
        "values: [a, b]\ntasks:\n"
        '  - {id: say, type: io.kestra.plugin.core.log.Log, message: "{{ taskrun.value }}"}'
    ),
    "core.flow.EachSequential": (
        "value: [a, b]\ntasks:\n"
        '  - {id: say, type: io.kestra.plugin.core.log.Log, message: "{{ taskrun.value }}"}'
    ),
    "core.flow.EachParallel": (
        "value: [a, b]\ntasks:\n"
        '  - {id: say, type: io.kestra.plugin.core.log.Log, message: "{{ taskrun.value }}"}'
    ),
    "core.flow.Loop": (
        "values: [a, b]\nconcurrencyLimit: 1\ntasks:\n"
        '  - {id: say, type: io.kestra.plugin.core.log.Log, message: "{{ item.index }}: {{ item.value }}"}'
    ),
    "core.flow.LoopUntil": (
        'condition: "{{ outputs.look.value == \'done\' }}"\ncheckFrequency: {interval: PT1S, maxIterations: 3}\n'
        "tasks:\n  - {id: look, type: io.kestra.plugin.core.debug.Return, format: done}"
    ),
    "core.flow.Subflow": "namespace: company.team\nflowId: child\ninputs: {city: Paris}\nwait: true",
    "core.flow.ForEachItem": (
        'items: "{{ inputs.file }}"\nbatch: {rows: 100}\nnamespace: company.team\nflowId: child\n'
        'inputs: {file: "{{ taskrun.items }}"}'
    ),
    "core.flow.WorkingDirectory": (
        "tasks:\n  - {id: write, type: io.kestra.plugin.scripts.shell.Script, script: echo Hello > hello.txt}\n"
        "  - {id: read, type: io.kestra.plugin.scripts.shell.Script, script: cat hello.txt}"
    ),
    "core.flow.Pause": "pauseDuration: PT1H\nonResume:\n  - {id: comment, type: STRING}",
    "core.flow.Approval": (
        "timeout: P1D\ncommentRequired: ON_DENY\nonWait:\n"
        '  - {id: ask, type: io.kestra.plugin.core.log.Log, message: "Please decide"}'
    ),
    "core.flow.Template": "namespace: company.team\ntemplateId: shared",
    "core.flow.Sleep": "duration: PT0.1S",
    "core.flow.PurgeFlows": "namespace: company.team",
    "core.condition.DateTimeBetween": 'after: "2026-01-01T00:00:00Z"\nbefore: "2027-01-01T00:00:00Z"',
    "core.condition.TimeBetween": 'after: "08:00:00"\nbefore: "17:30:00"',
    "core.condition.DayWeek": "dayOfWeek: MONDAY",
    "core.condition.DayWeekInMonth": "dayOfWeek: MONDAY\ndayInMonth: FIRST",
    "core.condition.Weekend": "",
    "core.condition.PublicHoliday": "country: FR",
    "core.condition.Expression": "expression: \"{{ trigger.date | date('d') == '1' }}\"",
    "core.condition.ExecutionFlow": "namespace: company.team\nflowId: upstream",
    "core.condition.ExecutionNamespace": "namespace: company\ncomparison: PREFIX",
    "core.condition.ExecutionStatus": "in: [SUCCESS]",
    "core.condition.ExecutionLabels": "labels: {team: data}",
    "core.condition.ExecutionOutputs": 'expression: "{{ trigger.outputs.rows > 0 }}"',
    "core.condition.HasRetryAttempt": "in: [FAILED]",
    "core.condition.FlowCondition": "namespace: company.team\nflowId: upstream",
    "core.condition.FlowNamespaceCondition": "namespace: company\nprefix: true",
    "core.condition.Not": "conditions:\n  - {type: io.kestra.plugin.core.condition.Weekend}",
    "core.condition.Or": (
        "conditions:\n  - {type: io.kestra.plugin.core.condition.DayWeek, dayOfWeek: MONDAY}\n"
        "  - {type: io.kestra.plugin.core.condition.DayWeek, dayOfWeek: FRIDAY}"
    ),
    "core.condition.MultipleCondition": (
        "id: both\nwindow: P1D\nconditions:\n"
        "  a: {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: company.team, flowId: a}\n"
        "  b: {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: company.team, flowId: b}"
    ),
    "core.runner.Process": "",
    "scripts.runner.docker.Docker": 'pullPolicy: IF_NOT_PRESENT\nmemory: {memory: 512MB}',
    "core.trigger.Schedule": 'cron: "0 8 * * 1-5"\ntimezone: Europe/Paris',
    "core.trigger.ScheduleOnDates": 'dates: ["2026-12-31T23:00:00Z"]',
    "core.trigger.Webhook": "key: \"{{ secret('WEBHOOK_KEY') }}\"",
    "core.trigger.Flow": "dependsOn:\n  - {namespace: company.team, flowId: upstream, states: [SUCCESS]}",
    "core.http.Trigger": (
        "uri: https://example.com/status\ninterval: PT1M\n"
        "responseCondition: \"{{ response.statusCode == 200 }}\""
    ),
    "core.trigger.McpToolTrigger": (
        "toolName: report\ntitle: Make the report\ntoolDescription: Makes the report of a day and says where it is."
    ),
    "io.lanner.trigger.GitEvent": "sources: [flows]",
    "core.debug.Echo": 'format: "{{ flow.id }}"',
    "core.log.Fetch": "level: WARN",
    "core.log.PurgeLogs": "endDate: \"{{ now() | dateAdd(-30, 'DAYS') }}\"",
    "core.metric.Publish": "metrics:\n  - {name: rows, type: counter, value: 3}",
    "core.output.OutputValues": "values: {rows: 3, city: Paris}",
    "core.execution.Fail": "condition: \"{{ flow.namespace == 'nowhere' }}\"\nerrorMessage: Wrong place",
    "core.execution.Assert": "conditions:\n  - \"{{ flow.id != '' }}\"",
    "core.execution.Exit": "state: WARNING",
    "core.execution.Labels": "labels: {rows: three}",
    "core.execution.SetVariables": "variables: {seen: 3}",
    "core.execution.UnsetVariables": "variables: [seen]\nignoreMissing: true",
    "core.execution.Count": (
        "flows:\n  - {namespace: company.team}\nstartDate: \"{{ now() | dateAdd(-1, 'DAYS') }}\"\n"
        'expression: "{{ count >= 0 }}"'
    ),
    "core.execution.Resume": 'executionId: "{{ trigger.executionId }}"',
    "core.execution.Kill": 'executionId: "{{ trigger.executionId }}"',
    "core.execution.PurgeExecutions": "endDate: \"{{ now() | dateAdd(-90, 'DAYS') }}\"\nstates: [SUCCESS]",
    "core.kv.Set": "key: cursor\nvalue: \"2026-01-01\"",
    "core.kv.Get": "key: cursor",
    "core.kv.GetKeys": "prefix: cur",
    "core.kv.Delete": "key: cursor",
    "core.kv.PurgeKV": "behavior: {type: key, expiredOnly: true}",
    "core.state.Set": "data: {rows: 3}",
    "core.state.Get": "name: default",
    "core.state.Delete": "name: default",
    "core.storage.Concat": 'files: ["{{ outputs.file.uri }}", "{{ outputs.file.uri }}"]',
    "core.storage.Split": 'from: "{{ outputs.file.uri }}"\nrows: 1',
    "core.storage.Reverse": 'from: "{{ outputs.file.uri }}"',
    "core.storage.DeduplicateItems": 'from: "{{ outputs.file.uri }}"\nexpr: "{{ id }}"',
    "core.storage.FilterItems": 'from: "{{ outputs.file.uri }}"\nfilterCondition: "{{ id > 1 }}"',
    "core.storage.Size": 'uri: "{{ outputs.file.uri }}"',
    "core.storage.Delete": 'uri: "{{ outputs.file.uri }}"',
    "core.storage.Write": "content: |\n  {id: 1}\n  {id: 2}",
    "core.storage.LocalFiles": "inputs: {hello.txt: Hello}",
    "core.storage.PurgeCurrentExecutionFiles": "",
    "core.namespace.UploadFiles": 'namespace: company.team\nfilesMap: {rows.txt: "{{ outputs.file.uri }}"}',
    "core.namespace.DownloadFiles": 'namespace: company.team\nfiles: ["*.txt"]',
    "core.namespace.DeleteFiles": 'namespace: company.team\nfiles: ["*.txt"]',
    "core.trigger.Toggle": "trigger: nightly\nnamespace: company.team\nflowId: other\nenabled: false",
    "core.templating.TemplatedTask": (
        "spec: |\n  id: inner\n  type: io.kestra.plugin.core.log.Log\n  message: \"{{ flow.id }}\""
    ),
    "core.http.Request": "uri: https://example.com/rows\nmethod: POST\nbody: \"{{ {'id': 1} | toJson }}\"",
    "core.http.Download": "uri: https://example.com/rows.csv",
    "core.http.SseRequest": "uri: https://example.com/events\nmaxEvents: 10",
}  # fmt: skip

_SCRIPTS: dict[str, tuple[str, str]] = {
    "shell": ("echo Hello", "echo Hello"),
    "python": ('print("Hello")', "python -c 'print(1)'"),
    "node": ('console.log("Hello")', "node -e 'console.log(1)'"),
    "powershell": ('Write-Output "Hello"', "pwsh -Command 'Write-Output 1'"),
    "r": ('print("Hello")', "Rscript -e 'print(1)'"),
    "ruby": ('puts "Hello"', "ruby -e 'puts 1'"),
    "julia": ('println("Hello")', "julia -e 'println(1)'"),
    "go": ('package main\nimport "fmt"\nfunc main() { fmt.Println("Hello") }', "go version"),
    "php": ('<?php echo "Hello";', "php -r 'echo 1;'"),
    "perl": ('print "Hello\\n";', "perl -e 'print 1'"),
    "lua": ('print("Hello")', "lua -e 'print(1)'"),
    "bun": ('console.log("Hello")', "bun --version"),
    "deno": ('console.log("Hello")', "deno --version"),
    "dotnet": ('Console.WriteLine("Hello");', "dotnet --version"),
    "groovy": ('println "Hello"', "groovy -e 'println 1'"),
    "jbang": ('void main() { System.out.println("Hello"); }', "jbang --version"),
}
"""Language to a script and a command."""


def example_of(short: str) -> str | None:
    """The example of a type, by its name without ``io.kestra.plugin.``; None for a type that is not built in."""
    body = _BODIES.get(short)
    if body is None:
        body = _script(short)
    if body is None:
        return None
    name = short if short.startswith("io.") else f"io.kestra.plugin.{short}"
    named = "" if ".condition." in short or ".runner." in short else "id: example\n"
    return f"{named}type: {name}\n{body}".rstrip("\n")


def _script(short: str) -> str | None:
    if not short.startswith("scripts."):
        return None
    language, _, kind = short.removeprefix("scripts.").partition(".")
    script, command = _SCRIPTS[language]
    if kind.startswith("Commands"):
        body = f"commands:\n  - {command}"
    else:
        body = "script: |\n" + "\n".join(f"  {line}" for line in script.split("\n"))
    if kind.endswith("Trigger"):
        body += '\ninterval: PT5M\nexitCondition: "exit 0"'
    return body
