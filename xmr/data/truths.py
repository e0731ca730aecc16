"""What the field knows of COCO's 5,000 test pictures (Karpathy's split) beyond their annotation, by the ids of COCO.

The files are those of the package `eccv_caption`, in its data folder or any other:

    coco_test_ids.npy                                         ids of 25,000 captions, five of each picture, in Karpathy's order
    original_caption_to_image.json                            the picture of each
    eccv_image_to_caption.json, eccv_caption_to_image.json    ECCV Caption: {query id: [ids that match it]}
    cxc_image_to_caption.json, cxc_caption_to_image.json      Crisscrossed Captions

Each direction has its own queries: a pair that one of them knows as a match may be unknown to the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xmr.checksums import digest
from xmr.data.arrays import open_array
from xmr.data.dataset import DataFault, Dataset, Truth
from xmr.data.json_files import json_content
from xmr.metrics import Gallery, Matches
from xmr.registry import unknown

PACKAGE = "eccv_caption"
IDS, PICTURES = "coco_test_ids.npy", "original_caption_to_image.json"
TRUTHS = {  # each with what it is called
    "coco_5k": "COCO 5k",
    "coco_1k": "COCO 1k",
    "eccv": "ECCV Caption",
    "cxc": "CxC",
}
DIRECTED = (
    "eccv",
    "cxc",
)  # those that say more than the annotation, with queries of their own in each direction
CAPTIONS = 5  # of a picture that take part
FOLDS = 5  # of COCO 1k
ID_COLUMNS = ("cocoid", "image_id")  # of Karpathy's JSON and of COCO's
LAST_NUMBER = re.compile(r"(\d+)(?:\.\w+)?$")


@dataclass(frozen=True)
class FieldTruth:
    """A truth of the field for one split: what it ranks, the mean of whose figures is told, and a line about it."""

    name: str
    galleries: tuple[Gallery, ...]
    words: str

    @cached_property
    def key(self) -> str:
        """A name of all that it says."""
        parts = [part for *rows, v2t, t2v in self.galleries for part in (*rows, *_arrays(v2t), *_arrays(t2v))]
        told = [one for part in parts for one in (str(part.shape).encode(), part.astype("<i8").tobytes())]
        return digest(b"".join([self.words.encode(), *told]))


class OtherData(DataFault):
    """The data are not COCO's test split."""


class _Test(NamedTuple):
    """COCO's test split by ids: pictures (N,), and the captions of each, (N, 5)."""

    images: np.ndarray
    captions: np.ndarray


def field_truth(name: str, data: Dataset, folder: str = "") -> FieldTruth:
    """The truth of that name in `TRUTHS` for COCO's test split, with the files in `folder`, else in the package.

    A picture is known by its id: a column `cocoid` or `image_id`, or the number at the end of its name. Captions are
    known by their order: the first five of each picture, as Karpathy's JSON has them; further ones take no part, as in
    the field. Raises DataFault where a file is missing or broken, or the data are not that split.
    """
    if name not in TRUTHS:
        raise DataFault(unknown("truth", name, TRUTHS))
    place = truth_folder(folder)
    test = _test(place)
    visuals, texts = _rows(data, test)
    count = len(test.images)
    left_out = len(data.captions) - texts.size
    words = f"{count:,} pictures and {texts.size:,} captions"
    words += f", {left_out} captions beyond the fifth of a picture left out" if left_out else ""
    if name in ("coco_5k", "coco_1k"):
        folds = np.array_split(np.arange(count), FOLDS if name == "coco_1k" else 1)
        words += f"; the mean of {FOLDS} folds, in their order in {IDS}" if len(folds) > 1 else ""
        galleries = tuple(_annotated(visuals[fold], texts[fold]) for fold in folds)
        return FieldTruth(name, galleries, f"{TRUTHS[name]}: {words}")
    of_image = {int(image): row for row, image in enumerate(test.images)}
    of_caption = {int(caption): row for row, caption in enumerate(test.captions.ravel())}
    v2t = _matches(place / f"{name}_image_to_caption.json", of_image, of_caption)
    t2v = _matches(place / f"{name}_caption_to_image.json", of_caption, of_image)
    words = f"{len(v2t.queries):,} pictures and {len(t2v.queries):,} captions ask, among {words}"
    if missing := int((v2t.items < 0).sum() + (t2v.items < 0).sum()):
        words += f"; {missing} matches are none of these and can't be found"
    return FieldTruth(name, (Gallery(visuals, texts.ravel(), v2t, t2v),), f"{TRUTHS[name]}: {words}")


def field_truths(data: Dataset, folder: str = "", beside: str = "") -> dict[str, FieldTruth]:
    """Those in `DIRECTED` by name, with the files in `folder`, else in the data's own place `beside`, else in the package;
    {} where there are none, and of data that are not COCO's test split. One of which there is no file is left out.

    Raises DataFault where files are broken, and where `folder` is named and has none or the data are others.
    """
    if data.split != "test":
        return {}
    try:
        place = truth_folder(folder or beside)
    except DataFault:
        if folder:
            raise
        try:
            place = truth_folder()
        except DataFault:
            return {}
    try:
        there = [name for name in DIRECTED if any(place.glob(f"{name}_*_to_*.json"))]
        return {name: field_truth(name, data, str(place)) for name in there}
    except OtherData:
        if folder:
            raise
        return {}


def directed(truth: FieldTruth, data: Dataset) -> Truth:
    """One of `DIRECTED` as the truth of pairs. Of a query that it asks, what is not told to match does not; of all others,
    and of captions that take no part, nothing is known."""
    visuals, texts, *known = truth.galleries[0]
    sizes = len(data.visual_ids), len(data.captions)
    v2t = _known(known[0], visuals, texts, sizes)
    t2v = _known(known[1], texts, visuals, sizes[::-1])
    source = f"{truth.words}; of these, what is not told to match is taken for no match"
    back = Truth(lambda v, t: t2v(t[:, None], v[None]).T, lambda v, t: t2v(t, v), False, source, truth.key)
    return Truth(lambda v, t: v2t(v[:, None], t[None]), v2t, False, source, truth.key, back)


def coco_test(visual_features: np.ndarray, folder: str = "") -> Dataset:
    """COCO's test split as the field orders it, of features (5,000, D) and without pictures or words: 25,000 captions,
    named by their ids. Raises DataFault where a file is missing or broken, or the features are not so many."""
    test = _test(truth_folder(folder))
    count = len(test.images)
    if len(visual_features) != count:
        raise DataFault(
            f"{len(visual_features):,} rows for the {count:,} pictures of COCO's test split; write one for each, in the order of "
            "Karpathy's JSON"
        )
    return Dataset(
        name="coco",
        split="test",
        captions=[f"caption {caption}" for caption in test.captions.ravel()],
        visual_of_text=np.repeat(np.arange(count), CAPTIONS),
        visual_ids=[str(image) for image in test.images],
        fingerprint=digest(test.captions.astype("<i8").tobytes())[:16],
        visual_features=visual_features,
    )


def truth_folder(folder: str = "") -> Path:
    """Where the files lie: in `folder`, its `data` or `eccv_caption`, else in the installed package. Raises DataFault, with
    what to do."""
    if folder:
        given = Path(folder).expanduser()
        for place in (given, given / "data", given / PACKAGE, given / PACKAGE / "data"):
            if (place / IDS).is_file():
                return place
        raise DataFault(
            f"{given}: no {IDS} in it; the files are those in eccv_caption/data of `pip install {PACKAGE}`"
        )
    spec = find_spec(PACKAGE)
    for place in spec.submodule_search_locations or () if spec else ():
        if (Path(place) / "data" / IDS).is_file():
            return Path(place) / "data"
    raise DataFault(
        f"the files of COCO's truths are not here: pip install {PACKAGE}, or name the folder that has {IDS}"
    )


def _known(
    matches: Matches, asking: np.ndarray, answering: np.ndarray, sizes: tuple[int, int]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What is known of pairs (query, item), rows of the data: a function of two index arrays, which are broadcast."""
    asks, takes_part = (np.zeros(size, bool) for size in sizes)
    asks[asking[matches.queries]], takes_part[answering] = True, True
    owners = np.repeat(asking[matches.queries], np.diff(matches.offsets))
    there = matches.items >= 0
    codes = np.unique(np.append(owners[there] * sizes[1] + answering[matches.items[there]], -1))

    def known(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
        sure = asks[queries] & takes_part[items]
        found = np.full(sure.shape, np.nan, np.float32)
        wanted = (queries * sizes[1] + items)[sure]  # the few of whom anything is known
        found[sure] = codes[np.searchsorted(codes, wanted).clip(max=len(codes) - 1)] == wanted
        return found

    return known


def _arrays(matches: Matches) -> tuple[np.ndarray, ...]:
    return matches.queries, matches.items, matches.offsets


def _test(folder: Path) -> _Test:
    path = folder / IDS
    ids = np.asarray(open_array(path))
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids) or len(ids) % CAPTIONS:
        raise DataFault(
            f"{path}: ids must be whole numbers, {CAPTIONS} for each picture, found {ids.shape} {ids.dtype}"
        )
    if len(np.unique(ids)) != len(ids):
        raise DataFault(f"{path}: a caption's id is there twice")
    own = _lists(folder / PICTURES)
    for caption in ids.tolist():
        if len(own.get(caption, ())) != 1:
            raise DataFault(
                f"{folder / PICTURES}: caption {caption} of {IDS} must have one picture, found {own.get(caption)}"
            )
    images = np.array([own[caption][0] for caption in ids.tolist()]).reshape(-1, CAPTIONS)
    if (images != images[:, :1]).any() or len(np.unique(images[:, 0])) != len(images):
        raise DataFault(f"{path}: each picture's {CAPTIONS} captions must follow one another, once")
    return _Test(images[:, 0], ids.reshape(-1, CAPTIONS))


def _rows(data: Dataset, test: _Test) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the data's visuals (N,), and of the captions of each (N, 5), in the order of the test split."""
    where = f"{data.name} ({data.split})"
    wanted = set(test.images.tolist())
    candidates = [_numbers(data.columns[name]) for name in ID_COLUMNS if name in data.columns]
    candidates.append(_numbers(data.visual_ids))
    known = max(candidates, key=lambda ids: len(wanted.intersection(ids)))
    if len(known) != len(wanted) or set(known) != wanted:
        raise OtherData(
            f"{where} is not COCO's test split: {len(wanted.intersection(known)):,} of its {len(known):,} pictures are among the "
            f"{len(wanted):,}, by {' or '.join(map(repr, ID_COLUMNS))} or the number at the end of a picture's name"
        )
    row_of = {image: row for row, image in enumerate(known)}
    visuals = np.array([row_of[image] for image in test.images.tolist()])
    texts = [data.texts_of(int(visual))[:CAPTIONS] for visual in visuals]
    for visual, own in zip(visuals, texts, strict=True):
        if len(own) < CAPTIONS:
            raise DataFault(
                f"{where}: picture {data.visual_ids[visual]} has {len(own)} captions, and truths know {CAPTIONS} of each by their "
                "order; put back what was left out"
            )
    return visuals, np.stack(texts)


def _numbers(values: Sequence[Any]) -> list[int]:
    """The number at the end of each name, but for its ending; -1 where there is none."""
    found = [LAST_NUMBER.search(str(value)) for value in values]
    return [int(match[1]) if match else -1 for match in found]


def _annotated(visuals: np.ndarray, texts: np.ndarray) -> Gallery:
    """The annotation of pictures (n,) with captions (n, 5)."""
    count = len(visuals)
    every = np.arange(texts.size)
    v2t = Matches(np.arange(count), every, np.arange(count + 1) * CAPTIONS)
    t2v = Matches(every, every // CAPTIONS, np.arange(texts.size + 1))
    return Gallery(visuals, texts.ravel(), v2t, t2v)


def _matches(path: Path, queries: dict[int, int], items: dict[int, int]) -> Matches:
    lists = _lists(path)
    for query, own in lists.items():
        if query not in queries:
            raise DataFault(f"{path}: {query} is none of the {len(queries):,} of {IDS}")
        if not own:
            raise DataFault(f"{path}: nothing matches {query}; leave it out")
    if not lists:
        raise DataFault(f"{path} has no queries")
    counts = [len(own) for own in lists.values()]
    found = [items.get(item, -1) for own in lists.values() for item in own]
    return Matches(
        np.array([queries[query] for query in lists]),
        np.array(found),
        np.concatenate([[0], np.cumsum(counts)]),
    )


def _lists(path: Path) -> dict[int, list[int]]:
    """{id: [ids]} of a JSON file, each id of a list once. Raises DataFault, naming the place, where it is none."""
    if not path.is_file():
        raise DataFault(
            f"there is no {path}; the files are those in eccv_caption/data of `pip install {PACKAGE}`"
        )
    content = json_content(path)
    if not isinstance(content, dict):
        raise DataFault(f"{path} must be an object of lists of ids, found {type(content).__name__}")
    found = {}
    for key, own in content.items():
        if not key.isdecimal() or not isinstance(own, list) or any(type(one) is not int for one in own):
            raise DataFault(f"{path}, {key!r}: must be an id with a list of ids, found {own!s:.60}")
        found[int(key)] = list(dict.fromkeys(own))
    return found
