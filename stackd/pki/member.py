"""Who a certificate names: exactly one member of one cluster, as a URI.

The manager asks this of every peer; what a message says about its sender is never believed.
"""

import re
from dataclasses import dataclass

from cryptography import x509

from stackd.core.model.node import Role
from stackd.errors import Refused

_URI = re.compile(r"stackd://([a-z0-9]{1,32})/(manager|worker)/([a-z0-9]{1,32})")


@dataclass(frozen=True, slots=True)
class Member:
    """A node of a cluster in a role, as its certificate says."""

    cluster: str
    role: Role
    node: str

    @property
    def uri(self) -> str:
        """`stackd://CLUSTER/ROLE/NODE`."""
        return f"stackd://{self.cluster}/{self.role}/{self.node}"


def parse_uri(uri: str) -> Member:
    """The member that a URI names. Raises Refused when it is anything else."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise Refused("The certificate names no member of a cluster.", "Join the cluster again.")
    cluster, role, node = found.groups()
    return Member(cluster, Role(role), node)


def member_of(certificate: bytes) -> Member:
    """The member that a certificate (PEM; the first of a chain) names.

    Raises Refused when it is no certificate or does not hold exactly one URI.
    """
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise Refused("This is no certificate of a member.", "Join the cluster again.") from error
    if len(uris) != 1:
        raise Refused(
            "The certificate does not name exactly one member.", "Join the cluster again."
        )
    return parse_uri(uris[0])
