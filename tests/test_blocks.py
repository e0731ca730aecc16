"""The generated scenes: pictures, captions, and truth against a slow oracle that reads scenes as dicts."""

from __future__ import annotations

import itertools
import re
from dataclasses import fields, replace

import numpy as np
import pytest

from xmr.worlds.attributes import attribute_groups, attribute_targets
from xmr.worlds.camera import footprint, screen_box
from xmr.worlds.captions import Forms, captions_of, sample_captions
from xmr.worlds.ceilings import annotated_ceiling, informed_ceiling, unannotated_share
from xmr.worlds.parallel import render_parallel
from xmr.worlds.render import render
from xmr.worlds.scenes import (
    COLOURS,
    MATERIALS,
    SHAPES,
    SIZES,
    TABLES,
    Scenes,
    concatenate,
    flip,
    sample_scenes,
    scenes_of,
)
from xmr.worlds.seeds import pretraining_seed, split_seed
from xmr.worlds.truth import holds, holds_pairs

DIFFICULTIES = (0.0, 0.2, 0.5, 0.8, 1.0)


@pytest.fixture(scope="module")
def test_scenes() -> Scenes:
    return scenes_of("test")


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return sample_scenes(60, 11)


def as_bytes(arrays: Scenes | Forms) -> bytes:
    return b"".join(getattr(arrays, f.name).tobytes() for f in fields(arrays))


def prints(scenes: Scenes) -> set[bytes]:
    """What lies on each table and where: equal for equal scenes, whatever the light."""
    return {
        row.tobytes() for row in np.concatenate([scenes.x, scenes.y, scenes.colour, scenes.shape], axis=1)
    }


# ---- scenes


def test_scenes_are_a_function_of_the_seed():
    assert as_bytes(sample_scenes(30, 5)) == as_bytes(sample_scenes(30, 5))
    assert as_bytes(sample_scenes(30, 5)) != as_bytes(sample_scenes(30, 6))
    assert as_bytes(sample_scenes(700, 5)[:30]) == as_bytes(sample_scenes(30, 5))
    assert len(sample_scenes(0, 5)) == 0


def test_scenes_keep_their_promises(test_scenes: Scenes):
    s = test_scenes
    present = s.present
    assert set(np.unique(s.count)) == {1, 2, 3, 4}
    for codes, names in ((s.colour, COLOURS), (s.shape, SHAPES), (s.size, SIZES), (s.material, MATERIALS)):
        assert set(np.unique(codes[present])) == set(range(len(names)))
        assert (codes[~present] == -1).all()
    left, right, bottom, top = screen_box(s.x, s.y, s.shape, s.size)
    assert (np.stack([left, bottom])[:, present] > -1).all()
    assert (np.stack([right, top])[:, present] < 1).all()
    foot = footprint(s.shape, s.size)
    for a, b in itertools.combinations(range(4), 2):
        both = present[:, a] & present[:, b]
        dx, dy = (np.abs(v[both, a] - v[both, b]) for v in (s.x, s.y))
        assert (np.hypot(dx, dy) > (foot[:, a] + foot[:, b])[both]).all()
        assert dx.min() > 0.3
        assert dy.min() > 0.3


def test_splits_and_pretraining_share_no_scene():
    parts = [scenes_of("train"), scenes_of("validation"), scenes_of("test"), scenes_of("test", seed=1)]
    parts += [sample_scenes(2000, pretraining_seed(i)) for i in range(3)]
    sets = [prints(part) for part in parts]
    assert [len(s) for s in sets] == [10_000, 1_000, 1_000, 1_000, 2_000, 2_000, 2_000]
    assert len(set().union(*sets)) == sum(len(s) for s in sets)
    with pytest.raises(ValueError, match="validation"):
        split_seed("val")


def test_indexing_and_joining(scenes: Scenes):
    joined = concatenate([scenes[:7], scenes[np.arange(7, 60)]])
    assert as_bytes(joined) == as_bytes(scenes)
    with pytest.raises(TypeError, match="slice"):
        scenes[3]


# ---- captions


def test_captions_are_a_function_of_their_arguments(scenes: Scenes):
    texts, forms = sample_captions(scenes, 5, 0.5, 3)
    again, same = sample_captions(scenes, 5, 0.5, 3)
    assert texts == again
    assert as_bytes(forms) == as_bytes(same)
    assert sample_captions(scenes[:9], 5, 0.5, 3)[0] == texts[:45]
    assert sample_captions(scenes, 5, 0.5, 4)[0] != texts
    assert captions_of("validation")[0] != captions_of("validation", difficulty=0.6)[0]
    assert sample_captions(scenes[:0], 5)[0] == []
    with pytest.raises(ValueError, match="difficulty"):
        sample_captions(scenes, 5, 1.5)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_own_captions_hold_and_differ(scenes: Scenes, difficulty: float):
    texts, forms = sample_captions(scenes, 5, difficulty, 1)
    own = np.repeat(np.arange(len(scenes)), 5)
    assert holds(scenes, forms)[own, np.arange(len(texts))].all()
    for start in range(0, len(texts), 5):
        assert len(set(texts[start : start + 5])) == 5


def test_one_lonely_object_still_gets_many_captions(scenes: Scenes):
    lonely = sample_scenes(300, 1)
    lonely = lonely[lonely.count == 1][:10]
    for difficulty in DIFFICULTIES:
        texts, _ = sample_captions(lonely, 20, difficulty, 1)
        assert all(len(set(texts[i : i + 20])) == 20 for i in range(0, len(texts), 20))


WORDS = {
    "colour": {name: i for i, name in enumerate(COLOURS)},
    "shape": {"sphere": 0, "ball": 0, "cube": 1, "block": 1, "cylinder": 2, "cone": 3},
    "size": {"small": 0, "little": 0, "large": 1, "big": 1},
    "material": {"matte": 0, "rubber": 0, "metal": 1, "metallic": 1, "shiny": 1},
    "table": {name: i for i, name in enumerate(TABLES)},
}


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_strings_say_what_forms_say(scenes: Scenes, difficulty: float):
    texts, forms = sample_captions(scenes, 5, difficulty, 2)
    for i, text in enumerate(texts):
        words = [re.sub("s$", "", word) for word in re.findall("[a-z]+", text)]
        for a, name in enumerate(("colour", "shape", "size", "material")):
            said = sorted(WORDS[name][word] for word in words if word in WORDS[name])
            claimed = sorted(int(c) for c in (*forms.nouns[i, :, a], forms.every[i, a]) if c >= 0)
            assert said == claimed, (text, name)
        assert [WORDS["table"][w] for w in words if w in WORDS["table"]] == [
            t for t in [forms.table[i]] if t >= 0
        ]
        sides = [{"left": 0, "right": 1, "front": 2, "behind": 3}.get(w) for w in words]
        claimed = [r for r in forms.relation[i] if r >= 0]
        if "both" in words:  # "behind both a cube and a ball" says one relation twice
            assert claimed[0] == claimed.pop(), text
        assert sorted(s for s in sides if s is not None) == sorted(claimed), text


ADJECTIVES = "(" + "|".join([*COLOURS, *WORDS["size"], *WORDS["material"], "other"]) + ")"
NOUNS = "(" + "|".join([*WORDS["shape"], "object", "thing"]) + ")"


def test_captions_read_as_english(test_scenes: Scenes):
    for difficulty in DIFFICULTIES:
        texts, _ = sample_captions(test_scenes[:300], 5, difficulty, 5)
        assert len({re.sub(r"\b(" + "|".join(COLOURS) + r")\b", "C", text) for text in texts}) > 300
        for text in texts:
            assert text == text.strip().lower()
            assert "  " not in text
            assert not re.search(r"\ba [aeio]|\ban [^aeio]", text), text
            assert not re.search(rf"\b(two|three|four) ({ADJECTIVES} )*({NOUNS})\b", text), text
            assert not re.search(rf"\b(a|an|another) ({ADJECTIVES} )*({NOUNS})s\b", text), text


# ---- truth


def dicts(scenes: Scenes) -> list[dict]:
    names = ("colour", "shape", "size", "material", "x", "y")
    return [
        {
            "table": scenes.table[i],
            "objects": [{n: getattr(scenes, n)[i, k] for n in names} for k in range(scenes.count[i])],
        }
        for i in range(len(scenes))
    ]


def fits(thing: dict, codes: np.ndarray) -> bool:
    names = ("colour", "shape", "size", "material")
    return all(code < 0 or thing[name] == code for name, code in zip(names, codes, strict=True))


def related(relation: int, a: dict, b: dict) -> bool:
    return [a["x"] < b["x"], a["x"] > b["x"], a["y"] < b["y"], a["y"] > b["y"]][relation]


def oracle(scene: dict, forms: Forms, i: int) -> bool:
    """Tries every way to give the phrases objects of their own."""
    things = scene["objects"]
    if forms.total[i] >= 0 and len(things) != forms.total[i]:
        return False
    if forms.table[i] >= 0 and scene["table"] != forms.table[i]:
        return False
    if not all(fits(thing, forms.every[i]) for thing in things):
        return False
    numbers = [int(n) for n in forms.number[i] if n > 0]
    for phrase, number in enumerate(numbers):
        if number > 1 and sum(fits(thing, forms.nouns[i, phrase]) for thing in things) != number:
            return False
    for order in itertools.permutations(things, sum(numbers)):
        rest, given = list(order), []
        for number in numbers:
            given.append(rest[:number])
            rest = rest[number:]
        if not all(fits(t, forms.nouns[i, p]) for p, group in enumerate(given) for t in group):
            continue
        links = [(r, *ends) for r, ends in zip(forms.relation[i], forms.ends[i], strict=True) if r >= 0]
        if all(related(r, a, b) for r, s, o in links for a in given[s] for b in given[o]):
            return True
    return False


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_truth_equals_the_oracle(difficulty: float):
    scenes = sample_scenes(60, 21)
    _, forms = sample_captions(scenes[:40], 4, difficulty, 8)
    slow = np.array([[oracle(scene, forms, i) for i in range(len(forms))] for scene in dicts(scenes)])
    assert np.array_equal(holds(scenes, forms), slow)
    rng = np.random.default_rng(0)
    visual, text = rng.integers(len(scenes), size=500), rng.integers(len(forms), size=500)
    assert np.array_equal(holds_pairs(scenes, forms, visual, text), slow[visual, text])


def test_truth_of_arbitrary_forms_equals_the_oracle():
    """Forms that no caption says: vague phrases, counts of two phrases, relations from any phrase to any."""
    rng = np.random.default_rng(4)
    m = 400
    phrases = rng.integers(0, 4, m)
    number = np.where(np.arange(3) < phrases[:, None], rng.choice([1, 1, 1, 2, 3], (m, 3)), 0)
    nouns = np.where(rng.random((m, 3, 4)) < 0.2, rng.integers((8, 4, 2, 2), size=(m, 3, 4)), -1)
    relation = np.where((phrases[:, None] > 1) & (rng.random((m, 2)) < 0.5), rng.integers(4, size=(m, 2)), -1)
    subject = rng.integers(3, size=(m, 2)) % np.maximum(phrases, 1)[:, None]
    target = (subject + 1) % np.maximum(phrases, 1)[:, None]
    ends = np.where(relation[..., None] >= 0, np.stack([subject, target], axis=2), -1)
    forms = Forms(
        number=number,
        nouns=np.where(number[..., None] > 0, nouns, -1),
        relation=relation,
        ends=ends,
        total=np.where(rng.random(m) < 0.2, rng.integers(1, 5, m), -1),
        every=np.where(rng.random((m, 4)) < 0.05, rng.integers((8, 4, 2, 2), size=(m, 4)), -1),
        table=np.where(rng.random(m) < 0.1, rng.integers(4, size=m), -1),
    )
    forms = Forms(**{f.name: getattr(forms, f.name).astype(np.int8) for f in fields(forms)})
    scenes = sample_scenes(50, 22)
    slow = np.array([[oracle(scene, forms, i) for i in range(m)] for scene in dicts(scenes)])
    assert 0.02 < slow.mean() < 0.9
    assert np.array_equal(holds(scenes, forms), slow)


def test_difficulty_makes_captions_truer(test_scenes: Scenes):
    medians = []
    for difficulty in DIFFICULTIES:
        _, forms = sample_captions(test_scenes, 2, difficulty, 6)
        medians.append(np.median(holds(test_scenes, forms).sum(0)))
    assert medians == sorted(medians)
    assert medians[-1] > 4 * medians[1]


def test_default_difficulty_is_in_the_range_of_the_brief(test_scenes: Scenes):
    _, forms = captions_of("test")
    assert len(forms) == 5000
    assert 5 <= np.median(holds(test_scenes, forms).sum(0)) <= 20


def test_index_pairs_are_checked(scenes: Scenes):
    _, forms = sample_captions(scenes, 1)
    with pytest.raises(ValueError, match="equally long"):
        holds_pairs(scenes, forms, np.arange(3), np.arange(4))
    with pytest.raises(IndexError):
        holds_pairs(scenes, forms, np.array([999]), np.array([0]))
    assert holds_pairs(scenes, forms, np.array([], int), np.array([], int)).shape == (0,)
    assert holds(scenes[:0], forms).shape == (0, 60)


def test_ceiling_equals_simulation():
    rng = np.random.default_rng(9)
    visuals, texts = 12, 30
    visual_of_text = rng.integers(visuals, size=texts)
    truth = rng.random((visuals, texts)) < 0.3
    truth[visual_of_text, np.arange(texts)] = True
    annotated = np.zeros_like(truth)
    annotated[visual_of_text, np.arange(texts)] = True
    assert unannotated_share(truth, visual_of_text) == pytest.approx(1 - texts / truth.sum())

    ceiling = annotated_ceiling(truth, visual_of_text, ks=(1, 3, 50))
    assert set(ceiling) == {f"{d}/recall_at_{k}" for d in ("v2t", "t2v") for k in (1, 3, 50)}
    trials = 4000
    for direction, true, own in (("v2t", truth, annotated), ("t2v", truth.T, annotated.T)):
        queried = own.any(1)
        keys = rng.random((trials, *true.shape)) + true  # true ones first, in random order
        ranked = np.take_along_axis(np.broadcast_to(own, keys.shape), np.argsort(-keys, axis=2), axis=2)
        for k in (1, 3, 50):
            simulated = ranked[:, queried, :k].any(2).mean()
            assert ceiling[f"{direction}/recall_at_{k}"] == pytest.approx(simulated, abs=0.01)
    truth[visual_of_text[4], 4] = False
    with pytest.raises(ValueError, match="text 4"):
        annotated_ceiling(truth, visual_of_text)


# ---- supervision


def test_attribute_targets_tell_what_is_there(scenes: Scenes):
    targets, groups = attribute_targets(scenes), attribute_groups()
    assert targets.dtype == np.float32
    assert list(groups.values())[-1].stop == targets.shape[1]
    for i, scene in enumerate(dicts(scenes)):
        seen = {name: set(np.flatnonzero(targets[i, columns])) for name, columns in groups.items()}
        things = scene["objects"]
        assert seen["colour"] == {t["colour"] for t in things}
        assert seen["colour_shape"] == {t["colour"] * 4 + t["shape"] for t in things}
        assert seen["combination"] == {
            ((t["colour"] * 4 + t["shape"]) * 2 + t["size"]) * 2 + t["material"] for t in things
        }
        assert seen["count"] == {len(things) - 1}
        assert seen["table"] == {scene["table"]}
        assert {cell // 9 for cell in seen["colour_shape_cell"]} == seen["colour_shape"]
        pairs = [(a, b) for a in things for b in things if a["x"] < b["x"]]
        assert seen["colour_left_of"] == {a["colour"] * 8 + b["colour"] for a, b in pairs}


# ---- pictures


def test_pictures_depend_on_their_own_scene_only(scenes: Scenes):
    few = scenes[:8]
    pictures = render(few, 64)
    assert pictures.shape == (8, 64, 64, 3)
    assert pictures.dtype == np.uint8
    assert np.array_equal(render(few, 64), pictures)
    assert np.array_equal(render(few[3:5], 64), pictures[3:5])
    assert render(few[:2], 33).shape == (2, 33, 33, 3)
    assert render(few[:0]).shape == (0, 64, 64, 3)
    with pytest.raises(ValueError, match="size"):
        render(few, 0)


def test_processes_render_the_same_bytes():
    many = sample_scenes(150, 12)
    done: list[int] = []
    pictures = render_parallel(many, 24, workers=2, progress=done.append)
    assert np.array_equal(pictures, render(many, 24))
    assert len(done) > 1
    assert done == sorted(done)
    assert done[-1] == 150
    assert np.array_equal(render_parallel(many[:3], 24, workers=1), pictures[:3])


def test_every_object_can_be_seen(scenes: Scenes):
    """Taking an object away changes a patch of the picture."""
    several = scenes[scenes.count > 1][:16]
    fewer = replace(several, count=several.count - 1)
    change = np.abs(render(several, 64).astype(int) - render(fewer, 64)).max(3) > 20
    assert (change.sum((1, 2)) >= 25).all()


def test_metal_differs_from_matte(scenes: Scenes):
    few = scenes[:12]
    matte, metal = (
        render(replace(few, material=np.where(few.present, m, -1).astype(np.int8))) for m in (0, 1)
    )
    empty = render(replace(few, count=np.zeros(12, np.int8)))
    for a, b, table in zip(matte.astype(int), metal.astype(int), empty.astype(int), strict=True):
        objects = np.abs(a - table).max(2) > 60
        assert np.abs(a - b).max(2)[objects].mean() > 15


def test_a_flipped_scene_looks_mirrored(scenes: Scenes):
    few = scenes[:8]
    mirrored = render(few)[:, :, ::-1].astype(int)
    difference = np.abs(render(flip(few)).astype(int) - mirrored)
    assert difference.mean() < 0.05
    assert (difference > 2).mean() < 0.002
    texts_true_of = holds(flip(few), sample_captions(flip(few), 3, 0.2)[1])
    assert texts_true_of.reshape(8, 8, 3)[np.arange(8), np.arange(8)].all()


def test_informed_ceiling_prefers_what_is_true_of_few():
    # Text 0 is true of both visuals, text 1 of visual 0 alone; both were written for visual 0, text 2 for visual 1.
    truth = np.array([[True, True, False], [True, False, True]])
    found = informed_ceiling(truth, np.array([0, 0, 1]), ks=(1, 2))
    # Visual 0 takes text 1 first (its own), visual 1 text 2 (its own).
    assert found["v2t/recall_at_1"] == 1
    # Text 1 and 2 have one true visual; text 0 must draw between two that are equally specific.
    assert found["t2v/recall_at_1"] in (2 / 3, 1)
    assert found["t2v/recall_at_2"] == 1
