"""The pipelines of `examples/ci` deploy a canary, look at it, and promote or abort it: their own
steps, as shell, against a real cluster over HTTPS with a token of its own."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.e2e import pipelines
from tests.e2e.cluster import Cluster, free_port
from tests.e2e.pipelines import Outcome, Step
from tests.fakes.authority import FakeAuthority

pytestmark = pytest.mark.e2e
HOST = "manager.stackd.internal"


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster whose API is served over TLS, and where its application is to be."""

    cluster: Cluster
    folder: Path
    environment: dict[str, str]

    def deploy(self, steps: list[Step], version: str, fail_share: str = "0") -> Outcome:
        """What a push of this version comes to."""
        # The two variables that only a test sets have their defaults in the stack file.
        shop = (pipelines.CI / "shop.stack.yml").read_text()
        shop = shop.replace("${FAIL_SHARE:-0}", fail_share)
        shop = shop.replace("${PORT:-8120}", self.environment["APP_URL"].rpartition(":")[2])
        return pipelines.run(steps, self.folder, {**self.environment, "VERSION": version}, shop)

    def serving(self) -> tuple[str, str]:
        """The phase of shop/web and the image of its stable revision."""
        found = self.cluster.status("shop/web")
        stable = [r["image"] for r in found["revisions"] if r["role"] == "stable"]
        return found["phase"], stable[0]


@pytest.fixture
def site(served: Site) -> Iterator[Site]:
    """Nothing is deployed."""
    yield served
    served.cluster.run("rm", "shop", "--wait")


@pytest.fixture(scope="module")
def served(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tmp_path = tmp_path_factory.mktemp("ci")
    authority = FakeAuthority()
    identity = authority.manager()
    papers = {"ca": authority.pem, "cert": identity.certificate, "key": identity.key}
    for name, pem in papers.items():
        (tmp_path / f"{name}.pem").write_bytes(pem)
    port = free_port()
    tls = ("--http-cert", str(tmp_path / "cert.pem"), "--http-key", str(tmp_path / "key.pem"))
    cluster.must("up", "--detach", "--http-listen", f"127.0.0.1:{port}", *tls)
    words = (
        "token",
        "create",
        "--name",
        "ci",
        "--stack",
        "shop",
        "--scope",
        "deploy,promote,abort",
    )
    token = cluster.must(*words).out.strip()
    (tmp_path / "work").mkdir()
    (tmp_path / ".curlrc").write_text(f'resolve = "{HOST}:{port}:127.0.0.1"\n')
    environment = {
        "STACKD_URL": f"https://{HOST}:{port}",
        "STACKD_TOKEN": token,
        "APP_URL": f"http://127.0.0.1:{free_port()}",
        "WATCH": "3",
        "CURL_CA_BUNDLE": str(tmp_path / "ca.pem"),
        "HOME": str(tmp_path),
    }
    yield Site(cluster, tmp_path / "work", environment)
    cluster.must("token", "rm", "ci")
    cluster.must("up", "--detach", "--http-listen", "")


@pytest.mark.parametrize(
    "steps", [pipelines.github(), pipelines.gitlab()], ids=["github", "gitlab"]
)
def test_a_good_canary_is_promoted_and_a_bad_one_aborted(site: Site, steps: list[Step]) -> None:
    first = site.deploy(steps, "1")
    assert not first.failed, first.out
    assert site.serving() == ("healthy", "stackd-demo:1")
    good = site.deploy(steps, "2")
    assert not good.failed, good.out
    assert site.serving() == ("healthy", "stackd-demo:2")
    assert "shop/web is paused" in good.out
    bad = site.deploy(steps, "3", fail_share="0.5")
    assert bad.failed, bad.out
    assert "answers were errors" in bad.out
    assert bad.codes.get("abort", bad.codes.get("Abort")) == 0, bad.out
    site.cluster.run("wait", "shop/web")
    phase, image = site.serving()
    assert (phase, image) == ("aborted", "stackd-demo:2")
    held = site.cluster.status("shop/web")["hold"]
    assert any("aborted by token:ci" in reason for reason in held)
    events = site.cluster.must("events", "-o", "json").out.splitlines()
    by_token = {e["kind"] for line in events if (e := json.loads(line))["principal"] == "token:ci"}
    assert {"release.created", "rollout.promoted", "rollout.aborted"} <= by_token


def test_a_freeze_holds_the_pipeline_up_until_it_ends(site: Site) -> None:
    assert not site.deploy(pipelines.gitlab(), "1").failed
    site.cluster.must("freeze", "shop", "--reason", "the fair", "--until", "1h")
    frozen = site.deploy(pipelines.gitlab(), "2")
    assert "the rollout to" in frozen.out
    assert "frozen by root@local until" in frozen.out
    assert site.cluster.run("wait", "shop").code == 3
    assert "the fair" in site.cluster.must("why", "shop/web").out
    assert {r["image"] for r in site.cluster.ps("shop")} == {"stackd-demo:1"}
    assert site.cluster.run("retry", "shop/web").code == 1
    site.cluster.must("unfreeze", "shop")
    assert not site.deploy(pipelines.gitlab(), "2").failed
    assert site.serving() == ("healthy", "stackd-demo:2")


def test_a_token_of_another_stack_deploys_nothing(site: Site) -> None:
    words = ("token", "create", "--name", "other", "--stack", "other", "--scope", "deploy")
    token = site.cluster.must(*words).out.strip()
    other = replace(site, environment={**site.environment, "STACKD_TOKEN": token})
    done = other.deploy(pipelines.github(), "1")
    site.cluster.must("token", "rm", "other")
    assert done.codes["Declare the new version"] == 1, done.out
    assert "Token other is not for stack shop." in done.out
    assert token not in done.out
    assert site.cluster.run("status", "shop").code == 1


def test_the_workflow_needs_nothing_but_what_its_comments_name() -> None:
    assert pipelines.github_environment() == {
        "STACKD_URL": "vars.STACKD_URL",
        "STACKD_TOKEN": "secrets.STACKD_TOKEN",
        "APP_URL": "vars.APP_URL",
        "VERSION": "github.sha",
    }
