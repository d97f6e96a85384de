"""The two that `make bench` compares, stackd and Docker Swarm, behind one face.

Each is started with the same image and a client container in the network that is measured, and
told what to do by its own command line.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.fakes import docker
from tests.fakes.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / ".cache" / "demo-image.tar"
AT_ONCE = 10
VERSIONS = ("1", "2")
CLIENT = ("/usr/bin/python3", "/bench/client.py")
CGROUPS = next(p for p in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if p.is_dir())
MIB = 1 << 20


class Side(Protocol):
    """One of the two, running. `deploy` and the like return when the command does."""

    name: str
    idle: int
    """Containers that are there before and after each measurement."""

    @property
    def groups(self) -> Sequence[str]:
        """Control groups of its own, below the root."""
        ...

    def deploy(self, replicas: int, version: str) -> None:
        """The service `web` with so many replicas: new, or updated."""
        ...

    def remove(self) -> None:
        """Remove the service."""
        ...

    def containers(self) -> int:
        """How many have a control group, counted in the kernel."""
        ...

    def gone(self) -> bool:
        """Nothing of the service is left in the kernel, nor for its own command line."""
        ...

    def memory(self) -> Mapping[str, tuple[int, float]]:
        """What runs it: kind of process -> (how many, MiB of PSS in all)."""
        ...


def share(folder: Path) -> Path:
    """The folder that client and benchmark talk through."""
    place = folder / "share"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("client.py"), place / "client.py")
    return place


class Stackd:
    """An embedded cluster. One service publishes a port, so that Envoy runs."""

    name = "stackd"
    idle = 2

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"

    def start(self) -> None:
        self._run("up", "--detach")
        self._run("image", "load", "-i", str(IMAGE))
        client = {
            "image": "stackd-demo:1",
            "command": list(CLIENT),
            "networks": ["bench"],
            "volumes": [f"{share(self._folder)}:/bench"],
        }
        front = {
            "image": "stackd-demo:1",
            "ports": [{"target": 8080, "published": free_port(), "app_protocol": "http"}],
        }
        stack = {
            "name": "client",
            "services": {"client": client, "front": front},
            "networks": {"bench": {"name": "bench"}},
        }
        self._run("apply", "-f", "-", "--wait", stdin=json.dumps(stack))

    def stop(self) -> None:
        if (self._data / "cluster.json").exists():
            self._run("down", "--purge")
        shutil.rmtree(self._folder, ignore_errors=True)

    def deploy(self, replicas: int, version: str) -> None:
        web = {
            "image": f"stackd-demo:{version}",
            "networks": ["bench"],
            "healthcheck": {"tcp": {"port": 8080}},
            "deploy": {
                "replicas": replicas,
                "update_config": {
                    "parallelism": AT_ONCE,
                    "order": "start-first",
                    "monitor": "0s",
                },
            },
        }
        networks = {"bench": {"external": True, "name": "bench"}}
        stack = {"name": "web", "services": {"web": web}, "networks": networks}
        self._run("apply", "-f", "-", stdin=json.dumps(stack))

    def remove(self) -> None:
        self._run("rm", "web", "--wait")

    def containers(self) -> int:
        groups = CGROUPS / f"stackd-{self._cluster}" / "node1"
        return sum(entry.is_dir() for entry in os.scandir(groups))

    def gone(self) -> bool:
        return self.containers() == self.idle  # and `rm --wait` has returned

    def memory(self) -> Mapping[str, tuple[int, float]]:
        run = Path("/run/stackd", self._cluster)
        files = [path for depth in ("", "*/", "*/b/*/") for path in run.glob(f"{depth}*.pid")]
        named = {str(path.relative_to(run).with_suffix("")): pid_in(path) for path in files}
        found: dict[str, tuple[int, float]] = {}
        for name, pid in sorted(named.items()):
            kind = "conmon" if name.endswith("/conmon") else name.rpartition("/")[2]
            add(found, kind, pid)
        return found

    @property
    def groups(self) -> Sequence[str]:
        return (f"stackd-{self._cluster}",)

    @property
    def _cluster(self) -> str:
        return str(json.loads((self._data / "cluster.json").read_text())["id"])

    def _run(self, *arguments: str, stdin: str | None = None) -> None:
        command = [sys.executable, "-m", "stackd", "--data", str(self._data), *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT
        )
        if done.returncode != 0:
            raise RuntimeError(f"stackd {' '.join(arguments)}: {done.stderr.strip()}")


class Swarm:
    """A swarm of one node. Tasks are found by name (dnsrr): virtual addresses need IPVS."""

    name = "Swarm"
    idle = 1

    def __init__(self, daemon: docker.PrivateDocker, folder: Path) -> None:
        self._docker = daemon
        self._folder = folder
        self._images: Mapping[str, str] = {}
        self._there = False

    def start(self) -> None:
        self._images = self._docker.load(IMAGE, "stackd-demo", VERSIONS)
        self._docker.run("swarm", "init", "--advertise-addr", docker.ADDRESS)
        self._docker.run("network", "create", "--driver", "overlay", "bench")
        mount = f"type=bind,source={share(self._folder)},target=/bench"
        self._create("client", "--mount", mount, self._images["1"], *CLIENT)

    def deploy(self, replicas: int, version: str) -> None:
        image = self._images[version]
        if self._there:
            flags = ("--detach", "--no-resolve-image", "--image", image)
            self._docker.run("service", "update", *flags, "web")
            return
        pace = ("--update-parallelism", str(AT_ONCE), "--update-order", "start-first")
        self._create("web", "--replicas", str(replicas), *pace, image)
        self._there = True

    @property
    def groups(self) -> Sequence[str]:
        return (self._docker.cgroup,)

    def _create(self, name: str, *rest: str) -> None:
        flags = ("--detach", "--no-resolve-image", "--network", "bench", "--endpoint-mode", "dnsrr")
        self._docker.run("service", "create", *flags, "--name", name, *rest)

    def remove(self) -> None:
        self._docker.run("service", "rm", "web")
        self._there = False

    def containers(self) -> int:
        return self._docker.containers()

    def gone(self) -> bool:
        mine = ("--filter", "label=com.docker.swarm.service.name=web")
        return self.containers() == self.idle and not self._docker.run("ps", "-aq", *mine)

    def memory(self) -> Mapping[str, tuple[int, float]]:
        found: dict[str, tuple[int, float]] = {}
        for pid in self._docker.daemons():
            with contextlib.suppress(OSError):
                add(found, Path(f"/proc/{pid}/comm").read_text().strip(), pid)
        return found


def add(found: dict[str, tuple[int, float]], kind: str, pid: int) -> None:
    """Count a process in, unless it has just ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        size = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
        count, whole = found.get(kind, (0, 0.0))
        found[kind] = (count + 1, whole + size)


def pid_in(path: Path) -> int:
    """The pid in a pid file; 0 when there is none."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


@contextlib.contextmanager
def stackd(folder: Path) -> Iterator[Stackd]:
    """A cluster with its client, removed at the end."""
    side = Stackd(folder)
    side.stop()
    try:
        side.start()
        yield side
    finally:
        side.stop()


@contextlib.contextmanager
def swarm(folder: Path) -> Iterator[Swarm]:
    """A swarm with its client, removed at the end."""
    with docker.running(folder) as daemon:
        side = Swarm(daemon, folder)
        side.start()
        yield side
