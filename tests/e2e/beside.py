"""A machine that is a network namespace, with a server outside it: what foreign firewalls and
Docker do there concerns nobody else. Used by `tests/e2e/test_beside.py`.
"""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ADDRESS, OUTSIDE = "198.51.100.1", "198.51.100.2"
ECHO = 9000
"""A TCP and UDP port outside: what comes is sent back."""
MTU = 1400
"""Of the machine's way out."""
_SERVER = f"""
import socket, threading
def stream():
    server = socket.create_server(("0.0.0.0", {ECHO}))
    print("ready", flush=True)
    while True:
        peer = server.accept()[0]
        threading.Thread(target=answer, args=(peer,), daemon=True).start()
def answer(peer):
    with peer:
        while data := peer.recv(65536):
            peer.sendall(data)
def packets():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", {ECHO}))
    while True:
        udp.sendto(*udp.recvfrom(65536))
threading.Thread(target=packets, daemon=True).start()
stream()
"""
TALK = f"""
import socket
sent = bytes(range(256)) * 1024
tcp = socket.create_connection(("{OUTSIDE}", {ECHO}), 5)
tcp.settimeout(5)
got = b""
for at in range(0, len(sent), 32768):
    tcp.sendall(sent[at:at + 32768])
    while len(got) < at + 32768:
        got += tcp.recv(65536)
assert got == sent
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(1)
for size in (100, 1320, 1472, 8000):
    for _ in range(4):
        udp.sendto(sent[:size], ("{OUTSIDE}", {ECHO}))
        try:
            assert udp.recv(65536) == sent[:size]
            break
        except TimeoutError:
            pass
    else:
        raise SystemExit(f"no answer to UDP of {{size}} bytes")
print("heard")
"""
"""What a task runs to talk to the server outside: much by TCP, UDP also in pieces."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`place`: its network namespace."""

    place: Path

    def run(self, *argv: str, stdin: str = "") -> str:
        """The output of a command on it."""
        whole = ["nsenter", f"--net={self.place}", *argv]
        done = subprocess.run(whole, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def rules(self) -> set[str]:
        """All nft tables, without what their rules have counted."""
        listed = re.sub(r"packets \d+ bytes \d+", "", self.run("nft", "list", "ruleset"))
        return set(re.split(r"^(?=table )", listed, flags=re.MULTILINE))

    def state(self) -> dict[str, object]:
        """Everything of its network that a cluster could leave something in."""
        links = self.run("ip", "-o", "link").splitlines()
        return {
            "links": sorted(line.split(":")[1].partition("@")[0] for line in links),
            "addresses": sorted(self.run("ip", "-o", "-4", "addr").splitlines()),
            "routes": sorted(self.run("ip", "-4", "route", "show", "table", "all").splitlines()),
            "rules": self.rules(),
            "forward": self.run("sysctl", "-n", "net.ipv4.ip_forward"),
        }


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """It goes with this process, however that ends."""
    with _namespace() as inner, _namespace() as outer:
        made = Machine(Path("/proc", str(inner), "ns", "net"))
        outside = Machine(Path("/proc", str(outer), "ns", "net"))
        for place in (made, outside):
            place.run("ip", "link", "set", "lo", "up")
        made.run(
            *("ip", "link", "add", "eth0", "mtu", str(MTU), "type", "veth"),
            *("peer", "name", "eth0", "mtu", str(MTU), "netns", str(outer)),
        )
        for place, address in ((made, ADDRESS), (outside, OUTSIDE)):
            place.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
            place.run("ip", "link", "set", "eth0", "up")
        made.run("ip", "route", "add", "default", "via", OUTSIDE)
        made.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
        with _process("nsenter", f"--net={outside.place}", "python3", "-c", _SERVER) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield made


@contextlib.contextmanager
def _namespace() -> Iterator[int]:
    """The pid of a process that keeps a network namespace."""
    with _process("unshare", "--net", "sh", "-c", "echo; exec sleep infinity") as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        yield keeper.pid


@contextlib.contextmanager
def _process(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    whole = ["setpriv", "--pdeathsig", "KILL", *argv]
    with subprocess.Popen(whole, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
