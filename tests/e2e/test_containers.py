"""What a deployed container really gets, read from inside it and from the kernel: the process, the
`baseline` profile, names and walls of networks, ends, output, and commands run in it."""

import json
import os
import pty
import re
import select
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import ROOT, Cluster, Ran, free_port, until

pytestmark = pytest.mark.e2e

QUICK = 'healthcheck: {test: "true", interval: 1s}, deploy: {update_config: {monitor: 500ms}}'
ECHO = """
import socket, threading
def answer(peer):
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        data += peer.recv(9999)
    head = data.split(b"\\r\\n\\r\\n")[0]
    size = b"content-length: %d" % len(head)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\n" + size + b"\\r\\n\\r\\n" + head)
    peer.close()
def datagrams():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("", 8080))
        while True:
            one.sendto(b"udp", one.recvfrom(100)[1])
threading.Thread(target=datagrams).start()
server = socket.create_server(("", 8080))
while True:
    threading.Thread(target=answer, args=(server.accept()[0],)).start()
"""
FULL = """
name: kit
services:
  full:
    image: stackd-demo:1
    entrypoint: [python3, -c]
    command:
      - |
        import signal, sys
        def stop(*_):
            print("stopped by USR1", flush=True)
            sys.exit(7)
        signal.signal(signal.SIGUSR1, stop)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: signal.pause()
    environment: {A: "1", B: no, C: 22:22}
    working_dir: /tmp/made/here
    user: "1000:1000"
    hostname: chosen
    read_only: true
    tmpfs: ["/scratch:size=1m,mode=1777"]
    stop_signal: SIGUSR1
    cap_add: [NET_RAW]
    cap_drop: [CHOWN, CAP_KILL]
    ulimits: {nofile: {soft: 100, hard: 200}}
    secrets: [word, {source: word, target: other, uid: "7", gid: "8", mode: 0440}]
    configs: [{source: plan, target: /etc/plan, mode: 0640}]
    healthcheck: {test: "true", interval: 1s}
    deploy:
      update_config: {monitor: 500ms}
      resources: {limits: {cpus: "0.25", memory: 64m, pids: 40}}
  plain:
    image: stackd-demo:1
    ports: ["PORT1:8080"]
    deploy: {update_config: {monitor: 500ms}}
  echo:
    image: stackd-demo:1
    entrypoint: [python3, -c, CODE]
    init: true
    networks: {default: {aliases: [other-name]}, inner: {}}
    ports: [{target: 8080, published: PORT2, app_protocol: http}]
    deploy: {replicas: 2, update_config: {monitor: 500ms}}
  inside: {image: "stackd-demo:1", networks: [inner], QUICK}
  stubborn:
    image: stackd-demo:1
    entrypoint: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"]
    stop_grace_period: 1s
    healthcheck: {test: "true", interval: 1s}
    deploy: {update_config: {monitor: 500ms}}
networks: {default: {}, inner: {internal: true}}
configs: {plan: {content: a plan}}
secrets: {word: {environment: KIT_WORD}}
"""
STRANGER = f"name: kit-other\nservices:\n  web: {{image: 'stackd-demo:1', {QUICK}}}\n"
ENDS = """
name: kit-ends
x-base: &base {image: "stackd-demo:1", entrypoint: [], deploy: {restart_policy: {condition: none}}}
services:
  code: {<<: *base, command: [sh, -c, "exit 3"]}
  memory: {<<: *base, command: [python3, -c, "bytearray(10**9)"], deploy: SMALL}
  child: {<<: *base, command: [sh, -c, "python3 -c 'bytearray(10**9)'; exit 5"], deploy: SMALL}
  missing: {<<: *base, command: [/no/such]}
  data: {<<: *base, command: [/etc/passwd]}
  user: {<<: *base, command: ["true"], user: nobody-here}
  again: {<<: *base, command: [sh, -c, "exit 4"], deploy: {}}
""".replace("SMALL", "{resources: {limits: {memory: 32m}}, restart_policy: {condition: none}}")
WRITER = """
name: kit-writer
services:
  writer:
    image: stackd-demo:1
    init: true
    entrypoint: [python3, -c]
    command:
      - |
        import time
        for n in range(50000): print(n, "x" * 60)
        print("no newline yet", end="", flush=True)
        time.sleep(100000)
    QUICK
""".replace("QUICK", QUICK.replace("}, deploy", "}\n    deploy"))


class Kit:
    """The deployed stacks."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.tcp, self.http = free_port(), free_port()

    def text(self) -> str:
        text = FULL.replace("PORT1", str(self.tcp)).replace("PORT2", str(self.http))
        return text.replace("CODE", json.dumps(ECHO)).replace("QUICK", QUICK)

    def python(self, task: str, code: str, *arguments: str) -> Ran:
        return self.cluster.run("exec", task, "--", "python3", "-c", code, *arguments)

    def out(self, task: str, *command: str) -> str:
        return self.cluster.must("exec", task, "--", *command).out.strip()

    def pid(self, task: str) -> int:
        [row] = self.cluster.ps(task)
        return self.cluster.container_pid(row["id"])


@pytest.fixture(scope="module")
def kit(cluster: Cluster) -> Iterator[Kit]:
    made = Kit(cluster)
    os.environ["KIT_WORD"] = "open sesame"
    names = ("kit", "kit-other", "kit-ends", "kit-writer")
    try:
        for text in (made.text(), STRANGER, ENDS, WRITER):
            ran = cluster.apply(text)
            assert ran.code == 0, ran.err
        for name in ("kit", "kit-other", "kit-writer"):
            cluster.must("wait", name, "--timeout", "60s")
        yield made
    finally:
        del os.environ["KIT_WORD"]
        for name in names:
            cluster.run("rm", name)
        until(lambda: not _present(cluster) & set(names), "all are removed")


def _present(cluster: Cluster) -> set[str]:
    return {row["stack"] for row in cluster.must("ls", "-o", "json").json}


def process(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_the_process_is_as_the_file_says(kit: Kit) -> None:
    pid = kit.pid("kit/full.1")
    found = process(pid)
    assert (found["Uid"].split()[0], found["Gid"].split()[0], found["Groups"]) == ("1000",) * 3
    assert int(found["CapBnd"], 16) == 0x5FB & ~(1 << 0) & ~(1 << 5) | (1 << 13)
    words = Path("/proc", str(pid), "environ").read_bytes().decode().strip("\0").split("\0")
    given = dict(word.split("=", 1) for word in words)
    assert (given["A"], given["B"], given["C"]) == ("1", "no", "22:22")
    assert given["HOSTNAME"] == kit.out("kit/full.1", "cat", "/etc/hostname") == "chosen"
    assert b"open sesame" not in Path("/proc", str(pid), "environ").read_bytes()
    assert os.readlink(f"/proc/{pid}/cwd") == "/tmp/made/here"
    limits = Path("/proc", str(pid), "limits").read_text()
    assert re.search(r"Max open files +100 +200 ", limits)
    shown = kit.out("kit/full.1", "stat", "-c", "%a %u %g", *PLACES)
    assert shown.splitlines() == ["400 1000 1000", "440 7 8", "640 1000 1000", "1777 0 0"]
    assert kit.out("kit/full.1", "cat", "/run/secrets/word") == "open sesame"
    assert kit.cluster.run("exec", "kit/full.1", "--", "touch", "/new").code == 1
    assert kit.cluster.run("exec", "kit/full.1", "--", "touch", "/scratch/new").code == 0


PLACES = ("/run/secrets/word", "/run/secrets/other", "/etc/plan", "/scratch")
DENIED = """
import os, socket
def denied(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.strerror
    return "ALLOWED"
print(denied(os.chroot, "/tmp"))
print(denied(os.mknod, "/tmp/device", 0o60600, os.makedev(8, 0)))
print(denied(socket.sethostname, "other"))
print(denied(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1))
print(denied(socket.socket, socket.AF_PACKET, socket.SOCK_RAW))
print(denied(socket.socket, socket.AF_ALG, socket.SOCK_SEQPACKET))
print(denied(open, "/proc/sys/kernel/hostname", "r+"))
print(denied(open, "/sys/kernel/uevent_helper", "r+"))
print(len(open("/proc/interrupts").read()), os.listdir("/sys/firmware"))
print(socket.create_server(("", 80)).getsockname()[1])
print(*sorted(n for n in os.listdir("/dev")))
"""


def test_the_baseline_profile_from_inside(kit: Kit) -> None:
    found = process(kit.pid("kit/plain.1"))
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0x5FB
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    said = kit.python("kit/plain.1", DENIED).out.splitlines()
    assert said[:6] == ["Operation not permitted"] * 6
    assert said[6] == "Read-only file system"
    assert "ALLOWED" not in said
    assert said[8:10] == ["0 []", "80"]
    assert set(said[10].split()) <= {
        *("console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm"),
        *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
    }
    limits = Path("/proc", str(kit.pid("kit/plain.1")), "limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert int(Path("/proc", str(kit.pid("kit/plain.1")), "oom_score_adj").read_text()) >= 100


ASK = """
import socket, sys
socket.setdefaulttimeout(2)
for target in sys.argv[1:]:
    kind, host, port = target.split("/")
    try:
        if kind == "name":
            found = {a[4][0] for a in socket.getaddrinfo(host, None, socket.AF_INET)}
            print(target, len(found))
            continue
        made = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, made) as one:
            one.connect((host, int(port)))
            if kind == "udp":
                one.send(b"?")
                one.recv(10)
            print(target, "open")
    except ConnectionRefusedError:
        print(target, "refused")
    except OSError:
        print(target, "no")
"""


def asked(kit: Kit, task: str, *targets: str) -> dict[str, str]:
    ran = kit.python(task, ASK, *targets)
    assert ran.code == 0, ran.err
    return dict(line.split(" ", 1) for line in ran.out.splitlines())


def test_names_and_walls(kit: Kit) -> None:
    own = {"name/echo/": "1", "name/echo.kit/": "1", "name/kit_echo/": "1", "name/other-name/": "1"}
    own |= {"name/tasks.echo/": "2", "name/inside/": "no", "name/web.kit-other/": "no"}
    own |= {"tcp/echo/8080": "open", "udp/echo/8080": "open", "tcp/echo/99": "refused"}
    assert asked(kit, "kit/plain.1", *own) == own
    inner = {"name/echo/": "1", "tcp/echo/8080": "open", "name/other-name/": "no"}
    [node] = kit.cluster.must("node", "ls", "-o", "json").json
    inner |= {f"tcp/{node['address']}/{kit.tcp}": "no"}
    assert asked(kit, "kit/inside.1", *inner) == inner
    [echo, _] = kit.cluster.ps("kit/echo")
    there = {f"tcp/{address}/8080": "no" for address in echo["addresses"].values()}
    assert asked(kit, "kit-other/web.1", "name/echo/", *there) == {"name/echo/": "no", **there}


def test_the_host_is_closed_but_for_published_ports(kit: Kit) -> None:
    [node] = kit.cluster.must("node", "ls", "-o", "json").json
    address = str(node["address"])
    taken = json.loads((kit.cluster.data / "cluster.json").read_text())
    wanted = {f"tcp/{address}/{kit.tcp}": "open"}
    wanted |= {f"tcp/{address}/{port}": "refused" for port in _own_ports(taken)}
    assert len(wanted) > 2
    assert asked(kit, "kit/plain.1", *wanted) == wanted


def _own_ports(cluster: dict[str, Any]) -> set[int]:
    """The ports of the manager."""
    found = {value for key, value in cluster.items() if key.endswith("port")}
    return {port for port in found if isinstance(port, int) and port != 4789}


def test_what_a_client_claims_of_its_address_is_not_believed(kit: Kit) -> None:
    claim = {"x-forwarded-for": "6.6.6.6", "x_forwarded_for": "6.6.6.6"}
    for address in ("127.0.0.1", kit.cluster.must("node", "ls", "-o", "json").json[0]["address"]):
        request = urllib.request.Request(f"http://{address}:{kit.http}/", headers=claim)
        with urllib.request.urlopen(request, timeout=10) as answer:
            head = answer.read().decode().lower()
        assert "6.6.6.6" not in head
        assert len(re.findall(r"^x-forwarded-for: [0-9.]+\r?$", head, re.M)) == 1


def test_ends_are_told_apart(kit: Kit) -> None:
    wanted = {
        "code": "exit code 3",
        "memory": "out of memory (limit 32 MiB)",
        "child": "exit code 5; a process of it had run out of memory (limit 32 MiB)",
        "missing": "The command '/no/such' is not in the image.",
        "data": "The command '/etc/passwd' cannot be executed.",
        "user": "The user 'nobody-here' is not in /etc/passwd of the image.",
    }

    def ended() -> bool:
        rows = kit.cluster.ps("kit-ends", "--all")
        said = {row["service"]: row["error"] for row in rows if row["service"] in wanted}
        return said == wanted

    until(ended, "every end with its own cause")

    def steps() -> list[str]:
        events = kit.cluster.must("events").out.splitlines()
        return [e for e in events if "task.replaced" in e and "kit-ends/again.1" in e]

    first, second = until(lambda: steps()[:2] if len(steps()) > 1 else [], "two replacements")
    assert "starts in" not in first
    assert "starts in 5 s" in second


def test_a_listener_on_loopback_only_is_not_ready(kit: Kit) -> None:
    text = f"""
name: kit-local
services:
  web:
    image: stackd-demo:1
    environment: {{DEMO_LISTEN_LOCAL: 1}}
    ports: ["{free_port()}:8080"]
"""
    assert kit.cluster.apply(text).code == 0
    try:
        until(
            lambda: "on 127.0.0.1 only" in kit.cluster.must("why", "kit-local/web").out,
            "why says where it listens",
        )
        [seen] = kit.cluster.status("kit-local/web")["revisions"]
        assert (seen["running"], seen["ready"]) == (1, 0)
    finally:
        kit.cluster.must("rm", "kit-local", "--wait")


def test_fast_output_comes_whole_and_in_order(kit: Kit) -> None:
    def printed() -> str:
        out = kit.cluster.must("logs", "kit-writer").out
        return out if out.endswith("no newline yet") else ""

    lines = until(printed, "all that was written").splitlines()
    assert len(lines) == 50_001
    assert all(
        line == f"kit-writer/writer.1 | {number} {'x' * 60}"
        for number, line in enumerate(lines[:-1])
    )


def test_exit_codes_of_commands_run_in_a_task(kit: Kit) -> None:
    def code(task: str, *command: str) -> int:
        return kit.cluster.run("exec", task, "--", *command).code

    assert code("kit/plain.1", "sh", "-c", "exit 42") == 42
    assert code("kit/plain.1", "sh", "-c", "kill -9 $$") == 137
    assert code("kit/plain.1", "/no/such") == 127
    assert code("kit/plain.1", "/etc/passwd") == 126
    unknown = kit.cluster.run("exec", "kit/none.1", "--", "true")
    assert (unknown.code, "There is no service kit/none" in unknown.err) == (125, True)


def test_a_terminal_answers_each_line_by_itself(kit: Kit) -> None:
    argv = [sys.executable, "-m", "stackd", "--data", str(kit.cluster.data)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(argv[0], [*argv, "exec", "kit/plain.1", "--", "sh"])
    try:
        seen = _until_seen(terminal, b"# ")
        for number in range(3):
            os.write(terminal, b"echo $((%d + 40)); tty\n" % number)
            seen = _until_seen(terminal, b"# ")
            assert b"\r\n%d\r\n/dev/pts/" % (number + 40) in seen
        os.write(terminal, b"exit 9\n")
        _until_seen(terminal, None)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    finally:
        os.close(terminal)


def _until_seen(terminal: int, end: bytes | None) -> bytes:
    """What the terminal shows up to `end`; None = until it is closed."""
    seen, limit = b"", time.monotonic() + 30
    while end is None or not seen.endswith(end):
        assert time.monotonic() < limit, seen
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:  # a terminal's end
                return seen
    return seen


def test_stop_signal_and_grace(kit: Kit) -> None:
    pids = {name: kit.pid(f"kit/{name}.1") for name in ("full", "stubborn")}
    for name in pids:
        kit.cluster.must("scale", f"kit/{name}=0")
    until(
        lambda: not any(Path("/proc", str(pid)).exists() for pid in pids.values()),
        "both have ended",
        seconds=20,
    )
    assert "stopped by USR1" in kit.cluster.must("logs", "kit/full").out
