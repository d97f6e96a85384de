"""Times as people and programs are told them."""

from stackd.core.model.times import rfc3339


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(1_700_000_000.9) == "2023-11-14T22:13:20Z"
    assert rfc3339(0) == ""
