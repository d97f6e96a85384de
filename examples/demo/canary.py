"""`make demo-canary`: a bad canary is found and taken back by itself, then a good one is promoted,
on this machine, under load.

Version 2 fails 5 % of its requests. The analysis compares it with version 1 over the same time and
refuses it; version 3 does not fail and passes. Every step is a command that one could type.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from examples.demo import demo  # noqa: E402
from examples.demo.demo import TARGET, say, stackd  # noqa: E402
from examples.demo.load import Load, Mix, Tally  # noqa: E402

RATE = 200
MIX = Mix(new=20, post=0, slow=0)
STACK = """\
name: shop
services:
  web:
    image: stackd-demo:{version}
    environment: {{DEMO_FAIL_SHARE: "{share}"}}
    ports: [{{target: 8080, published: {port}, app_protocol: http}}]
    healthcheck: {{http: {{path: /healthz, port: 8080}}, interval: 1s}}
    deploy:
      replicas: 4
      strategy:
        type: canary
        scale_down_delay: 5s
        steps:
          - {{set_weight: 25%}}
          - {{analysis: {{compare: {{error_rate: {{max_ratio: 3}}}}, limits: {{error_rate: 2%}},
              warm_up: 2s, interval: 2s, min_requests: 400, time_limit: 3m}}}}
          - {{set_weight: 50%}}
          - {{pause: 3s}}
"""


def commit(version: int, share: float) -> str:
    """Commit the stack with an image that fails a share of its requests; returns the commit."""
    text = STACK.format(version=version, share=share, port=demo.PORT)
    return demo.commit(text, f"shop at version {version}")


async def release(version: int, share: float, expected: int) -> Tally:
    """Commit a version under load and watch it until `wait` ends with the expected code."""
    async with Load(TARGET, RATE, MIX).running() as tally:
        await asyncio.sleep(0.3)
        started = time.monotonic()
        revision = commit(version, share)
        waiting = await asyncio.create_subprocess_exec(  # noqa: TID251
            *demo.STACKD, "wait", "shop", "--commit", revision, "--timeout", "170s", cwd=ROOT
        )
        while waiting.returncode is None:
            found = json.loads(
                await asyncio.to_thread(stackd, "status", "shop/web", "-o", "json", quiet=True)
            )
            weights = {r["image"].rpartition(":")[2]: r["weight"] for r in found["revisions"]}
            print(f"   {tally}   weights {weights}: {found['reason']}", flush=True)
            await asyncio.sleep(1)
        code = await waiting.wait()
        print(f"\n   {tally}\n   stackd wait ended with {code} after {told(started)}")
        if code != expected:
            raise SystemExit(f"version {version}: {code}, expected {expected}")
    return tally


def told(since: float) -> str:
    """Seconds since then."""
    return f"{time.monotonic() - since:.0f} s"


def play() -> None:
    """The whole story."""
    demo.clean()
    demo.REPOSITORY.mkdir(parents=True)
    say("A cluster, and version 1 from Git")
    stackd("up", "--detach")
    stackd("image", "load", "-i", str(ROOT / ".cache" / "demo-image.tar"))
    demo.git("init", "-q", "-b", "main")
    first = commit(1, 0)
    stackd("repo", "add", str(demo.REPOSITORY), "--name", "demo", "--interval", "2s")
    stackd("wait", "shop", "--commit", first, "--timeout", "120s")
    say("Version 2 fails 5 % of its requests")
    asyncio.run(release(2, 0.05, 2))
    stackd("status", "shop/web")
    stackd("events", "shop", "--tail", "6")
    say("Version 3 does not")
    asyncio.run(release(3, 0, 0))
    stackd("status", "shop/web")
    say("Cleaning up")
    demo.clean()


def main() -> None:
    """Play; clean up also when something fails."""
    started = time.monotonic()
    try:
        play()
    except BaseException:
        demo.clean()
        raise
    print(f"\nDone in {told(started)}.")


if __name__ == "__main__":
    main()
