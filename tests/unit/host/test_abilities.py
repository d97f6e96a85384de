"""What is known of a runc's faults."""

import pytest

from stackd.host.abilities import judge_runc


@pytest.mark.parametrize(
    ("line", "commit", "lacks"),
    [
        ("runc version 1.1.5+ds1", "commit: 1.1.5+ds1-1+deb12u1", "2024-45310, 2025-31133"),
        ("runc version 1.1.5", "commit: v1.1.5-0-gf19387a6", "2024-21626, 2024-45310"),
        ("runc version 1.1.15", "", "2024-45310"),
        ("runc version 1.2.7", "", "2025-31133"),
        ("runc version 1.2.8", "", ""),
        ("runc version 1.4.0", "", ""),
    ],
)
def test_faults_of_a_version(line: str, commit: str, lacks: str) -> None:
    found = judge_runc(line, commit)
    assert not found.fatal
    assert bool(found.remedy) is bool(lacks)
    assert all(f"CVE-{name}" in found.text for name in lacks.split(", ") if name)


def test_the_backport_of_debian_counts() -> None:
    assert "21626" not in judge_runc("runc version 1.1.5+ds1", "commit: 1.1.5-1+deb12u1").text


def test_a_version_that_is_not_understood_is_told() -> None:
    assert "not understood: what" in judge_runc("what", "").text
