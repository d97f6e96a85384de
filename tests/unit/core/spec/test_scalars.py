from collections.abc import Callable

import pytest

from stackd.core.spec import scalars


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (scalars.boolean, "yes", True),
        (scalars.boolean, "OFF", False),
        (scalars.boolean, "True", True),
        (scalars.integer, "0777", 777),
        (scalars.integer, "-1", -1),
        (scalars.integer, "0x10", 16),
        (scalars.integer, "0o17", 15),
        (scalars.number, "0.5", 0.5),
        (scalars.number, ".5", 0.5),
        (scalars.number, "1e3", 1000.0),
        (scalars.duration, "1h30m", 5400.0),
        (scalars.duration, "1m1.5s", 61.5),
        (scalars.duration, "500ms", 0.5),
        (scalars.duration, "0", 0.0),
        (scalars.size, "64m", 64 * 2**20),
        (scalars.size, "1.5GiB", 3 * 2**29),
        (scalars.size, "10kb", 10240),
        (scalars.size, "100", 100),
        (scalars.mode, "0440", 0o440),
        (scalars.mode, "0o400", 0o400),
        (scalars.port, "080", 80),
    ],
)
def test_read(parse: Callable[[str], object], text: str, expected: object) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (scalars.boolean, "1", "not a boolean"),
        (scalars.boolean, "y", "not a boolean"),
        (scalars.integer, "9" * 5000, "too long for a number"),
        (scalars.integer, "0x" + "f" * 1_000_000, "not whole"),
        (scalars.integer, "1.0", "not whole"),
        (scalars.integer, "no", "not whole"),
        (scalars.number, "1e400", "not a number"),
        (scalars.number, ".nan", "not a number"),
        (scalars.number, ".inf", "not a number"),
        (scalars.number, "-1", "not a number"),
        (scalars.duration, "5", "needs a unit"),
        (scalars.duration, "-5s", "not a duration"),
        (scalars.duration, "1h 5m", "not a duration"),
        (scalars.size, "1x", "not a size"),
        (scalars.mode, "288", "not a file mode"),
        (scalars.mode, "r--", "not a file mode"),
        (scalars.port, "0", "out of range"),
        (scalars.port, "65536", "out of range"),
        (scalars.port, "22:22", "not a port"),
    ],
)
def test_refused(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0%", 0), ("5%", 500), ("0.5%", 50), ("12.05%", 1_205), ("100.00%", 10_000)],
)
def test_hundredths(text: str, expected: int) -> None:
    assert scalars.hundredths(text, "share") == expected


@pytest.mark.parametrize(
    "text", ["", "5", "-1%", "101%", "100.01%", "0.001%", ".5%", "5 %", "\u0665%"]
)
def test_what_is_no_percentage_in_hundredths(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a weight: write 0% to 100%"):
        scalars.hundredths(text, "weight")
