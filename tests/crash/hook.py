"""Puts the failpoints into a process of a test cluster: functions of stackd are wrapped as their
modules are loaded.

Loaded by `tests/crash/site/sitecustomize.py`, which Python itself imports when that folder is in
PYTHONPATH; a cluster that is started without it has nothing of this. The folder STACKD_CRASH
holds `armed/POINT` (with the number of times it is to be passed), `fired/POINT` and `seen/POINT`.
"""

import asyncio
import functools
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.crash import points

VARIABLE = "STACKD_CRASH"
SUPERVISOR = "stackd.host.supervisor"
Function = Callable[..., Any]
_writer: ContextVar[str] = ContextVar("writer", default="")


class Failpoints:
    """Those of this process. `folder` is shared by all processes of the cluster."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()
        self._written: list[str] = []
        self._places: dict[str, list[tuple[str, Callable[[Function], Function]]]] = {}
        for step in points.STEPS:
            self._add(step.place, functools.partial(self._step, step))
        for writer in points.WRITERS:
            if writer.place:
                self._add(writer.place, functools.partial(self._tagging, writer.name))
        self._add(points.LOOP_PASS, functools.partial(self._tagging, ""))
        self._add(points.WRITER_DO, self._do)
        self._add(points.WRITER_COMMIT, self._commit)

    def _add(self, place: str, wrap: Callable[[Function], Function]) -> None:
        module, _, name = place.partition(":")
        self._places.setdefault(module, []).append((name, wrap))

    def hit(self, name: str) -> None:
        """Here is the failpoint `name`: does not return if it is armed and its turn."""
        if name not in self._seen:
            self._seen.add(name)
            (self._folder / "seen" / name).touch()
        armed = self._folder / "armed" / name
        try:
            turn = int(armed.read_text() or "1")
        except FileNotFoundError:
            return
        if turn > 1:
            armed.write_text(str(turn - 1))
            return
        armed.rename(self._folder / "fired" / name)  # once: the next process lives
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def wanted(self, module: str) -> bool:
        """Whether something in it is changed."""
        return module in self._places or module == SUPERVISOR

    def install(self, module: ModuleType) -> None:
        """Wrap what is listed of a module that was just loaded."""
        if module.__name__ == SUPERVISOR:  # what is killed again and again comes back quickly
            vars(module)["LONGEST_DELAY"] = vars(module)["FIRST_DELAY"]
        for name, wrap in self._places.get(module.__name__, ()):
            owner: Any = module
            *parents, last = name.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            found = vars(owner)[last]
            if isinstance(found, staticmethod):
                setattr(owner, last, staticmethod(wrap(found.__func__)))
            else:
                setattr(owner, last, wrap(found))

    def _step(self, step: points.Step, original: Function) -> Function:
        def around(when: str) -> None:
            if sys.argv[1:2] == [step.process]:
                self.hit(f"{step.name}.{when}")

        if asyncio.iscoroutinefunction(original):

            async def waits(*arguments: Any, **named: Any) -> Any:
                around("before")
                result = await original(*arguments, **named)
                around("after")
                return result

            return functools.wraps(original)(waits)

        def plain(*arguments: Any, **named: Any) -> Any:
            around("before")
            result = original(*arguments, **named)
            around("after")
            return result

        return functools.wraps(original)(plain)

    def _tagging(
        self, name: str, original: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        """What it writes to the store carries its name, or that of the loop it is given."""

        async def tagged(*arguments: Any, **named: Any) -> Any:
            token = _writer.set(name or arguments[0].name)
            try:
                return await original(*arguments, **named)
            finally:
                _writer.reset(token)

        return functools.wraps(original)(tagged)

    def _do(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def do(writer: Any, work: Function, keys: Sequence[str] = ()) -> Any:
            name = _writer.get()

            def noted(group: Any) -> Any:
                result = work(group)
                self._written.append(name)
                self.hit(f"store.{name}.before")
                return result

            return await original(writer, noted if name and keys else work, keys)

        return functools.wraps(original)(do)

    def _commit(self, original: Function) -> Function:
        def commit(*arguments: Any) -> Any:
            result = original(*arguments)
            written, self._written = self._written, []
            for name in written:
                self.hit(f"store.{name}.after")
            return result

        return functools.wraps(original)(commit)


class _Loader(SourceFileLoader):
    failpoints: Failpoints

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self.failpoints.install(module)


class _Finder(MetaPathFinder):
    def __init__(self, failpoints: Failpoints) -> None:
        self._failpoints = failpoints

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self._failpoints.wanted(fullname):
            spec = PathFinder.find_spec(fullname, path, target)
            if spec is not None and spec.origin is not None:
                spec.loader = loader = _Loader(fullname, spec.origin)
                loader.failpoints = self._failpoints
            return spec
        return None


def activate(folder: Path) -> None:
    """From now on modules of stackd are loaded with their failpoints."""
    sys.meta_path.insert(0, _Finder(Failpoints(folder)))
