"""Which encoders this process may load, and which of them a run was made with.

A script loads what its user names. A server reads run folders that anybody may have made, and an encoder that one of them
names is fetched from a hub, or read from any folder of the machine: only the operator can want that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

SHIPPED = Path(__file__).parent.parent / "checkpoints" / "encoders"
QUICK = "-quickgelu"  # behind an encoder's hash: models that differ in their activation have equal weights
_named: frozenset[str] | None = None  # None: whatever is asked for
_listed: frozenset[str] | None = None  # None: the list is open
_places: dict[str, str] = {}


def allow_only(names: Collection[str] | None) -> None:
    """Lets this process load no encoders but open_clip's own, those shipped with xmr and the named ones; None: any."""
    global _named
    _named = None if names is None else frozenset(names)


def close_list(names: Collection[str] | None) -> None:
    """Lets this process load, of all that it may, only these encoders and those shipped with xmr; None: all of them again. A
    public server, of which nobody shall choose another, closes its list over what the runs name."""
    global _listed
    _listed = None if names is None else frozenset(names)


def find_at(places: Mapping[str, str]) -> None:
    """Lets this process look for encoders elsewhere than runs say: by the name in the run, or its last part, the place as
    `xmr.encoders.candidates` takes it. Whether it is that encoder the hash tells."""
    _places.clear()
    _places.update(places)


def given_places() -> dict[str, str]:
    """What `find_at` was told last, for another process."""
    return dict(_places)


def places(given: Sequence[str]) -> dict[str, str]:
    """NAME=PATH strings as `find_at` takes them. Raises ValueError where one is none, and where nothing lies there."""
    found = {}
    for text in given:
        # Either side may hold the sign: what is there decides.
        ways = [(text[:i], text[i + 1 :]) for i, letter in enumerate(text) if letter == "="]
        here = [(name, path) for name, path in ways if Path(path).expanduser().exists()]
        if not ways or not all(ways[0]):
            raise ValueError(f"--encoder {text}: write NAME=PATH")
        if not here:
            raise ValueError(f"--encoder {text}: there is no folder and no file {ways[0][1]}")
        found[here[0][0]] = here[0][1]
    return found


def place_of(name: str) -> str:
    """Where the encoder that runs call `name` is to be looked for; "" where nobody said."""
    last = [given for given in _places if name.endswith((f"/{given}", f":{given}"))]
    return next((_places[given] for given in (name, *last) if given in _places), "")


def is_allowed(name: str) -> bool:
    """Whether this process may load an encoder of that name (of `xmr.encoders.load_encoder`)."""
    return not why_not(name)


def why_not(name: str) -> str:
    """Why this process may not load the encoder, in words; "" where it may."""
    if _listed is not None and name not in _listed and not _is_shipped(name):
        return f"the encoder {name!r} is not loaded, because no run of this public server was made with it"
    if _is_own(name):
        return ""
    return (
        f"the encoder {name!r} is not loaded, because a run names it and not who started this server; start it with "
        f"--allow-encoders {name!r} if you trust it"
    )


def _is_own(name: str) -> bool:
    """Whether the operator or open_clip stands for it."""
    if _named is None or name in _named or place_of(name):
        return True
    if name.startswith("local-dir:"):
        return _is_shipped(name)
    # The architecture and the weights may be files, too: tags have neither a separator nor an ending.
    model, _, weights = name.partition("/")
    return (
        not model.endswith(".json")
        and not name.startswith("hf-hub:")
        and not any(mark in weights for mark in "/\\.")
    )


def _is_shipped(name: str) -> bool:
    scheme, found, folder = name.partition("local-dir:")
    if found and not scheme:
        return Path(folder).resolve().is_relative_to(SHIPPED.resolve())
    return name.isidentifier() and (SHIPPED / name).is_dir()


def is_hash_of(told: str, found: str) -> bool:
    """Whether a run that tells the hash `told` was made with the encoder of hash `found`. Runs of before QuickGELU was
    told apart have a hash without it."""
    return told in (found, found.removesuffix(QUICK))
