"""What a webhook call means: body, keys, signatures over the raw body, rates (``reliability.md`` S9, 4.4 F)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from runner.triggers import webhook
from runner.triggers.webhook import WebhookRequest

NOW = 1_700_000_000.0
BODY = b'{"a": 1}'


def request(body: bytes = BODY, content_type: str = "application/json", **headers: str) -> WebhookRequest:
    named = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return WebhookRequest(method="POST", headers=named, body=body, content_type=content_type)


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"a": {"b": [1, true, null]}}', "application/json", {"a": {"b": [1, True, None]}}),
        (b"[1]", "", [1]),
        (b'{"a": 1', "application/json", '{"a": 1'),
        (b'"text"', "application/json", '"text"'),
        (b"42", "application/json", "42"),
        (b"", "application/json", None),
        (b"bla", "text/plain", "bla"),
        ("é".encode("latin-1"), "text/plain; charset=iso-8859-1", "é"),
        ("é".encode("latin-1"), "text/plain", base64.b64encode(b"\xe9").decode()),
        (b"\x89PNG\r\n\x00", "image/png", base64.b64encode(b"\x89PNG\r\n\x00").decode()),
        (b"{{ secret('a') }}", "text/plain", "{{ secret('a') }}"),
    ],
)
def test_a_body_is_json_text_nothing_or_base64(body: bytes, content_type: str, expected: Any) -> None:
    assert webhook.body_value(body, content_type) == expected


def test_headers_and_parameters_are_lists_and_forms_are_read_too() -> None:
    made = WebhookRequest(
        method="POST",
        headers={"X-One": ["1", "2"]},
        parameters={"id": ["7"]},
        body=b"a=1&a=2&b=",
        content_type="application/x-www-form-urlencoded",
        path="sub/path",
    )

    found = webhook.variables(made)

    assert found["headers"] == {"X-One": ["1", "2"]}
    assert found["parameters"] == {"id": ["7"]}
    assert found["uri"] == "sub/path"
    assert found["body"] == "a=1&a=2&b="
    assert found["formFields"] == {"a": ["1", "2"], "b": [""]}


def test_the_first_known_header_names_the_delivery() -> None:
    assert webhook.delivery_key(request(X_GitHub_Delivery="g", webhook_id="w")) == "w"
    assert webhook.delivery_key(request(webhook_id="w", idempotency_key="i")) == "i"
    assert webhook.delivery_key(request(X_Gitlab_Event_UUID="u", Idempotency_Key=" ")) == "u"
    assert webhook.delivery_key(request()) is None


def test_the_body_hash_tells_bodies_methods_and_parameters_apart() -> None:
    one = webhook.body_hash(request())

    assert one == webhook.body_hash(request(X_Other="x"))
    assert one != webhook.body_hash(request(b'{"a":1}'))
    assert one != webhook.body_hash(WebhookRequest(method="GET", body=BODY))
    assert one != webhook.body_hash(WebhookRequest(method="POST", body=BODY, parameters={"a": ["1"]}))


def test_a_key_fits_only_itself_and_an_unknown_flow_is_compared_with_a_dummy() -> None:
    wanted = [webhook.digest("first"), webhook.digest("second")]

    assert webhook.fits("second", wanted) == 1
    assert webhook.fits("secon", wanted) is None
    assert webhook.fits("", []) is None
    assert webhook.fits("no key has this digest: \x00", []) is None


def mac(secret: str, content: bytes) -> bytes:
    return hmac.new(secret.encode(), content, hashlib.sha256).digest()


def test_github_signs_the_raw_body() -> None:
    good = "sha256=" + mac("s", BODY).hex()

    assert signed("github", request(X_Hub_Signature_256=good))
    assert not signed("github", request(json.dumps(json.loads(BODY)).encode() + b" ", X_Hub_Signature_256=good))
    assert not signed("github", request(X_Hub_Signature_256="sha256=00"))
    assert not signed("github", request(X_Hub_Signature=good.replace("256", "1")))
    assert not signed("github", request())


def signed(scheme: str, made: WebhookRequest, *secrets: str, header: str | None = None) -> bool:
    return webhook.signed(scheme, secrets or ("s",), made, header=header, now_s=NOW)


def test_either_of_two_secrets_fits_and_an_empty_one_never_does() -> None:
    made = request(X_Hub_Signature_256="sha256=" + mac("new", BODY).hex())

    assert signed("github", made, "old", "new")
    assert not signed("github", made, "old")
    assert not signed("github", request(X_Hub_Signature_256="sha256=" + mac("", BODY).hex()), "")


def test_gitlab_sends_the_secret_itself() -> None:
    assert signed("gitlab", request(X_Gitlab_Token="s"))
    assert not signed("gitlab", request(X_Gitlab_Token="x"))


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1700000000", True),
        ("1699999700", True),
        ("1699999699", False),
        ("1700000300", True),
        ("1700000301", False),
        ("0", False),
        ("soon", False),
        ("", False),
        ("999999999999999", False),
        ("٣", False),
    ],
)
def test_stripe_and_standard_refuse_timestamps_more_than_five_minutes_off(stamp: str, expected: bool) -> None:
    stripe = f"t={stamp},v1={mac('s', stamp.encode() + b'.' + BODY).hex()}"
    standard = "v1," + base64.b64encode(mac("s", b"id." + stamp.encode() + b"." + BODY)).decode()

    assert signed("stripe", request(Stripe_Signature=stripe)) is expected
    headers = {"webhook_id": "id", "webhook_timestamp": stamp, "webhook_signature": standard}
    assert signed("standard", request(**headers)) is expected


def test_standard_secrets_may_be_encoded_and_several_signatures_may_come() -> None:
    secret = "whsec_" + base64.b64encode(b"k" * 24).decode()
    good = base64.b64encode(hmac.new(b"k" * 24, b"id.1700000000." + BODY, hashlib.sha256).digest()).decode()
    headers = {"webhook_id": "id", "webhook_timestamp": "1700000000"}

    assert signed("standard", request(**headers, webhook_signature=f"v1,AAAA v1,{good}"), secret)
    assert not signed("standard", request(**headers, webhook_signature=f"v1a,{good}"), secret)
    assert not signed("standard", request(webhook_timestamp="1700000000", webhook_signature=f"v1,{good}"), secret)


def test_generic_takes_hex_or_base64_in_a_header_of_choice() -> None:
    assert signed("generic", request(X_Signature=mac("s", BODY).hex()))
    assert signed("generic", request(X_Mine="sha256=" + mac("s", BODY).hex()), header="X-Mine")
    assert signed("generic", request(X_Signature=base64.b64encode(mac("s", BODY)).decode()))
    assert not signed("generic", request(X_Signature="sha256="))


def test_a_bucket_refuses_above_the_burst_and_refills_with_time() -> None:
    bucket = None
    taken = []
    for now_s in (0.0, 0.0, 0.0, 0.4, 0.5):
        ok, bucket = webhook.take(bucket, 2, 2, now_s)
        taken.append(ok)

    assert taken == [True, True, False, False, True]
