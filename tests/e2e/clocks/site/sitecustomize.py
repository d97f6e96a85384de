"""Imported by Python itself at the start of each process of a test cluster whose PYTHONPATH names
this folder: its wall clock is ahead by as many seconds as a file says. See `tests.e2e.clocks`."""

import os
import sys
import time


def _shift(folder: str) -> None:
    kind = next((word for word in ("manager", "agent") if word in sys.orig_argv), "")
    path, real = os.path.join(folder, kind), time.time

    def shifted() -> float:
        try:
            with open(path, encoding="ascii") as file:
                return real() + float(file.read())
        except FileNotFoundError:
            return real()

    if kind:
        time.time = shifted


if folder := os.environ.get("STACKD_TEST_CLOCKS"):
    _shift(folder)
