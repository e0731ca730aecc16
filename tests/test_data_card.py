"""The card of a data set: what scripts/data.py prints, as lines, as JSON and as a page."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scripts import data as script
from tests import tiny
from xmr.captions import scripts_of, text_key, words_of
from xmr.data import load_dataset
from xmr.data.card import card, said
from xmr.data.looks import looks, nearly

EVIL = '<script>alert(1)</script> & \'a "dog"'


def folder(root, rows):
    """An imagefolder of (name, split, captions, colour); of one colour all pixels are equal, whatever the format."""
    root.mkdir()
    lines = []
    for name, split, captions, colour in rows:
        Image.new("RGB", (20, 12), colour).save(root / name)
        lines.append(json.dumps({"file_name": name, "split": split, "captions": captions}))
    (root / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def small(tmp_path):
    return folder(
        tmp_path / "small",
        [
            ("a.png", "train", ["A red dog.", "one"], "red"),
            ("b.bmp", "train", ["a blue sky"], "blue"),
            ("c.bmp", "train", ["a  RED dog"], "red"),
            ("d.png", "validation", ["green grass"], "green"),
            ("e.png", "test", ["a blue sky!", "кот и a cat"], "blue"),
            ("f.png", "test", [EVIL], "white"),
        ],
    )


def test_a_card_tells_what_there_is_of_a_split(small):
    train, test = load_dataset(small, "train"), load_dataset(small, "test")
    found = card(test, train)
    assert found == {
        "name": "small",
        "split": "test",
        "visuals": 2,
        "captions": 3,
        "left_out": {},
        "duplicates": {},
        "kind": "image",
        "captions_per_visual": {"min": 1, "median": 1.5, "max": 2},
        "words_per_caption": {"min": 3, "median": 4.0, "max": len(words_of(EVIL))},
        "scripts": {"Latin": 3, "Cyrillic": 1},
        "words": {"all": 7 + len(words_of(EVIL)), "not_in_train": 3 + len(words_of(EVIL)) - 2},
        "in_train": {"visuals": 0, "captions": 1},
    }
    lines = list(said(test, found))
    assert lines[0] == "small, test: 2 pictures with 3 captions"
    assert lines[1] == "captions: 1 to 2 (median 1.5) for each picture, of 3 to 6 (median 4) words; script: Latin, Cyrillic in 1"  # fmt: skip
    assert lines[-1] == "1 of 3 test captions read like one of the train split"


def test_pictures_that_look_the_same_are_equal_whatever_their_files(small):
    """Red stands in train as PNG and as BMP, blue in train and in test."""
    train, test = load_dataset(small, "train"), load_dataset(small, "test")
    own, others = looks(train.visuals), looks(test.visuals)
    assert not own.broken.any() and (own.same[:, None] == own.same).sum() == 5
    assert card(train)["duplicates"]["visuals"] == 0  # by their files
    assert card(train, looks=(own, own))["duplicates"]["visuals"] == 2
    found = card(test, train, looks=(others, own))
    assert found["in_train"] == {
        "visuals": 1,
        "nearly": {"visuals": 0, "pairs": 0, "first": []},
        "captions": 1,
    }
    assert any("1 of 2 test pictures is identical to pictures of the train split" in one for one in said(test, found))  # fmt: skip


def test_a_picture_that_can_not_be_decoded_equals_none(small):
    train = load_dataset(small, "train")
    for name in ("b.bmp", "c.bmp"):
        (small / name).write_bytes(b"BM")
    found = looks(train.visuals)
    assert found.broken.tolist() == [False, True, True] and len(np.unique(found.same)) == 3
    assert not len(nearly(found, found))


def test_the_script_prints_a_card_of_each_split(small, capsys):
    assert script.main([str(small), "--pixels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line.startswith("small, ")]
    assert [head.split(":")[0] for head in heads] == ["small, train", "small, validation", "small, test"]
    assert "2 captions read like one of other pictures and 2 pictures are the same" in heads[0]
    assert lines[-2] == "train on it:" and f"--dataset {small}" in lines[-1]


def test_json_is_the_card_and_nothing_else(small, capsys):
    assert script.main([str(small), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    train = load_dataset(small, "train")
    expected = {split: card(load_dataset(small, split), train if split != "train" else None)
                for split in ("train", "validation", "test")}  # fmt: skip
    assert told["splits"] == json.loads(json.dumps(expected))
    assert set(told) == {"splits"}


def test_the_page_needs_nothing_else_and_runs_nothing_of_the_data(small, tmp_path, capsys):
    out = tmp_path / "card.html"
    assert script.main([str(small), "--html", str(out)]) == 0
    page = out.read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert page.count('src="data:image/jpeg;base64,') == 6
    assert "captions like one of another visual" in page and len(page) < 60_000
    assert "1 of 3 test captions read like one of the train split" in page


def test_features_have_words_instead_of_pictures(tmp_path, capsys):
    data = tiny.write_folder(tmp_path / "tiny")
    assert script.main([str(data), "--pixels", "--html", str(tmp_path / "card.html")]) == 0
    printed = capsys.readouterr()
    assert "no pictures to decode" in printed.err and "train on it" in printed.out
    assert "data:image" not in (tmp_path / "card.html").read_text()


def test_the_encoder_tells_what_it_cuts_off(small, capsys):
    captions = [json.loads(line) for line in (small / "metadata.jsonl").read_text().splitlines()]
    captions[0]["captions"][0] = "ball " * 200
    (small / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in captions))
    assert script.main([str(small), "--encoder", "blocks", "--json"]) == 0
    train = json.loads(capsys.readouterr().out)["splits"]["train"]["encoder_reads"]
    assert train["texts"] == 4 and train["cut"] == 1 and train["unknown"] > 0
    assert script.main([str(small), "--encoder", "blocks"]) == 0
    assert f"1 of 4 captions cut off after {train['limit']} tokens" in capsys.readouterr().out


def test_pictures_against_pictures_have_no_words(tmp_path, capsys):
    root = tmp_path / "styles"
    root.mkdir()
    lines = []
    for number in range(12):
        for style, shade in (("one", 20), ("two", 200)):
            name = f"{style}{number}.png"
            Image.new("RGB", (8, 8), (20 * number, shade, 0)).save(root / name)
            row = {"file_name": name, "concept": f"c{number}", "style": style, "captions": ["x"]}
            lines.append(json.dumps(row))
    (root / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    sets = ["--set", "query=style=one", "--set", "gallery=style=two"]
    assert script.main([str(root), *sets, "--json", "--encoder", "blocks"]) == 0
    for found in json.loads(capsys.readouterr().out)["splits"].values():
        assert "scripts" not in found and "encoder_reads" not in found


@pytest.mark.parametrize(
    ("caption", "scripts"),
    [
        ("A dog", {"Latin"}),
        ("42 – !", set()),
        ("naïve café", {"Latin"}),
        ("Кот", {"Cyrillic"}),
        ("猫とネコ", {"Han", "Hiragana", "Katakana"}),
        ("고양이 cat", {"Hangul", "Latin"}),
        ("บ้าน", {"Thai"}),
        ("ᚠᚢᚦ", {"other"}),
    ],
)
def test_scripts_are_told_by_letters(caption, scripts):
    assert scripts_of(caption) == scripts


@given(st.text(), st.text())
def test_scripts_of_two_texts_are_those_of_both(one, other):
    assert scripts_of(f"{one} {other}") == scripts_of(one) | scripts_of(other)


def test_what_reads_like_train_is_counted_by_a_loop():
    train, test = tiny.dataset("train"), tiny.dataset("test")
    keys = [text_key(caption) for caption in train.captions]
    expected = sum(any(text_key(caption) == key for key in keys) for caption in test.captions)
    assert card(test, train)["in_train"]["captions"] == expected > 0
