"""Hostile stack files in a process of their own: refused with a place, the process unharmed.

One process judges all of them, one after the other. Each has 1 s of CPU, after which the kernel
kills the process: a bomb that goes off is seen, a slow machine is not.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Mapping

import pytest

CHILD = """
import base64, json, signal, sys
from stackd.core.spec import Context, Origin, SourceFile, load
load([SourceFile("warm.stack.yml", b"services: {web: {image: x, nope: 1}}")], Context(Origin.GIT))
for line in sys.stdin:
    data = base64.b64decode(line)
    signal.setitimer(signal.ITIMER_PROF, 1)
    found = load([SourceFile("shop.stack.yml", data)], Context(Origin.GIT))
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps([str(problem) for problem in found.errors]), flush=True)
"""
DEEP = 100_000
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGE = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: v}}\n" for n in range(1, 30)
)
SERVICE = "services: {web: {image: x, %s}}"


CASES: Mapping[str, tuple[bytes, str]] = {
    "one port 2400 times": (
        (SERVICE % f"ports: [{'1-100:1-100, ' * 2400}]").encode(),
        "a service publishes at most 1000 ports",
    ),
    "one variable 2400 times": (
        (SERVICE % f"environment: [{', '.join(f'A{n}' for n in range(2400))}]").encode(),
        "A2399 has no value",
    ),
    "endless blanks": (
        (
            SERVICE % f"deploy: {{placement: {{constraints: ['node.id == {' ' * 400_000}']}}}}"
        ).encode(),
        "is not a constraint",
    ),
    "lists": (b"[" * DEEP, "shop.stack.yml:1:65: nested"),
    "flow maps": (b"{a: " * DEEP, "nested more than 64 levels"),
    "block lists": (b"- " * DEEP, "nested more than 64 levels"),
    "complex keys": (b"? " * DEEP, "nested more than 64 levels"),
    "aliases": (BOMB.encode(), "more than 5000 nodes"),
    "merge bomb": (MERGE.encode(), "shop.stack.yml:"),
    "own alias": (b"a: &a [*a]", "shop.stack.yml:1:8: *a stands inside"),
    "duplicate keys": (b"a: 1\na: 2", "shop.stack.yml:2:1: duplicate key a"),
    "huge integer": (
        (SERVICE % f"deploy: {{replicas: {'9' * 5000}}}").encode(),
        "too long for a number",
    ),
    "huge hexadecimal": (
        (SERVICE % f"deploy: {{replicas: 0x{'f' * 400_000}}}").encode(),
        "is not whole",
    ),
    "Latin-1": ("a: é".encode("latin-1"), "1:4: byte 0xe9 is not UTF-8"),
    "UTF-16": ("a: 1".encode("utf-16"), "byte order mark"),
    "10 MB": (b"a: " + b"x" * 10_000_000, "longer than 512 KiB"),
    "10 MB lines": (b"a: b\n" * 2_000_000, "shop.stack.yml:104858:4: the file"),
    "many nodes": (b"a: [" + b"x, " * 170_000 + b"]", "more than 5000 nodes"),
    "references": ((SERVICE % f"user: '{'${U:-' * 80_000}'").encode(), "is not closed"),
    "object tag": (b"a: !!python/object:os.system {}", "the tag"),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, list[str]]:
    lines = b"".join(base64.b64encode(data) + b"\n" for data, _ in CASES.values())
    done = subprocess.run([sys.executable, "-c", CHILD], input=lines, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(CASES, found, strict=True))


@pytest.mark.parametrize("case", list(CASES))
def test_refused_with_a_place(case: str, answers: dict[str, list[str]]) -> None:
    problems = answers[case]
    assert any(CASES[case][1] in problem for problem in problems), problems
    for problem in problems:
        assert problem.startswith("shop.stack.yml:")
        assert len(problem) < 500
