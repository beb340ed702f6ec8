"""http tasks against a real server on loopback, and the rules of egress."""

from __future__ import annotations

import gzip
import ipaddress
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runner.egress import Egress, Outgoing, RequestFailed, Rules
from runner.engine.states import State
from runner.worker.limits import Limits
from tests.runner.worker.world import Bench

CORE = "io.kestra.plugin.core.http."


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/redirect-metadata"):
            return self.answer(302, b"", Location="http://169.254.169.254/latest")
        if self.path.startswith("/redirect-file"):
            return self.answer(302, b"", Location="file:///etc/passwd")
        if self.path.startswith("/loop"):
            return self.answer(302, b"", Location="/loop")
        if self.path.startswith("/redirect"):
            return self.answer(302, b"", Location="/echo")
        if self.path.startswith("/status/"):
            return self.answer(int(self.path.rpartition("/")[2]), b"no luck")
        if self.path.startswith("/file"):
            disposition = 'attachment; filename="named.csv"'
            return self.answer(200, b"a,b\n" * 10, **{"Content-Disposition": disposition})
        if self.path.startswith("/empty"):
            return self.answer(200, b"")
        if self.path.startswith("/large"):
            return self.answer(200, b"x" * 5000)
        if self.path.startswith("/bomb"):
            return self.answer(200, gzip.compress(b"0" * 3_000_000), **{"Content-Encoding": "gzip"})
        if self.path.startswith("/latin"):
            return self.answer(200, "é".encode("latin-1"), **{"Content-Type": "text/plain; charset=ISO-8859-1"})
        if self.path.startswith("/events"):
            return self.answer(
                200, b'data: {"d": "a"}\n\nevent: x\nid: 2\ndata: {"d": "b"}\n\n: note\n\ndata: plain\n\n'
            )
        return self.echo()

    def echo(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": self.rfile.read(length).decode("latin-1"),
        }
        self.answer(200, json.dumps(seen).encode(), **{"X-Twice": "a"})

    do_POST = do_PUT = do_DELETE = echo

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def task(kind: str, **properties: object) -> str:
    lines = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in properties.items())
    return f"  - id: t\n    type: {CORE}{kind}\n{lines}"


def test_a_request_gives_code_headers_and_body(bench: Bench, server: str) -> None:
    end = bench.run(
        task(
            "Request",
            uri=server + "/a b?x=1",
            method="post",
            body="{{ flow.id }}",
            headers={"X-A": "{{ 1 }}"},
            params={"q": ["1", "2"]},
        )
    )
    assert end.state is State.SUCCESS, end.error
    seen = json.loads(end.outputs["body"])
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/a%20b?x=1&q=1&q=2", "f")
    assert seen["headers"]["x-a"] == "1"
    assert seen["headers"]["content-type"] == "application/json"
    assert end.outputs["code"] == 200
    assert end.outputs["headers"]["x-twice"] == ["a"]


def test_forms(bench: Bench, server: str) -> None:
    end = bench.run(task("Request", uri=server, method="POST", formData={"a": "1 2", "n": 3}))
    seen = json.loads(end.outputs["body"])
    assert (seen["headers"]["content-type"], seen["body"]) == ("application/x-www-form-urlencoded", "a=1+2&n=3")
    uri = bench.storage.put("/company/team/f/executions/ex1/up.txt", b"content")
    form = {"f": uri, "g": {"name": "other.txt", "content": uri}, "plain": "text"}
    end = bench.run(
        task("Request", uri=server, method="POST", contentType="multipart/form-data", formData=form), number=2
    )
    body = json.loads(end.outputs["body"])["body"]
    assert 'name="f"; filename="up.txt"' in body
    assert 'name="g"; filename="other.txt"' in body
    assert 'name="plain"\r\n\r\ntext' in body


def test_authentication(bench: Bench, server: str) -> None:
    basic = {"auth": {"type": "BASIC", "username": "u", "password": "p"}}
    seen = json.loads(bench.run(task("Request", uri=server, options=basic)).outputs["body"])
    assert seen["headers"]["authorization"] == "Basic dTpw"
    bearer = {"auth": {"type": "BEARER", "token": "tok"}}
    seen = json.loads(bench.run(task("Request", uri=server, options=bearer), number=2).outputs["body"])
    assert seen["headers"]["authorization"] == "Bearer tok"


def test_bad_status_fails_unless_allowed(bench: Bench, server: str) -> None:
    end = bench.run(task("Request", uri=server + "/status/404"))
    assert end.error.startswith("Failed http request with response code '404'")
    for number, more in enumerate(
        ({"allowFailed": True}, {"options": {"allowFailed": True}}, {"options": {"allowedResponseCodes": [404]}}), 2
    ):
        assert bench.run(task("Request", uri=server + "/status/404", **more), number=number).outputs["code"] == 404


def test_redirects(bench: Bench, server: str) -> None:
    assert bench.run(task("Request", uri=server + "/redirect")).outputs["uri"] == server + "/echo"
    end = bench.run(task("Request", uri=server + "/redirect", options={"followRedirects": False}), number=2)
    assert end.outputs["code"] == 302
    assert "redirects" in bench.run(task("Request", uri=server + "/loop"), number=3).error


def test_charset_of_the_answer(bench: Bench, server: str) -> None:
    assert bench.run(task("Request", uri=server + "/latin")).outputs["body"] == "é"


def test_an_encrypted_body_is_a_secret_from_then_on(bench: Bench, server: str) -> None:
    end = bench.run(task("Request", uri=server + "/status/200", encryptBody=True))
    assert end.outputs["body"] is None
    assert end.outputs["encryptedBody"] == {"value": "no luck"}
    assert "no luck" in bench.secrets


def test_download_keeps_the_file_under_its_name(bench: Bench, server: str) -> None:
    end = bench.run(task("Download", uri=server + "/file"))
    assert end.outputs["uri"].endswith("/named.csv")
    assert end.outputs["length"] == 40
    assert bench.text(end.outputs["uri"]) == "a,b\n" * 10
    assert "No response" in bench.run(task("Download", uri=server + "/empty"), number=2).error
    assert (
        bench.run(task("Download", uri=server + "/empty", failOnEmptyResponse=False), number=3).outputs["length"] == 0
    )


def test_events(bench: Bench, server: str) -> None:
    end = bench.run(task("SseRequest", uri=server + "/events"))
    assert end.outputs["size"] == 3
    assert end.outputs["events"][1] == {"event": "x", "id": "2", "data": {"d": "b"}}
    end = bench.run(task("SseRequest", uri=server + "/events", concatJqExpression=".d", maxEvents=2), number=2)
    assert end.outputs["result"] == "ab"


@pytest.mark.parametrize("path", ["/large", "/bomb"])
def test_an_answer_beyond_the_limit_fails(tmp_path: Path, server: str, path: str) -> None:
    bench = Bench(tmp_path, limits=Limits(response=4000))
    assert "larger than 4000 bytes" in bench.run(task("Request", uri=server + path)).error
    bench.close()


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "gopher://x/", "ftp://x/", "nonsense", "http://", "http://[::1"])
def test_only_http_can_be_requested(bench: Bench, uri: str) -> None:
    end = bench.run(task("Request", uri=uri))
    assert end.state is State.FAILED
    assert len(bench.reporter.messages()) == 1


def closed(server: str) -> Egress:
    return Egress(Rules(loopback=False))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0",
        "2130706433",
        "0177.1",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "127.1",
    ],
)
def test_every_spelling_of_loopback_is_refused_when_closed(host: str) -> None:
    with pytest.raises(RequestFailed, match="address not allowed") as caught:
        Egress(Rules(loopback=False)).send(Outgoing(method="GET", url=f"http://{host}:9/"))
    assert caught.value.code == "address_not_allowed"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "224.0.0.1",
        "0.0.0.0",
        "[2002:a9fe:a9fe::1]",
    ],
)
def test_metadata_and_no_hosts_are_always_refused(host: str) -> None:
    with pytest.raises(RequestFailed, match="address not allowed"):
        Egress().send(Outgoing(method="GET", url=f"http://{host}:9/"))


def test_a_redirect_is_checked_like_a_first_request(server: str) -> None:
    with pytest.raises(RequestFailed, match=r"address not allowed: 169\.254\.169\.254"):
        Egress().send(Outgoing(method="GET", url=server + "/redirect-metadata"))
    with pytest.raises(RequestFailed, match="http"):
        Egress().send(Outgoing(method="GET", url=server + "/redirect-file"))


def test_an_operator_lets_one_place_through(server: str) -> None:
    place = server.removeprefix("http://")
    assert Egress(Rules(loopback=False, allow=frozenset({place}))).send(Outgoing(method="GET", url=server)).code == 200


def test_private_addresses_follow_the_setting() -> None:
    ten = ipaddress.ip_address("10.0.0.1")
    assert Rules().refusal(ten) is None
    assert Rules(private=False).refusal(ten) is not None
    assert Rules(private=False).refusal(ipaddress.ip_address("8.8.8.8")) is None


def test_a_name_is_resolved_once_and_the_checked_address_used(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: object, **rest: object) -> object:
        asked.append(host)
        return real("127.0.0.1" if host == "rebind.test" else host, port, *args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    port = server.rpartition(":")[2]
    answer = Egress().send(Outgoing(method="GET", url=f"http://rebind.test:{port}/echo"))
    assert asked.count("rebind.test") == 1
    assert json.loads(answer.body)["headers"]["host"] == f"rebind.test:{port}"


def test_the_function_http_gives_json_or_text_and_raises_from_400_on(server: str) -> None:
    egress = Egress()
    assert egress.fetch({"uri": server + "/x", "method": "POST", "body": {"a": 1}})["body"] == '{"a":1}'  # type: ignore[index]
    assert egress.fetch({"uri": server + "/latin"}) == "é"
    with pytest.raises(RequestFailed, match="answered 500"):
        egress.fetch({"uri": server + "/status/500"})


def test_the_proxy_of_the_environment_is_not_used(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert Egress().send(Outgoing(method="GET", url=server)).code == 200
