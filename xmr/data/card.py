"""A data card: what there is to know of a data set before anything is learned from it, as plain data and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from xmr.captions import TextsRead, scripts_of, text_key, words_of
from xmr.data import duplicates
from xmr.data.dataset import Dataset
from xmr.data.looks import Looks, nearly
from xmr.data.summary import in_train, line, summary, visuals

Card = dict[str, Any]  # of a split
NAMED = 5  # pairs that look nearly the same


def card(
    data: Dataset,
    train: Dataset | None = None,
    reads: TextsRead | None = None,
    looks: tuple[Looks, Looks] | None = None,
) -> Card:
    """All that is told of a split: its `summary`, and `captions_per_visual` and `words_per_caption` (min, median, max), in how
    many captions each of the `scripts` is, what the encoder `reads` of them, and `in_train`: how many visuals have
    the content of one of `train`, and how many captions read like one, and how many of the `words` it does not have.

    `looks` are those of the visuals of the split and of `train`: then visuals are equal where they look the same, and it is told how many
    look `nearly` like one with other matches, here and in train, in how many pairs, the first of them by name. Captions that only
    name pictures of a second side are not looked at.
    """
    own, theirs = (None, None) if looks is None else looks
    found = summary(data) | {"kind": data.kind, "duplicates": _duplicates(data, own and own.same)}
    if own is not None:
        pairs = nearly(own, own)
        unlike = data.visual_group[pairs[:, 0]] != data.visual_group[pairs[:, 1]]
        found["nearly"] = _nearly(pairs[unlike], np.unique(pairs[unlike]), data, data)
    found |= of_captions(data, train)
    if data.hard_captions:
        found["hard_captions"] = len(data.hard_captions)
    if reads is not None:
        found["encoder_reads"] = asdict(reads)
    if train is not None:
        same = len(duplicates.shared(data, train)) if own is None else np.isin(own.same, theirs.same).sum()
        found["in_train"] = {"visuals": int(same)}
        if own is not None:
            pairs = nearly(own, theirs)
            found["in_train"]["nearly"] = _nearly(pairs, np.unique(pairs[:, 0]), data, train)
        if data.gallery_visuals is None:
            keys = set(map(text_key, train.captions))
            found["in_train"]["captions"] = sum(text_key(caption) in keys for caption in data.captions)
    return found


def _nearly(pairs: np.ndarray, visuals: np.ndarray, one: Dataset, other: Dataset) -> Card:
    first = [[one.visual_ids[a], other.visual_ids[b]] for a, b in pairs[:NAMED]]
    return {"visuals": len(visuals), "pairs": len(pairs), "first": first}


def of_captions(data: Dataset, train: Dataset | None = None) -> Card:
    """What a card tells of captions alone."""
    each = np.bincount(data.visual_of_text, minlength=len(data.visual_ids))
    found: Card = {"captions": len(data.captions), "captions_per_visual": _spread(each)}
    if data.gallery_visuals is not None:
        return found
    known = {word for caption in (train.captions if train else ()) for word in words_of(caption)}
    lengths, new, scripts = np.empty(len(data.captions), np.int64), 0, Counter()
    for place, caption in enumerate(data.captions):
        words = words_of(caption)
        lengths[place] = len(words)
        new += sum(word not in known for word in words)
        scripts.update(scripts_of(caption))
    found |= {"words_per_caption": _spread(lengths), "scripts": dict(scripts.most_common())}
    if train is not None:
        found["words"] = {"all": int(lengths.sum()), "not_in_train": new}
    return found


def said(data: Dataset, found: Card) -> Iterator[str]:
    """The card in words: the summary, then a line for each further thing that a reader should know."""
    yield line(replace(data, about=data.about | {"duplicates": found["duplicates"]}))
    yield from said_of_captions(data, found)
    in_both = found.get("in_train", {})
    record = {"kind": data.kind, "also_in_train": {data.split: in_both.get("visuals", 0)}}
    record["sizes"] = {data.split: {"visuals": len(data.visual_ids)}}
    if words := in_train(record, data.split):
        yield words
    for near, where in ((found.get("nearly"), "another"), (in_both.get("nearly"), "one of the train split")):
        if near and near["visuals"]:
            named = ", ".join(" and ".join(pair) for pair in near["first"])
            what = visuals(data)
            yield (
                f"{near['visuals']:,} of {len(data.visual_ids):,} {data.split} {what} look nearly like {where}, as resized, recompressed or "
                f"slightly cropped ones do, and count as others: {named}{' …' if near['pairs'] > NAMED else ''}"
            )
    if count := in_both.get("captions"):
        yield f"{count:,} of {len(data.captions):,} {data.split} captions read like one of the train split"


def lengths_said(found: Card) -> str:
    """How long captions are, and in which scripts; "" of captions that only name pictures."""
    if "words_per_caption" not in found:
        return ""
    total = found["captions"]
    scripts = ", ".join(
        name if count == total else f"{name} in {count:,}" for name, count in found["scripts"].items()
    )
    return f"{_range(found['words_per_caption'])} words" + (f"; script: {scripts}" if scripts else "")


def said_of_captions(data: Dataset, found: Card) -> Iterator[str]:
    """How many and how long captions are, and how much of them is known and read."""
    if lengths := lengths_said(found):
        one = "clip" if visuals(data) == "clips" else "picture"
        yield f"captions: {_range(found['captions_per_visual'])} for each {one}, of {lengths}"
    if unknown := found.get("words", {}).get("not_in_train"):
        of = found["words"]["all"]
        yield f"{unknown:,} of {of:,} words ({100 * unknown / of:.1f} %) are in no caption of the train split"
    if reads := found.get("encoder_reads"):
        yield "the encoder: " + (TextsRead(**reads).said or "no caption is cut off")


def _duplicates(data: Dataset, pixels: np.ndarray | None) -> dict[str, Any]:
    """As of `duplicates.alike`; what is generated is not asked when it is read."""
    known = data.about.get("duplicates")
    if pixels is None and (known or data.gallery_visuals is not None or data.classes is not None):
        return known or {}
    visual = np.arange(len(data.visual_ids)) if pixels is None else pixels
    if pixels is None and data.contents is not None:
        content = duplicates.content_of(data.visuals, data.visual_features)
        visual = duplicates.told_apart(data.contents, data.visual_group, content)
    return duplicates.alike(data.reading, data.text_group, visual, data.visual_group)


def _spread(counts: np.ndarray) -> dict[str, float]:
    return {"min": int(counts.min()), "median": float(np.median(counts)), "max": int(counts.max())}


def _range(spread: dict[str, float]) -> str:
    """ "5", or "1 to 9 (median 4)"."""
    if spread["min"] == spread["max"]:
        return f"{spread['min']:,}"
    return f"{spread['min']:,} to {spread['max']:,} (median {spread['median']:g})"


def as_json(cards: Mapping[str, Card], about: Mapping[str, Any]) -> dict[str, Any]:
    """All cards of a data set by split, with what it says of itself."""
    told = {key: about[key] for key in ("source", "licence", "columns") if key in about}
    return told | {"splits": dict(cards)}
