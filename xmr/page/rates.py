"""How often visitors ask, of whom a server knows no more than where they ask from."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Any

from xmr.limits import Limit

MOST_VISITORS = 10_000  # whose times are kept; of more the oldest are forgotten


class Rate:
    """Counts what each visitor did in the last `seconds`, against a limit."""

    def __init__(self, limit: Limit, seconds: float):
        self._limit, self._seconds = limit, seconds
        self._times: dict[str, deque[float]] = {}
        self._guard = Lock()

    def takes(self, visitor: str) -> bool:
        """Counts one more, unless there were too many."""
        most, now = self._limit.now, time.monotonic()
        if most is None:
            return True
        with self._guard:
            times = self._times.pop(visitor, deque())
            self._times[visitor] = times  # the latest is last
            while len(self._times) > MOST_VISITORS:
                del self._times[next(iter(self._times))]
            while times and times[0] <= now - self._seconds:
                times.popleft()
            if len(times) >= most:
                return False
            times.append(now)
            return True


def visitor_of(scope: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Where somebody asks from. On a Space all come by its proxy, which tells of them first in X-Forwarded-For; whoever writes
    another address into it only gets the share of one visitor more."""
    forwarded = headers.get("x-forwarded-for", "").partition(",")[0].strip()
    if os.environ.get("SPACE_ID") and forwarded:
        return forwarded[:64]
    return str((scope.get("client") or ("",))[0])
