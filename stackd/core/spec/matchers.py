"""`match`: which requests go to the new revision. Called by `steps` and `strategy`."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from stackd.core.model.strategy import Matcher
from stackd.core.spec.fields import Section, fault, matching, refine

MAX_MATCHERS = 20
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}"


def _no_host(text: str) -> str:
    if text.lower() == "host":
        raise ValueError("host is no header to match by: use `route.hosts`")
    return text


class HeaderSection(Section):
    """`header`."""

    name: Annotated[str, refine(_no_host), matching(_TOKEN, "the name of a header")]
    exact: Annotated[str, matching(r"[ -~]{1,500}", "a header's value: ASCII, 1 to 500 letters")]


class CookieSection(Section):
    """`cookie`."""

    name: Annotated[str, matching(_TOKEN, "the name of a cookie")]
    exact: Annotated[
        str, matching(r"[!#-+\-./0-9:<-\[\]-~]{1,500}", "a cookie's value: 1 to 500 letters")
    ]


class MatchSection(Section):
    """One item of `match`."""

    header: HeaderSection | None = None
    cookie: CookieSection | None = None

    @model_validator(mode="after")
    def _one(self) -> "MatchSection":
        if (self.header is None) is (self.cookie is None):
            raise fault("match by one thing each: header or cookie, like {cookie: {name, exact}}")
        return self


Matches = Annotated[list[MatchSection], Field(max_length=MAX_MATCHERS)]


def build(sections: Sequence[MatchSection]) -> tuple[Matcher, ...]:
    """The matchers; names of headers in lower case, as HTTP/2 has them."""
    found = []
    for section in sections:
        if section.header is not None:
            found.append(Matcher(header=section.header.name.lower(), exact=section.header.exact))
        if section.cookie is not None:
            found.append(Matcher(cookie=section.cookie.name, exact=section.cookie.exact))
    return tuple(dict.fromkeys(found))
