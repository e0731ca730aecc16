"""Which pictures look nearly the same: made copies are found, other photographs are not, drawings are told apart by colour."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.shared_data import shared
from xmr.data import load_dataset
from xmr.data.card import card, said
from xmr.data.looks import Looks, looks, nearly


def scene(seed, size=(120, 90)):
    """A picture of shapes of all sizes, the larger ones the stronger, as in photographs."""
    random, total = np.random.default_rng(seed), np.zeros((size[1], size[0], 3))
    for cells in (2, 4, 8, 16):
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), float) / cells
    return Image.fromarray((total / 0.9375).astype(np.uint8))


def saved(picture, quality):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cropped(picture, share):
    width, height = picture.size
    return picture.crop((round(width * share), round(height * share), width - round(width * share), height))


COPIES = {
    "half as large": lambda one: one.resize((one.width // 2, one.height // 2)),
    "twice as large": lambda one: one.resize((one.width * 2, one.height * 2)),
    "of another shape": lambda one: one.resize((one.width, one.height * 3 // 4)),
    "recompressed": lambda one: saved(one, 30),
    "cropped": lambda one: cropped(one, 0.01),
}


def by_loop(one, other, same):
    found = set()
    for a in range(len(one.same)):
        for b in range(len(other.same)):
            bits = bin(int(one.hashes[a]) ^ int(other.hashes[b])).count("1")
            levels = np.abs(one.small[a].astype(float) - other.small[b]).mean()
            if one.same[a] != other.same[b] and bits <= 8 and levels <= 4 and (not same or a < b):
                found.add((a, b))
    return found


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_looks_nearly_like_its_picture_and_like_no_other(make):
    pictures = [scene(seed) for seed in range(30)]
    one, other = looks([make(picture) for picture in pictures]), looks(pictures)
    assert nearly(one, other).tolist() == [[n, n] for n in range(30)]
    assert not len(nearly(other, other))


def test_pairs_are_those_of_a_loop():
    pictures = [scene(seed) for seed in range(12)]
    mixed = looks(
        [*pictures, *(saved(one, 20) for one in pictures[:7]), *(cropped(one, 0.02) for one in pictures)]
    )
    assert {tuple(pair) for pair in nearly(mixed, mixed).tolist()} == by_loop(mixed, mixed, True)
    others = looks([saved(one, 50) for one in pictures])
    assert {tuple(pair) for pair in nearly(mixed, others).tolist()} == by_loop(mixed, others, False)


def test_what_is_there_just_so_is_not_nearly_so():
    one = looks([scene(1), scene(2)])
    assert not len(nearly(one, looks([scene(1)])))
    assert nearly(looks([scene(1), scene(1), saved(scene(1), 50)]), one).tolist() == [[2, 0]]


def test_one_outline_in_other_colours_is_another_picture():
    drawings = [Image.new("RGB", (64, 64), colour) for colour in ("white", "red", "blue")]
    found = looks(drawings)
    assert len(np.unique(found.hashes)) == 1 and not len(nearly(found, found))


def test_a_card_counts_what_nearly_stands_twice_and_in_train(tmp_path):
    lines = []
    for number, split in enumerate(["train", "train", "train", "validation", "test", "test"]):
        scene(number).save(tmp_path / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "split": split, "captions": [str(number)]}))
    saved(scene(4), 60).save(tmp_path / "copy.png")
    saved(scene(0), 60).save(tmp_path / "learned.png")
    lines += ['{"file_name": "copy.png", "split": "test", "captions": ["copy"]}',
              '{"file_name": "learned.png", "split": "test", "captions": ["learned"]}']  # fmt: skip
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    train, test = load_dataset(tmp_path, "train"), load_dataset(tmp_path, "test")
    found = card(test, train, looks=(looks(test.visuals), looks(train.visuals)))
    assert found["nearly"] == {"visuals": 2, "pairs": 1, "first": [["4.png", "copy.png"]]}
    assert found["in_train"]["nearly"] == {"visuals": 1, "pairs": 1, "first": [["learned.png", "0.png"]]}
    words = "\n".join(said(test, found))
    assert "2 of 4 test pictures look nearly like another" in words and "4.png and copy.png" in words
    assert "1 of 4 test pictures look nearly like one of the train split" in words
    assert found["duplicates"] == {}  # told, and taken for nothing


def test_on_photographs_copies_are_found_and_little_else():
    """873 exercises in two photographs each, of which some hardly differ: the hardest others that there are."""
    folder = shared("exercise")
    data = load_dataset(folder, "train")
    chosen = np.linspace(0, len(data.visuals) - 1, 120).astype(int)
    pictures = [data.visuals[int(row)] for row in chosen]
    whole = looks(pictures)
    copies = Looks(*(np.concatenate(parts) for parts in zip(*(
        vars(looks([make(picture) for picture in pictures])).values() for make in COPIES.values()
    ), strict=True)))  # fmt: skip
    found = nearly(copies, whole)
    right = found[:, 0] % len(chosen) == found[:, 1]
    assert right.sum() >= 0.96 * len(copies.same)
    assert right.mean() >= 0.95
