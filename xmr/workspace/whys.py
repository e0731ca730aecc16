"""Why a run scores a pair as it does, measured where its encoder is: all texts without a word are one batch, all pictures without
a part another, and runs of one encoder ask it once."""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from xmr.analysis import GRID, changes, occluded, without_each, without_frames
from xmr.captions import word_spans
from xmr.embedding import Encoded, pieces
from xmr.scoring import scored
from xmr.workspace import Workspace
from xmr.workspace.memory import remembered
from xmr.workspace.public import publish
from xmr.workspace.stills import still

MOST_WORDS = 64  # of a text that are left out, each once
SIDE = 512  # pixels of a picture that parts are covered of; encoders read fewer
RECENT = 512  # answers that are kept


@dataclass(frozen=True)
class Pair:
    """A visual and a text that are asked about, equal by content: each an item of the split by its place, or from outside, a
    text itself, and of a picture a name that its content decides."""

    split: str
    visual: int | str
    text: int | str
    image: Image.Image | None = field(default=None, compare=False)  # of the latter


@dataclass(frozen=True)
class Looks:
    """How much each word looks at each region, (words, regions) float32, where the matcher compares tokens; the words as it
    reads them. `by_words`: they look for regions, else the regions for words. `nearest`: only the largest of who looks
    counts in the score."""

    words: list[str]
    shares: np.ndarray
    by_words: bool
    nearest: bool


@dataclass(frozen=True)
class Why:
    """What the parts of a pair add to a run's score of it, `xmr.analysis.changes`: the first words (W,), and the picture
    (GRID, GRID) or the frames of a clip (T,). None where they can't be left out, for the reason told."""

    run: str
    score: float = np.nan
    words: np.ndarray | None = None
    no_words: str = ""
    parts: np.ndarray | None = None
    no_parts: str = ""
    looks: Looks | None = None


@dataclass(frozen=True)
class LeftOut:
    """The text of a pair and its visual, each first whole and then without each part; where the `words` stand in the text, and
    how many `more` there are."""

    texts: list[str]
    words: list[tuple[int, int]]
    more: int
    visuals: list[Any]
    no_words: str
    no_visuals: str


def why(workspace: Workspace, runs: Sequence[str], pair: Pair) -> list[Why]:
    """Why each run scores the pair as it does. What can't be told is said in its place, whatever goes wrong."""
    kept, guard = _recent(workspace)
    with guard:
        found = {run: kept[run, pair] for run in runs if (run, pair) in kept}
    if missing := [run for run in runs if run not in found]:
        parts = left_out(workspace, pair)
        encoded: tuple[Encoded, Encoded] = {}, {}
        for run in missing:
            try:
                found[run] = _why(workspace, run, pair, parts, *encoded)
            except Exception as error:  # a run is a stranger's: what it breaks is its own answer
                traceback.print_exc()
                said = f"{run} failed here ({type(error).__name__}); the server's log says where"
                found[run] = Why(run, no_words=said, no_parts=said)
    with guard:
        for run in runs:
            kept[run, pair] = found[run]
            kept.move_to_end((run, pair))
        while len(kept) > RECENT:
            kept.popitem(last=False)
    return [found[run] for run in runs]


@remembered
def _recent(workspace: Workspace) -> tuple[OrderedDict[tuple[str, Pair], Why], Lock]:
    return OrderedDict(), Lock()


def text_of(workspace: Workspace, pair: Pair) -> str:
    return pair.text if isinstance(pair.text, str) else workspace.dataset(pair.split).captions[pair.text]


def left_out(workspace: Workspace, pair: Pair) -> LeftOut:
    """What of a pair is left out, one after the other."""
    data, text = workspace.dataset(pair.split), text_of(workspace, pair)
    spans, no_words = word_spans(text), ""
    if data.gallery_visuals is not None:
        no_words = "Both sides are pictures: there are no words to leave out."
    elif data.classes is not None or (data.text_features is not None and not isinstance(pair.text, str)):
        no_words = f"The texts of {data.name} are features, of which no word can be left out."
    elif not spans:
        no_words = "There is no word in the text."
    visuals, no_visuals = [], ""
    if isinstance(pair.visual, str):
        visuals = _covered(pair.image)
    elif not data.shows(pair.visual):
        no_visuals = f"There is no picture of {data.visual_ids[pair.visual]} here to be covered."
    elif data.kept_features is not None:
        no_visuals = "The pictures here are copies to be looked at, which no encoder reads."
    elif data.kind == "clip":
        frames = list(data.visuals[pair.visual])
        visuals = [frames, *without_frames(frames)]
        no_visuals = "The clip has one frame only." if len(frames) < 2 else ""
    else:
        visuals = _covered(data.visuals[pair.visual])
    words = spans[:MOST_WORDS]
    return LeftOut(
        [text, *without_each(text, words)], words, len(spans) - len(words), visuals, no_words, no_visuals
    )


def _covered(picture: Image.Image) -> list[Image.Image]:
    """The picture, then each of its parts covered."""
    whole = np.asarray(still(picture, SIDE))
    return [Image.fromarray(one) for one in (whole, *occluded(whole))]


def _why(
    workspace: Workspace, run: str, pair: Pair, parts: LeftOut, of_texts: Encoded, of_visuals: Encoded
) -> Why:
    owner, ask = workspace.run(run), workspace.embedder
    by_pairs = owner.scores_pairs
    read_texts, read_visuals = (
        (ask.text_states, ask.visual_states) if by_pairs else (ask.embed_texts, ask.embed_visuals)
    )

    def read(what: str, why_not: str, make: Callable[[], Any]) -> tuple[Any, str]:
        """All of one side as the run reads it; None, and why, where it can't."""
        if why_not or (why_not := _unread(owner, what)):
            return None, why_not
        try:
            return make(), ""
        except (ValueError, OSError) as error:
            publish(error)
            return None, f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}."

    texts, no_words = read("text", parts.no_words, lambda: read_texts(owner, parts.texts, of_texts))
    # A clip of one frame is read, too: its words are compared with it.
    seen, no_parts = read(
        "picture",
        "" if parts.visuals else parts.no_visuals,
        lambda: read_visuals(owner, parts.visuals, of_visuals),
    )
    text, visual = texts, seen
    if not by_pairs:  # one side can be had without the other
        sides = (("t", pair.text), texts), (("v", pair.visual), seen)
        text, visual = (
            workspace.index(run, pair.split, side).vectors[place][None] if isinstance(place, int) else made
            for (side, place), made in sides
        )
    matcher = owner.matcher() if by_pairs else None

    def scores(visual: Any, text: Any) -> np.ndarray:
        return scored(matcher, visual, text) if by_pairs else visual @ text.T

    found = Why(run, no_words=no_words, no_parts=no_parts or parts.no_visuals)
    if text is None or visual is None:
        other = no_parts if text is not None else no_words  # the side that is not read tells of both
        return replace(found, no_words=no_words or other, no_parts=found.no_parts or other)
    found = replace(found, score=float(scores(visual[:1], text[:1])[0, 0]))
    if texts is not None:
        found = replace(found, words=changes(scores(visual[:1], texts)[0]).astype(np.float32))
    if seen is not None and len(seen) > 1:
        own = changes(scores(seen, text[:1])[:, 0]).astype(np.float32)
        clip = workspace.dataset(pair.split).kind == "clip" and isinstance(pair.visual, int)
        found = replace(found, parts=own if clip else own.reshape(GRID, GRID))
    if by_pairs and hasattr(matcher, "looks"):
        shares = matcher.looks(visual[0], text[0]).float().cpu().numpy()
        named = pieces(owner, parts.texts[0])[: len(shares)]
        found = replace(found, looks=Looks(named, shares, matcher.attend != "visual", matcher.nearest))
    return found


def _unread(owner: Any, what: str) -> str:
    """Why nothing reads a changed text or picture for the run; "" where something does."""
    for part in owner.parts:
        if not part.encoder["name"] and not (what == "text" and part.vocabulary is not None):
            has = "is embeddings" if part.untrained else "was trained on features"
            return f"{part.name} {has} from a file, and no encoder is known that would read a changed {what}."
    return ""
