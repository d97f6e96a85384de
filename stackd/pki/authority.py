"""The cluster's certificate authority: made once, signs every member.

The manager opens it at start and signs with it on join and renewal. Its key never leaves the
manager's folder.
"""

import datetime
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stackd.aio.files import read_private, write_private
from stackd.core.model.node import Role
from stackd.errors import Refused
from stackd.pki.member import Member
from stackd.pki.request import key_of, load_key, new_key

AUTHORITY_LIFE = datetime.timedelta(days=20 * 365)
MEMBER_LIFE = datetime.timedelta(days=90)
BACKDATED = datetime.timedelta(days=7)
"""Certificates are valid from before they were made: clocks of machines differ, by so much at
most."""

_CERTIFICATE, _KEY = "ca.pem", "ca.key"


@dataclass(frozen=True, slots=True)
class ServerNames:
    """Under which names a member's server is reached: DNS names and IP addresses."""

    dns: Sequence[str] = ()
    addresses: Sequence[str] = ()


@dataclass(frozen=True)
class Authority:
    """Certificate (PEM) and key (PEM, secret) of a cluster's authority."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate's DER, 64 hex digits: what join tokens carry."""
        certificate = x509.load_pem_x509_certificate(self.certificate)
        return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def sign(
        self, request: bytes, member: Member, now: float, names: ServerNames | None = None
    ) -> bytes:
        """A certificate for `member` over the key of `request` (PEM), followed by the
        authority's: the chain that its server shows. `now` is Unix seconds.

        Raises Refused for a request that is not acceptable.
        """
        public = key_of(request)
        issuer = x509.load_pem_x509_certificate(self.certificate)
        start = _moment(now)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(member))
            .issuer_name(issuer.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - BACKDATED)
            .not_valid_after(min(start + MEMBER_LIFE, issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(_purposes(member.role), critical=False)
            .add_extension(_alternative_names(member, names or ServerNames()), critical=False)
            .add_extension(_key_id(issuer), critical=False)
        )
        certificate = builder.sign(load_key(self.key), hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM) + self.certificate


def create(cluster: str, now: float) -> Authority:
    """A new authority for a cluster, valid for 20 years from `now` (Unix seconds)."""
    pem = new_key()
    key = load_key(pem)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, f"stackd cluster {cluster}"),
        ]
    )
    start = _moment(now)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(start + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), pem)


def open_authority(folder: Path, cluster: str, now: float) -> Authority:
    """The authority kept in `folder`; made there the first time.

    Raises Refused when only half of it is there or others may read the key, Unavailable when the
    disk does not take it.
    """
    key = read_private(folder / _KEY)
    certificate = read_private(folder / _CERTIFICATE)
    if certificate is None:
        # Written last: without it nothing was ever signed, also when a key is there already.
        made = create(cluster, now)
        write_private(folder / _KEY, made.key)
        write_private(folder / _CERTIFICATE, made.certificate)
        return made
    if key is None:
        raise Refused(f"The authority in {folder} lacks its key.", "Restore it from a backup.")
    return _matching(Authority(certificate, key), folder)


def _matching(authority: Authority, folder: Path) -> Authority:
    certificate = x509.load_pem_x509_certificate(authority.certificate)
    if load_key(authority.key).public_key() != certificate.public_key():
        raise Refused(
            f"Key and certificate of the authority in {folder} do not belong together.",
            "Restore both from one backup.",
        )
    return authority


def _moment(now: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(now), datetime.UTC)


def _subject(member: Member) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, member.cluster),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(member.role)),
            x509.NameAttribute(NameOID.COMMON_NAME, member.node),
        ]
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _purposes(role: Role) -> x509.ExtendedKeyUsage:
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role is Role.MANAGER:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    return x509.ExtendedKeyUsage(purposes)


def _alternative_names(member: Member, names: ServerNames) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier(member.uri),
            *(x509.DNSName(name) for name in names.dns),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in names.addresses),
        ]
    )


def _key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
