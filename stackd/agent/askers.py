"""Which task asks, by its source address: nobody can forge one in the data plane.

Used by the servers that tasks reach at their gateway: `agent.dns` and `agent.toggles`.
"""

import socket
from typing import Protocol

from stackd.core.model.driver import NetworkView
from stackd.core.network import names
from stackd.core.network.names import Asker


class Place(Protocol):
    """Where such servers live: the node's network (`host.datapath.HostNetwork`)."""

    @property
    def view(self) -> NetworkView:
        """What it was configured with last; another value when it is configured again."""
        ...

    async def listen(self, kind: socket.SocketKind, port: int) -> socket.socket:
        """A bound socket that tasks reach at their gateway. Raises Unavailable."""
        ...


class Askers:
    """The tasks of this node by their addresses, as the node's network was configured last."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._view: NetworkView | None = None
        self._found: dict[str, Asker] = {}

    def at(self, address: str) -> Asker | None:
        """The task that has this address; None for what is none of ours."""
        view = self._place.view
        if view is not self._view:
            self._found = names.askers(
                view.networks, view.attachments, view.here.id, view.here.index
            )
            self._view = view
        return self._found.get(address)
