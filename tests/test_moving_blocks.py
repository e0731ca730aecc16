"""The generated clips: what they promise, what is seen, what captions say, and the dataset."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.worlds import ADJECTIVES, DIFFICULTIES, NOUN
from xmr.data import generated, load_dataset
from xmr.worlds.camera import footprint, lifted_box
from xmr.worlds.clips import clips_of, sample_clips
from xmr.worlds.motion import (
    ACTIONS,
    APPEAR,
    AWAY,
    BOUNCE,
    FRAMES,
    PASSES_BEHIND,
    PASSES_FRONT,
    TO_LEFT,
    TO_RIGHT,
    TOWARDS,
    TURN,
    VANISH,
    Clips,
    frames,
    passes,
    poses,
)
from xmr.worlds.motion_captions import (
    AND,
    BEFORE,
    CLAIMS,
    MOVES,
    SLIDES,
    STILL,
    WHILE,
    MotionForms,
    sample_motion_captions,
)
from xmr.worlds.motion_truth import motion_holds, motion_holds_pairs
from xmr.worlds.parallel import render_parallel
from xmr.worlds.render import render
from xmr.worlds.scenes import COLOURS, SHAPES, SIZES, Scenes, scenes_of
from xmr.worlds.seeds import CLIPS, SPLITS, clip_seed


@pytest.fixture(scope="module")
def clips() -> Clips:
    return clips_of("test")


def made(objects: list[tuple], events: list[tuple]) -> Clips:
    """One clip. Objects: colour, shape, size, x, y; events: action, actor, start, end, amount."""

    def padded(values: list, length: int, empty: float, dtype: type) -> np.ndarray:
        return np.array([(values + [empty] * length)[:length]], dtype)

    colour, shape, size, x, y = (list(column) for column in zip(*objects, strict=True))
    scenes = Scenes(
        count=np.array([len(objects)], np.int8),
        colour=padded([COLOURS.index(name) for name in colour], 4, -1, np.int8),
        shape=padded([SHAPES.index(name) for name in shape], 4, -1, np.int8),
        size=padded([SIZES.index(name) for name in size], 4, -1, np.int8),
        material=padded([0] * len(objects), 4, -1, np.int8),
        x=padded(x, 4, 0, np.float32),
        y=padded(y, 4, 0, np.float32),
        turn=np.zeros((1, 4), np.float32),
        table=np.zeros(1, np.int8),
        light=np.array([[0.8, 0.9]], np.float32),
    )
    action, actor, start, end, amount = (list(column) for column in zip(*events, strict=True))
    return Clips(
        scenes,
        padded(action, 3, -1, np.int8),
        padded(actor, 3, -1, np.int8),
        *(padded(values, 3, 0, np.float32) for values in (start, end, amount)),
    )


def form(
    nouns: list[dict], clauses: list[tuple], order: int = -1, rest: int = 0, table: int = -1
) -> MotionForms:
    """One form. Nouns: names by attribute; clauses: claim, subject, target."""
    names = {"colour": COLOURS, "shape": SHAPES, "size": SIZES}
    codes = [
        [values.index(noun[a]) if a in noun else -1 for a, values in names.items()] + [-1] for noun in nouns
    ]
    clauses = [*clauses, (-1, -1, -1)][:2]
    rows = {
        "phrases": len(nouns),
        "nouns": (codes + [[-1] * 4] * 3)[:3],
        "claim": [c for c, _, _ in clauses],
        "subject": [s for _, s, _ in clauses],
        "target": [t for _, _, t in clauses],
        "order": order,
        "rest": rest,
        "table": table,
    }
    return MotionForms(**{name: np.array([value], np.int8) for name, value in rows.items()})


# ---- clips


def test_clips_keep_their_promises(clips: Clips):
    s = clips.scenes
    at = poses(clips, np.linspace(0, 7, 15))
    shape, size = (np.broadcast_to(np.maximum(v, 0)[..., None], at.x.shape) for v in (s.shape, s.size))
    left, right, bottom, top = lifted_box(at.x, at.y, shape, size, at.lift)
    assert min(left[at.shown].min(), bottom[at.shown].min()) > -1
    assert max(right[at.shown].max(), top[at.shown].max()) < 1
    foot = footprint(shape, size)
    for a, b in itertools.combinations(range(3), 2):
        both = at.shown[:, a] & at.shown[:, b]
        distance = np.hypot(at.x[:, a] - at.x[:, b], at.y[:, a] - at.y[:, b])
        assert (distance > foot[:, a] + foot[:, b])[both].all()
    assert set(s.count.tolist()) == {1, 2, 3}
    assert set((clips.action >= 0).sum(1).tolist()) == {1, 2, 3}
    assert min(np.bincount(clips.action[clips.action >= 0])) >= 40  # every action is often met
    passed = passes(clips)
    assert min((passed == PASSES_BEHIND).sum(), (passed == PASSES_FRONT).sum()) >= 25


def test_any_two_events_are_clearly_one_after_the_other_or_at_once(clips: Clips):
    for a, b in itertools.combinations(range(3), 2):
        both = clips.action[:, b] >= 0
        start, end = (getattr(clips, name)[both] for name in ("start", "end"))
        shared = np.minimum(end[:, a], end[:, b]) - np.maximum(start[:, a], start[:, b])
        at_once = np.isin(clips.action[both][:, [a, b]], (APPEAR, VANISH)).any(1)
        sure = (shared <= 0) | (shared > 2) | (at_once & (shared == 0))
        assert sure.all()
        same = clips.actor[both, a] == clips.actor[both, b]
        assert (end[same, a] <= start[same, b]).all()  # an object does one thing at a time
        assert (clips.action[both, a] != clips.action[both, b])[same].all()


def test_splits_share_no_clip_and_begin_with_no_scene_of_the_pictures(clips: Clips):
    def prints(s: Scenes) -> set[bytes]:
        return {row.tobytes() for row in np.concatenate([s.x, s.y], axis=1)}

    sets = [prints(sample_clips(128, clip_seed(split)).scenes) for split in CLIPS]
    sets += [prints(sample_clips(128, clip_seed("test", 1)).scenes), prints(scenes_of("test"))]
    assert [len(s) for s in sets] == [128, 128, 128, 128, 1000]
    assert len(set().union(*sets)) == 1512
    assert CLIPS == {"train": 2000, "validation": 500, "test": 500}


# ---- what is seen

MOTION = 24  # of 255: by this much a pixel must change in some channel to count as seen


def render_clips(clips: Clips) -> np.ndarray:
    scenes, lift = frames(clips)
    return render(scenes, 64, lift=lift).reshape(len(clips), FRAMES, 64, 64, 3).astype(int)


def box_of(clips: Clips, slot: int, times: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold an object of the first clip at some of the times."""
    at, s = poses(clips[:1], times), clips.scenes
    shape, size = (np.full(len(times), getattr(s, name)[0, slot]) for name in ("shape", "size"))
    left, right, bottom, top = lifted_box(at.x[0, slot], at.y[0, slot], shape, size, at.lift[0, slot])
    rows = np.array([-top.max(), -bottom.min()])
    columns = np.array([left.min(), right.max()])
    first, last = (
        np.floor((np.stack([rows, columns])[:, 0] + 1) * 32),
        np.ceil((np.stack([rows, columns])[:, 1] + 1) * 32),
    )
    return tuple(slice(int(max(a, 0)), int(b)) for a, b in zip(first, last, strict=True))


@pytest.mark.parametrize("action", range(len(ACTIONS)), ids=ACTIONS)
def test_every_kind_of_event_is_seen_from_frame_to_frame(clips: Clips, action: int):
    """Between two frames during the event, a patch of the object's area changes; before and after it, nothing there
    moves if nothing else happens."""
    alone = (clips.action[:, 0] == action) & (clips.action[:, 1] < 0) & (passes(clips) == 0).all((1, 2))
    chosen = np.flatnonzero(alone)[:5]
    assert len(chosen) == 5
    for one, pictures in zip(chosen, render_clips(clips[chosen]), strict=True):
        clip = clips[one : one + 1]
        start, end = float(clip.start[0, 0]), float(clip.end[0, 0])
        rows, columns = box_of(clip, int(clip.actor[0, 0]), np.arange(FRAMES))
        change = (np.abs(np.diff(pictures, axis=0)).max(3) > MOTION)[:, rows, columns].sum((1, 2))
        steps = np.arange(FRAMES - 1)
        outside = (steps + 1 <= start) | (steps >= end)
        assert (change[outside] == 0).all()
        inside = (steps >= start) & (steps + 1 <= end)
        if action in (APPEAR, VANISH):
            inside = (steps < start) & (steps + 1 > start)
        assert inside.any()
        assert (change[inside] >= 8).all(), (one, change)
        assert change.sum() >= 30, (one, change)


def test_directions_are_the_viewers(clips: Clips):
    """The object's pixels move to the side, down or up that the action names."""
    for action, axis, sign in ((TO_LEFT, 1, -1), (TO_RIGHT, 1, 1), (TOWARDS, 0, 1), (AWAY, 0, -1)):
        alone = (clips.action[:, 0] == action) & (clips.action[:, 1] < 0) & (clips.scenes.count == 1)
        chosen = clips[np.flatnonzero(alone)[:4]]
        empty = render(replace(chosen.scenes, count=np.zeros(len(chosen), np.int8))).astype(int)
        for pictures, table in zip(render_clips(chosen), empty, strict=True):
            middle = [np.argwhere(np.abs(p - table).max(2) > 60).mean(0)[axis] for p in pictures[[0, -1]]]
            assert sign * (middle[1] - middle[0]) > 6


def test_bounces_leave_the_table_twice_and_land(clips: Clips):
    bouncing = clips[(clips.action == BOUNCE).sum(1) == 1]
    lift = poses(bouncing, np.arange(FRAMES)).lift.max(1)
    assert (lift[:, [0, 7]] == 0).all()
    up = lift > 0.4
    assert ((up[:, 1:] & ~up[:, :-1]).sum(1) == 2).all()


def test_what_passes_behind_is_covered_and_what_passes_in_front_covers(clips: Clips):
    passed = passes(clips)
    for kind in (PASSES_BEHIND, PASSES_FRONT):
        rows, events, slots = (v[:8] for v in np.nonzero(passed == kind))
        for row, event, slot in zip(rows, events, slots, strict=True):
            clip = clips[row : row + 1]
            actor = int(clip.actor[0, event])
            near, far = (slot, actor) if kind == PASSES_BEHIND else (actor, slot)
            scene, lift = frames(clip)
            seen = []
            for k in range(int(np.ceil(clip.start[0, event])), int(clip.end[0, event]) + 1):
                full, less = (
                    only(scene[k : k + 1], lift[k : k + 1], clip.scenes, keep)
                    for keep in ((near, far), (near,))
                )
                seen.append((np.abs(full - less).max(2) > MOTION).sum())
            assert min(seen) < 0.9 * max(seen), (row, seen)
            # And never the other way: the near one stays whole.
            at = poses(clip, np.arange(FRAMES))
            assert at.y[0, near, 0] < at.y[0, far, 0] or at.y[0, near, -1] < at.y[0, far, -1]


def only(frame: Scenes, lift: np.ndarray, objects: Scenes, keep: tuple[int, ...]) -> np.ndarray:
    """A frame with some of its objects, found again by their colour, shape, size, material and slot order."""
    names = ("colour", "shape", "size", "material", "x", "y", "turn")
    slots = list(keep)
    picked = {name: getattr(frame, name).copy() for name in names}
    for place, slot in enumerate(slots):
        for name in names:
            picked[name][0, place] = getattr(frame, name)[0, slot]
    few = replace(frame, count=np.array([len(slots)], np.int8), **picked)
    return render(few, 64, lift=lift[:, [*slots, *range(len(slots), 4)]])[0].astype(int)


def test_lifted_objects_rise_and_processes_agree(clips: Clips):
    scenes, lift = frames(clips[:9])
    assert np.array_equal(render(scenes[:4], 24, lift=lift[:4] * 0), render(scenes[:4], 24))
    assert np.array_equal(render_parallel(scenes, 24, workers=2, lift=lift), render(scenes, 24, lift=lift))
    with pytest.raises(ValueError, match="lift"):
        render(scenes, 24, lift=lift[:3])


def test_frames_hold_what_is_shown(clips: Clips):
    scenes, lift = frames(clips)
    assert len(scenes) == FRAMES * len(clips)
    shown = poses(clips, np.arange(FRAMES)).shown
    assert np.array_equal(scenes.count, shown.sum(1).ravel())
    for name in ("colour", "shape", "size", "material"):
        assert (getattr(scenes, name)[~scenes.present] == -1).all()
        assert (getattr(scenes, name)[scenes.present] >= 0).all()
    assert (lift[~scenes.present] == 0).all()


# ---- captions


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_no_caption_is_false_of_its_own_clip(split: str):
    own = clips_of(split)
    index = np.repeat(np.arange(len(own)), 5)
    texts, forms = sample_motion_captions(own, 5, 0.5, clip_seed(split))
    assert motion_holds_pairs(own, forms, index, np.arange(len(texts))).all()


def said(text: str) -> list[str]:
    """The claims of a caption, read from its words, in the order of the text."""
    found = []
    verbs = (
        r"slides past|slides|moves|comes closer|turns|spins|rotates|bounces|appears|shows up|vanishes|disappears"
        r"|never moves|stays still|passes"
    )
    spots = [*re.finditer(rf"\b({verbs})\b", text)]
    for spot, after in itertools.zip_longest(spots, spots[1:]):
        rest = text[spot.start() : after.start() if after else None]
        verb = spot[1]
        side = "behind" if " behind " in rest else "in front" if "in front of" in rest else ""
        way = "left" if re.search(r"\bleft\b", rest) else "right" if re.search(r"\bright\b", rest) else ""
        if side:
            found.append(f"{way or 'pass'} {side}")
        elif verb in ("slides", "moves"):
            near, far = re.search("towards|to the front", rest), re.search("away|to the back", rest)
            found.append(way or ("towards" if near else "away" if far else verb.rstrip("s")))
        else:
            plain = {"comes closer": "towards", "turns": "turn", "spins": "turn", "rotates": "turn"}
            plain |= {"bounces": "bounce", "appears": "appear", "shows up": "appear", "vanishes": "vanish"}
            plain |= {"disappears": "vanish", "never moves": "still", "stays still": "still"}
            found.append(plain[verb])
    return found


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_strings_say_the_clauses_of_their_forms(clips: Clips, difficulty: float):
    texts, forms = sample_motion_captions(clips[:120], 5, difficulty, 2)
    for i, text in enumerate(texts):
        assert ("everything else" in text) == bool(forms.rest[i])
        claims = [CLAIMS[c] for c in forms.claim[i] if c >= 0]
        body = text.replace(" and everything else stays as it is", "").replace(" across the table", "")
        found = said(body)
        backward = re.search(r"\bafter\b", text) and not re.search(r"(^|, )after\b", text)
        order = int(forms.order[i])
        if order == BEFORE:
            assert found == (claims[::-1] if backward else claims), text
            assert re.search(r"\b(then|before|after)\b", text), text
        else:
            assert sorted(found) == sorted(claims), text
            assert not re.search(r"\b(then|before|after)\b", text), text
            assert bool(re.search(r"\bwhile\b|at the same time", text)) == (order == WHILE), text


def test_the_cube_is_always_one_that_was_named(clips: Clips):
    for difficulty in DIFFICULTIES:
        texts, _ = sample_motion_captions(clips[:150], 5, difficulty, 6)
        for text in texts:
            for again in re.finditer(rf"\bthe ((?:{ADJECTIVES} )*{NOUN})\b", text):
                before = text[: again.start()]
                assert again[1] == "object" or re.search(rf"\b(?:an?|another) {again[1]}\b", before), text


# ---- truth


RED, BLUE = {"colour": "red", "shape": "cube"}, {"colour": "blue", "shape": "sphere"}
TABLE_OF_TWO = [("red", "cube", "small", 1.5, 1.5), ("blue", "sphere", "large", -1.0, -1.0)]


def test_a_then_b_and_b_then_a_differ():
    clip = made(TABLE_OF_TWO, [(TO_LEFT, 0, 0.2, 3.0, 1.6), (BOUNCE, 1, 3.5, 7.0, 1.0)])
    first, second = (TO_LEFT, 0, -1), (BOUNCE, 1, -1)
    truths = {
        (BEFORE, 0): True,
        (BEFORE, 1): False,
        (WHILE, 0): False,
        (WHILE, 1): False,
        (AND, 0): True,
        (AND, 1): True,
    }
    for (order, swapped), expected in truths.items():
        clauses = [second, first] if swapped else [first, second]
        assert motion_holds(clip, form([RED, BLUE], clauses, order))[0, 0] == expected, (order, swapped)
    at_once = made(TABLE_OF_TWO, [(TO_LEFT, 0, 0.2, 3.0, 1.6), (BOUNCE, 1, 0.0, 3.5, 1.0)])
    for order, expected in ((BEFORE, False), (WHILE, True), (AND, True)):
        assert motion_holds(at_once, form([RED, BLUE], [first, second], order))[0, 0] == expected


def test_captions_of_swapped_words_differ_in_truth(clips: Clips):
    """What a bag of words can't tell: the caption with its clauses swapped is false of almost all of the same clips."""
    _, forms = sample_motion_captions(clips, 3, 0.5, 9)
    forms = forms[(forms.order == BEFORE) & (forms.claim[:, 0] != forms.claim[:, 1])]
    turned = replace(
        forms, claim=forms.claim[:, ::-1], subject=forms.subject[:, ::-1], target=forms.target[:, ::-1]
    )
    true, false = motion_holds(clips, forms), motion_holds(clips, turned)
    assert len(forms) > 100
    assert (true & false).sum() < 0.1 * true.sum()


def test_one_claim_at_a_time():
    clip = made(TABLE_OF_TWO, [(TO_LEFT, 0, 0.2, 3.0, 1.6)])
    for claim, expected in (
        (TO_LEFT, True),
        (SLIDES, True),
        (MOVES, True),
        (TO_RIGHT, False),
        (TURN, False),
        (STILL, False),
    ):
        assert motion_holds(clip, form([RED], [(claim, 0, -1)]))[0, 0] == expected
        assert not motion_holds(clip, form([BLUE], [(claim, 0, -1)]))[0, 0] or claim == STILL
    assert motion_holds(clip, form([BLUE], [(STILL, 0, -1)]))[0, 0]
    assert motion_holds(clip, form([RED], [(TO_LEFT, 0, -1)], rest=1))[0, 0]
    both = made(TABLE_OF_TWO, [(TO_LEFT, 0, 0.2, 3.0, 1.6), (BOUNCE, 1, 3.5, 7.0, 1.0)])
    assert not motion_holds(both, form([RED], [(TO_LEFT, 0, -1)], rest=1))[0, 0]
    assert motion_holds(clip, form([RED], [(TO_LEFT, 0, -1)], table=0))[0, 0]
    assert not motion_holds(clip, form([RED], [(TO_LEFT, 0, -1)], table=1))[0, 0]
    # A lone slide is not two events.
    assert not motion_holds(clip, form([RED], [(TO_LEFT, 0, -1), (MOVES, 0, -1)], AND))[0, 0]


def test_passing_is_judged_in_the_picture():
    def kind(y: float, distance: float, x: float = -1.5) -> int:
        pair = [("red", "cube", "small", x, y), ("blue", "sphere", "large", 0.0, 0.0)]
        return int(passes(made(pair, [(TO_RIGHT, 0, 0.0, 3.0, distance)]))[0, 0, 1])

    assert kind(1.6, 3.0) == PASSES_BEHIND
    assert kind(4.0, 3.0) == 0  # too far behind to be touched in the picture
    assert kind(1.6, 1.2) == 0  # stops before it
    large = [("red", "cube", "large", -1.6, -1.8), ("blue", "sphere", "large", 0.0, 0.0)]
    assert passes(made(large, [(TO_RIGHT, 0, 0.0, 3.0, 3.2)]))[0, 0, 1] == PASSES_FRONT
    vanished = [(VANISH, 1, 1.5, 1.5, 0.0), (TO_RIGHT, 0, 0.0, 3.0, 3.2)]
    assert passes(made(large, vanished)).max() == 0  # what is gone is not passed


# ---- the dataset


@pytest.fixture
def few_clips(tmp_path, monkeypatch):
    """`moving_blocks` with eight clips a split, rendered into a cache of its own."""
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("xmr.data.generated.SHIPPED", tmp_path / "none")
    for split in CLIPS:
        monkeypatch.setitem(CLIPS, split, 8)


def test_the_dataset_gives_lists_of_frames_and_complete_truth(few_clips):
    data = load_dataset("moving_blocks", "test")
    assert data.kind == "clip"
    assert data.encoder == "blocks"
    assert (len(data.visual_ids), len(data.captions)) == (8, 40)
    assert isinstance(data.visuals[0], list)
    assert [frame.size for frame in data.visuals[0]] == [(64, 64)] * FRAMES
    assert isinstance(data.image(3), Image.Image)
    scenes, lift = frames(clips_of("test"))
    rendered = render(scenes, 64, lift=lift).reshape(8, FRAMES, 64, 64, 3)
    shown = np.stack([[np.asarray(frame) for frame in data.visuals[i]] for i in range(8)])
    assert np.abs(shown.astype(int) - rendered).mean() < 4  # WebP is lossy

    _, forms = sample_motion_captions(clips_of("test"), 5, 0.5, clip_seed("test"))
    expected = motion_holds(clips_of("test"), forms)
    assert data.truth.complete
    assert np.array_equal(data.truth.block(np.arange(8), np.arange(40)), expected)
    assert (data.truth.pairs(data.visual_of_text, np.arange(40)) == 1).all()
    assert data.about["unannotated_share"] == pytest.approx(1 - 40 / expected.sum())
    assert set(data.about) >= {"true_visuals_median", "ceiling", "informed_ceiling"}
    assert set(data.columns) == {"objects", "events"}


@pytest.mark.parametrize("name", ["blocks", "moving_blocks"])
def test_of_a_part_only_its_own_pictures_are_rendered_and_they_are_those_of_the_whole(
    few_clips, name, monkeypatch
):
    monkeypatch.setitem(SPLITS, "train", 8)
    seen = []
    original = generated.rendered
    monkeypatch.setattr(
        generated,
        "rendered",
        lambda what, scenes, *a, **k: seen.append(len(scenes)) or original(what, scenes, *a, **k),
    )
    rows, each = np.array([1, 4, 6]), FRAMES if name == "moving_blocks" else 1
    part = load_dataset(name, "train").some(rows)
    assert seen == [] and len(part.visuals) == 3  # nothing is rendered before it is asked for
    alone = [np.asarray(part.visuals[i]) for i in range(3)]
    assert seen == [3 * each]
    whole = load_dataset(name, "train")
    for row, picture in zip(rows, alone, strict=True):
        np.testing.assert_array_equal(np.asarray(whole.visuals[row]), picture)
    assert seen == [3 * each, 8 * each]
    assert (
        np.asarray(whole.some(rows).visuals[2]).shape == alone[2].shape and len(seen) == 2
    )  # the table is there
    assert part.fingerprint not in (whole.fingerprint, whole.some(rows[:2]).fingerprint)
    assert part.captions == [whole.captions[t] for t in np.flatnonzero(np.isin(whole.visual_of_text, rows))]
    visuals, texts = np.arange(3), np.arange(len(part.captions))
    expected = whole.truth.block(rows, np.flatnonzero(np.isin(whole.visual_of_text, rows)))
    np.testing.assert_array_equal(part.truth.block(visuals, texts), expected)
    assert part.truth.pairs(part.visual_of_text, texts).all()


@pytest.mark.parametrize("name", ["blocks", "moving_blocks"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_what_was_generated_is_read_as_it_was_made_and_made_again_where_its_file_is_broken(
    few_clips, name, split, monkeypatch, tmp_path
):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path))
    monkeypatch.setitem(SPLITS, split, 8)
    made = load_dataset(name, split)
    with monkeypatch.context() as patch:
        for each in ("scenes_of", "clips_of", "captions_of", "sample_motion_captions"):
            patch.setattr(generated, each, None)
        read = load_dataset(name, split)
    (file,) = (tmp_path / "generated").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="made anew"):
        again = load_dataset(name, split)
    visuals, texts = np.arange(8), np.arange(40)
    for data in (read, again):
        assert (data.captions, data.fingerprint, data.about) == (made.captions, made.fingerprint, made.about)
        assert data.columns == made.columns
        for truth in ("block", "pairs"):
            asked = (made.visual_of_text, texts) if truth == "pairs" else (visuals, texts)
            np.testing.assert_array_equal(
                getattr(data.truth, truth)(*asked), getattr(made.truth, truth)(*asked)
            )
    monkeypatch.setitem(SPLITS, split, 9)
    monkeypatch.setitem(CLIPS, split, 9)
    assert len(load_dataset(name, split).visual_ids) == 9  # another size is another split


def test_fingerprints_tell_datasets_apart(few_clips, monkeypatch):
    monkeypatch.setattr(generated, "strips", None)  # a picture is rendered when it is asked for
    data = [
        load_dataset("moving_blocks", split, seed=seed, difficulty=difficulty)
        for split, seed, difficulty in (
            ("test", 0, 0.5),
            ("validation", 0, 0.5),
            ("test", 1, 0.5),
            ("test", 0, 0.9),
        )
    ]
    assert len({d.fingerprint for d in data}) == 4
    assert load_dataset("moving_blocks", "test").fingerprint == data[0].fingerprint
    with pytest.raises(ValueError, match="difficulty"):
        load_dataset("moving_blocks", "test", difficulty=2)
    with pytest.raises(ValueError, match="validation"):
        generated.moving_blocks("val")
