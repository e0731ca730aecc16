"""Which encoders this process may load, and which of them a run was made with.

A script loads what its user names. A server reads run folders that anybody may have made, and an encoder that one of them
names is fetched from a hub, or read from any folder of the machine: only the operator can want that.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

SHIPPED = Path(__file__).parent.parent / "checkpoints" / "encoders"
QUICK = "-quickgelu"  # behind an encoder's hash: models that differ in their activation have equal weights
_named: frozenset[str] | None = None  # None: whatever is asked for


def allow_only(names: Collection[str] | None) -> None:
    """Lets this process load no encoders but open_clip's own, those shipped with xmr and the named ones; None: any."""
    global _named
    _named = None if names is None else frozenset(names)


def is_allowed(name: str) -> bool:
    """Whether this process may load an encoder of that name (of `xmr.encoders.load_encoder`)."""
    if _named is None or name in _named:
        return True
    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:")).resolve().is_relative_to(SHIPPED.resolve())
    # The weights may be named by a file, too: tags have neither a separator nor an ending.
    weights = name.partition("/")[2]
    return not name.startswith("hf-hub:") and not any(mark in weights for mark in "/\\.")


def is_hash_of(told: str, found: str) -> bool:
    """Whether a run that tells the hash `told` was made with the encoder of hash `found`. Runs of before QuickGELU was
    told apart have a hash without it."""
    return told in (found, found.removesuffix(QUICK))
