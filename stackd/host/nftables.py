"""One nft table kept as wanted: rules as text through libnftables, elements by raw netlink.

What the kernel holds is remembered, so that a change sends only its difference and nothing is
listed on the hot path. Used by `host.plane` (data plane) and `host.uplink` (host).
"""

import ctypes
import errno
import json
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from stackd.core.network.elements import Change, Elements
from stackd.errors import Unavailable
from stackd.host.netlink import (
    ACK,
    CREATE,
    NETFILTER,
    Message,
    NetlinkError,
    NetlinkSocket,
    attr,
    attributes,
    each,
    nest,
    text,
)

_NEWSETELEM, _GETSETELEM, _DELSETELEM, _GETGEN = 0xA0C, 0xA0D, 0xA0E, 0xA10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_GOTO = struct.pack("!i", -4)
_JSON, _TERSE, _STATELESS = 1 << 4, 1 << 11, 1 << 2
_PER_MESSAGE = 500
_VERDICT_MAPS = frozenset({"svc"})


class Nft:
    """libnftables in the namespace of the thread that makes it. `lock` is shared by all of a
    process: the library keeps a cache of its own beside its contexts."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._library = ctypes.CDLL("libnftables.so.1")
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(self._library, name).restype = ctypes.c_char_p
        with lock:
            self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
            self._library.nft_ctx_buffer_output(self._context)
            self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str, flags: int = 0) -> str:
        """Run commands as one transaction; their output. Raises Unavailable with nft's reason."""
        with self._lock:
            self._library.nft_ctx_output_set_flags(self._context, flags)
            code = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
            output = self._library.nft_ctx_get_output_buffer(self._context) or b""
            error = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if code != 0:
            reason = error.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
            raise Unavailable(f"nftables refused a change: {reason[0]}", "See `nft list ruleset`.")
        return str(output.decode("utf-8", "replace"))

    def objects(self, command: str) -> list[Mapping[str, Mapping[str, object]]]:
        """What a list command shows, as libnftables' JSON objects."""
        answer = json.loads(self.run(command, _JSON) or '{"nftables": []}')
        return [item for item in answer["nftables"] if "metainfo" not in item]

    def close(self) -> None:
        """Free the context."""
        with self._lock:
            self._library.nft_ctx_free(self._context)


class Table:
    """An `ip` table. `render` gives its rules for the slot counts in use."""

    def __init__(self, nft: Nft, name: str, render: Callable[[Iterable[int]], str]) -> None:
        self.name = name
        self._nft = nft
        self._netlink = NetlinkSocket(NETFILTER)
        self._render = render
        self._moduli: set[int] = set()
        self._state: dict[str, dict[bytes, bytes]] = {}
        self._listing = ""
        self._generation = -1

    def load(self, sets: Sequence[str]) -> None:
        """Make the rules as rendered, in one transaction, and learn the elements of `sets`, which
        stay. A table of another shape (an older version's) is replaced."""
        self._state = {}
        for name in sets:
            self._state[name] = self._read(name)
        chains = {data.decode() for data in self._state.get("svc", {}).values()}
        self._moduli |= {int(chain[1:]) for chain in chains if chain[1:].isdigit()}
        try:
            self._nft.run(self._render(self._moduli))
        except Unavailable:
            self._nft.run(f"delete table ip {self.name}\n" + self._render(self._moduli))
            self._state = {name: {} for name in sets}
        self._learn()

    def add_chains(self, moduli: Iterable[int], make: Callable[[Iterable[int]], str]) -> None:
        """Have the chains of these slot counts; `make` renders those that are missing."""
        if missing := set(moduli) - self._moduli:
            self._nft.run(make(missing))
            self._moduli |= missing
            self._learn()

    def replace(self, wanted: Elements) -> None:
        """Make each of these sets hold exactly these elements, all in one transaction."""
        changes: list[Change] = []
        for name, elements in wanted.items():
            have = self._state[name]
            changes += [(name, key, None) for key in have if key not in elements]
            changes += [(name, k, data) for k, data in elements.items() if have.get(k) != data]
        self.change(changes)

    def change(self, changes: Iterable[Change]) -> None:
        """Carry out changes in one transaction. If the kernel's state is not what is remembered
        it is read again, once. Raises Unavailable."""
        listed = list(changes)
        try:
            self._commit(listed)
        except NetlinkError as error:
            if error.errno not in (errno.ENOENT, errno.EEXIST, errno.EBUSY):
                raise Unavailable(f"nftables refused a change: {error.strerror}") from error
            try:
                self._recover(listed)
            except NetlinkError as again:
                raise Unavailable(f"nftables refused a change: {again.strerror}") from again

    def _recover(self, changes: Sequence[Change]) -> None:
        wanted = {name: dict(elements) for name, elements in self._state.items()}
        for name, key, data in changes:
            if data is None:
                wanted[name].pop(key, None)
            else:
                wanted[name][key] = data
        self._restore(wanted)

    def verify(self) -> bool:
        """Whether the kernel had what it should; if not, it has now. Raises Unavailable."""
        if self._generation == self._read_generation():
            return True
        rules = self._list() == self._listing
        if rules and all(self._read(name) == have for name, have in self._state.items()):
            self._generation = self._read_generation()
            return True
        try:
            self._restore({name: dict(elements) for name, elements in self._state.items()})
        except NetlinkError as error:
            raise Unavailable(f"nftables refused a change: {error.strerror}") from error
        return False

    def _restore(self, wanted: Mapping[str, Mapping[bytes, bytes]]) -> None:
        self.load(tuple(self._state))
        changes: list[Change] = []
        for name, elements in wanted.items():
            have = self._state[name]
            changes += [(name, key, None) for key in have if key not in elements]
            changes += [(name, k, data) for k, data in elements.items() if have.get(k) != data]
        self._commit(changes)

    def close(self) -> None:
        """Close the socket; the table stays."""
        self._netlink.close()

    def _learn(self) -> None:
        self._listing = self._list()
        self._generation = self._read_generation()

    def _list(self) -> str:
        try:
            return self._nft.run(f"list table ip {self.name}", _TERSE | _STATELESS)
        except Unavailable:
            return ""

    def _commit(self, changes: Iterable[Change]) -> None:
        gone: dict[str, list[bytes]] = {}
        new: dict[str, list[bytes]] = {}
        real: list[Change] = []
        for name, key, data in changes:
            before = self._state[name].get(key)
            if before == data:
                continue
            real.append((name, key, data))
            if before is not None:
                gone.setdefault(name, []).append(_element(name, key, None))
            if data is not None:
                new.setdefault(name, []).append(_element(name, key, data))
        if not real:
            return
        body = self._messages(_DELSETELEM, 0, gone) + self._messages(_NEWSETELEM, CREATE, new)
        marker = struct.pack("!BBH", 0, 0, 10)
        batch = [Message(_BATCH_BEGIN, 0, marker), *body, Message(_BATCH_END, 0, marker)]
        for error in self._netlink.exchange(batch, len(body)):
            if error is not None:
                raise error
        for name, key, data in real:
            if data is None:
                del self._state[name][key]
            else:
                self._state[name][key] = data
        now = self._read_generation()
        # any other step than one by this transaction means that somebody else wrote as well
        self._generation = now if now == self._generation + 1 else -1

    def _messages(
        self, kind: int, flags: int, elements: Mapping[str, Sequence[bytes]]
    ) -> list[Message]:
        found = []
        for name, packed in elements.items():
            head = struct.pack("!BBH", 2, 0, 0) + text(1, self.name) + text(2, name)
            for start in range(0, len(packed), _PER_MESSAGE):
                body = head + nest(3, *packed[start : start + _PER_MESSAGE])
                found.append(Message(kind, flags | ACK, body))
        return found

    def _read(self, name: str) -> dict[bytes, bytes]:
        """The elements of a set in the kernel; none when it is not there."""
        body = struct.pack("!BBH", 2, 0, 0) + text(1, self.name) + text(2, name)
        try:
            answers = self._netlink.dump(Message(_GETSETELEM, 0, body))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return {}
            raise
        found: dict[bytes, bytes] = {}
        for answer in answers:
            for _, element in each(attributes(answer.body[4:]).get(3, b"")):
                fields = attributes(element)
                key = attributes(fields[1])[1]
                data = attributes(fields.get(2, b""))
                chain = attributes(data[2])[2].rstrip(b"\0") if 2 in data else b""
                found[key] = chain or data.get(1, b"")
        return found

    def _read_generation(self) -> int:
        answer = self._netlink.get(Message(_GETGEN, 0, struct.pack("!BBH", 0, 0, 0)))
        return int.from_bytes(attributes(answer.body[4:])[1], "big")


def _element(name: str, key: bytes, data: bytes | None) -> bytes:
    packed_key = nest(1, attr(1, key))
    if not data:
        return nest(1, packed_key)
    if name in _VERDICT_MAPS:
        return nest(1, packed_key, nest(2, nest(2, attr(1, _GOTO), attr(2, data + b"\0"))))
    return nest(1, packed_key, nest(2, attr(1, data)))
