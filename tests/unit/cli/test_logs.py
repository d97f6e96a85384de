"""How rows of a log become lines of text."""

import io

from stackd.cli.logs import Printer
from stackd.core.model.api import LogRow, LogRows


def row(
    text: bytes, *, name: str = "shop/web.1", stream: str = "stdout", more: bool = False
) -> LogRow:
    return LogRow(task=name, name=name, at="", stream=stream, text=text, partial=more)


def printed(*rows: LogRow) -> tuple[str, str]:
    out, errors = io.StringIO(), io.StringIO()
    printer = Printer(out, errors)
    for one in rows:
        printer.show(LogRows(rows=(one,)))
    return out.getvalue(), errors.getvalue()


def test_a_line_in_pieces_is_one_line() -> None:
    out, _ = printed(row(b"one", more=True), row(b"two", more=True), row(b"three"), row(b"next"))
    assert out == "shop/web.1 | onetwothree\nshop/web.1 | next\n"


def test_another_task_begins_a_line_of_its_own() -> None:
    out, _ = printed(row(b"half", more=True), row(b"other", name="shop/db.1"), row(b"rest"))
    assert out == "shop/web.1 | half\nshop/db.1 | other\nshop/web.1 | rest\n"


def test_streams_stay_apart() -> None:
    out, errors = printed(row(b"prompt", more=True), row(b"oh", stream="stderr"))
    assert (out, errors) == ("shop/web.1 | prompt\n", "shop/web.1 | oh\n")


def test_control_characters_are_shown_not_sent() -> None:
    assert printed(row(b"\x1b[2J\tx"))[0] == "shop/web.1 | \\x1b[2J        x\n"
