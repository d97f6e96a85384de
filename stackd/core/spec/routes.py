"""`route` of a service: which requests on a shared HTTP port are its own."""

from typing import Annotated, ClassVar

from stackd.core.model.stack import Route
from stackd.core.spec.fields import Duration, Section, choice, matching, whole

_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
HOST = rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*"
PREFIX = r"/[A-Za-z0-9._~!&'()*+,;=:@%/-]*"

Host = Annotated[str, matching(HOST, "a host name: write it like shop.example or *.shop.example")]


class TlsSection(Section):
    """`tls`: the certificate, and which port sends plain requests to the one that speaks TLS."""

    secret: str
    redirect_from: Annotated[int, whole(1, 65535)] | None = None


class RouteSection(Section):
    """`route`."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"match", "mirror"})

    hosts: list[Host] | None = None
    path_prefix: Annotated[str, matching(PREFIX, "a path prefix: it starts with /")] | None = None
    timeout: Duration | None = None
    upstream_idle_timeout: Duration | None = None
    retries: Annotated[int, whole(0, 10)] | None = None
    retry_on: Annotated[str, choice("safe", "idempotent", "none")] | None = None
    tls: TlsSection | None = None


def build(section: RouteSection) -> Route:
    """The route with its defaults."""
    base = Route()
    idle = section.upstream_idle_timeout
    return Route(
        hosts=tuple(dict.fromkeys(host.lower() for host in section.hosts or ())),
        path_prefix=section.path_prefix or base.path_prefix,
        timeout=section.timeout or 0,
        upstream_idle_timeout=base.upstream_idle_timeout if idle is None else idle,
        retries=base.retries if section.retries is None else section.retries,
        retry_on=section.retry_on or base.retry_on,
        tls=section.tls.secret if section.tls is not None else "",
        redirect_from=(section.tls and section.tls.redirect_from) or base.redirect_from,
    )


def keys(route: Route | None) -> tuple[tuple[str, str], ...]:
    """What a route takes of a shared port, as pairs of host and path prefix; no host = the rest.

    Two routes that have a pair in common take the same requests.
    """
    route = route or Route()
    return tuple((host, route.path_prefix) for host in route.hosts or ("",))
