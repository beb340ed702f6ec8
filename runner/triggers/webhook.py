"""What a webhook call means: its variables, its idempotency key, whether key and signature fit, rate limits.

No rows and no clock; finding the flow and starting the execution is in ``runner/webhooks.py``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

IDEMPOTENCY_HEADERS = ("idempotency-key", "webhook-id", "x-github-delivery", "x-gitlab-event-uuid")
"""In this order the first one present names the delivery (``reliability.md`` R2)."""
TOLERANCE_S = 300
LONGEST_KEY = 256
SIGNATURE_HEADERS = {
    "github": "X-Hub-Signature-256",
    "gitlab": "X-Gitlab-Token",
    "stripe": "Stripe-Signature",
    "standard": "webhook-signature",
    "generic": "X-Signature",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """One call as it arrived. ``body`` is raw, ``path`` what follows the key, ``address`` the caller's."""

    method: str
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    parameters: Mapping[str, list[str]] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    path: str = ""
    address: str = ""

    def header(self, name: str) -> str | None:
        """The first value, whatever the case of the name."""
        wanted = name.lower()
        return next((values[0] for key, values in self.headers.items() if key.lower() == wanted and values), None)


def variables(request: WebhookRequest) -> dict[str, Any]:
    """``trigger.*`` of the execution: ``body``, ``headers``, ``parameters``, ``uri`` and ``formFields``."""
    found: dict[str, Any] = {
        "body": body_value(request.body, request.content_type),
        "headers": {name: list(values) for name, values in request.headers.items()},
        "parameters": {name: list(values) for name, values in request.parameters.items()},
        "uri": request.path,
    }
    if _media_type(request.content_type) == "application/x-www-form-urlencoded":
        fields: dict[str, list[str]] = {}
        for name, value in _form(request.body):
            fields.setdefault(name, []).append(value)
        found["formFields"] = fields
    return found


def body_value(body: bytes, content_type: str) -> Any:
    """A JSON object or list parsed, other text as text, nothing as None, what is no text in base64."""
    if not body:
        return None
    text = _text(body, content_type)
    if text is None:
        return base64.b64encode(body).decode("ascii")
    if text.lstrip()[:1] in ("{", "["):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1_000)
    except ValueError:
        return []


def _text(body: bytes, content_type: str) -> str | None:
    charset = "utf-8"
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset" and value.strip():
            charset = value.strip().strip('"')
    try:
        text = body.decode(charset)
    except (LookupError, UnicodeDecodeError):
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            return None
    return None if "\x00" in text else text


def body_hash(request: WebhookRequest) -> str:
    """What makes two deliveries with one key the same: method, query and body."""
    digest = hashlib.sha256(request.method.encode() + b"\x00")
    for name in sorted(request.parameters):
        digest.update("\x00".join((name, *request.parameters[name], "")).encode("utf-8", "surrogatepass"))
    digest.update(b"\x00" + request.body)
    return digest.hexdigest()


def delivery_key(request: WebhookRequest) -> str | None:
    """The idempotency key that a header gives; empty ones count as absent."""
    for name in IDEMPOTENCY_HEADERS:
        value = request.header(name)
        if value and value.strip():
            return value.strip()[:LONGEST_KEY]
    return None


def digest(key: str) -> bytes:
    """What is kept and compared instead of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


NO_KEY = digest("no key has this digest: \x00")


def fits(given: str, wanted: Sequence[bytes]) -> int | None:
    """Index of the digest that the given key has. Compares all of them, and a dummy when there is none."""
    seen = digest(given)
    found: int | None = None
    for index, candidate in enumerate(wanted or (NO_KEY,)):
        if hmac.compare_digest(seen, candidate) and wanted and found is None:
            found = index
    return found


def signed(scheme: str, secrets: Iterable[str], request: WebhookRequest, *, header: str | None, now_s: float) -> bool:
    """Whether the raw body carries a valid signature with one of the secrets; empty secrets never fit.

    ``header`` replaces the scheme's usual header name. ``now_s`` is Unix time, for the schemes that sign one.
    """
    value = request.header(header or SIGNATURE_HEADERS[scheme])
    if not value:
        return False
    usable = [secret for secret in secrets if secret]
    check = {"github": _github, "gitlab": _gitlab, "stripe": _stripe, "standard": _standard, "generic": _generic}
    # Lists, not generators: every secret is tried, so that time tells nothing about which one fits.
    return any([check[scheme](value, secret, request, now_s) for secret in usable])  # noqa: C419


def _mac(secret: bytes, content: bytes) -> bytes:
    return hmac.new(secret, content, hashlib.sha256).digest()


def _github(value: str, secret: str, request: WebhookRequest, now_s: float) -> bool:  # noqa: ARG001
    expected = "sha256=" + _mac(secret.encode(), request.body).hex()
    return _equal(value.strip(), expected)


def _gitlab(value: str, secret: str, request: WebhookRequest, now_s: float) -> bool:  # noqa: ARG001
    return _equal(value, secret)


def _stripe(value: str, secret: str, request: WebhookRequest, now_s: float) -> bool:
    pairs = [part.strip().partition("=") for part in value.split(",")]
    stamp = next((v for k, _, v in pairs if k == "t"), "")
    if not _fresh(stamp, now_s):
        return False
    expected = _mac(secret.encode(), f"{stamp}.".encode() + request.body).hex()
    return any(_equal(v, expected) for k, _, v in pairs if k == "v1")


def _standard(value: str, secret: str, request: WebhookRequest, now_s: float) -> bool:
    identity, stamp = request.header("webhook-id") or "", request.header("webhook-timestamp") or ""
    if not identity or not _fresh(stamp, now_s):
        return False
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = secret.encode()
    if not key:
        return False
    expected = base64.b64encode(_mac(key, f"{identity}.{stamp}.".encode() + request.body)).decode("ascii")
    return any(_equal(part.removeprefix("v1,"), expected) for part in value.split() if part.startswith("v1,"))


def _generic(value: str, secret: str, request: WebhookRequest, now_s: float) -> bool:  # noqa: ARG001
    mac = _mac(secret.encode(), request.body)
    seen = value.strip().removeprefix("sha256=")
    return _equal(seen.lower(), mac.hex()) or _equal(seen, base64.b64encode(mac).decode("ascii"))


def _equal(seen: str, expected: str) -> bool:
    return hmac.compare_digest(seen.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))


def _fresh(stamp: str, now_s: float) -> bool:
    return stamp.isascii() and stamp.isdigit() and len(stamp) <= 12 and abs(now_s - int(stamp)) <= TOLERANCE_S


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: ``tokens`` are left as of ``at_s`` (monotonic seconds)."""

    tokens: float
    at_s: float


def take(bucket: Bucket | None, per_second: float, burst: float, now_s: float) -> tuple[bool, Bucket]:
    """Take one token if there is one; a new bucket is full."""
    if bucket is None:
        bucket = Bucket(burst, now_s)
    tokens = min(burst, bucket.tokens + max(0.0, now_s - bucket.at_s) * per_second)
    if tokens < 1:
        return False, Bucket(tokens, now_s)
    return True, Bucket(tokens - 1, now_s)
