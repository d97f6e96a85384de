"""Which servers may be told something with a credential."""

import pytest

from stackd.errors import Refused
from stackd.web.client import check_url


@pytest.mark.parametrize(
    "url", ["https://api.example/repos/o/n", "http://127.0.0.1:80/x", "http://localhost/x"]
)
def test_https_or_this_machine(url: str) -> None:
    assert check_url(f"{url}/") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example/x", "ftp://api.example/x", "api.example/x", "https://", "",
        "https://user:pass@api.example/x", "https://api.example/x?a=b", "https://api.example/x#a",
        "https://api.example:0/x", "https://api.example:x/", "https://api.example/a b",
        "https://api.example/\u00e4", "https://api.example/a\r\nHost: b",
    ],
)  # fmt: skip
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        check_url(url)
