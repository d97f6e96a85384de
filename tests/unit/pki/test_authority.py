"""What the authority signs, and that nothing but the key is taken from a request."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stackd.core.model.node import Role
from stackd.pki import authority
from stackd.pki.authority import Authority, ServerNames
from stackd.pki.member import Member, member_of
from stackd.pki.request import load_key, new_key, new_request

NOW = 1_700_000_000.0
DAY = 86_400.0
WORKER = Member("c1", Role.WORKER, "n1")
MANAGER = Member("c1", Role.MANAGER, "n2")


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority.create("c1", NOW)


def signed(ca: Authority, member: Member, names: ServerNames | None = None) -> x509.Certificate:
    chain = ca.sign(new_request(new_key()), member, NOW, names)
    leaf, issuer = x509.load_pem_x509_certificates(chain)
    assert issuer == x509.load_pem_x509_certificate(ca.certificate)
    return leaf


def at(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def test_the_authority_may_sign_members_and_nothing_else(ca: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(ca.certificate)
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc > datetime.timedelta(
        days=20 * 365
    )


def test_a_member_is_valid_for_ninety_days_and_since_a_week_ago(ca: Authority) -> None:
    leaf = signed(ca, WORKER)
    assert leaf.not_valid_before_utc == at(NOW - 7 * DAY)
    assert leaf.not_valid_after_utc == at(NOW + 90 * DAY)


def test_no_member_outlives_the_authority(ca: Authority) -> None:
    end = x509.load_pem_x509_certificate(ca.certificate).not_valid_after_utc
    chain = ca.sign(new_request(new_key()), WORKER, end.timestamp() - DAY)
    assert x509.load_pem_x509_certificate(chain).not_valid_after_utc == end


def test_a_worker_is_a_client_and_a_manager_also_a_server(ca: Authority) -> None:
    for member, purposes in (
        (WORKER, {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (MANAGER, {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}),
    ):
        usage = signed(ca, member).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert set(usage.value) == purposes


def test_a_chain_verifies_for_the_name_it_was_made_for(ca: Authority) -> None:
    leaf = signed(ca, MANAGER, ServerNames(("manager.test",), ("192.0.2.1",)))
    store = verification.Store([x509.load_pem_x509_certificate(ca.certificate)])
    builder = verification.PolicyBuilder().store(store).time(at(NOW))
    for name in (x509.DNSName("manager.test"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))):
        builder.build_server_verifier(name).verify(leaf, [])
    with pytest.raises(verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("other.test")).verify(leaf, [])
    builder.build_client_verifier().verify(signed(ca, WORKER), [])


def test_another_authority_of_the_same_name_does_not_verify(ca: Authority) -> None:
    other = authority.create("c1", NOW)
    store = verification.Store([x509.load_pem_x509_certificate(ca.certificate)])
    verifier = verification.PolicyBuilder().store(store).time(at(NOW)).build_client_verifier()
    with pytest.raises(verification.VerificationError):
        verifier.verify(signed(other, WORKER), [])


def test_what_a_request_asks_for_is_not_read(ca: Authority) -> None:
    key = new_key()
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "manager")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(MANAGER.uri), x509.DNSName("manager.test")]
            ),
            critical=False,
        )
        .sign(load_key(key), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    chain = ca.sign(greedy, WORKER, NOW)
    leaf = x509.load_pem_x509_certificate(chain)
    assert member_of(chain) == WORKER
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [WORKER.uri]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert [a.value for a in leaf.subject] == ["c1", "worker", "n1"]
    public = leaf.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public == load_key(key).public_key()


def test_two_certificates_of_one_member_differ_in_serial(ca: Authority) -> None:
    assert signed(ca, WORKER).serial_number != signed(ca, WORKER).serial_number


def test_the_key_is_not_shown(ca: Authority) -> None:
    assert "PRIVATE" not in repr(ca)


def test_the_fingerprint_is_of_the_certificate_in_der(ca: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(ca.certificate)
    assert ca.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
