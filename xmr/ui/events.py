"""How the page's events run."""

from typing import Any

# Said once: an event of the page is no endpoint of the API, and pure reading needs no turn in a queue.
EVENT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
# Encoders are heavy: two at a time, however many visitors there are.
ENCODE_LIMIT: dict[str, Any] = {"concurrency_id": "encode", "concurrency_limit": 2}
