"""What was read of a split, in plain data and in words, for whoever shows it: scripts, the app, a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xmr.data.dataset import Dataset


def summary(data: Dataset) -> dict[str, Any]:
    """`name`, `split`, how many `visuals` and `captions` there are, what was `left_out` ({reason: count}), and
    `duplicates` as of `duplicates.alike`."""
    return {
        "name": data.name,
        "split": data.split,
        "visuals": len(data.visual_ids),
        "captions": len(data.captions),
        "left_out": dict(data.faults),
        "duplicates": data.about.get("duplicates", {}),
    }


def described(splits: Mapping[str, Dataset]) -> dict[str, Any]:
    """What a run tells of its data: name, kind, and fingerprints and sizes by split."""
    test = splits["test"]
    return {
        "name": test.name,
        "kind": test.kind,
        "fingerprints": {split: data.fingerprint for split, data in splits.items()},
        "sizes": {split: size(data) for split, data in splits.items()},
    }


def size(data: Dataset) -> dict[str, int]:
    return {"visuals": len(data.visual_ids), "texts": len(data.captions)}


def line(data: Dataset, more: Sequence[str] = ()) -> str:
    """The summary as one line. `more` is what else is counted in words: captions that an encoder cuts, unknown words.

    "photos, test: 1,000 pictures with 5,000 captions; left out: 3 missing pictures; 14 captions read like …".
    """
    facts = summary(data)
    texts = "captions" if data.gallery_visuals is None else "pictures to find"
    parts = [
        f"{facts['name']}, {facts['split']}: {facts['visuals']:,} {visuals(data)} with {facts['captions']:,} {texts}"
    ]
    if data.hard_captions:
        parts.append(
            f"{len(data.hard_captions):,} hard captions, wrong ones that training and evaluate.py ask beside"
        )
    if facts["left_out"]:
        parts.append("left out: " + left_out(data))
    made = data.about.get("splits", "given")
    made = made if made != "given" else ""
    parts += filter(
        None,
        [made, data.about.get("sides", ""), data.about.get("pictures", ""), duplicate_words(data), *more],
    )
    return "; ".join(parts)


def visuals(data: Dataset) -> str:
    return "clips" if data.kind == "clip" else "pictures"


def left_out(data: Dataset) -> str:
    """What was left out, by reason and by name, with counts; "" where nothing was."""
    return ", ".join(f"{count:,} {reason}" for reason, count in data.faults.items())


def duplicate_words(data: Dataset) -> str:
    """What stands twice in a split and what that means for its numbers; "" where nothing does."""
    found = data.about.get("duplicates")
    if not found:
        return ""
    what, texts = visuals(data), f"captions read like one of other {visuals(data)}"
    if data.gallery_visuals is not None:
        texts = f"{what} to find are the same as one with other matches"
    told = [f"{found['captions']:,} {texts}"] if found["captions"] else []
    told += (
        [f"{found['visuals']:,} {what} are the same as one with other matches"] if found["visuals"] else []
    )
    v2t, t2v = (_floor(found["ceiling"][f"{side}/recall_at_1"]) for side in ("v2t", "t2v"))
    return f"{' and '.join(told)}, so a perfect model's R@1 is at most {v2t} (v2t) and {t2v} (t2v)"


def in_train(record: Mapping[str, Any], split: str) -> str:
    """What a run's record of its data says of `split`: how many of its visuals were learned from; "" where none was."""
    shared, sizes = record.get("also_in_train"), record.get("sizes")
    count = shared.get(split) if isinstance(shared, dict) else None
    if not isinstance(count, int) or count < 1:
        return ""
    size = sizes.get(split, {}).get("visuals") if isinstance(sizes, dict) else None
    of = f" of {size:,}" if isinstance(size, int) else ""
    what = "clips" if record.get("kind") == "clip" else "pictures"
    return (
        f"{count:,}{of} {split} {what} {'is' if count == 1 else 'are'} identical to {what} of the train split: what was learned by heart counts "
        f"as found, so the {split} figures are too good"
    )


def _floor(share: float) -> str:
    """A share in per cent, rounded down, so that only a true 100 reads 100.0."""
    return f"{math.floor(share * 1000 + 1e-6) / 10:.1f}"
