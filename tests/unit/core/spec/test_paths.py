import pytest

from stackd.core.spec.context import Origin
from stackd.core.spec.paths import join, resolve


def test_relative_paths_are_tidied() -> None:
    assert resolve("./conf//app.ini", Origin.GIT) == "conf/app.ini"


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "a/..", "~/x", "~root/x", "", " ", "a\x00b", "..\\x"]
)
@pytest.mark.parametrize("origin", list(Origin))
def test_refused_everywhere(path: str, origin: Origin) -> None:
    with pytest.raises(ValueError, match=r"."):
        resolve(path, origin)


def test_absolute_paths_are_the_callers_own() -> None:
    assert resolve("/etc/app.ini", Origin.CLI) == "/etc/app.ini"
    with pytest.raises(ValueError, match="absolute"):
        resolve("/etc/shadow", Origin.GIT)


def test_join_takes_dots_away() -> None:
    assert join("/home/me", "./a/../b") == "/home/me/b"
    assert join("/home", "../../..") == "/"
