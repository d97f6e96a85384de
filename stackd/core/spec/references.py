"""What must hold between the parts of one stack: names that are declared, ports, dependencies.

Called by `loading` when all services are assembled.
"""

from dataclasses import dataclass

from stackd.core.model.stack import AppProtocol, Port, ServiceSpec, StackSpec
from stackd.core.spec import grouping, routes
from stackd.core.spec.nodes import MapNode, Node, Path, find, key_place_of, place_of
from stackd.core.spec.problems import Report, dotted
from stackd.core.spec.scalars import shown


@dataclass(frozen=True)
class _Claims:
    """Who publishes one port: services, and of http ones which host and path is whose."""

    services: dict[str, AppProtocol]
    routes: dict[tuple[str, str], str]


@dataclass(frozen=True)
class Checker:
    """Checks one assembled stack against the tree it was written in."""

    root: Node
    stack: StackSpec
    report: Report

    def run(self) -> None:
        """Report everything that does not fit together."""
        for name, service in self.stack.services.items():
            self._declared(name, service)
            self._route(name, service)
            self._certificate(name, service)
        self._ports()
        self._previews()
        self._cycles()
        for name, text in grouping.faults(self.stack.services):
            self._error(("services", name, "deploy", "strategy", "group"), text)

    def _error(self, path: Path, text: str) -> None:
        self.report.error(place_of(self.root, path), text, dotted(path))

    def _declared(self, name: str, service: ServiceSpec) -> None:
        path: Path = ("services", name)
        container = service.container
        for key, used, known in (
            ("networks", [a.network for a in container.networks], self.stack.networks),
            ("configs", [grant.name for grant in container.configs], self.stack.configs),
            ("secrets", [grant.name for grant in container.secrets], self.stack.secrets),
        ):
            for number, wanted in enumerate(used):
                if wanted not in known:
                    text = f"{wanted} is not declared: add it under `{key}:`"
                    self._item_error((*path, key), wanted, number, text)
        written = find(self.root, ("services",))
        services = written.entries if isinstance(written, MapNode) else {}
        for number, wanted in enumerate(service.depends_on):
            if wanted not in services:
                text = f"there is no service {shown(wanted)} to depend on"
                self._item_error((*path, "depends_on"), wanted, number, text)

    def _item_error(self, path: Path, key: str, number: int, text: str) -> None:
        """An error at an item that stands in a mapping or in a list."""
        place = key_place_of(self.root, (*path, key))
        if place == place_of(self.root, path):
            place = place_of(self.root, (*path, number))
        self.report.error(place, text, dotted(path))

    def _certificate(self, name: str, service: ServiceSpec) -> None:
        """The secret is declared, and a port that redirects has one beside it to lead to."""
        route = service.route
        if route is None or not route.tls:
            return
        path: Path = ("services", name, "route", "tls")
        if route.tls not in self.stack.secrets:
            text = f"{route.tls} is not declared: add it under `secrets:`"
            self._error((*path, "secret"), text)
        if find(self.root, (*path, "redirect_from")) is None:
            return
        http = {p.published for p in service.ports if p.protocol is not AppProtocol.TCP}
        if route.redirect_from not in http or len(http) < 2:
            text = "it must be one of the service's http ports, with another beside it"
            self._error((*path, "redirect_from"), text)

    def _route(self, name: str, service: ServiceSpec) -> None:
        if service.route is None or any(p.protocol is AppProtocol.HTTP for p in service.ports):
            return
        path: Path = ("services", name)
        place = key_place_of(self.root, (*path, "route"))
        if not service.ports:
            text = "a route needs a published http port: add `ports:` with `app_protocol: http`"
        else:
            item = place_of(self.root, (*path, "ports", 0))
            port = service.ports[0].target
            text = f"port {port} is tcp: add `app_protocol: http` to it in line {item.line}"
        self.report.error(place, text, dotted((*path, "route")))

    def _ports(self) -> None:
        claims: dict[int, _Claims] = {}
        for name, service in self.stack.services.items():
            for port in service.ports:
                if port.published:
                    claimed = claims.setdefault(port.published, _Claims({}, {}))
                    self._claim(name, port, claimed)

    def _claim(self, name: str, port: Port, claims: _Claims) -> None:
        path: Path = ("services", name, "ports")
        if name in claims.services:
            self._error(path, f"port {port.published} is published twice")
            return
        other = next(iter(claims.services), None)
        text = f"port {port.published} is published by"
        if other and AppProtocol.TCP in (port.protocol, claims.services[other]):
            self._error(path, f"{text} {other} too: only http ports can be shared")
        for key in routes.keys(self.stack.services[name].route):
            held = claims.routes.setdefault(key, name)
            if held != name and AppProtocol.TCP not in (port.protocol, claims.services[held]):
                why = "too for the same hosts and path: give each a `route`"
                self._error(path, f"{text} {held} {why}")
                break
        claims.services[name] = port.protocol

    def _previews(self) -> None:
        """A preview is reached at a port or host that nothing else has."""
        ports = {p.published: name for name, s in self.stack.services.items() for p in s.ports}
        hosts = {h: name for name, s in self.stack.services.items() for h in _hosts(s)}
        for name, service in self.stack.services.items():
            preview = service.strategy.preview
            if preview is None:
                continue
            port, host = preview.published, preview.host
            path: Path = ("services", name, "deploy", "strategy", "preview")
            if port and port in ports:
                self._error(
                    path, f"port {port} is published by {ports[port]}: preview needs its own"
                )
            if host and host in hosts:
                self._error(path, f"host {host} is {hosts[host]}'s: preview needs its own")
            ports.setdefault(port, name)
            hosts.setdefault(host, name)

    def _cycles(self) -> None:
        """Report each service that can be reached from itself, once per cycle."""
        done: set[str] = set()
        for start in self.stack.services:
            trail: list[str] = []
            self._walk(start, trail, done)

    def _walk(self, name: str, trail: list[str], done: set[str]) -> None:
        # Iterative: a stack may chain thousands of services.
        stack = [(name, iter(self._needs(name)))]
        trail.append(name)
        while stack:
            current, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(current)
                stack.pop()
                trail.pop()
            elif following in trail:
                cycle = [*trail[trail.index(following) :], following]
                shown_cycle = " -> ".join(cycle[:8] + (["…"] if len(cycle) > 8 else []))
                path = ("services", current, "depends_on")
                self._error(path, f"the services wait for each other: {shown_cycle}")
            elif following not in done:
                trail.append(following)
                stack.append((following, iter(self._needs(following))))

    def _needs(self, name: str) -> list[str]:
        known = self.stack.services
        return [other for other in known[name].depends_on if other in known]


def _hosts(service: ServiceSpec) -> tuple[str, ...]:
    return service.route.hosts if service.route is not None else ()
