"""What stands twice: captions that read alike, visuals of the same content, and what that means for the numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xmr.data.dataset import Dataset, Truth

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Content = Callable[[int], bytes]
ROW_BYTES = 4096  # of a row of features, by which those that may be equal are found; as of a file's two ends


def contents(evidence: Iterable[bytes] | np.ndarray) -> np.ndarray:
    """A hash (N,) uint64 of each visual's content: of the bytes given, or of the head of each row of an array.

    Equal content has equal hashes; whether equal hashes mean equal content, `told_apart` says.
    """
    if isinstance(evidence, np.ndarray):
        head = max(1, ROW_BYTES // evidence.itemsize)
        evidence = (row.reshape(-1)[:head].tobytes() for row in evidence)
    return np.array(
        [int.from_bytes(hashlib.blake2b(one, digest_size=8).digest(), "little") for one in evidence],
        np.uint64,
    )


def alike(
    text: np.ndarray, text_group: np.ndarray, visual: np.ndarray, visual_group: np.ndarray
) -> dict[str, Any]:
    """How many captions read like one of another group, how many visuals have the content of one of another group, and
    the best R@1 that a perfect model can reach then. {} where there are neither.

    `text` (T,) and `visual` (V,) are equal where items can't be told apart (see `texts` and `told_apart`), groups where
    a pair is annotated as a match.
    """
    captions, visuals = _shared(text, text_group), _shared(visual, visual_group)
    if not (captions.any() or visuals.any()):
        return {}
    return {
        "captions": int(captions.sum()),
        "visuals": int(visuals.sum()),
        "ceiling": {
            "v2t/recall_at_1": best_recall_at_1(visual, visual_group, text, text_group),
            "t2v/recall_at_1": best_recall_at_1(text, text_group, visual, visual_group),
        },
    }


def best_recall_at_1(
    query: np.ndarray, query_group: np.ndarray, item: np.ndarray, item_group: np.ndarray
) -> float:
    """The highest R@1, from 0 to 1, of any model that gives queries of equal value `query` (Q,) equal scores, and items
    of equal value `item` (G,) too.

    Such queries have one best item between them, which is right for those of one group; and an item that other groups
    have too ties with theirs, which counts against the query.
    """
    sole = np.isin(query_group, item_group[~_shared(item, item_group)])
    pairs, counts = np.unique(
        np.stack([_codes(query)[sole], _codes(query_group)[sole]]), axis=1, return_counts=True
    )
    best = np.zeros(len(query), np.int64)
    np.maximum.at(best, pairs[0], counts)
    return float(best.sum() / len(query))


def told_apart(hashes: np.ndarray, group: np.ndarray, content: Content | None) -> np.ndarray:
    """Numbers (N,), equal where the whole content is: where items of several groups have one of the `hashes` (N,), all
    of it is read; elsewhere it does not matter."""
    numbers = _codes(hashes)
    if content is None:
        return numbers
    found: dict[tuple[int, bytes], int] = {}
    for index in np.flatnonzero(_shared(hashes, group)):
        key = int(numbers[index]), hashlib.blake2b(content(index)).digest()
        numbers[index] = len(numbers) + found.setdefault(key, len(found))
    return numbers


def content_of(visuals: Sequence[Any] | None, features: np.ndarray | None) -> Content | None:
    """What reads all bytes of a visual, by its index; None where nothing does."""
    if features is not None:
        return lambda index: np.asarray(features[index]).tobytes()
    return getattr(visuals, "content", None)


@dataclass(frozen=True)
class Twins:
    """Pairs of a split that nobody annotated and nobody can tell from an annotated one: its visual has the same content as
    theirs, and its caption reads alike.

    `visual` (N_v,) and `text` (N_t,) number contents and readings; `of_visual` and `of_text` have a row for each number, with
    a one for each group that it is annotated to. `visual_group` and `text_group` are those of the items.
    """

    visual: np.ndarray
    text: np.ndarray
    of_visual: csr_array
    of_text: csr_array
    visual_group: np.ndarray
    text_group: np.ndarray

    def places(self, visuals: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where such pairs are among the items of two index vectors: rows and columns, (P,) each."""
        alike = (self.of_visual[self.visual[visuals]] @ self.of_text[self.text[texts]].T).tocoo()
        rows, columns = alike.coords
        new = self.visual_group[visuals[rows]] != self.text_group[texts[columns]]
        return rows[new], columns[new]

    def credited(self, rest: float = 0) -> Truth:
        """What is annotated and these pairs as the truth of the split. `rest` is what becomes of all others: 0, as where they are
        taken not to match, or NaN for unknown."""

        def block(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
            found = self.visual_group[visuals][:, None] == self.text_group[texts]
            found[self.places(visuals, texts)] = True
            return np.where(found, np.float32(1), np.float32(rest))

        def pairs(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:
            rows = self.of_visual[self.visual[visuals]].multiply(self.of_text[self.text[texts]])
            return np.where(rows.sum(axis=1) > 0, np.float32(1), np.float32(rest))

        source = "the annotation, and what can't be told from it (equal visuals, captions that read alike)"
        return Truth(block, pairs, complete=rest == 0, source=source)


def twins(data: Dataset) -> Twins | None:
    """The twins of a split's annotated pairs; None where there are none, and where class labels decide what matches."""
    if data.classes is not None:
        return None
    visual = np.arange(len(data.visual_ids))
    if data.contents is not None:
        content = content_of(data.visuals, data.visual_features)
        visual = _codes(told_apart(data.contents, data.visual_group, content))
    text, group = _codes(data.reading), _codes(data.visual_group)
    own = group[data.visual_of_text]
    if not (_shared(visual, group).any() or _shared(text, own).any()):
        return None

    groups = int(group.max()) + 1
    return Twins(visual, text, _ones(visual, group, groups), _ones(text, own, groups), group, own)


@dataclass(frozen=True)
class Apart:
    """Which pairs of a split, numbered as its captions, are no negatives of each other: the visual of one can't be told from an
    annotated match of the other's caption.

    of_visual, of_text (N_t, groups): a one for each group that the pair's visual, or its caption, can't be told from one of.
    """

    of_visual: csr_array
    of_text: csr_array

    @classmethod
    def of(cls, data: Dataset) -> Apart:
        """Of class labels, where a batch holds many pairs of one class, only captions of one visual are kept apart."""
        found = twins(data)
        if found is not None:
            return cls(found.of_visual[found.visual[data.visual_of_text]], found.of_text[found.text])
        group = data.visual_of_text if data.classes is not None else data.text_group
        group = _codes(group)
        own = _ones(np.arange(len(group)), group, int(group.max()) + 1)
        return cls(own, own)

    def clashes(self, pairs: np.ndarray) -> csr_array:
        """Which of some pairs (P,) clash with which others, (P, P)."""
        one = self.of_visual[pairs] @ self.of_text[pairs].T
        both = (one + one.T).tocsr()
        both.setdiag(0)
        both.eliminate_zeros()
        return both

    def groups(self, pairs: np.ndarray) -> np.ndarray:
        """How many of some pairs are of each group, (2, groups), by their visuals and by their captions."""
        return np.stack([side[pairs].sum(0) for side in (self.of_visual, self.of_text)])

    def meet(self, groups: np.ndarray, pairs: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Which of some pairs clash with one of those that `groups` counts, (P,) bool."""
        return (self.of_visual[pairs] @ groups[1] > 0) | (self.of_text[pairs] @ groups[0] > 0)


def shared(one: Dataset, other: Dataset) -> list[tuple[int, int]]:
    """Pairs (visual of `one`, visual of `other`) of the same content, the first of `other` for each of `one`."""
    if one.contents is None or other.contents is None:
        return []
    whole, others = (content_of(data.visuals, data.visual_features) for data in (one, other))
    places: dict[int, list[int]] = {}
    for place, value in enumerate(other.contents.tolist()):
        places.setdefault(value, []).append(place)
    found = []
    for place, value in enumerate(one.contents.tolist()):
        for twin in places.get(value, ()):
            if whole is None or others is None or whole(place) == others(twin):
                found.append((place, twin))
                break
    return found


def _ones(rows: np.ndarray, columns: np.ndarray, width: int) -> csr_array:
    """A matrix of so many columns with ones in these places, each once."""
    from scipy.sparse import csr_array  # a moment to import, for data that have twins

    rows, columns = np.unique(np.stack([rows, columns]), axis=1)
    return csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(int(rows.max()) + 1, width))


def _shared(value: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Whether each item's value (N,) is also that of an item of another group."""
    value, group = _codes(value), _codes(group)
    pairs = np.unique(np.stack([value, group]), axis=1)
    return np.bincount(pairs[0], minlength=len(value))[value] > 1


def _codes(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]
