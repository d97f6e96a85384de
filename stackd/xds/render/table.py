"""The whole table as one snapshot. What did not change since the last call is not made again.

Called by `proxy` for each version of the table.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stackd.core.model.traffic import EndpointState, IngressPort, TrafficEntry
from stackd.core.traffic import effective
from stackd.xds.render import clusters, listeners, routes, secure, shadow
from stackd.xds.snapshot import Resource, Snapshot


@dataclass(frozen=True, eq=False)
class Part:
    """What one entry contributes."""

    entry: TrafficEntry
    clusters: Mapping[str, Resource]
    endpoints: Mapping[str, Resource]
    shares: Mapping[int, tuple[routes.Share, ...]]
    """Published HTTP port -> its shares."""
    ports: tuple[IngressPort, ...]
    """With that of the preview."""
    mirrored: tuple[Any, ...]
    """Its routes on the shadow listener."""

    @property
    def serving(self) -> bool:
        """Its requests are still to be carried, listening or not."""
        states = (e.state for e in self.entry.endpoints)
        return self.entry.listening or EndpointState.READY in states


@dataclass(frozen=True)
class Rendered:
    """A snapshot; `users`: published port -> services; `problems` as ProxyApplied."""

    snapshot: Snapshot
    users: Mapping[int, tuple[str, ...]]
    problems: Mapping[str, str]


@dataclass
class _Claim:
    """Who wants a published port, in the order of their keys."""

    parts: list[tuple[Part, IngressPort]] = field(default_factory=list)


class Renderer:
    """Keeps the parts of entries that stay the same."""

    def __init__(self, contents: secure.Contents = lambda key: None) -> None:
        """`contents`: the values of secrets that have come to this node."""
        self._contents = contents
        self._parts: dict[str, Part] = {}
        self._routes: dict[int, tuple[tuple[Part, ...], Resource]] = {}

    def ports(self, entries: Sequence[TrafficEntry]) -> set[int]:
        """The published ports that are to be open."""
        return {p.published for e in entries if e.listening for p in effective.ports(e)}

    def render(
        self, entries: Sequence[TrafficEntry], closed: Container[int], attempts: Mapping[int, int]
    ) -> Rendered:
        """`closed`: ports to leave out; `attempts`: how often a port's listener was refused."""
        self._parts = {e.key: self._part(e) for e in sorted(entries, key=lambda e: e.key)}
        wanted: dict[int, _Claim] = {}
        for part in self._parts.values():
            for port in part.ports:
                wanted.setdefault(port.published, _Claim()).parts.append((part, port))
        problems: dict[str, str] = {}
        secrets = self._secrets(problems)
        open_: dict[str, Resource] = {}
        routed: dict[str, Resource] = {}
        for published, claim in sorted(wanted.items()):
            if published in closed:
                continue
            listener = self._listener(published, claim, attempts.get(published, 0), problems)
            if listener is not None:
                open_[listener.name] = listener
            if (found := self._configuration(published, claim)) is not None:
                routed[found.name] = found
        mirrored = shadow.configuration(p.mirrored for p in self._parts.values())
        self._routes = {p: kept for p, kept in self._routes.items() if p in wanted}
        return Rendered(
            snapshot=Snapshot(
                clusters={n: r for p in self._parts.values() for n, r in p.clusters.items()},
                endpoints={n: r for p in self._parts.values() for n, r in p.endpoints.items()},
                secrets=secrets,
                listeners=open_,
                routes={**routed, mirrored.name: mirrored},
            ),
            users={p: tuple(part.entry.key for part, _ in w.parts) for p, w in wanted.items()},
            problems=problems,
        )

    def _part(self, entry: TrafficEntry) -> Part:
        have = self._parts.get(entry.key)
        if have is not None and (have.entry is entry or have.entry == entry):
            return have
        found, assigned = clusters.clusters(entry)
        shares = {
            p.published: routes.shares(entry, p) for p in entry.ports if routes.speaks_http(p)
        }
        preview = effective.preview_port(entry)
        if preview is not None:
            shares.setdefault(preview.published, routes.preview_shares(entry, preview))
        return Part(entry, found, assigned, shares, effective.ports(entry), shadow.routes(entry))

    def _secrets(self, problems: dict[str, str]) -> dict[str, Resource]:
        """The certificates by their names in Envoy. One that has not come yet, as after a restart
        of the agent, is left out: an Envoy that has it keeps it."""
        found = {}
        for part in self._parts.values():
            if part.entry.route is None or not part.entry.route.tls or not part.ports:
                continue
            made, why = secure.secret(part.entry, self._contents)
            if made is not None:
                found[made.name] = made
            else:
                problems[part.entry.key] = why
        return found

    def _listener(
        self, published: int, claim: _Claim, attempt: int, problems: dict[str, str]
    ) -> Resource | None:
        """The port's first listening user says what it carries; others must fit."""
        users = [(part, p) for part, p in claim.parts if part.entry.listening]
        if not users:
            return None
        owner, first = users[0]
        http = routes.speaks_http(first)
        for part, other in users[1:]:
            if not http or not routes.speaks_http(other):
                problems[part.entry.key] = (
                    f"Port {published} belongs to {owner.entry.key}: publish another port, or "
                    "make both ports http with different routes."
                )
        if not http:
            return listeners.tcp(published, clusters.tcp_name(owner.entry, first), attempt)
        shares = [s for part, p in users if routes.speaks_http(p) for s in part.shares[published]]
        for key, before in routes.clashes(shares).items():
            problems[key] = (
                f"Port {published} has the same host and path for {before}: give one of them "
                "another host or path_prefix."
            )
        return self._http(published, users, attempt, problems)

    def _http(
        self,
        published: int,
        users: Sequence[tuple[Part, IngressPort]],
        attempt: int,
        problems: dict[str, str],
    ) -> Resource | None:
        """None when there is no certificate for a port that must not be open without one."""
        secured = [part.entry for part, p in users if secure.speaks_tls(part.entry, p)]
        if not secured:
            return listeners.http(published, attempt)
        for part, port in users:
            if not secure.speaks_tls(part.entry, port):
                problems.setdefault(
                    part.entry.key,
                    f"Port {published} speaks TLS for {secured[0].key}: give "
                    f"{part.entry.key} a route with tls too, or another port.",
                )
        chains = secure.chains(entry for entry in secured if entry.tls)
        return listeners.http(published, attempt, chains) if chains else None

    def _configuration(self, published: int, claim: _Claim) -> Resource | None:
        """Routes of listening services; when none is, of those whose last connections still
        ask. None when nothing is to be routed."""
        parts = [part for part, p in claim.parts if routes.speaks_http(p)]
        listening = [part for part in parts if part.entry.listening]
        using = tuple(listening or (part for part in parts if part.serving))
        if not using:
            return None
        kept = self._routes.get(published)
        if (
            kept is None
            or len(kept[0]) != len(using)
            or any(a is not b for a, b in zip(kept[0], using, strict=True))
        ):
            made = routes.configuration(
                listeners.name(published), [s for part in using for s in part.shares[published]]
            )
            kept = self._routes[published] = (using, made)
        return kept[1]
