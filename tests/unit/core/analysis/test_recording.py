import random

import pytest

from stackd.core.analysis.recording import CANARY, STABLE, Cutter, Row, error_rate, parse


def test_json_lines_and_csv_say_the_same() -> None:
    lines = (
        '{"at": 60, "instance": "s2", "requests": 10, "errors": 1, "latency": 0.2}\n\n'
        '{"at": 0, "requests": 5, "role": "canary"}\n'
    )
    table = "at,instance,role,requests,errors,latency\n60,s2,stable,10,1,0.2\n0,,canary,5,,\n"
    rows = [
        Row(at=0.0, requests=5, instance="canary", canary=True),
        Row(at=60.0, requests=10, errors=1, instance="s2", latency=0.2),
    ]
    assert parse(lines, False) == parse(table, True) == rows


def test_times_may_be_written_out() -> None:
    (row,) = parse('{"at": "1970-01-02T00:00:00Z", "requests": 1}', False)
    assert row.at == 86400


@pytest.mark.parametrize(
    ("text", "csv", "said"),
    [
        ("", False, "there are no rows"),
        ("{", False, "line 1: not JSON"),
        ("[1]", False, "line 1: a row is an object"),
        ('{"at": 1, "requests": 1}\n{"at": 1}', False, "line 2: "),
        ('{"at": 1, "requests": 1, "errors": 2}', False, "2 errors of 1 requests"),
        ('{"at": 1, "requests": -1}', False, "cannot be"),
        ('{"at": 1, "requests": 1, "nope": 2}', False, "nope"),
        ('{"at": 1, "requests": 1, "role": "x"}', False, "role is 'x'"),
        ('{"at": "1970-01-02T00:00:00", "requests": 1}', False, "has no time zone"),
        ('{"at": "nan", "requests": 1}', False, "finite"),
        ('{"at": 1, "requests": 30000000}', False, "more than 20,000,000"),
        ("at,requests\n1,x\n", True, "line 2: "),
        ("at,requests\n1,2,3\n", True, "line 2: "),
    ],
)
def test_faults_have_their_line(text: str, csv: bool, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text, csv)
    assert said in str(caught.value)


def test_rows_are_cut_into_blocks_of_one_size() -> None:
    cutter = Cutter("s1", False, 10, random.Random(1).random)
    first = list(cutter.row(Row(at=1.0, requests=25, errors=25)))
    second = list(cutter.row(Row(at=2.0, requests=5, latency=0.3)))
    assert [(at, b.errors, b.sequence) for at, b in first] == [(1.0, 10, 1), (1.0, 10, 2)]
    assert [(at, b.errors, b.since, b.latency) for at, b in second] == [(2.0, 5, 1.0, 0.3)]
    assert second[0][1].revision == STABLE


def test_no_error_is_lost_and_more_are_added_on_demand() -> None:
    draw = random.Random(2).random
    row = Row(at=0.0, requests=1000, errors=37)
    assert sum(b.errors for _, b in Cutter("c", True, 10, draw).row(row)) == 37
    found = [b for _, b in Cutter("c", True, 10, draw).row(row, 0.5)]
    assert 450 < sum(b.errors for b in found) < 600
    assert {b.revision for b in found} == {CANARY}
    assert error_rate([row]) == 0.037
    assert error_rate([]) == 0
