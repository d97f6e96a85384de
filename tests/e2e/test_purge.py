"""`down` and `up` again, reboots, purges: what is kept, what is resumed, what is left behind.
Everything is compared with the machine as it was before, read from the kernel."""

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import truth
from tests.e2e.cluster import ROOT, Cluster, free_port, until
from tests.e2e.stacks import Web, get, ready

pytestmark = pytest.mark.e2e

VOLUME = """
name: keeper
services:
  web:
    image: stackd-demo:1
    ports: [{target: 8080, published: PORT, app_protocol: http}]
    healthcheck: {http: {path: /healthz, port: 8080}, interval: 1s}
    volumes: [{type: volume, source: data, target: /data}]
    deploy: {strategy: {type: rolling, monitor: 500ms}}
volumes: {data: {}}
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that is not up yet."""
    made = Cluster(tmp_path / "data")
    try:
        yield made
    finally:
        made.down()


def machine() -> dict[str, str]:
    """What a cluster changes on the whole machine."""
    return {
        "ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "namespaces": str(sorted(os.listdir("/run/netns")) if Path("/run/netns").exists() else ""),
    }


def left(cluster_id: str, folder: Path) -> dict[str, set[str]]:
    """What still holds the cluster's id or the name of its folder."""
    return {kind: found for kind, found in truth.traces(cluster_id, str(folder)).items() if found}


def gone(cluster_id: str, folder: Path) -> None:
    """Nothing is left; the kernel takes a moment to take namespaces and their links apart."""
    until(lambda: not left(cluster_id, folder), f"left: {left(cluster_id, folder)}", 10)


def test_purge_after_everything_was_killed_in_the_middle(fresh: Cluster) -> None:
    before = machine()
    fresh.up()
    web = Web("broken", free_port(), replicas=3)
    assert fresh.apply(web.text, "--wait").code == 0
    assert fresh.apply(Web("broken", web.port, 2, 3).text).code == 0
    until(lambda: len(truth.processes(fresh)) > 5 + 2 * 3, "the rollout has begun")
    name = fresh.id
    for process in truth.processes(fresh).values():
        process.kill()
    fresh.must("down", "--purge")
    gone(name, fresh.data)
    assert machine() == before


def test_purge_of_a_node_that_cannot_stop_itself(fresh: Cluster) -> None:
    before = machine()
    fresh.up()
    assert fresh.apply(Web("stuck", free_port()).text, "--wait").code == 0
    name = fresh.id
    (fresh.data / "nodes" / "node1" / "agent.json").write_text("{")
    done = fresh.must("down", "--purge")
    assert "node1 was stopped by force" in done.err
    gone(name, fresh.data)
    assert machine() == before


def write(cluster: Cluster, text: str) -> None:
    script = f"open('/data/kept', 'w').write('{text}')"
    ran = cluster.run("exec", "keeper/web.1", "--", "python3", "-c", script)
    assert ran.code == 0, ran.err


def kept(cluster: Cluster) -> str:
    script = "print(open('/data/kept').read(), end='')"
    return cluster.must("exec", "keeper/web.1", "--", "python3", "-c", script).out


def test_down_keeps_data_up_resumes_and_purge_leaves_nothing(fresh: Cluster) -> None:
    before = machine()
    fresh.up()
    port, name = free_port(), fresh.id
    assert fresh.apply(VOLUME.replace("PORT", str(port)), "--wait").code == 0
    write(fresh, "for later")
    found = truth.traces(name, str(fresh.data))
    assert all(found.values()), {kind for kind, lines in found.items() if not lines}
    fresh.must("down")
    assert set(left(name, fresh.data)) <= {"files"}, left(name, fresh.data)
    interrupted_up(fresh, port)
    assert set(left(name, fresh.data)) <= {"files"}, left(name, fresh.data)
    with what_it_had_taken(fresh):
        said = fresh.must("up", "--detach").err
    assert "is held by " in said, said
    assert ": tasks get addresses from " in said, said
    fresh.must("up", "--detach")
    said = fresh.status("keeper")["phase"]
    [row] = fresh.ps("keeper")
    runs = f"node1/b/{row['id']}" in truth.processes(fresh)
    assert runs or said != "healthy"
    ready(fresh, "keeper", 1)
    until(lambda: answers(port), "the port is served again")
    assert kept(fresh) == "for later"
    assert fresh.status("keeper")["release"] == 1
    [network] = fresh.must("network", "ls", "-o", "json").json
    assert ipaddress.IPv4Network(network["subnet"]).subnet_of(pool(fresh))
    assert fresh.id == name
    fresh.must("down", "--purge")
    gone(name, fresh.data)
    assert machine() == before
    assert not fresh.data.exists()


def pool(cluster: Cluster) -> ipaddress.IPv4Network:
    """Where addresses of tasks come from."""
    shown = cluster.must("cluster", "show", "-o", "json").json
    return ipaddress.IPv4Network(shown["settings"]["pool"])


@contextlib.contextmanager
def what_it_had_taken(cluster: Cluster) -> Iterator[None]:
    """Somebody else has the control port of a cluster that is down, and a part of its pool."""
    found = json.loads((cluster.data / "cluster.json").read_text())
    base = ipaddress.IPv4Network(found.get("pool", "10.64.0.0/10"))
    route = ["ip", "route", "{}", str(next(base.subnets())), "dev", "lo"]
    with socket.create_server(("0.0.0.0", found.get("control_port", 7420))):
        subprocess.run([word.format("add") for word in route], check=True)
        try:
            yield
        finally:
            subprocess.run([word.format("del") for word in route], check=True)


def interrupted_up(cluster: Cluster, port: int) -> None:
    """`up` in the foreground until the port is served, then Ctrl-C."""
    argv = [sys.executable, "-m", "stackd", "--data", str(cluster.data), "up"]
    shown = subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        until(lambda: answers(port), "it serves")
        shown.send_signal(signal.SIGINT)
        output = shown.communicate(timeout=60)[0].decode()
    finally:
        if shown.poll() is None:
            shown.kill()
            shown.communicate()
    assert "Stopping; the data is kept." in output, output
    assert "Traceback" not in output


@pytest.mark.timeout(300)
@pytest.mark.parametrize("nodes", [1, pytest.param(3, marks=pytest.mark.soak)])
def test_a_reboot_of_the_machine(fresh: Cluster, nodes: int) -> None:
    """Every process ends at once, and what lives in memory is gone; also of nodes that were added
    to data that was there."""
    fresh.up()
    port = free_port()
    assert fresh.apply(VOLUME.replace("PORT", str(port)), "--wait").code == 0
    write(fresh, "after the reboot")
    if nodes > 1:
        fresh.must("down")
        fresh.up("--nodes", str(nodes))
    web = Web("spread", free_port(), replicas=nodes)
    assert fresh.apply(web.text, "--wait").code == 0
    assert len({row["node"] for row in ready(fresh, "spread", nodes)}) == nodes
    reboot(fresh)
    begun = time.monotonic()
    fresh.must("up", "--detach")
    ready(fresh, "keeper", 1)
    ready(fresh, "spread", nodes)
    until(lambda: answers(port) and answers(web.port), "the ports are served again")
    print(f"back {time.monotonic() - begun:.1f} s after the reboot")
    assert kept(fresh) == "after the reboot"
    name = fresh.id
    fresh.must("down", "--purge")
    gone(name, fresh.data)


def reboot(cluster: Cluster) -> None:
    """Kill all of it, then take away what does not survive a reboot."""
    name = cluster.id

    def ended() -> bool:
        """Nothing is left, also of what was started meanwhile by what was killed last and had no
        time to note it."""
        for process in truth.processes(cluster).values():
            process.kill()
        for pid in truth.mentioning(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not truth.mentions(name)

    until(ended, "all processes have ended")
    for line in reversed(sorted(truth.traces(name)["mounts"], key=lambda line: line.split()[4])):
        subprocess.run(["umount", "-l", line.split()[4]], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", str(cluster.run_folder)], check=True)
    for line in truth.traces(name)["links"]:
        link = line.split(":")[1].split("@")[0].strip()
        subprocess.run(["ip", "link", "del", link], check=False, capture_output=True)
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    for line in tables.stdout.splitlines():
        if name in line:
            subprocess.run(["nft", "delete", *line.split()], check=True)
    for top in truth.traces(name)["cgroups"]:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(folder)
    subprocess.run(["rm", "-rf", f"/dev/shm/stackd-{name}"], check=True)


def answers(port: int) -> bool:
    try:
        return get(port)[0] == 200
    except (OSError, EOFError):
        return False


@pytest.mark.soak
def test_two_clusters_do_not_touch_each_other(cluster: Cluster, fresh: Cluster) -> None:
    mine, theirs = Web("beside", free_port()), Web("beside", free_port(), version=2)
    assert cluster.apply(mine.text, "--wait").code == 0
    fresh.up()
    assert fresh.apply(theirs.text, "--wait").code == 0
    before = truth.processes(cluster)
    rules = truth.traces(cluster.id)
    assert json.loads(get(mine.port)[1])["version"] == "1"
    assert json.loads(get(theirs.port)[1])["version"] == "2"
    taken = fresh.apply(Web("thief", mine.port).text, "--wait", "--timeout", "4s")
    assert taken.code in (1, 2, 4), taken.out
    assert "envoy" in fresh.must("why", "thief/web").out
    name = fresh.id
    fresh.must("down", "--purge")
    gone(name, fresh.data)
    assert truth.processes(cluster) == before
    after = truth.traces(cluster.id)
    shared = ("rules", "claims")  # what is said there of others may have changed
    assert {k: v for k, v in after.items() if k not in shared} == {
        k: v for k, v in rules.items() if k not in shared
    }
    assert json.loads(get(mine.port)[1])["version"] == "1"
    ready(cluster, "beside", 2)
    assert cluster.run("rm", "beside", "--wait").code == 0
