"""How the order of the first results changes from one run to another, as plain data. No gradio here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xmr.views.query import Asked
from xmr.words import counted
from xmr.workspace import Workspace
from xmr.workspace.words import words_of


def flow(workspace: Workspace, asked: Asked, a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The value of the block: of two columns of `xmr.views.answer` the items that stand at another rank, each with both.

    An item that is only in one of the lists has its rank in the whole gallery of the other run.
    """
    names = {"a": a["name"], "b": b["name"]}
    if fault := a["fault"] or b["fault"]:
        return names | {"items": [], "words": f"There is no order to compare: {fault}", "table": None}
    of_a, of_b = ({tile["index"]: tile for tile in column["tiles"]} for column in (a, b))
    items = []
    for index in dict.fromkeys([*of_a, *of_b]):
        tile = of_a.get(index) or of_b[index]
        ranks = [
            _rank(workspace, asked, name, own, index) for name, own in ((a["name"], of_a), (b["name"], of_b))
        ]
        items.append(
            {key: tile[key] for key in ("index", "image", "film", "caption", "status", "tag")}
            | {"a": ranks[0], "b": ranks[1], "in_a": index in of_a, "in_b": index in of_b}
        )
    moved = [one for one in items if one["a"] != one["b"]]
    for one in moved:
        one["label"] = f"{_moved(one)}: {one['caption']}"
    looks = {
        letter: {key: column[key] for key in ("name", "colour", "marker")}
        for letter, column in (("a", a), ("b", b))
    }
    heads = ("item", f"rank under {a['name']}", f"rank under {b['name']}", "places up")
    rows = [
        (one["caption"], f"{one['a']:,}", f"{one['b']:,}", f"{one['a'] - one['b']:+,}".replace("-", "−"))
        for one in moved
    ]
    return {
        "names": names,
        "looks": looks,
        "items": moved,
        "words": _words(workspace, asked, names, items, moved),
        "table": {"columns": heads, "rows": rows} if rows else None,
    }


def _rank(workspace: Workspace, asked: Asked, run: str, listed: dict[int, dict[str, Any]], index: int) -> int:
    if index in listed:
        return int(listed[index]["rank"].replace(",", ""))
    return workspace.locate(asked.query(), run, asked.split, asked.direction, index).rank


def _moved(one: dict[str, Any]) -> str:
    way = "up" if one["b"] < one["a"] else "down"
    return f"Rank {one['a']:,}, then {one['b']:,}, {counted(abs(one['a'] - one['b']), 'place')} {way}"


def _words(
    workspace: Workspace,
    asked: Asked,
    names: dict[str, str],
    items: Sequence[dict[str, Any]],
    moved: Sequence[dict[str, Any]],
) -> str:
    """What changes, in sentences."""
    if not moved:
        return f"{names['a']} and {names['b']} have the same first results in the same order."
    noun = words_of(workspace.dataset(asked.split)).gallery(asked.direction)
    both = [one for one in items if one["in_a"] and one["in_b"]]
    still = len(items) - len(moved)
    furthest = max(moved, key=lambda one: max(one["a"], one["b"]) / min(one["a"], one["b"]))
    told = [
        f"Of the first results of {names['a']} and {names['b']}, {counted(len(both), noun)} {'is' if len(both) == 1 else 'are'} in both lists"
    ]
    told[0] += (
        f", {still:,} at the same rank, which are left out below." if still else ", none at the same rank."
    )
    told.append(f"Farthest apart is the {noun} at rank {furthest['a']:,} and {furthest['b']:,}.")
    return " ".join(told)
