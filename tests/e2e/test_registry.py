"""Images from a registry on loopback: login, tags, and a registry that is away."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.cluster import IMAGE, Cluster, Ran, until
from tests.fakes.gitrepo import Repo
from tests.host.registry import Registry, serve

pytestmark = pytest.mark.e2e

LOGIN = ("ann", "s3cret-canary")
NAME = "from-registry"


class Away:
    """A registry that a test can stop."""

    def __init__(self, registry: Registry, stack: ExitStack) -> None:
        self.host = registry.host
        self._stack = stack

    def push(self, version: int, name: str) -> None:
        """Put a version of the demo image there under another name."""
        subprocess.run(
            (
                "skopeo", "copy", "--quiet", "--dest-tls-verify=false",
                f"--dest-creds={':'.join(LOGIN)}",
                f"oci-archive:{IMAGE}:stackd-demo:{version}", f"docker://{self.host}/{name}",
            ),
            check=True,
        )  # fmt: skip

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Away]:
    with ExitStack() as stack:
        yield Away(stack.enter_context(serve(tmp_path / "registry", LOGIN)), stack)


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[Cluster]:
    yield cluster
    cluster.run("rm", NAME)


def text(image: str, mark: str = "a", side: str = "a", more: str = "") -> str:
    return f"""
name: {NAME}
services:
  web:
    image: {image}
    environment: {{MARK: {mark}}}
    healthcheck: {{tcp: {{port: 8080}}, interval: 500ms}}
    deploy: {{update_config: {{monitor: 300ms}}}}
  side: {{image: "stackd-demo:1", environment: {{MARK: {side}}}, deploy: {{replicas: 0}}}}
{more}"""


def apply(cluster: Cluster, stack: str, *flags: str) -> Ran:
    return cluster.apply(stack, "--wait", "--timeout", "60s", *flags)


def login(cluster: Cluster, host: str, password: str) -> Ran:
    flags = ("-u", LOGIN[0], "--password-stdin", "--insecure")
    return cluster.run("registry", "login", host, *flags, stdin=f"{password}\n")


def environment(cluster: Cluster, slot: int = 1) -> list[str]:
    place = f"{NAME}/web.{slot}"
    return cluster.must("exec", place, "--", "cat", "/proc/1/environ").out.split("\0")


def test_tags_digests_and_a_registry_that_goes_away(shop: Cluster, registry: Away) -> None:
    image = f"{registry.host}/shop/web:latest"
    registry.push(1, "shop/web:latest")
    _refused_without_login(shop, registry.host, image)
    assert login(shop, registry.host, LOGIN[1]).code == 0
    [row] = shop.must("registry", "ls", "-o", "json").json
    assert (row["host"], row["username"]) == (registry.host, LOGIN[0])
    assert LOGIN[1] not in str(row)

    assert apply(shop, text(image)).code == 0
    assert "DEMO_VERSION=1" in environment(shop)
    [first] = shop.ps(f"{NAME}/web")

    registry.push(2, "shop/web:latest")  # the tag moves, and is not followed
    assert apply(shop, text(image, side="b")).code == 0
    assert [row["id"] for row in shop.ps(f"{NAME}/web")] == [first["id"]]
    assert apply(shop, text(image, mark="b", side="b")).code == 0
    assert "DEMO_VERSION=1" in environment(shop)
    assert apply(shop, text(image, mark="b", side="b"), "--pull").code == 0
    assert "DEMO_VERSION=2" in environment(shop)

    registry.push(3, "shop/web:latest")
    registry.stop()
    _without_registry(shop, registry.host, image)
    shop.must("registry", "logout", registry.host)
    assert shop.must("registry", "ls", "-o", "json").json == []


def _refused_without_login(shop: Cluster, host: str, image: str) -> None:
    ran = apply(shop, text(image))
    assert ran.code == 1
    assert host in ran.err
    wrong = login(shop, host, "wrong-password")
    assert wrong.code == 1
    assert host in wrong.err
    assert "wrong-password" not in wrong.err + wrong.out
    assert shop.must("registry", "ls", "-o", "json").json == []


def _without_registry(shop: Cluster, host: str, image: str) -> None:
    """What is recorded still deploys; what is new fails alone, in clear words."""
    shop.must("scale", f"{NAME}/web=2")
    until(lambda: [r["health"] for r in shop.ps(f"{NAME}/web")] == ["healthy"] * 2, "scaled")
    assert apply(shop, text(image, mark="c", side="b")).code == 0
    found = environment(shop, 2)
    assert {"DEMO_VERSION=2", "MARK=c"} <= set(found)
    tasks = {row["id"] for row in shop.ps(f"{NAME}/web")}

    new = f"  new: {{image: {host}/shop/new:1}}\n"
    ran = apply(shop, text(image, mark="c", side="c", more=new))
    assert ran.code == 1
    assert f"{NAME}/new" in ran.err
    assert host in ran.err
    services = {s["service"]: s for s in shop.status(NAME)["services"]}
    assert "new" not in services
    diff = shop.run("diff", "-f", "-", stdin=text(image, mark="c", side="c"))
    assert diff.code == 0  # the others went on
    assert {row["id"] for row in shop.ps(f"{NAME}/web")} == tasks

    ran = apply(shop, text(image, mark="c", side="c"), "--pull")
    assert ran.code == 1
    assert host in ran.err
    assert {row["id"] for row in shop.ps(f"{NAME}/web")} == tasks


def test_a_repository_follows_a_moved_tag_when_it_is_told_to(
    shop: Cluster, registry: Away, tmp_path: Path
) -> None:
    assert login(shop, registry.host, LOGIN[1]).code == 0
    registry.push(1, "shop/git:latest")
    tree = Repo(tmp_path / "repo")
    commit = tree.commit({"web.stack.yml": text(f"{registry.host}/shop/git:latest")})
    shop.must("repo", "add", str(tree.path), "--name", "pulling")
    try:
        wait = ("wait", NAME, "--timeout", "60s", "--commit", commit)
        assert shop.run(*wait).code == 0
        registry.push(2, "shop/git:latest")
        shop.must("repo", "sync", "pulling", "--wait")
        assert shop.status(NAME)["release"] == 1
        shop.must("repo", "sync", "pulling", "--wait", "--pull")
        assert shop.status(NAME)["release"] == 2
        assert shop.run(*wait).code == 0
        assert "DEMO_VERSION=2" in environment(shop)
    finally:
        shop.must("repo", "rm", "pulling")
        shop.run("registry", "logout", registry.host)
