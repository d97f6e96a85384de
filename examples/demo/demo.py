"""`make demo`: the main job of stackd where one can see it, on this machine, in a minute or two.

Starts an embedded cluster of three nodes in a folder of its own, follows a new Git repository,
deploys a stack by committing it, rolls out the next version under load and counts what is lost,
kills a node and a container, and cleans up. Every step is a command that one could type; they are
shown as `$ …`.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from examples.demo.load import Load, Target, fetch  # noqa: E402

PLACE = ROOT / ".cache" / "demo"
DATA = PLACE / "data"
REPOSITORY = PLACE / "stacks"
STACKD = [sys.executable, "-m", "stackd", "--data", str(DATA)]
PORT = 18080
RATE = 100
NODE = "node2"
TARGET = Target("127.0.0.1", PORT, slow_seconds=0.5)
STACK = """\
name: shop
services:
  web:
    image: stackd-demo:{version}
    ports: [{{target: 8080, published: {port}, app_protocol: http}}]
    healthcheck: {{http: {{path: /healthz, port: 8080}}, interval: 1s}}
    deploy:
      replicas: 3
      update_config: {{parallelism: 1, monitor: 500ms}}
"""


COMMAND = " ".join(STACKD)
TO_TRY = (
    f"{COMMAND} status --watch                # then, in another terminal:",
    f"{COMMAND} scale shop/web=6",
    f"{COMMAND} rehearse cut node3            # heal brings it back",
    f"edit {REPOSITORY}/shop.stack.yml, git commit -a, and look at: {COMMAND} why shop",
    f"{COMMAND} rollback shop --wait",
    f"and when you have seen enough: {COMMAND} down --purge",
)


def say(text: str) -> None:
    """A headline."""
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def stackd(*arguments: str, quiet: bool = False) -> str:
    """Run a stackd command, show it and what it prints; stop the demo if it fails."""
    if not quiet:
        print(f"$ stackd {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [*STACKD, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if not quiet:
        print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        raise SystemExit(f"stackd {arguments[0]} ended with {done.returncode}")
    return done.stdout


def git(*arguments: str) -> str:
    """Run git in the demo's repository."""
    identity = ["-c", "user.name=demo", "-c", "user.email=demo@example"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(text: str, message: str) -> str:
    """Commit the stack; returns the commit."""
    (REPOSITORY / "shop.stack.yml").write_text(text)
    git("add", "-A")
    git("commit", "-q", "-m", message)
    print(f"$ git commit -m '{message}'")
    return git("rev-parse", "HEAD")


def version(number: int) -> str:
    """Commit the stack with that version of its image; returns the commit."""
    return commit(STACK.format(version=number, port=PORT), f"shop at version {number}")


async def roll_under_load() -> None:
    """Commit version 2 and watch it while a client counts."""
    async with Load(TARGET, RATE).running() as tally:
        await asyncio.sleep(0.3)
        revision = version(2)
        waiting = await asyncio.create_subprocess_exec(  # noqa: TID251
            *STACKD, "wait", "shop", "--commit", revision, "--timeout", "120s", cwd=ROOT
        )
        while waiting.returncode is None:
            rows = json.loads(await asyncio.to_thread(stackd, "ps", "-o", "json", quiet=True))
            states = "  ".join(
                f"{row['slot']}:{row['image'].rpartition(':')[2]} {row['state']}" for row in rows
            )
            print(f"   {tally}   [{states}]", flush=True)
            await asyncio.sleep(0.7)
        if await waiting.wait() != 0:
            raise SystemExit("the rollout did not succeed")
    print(f"\n   {tally}")
    for line in tally.lost[:5]:
        print(f"   lost: {line}")


def tasks() -> list[dict[str, str]]:
    """Rows of `ps`."""
    found: list[dict[str, str]] = json.loads(stackd("ps", "shop/web", "-o", "json", quiet=True))
    return found


async def lose_a_node() -> None:
    """Kill a whole node under load. A node counts as lost when three of its signs of life, one
    every 5 s, are missing. What it carries when it dies is lost with it."""
    async with Load(TARGET, RATE).running() as tally:
        await asyncio.to_thread(stackd, "rehearse", "kill", NODE)
        await asyncio.to_thread(stackd, "ps", "shop/web", "--all")
        await asyncio.to_thread(stackd, "history", "shop")
        await asyncio.to_thread(stackd, "events", "shop", "--tail", "8")
        await asyncio.to_thread(until_moved)
        await asyncio.to_thread(stackd, "node", "ls")
        await asyncio.to_thread(stackd, "ps", "shop/web")
    print(f"\n   {tally}   (lost with the node)")


def until_moved() -> None:
    """Return when nothing of the service is on the lost node."""
    while any(row["node"] == NODE or row["state"] != "running" for row in tasks()):
        time.sleep(0.3)


def kill_one() -> None:
    """Kill a container's first process and show what takes its place."""
    before = {row["id"] for row in tasks()}
    victim = min(before)
    cluster = json.loads((DATA / "cluster.json").read_text())["id"]
    [pid_file] = Path("/run/stackd", cluster).glob(f"*/b/{victim}/pidfile")
    print(f"$ kill -9 {pid_file.read_text().strip()}    # task {victim}")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    for _ in range(200):
        fresh = [r for r in tasks() if r["id"] not in before and r["health"] == "healthy"]
        if fresh:
            break
        time.sleep(0.1)
    else:
        raise SystemExit("the killed task was not replaced")


def clean() -> None:
    """Remove the cluster and the repository of an earlier run."""
    if (DATA / "cluster.json").exists():
        stackd("down", "--purge")
    shutil.rmtree(PLACE, ignore_errors=True)


def play(keep: bool) -> None:
    """The whole story."""
    clean()
    REPOSITORY.mkdir(parents=True)
    say("A cluster on this machine")
    stackd("up", "--detach", "--nodes", "3")
    stackd("image", "load", "-i", str(ROOT / ".cache" / "demo-image.tar"))
    say("A stack from Git")
    git("init", "-q", "-b", "main")
    first = version(1)
    stackd("repo", "add", str(REPOSITORY), "--name", "demo", "--interval", "2s")
    stackd("wait", "shop", "--commit", first, "--timeout", "120s")
    stackd("status", "shop")
    status, _, body = asyncio.run(fetch(Target("127.0.0.1", PORT)))
    print(f"$ curl http://localhost:{PORT}/\n{status} {body.decode().strip()}")
    say("The next commit, under load")
    asyncio.run(roll_under_load())
    say("A container dies")
    kill_one()
    say("A node dies")
    asyncio.run(lose_a_node())
    if keep:
        stackd("rehearse", "start", NODE)
        say("Left running. Five things to try:")
        print("\n".join(f"   {line}" for line in TO_TRY))
        return
    say("Cleaning up")
    clean()


def main() -> None:
    """Parse and play; clean up also when something fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    keep = parser.parse_args().keep
    started = time.monotonic()
    try:
        play(keep)
    except BaseException:
        if not keep:
            clean()
        raise
    print(f"\nDone in {time.monotonic() - started:.0f}s.")


if __name__ == "__main__":
    main()
