"""What a server takes from visitors: usually, and in public, where anybody may come. docs/space.md has all of it as a table.

Public is a server on a Space (SPACE_ID is set), or one that is told so: `app.py --public`, or XMR_PUBLIC=1, which processes
that it starts inherit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

PUBLIC = "XMR_PUBLIC"


def is_public() -> bool:
    """Whether anybody may come."""
    return bool(os.environ.get("SPACE_ID")) or os.environ.get(PUBLIC) == "1"


@dataclass(frozen=True)
class Limit:
    """The most of something: `usual`, and in `public`; None: no limit."""

    what: str
    usual: int | None
    public: int | None

    @property
    def now(self) -> int | None:
        return self.public if is_public() else self.usual


QUESTIONS = Limit("questions of one visitor in a minute", None, 600)
UPLOADS = Limit("pictures that one visitor uploads in an hour", None, 60)
UPLOAD_BYTES = Limit("bytes of an uploaded picture", 20_000_000, 10_000_000)
UPLOADED_BYTES = Limit("bytes of all uploads that wait to be read", 500_000_000, 100_000_000)
UNREAD_SECONDS = Limit("seconds that an upload may wait", 600, 600)
KEPT_BYTES = Limit("bytes of pixels of the uploads that are kept", 200_000_000, 200_000_000)
BODY_BYTES = Limit("bytes of any other question", 2_000_000, 250_000)
ADDRESS_BYTES = Limit("bytes of an address behind its ?", 16_000, 16_000)
WAITING = Limit("questions that are answered or wait at once", 128, 128)
ENCODED_AT_ONCE = Limit("texts and pictures that are encoded at once", 2, 2)
QUERY_LETTERS = Limit("characters of a query", 500, 500)
RUNS_ASKED = Limit("runs that `/search` is asked for", 1000, 50)
RESULTS = Limit("results of a run, of `/search`", 1000, 100)
BATCH = Limit("pairs of a batch, of `/pair_weights`", 256, 64)
PAIRS = Limit("pairs, of `/false_negatives`", 500, 100)
VERDICTS_SENT = Limit("verdicts that are sent at once", 50, 50)
VERDICTS_HOURLY = Limit("verdicts and undos of one browser in an hour", 300, 300)
VERDICTS = Limit("verdicts and undos in all (`--max-verdicts`)", 100_000, 100_000)
TRAINING_SECONDS = Limit("seconds of steps that one training in the app may take", None, 30)
TRAININGS = Limit("trainings of one visitor that wait, go on or are kept", None, 3)
TRAININGS_WAIT = Limit("trainings that wait for their turn", 100, 20)
TRAINED_SECONDS = Limit("seconds that what was trained in the app is kept", None, 3600)
LIMITS = tuple(one for one in globals().values() if isinstance(one, Limit))
