"""Opens connections, one after the other and some beside that for a while, until it is told to
stop, and writes down what became of each. Run as a script, on the machine or inside a task, by
`test_tcp_rollouts`: only what the demo image's Python has.

    dialler.py HOST PORT SECONDS FOLDER        until there is a file `stop` in the folder

`lines` in the folder has one line for each connection: when it was begun and when it was over
(seconds of the machine's clock), its kind (`short`: one request, `held`: two with SECONDS between
them) and the version that answered, or `lost` and why.
"""

import os
import socket
import sys
import threading
import time

RATE = 300
"""Short connections a second, at most."""
HELD = 8
"""Connections that are held at once."""
DEADLINE = 10.0
"""Seconds for an answer."""
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def ask(connection: socket.socket) -> str:
    """The version that answers one request on the connection."""
    connection.sendall(REQUEST)
    answer = b""
    while b"}" not in answer:
        part = connection.recv(4096)
        if not part:
            raise EOFError("closed without an answer")
        answer += part
    head = answer.lower().split(b"x-version:", 1)[1]
    return head.split(b"\r\n", 1)[0].strip().decode()


def dial(target: tuple[str, int], pause: float) -> str:
    """One connection from its beginning to its end, as a line."""
    begun = time.time()
    try:
        with socket.create_connection(target, DEADLINE) as connection:
            said = ask(connection)
            if pause:
                time.sleep(pause)
                again = ask(connection)
                said = said if again == said else f"lost {said} answered, then {again}"
    except (OSError, EOFError, IndexError) as error:
        said = f"lost {type(error).__name__} {error}"
    return f"{begun:.6f} {time.time():.6f} {'held' if pause else 'short'} {said}"


def main() -> None:
    """Until `stop` is there."""
    target, pause, folder = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3]), sys.argv[4]
    stop = os.path.join(folder, "stop")
    lines = open(os.path.join(folder, "lines"), "w", buffering=1)

    def write(line: str) -> None:
        with writing:
            lines.write(line + "\n")

    def hold() -> None:
        while not os.path.exists(stop):
            write(dial(target, pause))

    writing = threading.Lock()
    held = [threading.Thread(target=hold) for _ in range(HELD)]
    for thread in held:
        thread.start()
    while not os.path.exists(stop):
        due = time.monotonic() + 1 / RATE
        write(dial(target, 0))
        time.sleep(max(0, due - time.monotonic()))
    for thread in held:
        thread.join()
    lines.close()


main()
