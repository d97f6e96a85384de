"""`healthcheck` of a service: a command in the container, or http or tcp from the node."""

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from stackd.core.model.container import Check, HealthCheck
from stackd.core.spec.fields import (
    Flag,
    PortNumber,
    Section,
    Text,
    fault,
    matching,
    seconds,
    whole,
)

Interval = Annotated[float, seconds(0, 86400, "at most 24h")]


class HttpCheck(Section):
    """`http`: healthy when the answer is 2xx or 3xx."""

    path: Annotated[str, matching(r"/[!-~]*", "a path: it starts with /")] | None = None
    port: PortNumber


class TcpCheck(Section):
    """`tcp`: healthy when the port accepts a connection."""

    port: PortNumber


def _test(data: Any) -> Any:
    """A text is a shell command; a list starts with CMD, CMD-SHELL or NONE."""
    if isinstance(data, str):
        return ["CMD-SHELL", data]
    if not isinstance(data, list):
        return data
    word, size = (data[0], len(data)) if data else ("", 0)
    if word == "NONE" and size == 1:
        return data
    if (word == "CMD" and size > 1) or (word == "CMD-SHELL" and size == 2):
        return data
    raise fault("a test is a text, [CMD, program, …], [CMD-SHELL, text] or [NONE]")


class HealthCheckSection(Section):
    """`healthcheck`."""

    test: (
        Annotated[list[Text], BeforeValidator(_test, json_schema_input_type=Text | list[Text])]
        | None
    ) = None
    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    interval: Interval | None = None
    timeout: Interval | None = None
    retries: Annotated[int, whole(0, 1000)] | None = None
    start_period: Interval | None = None
    start_interval: Interval | None = None
    disable: Flag | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "HealthCheckSection":
        given = [kind for kind in ("test", "http", "tcp") if getattr(self, kind) is not None]
        if len(given) > 1:
            raise fault(f"{' and '.join(given)} are both given: a health check has one kind")
        if self.disable and (self.http or self.tcp):
            raise fault("disable stands beside a check: remove one of them")
        return self


def _probe(section: HealthCheckSection) -> dict[str, Any]:
    if section.http:
        return {"kind": Check.HTTP, "path": section.http.path or "/", "port": section.http.port}
    if section.tcp:
        return {"kind": Check.TCP, "port": section.tcp.port}
    match section.test:
        case None | ["NONE"]:
            return {}
        case ["CMD-SHELL", text]:
            return {"command": ("/bin/sh", "-c", text)}
        case [_, *command]:
            return {"command": tuple(command)}
        case _:
            raise AssertionError("a test has a first word")


def build(section: HealthCheckSection) -> HealthCheck:
    """The health check; times of 0 or not given inherit, as in Compose."""
    if section.disable or section.test == ["NONE"]:
        return HealthCheck(disabled=True)
    return HealthCheck(
        **_probe(section),
        interval=section.interval or None,
        timeout=section.timeout or None,
        retries=section.retries or None,
        start_period=section.start_period,
        start_interval=section.start_interval or None,
    )
