"""Keys and certificate requests: made by who joins or renews, judged by the authority.

Of a request only the key is used; whatever else it asks for is not even read.
"""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stackd.errors import Refused

MAX_BYTES = 8 * 1024
"""Bytes of a certificate request."""


def new_key() -> bytes:
    """A new ECDSA P-256 key, PEM (PKCS 8, unencrypted: keep it in a private file)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A key made by `new_key`. Raises Refused for anything else."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refused("The key file holds no usable key.", "Restore it from a backup.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not _is_p256(key.public_key()):
        raise Refused("The key is not ECDSA P-256.", "Use the key that stackd made.")
    return key


def new_request(key: bytes) -> bytes:
    """A certificate request for `key`, PEM, with an empty subject: the authority fills it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(load_key(key), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def key_of(request: bytes) -> ec.EllipticCurvePublicKey:
    """The public key that a request (PEM) proves to own.

    Raises Refused for more than 8 KiB, what is no request, a wrong signature, and any key that
    is not ECDSA P-256.
    """
    if len(request) > MAX_BYTES:
        raise Refused("The certificate request is too large.", f"At most {MAX_BYTES} bytes.")
    try:
        parsed = x509.load_pem_x509_csr(request)
        key = parsed.public_key()
        genuine = parsed.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise Refused("This is no certificate request.", "Send PEM, ECDSA P-256.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not _is_p256(key):
        raise Refused("The key of the request is not ECDSA P-256.", "Make such a key.")
    if not genuine:
        raise Refused("The request is not signed by its own key.", "Make it again.")
    return key


def _is_p256(key: ec.EllipticCurvePublicKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1)
