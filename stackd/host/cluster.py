"""Sets up a cluster on this machine: its data folder, id, free ports, an address pool that
overlaps nothing. Called by `up`; read by every command that looks for the local cluster."""

import contextlib
import fcntl
import ipaddress
import itertools
import os
import secrets
import socket
import string
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec

from stackd.aio.layout import RUN_ROOT
from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused
from stackd.host import listening, neighbours

NAME = "cluster.json"
POOLS = ("10.64.0.0/10", "10.128.0.0/10", "10.192.0.0/10", "10.0.0.0/10", "172.16.0.0/12")
SMALL_POOLS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""Where smaller pools are looked for when a part of each large one is in use."""
SMALL = 16
_UNDERLAY = 24
_LOOPBACK = "127.0.0.1"
_LETTERS = string.ascii_lowercase
_CHARACTERS = string.ascii_lowercase + string.digits


def read(data: Path) -> ClusterFile | None:
    """The cluster kept in `data`, or None when there is none. Raises Refused."""
    try:
        body = (data / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise Refused(f"{data} cannot be read.", "Run this as root.") from error
    try:
        return msgspec.json.decode(body, type=ClusterFile)
    except msgspec.DecodeError as error:
        raise Refused(
            f"{data / NAME} is damaged: {error}.", "Restore it, or purge the folder."
        ) from error


def write(data: Path, cluster: ClusterFile) -> None:
    """Keep `cluster`, whole or not at all."""
    draft = data / f".{NAME}"
    with draft.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(cluster), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(data / NAME)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Held while a new cluster chooses its ports and pool and until it uses them, so that two
    that start at once do not choose the same. The lock is on a folder: it leaves no file."""
    handle = os.open(RUN_ROOT.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def create(data: Path, nodes: int, heartbeat: float = 5.0) -> tuple[ClusterFile, list[str]]:
    """Make the data folder (0700) and choose what the cluster needs.

    Returns it with one sentence for each default that was taken and had to be another. Raises
    Refused when the folder cannot be made or belongs to something else.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.chmod(0o700)
    except OSError as error:
        raise Refused(
            f"{data} cannot be made: {error.strerror}.", "Choose another --data."
        ) from error
    if any(data.iterdir()):
        raise Refused(
            f"{data} is not empty and holds no cluster.", "Choose an empty folder with --data."
        )
    notes: list[str] = []
    claimed = _claimed("")
    control = _free_port(7420, notes, "the control port", avoid=claimed)
    http = _free_port(7421, notes, "the HTTP port", avoid=(control, *claimed))
    enrol = _free_port(7422, notes, "the port for joiners", avoid=(control, http, *claimed))
    pool = _free_pool(notes)
    underlay = _free_underlay(pool) if nodes > 1 else ""
    cluster = ClusterFile(
        id=secrets.choice(_LETTERS) + "".join(secrets.choice(_CHARACTERS) for _ in range(7)),
        nodes=nodes,
        heartbeat=heartbeat,
        control_port=control,
        http_port=http,
        enrol_port=enrol,
        pool=pool,
        address=_own_address(underlay),
        underlay=underlay,
    )
    write(data, cluster)
    return cluster, notes


def claim(run: Path, cluster: ClusterFile) -> None:
    """Show in the cluster's runtime folder which ports are its own until it is taken down: while
    its manager is just started again they look free to others."""
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(run, cluster)


def _claimed(but: str) -> set[int]:
    """Ports of the other clusters on this machine; what cannot be read claims nothing."""
    ports: set[int] = set()
    for folder in RUN_ROOT.glob("*"):
        with contextlib.suppress(Refused):
            other = read(folder) if folder.name != but else None
            ports |= {other.control_port, other.http_port, other.enrol_port} if other else set()
    return ports


def grow(data: Path, cluster: ClusterFile, nodes: int) -> ClusterFile:
    """Keep that there are more nodes. Raises Refused for fewer."""
    if nodes < cluster.nodes:
        raise Refused(
            f"This cluster has {cluster.nodes} nodes.",
            "Leave --nodes out, or drain nodes that are not wanted: stackd node drain NODE",
        )
    if cluster.address == _LOOPBACK:
        raise Refused(
            "The cluster was made on a machine without an address that other nodes can reach.",
            "Make a new one with --nodes.",
        )
    underlay = cluster.underlay or _free_underlay(cluster.pool)
    grown = msgspec.structs.replace(cluster, nodes=nodes, underlay=underlay)
    write(data, grown)
    return grown


def resume(data: Path, cluster: ClusterFile) -> tuple[ClusterFile, list[str]]:
    """A kept cluster whose manager does not run, with another port, pool or address wherever
    something else has taken its own meanwhile; kept so, with one sentence for each.

    What the cluster's own network still holds stays as it is. Raises Refused when nothing is free.
    """
    notes: list[str] = []
    ports: list[int] = []
    before = (cluster.control_port, cluster.http_port, cluster.enrol_port)
    claimed = _claimed(cluster.id)
    for own, what in (
        (cluster.control_port, "the control port"),
        (cluster.http_port, "the HTTP port"),
        (cluster.enrol_port, "the port for joiners"),
    ):
        held, _, _ = listening.problem(own, ()).partition(". ")
        if own in claimed:
            held = f"Port {own} is another cluster's"
        ports.append(_free_port(0, [], what, avoid=(*before, *ports, *claimed)) if held else own)
        notes += [f"{held}: {what} is {ports[-1]} now."] if held else []
    kept = msgspec.structs.replace(
        cluster,
        control_port=ports[0],
        http_port=ports[1],
        enrol_port=ports[2],
        pool=_kept_pool(cluster, notes),
        address=_kept_address(cluster, notes),
    )
    if kept != cluster:
        write(data, kept)
    return kept, notes


def _kept_pool(cluster: ClusterFile, notes: list[str]) -> str:
    """The cluster's pool, or a free one when another route overlaps it."""
    pool, routes = ipaddress.IPv4Network(cluster.pool), _device_routes()
    own = any(device.startswith(cluster.id) for device, _ in routes)
    clash = next(((d, r) for d, r in routes if r.overlaps(pool)), None)
    if own or clash is None:
        return cluster.pool
    taken = [route for _, route in routes]
    if cluster.underlay:
        taken.append(ipaddress.IPv4Network(cluster.underlay))
    found = free_pool([*taken, *neighbours.addresses()])
    notes.append(
        f"The address pool {pool} overlaps the route {clash[1]} of {clash[0]}: tasks get addresses "
        f"from {found} now."
    )
    return found


def _kept_address(cluster: ClusterFile, notes: list[str]) -> str:
    """The cluster's address while it is one of this machine, else the one it has now."""
    within = cluster.underlay and cluster.address == str(ipaddress.IPv4Network(cluster.underlay)[1])
    with socket.socket() as probe:
        try:
            probe.bind((cluster.address, 0))
            return cluster.address
        except OSError:
            if within:  # made with the switch
                return cluster.address
    found = _own_address(cluster.underlay)
    notes.append(f"This machine has no address {cluster.address} any more: it is {found} now.")
    return found


def _free_port(wanted: int, notes: list[str], what: str, avoid: Collection[int] = ()) -> int:
    """`wanted` if it is free, else one of a range; `wanted` 0: one of the range."""
    candidates: list[int] = [wanted, *range(17420, 18420)]
    for port in candidates:
        if not port or port in avoid:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        if port != wanted:
            notes.append(f"{wanted} is taken: {what} is {port}.")
        return port
    raise Refused(f"There is no free port for {what}.", "Free one between 17420 and 18420.")


def _free_pool(notes: list[str]) -> str:
    """The first pool that overlaps no route of this machine (two clusters on one machine need
    disjoint pools) and holds nobody whom it talks to."""
    pool = free_pool([*_routes(), *neighbours.addresses()])
    if pool != POOLS[0]:
        notes.append(f"{POOLS[0]} is in use here: tasks get addresses from {pool}.")
    return pool


def free_pool(taken: Sequence[ipaddress.IPv4Network]) -> str:
    """The first pool that overlaps nothing taken, a large one if there is one. Raises Refused."""
    large = map(ipaddress.IPv4Network, POOLS)
    ranges = map(ipaddress.IPv4Network, SMALL_POOLS)
    small = (net for whole in ranges for net in whole.subnets(new_prefix=SMALL))
    for net in itertools.chain(large, small):
        if not any(net.overlaps(route) for route in taken):
            return str(net)
    raise Refused("Every address pool overlaps a route of this machine.", "Remove a route.")


def _routes() -> list[ipaddress.IPv4Network]:
    return [route for _, route in _device_routes()]


def _device_routes() -> list[tuple[str, ipaddress.IPv4Network]]:
    found = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        base = int.from_bytes(bytes.fromhex(fields[1])[::-1], "big")
        mask = int.from_bytes(bytes.fromhex(fields[7])[::-1], "big")
        if mask:
            net = ipaddress.IPv4Network((base, bin(mask).count("1")))
            found.append((fields[0], net))
    return found


def _free_underlay(pool: str) -> str:
    """A network for the links between embedded nodes."""
    taken = [*_routes(), *neighbours.addresses(), ipaddress.IPv4Network(pool)]
    ranges = map(ipaddress.IPv4Network, reversed(SMALL_POOLS))
    for net in (net for whole in ranges for net in whole.subnets(new_prefix=_UNDERLAY)):
        if not any(net.overlaps(other) for other in taken):
            return str(net)
    raise Refused("No network is free for the links between nodes.", "Remove a route.")


def _own_address(underlay: str) -> str:
    """The address that a packet to elsewhere would leave from. When there is no route: the one in
    the network between embedded nodes, or loopback. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return str(ipaddress.IPv4Network(underlay)[1]) if underlay else _LOOPBACK
