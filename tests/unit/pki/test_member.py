"""Exactly one member in a certificate, or it is refused."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from stackd.core.model.node import Role
from stackd.errors import Refused
from stackd.pki.member import Member, member_of, parse_uri
from stackd.pki.request import load_key, new_key

GOOD = "stackd://c1/worker/n1"


def certificate(*names: x509.GeneralName) -> bytes:
    key = load_key(new_key())
    now = datetime.datetime.fromtimestamp(1_700_000_000, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_uri_is_read_back() -> None:
    for role in Role:
        member = Member("c1", role, "n1")
        assert parse_uri(member.uri) == member


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://c1/worker/n1",
        "stackd://c1/worker",
        "stackd://c1/worker/n1/x",
        "stackd://c1/root/n1",
        "stackd://c1/worker/n1\n",
        "stackd://c1/Worker/n1",
        "stackd://c1//n1",
        "stackd://c1/worker/../n1",
        "stackd://c1/worker/n1?role=manager",
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(Refused):
        parse_uri(uri)


def test_one_uri_beside_other_names_is_read() -> None:
    pem = certificate(x509.UniformResourceIdentifier(GOOD), x509.DNSName("n1.test"))
    assert member_of(pem) == Member("c1", Role.WORKER, "n1")


@pytest.mark.parametrize(
    "names",
    [
        (),
        (x509.DNSName("n1.test"),),
        (x509.UniformResourceIdentifier(GOOD), x509.UniformResourceIdentifier(GOOD)),
        (
            x509.UniformResourceIdentifier("stackd://c1/manager/n1"),
            x509.UniformResourceIdentifier(GOOD),
        ),
        (x509.UniformResourceIdentifier("https://other.example/n1"),),
    ],
    ids=["no names", "no uri", "same twice", "two", "foreign"],
)
def test_no_or_several_or_foreign_uris_are_refused(names: tuple[x509.GeneralName, ...]) -> None:
    with pytest.raises(Refused):
        member_of(certificate(*names))


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(Refused):
        member_of(b"junk")
