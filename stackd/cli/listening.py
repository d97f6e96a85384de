"""Where the JSON API is served besides loopback: the options of `up`, checked before anything is
started."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused
from stackd.web import http


@dataclass(frozen=True, slots=True)
class Wanted:
    """`--http-listen`, `--http-cert`, `--http-key`; None = as it was, '' = nowhere."""

    listen: str | None
    certificate: Path | None
    key: Path | None


def check(wanted: Wanted, known: ClusterFile | None) -> None:
    """Raises Refused when it cannot be served so. `known`: the cluster that is there."""
    if (wanted.certificate is None) != (wanted.key is None):
        raise Refused(
            "A certificate and its key belong together.",
            "Give both --http-cert FILE and --http-key FILE.",
        )
    if wanted.listen is None and wanted.certificate is not None:
        raise Refused("There is no address for the certificate.", "Give --http-listen ADDR.")
    before = known or ClusterFile(id="")
    found = kept(wanted, before)
    listener = http.listener(found)
    if listener is None or found == before:
        return
    if listener.certificate:
        http.tls(listener.certificate, listener.key)
    if found.http_listen != before.http_listen:
        _probe(listener)


def kept(wanted: Wanted, cluster: ClusterFile) -> ClusterFile:
    """The cluster with what is wanted."""
    if wanted.listen is None:
        return cluster
    certificate, key = (str(p.absolute()) if p else "" for p in (wanted.certificate, wanted.key))
    return msgspec.structs.replace(
        cluster, http_listen=wanted.listen, http_cert=certificate, http_key=key
    )


def _probe(listener: http.Listener) -> None:
    """Bind the address once."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    try:
        with contextlib.closing(
            socket.create_server((listener.host, listener.port), family=family)
        ):
            return
    except OSError as error:
        raise Refused(
            f"{listener.host}:{listener.port} cannot be listened on: {error.strerror}.",
            "Choose another address with --http-listen.",
        ) from error


def told(cluster: ClusterFile) -> list[str]:
    """Where it is, for people."""
    if not cluster.http_listen:
        return []
    scheme = "https" if cluster.http_cert else "http"
    return [f"JSON API: {scheme}://{cluster.http_listen}/openapi.json"]
