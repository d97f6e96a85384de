"""When a member asks for its next certificate: at half to four fifths of the life of this one.

Spread by the certificate itself, so that members made together do not all come together, and a
restart does not change the moment.
"""

import hashlib

from cryptography import x509

from stackd.errors import Refused
from stackd.pki.authority import BACKDATED

EARLIEST, LATEST = 0.5, 0.8
"""Shares of a certificate's life."""


def renew_at(certificate: bytes) -> float:
    """Unix seconds at which the certificate (PEM; the first of a chain) is to be renewed."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise Refused("This is no certificate.", "Join the cluster again.") from error
    made, end = leaf.not_valid_before_utc + BACKDATED, leaf.not_valid_after_utc.timestamp()
    start = min(made.timestamp(), end)
    digest = hashlib.sha256(leaf.signature).digest()
    spread = int.from_bytes(digest[:4], "big") / 2**32
    return start + (end - start) * (EARLIEST + (LATEST - EARLIEST) * spread)
