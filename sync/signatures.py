"""Push hooks of every provider: is the request genuine, and which ref may have moved? Pure, over the raw body.

The provider is configured, never guessed from headers. Also used for the signatures of webhook triggers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import orjson

TOLERANCE_S = 300
"""How far the timestamp of a Standard Webhooks request may be from now, either way."""
LONGEST_ID = 200

_DELIVERY = {
    "github": "x-github-delivery",
    "gitea": "x-gitea-delivery",
    "forgejo": "x-forgejo-delivery",
    "gogs": "x-gogs-delivery",
    "bitbucket": "x-request-uuid",
    "bitbucket-dc": "x-request-id",
    "generic": "x-delivery",
    "standard": "webhook-id",
}
_EVENT = {
    "github": "x-github-event",
    "gitlab": "x-gitlab-event",
    "gitea": "x-gitea-event",
    "forgejo": "x-forgejo-event",
    "gogs": "x-gogs-event",
    "bitbucket": "x-event-key",
    "bitbucket-dc": "x-event-key",
}
_PINGS = {("github", "ping"), ("bitbucket-dc", "diagnostics:ping")}
_OTHER = re.compile(r"pull_?request.*|pullrequest:.*|merge request hook|git\.pullrequest.*|pr:.*", re.IGNORECASE)
_SCHEME = re.compile(r"(sha256|sha512)=([0-9a-fA-F]+)")


@dataclass(frozen=True, slots=True)
class Heard:
    """What a genuine request says. ``refs`` are full names, None: some ref moved, unknown which."""

    event: str = ""
    delivery: str = ""
    ping: bool = False
    refs: frozenset[str] | None = None


def verify(
    provider: str,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    *,
    now: datetime,
    username: str = "",
    header: str = "",
) -> bool:
    """Whether one of the secrets signed this request. Every secret is computed, whichever fits.

    ``headers`` have lower-case names. ``username`` and ``header`` (a header to use instead of ``Authorization``)
    are for ``azure-devops``. No secrets: never genuine.
    """
    if provider == "gitlab":
        signing = [secret for secret in secrets if secret.startswith("whsec_")]
        if signing:
            return _standard(headers, body, signing, now)
        return _equals(headers.get("x-gitlab-token"), secrets)
    if provider == "standard":
        return _standard(headers, body, secrets, now)
    if provider == "bearer":
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return _equals(token if scheme.lower() == "bearer" else None, secrets)
    if provider == "azure-devops":
        if header:
            return _equals(headers.get(header.lower()), secrets)
        return _basic(headers.get("authorization", ""), username, secrets)
    return _signed(provider, headers, body, secrets)


def hear(provider: str, headers: Mapping[str, str], body: bytes) -> Heard:
    """Event, delivery id and refs of a genuine request. Unknown shapes mean "some ref moved"; never raises."""
    event = headers.get(_EVENT.get(provider, ""), "")
    delivery = _delivery(provider, headers)
    payload = _json(headers, body)
    if provider == "azure-devops" and isinstance(payload, dict):
        event = _text(payload.get("eventType"))
        delivery = _text(payload.get("id"))
    delivery = delivery[:LONGEST_ID]
    if (provider, event) in _PINGS:
        return Heard(event, delivery, ping=True)
    if _OTHER.fullmatch(event):
        return Heard(event, delivery, refs=frozenset())
    try:
        refs = _refs(provider, payload)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        refs = None
    return Heard(event, delivery, refs=frozenset(refs) if refs else None)


def _equals(given: str | None, secrets: Sequence[str]) -> bool:
    seen = (given or "").encode("utf-8", "surrogateescape")
    fits = [hmac.compare_digest(seen, secret.encode()) for secret in secrets if secret]
    return given is not None and any(fits)


def _signed(provider: str, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
    prefixed = {"github": "x-hub-signature-256", "bitbucket": "x-hub-signature", "bitbucket-dc": "x-hub-signature",
                "generic": "x-signature"}  # fmt: skip
    algorithm = "sha256"
    if provider in prefixed:
        match = _SCHEME.fullmatch(headers.get(prefixed[provider], "").strip())
        algorithm, given = (match[1], match[2]) if match else ("sha256", "")
        if algorithm != "sha256" and provider != "generic":
            given = ""
    elif provider == "forgejo" and "x-forgejo-signature" in headers:
        # A bad first header is not rescued by a good second one.
        given = headers["x-forgejo-signature"]
    elif provider in ("forgejo", "gitea"):
        given = headers.get("x-gitea-signature", "")
    elif provider == "gogs":
        given = headers.get("x-gogs-signature", "")
    else:
        return False
    seen = given.strip().lower().encode("utf-8", "surrogateescape")
    expected = [hmac.new(secret.encode(), body, algorithm).hexdigest().encode() for secret in secrets if secret]
    fits = [hmac.compare_digest(seen, digest) for digest in expected]
    return bool(seen) and any(fits)


def _standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> bool:
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signed = message_id.encode() + b"." + stamp.encode() + b"." + body
    given = [part[3:].encode() for part in headers.get("webhook-signature", "").split(" ") if part.startswith("v1,")]
    expected = [
        base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()) for secret in secrets if secret
    ]
    fits = [hmac.compare_digest(seen, digest) for seen in given[:10] for digest in expected]
    try:
        fresh = abs(now.timestamp() - int(stamp)) <= TOLERANCE_S
    except ValueError:
        fresh = False
    return any(fits) and fresh and bool(message_id)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return secret.encode()


def _basic(header: str, username: str, secrets: Sequence[str]) -> bool:
    scheme, _, encoded = header.partition(" ")
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        user, password = "", ""
    right_user = hmac.compare_digest(user.encode(), username.encode())
    right_password = _equals(password, secrets)
    return scheme.lower() == "basic" and right_user and right_password


def _delivery(provider: str, headers: Mapping[str, str]) -> str:
    if provider == "gitlab":
        for name in ("webhook-id", "idempotency-key", "x-gitlab-event-uuid"):
            if headers.get(name):
                return headers[name]
        return ""
    if provider == "forgejo":
        return headers.get("x-forgejo-delivery") or headers.get("x-gitea-delivery", "")
    return headers.get(_DELIVERY.get(provider, ""), "")


def _json(headers: Mapping[str, str], body: bytes) -> Any:
    try:
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            body = parse_qs(body.decode("utf-8"), max_num_fields=50)["payload"][0].encode()
        return orjson.loads(body)
    except (ValueError, KeyError, IndexError, RecursionError):
        return None


def _refs(provider: str, payload: Any) -> set[str] | None:
    if not isinstance(payload, dict):
        return None
    if provider == "bitbucket":
        found: set[str] = set()
        for change in payload["push"]["changes"]:
            for end in (change.get("new"), change.get("old")):
                if end:
                    found.add(("refs/tags/" if end["type"] == "tag" else "refs/heads/") + _named(end["name"]))
        return found
    if provider == "bitbucket-dc":
        return {_named(change["ref"]["id"]) for change in payload["changes"]}
    if provider == "azure-devops":
        return {_named(update["name"]) for update in payload["resource"]["refUpdates"]}
    if provider == "gitlab" and isinstance(payload.get("changes"), list) and "ref" not in payload:
        return {_named(change["ref"]) for change in payload["changes"]}
    ref = payload.get("ref")
    if not isinstance(ref, str) or not ref:
        return None
    if not ref.startswith("refs/"):
        ref = ("refs/tags/" if payload.get("ref_type") == "tag" else "refs/heads/") + ref
    return {ref}


def _named(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a ref is text")
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
