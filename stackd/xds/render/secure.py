"""Ports that speak TLS: which, with whose certificate, and what plain HTTP is answered there.

Certificates reach Envoy by name (SDS), so that a new version of a secret changes no listener and
touches no connection. Called by `routes` and `table`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2

from stackd.core.model.stack import AppProtocol
from stackd.core.model.traffic import IngressPort, TrafficEntry
from stackd.core.traffic import effective
from stackd.xds.render.packing import packed, seconds
from stackd.xds.snapshot import Resource, resource

Contents = Callable[[str], bytes | None]
"""`secret/NAME/VERSION` -> its value, when it has come."""
HTTPS = 443
MISSING = 1.0
"""Seconds that an Envoy which starts waits for a certificate before it opens its ports: those of
others must not stay closed for one that does not come."""
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True)
class Chain:
    """A certificate of a port: for these host names, or for all that no other is for."""

    secret: str
    hosts: tuple[str, ...] = ()


def speaks_tls(entry: TrafficEntry, port: IngressPort) -> bool:
    """Whether connections to the port of the service are encrypted."""
    wanted = entry.route is not None and bool(entry.route.tls)
    http = port.protocol is not AppProtocol.TCP
    return wanted and http and redirect(entry, port) is None


def redirect(entry: TrafficEntry, port: IngressPort) -> Any | None:
    """What a plain port of an encrypted service answers; None when it is not one."""
    route = entry.route
    http = [p for p in entry.ports if p.protocol is not AppProtocol.TCP]
    others = [p for p in http if p.published != port.published]
    if route is None or not route.tls or port.published != route.redirect_from or not others:
        return None
    to = others[0].published
    answer: dict[str, Any] = {"https_redirect": True, "response_code": "PERMANENT_REDIRECT"}
    return {**answer, "port_redirect": to} if to != HTTPS else answer


def name(entry: TrafficEntry) -> str:
    """What Envoy calls the service's certificate: the same for all its versions."""
    return entry.tls.rpartition("/")[0]


def chains(entries: Iterable[TrafficEntry]) -> tuple[Chain, ...]:
    """The certificates of a port that these services share. A host has one: of the service that
    comes first."""
    hosts: dict[str, str] = {}
    ordered = sorted(entries, key=lambda e: e.key)
    for entry in ordered:
        assert entry.route is not None, "it has a certificate"
        for host in sorted({h.lower() for h in entry.route.hosts}) or [""]:
            hosts.setdefault(host, name(entry))
    found = []
    for secret in sorted(set(hosts.values())):
        mine = tuple(sorted(h for h, whose in hosts.items() if whose == secret))
        if "" in mine:
            found.append(Chain(secret))
        if named := tuple(h for h in mine if h):
            found.append(Chain(secret, named))
    return (*found, *_previews(ordered, hosts))


def _previews(entries: Iterable[TrafficEntry], hosts: Mapping[str, str]) -> Iterator[Chain]:
    """Of previews that have a host of their own. Each is a chain of its own, so that Envoy keeps
    the connections of all others when it comes and goes."""
    taken = set(hosts)
    for entry in entries:
        preview = effective.steering(entry).preview
        host = preview.host.lower() if preview is not None else ""
        mine = entry.route.hosts if entry.route is not None else ()
        covered = not mine or any(host.endswith(h[1:].lower()) for h in mine if h[:2] == "*.")
        if host and not covered and host not in taken:
            taken.add(host)
            yield Chain(name(entry), (host,))


def socket(chain: Chain) -> dict[str, Any]:
    """The transport socket of a filter chain."""
    sds = {
        "name": chain.secret,
        "sds_config": {
            "resource_api_version": "V3",
            "ads": {},
            "initial_fetch_timeout": seconds(MISSING),
        },
    }
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context={
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [sds],
            "alpn_protocols": ["h2", "http/1.1"],
        }
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": packed(context)}


def secret(entry: TrafficEntry, contents: Contents) -> tuple[Resource | None, str]:
    """The service's certificate and key, and '' or why there is none."""
    _, _, label = name(entry).partition("/")
    if not entry.tls:
        route = entry.route
        wanted = route.tls if route is not None else ""
        return None, f"There is no secret {wanted} for its certificate: make it, then deploy again."
    value = contents(entry.tls)
    if value is None:
        return None, f"The certificate in secret {label} has not come to this node yet."
    blocks = [(m[1], m[0]) for m in _BLOCK.finditer(value)]
    chain = b"".join(pem for kind, pem in blocks if kind == b"CERTIFICATE")
    keys = [pem for kind, pem in blocks if kind.endswith(b"PRIVATE KEY")]
    if not chain or len(keys) != 1 or not _fit(chain, keys[0]):
        return None, (
            f"Secret {label} is no certificate with its key: put the certificate, those that "
            "lead to its authority, and the unencrypted private key into it, as PEM."
        )
    message = secret_pb2.Secret(
        name=name(entry),
        tls_certificate={
            "certificate_chain": {"inline_bytes": chain},
            "private_key": {"inline_bytes": keys[0]},
        },
    )
    return resource(name(entry), message), ""


def _fit(chain: bytes, key: bytes) -> bool:
    """The first certificate is for this key."""
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0].public_key()
        private = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_bytes(*form) == private.public_bytes(*form)
