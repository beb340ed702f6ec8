"""Push hooks: verified over the raw body, a hint at most, never an accident: T55 (stamps), T56 to T58."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from namespaces.clock import ManualClock, SystemClock
from sync.hooks import MAX_BODY
from sync.service import SyncService
from sync.signatures import hear
from tests.sync.conftest import SECRETS, World, at, flow

PUSH = {"ref": "refs/heads/main", "after": "1" * 40}
BITBUCKET = {"push": {"changes": [{"new": {"type": "branch", "name": "main"}, "old": None}]}}
BITBUCKET_DC = {"changes": [{"ref": {"id": "refs/heads/main"}}]}
AZURE = {"eventType": "git.push", "id": "d-1", "resource": {"refUpdates": [{"name": "refs/heads/main"}]}}


def mac(secret: str, body: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


def standard(secret: str, body: bytes, clock: ManualClock, offset_s: int = 0) -> dict[str, str]:
    stamp = str(int(clock.now().timestamp()) + offset_s)
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    digest = base64.b64encode(hmac.new(key, f"m-1.{stamp}.".encode() + body, hashlib.sha256).digest()).decode()
    return {"webhook-id": "m-1", "webhook-timestamp": stamp, "webhook-signature": f"v1,AAAA v1,{digest}"}


SIGN: dict[str, tuple[Callable[[str, bytes], dict[str, str]], Any]] = {
    "github": (lambda s, b: {"X-Hub-Signature-256": f"sha256={mac(s, b)}", "X-GitHub-Event": "push",
                             "X-GitHub-Delivery": "d-1"}, PUSH),
    "gitlab": (lambda s, b: {"X-Gitlab-Token": s, "X-Gitlab-Event": "Push Hook", "X-Gitlab-Event-UUID": "d-1"}, PUSH),
    "gitea": (lambda s, b: {"X-Gitea-Signature": mac(s, b), "X-Gitea-Event": "push", "X-Gitea-Delivery": "d-1"}, PUSH),
    "forgejo": (lambda s, b: {"X-Forgejo-Signature": mac(s, b), "X-Forgejo-Event": "push",
                              "X-Forgejo-Delivery": "d-1"}, PUSH),
    "gogs": (lambda s, b: {"X-Gogs-Signature": mac(s, b), "X-Gogs-Event": "push", "X-Gogs-Delivery": "d-1"}, PUSH),
    "bitbucket": (lambda s, b: {"X-Hub-Signature": f"sha256={mac(s, b)}", "X-Event-Key": "repo:push",
                                "X-Request-UUID": "d-1"}, BITBUCKET),
    "bitbucket-dc": (lambda s, b: {"X-Hub-Signature": f"sha256={mac(s, b)}", "X-Event-Key": "repo:refs_changed",
                                   "X-Request-Id": "d-1"}, BITBUCKET_DC),
    "azure-devops": (lambda s, b: {"Authorization": "Basic " + base64.b64encode(f"hook:{s}".encode()).decode()}, AZURE),
    "generic": (lambda s, b: {"X-Signature": f"sha512={mac(s, b, 'sha512')}", "X-Delivery": "d-1"}, PUSH),
    "bearer": (lambda s, b: {"Authorization": f"Bearer {s}"}, PUSH),
}  # fmt: skip


def hooked(world: World, provider: str, **more: Any) -> SyncService:
    hook = {"provider": provider, "secrets": ["${env:HOOK}", "${env:OLD_HOOK}"], "id": "hook-address-1", **more}
    if provider == "azure-devops":
        hook["username"] = "hook"
    return world.configure(webhook=hook).service


def send(service: SyncService, headers: dict[str, str], body: bytes) -> int:
    return service.receive("hook-address-1", headers, body).status


@pytest.mark.parametrize("provider", sorted(SIGN))
def test_each_provider_is_verified(world: World, provider: str) -> None:
    service = hooked(world, provider)
    sign, payload = SIGN[provider]
    body = json.dumps(payload).encode()

    good = service.receive("hook-address-1", sign(SECRETS["HOOK"], body), body)
    wrong = send(service, sign("wrong", body), body)
    missing = send(service, {}, body)
    rotated = json.dumps({**payload, "id": "d-2"}).encode()
    old = send(service, {**sign(SECRETS["OLD_HOOK"], rotated), **_other_delivery(provider)}, rotated)

    assert (good.status, wrong, missing, old) == (202, 401, 401, 202)
    assert list(good.body["runs"]) == ["data"]
    if provider not in ("gitlab", "azure-devops", "bearer"):  # these sign nothing
        assert send(service, sign(SECRETS["HOOK"], body), body + b" ") == 401


def _other_delivery(provider: str) -> dict[str, str]:
    names = {"github": "X-GitHub-Delivery", "gitlab": "X-Gitlab-Event-UUID", "gitea": "X-Gitea-Delivery",
             "forgejo": "X-Forgejo-Delivery", "gogs": "X-Gogs-Delivery", "bitbucket": "X-Request-UUID",
             "bitbucket-dc": "X-Request-Id", "generic": "X-Delivery"}  # fmt: skip
    return {names[provider]: "d-2"} if provider in names else {}


@pytest.mark.parametrize("provider", ["github", "generic", "bitbucket", "bitbucket-dc"])
def test_sha1_alone_is_never_enough(world: World, provider: str) -> None:
    service = hooked(world, provider)
    body = json.dumps(PUSH).encode()
    sha1 = f"sha1={mac(SECRETS['HOOK'], body, 'sha1')}"

    assert send(service, {"X-Hub-Signature": sha1, "X-Signature": sha1, "X-Hub-Signature-256": sha1}, body) == 401


def test_standard_webhooks_are_verified_with_their_stamp(world: World, clock: ManualClock) -> None:
    service = hooked(world, "standard")
    body = b"{}"

    assert send(service, standard(SECRETS["HOOK"], body, clock, 301), body) == 401
    assert send(service, standard(SECRETS["HOOK"], body, clock, -301), body) == 401
    assert send(service, {**standard(SECRETS["HOOK"], body, clock), "webhook-timestamp": "soon"}, body) == 401
    assert send(service, standard(SECRETS["HOOK"], body, clock, 299), body) == 202


def test_a_gitlab_signing_token_switches_the_plain_one_off(
    world: World, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing = "whsec_" + base64.b64encode(b"a-signing-key-of-gitlab").decode()
    monkeypatch.setitem(SECRETS, "HOOK", signing)
    service = hooked(world, "gitlab")
    body = json.dumps(PUSH).encode()

    assert send(service, {"X-Gitlab-Token": SECRETS["OLD_HOOK"]}, body) == 401
    assert send(service, {"X-Gitlab-Token": signing}, body) == 401
    assert send(service, standard(signing, body, clock), body) == 202


def test_a_bad_forgejo_signature_is_not_rescued_by_a_good_gitea_one(world: World) -> None:
    service = hooked(world, "forgejo")
    body = json.dumps(PUSH).encode()
    good = mac(SECRETS["HOOK"], body)

    assert send(service, {"X-Forgejo-Signature": "0" * 64, "X-Gitea-Signature": good}, body) == 401
    assert send(service, {"X-Gitea-Signature": good}, body) == 202


def test_the_hook_of_another_provider_does_not_verify(world: World) -> None:
    service = hooked(world, "github")
    body = json.dumps(PUSH).encode()
    gitea = {"X-Gitea-Signature": mac(SECRETS["HOOK"], body), "X-Gitea-Event": "push", "X-GitHub-Event": "push"}

    assert send(service, gitea, body) == 401


@pytest.mark.parametrize("provider", ["github", "gitlab", "gitea", "bitbucket", "bitbucket-dc", "generic"])
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b"not json", b"[" * 10_000 + b"]" * 10_000, b'{"ref": 5}', b'{"ref": null}',
     b'{"push": []}', b'{"changes": 3}', b'{"push": {"changes": [{"new": 1}]}}', b"\xff\xfe"],
    ids=["empty", "array", "null", "object", "text", "nesting", "number", "nothing", "list", "int", "odd", "bytes"],
)  # fmt: skip
def test_a_genuine_but_odd_payload_means_that_some_ref_moved(world: World, provider: str, body: bytes) -> None:
    service = hooked(world, provider)
    sign, _ = SIGN[provider]

    assert send(service, sign(SECRETS["HOOK"], body), body) == 202


@pytest.mark.parametrize(
    "payload", [{"eventType": "git.push"}, {"eventType": "git.push", "resource": None}, {"eventType": 5}, [], "x"]
)
def test_an_azure_push_without_updates_means_that_some_ref_moved(world: World, payload: Any) -> None:
    service = hooked(world, "azure-devops")
    body = json.dumps(payload).encode()

    assert send(service, SIGN["azure-devops"][0](SECRETS["HOOK"], body), body) == 202


def test_an_unknown_event_counts_and_a_ping_or_pull_request_does_not(world: World) -> None:
    service = hooked(world, "github")
    body = json.dumps({"zen": "x"}).encode()
    signed = {"X-Hub-Signature-256": f"sha256={mac(SECRETS['HOOK'], body)}"}

    assert send(service, {**signed, "X-GitHub-Event": "ping"}, body) == 200
    assert send(service, {**signed, "X-GitHub-Event": "pull_request"}, body) == 200
    assert send(service, {**signed, "X-GitHub-Event": "brand_new"}, body) == 202


def test_a_form_encoded_body_is_verified_raw_and_then_read(world: World) -> None:
    service = hooked(world, "github")

    def answer(payload: dict[str, Any]) -> int:
        body = urlencode({"payload": json.dumps(payload)}).encode()
        headers = {"X-Hub-Signature-256": f"sha256={mac(SECRETS['HOOK'], body)}", "X-GitHub-Event": "push",
                   "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
        return send(service, headers, body)

    assert answer(PUSH) == 202
    assert answer({"ref": "refs/heads/other"}) == 200


def test_another_ref_an_unknown_address_and_a_large_body_do_nothing(world: World) -> None:
    service = hooked(world, "github")
    sign, _ = SIGN["github"]
    other = json.dumps({"ref": "refs/heads/feature"}).encode()
    large = b"x" * (MAX_BODY + 1)
    service.poll("data")

    assert send(service, sign(SECRETS["HOOK"], other), other) == 200
    assert service.receive("nowhere", sign(SECRETS["HOOK"], other), other).status == 404
    assert send(service, sign(SECRETS["HOOK"], large), large) == 413
    assert service.runs("data", outcome="queued") == ()


def test_a_hook_without_a_secret_is_not_configured_and_never_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(SECRETS, "HOOK")
    monkeypatch.delitem(SECRETS, "OLD_HOOK")
    service = hooked(world, "github")
    answer = service.receive("hook-address-1", {"X-Hub-Signature-256": f"sha256={mac('', b'')}"}, b"")

    assert (answer.status, answer.body["code"]) == (503, "hook_not_configured")


def test_a_delivery_counts_once_in_seven_days(any_world: World, clock: ManualClock) -> None:
    service = hooked(any_world, "github")
    body = json.dumps(PUSH).encode()
    headers = SIGN["github"][0](SECRETS["HOOK"], body)

    first = send(service, headers, body)
    again = service.receive("hook-address-1", headers, body)
    clock.advance(timedelta(days=8))
    later = send(service, headers, body)

    assert (first, again.status, again.body["result"], later) == (202, 200, "duplicate", 202)


def test_too_many_requests_are_refused_but_a_genuine_push_is_not_lost(world: World) -> None:
    service = hooked(world, "github")
    world.push({at("company.data", "a"): flow("a")})
    service.poll("data")
    body = json.dumps(PUSH).encode()
    headers = SIGN["github"][0](SECRETS["HOOK"], body)
    for _ in range(60):
        send(service, {}, b"guess")

    refused = send(service, headers, body)
    guessed = send(service, {}, b"guess")
    run = service.poll("data")

    assert (refused, guessed) == (429, 429)
    assert run is not None  # promised to the request, although nothing was new
    assert run.trigger == "webhook"


def test_every_refusal_has_the_same_body(world: World) -> None:
    service = hooked(world, "github")
    body = json.dumps(PUSH).encode()
    answers = [
        service.receive("hook-address-1", headers, body)
        for headers in ({}, {"X-Hub-Signature-256": "sha256=" + "0" * 64}, {"X-Hub-Signature-256": "md5=0"})
    ]

    assert len({json.dumps(dict(answer.body)) for answer in answers}) == 1


def test_a_generated_address_is_kept(world: World) -> None:
    service = world.configure(webhook={"provider": "github", "secrets": ["${env:HOOK}"]}).service
    address = service.status("data").hook_id
    again = world.configure().service.status("data").hook_id

    assert address is not None
    assert len(address) >= 22
    assert again == address


def test_gitea_names_created_branches_without_their_prefix() -> None:
    body = json.dumps({"ref": "v1", "ref_type": "tag"}).encode()

    assert hear("gitea", {"x-gitea-event": "create"}, body).refs == {"refs/tags/v1"}


@pytest.mark.slow
def test_a_hundred_pushes_in_a_row_cost_few_fetches_and_the_last_one_arrives(world: World) -> None:
    world.clock = SystemClock()
    service = hooked(world, "github")
    world.push({at("company.data", "a"): flow("a", message="0")})
    world.configure(poll="1h", webhook=world.config["webhook"])
    service = world.service
    service.start()
    try:
        assert service.sync_now("data", wait=30) is not None
        world.asked_git()
        for number in range(1, 101):
            if number % 20 == 0:
                world.push({at("company.data", "a"): flow("a", message=str(number))})
            body = json.dumps({**PUSH, "n": number}).encode()
            headers = {**SIGN["github"][0](SECRETS["HOOK"], body), "X-GitHub-Delivery": f"d-{number}"}
            assert send(service, headers, body) in (202, 429)
        arrived = threading.Event()
        for _ in range(600):
            if "message: 100\n" in world.text("company.data", "a"):
                arrived.set()
                break
            arrived.wait(0.05)
        fetches = world.asked_git().count("fetch")
    finally:
        service.stop()

    assert arrived.is_set()
    assert 1 <= fetches <= 5
