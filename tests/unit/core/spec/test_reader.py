import pytest

from stackd.core.spec.nodes import MapNode, Scalar, find, to_data
from stackd.core.spec.problems import Report, Stop
from stackd.core.spec.reader import MAX_FILE_BYTES, Budget, read


def data(text: str) -> object:
    report = Report()
    found = to_data(read("f", text.encode(), Budget(report), report))
    assert not report.all, [str(p) for p in report.all]
    return found


def refusal(source: str | bytes) -> str:
    report = Report()
    raw = source.encode() if isinstance(source, str) else source
    try:
        read("f", raw, Budget(report), report)
    except Stop:
        pass
    assert report.errors
    return str(report.errors[0])


def test_scalars_stay_texts() -> None:
    text = "{a: no, b: 22:22, c: 0777, d: 1.10, e: 2024-13-45, f: .nan, g: ~, h: '', i: 0x1}"
    assert data(text) == {
        "a": "no",
        "b": "22:22",
        "c": "0777",
        "d": "1.10",
        "e": "2024-13-45",
        "f": ".nan",
        "g": None,
        "h": "",
        "i": "0x1",
    }


def test_aliases_and_merge_keys() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nm: {<<: [*x, *y], c: 5}\nn: {<<: *x}\no: *x"
    assert data(text) == {
        "x": {"a": "1", "b": "2"},
        "y": {"b": "3", "c": "4"},
        "m": {"a": "1", "b": "2", "c": "5"},
        "n": {"a": "1", "b": "2"},
        "o": {"a": "1", "b": "2"},
    }


def test_places_count_characters_from_one() -> None:
    report = Report()
    root = read("f", "a: {ü: 1, b: 'x'}".encode(), Budget(report), report)
    leaf = find(root, ("a", "b"))
    assert isinstance(leaf, Scalar)
    assert (leaf.place.line, leaf.place.column, leaf.lead) == (1, 14, 1)
    assert isinstance(root, MapNode)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "f:1:1: the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("[a]", "f:1:1: a stack file is a mapping"),
        ("text", "f:1:1: a stack file is a mapping"),
        ("a: 1\n---\nb: 2", "f:2:1: a stack file is one YAML document"),
        ("a: 1\nb: 2\na: 3", "f:3:1: duplicate key a (first: line 1)"),
        ("{1: a, '1': b}", "duplicate key 1"),
        ("? [a]\n: b", "a key must be a text"),
        ("~: b", "a key must be a text"),
        ("a: !!python/object:os.system x", "f:1:4: the tag"),
        ("a: !!binary aGk=", "the tag"),
        ("a: !custom x", "the tag !custom"),
        ("a: *b", "f:1:4: *b refers to no anchor"),
        ("a: &b [*b]", "f:1:8: *b stands inside"),
        ("a: {<<: 1}", "`<<` takes a mapping"),
        ("a: {<<: {b: 1}, <<: {c: 1}}", "`<<` stands twice"),
        ("a: \tb\n\tc: d", "not YAML"),
        ("a: [1", "not YAML"),
        ('a: "\\0"', "f:1:4: a NUL character"),
        ("a: \u202e", "f:1:4: the invisible character U+202E"),
        ("b: 1\na: x\u200b", "f:2:5: the invisible character U+200B"),
        (b"\xef\xbb\xbfa: 1", "a byte order mark"),
        ("a: 1".encode("utf-16"), "a byte order mark"),
        ("a: 1".encode("utf-16-le"), "the invisible character U+0000"),
        (b"a: 1\nb: \xe9", "f:2:4: byte 0xe9 is not UTF-8"),
        (b"a: \x00", "U+0000"),
        (b"a: \x07", "not YAML"),
    ],
)
def test_refused_with_a_place(source: str | bytes, expected: str) -> None:
    assert expected in refusal(source)


def test_limits_have_places() -> None:
    assert "f:1:65: nested more than 64" in refusal("[" * 100_000)
    assert "nested more than 64" in refusal("{a: " * 100_000)
    assert "more than 100 aliases" in refusal("a: &a x\nb: [" + "*a, " * 101 + "]")
    assert "more than 5000 nodes" in refusal("a: [" + "x, " * 5000 + "]")
    assert "longer than 512 KiB" in refusal("a: " + "x" * MAX_FILE_BYTES)


def test_bombs_are_counted_before_they_grow() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert "more than 5000 nodes" in refusal("\n".join(lines))
    merges = ["a0: &a0 {k: v, l: v}"]
    merges += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: v}}" for n in range(1, 50)]
    assert "more than" in refusal("\n".join(merges))
    texts = "a: &a " + "x" * 400_000 + "\nb: [" + "*a, " * 10 + "]"
    assert "characters" in refusal(texts)


def test_the_budget_is_shared_by_all_files() -> None:
    report = Report()
    budget = Budget(report)
    half = ("a: [" + "x, " * 3000 + "]").encode()
    read("one", half, budget, report)
    with pytest.raises(Stop):
        read("two", half, budget, report)
    assert report.errors[0].file == "two"
