"""HTTPS at the ingress: a certificate from a secret, renewed without touching anything."""

import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e.cluster import Cluster, free_port, until
from tests.fakes.certificates import certificate, serial

pytestmark = pytest.mark.e2e

TEXT = """
name: secure
services:
  web:
    image: stackd-demo:1
    ports:
      - {target: 8080, published: PLAIN, app_protocol: http}
      - {target: 8080, published: SAFE, app_protocol: http}
    route: {tls: {secret: cert, redirect_from: PLAIN}}
    healthcheck: {http: {path: /healthz, port: 8080}, interval: 1s}
    deploy: {strategy: {type: rolling, monitor: 500ms}}
secrets:
  cert: {file: cert.pem}
"""


def connected(port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection(("127.0.0.1", port), timeout=5)
    return context.wrap_socket(raw, server_hostname="shop.test")


def ask(link: socket.socket) -> bytes:
    """The head of the answer to one request."""
    link.sendall(b"GET /healthz HTTP/1.1\r\nhost: shop.test\r\n\r\n")
    return link.recv(65536)


def shown(port: int) -> int:
    with connected(port) as link:
        found = link.getpeercert(binary_form=True)
        assert found is not None
        return x509.load_der_x509_certificate(found).serial_number


def test_a_certificate_is_served_and_renewed(cluster: Cluster, tmp_path: Path) -> None:
    plain, safe = free_port(), free_port()
    file = tmp_path / "secure.stack.yml"
    file.write_text(TEXT.replace("PLAIN", str(plain)).replace("SAFE", str(safe)))
    first, second = certificate("shop.test"), certificate("shop.test")
    (tmp_path / "cert.pem").write_bytes(first)
    cluster.must("apply", "-f", str(file), "--wait")
    before = {row["id"] for row in cluster.ps("secure")}
    assert shown(safe) == serial(first)
    with connected(safe) as link:
        assert ask(link).startswith(b"HTTP/1.1 200")
        (tmp_path / "cert.pem").write_bytes(second)
        cluster.must("apply", "-f", str(file), "--wait")
        until(lambda: shown(safe) == serial(second), "the new certificate is shown")
        assert ask(link).startswith(b"HTTP/1.1 200")
    with socket.create_connection(("127.0.0.1", plain), timeout=5) as clear:
        answer = ask(clear)
    assert answer.startswith(b"HTTP/1.1 308")
    assert f"location: https://shop.test:{safe}/healthz".encode() in answer
    assert {row["id"] for row in cluster.ps("secure")} == before
    assert cluster.run("secret", "rm", "secure_cert").code == 1
    (tmp_path / "cert.pem").write_bytes(b"no certificate")
    cluster.must("apply", "-f", str(file))
    until(lambda: "no certificate with its key" in cluster.must("why", "secure/web").out, "why")
    assert shown(safe) == serial(second)
    assert cluster.run("rm", "secure", "--wait").code == 0
