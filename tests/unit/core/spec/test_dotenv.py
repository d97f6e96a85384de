from stackd.core.spec.dotenv import parse
from stackd.core.spec.problems import Report


def read(text: str) -> tuple[dict[str, str | None], list[str]]:
    report = Report()
    found = parse(".env", text.encode(), report)
    return found, [str(problem) for problem in report.all]


def test_lines_are_read() -> None:
    text = '# c\n\nA=1\nexport B = two words # note\nC=\'$x #\'\nD="a\\n\\"b\\""\nE=\nF\nG=a#b\n'
    assert read(text) == (
        {
            "A": "1",
            "B": "two words",
            "C": "$x #",
            "D": 'a\n"b"',
            "E": "",
            "F": None,
            "G": "a#b",
        },
        [],
    )


def test_long_blanks_are_read_in_one_go() -> None:
    found, problems = read(f"A=x{' ' * 400_000}y # note")
    assert problems == []
    assert found == {"A": f"x{' ' * 400_000}y"}


def test_faults_have_lines() -> None:
    found, problems = read("A=1\n=x\n1A=2\nB='open\n")
    assert found == {"A": "1"}
    assert problems == [
        ".env:2:1: expected NAME=value",
        ".env:3:1: expected NAME=value",
        ".env:4:1: B: a quote is not closed, or something follows it",
    ]


def test_not_text_and_too_many_lines() -> None:
    report = Report()
    assert parse("e", b"\xff", report) == {}
    assert parse("f", b"A=1\n" * 5001, report) == {}
    assert [p.file for p in report.errors] == ["e", "f"]
