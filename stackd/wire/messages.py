"""The messages of a session as plain values, and their protobuf frames.

`manager.dispatcher` and `agent.session` speak these; only `agent_server` and `agent_client` know
frames.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stackd.core.model.assignment import Assignment
from stackd.core.model.node import NodeReport
from stackd.core.model.requests import Measured
from stackd.core.model.task import TaskStatus
from stackd.errors import Refused
from stackd.wire import codec, limits
from stackd.wire.gen import agent_pb2

PROTOCOL = 1
"""Raised when an older peer could no longer be understood."""
STATUS_BATCH = 100
REQUEST_BATCH = 500


@dataclass(frozen=True, slots=True)
class Hello:
    """An agent's first message. `epoch`: of its last registration. `memory` in bytes."""

    node_id: str
    protocol: int = PROTOCOL
    epoch: int = 0
    applied: int = 0
    address: str = ""
    cpus: float = 0
    memory: int = 0
    os: str = "linux"
    arch: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Statuses:
    """What is observed of tasks; at most `STATUS_BATCH`."""

    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What the node applied of the traffic, and its counts."""

    report: NodeReport


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of services that are being analysed; at most `REQUEST_BATCH` batches and counts."""

    measured: Measured


@dataclass(frozen=True, slots=True)
class Beat:
    """Nothing new, but alive."""


@dataclass(frozen=True, slots=True)
class AskFull:
    """A message of the stream was missed: send everything again."""


@dataclass(frozen=True, slots=True)
class Renew:
    """A new certificate, please; the answer is `Certificate`."""

    csr: bytes


AgentMessage = Hello | Statuses | Report | Beat | AskFull | Renew | Requests


@dataclass(frozen=True, slots=True)
class Welcome:
    """The manager's answer to Hello. `heartbeat` in seconds; `managers` are HOST:PORT."""

    epoch: int
    leader_epoch: int
    heartbeat: float
    managers: tuple[str, ...] = ()
    cluster: str = ""
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Assigned:
    """A full or incremental assignment."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class OpenTunnel:
    """Open the Tunnel rpc with this id and serve `kind` (exec or logs)."""

    id: str
    kind: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM: the node's new certificate and the authority to trust from now on."""

    certificate: bytes
    authority: bytes


ManagerMessage = Welcome | Assigned | OpenTunnel | Certificate


def agent_frame(message: AgentMessage) -> agent_pb2.AgentMessage:
    """The frame of an agent's message."""
    match message:
        case Hello():
            values = {name: getattr(message, name) for name in Hello.__slots__}
            return agent_pb2.AgentMessage(hello=agent_pb2.Hello(**values))
        case Statuses(statuses=statuses):
            rows = agent_pb2.Statuses(status=[codec.encode(status) for status in statuses])
            return agent_pb2.AgentMessage(statuses=rows)
        case Report(report=report):
            return agent_pb2.AgentMessage(report=codec.encode(report))
        case Beat():
            return agent_pb2.AgentMessage(beat=agent_pb2.Beat())
        case AskFull():
            return agent_pb2.AgentMessage(ask_full=agent_pb2.AskFull())
        case Renew(csr=csr):
            return agent_pb2.AgentMessage(renew=agent_pb2.Renew(csr=csr))
        case Requests(measured=measured):
            return agent_pb2.AgentMessage(requests=codec.encode(measured))


def agent_message(frame: agent_pb2.AgentMessage) -> AgentMessage:
    """An agent's message from its frame. Raises Refused when it is not one."""
    match frame.WhichOneof("message"):
        case "hello":
            return _hello(frame.hello)
        case "statuses":
            rows = frame.statuses.status
            if len(rows) > STATUS_BATCH:
                raise Refused(f"{len(rows)} statuses in one message; {STATUS_BATCH} are allowed.")
            return Statuses(tuple(codec.decode(row, TaskStatus) for row in rows))
        case "report":
            return Report(codec.decode(frame.report, NodeReport))
        case "beat":
            return Beat()
        case "ask_full":
            return AskFull()
        case "renew":
            return Renew(frame.renew.csr)
        case "requests":
            measured = codec.decode(frame.requests, Measured)
            if (
                max(map(len, (measured.batches, measured.counts, measured.variants)))
                > REQUEST_BATCH
            ):
                raise Refused(f"More than {REQUEST_BATCH} batches of requests in one message.")
            return Requests(measured)
        case other:
            raise Refused(f"An agent's message of an unknown kind ({other}).")


def _hello(frame: agent_pb2.Hello) -> Hello:
    values = {name: getattr(frame, name) for name in Hello.__slots__}
    return Hello(**{**values, "labels": dict(frame.labels)})


def manager_frames(message: ManagerMessage) -> Iterator[agent_pb2.ManagerMessage]:
    """The frames of a manager's message: several for a large assignment."""
    match message:
        case Assigned(assignment=assignment):
            data = codec.encode(assignment)
            for start in range(0, len(data), limits.PART_BYTES):
                chunk = data[start : start + limits.PART_BYTES]
                last = start + limits.PART_BYTES >= len(data)
                part = agent_pb2.Part(data=chunk, last=last)
                yield agent_pb2.ManagerMessage(assignment=part)
        case Welcome():
            values = {name: getattr(message, name) for name in Welcome.__slots__}
            yield agent_pb2.ManagerMessage(welcome=agent_pb2.Welcome(**values))
        case OpenTunnel(id=name, kind=kind, request=request):
            tunnel = agent_pb2.OpenTunnel(id=name, kind=kind, request=request)
            yield agent_pb2.ManagerMessage(open_tunnel=tunnel)
        case Certificate(certificate=certificate, authority=authority):
            issued = agent_pb2.Certificate(certificate=certificate, authority=authority)
            yield agent_pb2.ManagerMessage(certificate=issued)


class ManagerMessages:
    """Puts a manager's frames together again. One per session."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def take(self, frame: agent_pb2.ManagerMessage) -> ManagerMessage | None:
        """The message that `frame` completes, if any. Raises Refused when it is not one."""
        match frame.WhichOneof("message"):
            case "assignment":
                return self._part(frame.assignment)
            case "welcome":
                welcome = frame.welcome
                values = {name: getattr(welcome, name) for name in Welcome.__slots__}
                return Welcome(**{**values, "managers": tuple(welcome.managers)})
            case "open_tunnel":
                tunnel = frame.open_tunnel
                return OpenTunnel(tunnel.id, tunnel.kind, tunnel.request)
            case "certificate":
                issued = frame.certificate
                return Certificate(issued.certificate, issued.authority)
            case _:
                return None  # a newer manager's message that this agent can do without

    def _part(self, part: agent_pb2.Part) -> Assigned | None:
        self._parts += part.data
        if len(self._parts) > limits.ASSIGNMENT_BYTES:
            raise Refused("An assignment is larger than an agent accepts.")
        if not part.last:
            return None
        data = bytes(self._parts)
        self._parts.clear()
        return Assigned(codec.decode(data, Assignment))
