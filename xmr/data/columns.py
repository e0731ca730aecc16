"""Which column of a source is what: one mapper for tables, JSON, arrow and shards, and what it chose, in words."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from xmr.data.dataset import DataFault
from xmr.registry import unknown

# By these names, in this order, whatever their case; spaces and hyphens read as underscores.
IMAGE = (
    "image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "filepath", "file_path", "image_path", "img_path",
    "path", "file_name", "filename", "image_name", "file", "video", "video_path", "video_name", "video_id", "videoid", "image_id",
)  # fmt: skip
TEXT = (
    "captions", "caption", "sentences", "text", "texts", "title", "txt", "raw", "description", "comment",
    "alt_text", "caption_text", "encap",
)  # fmt: skip
SPLIT = ("split", "partition")
PICTURE_ID = (
    "image_id", "img_id", "imgid", "cocoid", "video_id", "filename", "file_name", "image_name", "image_path", "filepath",
)  # fmt: skip
ID = (*PICTURE_ID, "id", "key", "__key__")
CONCEPT = ("concept",)
HARD = "hard_captions"  # wrong captions of a picture, written to be hard
LABEL = ("label", "class", "category", "class_name")
NUMBERED = re.compile(r"(captions?|sentence|text|comment|raw)_?\d+")
WITHIN = ("raw", "caption", "text", "sentence")  # of an object that stands in the place of a caption


@dataclass(frozen=True)
class Columns:
    """The names of columns, "" where there is none; captions may lie in several."""

    image: str
    text: tuple[str, ...]
    split: str = ""
    id: str = ""
    concept: str = ""
    label: str = ""

    @property
    def names_pictures(self) -> bool:
        """Whether rows of equal `id` are of one picture, rather than an id being that of a caption."""
        return plain(self.id) in PICTURE_ID

    @property
    def read(self) -> set[str]:
        """Those that need not be kept beside what is made of them."""
        return {self.image, *self.text, self.split} - {""}

    def said(self, noun: str = "picture") -> str:
        """What was chosen, in words: "pictures from 'jpg', captions from 'txt'"."""
        of = {f"{noun}s": (self.image,), "captions": self.text, "splits": (self.split,)}
        return ", ".join(
            f"{what} from {' and '.join(map(repr, names))}" for what, names in of.items() if any(names)
        )


def mapped(
    there: Sequence[str],
    where: str | Path,
    *,
    image: str = "",
    text: str = "",
    images: Collection[str] = (),
    texts: Collection[str] | None = None,
    noun: str = "picture",
) -> Columns:
    """What the columns `there` are.

    `image` and `text` (several between commas) are names that the user gives. `images` are the columns that hold pictures
    by their type, which come before names, and `texts` those that can hold captions, where types tell. Raises DataFault,
    naming the columns that there are, where one is missing or it is not clear which.
    """
    given = [name.strip() for name in text.split(",") if name.strip()]
    for option, name in [("image", image), *(("text", name) for name in given)]:
        if name and name not in there:
            raise DataFault(f"{where}: --set {option}={name}: {unknown('column', name, there)}")
    typed = [name for name in there if name in images]
    visual = image or first_of(typed, IMAGE) or (typed[0] if len(typed) == 1 else "")
    visual = visual or ("" if typed else first_of([name for name in there if name not in given], IMAGE))
    able = [
        name for name in there if name != visual and name not in images and (texts is None or name in texts)
    ]
    found = first_of(able, TEXT)
    captions = given or ([found] if found else [name for name in able if NUMBERED.fullmatch(plain(name))])
    columns = ", ".join(map(repr, there)) or "none"
    if not visual:
        which = "several columns hold pictures" if typed else f"no column holds the {noun}s"
        raise DataFault(f"{where}: {which} (there are {columns}); name it with --set image=COLUMN")
    if not captions:
        raise DataFault(
            f"{where}: no column holds the captions (there are {columns}); name it with --set text=COLUMN"
        )
    rest = [name for name in there if name not in (visual, *captions)]
    return Columns(
        visual,
        tuple(captions),
        split=first_of(rest, SPLIT),
        id=first_of(rest, ID),
        concept=first_of(rest, CONCEPT),
        label=first_of(rest, LABEL),
    )


def plain(name: str) -> str:
    """A column's name as those above are written."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def first_of(there: Sequence[str], wanted: Sequence[str]) -> str:
    """The first of the `wanted` names that is `there`, as it is written there; "" where none is."""
    by_name = {plain(name): name for name in reversed(there)}
    return next((by_name[name] for name in wanted if name in by_name), "")
