"""A port that is about to close: nothing new comes in, what waits is still accepted."""

import contextlib
import os
import socket
import threading

import pytest

from stackd.host.quiesce import quiesce

pytestmark = pytest.mark.host


def test_no_new_connection_comes_and_those_that_wait_are_left_to_be_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as early:
            closing = threading.Thread(target=quiesce, args=([port], [os.getpid()], 10.0))
            closing.start()
            try:
                while True:  # until the filter is there
                    with socket.create_connection(("127.0.0.1", port), timeout=0.2):
                        pass
            except TimeoutError:
                pass
            assert closing.is_alive()
            server.settimeout(0.2)
            accepted = []
            with contextlib.suppress(TimeoutError):
                while True:
                    accepted.append(server.accept()[0])
            closing.join()
            accepted[0].sendall(b"served")
            assert early.recv(10) == b"served"
            for connection in accepted:
                connection.close()


def test_a_port_that_nobody_holds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    quiesce([port], [os.getpid(), 2**22 - 1], 10.0)
