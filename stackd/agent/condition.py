"""How the node itself is: what is wrong with it now, and what it has repaired.

Fed by whatever on the node meets a fault that is nobody's task (network, record, traffic); told
through `agent.reporter`, so that `events` and `why` show it.
"""

import logging

from stackd.agent.reporter import Reporter
from stackd.aio.clock import Clock
from stackd.core.model.node import Notice

_log = logging.getLogger(__name__)
QUIET = 10.0
"""Seconds in which the same is not told again, so that somebody who breaks a thing again and
again does not fill the cluster's events."""


class Condition:
    """See the module."""

    def __init__(self, reporter: Reporter, clock: Clock) -> None:
        self._reporter = reporter
        self._clock = clock
        self._troubles: dict[str, str] = {}
        self._told: dict[str, float] = {}

    def repaired(self, text: str) -> None:
        """Something others had broken is whole again; `text` is a sentence."""
        _log.warning("%s", text)
        self._tell("node.repaired", text)

    def trouble(self, part: str, cause: str) -> None:
        """`part` of the node does not work because of `cause` (a sentence); '' = it does."""
        before = self._troubles.get(part, "")
        if cause == before:
            return
        if cause:
            _log.error("%s: %s", part, cause)
            self._troubles[part] = cause
            self._tell("node.trouble", f"{part}: {cause}")
        else:
            del self._troubles[part]
            self._tell("node.recovered", f"{part} works again (it was: {before})")

    def _tell(self, kind: str, text: str) -> None:
        now = self._clock.now()
        self._told = {known: at for known, at in self._told.items() if now - at < QUIET}
        repeated = text in self._told
        self._told.setdefault(text, now)
        notice = None if repeated else Notice(at=now, kind=kind, text=text)
        self._reporter.happened(notice, self._troubles)
