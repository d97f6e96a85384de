"""Certificates are renewed between half and four fifths of their life, not all at once."""

import pytest

from stackd.core.model.node import Role
from stackd.errors import Refused
from stackd.pki import authority
from stackd.pki.member import Member
from stackd.pki.renewal import renew_at
from stackd.pki.request import new_key, new_request

NOW = 1_700_000_000.0
LIFE = 90 * 86_400.0


def test_renewal_is_spread_over_the_third_quarter_of_the_life() -> None:
    ca = authority.create("c1", NOW)
    request = new_request(new_key())
    times = [renew_at(ca.sign(request, Member("c1", Role.WORKER, f"n{i}"), NOW)) for i in range(60)]
    shares = sorted((time - NOW) / LIFE for time in times)
    assert shares[0] >= 0.5
    assert shares[-1] <= 0.8
    assert shares[-1] - shares[0] > 0.1


def test_the_moment_of_a_certificate_does_not_change() -> None:
    ca = authority.create("c1", NOW)
    chain = ca.sign(new_request(new_key()), Member("c1", Role.WORKER, "n1"), NOW)
    assert renew_at(chain) == renew_at(chain)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(Refused):
        renew_at(b"junk")
