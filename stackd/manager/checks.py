"""Asks what is outside stackd: Prometheus, HTTP servers, commands, gates.

Called by `manager.checking`. A source that is down, slow or talks nonsense gives ERROR, never a
pass.
"""

import json
import logging
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import msgspec

from stackd.aio import confined, proc
from stackd.core.analysis.checks import answer
from stackd.core.model.analysis import (
    Check,
    CheckKind,
    CheckOutcome,
    CheckResult,
)
from stackd.errors import Unavailable
from stackd.web.fetch import Answer, Call, fetch

_log = logging.getLogger(__name__)

NOBODY = 65534
MEMORY = 1024**3
SIZE = 16 * 1024**2
OUTPUT = 64 * 1024
TEXT = 200
"""Characters of an answer that are kept for people."""
_READS = (
    *("/bin", "/sbin", "/usr", "/lib", "/lib64", "/opt", "/etc/ssl", "/etc/hosts"),
    *("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/passwd", "/etc/group"),
    *("/etc/alternatives", "/dev/null", "/dev/urandom", "/proc"),
)
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is being judged, as gates and commands are told."""

    stack: str
    service: str
    place: str
    canary: str
    """The new revision; of a toggle the share that it goes to."""
    stable: str
    feature: str = ""
    """The toggle that is being judged, if it is one."""
    step: int = 0
    """Of a gate: which step it confirms, from 1, of `steps`, and its words in `status`."""
    words: str = ""
    steps: int = 0

    @property
    def environment(self) -> Mapping[str, str]:
        """What a command is told: a gate's step is not its business."""
        names = ("stack", "service", "place", "canary", "stable", "feature")
        return {f"STACKD_{name.upper()}": getattr(self, name) for name in names}

    @property
    def body(self) -> Mapping[str, str | int]:
        """What a gate is told."""
        return {name: getattr(self, name) for name in self.__slots__}


class _Sample(msgspec.Struct):
    value: tuple[float, str] | None = None
    values: list[tuple[float, str]] | None = None


class _Result(msgspec.Struct, tag_field="resultType", tag="none"):
    pass


class _Vector(_Result, tag="vector"):
    result: list[_Sample]


class _Scalar(_Result, tag="scalar"):
    result: tuple[float, str]


class _Reply(msgspec.Struct):
    status: str
    data: _Vector | _Scalar | None = None
    error: str = ""


async def ask(check: Check, subject: Subject, at: float, folder: Path) -> CheckResult:
    """One answer. A command gets a folder of its own in `folder`, which everybody may pass
    through. Never raises but for being cancelled."""
    try:
        match check.kind:
            case CheckKind.PROMETHEUS:
                return await _prometheus(check, at)
            case CheckKind.HTTP:
                return _of_status(check, await fetch(Call(check.url, timeout=check.timeout)), at)
            case CheckKind.COMMAND:
                return await _command(check, subject, at, folder)
            case CheckKind.WEBHOOK:
                return await _gate(check, subject, at)
            case never:
                assert_never(never)
    except Unavailable as error:
        return _result(check, at, CheckOutcome.ERROR, error.cause)
    except Exception as error:
        _log.exception("check %s of %s/%s", check.name, subject.stack, subject.service)
        return _result(check, at, CheckOutcome.ERROR, f"it failed: {type(error).__name__}")


def _result(check: Check, at: float, outcome: CheckOutcome, text: str) -> CheckResult:
    return CheckResult(name=check.name, at=at, outcome=outcome, text=text[:TEXT])


async def _prometheus(check: Check, at: float) -> CheckResult:
    base = check.url.rstrip("/")
    query = urllib.parse.urlencode({"query": check.query, "timeout": f"{check.timeout:g}s"})
    found = await fetch(Call(f"{base}/api/v1/query?{query}", timeout=check.timeout))
    try:
        reply = msgspec.json.decode(found.body, type=_Reply)
    except msgspec.DecodeError:
        return _result(check, at, CheckOutcome.ERROR, f"answer {found.status} is not Prometheus'")
    if found.status != 200 or reply.status != "success" or reply.data is None:
        why = reply.error or "no result"
        return _result(check, at, CheckOutcome.ERROR, f"answer {found.status}: {why}")
    try:
        values = _values(reply.data)
    except ValueError:
        return _result(check, at, CheckOutcome.ERROR, "the query gave a value that is no number")
    return answer(check, values, at)


def _values(data: _Vector | _Scalar) -> list[float]:
    """Raises ValueError."""
    match data:
        case _Vector():
            pairs = [sample.value for sample in data.result]
            if any(pair is None for pair in pairs):
                raise ValueError("a range")
            return [float(pair[1]) for pair in pairs if pair is not None]
        case _Scalar():
            return [float(data.result[1])]


def _of_status(check: Check, found: Answer, at: float) -> CheckResult:
    """2xx passes; 5xx of whoever stands before it says as little as no answer would."""
    text = f"answer {found.status}"
    if 200 <= found.status < 300:
        return _result(check, at, CheckOutcome.PASS, text)
    if found.status in (502, 503, 504) or found.status < 200:
        return _result(check, at, CheckOutcome.ERROR, text)
    return _result(check, at, CheckOutcome.FAIL, text)


async def _gate(check: Check, subject: Subject, at: float) -> CheckResult:
    """Confirms with 200 or 204; anything else from 200 to 499 lets wait."""
    call = Call(
        check.url,
        body=msgspec.json.encode(subject.body),
        headers={"content-type": "application/json"},
        timeout=check.timeout,
    )
    status = (await fetch(call)).status
    outcome = CheckOutcome.WAIT if 200 <= status < 500 else CheckOutcome.ERROR
    if status in (200, 204):
        outcome = CheckOutcome.PASS
    result = _result(check, at, outcome, f"answer {status}")
    return msgspec.structs.replace(result, step=subject.step)


async def _command(check: Check, subject: Subject, at: float, place: Path) -> CheckResult:
    """Run by nobody, without capabilities, with the system's programs to read and an empty folder
    of its own to write: who may write a stack file is not root of this machine."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        shutil.chown(folder, NOBODY, NOBODY)
        done = await proc.run(_confined(check, subject, folder))
    if done.code == confined.NOT_STARTED:
        return _result(check, at, CheckOutcome.ERROR, done.error)
    if done.code == 0:
        return _result(check, at, CheckOutcome.PASS, "exit code 0")
    text = done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = f": {text[-1]}" if text else ""
    return _result(check, at, CheckOutcome.FAIL, f"exit code {done.code}{last}")


def _confined(check: Check, subject: Subject, folder: str) -> proc.Command:
    program = shutil.which(check.command[0])
    if program is None:
        raise Unavailable(f"{check.command[0]} is not on the manager's machine")
    job = {
        "size": SIZE,
        "memory": MEMORY,
        "network": True,
        "foreign": False,
        "reads": list(_READS),
        "writes": [folder],
        "user": NOBODY,
    }
    argv = [sys.executable, "-I", "-S", confined.__file__, json.dumps(job)]
    return proc.Command(
        [*argv, program, *check.command[1:]],
        env={**_ENVIRONMENT, "HOME": folder, **subject.environment},
        cwd=folder,
        timeout=check.timeout,
        max_output=OUTPUT,
    )
