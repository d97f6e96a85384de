"""When a freeze ends."""

from datetime import UTC, datetime

import pytest

from stackd.cli.freeze import ends
from stackd.errors import Refused


def test_a_time_a_duration_or_no_end() -> None:
    assert ends("") == (0, 0)
    assert ends("8h") == (28_800, 0)
    assert ends("2030-12-24T18:00Z") == (0, datetime(2030, 12, 24, 18, tzinfo=UTC).timestamp())
    assert ends("2030-12-24T18:00+01:00")[1] == ends("2030-12-24T17:00Z")[1]


def test_nonsense_is_refused_with_examples() -> None:
    with pytest.raises(Refused, match="'soon' is no time") as refused:
        ends("soon")
    assert "8h" in refused.value.remedy
