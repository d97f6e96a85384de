"""Growing pauses between attempts."""


class Backoff:
    """Pauses of `first`, then each `factor` times the one before, at most `most` seconds.

    Values only: who waits adds jitter.
    """

    def __init__(self, first: float = 1.0, most: float = 60.0, factor: float = 2.0) -> None:
        self._first = first
        self._most = most
        self._factor = factor
        self._pause = first

    def next(self) -> float:
        """The next pause in seconds."""
        pause = self._pause
        self._pause = min(self._most, pause * self._factor)
        return pause

    def reset(self) -> None:
        """Start again from the first pause: an attempt has succeeded."""
        self._pause = self._first
