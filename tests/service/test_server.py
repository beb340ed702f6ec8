"""The embedded HTTP server: a real listener on loopback."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from flask import Flask, Response, request

from namespaces.errors import StartRefused
from service.request import LannerRequest
from service.server import Server, serve
from tests.support.waiting import until


class Doors:
    """What the test application waits for and tells."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.closed = threading.Event()


@pytest.fixture
def doors() -> Doors:
    return Doors()


@pytest.fixture
def app(doors: Doors) -> Flask:
    app = Flask("test", static_folder=None)
    app.request_class = LannerRequest
    app.config["MAX_CONTENT_LENGTH"] = 1_000

    @app.post("/echo")
    def echo() -> str:
        return str(len(request.get_data()))

    @app.get("/environ")
    def environ() -> dict[str, str]:
        return {key: str(value) for key, value in request.environ.items()}

    @app.get("/wait")
    def wait() -> str:
        doors.entered.set()
        doors.open.wait(30)
        return "done"

    @app.get("/stream")
    def stream() -> Response:
        stopping = request.environ["lanner.stopping"]

        def body() -> Iterator[bytes]:
            try:
                while not stopping.wait(0.01):
                    doors.entered.set()
                    yield b": tick\n\n"
            finally:
                doors.closed.set()

        return Response(body(), mimetype="text/event-stream")

    return app


@pytest.fixture
def server(app: Flask) -> Iterator[Server]:
    server = Server(app, port=0)
    server.start()
    yield server
    server.stop(5)


def call(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:
        return True
    return False


def test_a_request_is_answered(server: Server) -> None:
    assert call(server, "POST", "/echo", b"hello") == (200, b"5")


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    chunks = iter([b"a" * 600, b"b" * 600])
    connection.request("POST", "/echo", chunks, {"Transfer-Encoding": "chunked"}, encode_chunked=True)

    response = connection.getresponse()
    assert response.status == 413
    response.read()
    connection.close()
    assert call(server, "POST", "/echo", b"x" * 5_000)[0] == 413
    assert call(server, "POST", "/echo", b"x" * 1_000) == (200, b"1000")


def test_the_servers_environment_is_not_in_requests(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANNER_TEST_MARK", "secret-mark")

    assert b"secret-mark" not in call(server, "GET", "/environ")[1]


def test_a_client_that_goes_away_ends_its_stream(server: Server, doors: Doors) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.recv(100)
    connection.close()

    assert doors.closed.wait(30)


def test_a_taken_port_refuses_the_start_in_one_sentence(server: Server, app: Flask) -> None:
    with pytest.raises(StartRefused, match=f"cannot listen on 127.0.0.1:{server.port}"):
        Server(app, port=server.port).start()


def test_stopping_lets_a_request_finish_and_accepts_no_new_one(app: Flask, doors: Doors) -> None:
    server = Server(app, port=0)
    port = server.start()
    answers: list[tuple[int, bytes]] = []
    caller = threading.Thread(target=lambda: answers.append(call(server, "GET", "/wait")))
    caller.start()
    assert doors.entered.wait(30)
    drained: list[bool] = []
    stopper = threading.Thread(target=lambda: drained.append(server.stop(30)))
    stopper.start()

    doors.open.set()
    stopper.join(30)
    caller.join(30)

    assert drained == [True]
    assert answers == [(200, b"done")]
    until(lambda: refused(port), "the listener to close")


def test_stopping_ends_open_streams(app: Flask, doors: Doors) -> None:
    server = Server(app, port=0)
    server.start()
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert doors.entered.wait(30)

    assert server.stop(30)

    assert doors.closed.is_set()
    assert server.busy == 0
    connection.close()


def test_a_request_that_outlasts_the_drain_is_told(app: Flask, doors: Doors) -> None:
    server = Server(app, port=0)
    server.start()
    caller = threading.Thread(target=call, args=(server, "GET", "/wait"))
    caller.start()
    assert doors.entered.wait(30)

    assert server.stop(0) is False

    doors.open.set()
    caller.join(30)


def test_serving_lasts_until_the_event(app: Flask) -> None:
    stop = threading.Event()
    served = threading.Thread(target=serve, args=(app, "127.0.0.1", 0, 4, stop))
    served.start()

    stop.set()
    served.join(30)

    assert not served.is_alive()
