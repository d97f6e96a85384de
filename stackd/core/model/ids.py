"""Names and ids as types, and how names on the command line and in the store are made."""

import re
from typing import NewType

StackName = NewType("StackName", str)
NodeId = NewType("NodeId", str)
TaskId = NewType("TaskId", str)
"""12 characters of [a-z0-9]; also the name of the task's container, netns and cgroup."""
RevisionId = NewType("RevisionId", str)
"""First 12 hex digits of SHA-256 over the canonical form of what affects a task."""
NetworkId = NewType("NetworkId", str)
"""8 characters of [a-z0-9], allocated; usable in link names."""

STACK_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
OBJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def service_key(stack: str, service: str) -> str:
    """The key of everything kept per service: `STACK/SERVICE`."""
    return f"{stack}/{service}"
