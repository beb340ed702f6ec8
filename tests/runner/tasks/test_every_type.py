"""Every core task type runs on a whole instance, with each of its properties written at least once.

A type, or a property of one, that is added to the catalog needs a row here.
"""

# ruff: noqa: E501 - a row of a table stays on one line
from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from textwrap import dedent, indent
from typing import Any

import pytest
import yaml

from namespaces.flows.catalog import Catalog
from runner import tasks
from runner.engine.flowable.families import FAMILIES
from tests.support.instances import NS, Instance

R = "type: io.kestra.plugin.core.debug.Return"
LOG = "type: io.kestra.plugin.core.log.Log"
FAIL = "type: io.kestra.plugin.core.execution.Fail"
END = "{{ now() }}"
ROWS = r'"{\"a\": 1}\n{\"a\": 2}\n{\"a\": 1}\n"'
WRITE = f"- {{id: w, type: io.kestra.plugin.core.storage.Write, content: {ROWS}, extension: .jsonl}}"
WRITTEN = "{{ outputs.w.uri }}"
SIDES = f"errors: [{{id: e, {R}, format: e}}]\n  finally: [{{id: z, {R}, format: z}}]"
HTTP = """uri: URL
  method: POST
  body: hello
  contentType: text/plain
  encryptBody: false
  headers: {X-One: "1"}
  params: {q: "a b"}
  options: {timeout: {readIdleTimeout: PT5S}}
  sslOptions: {insecureTrustAllCertificates: false}
  allowFailed: true"""
SCRIPT = """env: {N: "1"}
  beforeCommands: ["true"]
  failFast: true
  interpreter: [/bin/sh, -c]
  inputFiles: {in.txt: hello}
  outputFiles: ["*.out"]
  namespaceFiles: {enabled: false}
  warningOnStdErr: false
  targetOS: AUTO
  containerImage: unused
  taskRunner: {type: io.kestra.plugin.core.runner.Process}"""

EXAMPLES: dict[str, str] = {
    "core.debug.Echo": "- {id: t, type: T, format: hi, level: WARN}",
    "core.debug.Return": "- {id: t, type: T, format: hi}",
    "core.execution.Assert": '- {id: t, type: T, conditions: ["{{ 1 == 1 }}"], errorMessage: no}',
    "core.execution.Count": f"""
        - id: t
          type: T
          flows: [{{namespace: {NS}, flowId: helper}}]
          namespaces: [{NS}]
          states: [SUCCESS]
          startDate: "2020-01-01T00:00:00Z"
          endDate: "{END}"
          expression: "{{{{ count >= 0 }}}}"
    """,
    "core.execution.Exit": "- {id: t, type: T, state: SUCCESS}",
    "core.execution.Fail": '- {id: t, type: T, condition: "{{ false }}", errorMessage: no}',
    "core.execution.Kill": f"""
        - {{id: s, type: io.kestra.plugin.core.flow.Subflow, namespace: {NS}, flowId: waiting, wait: false}}
        - {{id: t, type: T, executionId: "{{{{ outputs.s.executionId }}}}", propagateKill: false}}
    """,
    "core.execution.Labels": "- {id: t, type: T, labels: {a: b}}",
    "core.execution.PurgeExecutions": f"""
        - id: t
          type: T
          namespace: {NS}
          flowId: nothing
          startDate: "2020-01-01T00:00:00Z"
          endDate: "{END}"
          states: [SUCCESS]
          purgeExecution: true
          purgeLog: true
          purgeMetric: true
          purgeStorage: true
    """,
    "core.execution.Resume": f"""
        - {{id: s, type: io.kestra.plugin.core.flow.Subflow, namespace: {NS}, flowId: waiting, wait: false}}
        - {{id: p, type: io.kestra.plugin.core.flow.Sleep, duration: PT0.5S}}
        - id: t
          type: T
          executionId: "{{{{ outputs.s.executionId }}}}"
          namespace: {NS}
          flowId: waiting
          inputs: {{ok: true}}
    """,
    "core.execution.SetVariables": "- {id: t, type: T, variables: {v: 1}, overwrite: true}",
    "core.execution.UnsetVariables": "- {id: t, type: T, variables: [v], ignoreMissing: true}",
    "core.flow.AllowFailure": f"- id: t\n  type: T\n  tasks: [{{id: a, {R}}}]\n  {SIDES}",
    "core.flow.Approval": f"""
        - id: t
          type: T
          inputs: [{{id: reason, type: STRING, required: false}}]
          decisions: {{approve: yes, deny: no}}
          commentRequired: NEVER
          autoApprove: true
          approveBehavior: CONTINUE
          denyBehavior: FAIL
          expireBehavior: FAIL
          onWait: [{{id: w, {R}}}]
          onApprove: [{{id: y, {R}}}]
          onDeny: [{{id: n, {R}}}]
          errors: [{{id: e, {R}}}]
          finally: [{{id: z, {R}}}]
    """,
    "core.flow.Dag": f"- id: t\n  type: T\n  concurrent: 1\n  tasks: [{{task: {{id: a, {R}}}}}]\n  {SIDES}",
    "core.flow.EachParallel": f'- id: t\n  type: T\n  concurrent: 1\n  value: ["a"]\n  tasks: [{{id: a, {R}}}]\n  {SIDES}',
    "core.flow.EachSequential": f'- id: t\n  type: T\n  value: ["a"]\n  tasks: [{{id: a, {R}}}]\n  {SIDES}',
    "core.flow.ForEach": f"- id: t\n  type: T\n  concurrencyLimit: 2\n  values: [a]\n  tasks: [{{id: a, {R}}}]\n  {SIDES}",
    "core.flow.ForEachItem": f"""
        {WRITE}
        - id: t
          type: T
          items: "{WRITTEN}"
          batch: {{rows: 2}}
          namespace: {NS}
          flowId: helper
          revision: 1
          inputs: {{x: "{{{{ taskrun.iteration }}}}"}}
          labels: {{a: b}}
          inheritLabels: true
          wait: true
          transmitFailed: true
          restartBehavior: NEW_EXECUTION
          scheduleDate: "2020-01-01T00:00:00Z"
          errors: [{{id: e, {R}}}]
    """,
    "core.flow.If": f'- id: t\n  type: T\n  condition: "true"\n  then: [{{id: a, {R}}}]\n  else: [{{id: b, {R}}}]\n  {SIDES}',
    "core.flow.LoopUntil": f"""
        - id: t
          type: T
          condition: "{{{{ outputs.t.iterationCount == 2 }}}}"
          checkFrequency: {{maxIterations: 5, maxDuration: PT1M, interval: PT0.1S}}
          failOnMaxReached: true
          tasks: [{{id: a, {R}}}]
          errors: [{{id: e, {R}}}]
          finally: [{{id: z, {R}}}]
    """,
    "core.flow.Loop": f"""
        - id: t
          type: T
          values: [a, b]
          concurrencyLimit: 1
          transmitFailed: true
          fetchType: FETCH
          breakWhen: "{{{{ item.value == 'b' }}}}"
          outputs: [{{id: o, type: STRING, value: "{{{{ item.value }}}}"}}]
          tasks: [{{id: a, {R}}}]
          errors: [{{id: e, {R}}}]
          finally: [{{id: z, {R}}}]
    """,
    "core.flow.Parallel": f"- id: t\n  type: T\n  concurrent: 1\n  tasks: [{{id: a, {R}}}]\n  {SIDES}",
    "core.flow.Pause": f"""
        - id: t
          type: T
          pauseDuration: PT0.1S
          behavior: RESUME
          onResume: [{{id: ok, type: BOOL, required: false}}]
          onPause: {{id: p, {R}}}
          tasks: [{{id: a, {R}}}]
          errors: [{{id: e, {R}}}]
          finally: [{{id: z, {R}}}]
        - {{id: older, type: T, delay: PT0.1S}}
    """,
    "core.flow.PurgeFlows": f"- {{id: t, type: T, namespace: {NS}, flowId: helper}}",
    "core.flow.Sequential": f"- id: t\n  type: T\n  tasks: [{{id: a, {R}}}]\n  {SIDES}",
    "core.flow.Sleep": "- {id: t, type: T, duration: PT0.01S}",
    "core.flow.Subflow": f"""
        - id: t
          type: T
          namespace: {NS}
          flowId: helper
          revision: 1
          inputs: {{x: "1"}}
          labels: {{a: b}}
          inheritLabels: true
          wait: true
          transmitFailed: true
          outputs: {{legacy: "{{{{ flow.id }}}}"}}
          restartBehavior: RETRY_FAILED
          scheduleDate: "2020-01-01T00:00:00Z"
    """,
    "core.flow.Switch": f"- id: t\n  type: T\n  value: a\n  cases: {{a: [{{id: a, {R}}}]}}\n  defaults: [{{id: d, {R}}}]\n  {SIDES}",
    "core.flow.WorkingDirectory": f"""
        - id: t
          type: T
          cache: {{patterns: ["*.txt"], ttl: PT1H}}
          inputFiles: {{a.txt: hello}}
          outputFiles: ["*.txt"]
          namespaceFiles: {{enabled: false}}
          tasks: [{{id: a, {R}}}]
          errors: [{{id: e, {R}}}]
          finally: [{{id: z, {R}}}]
    """,
    "core.http.Request": f"- id: t\n  type: T\n  {HTTP}\n- {{id: u, type: T, uri: URL, method: POST, formData: {{a: b}}}}",
    "core.http.Download": f"""
- id: t
  type: T
  failOnEmptyResponse: true
  saveAs: a.txt
  {HTTP}
- {{id: u, type: T, uri: URL, method: POST, formData: {{a: b}}}}""",
    "core.http.SseRequest": f"""
- id: t
  type: T
  concatJqExpression: .n
  failedOnMissingJq: false
  maxEvents: 1
  {HTTP.replace("uri: URL", "uri: URL/events")}
- {{id: u, type: T, uri: URL/events, method: POST, formData: {{a: b}}}}""",
    "core.kv.Set": f"- {{id: t, type: T, key: k, value: '1', namespace: {NS}, overwrite: true, ttl: PT1H, kvType: NUMBER, kvDescription: d}}",
    "core.kv.Get": f"- {{id: t, type: T, key: none, namespace: {NS}, errorOnMissing: false}}",
    "core.kv.GetKeys": f"- {{id: t, type: T, prefix: none, namespace: {NS}}}",
    "core.kv.Delete": f"- {{id: t, type: T, key: none, namespace: {NS}, errorOnMissing: false}}",
    "core.kv.PurgeKV": f"""
        - id: t
          type: T
          namespaces: [{NS}]
          keyPattern: "none*"
          includeChildNamespaces: false
          behavior: {{type: key, expiredOnly: true}}
        - {{id: u, type: T, namespacePattern: "{NS}", keyPattern: "none*", expiredOnly: true}}
    """,
    "core.log.Log": "- {id: t, type: T, message: [a, b], level: INFO}",
    "core.log.Fetch": f"- {{id: t, type: T, namespace: {NS}, flowId: core-log-Fetch, executionId: '{{{{ execution.id }}}}', tasksId: [t], level: INFO}}",
    "core.log.PurgeLogs": f"""
        - id: t
          type: T
          namespace: {NS}
          flowId: f
          executionId: "{{{{ execution.id }}}}"
          logLevels: [TRACE]
          startDate: "2020-01-01T00:00:00Z"
          endDate: "{END}"
    """,
    "core.metric.Publish": "- {id: t, type: T, metrics: [{name: rows, type: counter, value: 1, tags: {a: b}}]}",
    "core.namespace.UploadFiles": f"""
        {WRITE}
        - {{id: t, type: T, namespace: {NS}, filesMap: {{a.txt: "{WRITTEN}"}}, destination: /up, conflict: OVERWRITE}}
        - id: wd
          type: io.kestra.plugin.core.flow.WorkingDirectory
          inputFiles: {{b.txt: hello}}
          tasks: [{{id: u, type: T, namespace: {NS}, files: ["b.txt"], conflict: OVERWRITE}}]
    """,
    "core.namespace.DownloadFiles": f"- {{id: t, type: T, namespace: {NS}, files: ['none*'], destination: down}}",
    "core.namespace.DeleteFiles": f"- {{id: t, type: T, namespace: {NS}, files: ['none*'], deleteParentFolder: true}}",
    "core.output.OutputValues": "- {id: t, type: T, values: {a: 1}}",
    "core.state.Set": "- {id: t, type: T, name: s, namespace: true, taskrunValue: false, data: {a: 1}}",
    "core.state.Get": "- {id: t, type: T, name: none, namespace: true, taskrunValue: false, errorOnMissing: false}",
    "core.state.Delete": "- {id: t, type: T, name: none, namespace: true, taskrunValue: false, errorOnMissing: false}",
    "core.storage.Concat": f"""
        {WRITE}
        - {{id: t, type: T, files: ["{WRITTEN}"], separator: ";", extension: .txt}}
    """,
    "core.storage.DeduplicateItems": f"""
        {WRITE}
        - {{id: t, type: T, from: "{WRITTEN}", expr: "{{{{ a }}}}"}}
    """,
    "core.storage.FilterItems": f"""
        {WRITE}
        - id: t
          type: T
          from: "{WRITTEN}"
          filterCondition: "{{{{ a == 1 }}}}"
          filterType: EXCLUDE
          errorOrNullBehavior: INCLUDE
    """,
    "core.storage.Delete": f"""
        {WRITE}
        - {{id: t, type: T, uri: "{WRITTEN}", errorOnMissing: true}}
    """,
    "core.storage.LocalFiles": """
        - id: wd
          type: io.kestra.plugin.core.flow.WorkingDirectory
          tasks: [{id: t, type: T, inputs: {a.txt: hello}, outputs: ["*.txt"]}]
    """,
    "core.storage.PurgeCurrentExecutionFiles": "- {id: t, type: T}",
    "core.storage.Reverse": f"""
        {WRITE}
        - {{id: t, type: T, from: "{WRITTEN}", separator: "\\n", charset: UTF-8}}
    """,
    "core.storage.Size": f"""
        {WRITE}
        - {{id: t, type: T, uri: "{WRITTEN}"}}
    """,
    "core.storage.Split": f"""
        {WRITE}
        - {{id: t, type: T, from: "{WRITTEN}", rows: 1, separator: "\\n"}}
        - {{id: u, type: T, from: "{WRITTEN}", bytes: 1MB}}
        - {{id: v, type: T, from: "{WRITTEN}", partitions: 2}}
    """,
    "core.storage.Write": "- {id: t, type: T, content: hello, extension: .txt}",
    "core.templating.TemplatedTask": f'- {{id: t, type: T, spec: "id: inner\\n{R}\\nformat: hi"}}',
    "core.trigger.Toggle": f"- {{id: t, type: T, trigger: nightly, flowId: helper, namespace: {NS}, enabled: false}}",
    "scripts.shell.Commands": f"""
- id: t
  type: T
  commands: ["cat in.txt > a.out", "test $N = 1"]
  {SCRIPT}
- {{id: u, type: T, commands: ['echo hi > {{{{ outputDir }}}}/a.txt'], runner: PROCESS, docker: {{image: unused}}, outputDirectory: true}}""",
    "scripts.shell.Script": f"""
- id: t
  type: T
  script: cat in.txt > a.out; test $N = 1
  {SCRIPT}
- {{id: u, type: T, script: 'echo hi > {{{{ outputDir }}}}/a.txt', runner: PROCESS, docker: {{image: unused}}, outputDirectory: true}}""",
}
"""Short type name to a list of tasks; ``T`` stands for the type, ``URL`` for a server."""
ELSEWHERE = {
    "core.flow.Template": "the last test here: it always fails",
}


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b'data: {"n": "1"}\n\n' if self.path.startswith("/events") else b"fine"
        kind = "text/event-stream" if self.path.startswith("/events") else "text/plain"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("every")
    made = Instance(folder / "data", f"sqlite:///{folder / 'data' / 'lanner.db'}")
    made.deploy(
        "helper",
        f"""
        inputs: [{{id: x, type: STRING, required: false}}]
        tasks: [{{id: t, {R}, format: "{{{{ inputs.x }}}}"}}]
        outputs: [{{id: o, type: STRING, value: "{{{{ outputs.t.value ?? '' }}}}"}}]
        triggers: [{{id: nightly, type: io.kestra.plugin.core.trigger.Schedule, cron: "0 3 * * *"}}]
        """,
    )
    made.deploy("waiting", "tasks: [{id: p, type: io.kestra.plugin.core.flow.Pause, onResume: [{id: ok, type: BOOL}]}]")
    yield made
    made.close()


def example(short: str, url: str = "http://x") -> str:
    return dedent(EXAMPLES[short]).strip().replace("type: T", f"type: io.kestra.plugin.{short}").replace("URL", url)


def types() -> list[Any]:
    """Core types and scripts in a shell; other languages are the same but for their interpreter."""
    found = Catalog().of_kind("task", "flowable")
    return [e for e in found if e.short.startswith(("core.", "scripts.shell.")) and e.short not in ELSEWHERE]


def test_every_type_has_an_executor() -> None:
    catalog = Catalog()
    runnable = [e.short for e in catalog.of_kind("task") if tasks.find(e.name) is None]
    engine = {cls.__name__ for cls in FAMILIES} | {"Subflow", "WorkingDirectory", "EachSequential", "Template", "Loop"}

    assert runnable == []
    assert {e.short.rpartition(".")[2] for e in catalog.of_kind("flowable")} <= engine


def test_every_type_has_an_example_that_writes_each_of_its_properties() -> None:
    missing = {}
    for entry in types():
        if entry.short not in EXAMPLES:
            missing[entry.short] = "no example"
            continue
        written = yaml.safe_load(example(entry.short))
        used = {key for task in _all(written) if task.get("type") == entry.name for key in task}
        if left := sorted(entry.properties - used):
            missing[entry.short] = ", ".join(left)

    assert missing == {}


def _all(value: Any) -> Iterator[dict[str, Any]]:
    """Every map in a document."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _all(item)
    elif isinstance(value, list):
        for item in value:
            yield from _all(item)


@pytest.mark.parametrize("short", sorted(EXAMPLES))
def test_it_runs(instance: Instance, url: str, short: str) -> None:
    flow_id = short.replace(".", "-")
    instance.deploy(flow_id, "variables: {v: 0}\ntasks:\n" + indent(example(short, url), "  ") + "\n")

    one = instance.run(flow_id)

    states = {run["taskId"]: run["state"]["current"] for run in one["taskRunList"]}
    assert one["state"]["current"] == "SUCCESS", (states, instance.logs(one["id"]))
    assert states.get("t") == "SUCCESS"


def test_a_template_says_what_to_do_instead(instance: Instance) -> None:
    instance.deploy(
        "templated",
        "tasks: [{id: t, type: io.kestra.plugin.core.flow.Template, namespace: a.b, templateId: c, args: {x: 1}}]",
    )

    one = instance.run("templated")

    assert one["state"]["current"] == "FAILED"
    assert any("templates are off on this server: 'a.b.c'" in line for line in instance.logs(one["id"]))
