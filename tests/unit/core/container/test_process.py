"""Arguments, environment and working folder by Compose's rules."""

import pytest

from stackd.core.container import process
from stackd.core.model.container import ContainerSpec
from stackd.core.model.driver import ImageConfig
from stackd.errors import Rejected

IMAGE = ImageConfig(entrypoint=("e",), command=("c", "d"), environment=("A=1", "B=2", "bad"))


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, None, ("e", "c", "d")),
        (None, ("x",), ("e", "x")),
        (("y",), None, ("y",)),
        (("y",), ("x",), ("y", "x")),
        ((), ("x",), ("x",)),
        (None, (), ("e",)),
    ],
)
def test_arguments(
    entrypoint: tuple[str, ...] | None,
    command: tuple[str, ...] | None,
    expected: tuple[str, ...],
) -> None:
    spec = ContainerSpec(image="i", entrypoint=entrypoint, command=command)
    assert process.arguments(spec, IMAGE, ("init", "--")) == expected
    with_init = ContainerSpec(image="i", entrypoint=entrypoint, command=command, init=True)
    assert process.arguments(with_init, IMAGE, ("init", "--")) == ("init", "--", *expected)


@pytest.mark.parametrize("entrypoint", [(), ("",)])
def test_nothing_to_run(entrypoint: tuple[str, ...]) -> None:
    with pytest.raises(Rejected, match="which command"):
        process.arguments(ContainerSpec(image="i", entrypoint=entrypoint), IMAGE, ())


def test_environment() -> None:
    spec = ContainerSpec(image="i", environment={"B": "3", "C": ""}, tty=True)
    found = dict(line.split("=", 1) for line in process.environment(spec, IMAGE, "h"))
    assert found.pop("PATH").startswith("/usr/local/sbin:")
    assert found == {"HOSTNAME": "h", "TERM": "xterm", "A": "1", "B": "3", "C": ""}


@pytest.mark.parametrize(
    ("own", "image", "expected"),
    [("", "", "/"), ("", "/w/../x/", "/x"), ("/mine", "/w", "/mine"), ("rel", "", "/rel")],
)
def test_working_dir(own: str, image: str, expected: str) -> None:
    spec = ContainerSpec(image="i", working_dir=own)
    assert process.working_dir(spec, ImageConfig(working_dir=image)) == expected


@pytest.mark.parametrize("path", ["/proc/self/fd/7", "/x/../sys", "//proc", "/dev/pts"])
def test_working_dir_in_the_runtimes_trees(path: str) -> None:
    with pytest.raises(Rejected, match="not allowed"):
        process.working_dir(ContainerSpec(image="i"), ImageConfig(working_dir=path))
