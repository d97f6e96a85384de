from pathlib import Path

import pytest

from stackd.core.network import ruleset

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data_plane.nft", ruleset.data_plane("stackd_abcd1234", 4789, [3, 1000])),
        ("host.nft", ruleset.host("stackd_abcd1234_1", 4789, "abcd1234u1")),
    ],
)
def test_the_rules_are_those_reviewed(name: str, text: str) -> None:
    assert text == (GOLDEN / name).read_text()


def test_loading_again_replaces_rules_and_keeps_elements() -> None:
    lines = ruleset.host("t", 4789, "u").splitlines()
    assert lines[:2] == ["add table ip t", "flush table ip t"]


def test_removing_a_table_works_whether_or_not_it_is_there() -> None:
    assert ruleset.remove("t") == "add table ip t\ndelete table ip t\n"
