"""Questions of a picture with right captions and wrong ones that were written to be hard, as their files lie.

SugarCrepe      {"0": {"filename", "caption", "negative_caption"}, …}; with "caption2" as in SugarCrepe++
ARO             [{"image_path", "true_caption", "false_caption"}, …], of a part of the picture where it has "bbox_x" …
Winoground      JSON lines {"image_0", "image_1", "caption_0", "caption_1"}: two questions each, with the same captions
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from xmr.data.dataset import DataFault
from xmr.data.json_files import json_content, parse_json
from xmr.data.names import PICTURES
from xmr.data.pictures import BadPicture, decode, read_file
from xmr.data.rows import Row, read_text

RIGHT, WRONG = ("caption", "caption2", "true_caption"), ("negative_caption", "false_caption")
NAMES = ("filename", "image_path")
BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
TWO = ("image_0", "image_1", "caption_0", "caption_1")


class Question(NamedTuple):
    """A picture, by its name below a folder and maybe a box (left, upper, right, lower) of it, and captions of which the
    `right` ones are true."""

    row: Row
    picture: str
    box: tuple[int, ...]
    captions: tuple[str, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True)
class Choices:
    """The questions of a file; `pairs` says that each two that follow one another are an example of Winoground."""

    name: str
    questions: list[Question]
    pairs: bool


def read_choices(path: Path) -> Choices:
    """The questions of a file of SugarCrepe's, ARO's or Winoground's layout. Raises DataFault, with the place."""
    rows = list(_rows(path))
    if not rows:
        raise DataFault(f"{path} has no questions")
    pairs = all(name in rows[0].values for name in TWO)
    questions = [question for row in rows for question in (_two(row) if pairs else [_one(row)])]
    return Choices(path.stem, questions, pairs)


def picture(question: Question, folder: Path) -> Image.Image:
    """A question's picture or part of one. Raises DataFault, with its place, where it is missing, unreadable or outside of
    the folder."""
    root = os.path.realpath(folder)
    names = [question.picture]
    if Path(question.picture).suffix[1:].lower() not in PICTURES:
        names += [f"{question.picture}.{ending}" for ending in PICTURES]
    for name in names:
        if os.path.isfile(os.path.join(root, name)):
            break
    else:
        name = question.picture
    try:
        image = decode(io.BytesIO(read_file(root, name)))
    except BadPicture as error:
        raise DataFault(f"{question.row}: {name} in {folder}: {error}") from error
    if not question.box:
        return image
    left, upper, right, lower = question.box
    if not (left < min(right, image.width) and upper < min(lower, image.height) and right > 0 < lower):
        raise DataFault(
            f"{question.row}: the box {question.box} has nothing of {image.width} × {image.height} pixels"
        )
    return image.crop(question.box)


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix == ".jsonl":
        for line, text in enumerate(read_text(path).splitlines(), start=1):
            if text.strip():
                try:
                    yield _checked(Row(path, line, parse_json(text)))
                except (ValueError, RecursionError) as error:
                    raise DataFault(f"{path}, line {line}: not JSON ({error})") from error
        return
    content = json_content(path)
    if not isinstance(content, (dict, list)):
        raise DataFault(f"{path} must be a list or an object of questions, found {type(content).__name__}")
    for place, values in enumerate(content.values() if isinstance(content, dict) else content):
        yield _checked(Row(path, place, values, "question {}"))


def _checked(row: Row) -> Row:
    if not isinstance(row.values, dict):
        raise DataFault(f"{row}: must be an object, found {type(row.values).__name__}")
    return row


def _one(row: Row) -> Question:
    names = [name for name in NAMES if name in row.values]
    right, wrong = ([name for name in kind if name in row.values] for kind in (RIGHT, WRONG))
    if not names or not right or not wrong:
        raise DataFault(
            f"{row}: a question has {' or '.join(NAMES)}, a right caption ({', '.join(RIGHT)}) and a wrong one "
            f"({', '.join(WRONG)}), or all of {', '.join(TWO)}; there are {', '.join(map(repr, row.values)) or 'none'}"
        )
    captions = tuple(_text(row, name) for name in [*right, *wrong])
    return Question(
        row, _text(row, names[0]), _box(row), captions, (True,) * len(right) + (False,) * len(wrong)
    )


def _two(row: Row) -> list[Question]:
    first, second, *captions = (_text(row, name) for name in TWO)
    return [
        Question(row, first, (), tuple(captions), (True, False)),
        Question(row, second, (), tuple(captions), (False, True)),
    ]


def _box(row: Row) -> tuple[int, ...]:
    if not any(name in row.values for name in BOX):
        return ()
    found: list[Any] = [row.values.get(name) for name in BOX]
    if not all(type(value) is int for value in found):
        raise DataFault(f"{row}: {', '.join(BOX)} must be whole numbers, found {found}")
    left, upper, width, height = found
    return left, upper, left + width, upper + height


def _text(row: Row, name: str) -> str:
    value = row.values.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataFault(f"{row}: {name} must be words, found {value!r:.60}")
    return value.strip()
