"""The demo application: answers, misbehaves as asked, and drains without losing a request."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.ports import free_port

SERVER = Path(__file__).resolve().parents[2] / "examples" / "demo-image" / "server.py"


class Demo:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def get(self, path: str) -> tuple[int, str]:
        connection = self.connect()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body


Start = Callable[..., Demo]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def run(**environment: str) -> Demo:
            port = free_port()
            process = stack.enter_context(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", sys.executable, SERVER],
                    env={"PATH": os.environ["PATH"], "DEMO_PORT": str(port), **environment},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert "listens" in process.stdout.readline()
            return Demo(process, port)

        yield run


def test_it_says_version_and_host_over_one_connection(start: Start) -> None:
    demo = start(DEMO_VERSION="7")
    connection = demo.connect()
    connection.connect()
    used = connection.sock
    for number in (1, 2, 3):
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert (body["version"], body["host"]) == ("7", socket.gethostname())
        assert body["requests"] == number
        assert answer.headers["X-Version"] == "7"
    assert connection.sock is used
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_counted(start: Start, chunked: bool) -> None:
    connection = start().connect()
    parts = (b"x" * 70_000, b"y" * 70_000)
    body = iter(parts) if chunked else b"".join(parts)
    connection.request("POST", "/", body, encode_chunked=chunked, headers=framing(chunked))
    assert json.loads(connection.getresponse().read())["length"] == 140_000
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok\n"
    connection.close()


def framing(chunked: bool) -> dict[str, str]:
    return {"Transfer-Encoding": "chunked"} if chunked else {}


def test_it_misbehaves_as_asked(start: Start) -> None:
    demo = start(DEMO_FAIL_SHARE="0.25", DEMO_NEVER_HEALTHY="1")
    assert [demo.get("/")[0] for _ in range(8)].count(500) == 2
    assert demo.get("/healthz")[0] == 503
    assert demo.get("/env?name=PATH")[0] == 404
    assert demo.get("/file?path=/etc/demo/x")[0] == 404
    assert start(DEMO_CRASH_AFTER="0.01").process.wait(20) == 1


def test_only_certain_files_are_shown(start: Start) -> None:
    demo = start(DEMO_SHOW_FILES="1", DEMO_SHOW_ENV="1", X="a b")
    assert demo.get("/file?path=/etc/passwd")[0] == 403
    assert demo.get("/file?path=/run/secrets/../../etc/passwd")[0] == 403
    assert demo.get("/file?path=%2Frun%2Fsecrets%2Fnothing")[0] == 404
    assert demo.get("/env?name=X") == (200, "a b\n")


def test_bad_requests_do_not_end_it(start: Start) -> None:
    demo = start()
    for junk in (b"junk\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\xff" * 70_000):
        with socket.create_connection(("127.0.0.1", demo.port), 10) as sock:
            sock.sendall(junk)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
    assert demo.get("/healthz")[0] == 200


def test_a_stop_finishes_what_runs_and_loses_nothing(start: Start) -> None:
    demo = start()
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(demo.get("/slow?seconds=0.5")[0]))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    idle = demo.connect()
    idle.request("GET", "/")
    idle.getresponse().read()
    while int(json.loads(demo.get("/")[1])["requests"]) < 7:
        time.sleep(0.01)
    demo.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert answers == [200] * 5
    assert demo.process.wait(20) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", demo.port), 5)
    idle.close()


def test_its_own_check(start: Start) -> None:
    for environment, code in (({}, 0), ({"DEMO_NEVER_HEALTHY": "1"}, 1)):
        demo = start(**environment)
        done = subprocess.run(
            [sys.executable, SERVER, "check"], env={"DEMO_PORT": str(demo.port)}, check=False
        )
        assert done.returncode == code
