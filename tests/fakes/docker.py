"""A Docker daemon of its own: own folders, socket, containerd and control groups.

Used by `make bench` and by the tests with Docker on the machine; `scripts/docker` installs it. The
daemon and all it starts live in a process and a mount namespace that end with it, and it ends with
who started it, however that happens. It has a network namespace of its own too, or is in one that
is given.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

DOCKER, DOCKERD = "/usr/bin/docker", "/usr/sbin/dockerd"
ADDRESS = "10.213.77.1"
"""The daemon's own address in its network namespace."""
_CGROUPS = Path("/sys/fs/cgroup")
_WITHIN = 60.0
_INSIDE = f"""
set -e
mount -t tmpfs tmpfs /run
if [ "$1" = own ]; then
  ip link set lo up
  ip link add uplink type bridge
  ip address add {ADDRESS}/24 dev uplink
  ip link set uplink up
fi
shift
exec "$@"
"""


class PrivateDocker:
    """Made by `running`."""

    def __init__(self, folder: Path, network: Path | None = None) -> None:
        self.folder = folder
        self.network = network
        self.cgroup = f"docker-{folder.name}"
        """Its containers' control groups are below this one, in every hierarchy."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "dockerd.log"

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run `docker …`; what it prints."""
        done = subprocess.run(
            [DOCKER, "-H", f"unix://{self.folder}/docker.sock", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={"PATH": os.environ["PATH"], "DOCKER_CONFIG": str(self.folder / "cli")},
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def load(self, archive: Path, image: str, versions: Sequence[str]) -> dict[str, str]:
        """Load these versions of an image from an OCI archive; version -> image id."""
        found = {}
        for version in versions:
            plain = self.folder / "image.tar"
            name = f"{image}:{version}"
            source, target = f"oci-archive:{archive}:{name}", f"docker-archive:{plain}:{name}"
            copy = ("skopeo", "--insecure-policy", "copy", "-q", source, target)
            subprocess.run(copy, check=True)
            self.run("load", "-q", "-i", str(plain))
            plain.unlink()
            found[version] = self.run("image", "inspect", "-f", "{{.Id}}", name)
        return found

    def containers(self) -> int:
        """How many have a control group, counted in the kernel."""
        return _groups(_CGROUPS / "pids" / self.cgroup)

    def daemons(self) -> list[int]:
        """Pids of dockerd, containerd and the shims: everything it runs but the containers."""
        assert self._process is not None
        inside = {line for line in _pids(_CGROUPS / "pids" / self.cgroup)}
        return [pid for pid in _descendants(self._process.pid) if pid not in inside]

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "docker.pid").unlink(missing_ok=True)  # these are of one that was ended
        shutil.rmtree(self.folder / "exec", ignore_errors=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(self._argv(), stdout=log, stderr=log)
        end = time.monotonic() + _WITHIN
        while not self.run("version", "-f", "{{.Server.Version}}", check=False):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"dockerd does not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _argv(self) -> list[str]:
        settings = {"deprecated-key-path": str(self.folder / "key.json")}
        (self.folder / "daemon.json").write_text(json.dumps(settings))
        place = "own" if self.network is None else "given"
        namespaces = ["--net"] if self.network is None else []
        enter = [] if self.network is None else ["nsenter", f"--net={self.network}"]
        return [
            *enter,
            *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"),
            *("--kill-child", "--mount-proc", *namespaces, "/bin/sh", "-c", _INSIDE, "sh", place),
            *(DOCKERD, "--config-file", str(self.folder / "daemon.json")),
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "docker.pid")),
            *("-H", f"unix://{self.folder}/docker.sock", "--group", "root"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{self.cgroup}"),
        ]

    def stop(self) -> None:
        """End it and remove every trace but for rules and links in a network that was given."""
        self.end()
        self.remove()

    def end(self) -> None:
        """End it at once; `start` finds everything again."""
        process, self._process = self._process, None
        if process is not None:
            first = _children(process.pid)  # the first of its process namespace
            for pid in first:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not first:
                process.kill()
            process.wait()

    def remove(self) -> None:
        """Remove what an earlier one has left in this folder, in the kernel and on disk."""
        for hierarchy in _CGROUPS.iterdir() if _CGROUPS.is_dir() else ():
            _remove_groups(hierarchy / self.cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(folder: Path, network: Path | None = None) -> Iterator[PrivateDocker]:
    """A daemon that keeps everything in `folder`, which is removed with it, in the network
    namespace `network`. It must not be below
    /run, which the daemon sees empty, nor longer than a socket's path may be. Its name is that of
    the daemon's control group."""
    docker = PrivateDocker(folder, network)
    docker.remove()
    try:
        docker.start()
        yield docker
    finally:
        docker.stop()


def _groups(folder: Path) -> int:
    try:
        return sum(entry.is_dir() for entry in os.scandir(folder))
    except FileNotFoundError:
        return 0


def _pids(folder: Path) -> set[int]:
    found = set()
    for where, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            found |= {int(line) for line in Path(where, "cgroup.procs").read_text().split()}
    return found


def _remove_groups(folder: Path) -> None:
    for where, _, _ in os.walk(folder, topdown=False):
        for _ in range(50):
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.rmdir(where)
                except OSError:
                    time.sleep(0.02)
                    continue
            break


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _descendants(pid: int) -> Iterator[int]:
    """Of all its threads, itself included."""
    yield pid
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield from _descendants(int(child))
