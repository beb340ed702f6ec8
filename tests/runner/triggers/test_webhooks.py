"""Webhook calls on both databases (``flows.md`` 7.5, ``reliability.md`` R2, S9, 4.4 F)."""

from __future__ import annotations

import hashlib
import hmac
import threading
from typing import Any

import sqlalchemy as sa

from namespaces import declarations, revisions
from namespaces.tables import FlowRow, RevisionRow
from runner.tables import LogRow
from runner.triggers.webhook import WebhookRequest
from runner.webhooks import NOT_FOUND, WebhookOutcome
from tests.runner.triggers.conftest import NS, House, key

LONG = "a-secret-key-of-more-than-32-characters"


def hook(extra: str = "", trigger_key: str = LONG) -> str:
    return f'- id: h\n  type: io.kestra.plugin.core.trigger.Webhook\n  key: "{trigger_key}"\n{extra}'


def call(
    house: House, given: str = LONG, *, flow: str = "f", method: str = "POST", body: bytes = b'{"a": 1}',
    address: str = "", content_type: str = "application/json", parameters: dict[str, list[str]] | None = None,
    **headers: str,
) -> WebhookOutcome:  # fmt: skip
    named = {name.replace("_", "-"): [value] for name, value in headers.items()}
    request = WebhookRequest(
        method=method, headers=named, parameters=parameters or {}, body=body, content_type=content_type, address=address
    )
    return house.triggers.webhooks.accept(NS, flow, given, request)


def variables(house: House, outcome: WebhookOutcome) -> dict[str, Any]:
    row = next(row for row in house.executions_of() if row.id == outcome.execution_id)
    found: dict[str, Any] = row.trigger["variables"]
    return found


def test_the_right_key_starts_an_execution_with_the_request(house: House) -> None:
    house.deploy(hook())

    outcome = call(house, parameters={"id": ["7"]}, X_One="1")

    assert outcome.status == 200
    assert variables(house, outcome) == {
        "body": {"a": 1},
        "headers": {"X-One": ["1"]},
        "parameters": {"id": ["7"]},
        "uri": "",
    }


def test_strangers_learn_nothing(house: House) -> None:
    house.deploy(hook())
    house.deploy(hook("  disabled: true\n"), flow_id="off")
    house.deploy(hook(), flow_id="gone")
    house.remove("gone")
    house.deploy(hook(), flow_id="switched")
    house.triggers.states.set_disabled(key("h", "switched"), True)

    answers = [
        call(house, "wrong"),
        call(house, ""),
        call(house, flow="nope"),
        call(house, flow="off"),
        call(house, flow="gone"),
        call(house, flow="switched"),
    ]

    assert {(a.status, a.message, a.code) for a in answers} == {(404, NOT_FOUND, "not_found")}


def test_who_has_the_key_learns_that_the_flow_is_disabled_or_broken(house: House) -> None:
    house.deploy(hook(), more="disabled: true")
    house.deploy(hook(), flow_id="broken")
    table = RevisionRow.__table__  # type: ignore[attr-defined]
    text = f"id: broken\nnamespace: {NS}\ntasks: [{{id: t, type: io.gone.Task}}]\n"
    house.database.write(lambda tx: tx.execute(sa.update(table).where(table.c.flow_id == "broken").values(text=text)))
    other = House(house.database, house.clock, house.executions.rendering.engine)  # type: ignore[arg-type]

    assert call(house).status == 409
    assert call(house, "wrong").status == 404
    assert call(other, flow="broken").status == 409
    assert call(other, "wrong", flow="broken").status == 404
    assert FlowRow.__tablename__ == "flow"
    other.close()


def test_a_new_revision_changes_the_key_at_once(house: House) -> None:
    house.deploy(hook())
    assert call(house).status == 200

    house.deploy(hook(trigger_key="another-key-of-more-than-32-characters-"))

    assert call(house).status == 404
    assert call(house, "another-key-of-more-than-32-characters-").status == 200


def test_keys_may_be_expressions_and_secrets(house: House) -> None:
    house.deploy(hook(trigger_key="{{ flow.id }}-key"))
    house.deploy(hook(trigger_key="{{ secret('HOOK') }}"), flow_id="g")
    house.deploy(hook(trigger_key="{{ secret('MISSING') }}"), flow_id="none")

    assert call(house, "f-key").status == 200
    assert call(house, "s3cret-key", flow="g").status == 200
    assert call(house, "", flow="none").status == 404
    assert "does not render" in house.state("h", "none").error


def test_a_key_that_does_not_render_is_told_once_a_revision(house: House) -> None:
    """Anybody may call: it must not be a way to fill the log."""
    for trigger_key in ("{{ secret('MISSING') }}", "{{ secret('MISSING') }}-x"):
        house.deploy(hook(trigger_key=trigger_key), flow_id="none")
        for _ in range(3):
            assert call(house, "", flow="none").status == 404

    assert house.state("h", "none").failures == 2


def test_conditions_and_when_answer_204_and_an_error_is_visible(house: House) -> None:
    house.deploy(hook('  when: "{{ trigger.body.a == 1 }}"\n'))
    house.deploy(hook('  when: "{{ trigger.body.nope.x == 1 }}"\n'), flow_id="raises")

    assert call(house).status == 200
    assert call(house, body=b'{"a": 2}').status == 204
    assert call(house, flow="raises").status == 204
    assert house.executions_of("raises") == []
    assert "nope" in house.state("h", "raises").error
    table = LogRow.__table__  # type: ignore[attr-defined]
    lines = house.database.read(lambda c: c.execute(sa.select(table).where(table.c.trigger_id == "h")).all())
    assert [line.flow_id for line in lines] == ["raises"]


def test_bad_inputs_are_422_and_start_nothing(house: House) -> None:
    house.deploy(hook('  inputs: {n: "{{ trigger.body.n }}"}\n'), more="inputs: [{id: n, type: INT}]")

    good = call(house, body=b'{"n": 5}')
    missing = call(house)
    wrong = call(house, body=b'{"n": "five"}')

    assert (good.status, missing.status, wrong.status) == (200, 422, 422)
    assert [row.inputs for row in house.executions_of()] == [{"n": 5}]


def test_a_repeat_gives_the_same_execution_and_another_body_is_refused(house: House) -> None:
    house.deploy(hook())

    first = call(house, X_GitHub_Delivery="d1")
    again = call(house, X_GitHub_Delivery="d1")
    other = call(house, X_GitHub_Delivery="d1", body=b"{}")
    without = [call(house) for _ in range(2)]

    assert (first.replayed, again.replayed) == (False, True)
    assert again.execution_id == first.execution_id
    assert (other.status, other.code) == (422, "idempotency_conflict")
    assert len({outcome.execution_id for outcome in without}) == 2
    assert len(house.executions_of()) == 3


def test_the_triggers_own_expression_names_the_delivery_when_no_header_does(house: House) -> None:
    house.deploy(hook('  idempotencyKey: "{{ trigger.body.id }}"\n'))

    one, two = call(house, body=b'{"id": "x"}'), call(house, body=b'{"id": "x"}')
    header = call(house, body=b'{"id": "x"}', Idempotency_Key="other")
    none = call(house)

    assert two.execution_id == one.execution_id
    assert header.execution_id != one.execution_id
    assert none.status == 200


def test_many_at_once_with_one_key_make_one_execution(house: House) -> None:
    house.deploy(hook())
    answers: list[WebhookOutcome] = []
    threads = [threading.Thread(target=lambda: answers.append(call(house, Idempotency_Key="same"))) for _ in range(20)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {a.status for a in answers} == {200}
    assert len({a.execution_id for a in answers}) == 1
    assert sum(not a.replayed for a in answers) == 1
    assert len(house.executions_of()) == 1


def test_a_signature_is_checked_over_the_raw_body_before_anything_else(house: House) -> None:
    house.deploy(
        hook('  signature: {scheme: github, secrets: ["{{ secret(\'HOOK\') }}"]}\n  when: "{{ trigger.body.nope }}"\n')
    )
    good = "sha256=" + hmac.new(b"s3cret-key", b'{"a": 1}', hashlib.sha256).hexdigest()

    assert call(house, X_Hub_Signature_256=good).status == 204
    assert call(house, X_Hub_Signature_256=good, body=b'{"a":1}').status == 401
    assert call(house).status == 401
    assert call(house, "wrong", X_Hub_Signature_256=good).status == 404


def test_a_rate_limit_answers_429_and_recovers(house: House) -> None:
    from datetime import timedelta

    house.deploy(hook("  rateLimit: {perSecond: 1, burst: 2}\n"))

    answers = [call(house).status for _ in range(3)]
    house.clock.advance(timedelta(seconds=1))

    assert answers == [200, 200, 429]
    assert call(house).status == 200


def test_wrong_keys_are_counted_by_address_and_never_block_the_right_one(house: House) -> None:
    house.deploy(hook())

    answers = [call(house, "wrong", address="10.0.0.1").status for _ in range(21)]

    assert answers == [404] * 20 + [429]
    assert call(house, "wrong", address="10.0.0.2").status == 404
    assert call(house, address="10.0.0.1").status == 200


def test_large_and_encoded_bodies_and_other_methods(house: House) -> None:
    house.deploy(hook())

    assert call(house, body=b"x" * (5 * 1024 * 1024 + 1)).status == 413
    assert call(house, Content_Encoding="gzip").status == 415
    assert call(house, Content_Encoding="identity").status == 200
    assert call(house, method="GET", body=b"").status == 200
    assert call(house, method="PUT").status == 200
    assert call(house, method="HEAD").status == 405


def test_text_from_outside_stays_literal(house: House) -> None:
    house.deploy(hook())

    outcome = call(house, body=b"{{ secret('HOOK') }}", X_Trick="{{ secret('HOOK') }}")

    assert variables(house, outcome)["body"] == "{{ secret('HOOK') }}"
    assert variables(house, outcome)["headers"] == {"X-Trick": ["{{ secret('HOOK') }}"]}


def test_labels_of_the_trigger_are_rendered_from_the_request(house: House) -> None:
    house.deploy(hook('  labels: {from: "{{ trigger.body.a }}"}\n'))

    call(house)

    assert ["from", "1"] in house.executions_of()[0].labels


def test_a_webhook_is_never_locked_and_obeys_stop_after(house: House) -> None:
    house.deploy(hook("  stopAfter: [FAILED]\n"))
    one, two = call(house), call(house)

    house.end(str(one.execution_id), "SUCCESS")
    still = call(house)
    house.end(str(two.execution_id), "FAILED")

    assert still.status == 200
    assert house.triggers.flow_triggers.wants_end(NS, "f", "h")
    assert call(house).status == 404


def test_a_delivery_is_remembered_for_a_week_and_starts_anew_after_it(house: House) -> None:
    from datetime import timedelta

    house.deploy(hook())
    first = call(house, webhook_id="d1")

    house.clock.advance(timedelta(days=6))
    house.scheduler.run_once()
    within = call(house, webhook_id="d1")
    house.clock.advance(timedelta(days=2))
    house.scheduler.run_once()
    after = call(house, webhook_id="d1")

    assert within.execution_id == first.execution_id
    assert after.execution_id != first.execution_id
    assert not after.replayed


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="who"\r\n\r\nme\r\n'
    b'--b\r\nContent-Disposition: form-data; name="doc"; filename="../a b.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nhello\r\n"
    b"--b--\r\n"
)


def test_a_multipart_form_gives_fields_and_kept_files(house: House) -> None:
    house.deploy(hook())
    storage = house.executions.rendering.storage

    outcome = call(house, body=MULTIPART, content_type="multipart/form-data; boundary=b", webhook_id="m")
    again = call(house, body=MULTIPART, content_type="multipart/form-data; boundary=b", webhook_id="m")

    found = variables(house, outcome)
    [part] = found["parts"]
    assert found["formFields"] == {"who": ["me"]}
    assert "body" not in found or found["body"] is None
    assert (part["name"], part["filename"], part["contentType"], part["size"]) == ("doc", "../a b.txt", "text/plain", 5)
    assert part["uri"].endswith(f"/executions/{outcome.execution_id}/trigger/h/0-a b.txt")
    from namespaces.blobs import path_of

    with storage.open(path_of(part["uri"])) as file:
        assert file.read() == b"hello"
    assert again.replayed
    assert len(storage.list("/company")) == 1


def test_a_broken_multipart_body_is_refused(house: House) -> None:
    house.deploy(hook())

    assert call(house, body=b"nothing of the kind", content_type="multipart/form-data; boundary=b").status == 422
    assert call(house, body=MULTIPART, content_type="multipart/form-data").status == 422
    many = (
        b"".join(b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' for _ in range(1_001)) + b"--b--\r\n"
    )
    assert call(house, body=many, content_type="multipart/form-data; boundary=b").status == 413


def test_a_check_that_blocks_is_told_to_the_caller_and_on_the_trigger(house: House) -> None:
    house.deploy(hook(), more='checks: [{condition: "{{ trigger.body.a == 2 }}", message: only two}]')

    refused = call(house)

    assert (refused.status, refused.code, refused.message) == (422, "check_failed", "only two")
    assert house.executions_of() == []
    assert house.state("h").error == "only two"
    assert call(house, body=b'{"a": 2}').status == 200


def test_a_webhook_of_a_released_source_is_paused(house: House) -> None:
    house.deploy(hook())
    own = sa.update(FlowRow.__table__).values(source="gone")  # type: ignore[attr-defined]
    house.database.write(lambda tx: tx.execute(own))
    house.database.write(lambda tx: declarations.pause(tx, "gone", revisions.next_generation(tx)))

    assert call(house).status == 404
