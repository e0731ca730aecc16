"""What a page shows, as one value. The address *is* this value, so everybody may send anything: each part is checked for
its type, its length and its range before anything reads it. No gradio here."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, get_args, get_origin

from xmr.registry import Range, unknown

VERSION = "1"  # of the keys: an address of another version is not guessed at
LONGEST = 1000  # characters of one value
MOST = 100  # values of one key
MOST_STEPS = 24  # of a story
NOTHING = "-"  # of a key with many values: an empty choice, where none at all would mean the usual one


def of(tab: str, default: Any) -> Any:
    """A key that only this tab's addresses hold."""
    return field(default=default, metadata={"tab": tab})


@dataclass(frozen=True)
class State:
    """All that the address holds; "" is the usual value, which the view knows. Keys are those of version 1."""

    dataset: str = ""
    tab: str = ""
    split: Literal["test", "validation", "train"] = "test"
    direction: Literal["", "t2v", "v2t"] = ""
    runs: tuple[str, ...] | None = None
    baseline: str = ""
    k: Annotated[int, Range(4, 24)] = 12
    moment: str = ""  # of training, in epochs, on the tabs that can be replayed; "": the end
    mine: tuple[str, ...] | None = None  # recipes of what the visitor trains, see `xmr.workspace.recipes`
    seeds: Literal["one", "each"] = "one"  # whether runs that differ by their seed alone are one

    query: str = of("search", "")
    scale: Literal["raw", "z", "above"] = of("search", "raw")
    flow: str = of("search", "")  # the run that the baseline's order is compared with
    item: str = of("search", "")  # whose card is open
    why: tuple[str, ...] | None = of("search", None)  # the runs whose reasons it tells

    which: Literal["chosen", "all"] = of("results", "chosen")
    sort: str = of("results", "")
    measure: str = of("results", "")
    ways: Literal["both", "one"] = of("results", "both")

    density: Literal["raw", "z"] = of("distributions", "raw")
    bin: str = of("distributions", "")  # the pairs that are listed: run, kind and place of a bin

    loss: str = of("weights", "")
    beside: str = of("weights", "")
    colour: Literal["weights", "scores"] = of("weights", "weights")
    batch: Annotated[int, Range(4, 64)] = of("weights", 32)
    seed: Annotated[int, Range(0, 2**31)] = of("weights", 0)
    axis: Literal["score", "own"] = of("weights", "score")
    pair_visual: str = of("weights", "")
    pair_text: str = of("weights", "")
    cell: str = of("weights", "")
    params: str = of("weights", "")
    draft: str = of("weights", "")  # of a recipe, what is not as its parent's

    about: str = of("losses", "")  # a loss

    fn_run: str = of("false_negatives", "")
    selector: str = of("false_negatives", "")
    compare: tuple[str, ...] | None = of("false_negatives", None)
    settings: str = of("false_negatives", "")
    list: str = of("false_negatives", "all")
    not_by: str = of("false_negatives", "")
    judged: str = of("false_negatives", "any")
    by: Literal["informative", "weight", "score"] = of("false_negatives", "informative")
    mode: Literal["list", "one"] = of("false_negatives", "list")
    answers: Literal["hidden", "shown"] = of("false_negatives", "hidden")
    suspect_visual: str = of("false_negatives", "")
    suspect_text: str = of("false_negatives", "")

    a: str = of("errors", "")
    b: str = of("errors", "")
    at: Literal[1, 5, 10] = of("errors", 1)
    counted: Literal["annotation", "truth", "eccv", "cxc"] = of("errors", "annotation")
    bucket: str = of("errors", "")
    slicing: str = of("errors", "")
    slice: str = of("errors", "")
    learned: str = of("errors", "")
    order: str = of("errors", "differ")
    draw: Annotated[int, Range(0, 1_000_000)] = of("errors", 0)
    ranks: str = of("errors", "")

    map_a: str = of("map", "")
    map_b: str = of("map", "")
    projection: Literal["pca", "umap"] = of("map", "pca")
    map_colour: str = of("map", "")

    page: Annotated[int, Range(0, 1_000_000)] = 0  # of the list that a tab shows
    story: str = ""  # that tells beside the view, and how far it is
    step: Annotated[int, Range(1, MOST_STEPS)] = 1

    def changed(self, **values: Any) -> State:
        return replace(self, **values)


HINTS = typing.get_type_hints(State, include_extras=True)
TAB_OF = {key.name: key.metadata.get("tab", "") for key in fields(State)}


def read(sent: Any) -> tuple[State, list[str]]:
    """The state that was sent as an object of keys, or as an address' texts; what can't be used is left at its default and
    told in words."""
    if not isinstance(sent, Mapping):
        return State(), [] if sent is None else ["A state is an object of keys and values."]
    try:
        version = _texts(sent.get("v"))[:1] or [VERSION]
    except ValueError as error:
        return State(), [f"v: {error}"]
    if version != [VERSION]:
        return State(), [f"this address is of version {version[0][:20]!r}, and this app knows {VERSION!r}"]
    values, faults = {}, []
    for key, value in sent.items():
        if key == "v":
            continue
        if key not in HINTS:
            faults.append(unknown("key", str(key)[:40], HINTS))
            continue
        try:
            values[key] = _checked(key, HINTS[key], value)
        except ValueError as error:
            faults.append(str(error))
    return State(**values), faults


def written(state: State) -> dict[str, Any]:
    """The state as the page holds it: plain values by key, a choice of many as a list."""
    return {
        key: [*value] if isinstance(value, tuple) else value
        for key, value in ((name, getattr(state, name)) for name in HINTS)
    }


def _texts(value: Any) -> list[str]:
    """The texts of an address' key, or of a plain value. Raises ValueError on what is neither."""
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if len(values) > MOST:
        raise ValueError(f"{len(values):,} values of one key; at most {MOST} are read")
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in values):
        raise ValueError(f"a value is a text or a number, found {value!r:.60}")
    texts = [str(one) for one in values]
    for text in texts:
        if len(text) > LONGEST:
            raise ValueError(f"a value has {len(text):,} characters; at most {LONGEST:,} are read")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError("half a surrogate pair, which no page can show") from None
    return texts


def _checked(key: str, hint: Any, value: Any) -> Any:
    texts = _texts(value)
    if get_origin(hint) is Annotated:
        kind, limits = get_args(hint)
        try:
            number = kind(texts[0]) if texts else getattr(State(), key)
        except (ValueError, OverflowError):
            number = float("nan")
        if not limits.low <= number <= limits.high:
            raise ValueError(f"{key} must be {limits.low:,} to {limits.high:,}, found {texts[0][:40]!r}")
        return number
    if get_origin(hint) is Literal:
        by_text = {str(one): one for one in get_args(hint)}
        text = texts[0] if texts else str(getattr(State(), key))
        if text not in by_text:
            raise ValueError(unknown(key, text[:80], [name for name in by_text if name]))
        return by_text[text]
    if hint is str:
        return texts[0] if texts else ""
    if not texts:
        return None if value is None else ()
    return () if texts == [NOTHING] else tuple(dict.fromkeys(text for text in texts if text))
