"""What skopeo says becomes one sentence of cause and one of what to do."""

import pytest

from stackd.errors import Refused, StackdError, Unavailable
from stackd.registry.skopeo import Access, translate

NAME, HOST = "registry.example/web:1", "registry.example"


@pytest.mark.parametrize(
    ("said", "kind", "cause"),
    [
        ("reading manifest 9 in registry.example/web: manifest unknown", Refused, "does not exist"),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", Unavailable, "refuses"),
        ("http: server gave HTTP response to HTTPS client", Refused, "plain HTTP"),
        ("unauthorized: authentication required", Refused, "does not let"),
        ("x509: certificate signed by unknown authority", Refused, "not trusted"),
        ("no image found in image index for architecture s390x", Refused, "architecture"),
        ("dial tcp: lookup registry.example: no such host", Unavailable, "not known"),
        ("toomanyrequests: slow down", Unavailable, "too many"),
        ("received unexpected HTTP status: 500", Unavailable, "500"),
    ],
)
def test_translated(said: str, kind: type[StackdError], cause: str) -> None:
    error = translate(said, NAME, HOST)
    assert type(error) is kind
    assert cause in error.cause
    assert error.remedy
    assert "\n" not in error.cause


def test_a_password_is_not_printed() -> None:
    assert "hunter2" not in repr(Access("me", "hunter2"))
