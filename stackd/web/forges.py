"""How each forge is told the status of a commit. Pure; `web.fetch` sends what is made here.

For all three the address is that of the repository in the forge's API, and a status is posted to
`ADDRESS/statuses/COMMIT`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import SplitResult, quote, urlsplit

from stackd.core.model.source import CommitState, Forge
from stackd.errors import Refused
from stackd.web.fetch import Answer, Call

_LOCAL = ("127.0.0.1", "::1", "localhost")
_LONGEST: Mapping[Forge, int] = {Forge.GITHUB: 140, Forge.GITLAB: 255, Forge.GITEA: 255}
"""Characters of a description."""
_WORDS: Mapping[CommitState, tuple[str, str]] = {
    CommitState.PENDING: ("pending", "pending"),
    CommitState.SUCCESS: ("success", "success"),
    CommitState.FAILURE: ("failure", "failed"),
    CommitState.SUPERSEDED: ("error", "canceled"),
}
"""At GitHub and Gitea; at GitLab."""


@dataclass(frozen=True, slots=True)
class Status:
    """What is said of a commit. `context` tells it from those of others."""

    commit: str
    state: CommitState
    text: str
    context: str


def call(forge: Forge, url: str, token: str, status: Status) -> Call:
    """The request that sets a status."""
    other, gitlab = _WORDS[status.state]
    text = _shortened(status.text, _LONGEST[forge])
    body = {"state": other, "description": text, "context": status.context}
    match forge:
        case Forge.GITHUB:
            headers = {
                "Authorization": f"Bearer {token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            }
        case Forge.GITEA:
            headers = {"Authorization": f"token {token}", "Accept": "application/json"}
        case Forge.GITLAB:
            headers = {"PRIVATE-TOKEN": token, "Accept": "application/json"}
            body = {"state": gitlab, "description": text, "name": status.context}
        case never:
            assert_never(never)
    return Call(
        url=f"{url}/statuses/{status.commit}",
        headers={**headers, "Content-Type": "application/json"},
        body=json.dumps(body).encode(),
    )


def taken(forge: Forge, answer: Answer) -> bool:
    """Whether the forge has the status now. GitLab refuses one that it has already."""
    known = forge is Forge.GITLAB and answer.status == 400 and b"Cannot transition" in answer.body
    return 200 <= answer.status < 300 or known


def api_of(forge: Forge, host: str, path: str) -> str:
    """The address of the repository `path` (OWNER/NAME) in the API of the forge at `host`."""
    match forge:
        case Forge.GITHUB if host == "github.com":
            return f"https://api.github.com/repos/{path}"
        case Forge.GITHUB:
            return f"https://{host}/api/v3/repos/{path}"
        case Forge.GITLAB:
            return f"https://{host}/api/v4/projects/{quote(path, safe='')}"
        case Forge.GITEA:
            return f"https://{host}/api/v1/repos/{path}"
        case never:
            assert_never(never)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def check_api(url: str) -> str:
    """An https URL, or one in the clear on this machine, without credentials, query or final
    slash. Raises Refused."""
    parts = _split(url)
    local = parts.scheme == "http" and parts.hostname in _LOCAL
    if parts.scheme != "https" and not local:
        raise Refused(f"{url[:80]!r} is not an https URL.", "Write https://HOST/PATH.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Refused("The URL holds credentials, a query or a fragment.", "Leave them out.")
    return url.rstrip("/")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not url.isascii() or not url.isprintable() or " " in url:
        raise Refused(f"{url[:80]!r} is not a URL.", "Write https://HOST/PATH.")
    return parts
