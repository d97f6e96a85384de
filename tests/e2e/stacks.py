"""Stack texts and ways to ask that several end-to-end tests share."""

import asyncio
from dataclasses import dataclass
from typing import Any

from examples.demo.load import Target, fetch
from tests.e2e.cluster import Cluster, until


@dataclass(frozen=True, slots=True)
class Web:
    """A stack of one HTTP service `web` of the demo image."""

    name: str
    port: int
    version: int = 1
    replicas: int = 2
    service: str = ""
    """More lines of the service, indented by four."""
    update: str = ""
    """More keys of update_config, each with a comma before it."""
    deploy: str = ""

    @property
    def text(self) -> str:
        return f"""
name: {self.name}
services:
  web:
    image: stackd-demo:{self.version}
    ports: [{{target: 8080, published: {self.port}, app_protocol: http}}]
    healthcheck: {{http: {{path: /healthz, port: 8080}}, interval: 1s}}
    deploy:
      replicas: {self.replicas}
      update_config: {{monitor: 500ms{self.update}}}
{self.deploy}{self.service}"""


def get(port: int, path: str = "/") -> tuple[int, bytes]:
    """One GET through the ingress."""
    status, _, body = asyncio.run(fetch(Target("127.0.0.1", port), path))
    return status, body


def ready(cluster: Cluster, name: str, count: int) -> list[dict[str, Any]]:
    """Rows of `ps` once exactly `count` tasks are there and all are healthy."""

    def check() -> list[dict[str, Any]]:
        rows = cluster.ps(name)
        good = [r for r in rows if r["state"] == "running" and r["health"] in ("healthy", "none")]
        return rows if len(rows) == len(good) == count else []

    return until(check, f"{name} has {count} healthy tasks")
