"""Recorded counts of requests, read from JSON lines or CSV and cut into blocks.

Called by `stackd analysis replay`. A row says how many requests one instance answered up to a time,
and how many of them failed; where in the row they failed is not known, so they are placed at
random. Rows of single requests keep their order, and with it their bursts.
"""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from stackd.core.model.analysis import Block
from stackd.core.model.ids import RevisionId
from stackd.core.model.record import Value

CANARY, STABLE = RevisionId("canary"), RevisionId("stable")
MAX_REQUESTS = 20_000_000
"""Requests of a recording: each is looked at."""

Draw = Callable[[], float]
"""Random numbers from 0 to 1: core has none of its own."""


class Row(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one instance answered since its row before."""

    at: float
    """Seconds, of any clock."""
    requests: int
    errors: int = 0
    instance: str = "stable"
    canary: bool = False
    latency: float = 0.0
    """Of these requests, at the policy's quantile, in seconds; 0 = not recorded."""


def parse(text: str, csv_file: bool) -> list[Row]:
    """The rows in the order of time.

    Raises:
        ValueError: with the line and what is wrong with it.
    """
    rows, total = [], 0
    for number, fields in _csv(text) if csv_file else _json(text):
        try:
            row = _row(fields)
        except (ValueError, TypeError) as error:
            raise ValueError(f"line {number}: {error}") from error
        total += row.requests
        if total > MAX_REQUESTS:
            raise ValueError(f"line {number}: more than {MAX_REQUESTS:,} requests in all")
        rows.append(row)
    if not rows:
        raise ValueError("there are no rows")
    return sorted(rows, key=lambda row: row.at)


def _json(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise ValueError(f"line {number}: not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"line {number}: a row is an object")
        yield number, found


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), restkey="more columns than the first line")
    for fields in reader:
        yield reader.line_num, {k: v for k, v in fields.items() if v not in (None, "")}


def _row(fields: dict[str, Any]) -> Row:
    values = dict(fields)
    if "at" in values:
        values["at"] = _time(values["at"])
    role = values.pop("role", "stable")
    if role not in ("canary", "stable"):
        raise ValueError(f"role is {role!r}: write canary or stable")
    values["canary"] = role == "canary"
    values.setdefault("instance", role)
    row = msgspec.convert(values, type=Row, strict=False)
    if row.requests < 0 or not 0 <= row.errors <= row.requests:
        raise ValueError(f"{row.errors} errors of {row.requests} requests cannot be")
    if not math.isfinite(row.at) or not math.isfinite(row.latency) or row.latency < 0:
        raise ValueError("at and latency are finite numbers of seconds")
    return row


def _time(value: Any) -> float:
    if isinstance(value, str) and "T" in value:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError(f"{value} has no time zone: end it with Z")
        return moment.timestamp()
    return float(value)


class Cutter:
    """Cuts the requests of one instance into blocks, row after row."""

    def __init__(self, instance: str, canary: bool, size: int, draw: Draw) -> None:
        self._instance, self._size, self._draw = instance, size, draw
        self._revision = CANARY if canary else STABLE
        self._since: float | None = None
        self._requests = self._errors = self._sequence = 0
        self._latency = 0.0

    def row(self, row: Row, extra: float = 0.0) -> Iterator[tuple[float, Block]]:
        """The blocks that a row completes, each with the time of that. `extra` is the chance with
        which a request that was answered well is made to fail."""
        left, bad = row.requests, row.errors
        while left:
            if self._since is None:
                self._since = row.at
            failed = bad > 0 and self._draw() * left < bad
            bad -= failed
            left -= 1
            self._requests += 1
            self._errors += failed or (extra > 0 and self._draw() < extra)
            self._latency = max(self._latency, row.latency)
            if self._requests == self._size:
                yield row.at, self._block()

    def _block(self) -> Block:
        assert self._since is not None, "a block has requests"
        self._sequence += 1
        block = Block(
            instance=self._instance,
            revision=self._revision,
            sequence=self._sequence,
            since=self._since,
            requests=self._requests,
            errors=self._errors,
            latency=self._latency,
        )
        self._since, self._requests, self._errors, self._latency = None, 0, 0, 0.0
        return block


def error_rate(rows: Sequence[Row]) -> float:
    """Share of the requests that failed."""
    requests = sum(row.requests for row in rows)
    return sum(row.errors for row in rows) / requests if requests else 0.0
