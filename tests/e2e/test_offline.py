"""Going back when neither Git nor the registry answers: the last ten releases and their images are
in the cluster."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.cluster import IMAGE, Cluster
from tests.fakes.gitrepo import Repo
from tests.host.registry import Registry, serve

pytestmark = pytest.mark.e2e

STACK = """\
services:
  web:
    image: %s
    environment: {MARK: "%d"}
    healthcheck: {tcp: {port: 8080}, interval: 300ms, timeout: 1s, retries: 2}
    stop_grace_period: 5s
    deploy: {replicas: %d, update_config: {monitor: 200ms}}
"""
LOGIN = ("ann", "s3cret")
COMMITS = 12
OLDEST = COMMITS - 9
"""The oldest of ten releases."""


def push_image(registry: Registry, version: int) -> str:
    """Put a version of the demo image there; its name."""
    name = f"{registry.host}/shop/web:{version}"
    source = f"oci-archive:{IMAGE}:stackd-demo:{version}"
    flags = ("--quiet", "--dest-tls-verify=false", f"--dest-creds={':'.join(LOGIN)}")
    subprocess.run(("skopeo", "copy", *flags, source, f"docker://{name}"), check=True)
    return name


def deploy(cluster: Cluster, tree: Repo, text: str, seconds: int = 60) -> None:
    commit = tree.commit({"web.stack.yml": text})
    wait = ("wait", "web", "--commit", commit, "--timeout", f"{seconds}s")
    assert cluster.run(*wait).code == 0


def environment(cluster: Cluster) -> set[str]:
    return set(cluster.must("exec", "web/web.1", "--", "cat", "/proc/1/environ").out.split("\0"))


def test_the_oldest_of_ten_releases_runs_again(own_cluster: Cluster, tmp_path: Path) -> None:
    cluster, tree = own_cluster, Repo(tmp_path / "ops")
    with serve(tmp_path / "registry", LOGIN) as registry:
        flags = ("-u", LOGIN[0], "--password-stdin", "--insecure")
        cluster.must("registry", "login", registry.host, *flags, stdin=f"{LOGIN[1]}\n")
        old, new = push_image(registry, 1), push_image(registry, 2)
        for number in (1, 2, 3):  # nothing comes from elsewhere than the registry
            cluster.must("image", "rm", f"stackd-demo:{number}")
        tree.commit({"README": "x"})
        cluster.must("repo", "add", str(tree.path), "--name", "ops")
        for number in range(1, COMMITS + 1):
            runs = number in (OLDEST, COMMITS)
            image = old if number <= OLDEST else new
            deploy(cluster, tree, STACK % (image, number, 1 if runs else 0))
    assert {"DEMO_VERSION=2", f"MARK={COMMITS}"} <= environment(cluster)
    rows = cluster.must("history", "web", "-o", "json").json
    assert sorted(row["release"] for row in rows) == list(range(OLDEST, COMMITS + 1))
    tree.path.rename(tmp_path / "away")
    cluster.must("image", "load", "-i", str(IMAGE))
    for number in (1, 2, 3):  # what no kept release needs is swept away now
        cluster.must("image", "rm", f"stackd-demo:{number}")

    back = ("rollback", "web", "--to", str(OLDEST), "--wait", "--timeout", "60s")
    assert cluster.run(*back).code == 0
    assert {"DEMO_VERSION=1", f"MARK={OLDEST}"} <= environment(cluster)
    assert cluster.run("rollback", "web", "--to", str(OLDEST - 1)).code == 1

    (tmp_path / "away").rename(tree.path)  # Git is back, and takes nothing back with it
    cluster.must("repo", "sync", "ops", "--wait")
    found = cluster.status("web")
    assert (found["release"], found["phase"]) == (OLDEST, "healthy")
