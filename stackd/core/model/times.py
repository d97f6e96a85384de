"""Times as the control API tells them, and as freezes are told of."""

from datetime import UTC, datetime


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339 UTC; '' for never."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""
