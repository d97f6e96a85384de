"""Runs commands: in this process, or as one of its own."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stackd.cli import app
from tests.component.cli.manager import Manager


class Shell:
    """Runs commands in a thread, as the process would."""

    def __init__(self, data: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._data = data
        self._capture = capture
        self.out = self.err = ""

    async def __call__(self, *words: str) -> int:
        """The exit code; output is in `out` and `err`."""
        self._capture.readouterr()

        def work() -> int:
            try:
                return app.main(["--data", str(self._data), *words])
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else 1

        code = await asyncio.to_thread(work)
        self.out, self.err = self._capture.readouterr()
        assert "Traceback" not in self.err
        return code


def process(manager: Manager, *words: str, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "stackd", "--data", str(manager.data), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        **options,
    )
