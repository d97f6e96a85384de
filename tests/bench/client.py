#!/usr/bin/python3
"""The client of `make bench`, in a container of the network that is measured.

It looks up the addresses of the service's tasks, asks each one until it has answered as the wanted
version, and writes down how far it is: a line `TIME VERSION ADDRESSES ANSWERED` in the file `seen`,
TIME on the machine's monotonic clock. The file `wanted` holds the version. It uses only what the
demo image has.
"""

import os
import socket
import time

FOLDER = "/bench"
NAME = "tasks.web"
PORT = 8080
PAUSE = 0.05
PATIENCE = 0.5
ASK_AGAIN = 2.0
"""Seconds until an address that has answered as another version is asked again: it leaves the name
with its task, so that this only finds one that was given out again at once."""


def read(name: str) -> str:
    try:
        with open(os.path.join(FOLDER, name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def write(name: str, text: str) -> None:
    path = os.path.join(FOLDER, name)
    with open(path + ".new", "w") as file:
        file.write(text + "\n")
    os.replace(path + ".new", path)


def addresses() -> set[str]:
    try:
        found = socket.getaddrinfo(NAME, PORT, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return set()
    return {str(entry[4][0]) for entry in found}


def version(address: str) -> str:
    """What answers there; '' when nothing does."""
    try:
        with socket.create_connection((address, PORT), timeout=PATIENCE) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while chunk := sock.recv(4096):
                answer += chunk
    except OSError:
        return ""
    for line in answer.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "x-version":
            return value.strip()
    return ""


def main() -> None:
    answers: dict[str, str] = {}
    asked: dict[str, float] = {}
    said = None
    while True:
        wanted, known = read("wanted"), addresses()
        answers = {a: v for a, v in answers.items() if a in known}
        for address in known:
            last = answers.get(address, "")
            if last != wanted and (not last or asked[address] + ASK_AGAIN < time.monotonic()):
                asked[address] = time.monotonic()
                answers[address] = version(address) or last
        good = sum(answer == wanted for answer in answers.values())
        state = (wanted, len(known), good)
        if state != said:
            said = state
            write("seen", f"{time.monotonic()} {wanted} {len(known)} {good}")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
