"""The node's certificate over time: when a new one is asked for, and taking it.

The key stays on the node. Used by `agent.main` as hooks of the session.
"""

import logging

from stackd.agent.config import Papers
from stackd.aio.clock import Clock
from stackd.errors import StackdError
from stackd.pki import renewal, request
from stackd.wire.messages import Certificate
from stackd.wire.tls import Identity

_log = logging.getLogger(__name__)
AGAIN_SECONDS = 600.0


class Renewal:
    """Holds the identity that new connections use."""

    def __init__(self, papers: Papers, clock: Clock) -> None:
        self._papers = papers
        self._clock = clock
        self._asked = False
        self.identity: Identity = papers.load()

    async def due(self) -> bytes:
        """The request for the next certificate, when it is time; asked again after a while if no
        answer came."""
        at = renewal.renew_at(self.identity.certificate)
        wait = at - self._clock.now()
        await self._clock.sleep(max(wait, AGAIN_SECONDS) if self._asked else max(wait, 0.0))
        self._asked = True
        return request.new_request(self.identity.key)

    def take(self, issued: Certificate) -> None:
        """A new certificate has come: kept, and used from the next connection on."""
        try:
            self.identity = self._papers.renewed(issued.certificate, issued.authority)
        except StackdError as error:
            _log.error("the new certificate is not kept: %s", error.cause)
            return
        self._asked = False
        _log.info("the node has a new certificate")
