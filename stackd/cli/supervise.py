"""Entry of the supervisor process, which keeps an embedded cluster running."""

from stackd.cli.embedded import supervisor_main as main

__all__ = ["main"]
