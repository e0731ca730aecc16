"""Captions as words: one splitter for all scripts, and how much of texts is read."""

import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xmr
from tests.shared_data import shared
from xmr.analysis.errors import by_word, query_slicings
from xmr.captions import cut_alike, former_words_of, text_key, words_of
from xmr.data import load_dataset
from xmr.evidence import CaptionSimilarity
from xmr.matchers.vocabulary import MAX_WORDS, Vocabulary

SCRIPTS = {
    "English": ("A dog's RED-hot  ball, don’t_stop!", ["a", "dog's", "red", "hot", "ball", "don’t", "stop"]),
    "Cyrillic": ("Кот бежит; 3", ["кот", "бежит", "3"]),
    "accents": ("un café très agréable", ["un", "café", "très", "agréable"]),
    "Vietnamese": ("tiếng Việt đẹp", ["tiếng", "việt", "đẹp"]),
    "Turkish": ("İstanbul'da ILIK ılık", ["istanbul'da", "ilik", "ılık"]),
    "Lithuanian": ("Ąžuolas i̇̀r", ["ąžuolas", "ìr"]),
    "Greek": ("ΟΔΟΣ, Οδός", ["οδος", "οδός"]),
    "Devanagari": ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया"]),
    "Bengali": ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
    "Tamil": ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
    "Malayalam": ("അവന്‍ വന്നു", ["അവന്‍", "വന്നു"]),
    "Sinhala": ("ශ්‍රී ලංකා", ["ශ්‍රී", "ලංකා"]),
    "pointed Arabic": ("مُحَمَّدٌ كَتَبَ", ["مُحَمَّدٌ", "كَتَبَ"]),
    "Persian": ("می‌خواهم بروم؟", ["می‌خواهم", "بروم"]),
    "pointed Hebrew": ("שָׁלוֹם עֲלֵיכֶם", ["שָׁלוֹם", "עֲלֵיכֶם"]),
    "Hebrew": ("צה״ל, צ׳יפס", ["צה״ל", "צ׳יפס"]),
    "Tibetan": ("བོད་སྐད།", ["བོད", "སྐད"]),
    "Korean": ("한국어 단어", ["한국어", "단어"]),
    "Chinese": ("红猫，在iPhone上。〇二", ["红", "猫", "在", "iphone", "上", "〇", "二"]),
    "Japanese": ("猫がテーブル2つ々", ["猫", "が", "テ", "ー", "ブ", "ル", "2", "つ", "々"]),
    "Bopomofo": ("ㄅㄆ", ["ㄅ", "ㄆ"]),
    "Thai": ("สีแดง กำ ๑๒", ["สี", "แ", "ด", "ง", "ก", "ำ", "๑๒"]),
    "Lao": ("ພາສາ", ["ພ", "າ", "ສ", "າ"]),
    "Khmer": ("ភាសាខ្មែរ", ["ភា", "សា", "ខ្មែ", "រ"]),
    "Myanmar": ("မြန်မာသ္တ", ["မြ", "န်", "မာ", "သ္တ"]),
    "not seen": ("soft\u00adhyphen \u200eleft\u202c b\ufe0f \ufeffmark", ["softhyphen", "left", "b", "mark"]),
    "a space of no width": ("สวน\u200bบ้าน two\u200bwords", ["ส", "ว", "น", "บ้", "า", "น", "two", "words"]),
    "no words": ("🙂 … ้", []),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_of_every_script_in_both_normal_forms(script, form):
    text, expected = SCRIPTS[script]
    assert words_of(unicodedata.normalize(form, text)) == [unicodedata.normalize("NFC", w) for w in expected]


def oracle(text):
    """Words of Latin, Greek and Cyrillic text in NFC, letter by letter."""
    found, word = [], ""
    for at, letter in enumerate(text := text.lower() + " "):
        inner = letter in "'’" and word and text[at + 1].isalnum()
        if letter.isalnum() or inner:
            word += letter
        elif word:
            found, word = [*found, word], ""
    return found


@given(st.text(st.characters(max_codepoint=0x7F)) | st.text(" '’-_.,;!?aBcéÉßñŁ2½Жя"))
def test_ordinary_text_has_the_words_it_always_had(text):
    assert words_of(text) == former_words_of(text) == oracle(text)


def test_every_letter_and_digit_is_part_of_a_word_and_nothing_else_is():
    for letter in map(chr, range(sys.maxunicode + 1)):
        if letter.isalnum():
            assert words_of(letter), hex(ord(letter))
        elif (
            unicodedata.category(letter)[0] not in "LNC"
        ):  # C: not assigned in this Python, perhaps in another table
            assert not words_of(letter), hex(ord(letter))


@pytest.mark.parametrize("name", ["emoji", "exercise", "animated_emoji", "blocks"])
def test_captions_that_are_there_have_the_words_they_always_had(name):
    source = name if name == "blocks" else shared(name)
    captions = set(load_dataset(source, "test").captions)
    latin = [
        c for c in captions if all(unicodedata.name(x, "").startswith("LATIN") for x in c if x.isalpha())
    ]
    assert len(latin) > 0.99 * len(captions) > 20
    assert [c for c in latin if words_of(c) != former_words_of(c)] == []


@given(st.text(), st.text())
def test_splitting_knows_no_normal_form_and_is_done_at_once(a, b):
    for text in (a, b):
        words = words_of(text)
        assert words == words_of(unicodedata.normalize("NFD", text)) == words_of(text_key(text) and text)
        assert [again for word in words for again in words_of(word)] == words
    assert (
        words_of(f"{a} \n{b}") == words_of(a) + words_of(b) or "σ" in (a + b).lower()
    )  # its form ends a word


def test_captions_that_read_alike_in_turkish_and_normal_forms():
    assert text_key("İki Kedi.") == text_key("iki kedi") != text_key("ıki kedi")
    assert text_key("cafe\u0301") == text_key("CAFÉ")


# Evidence and slices split as the towers do


def test_evidence_compares_the_words_of_every_script():
    captions = ["红色的猫在公园里", "白色的猫在公园里", "一辆汽车", "café très", unicodedata.normalize("NFD", "très café"),
                "नमस्ते दुनिया", "नमः दिन"]  # fmt: skip
    found = CaptionSimilarity(captions).block(np.arange(7), np.arange(7))
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-6)
    assert 0.5 < found[0, 1] < 1 and found[0, 2] == 0
    assert found[3, 4] == pytest.approx(1)
    assert found[5, 6] == 0  # letters that stand between the same marks are other words


def test_slices_find_words_and_phrases_of_every_script():
    texts = ["猫在公园里", "une fenêtre près d'ici", "a cat, in front of it", "a front in", "l'après-midi"]
    words = ["公园", unicodedata.normalize("NFD", "près"), "in front", "front"]
    found = {name: part.tolist() for name, part in by_word(texts, words).items()}
    assert found == {"公园": [0], words[1]: [1], "in front": [2], "front": [3], "none of these": [4]}
    both = by_word(
        ["a cat in\nfront"], ["in front"]
    )  # two captions of a picture: no phrase across their border
    assert list(both) == ["none of these"]


def test_lengths_of_captions_are_counted_in_those_words():
    found = query_slicings(["红猫 .", "a dog - here ."], np.arange(2), "t2v")["words in a caption"]
    assert {name: part.tolist() for name, part in found.items()} == {"2": [0], "3": [1]}


# How much is read


def test_unknown_words_are_counted():
    vocabulary = Vocabulary.build(["a red dog", "a red cat"], 1)
    read = vocabulary.reading(["a red bird", "a a dog", "", "zebra"])
    assert (read.texts, read.words, read.unknown, read.cut, read.alike) == (4, 7, 2, 0, 0)
    assert read.said == "2 of 7 words unknown (28.6 %)"
    assert vocabulary.reading([]).said == ""


def test_captions_beyond_the_words_that_are_read_are_counted_and_said():
    stem = "w " * (MAX_WORDS - 1)
    captions = [stem, stem + "a", stem + "a b", stem + "A b c.", stem + "b b", stem + "a B"]
    vocabulary = Vocabulary.build(captions, 1)
    read = vocabulary.reading(captions)
    assert (read.cut, read.alike) == (4, 3)  # "a b", "A b c." and "a B" are read as "a"; "b b" as no other
    assert read.said == (
        f"0 of {sum(len(words_of(c)) for c in captions)} words unknown (0.0 %), "
        f"4 of 6 captions cut off after {MAX_WORDS} words, 3 of them no longer different from another"
    )
    with pytest.warns(UserWarning, match=f"4 of 6 captions are longer than {MAX_WORDS} words"):
        ids, lengths = vocabulary.encode(captions)
    assert lengths.tolist() == [127, *[128] * 5] and (ids[1] == ids[2]).all()


def test_the_same_caption_twice_was_not_made_equal_by_the_cut():
    assert cut_alike([("a b", 1, True), ("A b.", 1, True), ("c", 2, False), ("d", 2, False)]) == (2, 0)
    assert cut_alike([("a b", 1, True), ("a", 1, False)]) == (1, 1)


# Vocabularies of runs made before


def test_a_vocabulary_is_read_as_it_was_made():
    captions = ["नमस्ते दुनिया", "红色的猫"]
    former = Vocabulary(("<pad>", "<unk>", *former_words_of(" ".join(captions))[:1], "红色的猫"), former=True)
    assert Vocabulary.from_json(list(former.words)) == former  # the bare list of words from before
    assert Vocabulary.from_json(former.to_json()) == former
    assert former.encode(["红色的猫"])[0].tolist() == [[3]]
    now = Vocabulary.build(captions, 1)
    assert Vocabulary.from_json(now.to_json()) == now != former
    assert now.encode(["红色的猫"])[1].tolist() == [4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"words_of": 3, "words": ["<pad>", "<unk>"]}, "version 3"),
        ({"words": ["<pad>", "<unk>"]}, "version None"),
        ({"words_of": 2}, "no list of words"),
        ("<pad>", "no list of words"),
        (["a"], "begins with"),
    ],
)
def test_other_vocabularies_are_refused(content, said):
    with pytest.raises(ValueError, match=said):
        Vocabulary.from_json(content)


def test_no_other_code_takes_captions_apart():
    """What splits text by `\\w` splits it at every mark, and keeps a Chinese sentence whole."""
    found = [
        path.name
        for path in sorted(Path(xmr.__file__).parent.rglob("*.py"))
        if re.search(r"""findall\(r["']\\w""", path.read_text(encoding="utf-8"))
    ]
    assert found == ["clips.py"]  # where it decides whether a made caption says more, and fingerprints follow
