"""Which certificate requests are refused."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from stackd.errors import Refused
from stackd.pki.request import MAX_BYTES, key_of, load_key, new_key, new_request


def request_with(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def with_a_broken_signature(request: bytes) -> bytes:
    body = b"".join(request.splitlines()[1:-1])
    der = bytearray(base64.b64decode(body))
    der[-1] ^= 1
    lines = base64.encodebytes(bytes(der))
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + lines + b"-----END CERTIFICATE REQUEST-----\n"


def test_a_request_proves_its_own_key() -> None:
    key = new_key()
    assert key_of(new_request(key)) == load_key(key).public_key()


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        new_key(),
        b"x" * (MAX_BYTES + 1),
        new_request(new_key()) + b"\n" * MAX_BYTES,
        with_a_broken_signature(new_request(new_key())),
        request_with(rsa.generate_private_key(65537, 2048)),
        request_with(ec.generate_private_key(ec.SECP384R1())),
        request_with(ec.generate_private_key(ec.SECP521R1())),
        request_with(ec.generate_private_key(ec.SECP256K1())),
        request_with(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=[
        "empty",
        "no request",
        "a key",
        "large",
        "padded",
        "signature",
        "rsa",
        "p384",
        "p521",
        "k256",
        "ed25519",
    ],
)
def test_other_requests_are_refused(request_: bytes) -> None:
    with pytest.raises(Refused):
        key_of(request_)


@pytest.mark.parametrize("pem", [b"", b"junk", new_request(new_key())])
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(Refused):
        load_key(pem)
