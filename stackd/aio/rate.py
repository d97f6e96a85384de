"""How often somebody may do something: token buckets by name, in bounded memory.

Used by the ports that strangers or members reach.
"""

from dataclasses import dataclass

from stackd.aio.clock import Clock

MOST_NAMES = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """Each name may act `burst` times at once and then `rate` times a second."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, _Bucket] = {}

    def wait(self, name: str) -> float:
        """Seconds until `name` may act again; 0 = now. Takes nothing."""
        bucket = self._buckets.get(name)
        return 0.0 if bucket is None else max(0.0, (1 - self._filled(bucket)) / self._rate)

    def take(self, name: str) -> float:
        """As `wait`, and counts one act if that is 0."""
        pause = self.wait(name)
        if pause:
            return pause
        known = self._buckets.pop(name, None)  # so that the newest is last
        tokens = self._burst if known is None else self._filled(known)
        if len(self._buckets) >= MOST_NAMES:
            del self._buckets[next(iter(self._buckets))]  # unused for longest, so the fullest
        self._buckets[name] = _Bucket(tokens - 1, self._clock.now())
        return 0.0

    def _filled(self, bucket: _Bucket) -> float:
        gained = (self._clock.now() - bucket.at) * self._rate
        return min(self._burst, bucket.tokens + gained)
