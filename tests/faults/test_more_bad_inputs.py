"""More rows of ``reliability.md`` 4.4: warnings and notes, schedules, inputs, signatures, what only a run shows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from typing import Any

import pytest

from namespaces.ids import new_id
from tests.faults.calling import KEY, LOG, NS, RETURN, WEBHOOK, Caller, flow, hooked, name_of, scheduled
from tests.support.instances import Instance
from tests.support.waiting import until

SUBFLOW = "io.kestra.plugin.core.flow.Subflow"


def judged(api: Caller, text: str) -> dict[str, Any]:
    """The one entry of a validation."""
    found = json.loads(api.send("POST", "flows/validate", 200, data=text, content_type="application/x-yaml"))
    entry: dict[str, Any] = found[0]
    return entry


# ---------------------------------------------------------------------- A, B: what a save says


def test_too_many_tasks_are_refused_naming_the_limit(api: Caller) -> None:
    """A17."""
    tasks = json.dumps([{"id": f"t{n}", "type": LOG, "message": "x"} for n in range(5_001)])

    assert "at most 5,000 tasks" in api.save(flow(tasks=tasks), 422)


def test_a_circle_of_subflows_ends_at_the_depth_limit(api: Caller, instance: Instance) -> None:
    """A22."""
    a, b = (f"circle-{new_id().lower()}" for _ in range(2))
    for one, other in ((a, b), (b, a)):
        call = {"id": "s", "type": SUBFLOW, "namespace": NS, "flowId": other, "wait": True, "transmitFailed": True}
        api.save(flow(flow_id=one, tasks=json.dumps([call])))

    ended = instance.ended(api.start(a)["id"], 120)

    assert ended["state"]["current"] == "FAILED"
    assert instance.count(a) + instance.count(b) == 101
    # The next one works: the depth is that of the chain, nothing of it stays.
    after = flow()
    api.save(after)
    assert api.start(name_of(after), query="?wait=true")["state"]["current"] == "SUCCESS"


@pytest.mark.parametrize("written", ["{{ 1", "{% if true %}x", "{% include 'x' %}", "{{ '" + "x" * 70_000 + "' }}"])
def test_a_bad_expression_is_a_warning_at_save(api: Caller, written: str) -> None:
    """B4, B15."""
    found = judged(api, flow(tasks=json.dumps([{"id": "t", "type": RETURN, "format": written}])))

    assert "constraints" not in found
    assert any("tasks[0].format" in line for line in found["warnings"]), found


def test_no_variable_of_the_server_is_shown(api: Caller) -> None:
    """B14."""
    text = flow(tasks=json.dumps([{"id": "t", "type": RETURN, "format": "{{ envs }}"}]))
    api.save(text)

    one = api.start(name_of(text), query="?wait=true")

    assert one["taskRunList"][0]["outputs"]["value"] == "{}"


# ---------------------------------------------------------------------- C: schedules


@pytest.mark.parametrize("cron", ["0 0 1 Jan-Jan *", "5-1 * * * *", "0 0 * * fri-mon"])
def test_a_range_that_goes_backwards_is_refused(api: Caller, cron: str) -> None:
    """C8."""
    assert "backwards" in api.save(scheduled(cron), 422)


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 0 31 2 *", "never"),
        ("0 0 30 2 *", "never"),
        ("0 0 13 * 5", r"(?i)\bor\b"),
        ("0 0 */2 * 1", r"(?i)\bor\b"),
    ],
)
def test_an_odd_cron_is_taken_with_a_word_about_it(api: Caller, cron: str, said: str) -> None:
    """C3, C5, C6."""
    found = judged(api, scheduled(cron))

    assert "constraints" not in found
    assert any(re.search(said, line) for line in (*found["warnings"], *found["infos"])), found


def test_an_every_second_schedule_without_a_limit_is_taken_with_a_warning(api: Caller) -> None:
    """C15."""
    found = judged(api, scheduled("* * * * * *", ", withSeconds: true"))

    assert "constraints" not in found
    assert any("fires every second" in line for line in found["warnings"]), found


@pytest.mark.parametrize(
    ("cron", "more", "pattern"),
    [
        ("30 0 12 * * *", ", withSeconds: true", r"T12:00:30"),
        ("0 0 29 2 *", "", r"^20(28|32)-02-29T00:00:00"),
        ("59/15 * * * *", "", r":59:00"),
        ("0/15 * * * *", "", r":(00|15|30|45):00"),
        ("@daily", "", r"T00:00:00"),
    ],
)
def test_the_next_slot_is_the_one_that_kestra_means(api: Caller, cron: str, more: str, pattern: str) -> None:
    """C2, C4, C9, C12."""
    text = scheduled(cron, more + ", timezone: UTC")
    api.save(text)

    def look() -> Any:
        return json.loads(api.send("GET", f"triggers/{NS}/{name_of(text)}/s", 200)).get("nextExecutionDate")

    assert re.search(pattern, until(look, "the next slot"))


# ---------------------------------------------------------------------- D: inputs

KEPT_INPUTS = {
    "D2 minus zero": ("INT", "-0", "0"),
    "D1 unknown name": ("STRING", "x", "x"),
}


@pytest.mark.parametrize("case", KEPT_INPUTS)
def test_an_odd_input_is_taken(api: Caller, case: str) -> None:
    kind, given, seen = KEPT_INPUTS[case]
    text = flow(
        f"inputs: [{{id: a, type: {kind}}}]",
        tasks=json.dumps([{"id": "t", "type": RETURN, "format": "{{ inputs.a }}"}]),
    )
    api.save(text)

    one = api.start(name_of(text), query="?wait=true", data={"a": given, "unknown": "1"})

    assert one["taskRunList"][0]["outputs"]["value"] == seen


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        pytest.param("{id: a, type: INT}", "1.0", id="D2 1.0"),
        pytest.param("{id: a, type: FILE}", '{"path": "/etc/passwd"}', id="D4 JSON"),
        pytest.param("{id: a, type: DURATION}", "-PT1S", id="D6 duration"),
        pytest.param("{id: a, type: URI}", "javascript:alert(1)", id="D6 URI"),
        pytest.param("{id: a, type: JSON}", '{"x": 1, "x": 2}', id="D6 duplicate keys"),
    ],
)
def test_another_bad_input_is_422_and_starts_nothing(
    api: Caller, instance: Instance, declared: str, given: str
) -> None:
    text = flow(f"inputs: [{declared}]")
    api.save(text)

    answer = json.loads(api.send("POST", f"executions/{NS}/{name_of(text)}", 422, data={"a": given}))

    assert [error["path"] for error in answer["_embedded"]["errors"]] == ["inputs.a"]
    assert instance.count(name_of(text)) == 0


def test_every_bad_input_is_told_at_once(api: Caller) -> None:
    """D1."""
    text = flow("inputs: [{id: a, type: INT}, {id: b, type: STRING}, {id: c, type: FLOAT}]")
    api.save(text)

    answer = json.loads(api.send("POST", f"executions/{NS}/{name_of(text)}", 422, data={"a": "x", "c": "1e400"}))

    assert [error["path"] for error in answer["_embedded"]["errors"]] == ["inputs.a", "inputs.b", "inputs.c"]


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "=cmd()", "\x1b]0;x\x07", "a\u202eb"])
def test_hostile_text_is_stored_as_it_is_and_shown_inert(api: Caller, evil: str) -> None:
    """D7."""
    text = flow(f"description: {json.dumps(evil)}\nlabels: {{team: {json.dumps(evil)}}}")
    api.save(text)

    read = json.loads(api.send("GET", f"flows/{NS}/{name_of(text)}", 200))
    page = api.client.get(f"/ui/main/flows/edit/{NS}/{name_of(text)}", follow_redirects=True)
    shown = page.get_data(as_text=True)

    assert read["description"] == evil
    assert page.status_code == 200
    assert "<script>alert" not in shown


# ---------------------------------------------------------------------- F: webhooks


def signed_headers(secret: bytes, body: bytes, *, at: float, delivery: str = "d1") -> dict[str, str]:
    """Headers of the scheme ``standard``."""
    stamp = str(int(at))
    digest = hmac.new(secret, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


SECRET = b"0123456789abcdef0123456789abcdef"
BODY = b'{"n":1}'


@pytest.fixture
def signed(api: Caller) -> str:
    return hooked(api, f", signature: {{scheme: standard, secrets: [whsec_{base64.b64encode(SECRET).decode()}]}}")


def test_a_signature_that_is_missing_wrong_or_of_another_body_is_401(api: Caller, signed: str) -> None:
    """F2."""
    good = signed_headers(SECRET, BODY, at=time.time())
    again = signed_headers(SECRET, b'{"n": 1}', at=time.time())

    api.send("POST", signed, 401, data=BODY)
    api.send("POST", signed, 401, data=BODY, headers=good | {"webhook-signature": "v1,AAAA"})
    api.send("POST", signed, 401, data=BODY, headers=again)
    api.send("POST", signed, 401, data=BODY, headers={"X-Hub-Signature": "sha1=" + "0" * 40})
    api.send("POST", signed, 200, data=BODY, headers=good)


@pytest.mark.parametrize("secrets", ["[]", '[""]'])
def test_an_empty_secret_of_a_signature_is_refused_at_save(api: Caller, secrets: str) -> None:
    """F2."""
    hook = f"triggers: [{{id: h, type: {WEBHOOK}, key: {KEY}, signature: {{scheme: github, secrets: {secrets}}}}}]"

    assert "secrets" in api.save(flow(hook), 422)


@pytest.mark.parametrize("off", [301, -302, None, 10**12])
def test_a_timestamp_that_is_off_is_401(api: Caller, signed: str, off: int | None) -> None:
    """F3."""
    at = time.time() + off if off is not None else 0

    api.send("POST", signed, 401, data=BODY, headers=signed_headers(SECRET, BODY, at=at))


def test_a_timestamp_that_is_text_is_401(api: Caller, signed: str) -> None:
    """F3."""
    headers = signed_headers(SECRET, BODY, at=time.time()) | {"webhook-timestamp": "now"}

    api.send("POST", signed, 401, data=BODY, headers=headers)


def test_who_has_the_key_of_a_disabled_flow_is_told_with_409_and_a_stranger_with_404(api: Caller) -> None:
    """F1."""
    text = flow(f"disabled: true\ntriggers: [{{id: h, type: {WEBHOOK}, key: {KEY}}}]")
    api.save(text)
    path = f"executions/webhook/{NS}/{name_of(text)}/{KEY}"

    assert "disabled" in api.send("POST", path, 409)
    api.send("POST", path[:-1] + "x", 404)
    api.send("DELETE", f"flows/{NS}/{name_of(text)}", 204)
    api.send("POST", path, 404)
    api.send("POST", hooked(api, ", disabled: true"), 404)
