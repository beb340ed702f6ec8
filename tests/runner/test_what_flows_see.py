"""What expressions see of the execution they belong to: errors of the moment, secrets behind outputs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.instances import Instance

SECRET = "correct-horse-battery"


def test_error_logs_hold_what_failed_a_moment_ago(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks: [{id: bad, type: io.kestra.plugin.core.execution.Fail, errorMessage: out of cheese}]
        errors: [{id: tell, type: io.kestra.plugin.core.log.Log, message: "because {{ errorLogs()[0].message }}"}]
        """,
    )

    assert "because out of cheese" in instance.logs(instance.run("f")["id"])


def test_a_flow_output_of_any_type_that_holds_a_secret_is_masked_and_handed_on_whole(instance: Instance) -> None:
    instance.deploy(
        "child",
        """
        inputs: [{id: token, type: SECRET}]
        tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]
        outputs:
          - {id: text, type: STRING, value: "token {{ inputs.token }}"}
          - {id: sealed, type: SECRET, value: "{{ inputs.token }}"}
          - {id: open, type: STRING, value: "{{ inputs.token | length }}"}
        afterExecution:
          - {id: after, type: io.kestra.plugin.core.log.Log, message: "{{ execution.outputs.sealed | length }} after"}
        """,
    )
    instance.deploy(
        "parent",
        f"""
        tasks:
          - id: call
            type: io.kestra.plugin.core.flow.Subflow
            namespace: company.team
            flowId: child
            inputs: {{token: {SECRET}}}
          - id: use
            type: io.kestra.plugin.core.debug.Return
            format: "{{{{ outputs.call.outputs.text | length }}}} {{{{ outputs.call.outputs.sealed | length }}}}"
        """,
    )

    one = instance.run("parent")

    runs = {run["taskId"]: run for run in one["taskRunList"]}
    assert runs["call"]["state"]["current"] == "SUCCESS"
    assert runs["use"]["outputs"]["value"] == f"{len(SECRET) + 6} {len(SECRET)}"
    child = instance.ended(runs["call"]["outputs"]["executionId"])
    assert child["outputs"] == {"text": "********", "sealed": "********", "open": str(len(SECRET))}
    assert SECRET not in json.dumps([one["taskRunList"], child])
    after = f"{len(SECRET)} after"
    instance.until(child["id"], lambda _: after in instance.logs(child["id"]), "the line of its afterExecution")


def test_a_secret_given_at_resume_is_read_by_the_next_task(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks:
          - id: ask
            type: io.kestra.plugin.core.flow.Pause
            onResume: [{id: token, type: SECRET}]
          - {id: use, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.ask.onResume.token | length }}"}
        """,
    )
    execution_id = instance.start("f")
    instance.in_state(execution_id, "PAUSED")

    instance.executions.resume(execution_id, inputs={"token": SECRET})

    one = instance.ended(execution_id)
    assert one["taskRunList"][1]["outputs"]["value"] == str(len(SECRET))
    assert SECRET not in json.dumps(one)


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(SECRET)))
        self.end_headers()
        self.wfile.write(SECRET.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_an_encrypted_body_is_shown_to_nobody_and_read_by_the_next_task(instance: Instance) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        instance.deploy(
            "f",
            f"""
            tasks:
              - id: get
                type: io.kestra.plugin.core.http.Request
                uri: "http://127.0.0.1:{server.server_port}/"
                encryptBody: true
              - id: use
                type: io.kestra.plugin.core.debug.Return
                format: "{{{{ outputs.get.encryptedBody.value | length }}}}"
            """,
        )
        one = instance.run("f")
    finally:
        server.shutdown()
        server.server_close()

    assert one["taskRunList"][1]["outputs"]["value"] == str(len(SECRET))
    assert one["taskRunList"][0]["outputs"]["encryptedBody"] == {"value": "********"}


def test_waiting_for_the_end_goes_on_between_two_rounds_of_a_loop(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks:
          - id: loop
            type: io.kestra.plugin.core.flow.LoopUntil
            condition: "{{ outputs.loop.iterationCount >= 3 }}"
            checkFrequency: {interval: PT0.05S}
            tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]
        """,
    )
    execution_id = instance.start("f")

    assert instance.executions.wait(execution_id, timeout_s=30)
    assert instance.get(execution_id)["state"]["current"] == "SUCCESS"
