"""The generated scenes: what they promise, what captions say, how they look."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.worlds import DIFFICULTIES, as_bytes, scene_story
from xmr.worlds.attributes import attribute_groups, attribute_targets
from xmr.worlds.camera import footprint, screen_box
from xmr.worlds.captions import captions_of, sample_captions
from xmr.worlds.ceilings import annotated_ceiling, informed_ceiling, unannotated_share
from xmr.worlds.parallel import render_parallel
from xmr.worlds.render import render
from xmr.worlds.scenes import (
    COLOURS,
    MATERIALS,
    SHAPES,
    SIZES,
    Scenes,
    concatenate,
    flip,
    sample_scenes,
    scenes_of,
)
from xmr.worlds.seeds import pretraining_seed
from xmr.worlds.truth import holds


@pytest.fixture(scope="module")
def test_scenes() -> Scenes:
    return scenes_of("test")


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return sample_scenes(60, 11)


def prints(scenes: Scenes) -> set[bytes]:
    """What lies on each table and where: equal for equal scenes, whatever the light."""
    return {
        row.tobytes() for row in np.concatenate([scenes.x, scenes.y, scenes.colour, scenes.shape], axis=1)
    }


# ---- scenes


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


def test_parts_are_joined(scenes: Scenes):
    joined = concatenate([scenes[:7], scenes[np.arange(7, 60)]])
    assert as_bytes(joined) == as_bytes(scenes)


# ---- captions


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_strings_say_the_relations_of_their_forms(scenes: Scenes, difficulty: float):
    texts, forms = sample_captions(scenes, 5, difficulty, 2)
    for i, text in enumerate(texts):
        words = re.findall("[a-z]+", text)
        sides = [{"left": 0, "right": 1, "front": 2, "behind": 3}.get(w) for w in words]
        claimed = [r for r in forms.relation[i] if r >= 0]
        if "both" in words:  # "behind both a cube and a ball" says one relation twice
            assert claimed[0] == claimed.pop(), text
        assert sorted(s for s in sides if s is not None) == sorted(claimed), text


# ---- truth


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
    for i, scene in enumerate(scene_story(scenes, k) for k in range(len(scenes))):
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
