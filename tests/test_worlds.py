"""What holds of both generated worlds: streams of chance, captions that are true of their own, and truth against an oracle."""

from __future__ import annotations

import re
from dataclasses import fields

import numpy as np
import pytest

from tests.worlds import ADJECTIVES, DIFFICULTIES, NOUN, WORDS, WORLDS, World, as_bytes
from xmr.worlds.captions import sample_captions
from xmr.worlds.scenes import COLOURS, TABLES, sample_scenes
from xmr.worlds.seeds import clip_seed, split_seed


@pytest.fixture(params=WORLDS)
def world(request) -> World:
    return WORLDS[request.param]


def test_what_is_sampled_is_a_function_of_the_seed(world: World):
    some = world.sample(30, 5)
    assert as_bytes(some) == as_bytes(world.sample(30, 5)) != as_bytes(world.sample(30, 6))
    assert as_bytes(world.sample(700, 5)[:30]) == as_bytes(some)
    assert len(world.sample(0, 5)) == 0
    with pytest.raises(ValueError, match="-1"):
        world.sample(-1)
    with pytest.raises(TypeError, match="slice"):
        some[3]


@pytest.mark.parametrize("seed_of", [split_seed, clip_seed])
def test_an_unknown_split_is_told_which_there_are(seed_of):
    with pytest.raises(ValueError, match="validation"):
        seed_of("val")


def test_captions_are_a_function_of_their_arguments(world: World):
    some = world.sample(40, 11)
    texts, forms = world.captions(some, 5, 0.5, 3)
    again, same = world.captions(some, 5, 0.5, 3)
    assert texts == again and as_bytes(forms) == as_bytes(same)
    assert world.captions(some[:9], 5, 0.5, 3)[0] == texts[:45]
    assert texts not in (world.captions(some, 5, 0.5, 4)[0], world.captions(some, 5, 0.6, 3)[0])
    assert world.captions(some[:0], 5)[0] == []
    with pytest.raises(ValueError, match="difficulty"):
        world.captions(some, 5, 1.5)
    with pytest.raises(ValueError, match="per_visual"):
        world.captions(some, -1)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_own_captions_hold_and_differ(world: World, difficulty: float):
    some = world.sample(500, 12)
    texts, forms = world.captions(some, 5, difficulty, 1)
    own = np.repeat(np.arange(len(some)), 5)
    assert world.holds_pairs(some, forms, own, np.arange(len(texts))).all()
    assert all(len(set(texts[start : start + 5])) == 5 for start in range(0, len(texts), 5))


def test_one_lonely_object_still_gets_many_captions():
    lonely = sample_scenes(300, 1)
    lonely = lonely[lonely.count == 1][:10]
    for difficulty in DIFFICULTIES:
        texts, _ = sample_captions(lonely, 20, difficulty, 1)
        assert all(len(set(texts[i : i + 20])) == 20 for i in range(0, len(texts), 20))


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_captions_read_as_english_and_name_what_their_forms_name(world: World, difficulty: float):
    texts, forms = world.captions(world.sample(300, 13), 5, difficulty, 5)
    if world is WORLDS["blocks"]:
        assert len({re.sub(r"\b(" + "|".join(COLOURS) + r")\b", "C", text) for text in texts}) > 300
    shared = getattr(forms, "every", np.zeros((0, 4), int))
    for i, text in enumerate(texts):
        assert text == text.strip().lower() and "  " not in text and "{" not in text
        assert not re.search(r"\ba [aeio]|\ban [^aeio]", text), text
        assert not re.search(rf"\b(two|three|four) ({ADJECTIVES} )*({NOUN})\b", text), text
        assert not re.search(rf"\b(a|an|another) ({ADJECTIVES} )*({NOUN})s\b", text), text
        once = re.sub(rf"\bthe ({ADJECTIVES} )*{NOUN}\b", "it", text)  # what was named before
        words = [re.sub("s$", "", word) for word in re.findall("[a-z]+", once)]
        for a, name in enumerate(WORDS):
            named = [*forms.nouns[i, :, a], *shared[i : i + 1, a]]
            said = sorted(WORDS[name][word] for word in words if word in WORDS[name])
            assert said == sorted(int(code) for code in named if code >= 0), (text, name)
        table = re.findall(rf"({'|'.join(TABLES)}) table", text)
        assert table == [TABLES[code] for code in forms.table[i : i + 1] if code >= 0]


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_truth_equals_the_oracle(world: World, difficulty: float):
    some = world.sample(60, 21)
    _, forms = world.captions(some[:40], 4, difficulty, 8)
    slow = world.slow_truth(some, forms)
    assert np.array_equal(world.holds(some, forms), slow)
    rng = np.random.default_rng(0)
    visual, text = rng.integers(len(some), size=500), rng.integers(len(forms), size=500)
    assert np.array_equal(world.holds_pairs(some, forms, visual, text), slow[visual, text])


def test_truth_of_arbitrary_forms_equals_the_oracle(world: World):
    drawn = world.any_forms(np.random.default_rng(4), 400)
    forms = type(drawn)(**{f.name: getattr(drawn, f.name).astype(np.int8) for f in fields(drawn)})
    some = world.sample(50, 22)
    slow = world.slow_truth(some, forms)
    assert 0.02 < slow.mean() < 0.9
    assert np.array_equal(world.holds(some, forms), slow)


def test_index_pairs_are_checked(world: World):
    some = world.sample(10, 23)
    _, forms = world.captions(some, 1)
    with pytest.raises(ValueError, match="equally long"):
        world.holds_pairs(some, forms, np.arange(3), np.arange(4))
    with pytest.raises(IndexError):
        world.holds_pairs(some, forms, np.array([999]), np.array([0]))
    assert world.holds_pairs(some, forms, np.array([], int), np.array([], int)).shape == (0,)
    assert world.holds(some[:0], forms).shape == (0, 10)
