"""TLS for both ends of the agents' port, and who the peer is.

TLS 1.3 only: gRPC offers no switch for the lowest version, so the list of TLS 1.2 cipher suites
is set (in `stackd/__init__`) to one that needs an RSA certificate. Every certificate of a cluster
is ECDSA, so a TLS 1.2 handshake finds no common cipher; TLS 1.3 has its own list.
"""

import asyncio
import contextlib
import hashlib
import socket
import ssl
from dataclasses import dataclass
from typing import Any

import grpc

from stackd.errors import Refused, Unavailable

MANAGER_NAME = "manager.stackd.internal"
"""The DNS name in every manager's certificate, whatever its address."""


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM of a certificate (with its chain), its key, and the authority to trust."""

    certificate: bytes
    key: bytes
    authority: bytes

    def __repr__(self) -> str:
        return "Identity()"


def server_credentials(identity: Identity, *, mutual: bool) -> grpc.ServerCredentials:
    """For a listening port; `mutual` demands a client certificate of the same authority."""
    return grpc.ssl_server_credentials(
        [(identity.key, identity.certificate)],
        root_certificates=identity.authority if mutual else None,
        require_client_auth=mutual,
    )


def channel_credentials(identity: Identity) -> grpc.ChannelCredentials:
    """For an agent that has its certificate."""
    return grpc.ssl_channel_credentials(
        root_certificates=identity.authority,
        private_key=identity.key,
        certificate_chain=identity.certificate,
    )


def peer_uri(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The single URI in the peer's certificate. Raises Refused when there is not exactly one."""
    names = context.auth_context().get("peer_uri") or ()
    found = [name.decode("utf-8", "replace") for name in names]
    if len(found) != 1:
        raise Refused("The certificate does not name exactly one member of the cluster.")
    return found[0]


async def fetch_authority(address: str, fingerprint: str) -> bytes:
    """PEM of the authority at the end of the server's chain, if its SHA-256 over DER is
    `fingerprint` (hex). Nothing is sent to the server but the handshake.

    Raises Refused when it is another one, Unavailable when the server does not answer.
    """
    return await asyncio.to_thread(_fetch_authority, address, fingerprint)


def _fetch_authority(address: str, fingerprint: str) -> bytes:
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    try:
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            wrapped = stack.enter_context(context.wrap_socket(plain, server_hostname=host))
            chain = _chain(wrapped)
    except (OSError, ValueError) as error:
        raise Unavailable(f"{address} does not answer: {error}.") from error
    for der in chain:
        if hashlib.sha256(der).hexdigest() == fingerprint:
            return ssl.DER_cert_to_PEM_cert(der).encode()
    raise Refused(
        f"The cluster at {address} is not the one that the token was made for.",
        "Check the address and ask for a new token.",
    )


def _chain(wrapped: ssl.SSLSocket) -> list[bytes]:
    """The chain as DER. Public from Python 3.13; before, only on the inner object."""
    public = getattr(wrapped, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    inner = getattr(wrapped, "_sslobj")  # noqa: B009
    return [ssl.PEM_cert_to_DER_cert(item.public_bytes()) for item in inner.get_unverified_chain()]
