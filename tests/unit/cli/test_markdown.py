"""Comments for pull requests: foreign text stays text, and they are never too long."""

import pytest

from stackd.cli import markdown
from stackd.core.model.api import CompareAnswer, CompareLine, CompareStack, FieldRow


def answer(*changes: CompareLine, **fields: object) -> CompareAnswer:
    stacks = (CompareStack(stack="shop", changes=changes),) if changes else ()
    given = {"base": "a" * 40, "head": "b" * 40, "stacks": stacks, **fields}
    return CompareAnswer(**given)  # type: ignore[arg-type]


def change(text: str = "replace the tasks of shop/web", *fields: FieldRow) -> CompareLine:
    return CompareLine(
        kind="replace-revision", object="shop/web", text=text, effect="rollout: rolling",
        fields=fields,
    )  # fmt: skip


def test_a_comment() -> None:
    found = answer(
        change(
            "replace the tasks of shop/web",
            FieldRow(path="image", before="web:1", after="web:2"),
            FieldRow(path="user", before="", after="app"),
            FieldRow(path="entrypoint", before="[a]", after=""),
            FieldRow(path="secrets", before="", after=""),
        )
    )
    assert markdown.comment(found).splitlines() == [
        "### stackd: 1 stack will change",
        "",
        "`aaaaaaaaaaaa` → `bbbbbbbbbbbb`",
        "",
        "#### `shop`",
        "",
        "- `replace the tasks of shop/web` — **rollout: rolling**",
        "  - `image`: `web:1` → `web:2`",
        "  - `user`: added `app`",
        "  - `entrypoint`: removed `[a]`",
        "  - `secrets`: changed",
    ]


def test_nothing_to_say() -> None:
    assert markdown.comment(answer()).startswith("### stackd: no stack changes\n")


def test_problems_and_notes_are_listed() -> None:
    text = markdown.comment(answer(problems=("a.stack.yml:3:5: `x`",), notes=("old",)))
    assert "#### Not valid\n\n- `` a.stack.yml:3:5: `x` ``\n" in text
    assert "> `old`" in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "`plain`"),
        ("a`b", "``a`b``"),
        ("`a", "`` `a ``"),
        ("a``b`c", "```a``b`c```"),
        ("two\nlines", "`two\\nlines`"),
        ("\x1b[31m", "`\\x1b[31m`"),
        ("", "` (empty) `"),
        ("x" * 300, "`" + "x" * 200 + "…`"),
    ],
)
def test_foreign_text_stays_in_its_code_span(given: str, shown: str) -> None:
    assert markdown.code(given) == shown


def test_a_long_comment_is_cut_between_lines() -> None:
    many = [change(f"{number} {'y' * 150}") for number in range(1000)]
    text = markdown.comment(answer(*many))
    assert len(text) < 65_536
    lines = text.splitlines()
    assert lines[-1].startswith("… and more")
    assert lines[-3].endswith("**rollout: rolling**")
