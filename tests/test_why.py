"""Why pairs score as they do: each part left out by a loop, attention as the score uses it, and what differs in generated scenes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fake_workspace import make_clips, make_other, make_workspace
from tests.worlds import any_forms, scene_oracle, scene_story
from xmr.analysis import GRID, changes, occluded, without_each, without_frames
from xmr.captions import word_spans, words_of
from xmr.checkpoints import load_run
from xmr.data import load_dataset
from xmr.matchers import MATCHERS
from xmr.workspace import Query, Workspace
from xmr.workspace.whys import MOST_WORDS, Pair, left_out, why
from xmr.worlds.captions import sample_captions
from xmr.worlds.differences import differences
from xmr.worlds.scenes import ATTRIBUTES, sample_scenes
from xmr.worlds.truth import holds

ROOT = Path(__file__).parent.parent
RUNS = ["info_nce", "max_of_hinges", "siglip"]


# ---- what is left out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "A red-hot dog's bowl.",
        "  two  balls, one cube ",
        "红猫 and a café",
        "e\u0301te\u0301 ok",
        "",
        "…!",
        "กา 2",
    ],
)
def test_words_stand_where_they_are_read(text):
    spans = word_spans(text)
    assert [word for start, end in spans for word in words_of(text[start:end])] == words_of(text)
    rest = "".join(
        text[end:start]
        for end, start in zip([0, *(e for _, e in spans)], [*(s for s, _ in spans), None], strict=True)
    )
    assert not words_of(rest), "what is between them is no word"
    for (start, end), one in zip(spans, without_each(text, spans), strict=True):
        assert (
            len(one) == len(text) - (end - start)
            and one[:start] == text[:start]
            and one[start:] == text[end:]
        )


@pytest.mark.parametrize(("height", "width"), [(21, 35), (64, 50), (5, 9), (1, 1)])
def test_each_part_of_a_picture_is_covered_once(height, width):
    picture = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    found, grey = occluded(picture), round(float(picture.mean()))
    assert found.shape == (GRID * GRID, height, width, 3)
    covered = np.zeros((height, width), int)
    for at, one in enumerate(found):
        row, column = divmod(at, GRID)
        for y in range(height):
            for x in range(width):
                inside = round(row * height / GRID) <= y < round((row + 1) * height / GRID)
                inside &= round(column * width / GRID) <= x < round((column + 1) * width / GRID)
                assert (one[y, x] == (grey if inside else picture[y, x])).all()
                covered[y, x] += inside
    assert (covered == 1).all()


def test_changes_and_frames():
    assert changes(np.array([0.5, 0.2, 0.75])).tolist() == [0.3, -0.25]
    assert without_frames("abc") == [["b", "c"], ["a", "c"], ["a", "b"]]
    assert without_frames("a") == []


# ---- by a run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, cache_folder):
    return make_workspace(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def shipped(cache_folder):
    """Two runs of the repository and its encoder, on few pictures: what is left out is read as users have it read."""
    data = load_dataset("blocks", "test").some(np.arange(12))
    runs = [load_run(ROOT / "checkpoints" / name) for name in ("info_nce", "siglip")]

    class Some(Workspace):
        def embeddings(self, run, split="test"):
            return tuple(
                side[:count] for side, count in zip(super().embeddings(run, split), (12, 60), strict=True)
            )

    from xmr import embedding

    return Some.of(
        [replace(run, dataset=run.dataset | {"fingerprints": {"test": data.fingerprint}}) for run in runs],
        "blocks",
        lambda _: data,
        embedding,
    )


def slowly(workspace, run, pair, rows):
    """What each word and each part adds, asked one by one as a visitor would: by a typed text, by an uploaded picture."""
    data = workspace.dataset()
    text = pair.text if isinstance(pair.text, str) else data.captions[pair.text]

    def by_text(words):
        return workspace.locate(Query(text=words), run, "test", "t2v", pair.visual).score

    words = [by_text(text) - by_text(text[:start] + text[end:]) for start, end in word_spans(text)]
    if isinstance(pair.text, str):
        return words, None
    picture = data.visuals[pair.visual].convert("RGB")
    array, parts = np.asarray(picture), []

    def by_picture(image):
        return workspace.locate(Query(image=image), run, "test", "v2t", pair.text).score

    whole = by_picture(picture)
    for row in rows:
        for column in range(GRID):
            (top, low), (left, right) = (
                [round(at * side / GRID) for at in (place, place + 1)]
                for place, side in ((row, array.shape[0]), (column, array.shape[1]))
            )
            one = array.copy()
            one[top:low, left:right] = round(float(array.mean()))
            parts.append(whole - by_picture(Image.fromarray(one)))
    return words, parts


@pytest.mark.parametrize("which", ["shapes", "shipped"])
def test_all_left_out_at_once_is_what_a_loop_over_queries_finds(which, request):
    workspace = request.getfixturevalue(which)
    names, rows = (list(workspace.runs), range(GRID)) if which == "shapes" else (["siglip"], [3])
    for pair in (Pair("test", 3, 7), Pair("test", 5, "something red and 2 blue cubes, please")):
        for run, found in zip(names, why(workspace, names, pair), strict=True):
            words, parts = slowly(workspace, run, pair, rows)
            assert not found.no_words and not found.no_parts
            assert found.words == pytest.approx(words, abs=2e-3)
            assert np.abs(found.words).max() > 0.01, "some word counts"
            if parts is not None:
                assert found.parts[list(rows)].ravel() == pytest.approx(parts, abs=2e-3)
            assert why(workspace, [run], pair)[0] is found, "kept"


def test_the_shipped_encoder_tells_a_word_that_counts_from_one_that_does_not(shipped):
    data = shipped.dataset()
    text = next(i for i, caption in enumerate(data.captions) if "cone" in caption or "cylinder" in caption)
    visual = int(data.visual_of_text[text])
    for found in why(shipped, list(shipped.runs), Pair("test", visual, text)):
        of = dict(
            zip(
                [data.captions[text][s:e] for s, e in word_spans(data.captions[text])],
                found.words,
                strict=True,
            )
        )
        shape = next(word for word in of if word.startswith(("cone", "cylinder")))
        assert of[shape] > max(of.get("a", 0), 0)


def test_what_can_not_be_left_out_says_why(shapes, tmp_path):
    long = " ".join(f"word{i}" for i in range(150))
    found = left_out(shapes, Pair("test", 0, long))
    assert (
        len(found.words) == MOST_WORDS
        and found.more == 150 - MOST_WORDS
        and len(found.texts) == MOST_WORDS + 1
    )
    assert why(shapes, RUNS[:1], Pair("test", 0, "… !"))[0].no_words == "There is no word in the text."
    files = shapes.run("siglip")
    files.encoder["name"] = ""
    try:
        object.__setattr__(files, "vocabulary", None)
        told = why(shapes, ["siglip"], Pair("test", 1, 2))[0]
    finally:
        files.encoder["name"] = "shapes"
    assert "no encoder is known that would read a changed text" in told.no_words
    assert "no encoder is known that would read a changed picture" in told.no_parts
    assert told.words is None and told.parts is None

    def broken(*_):
        raise RuntimeError("a secret of the server")

    embedder, shapes.embedder = (
        shapes.embedder,
        type("Broken", (), {"embed_texts": broken, "embed_visuals": broken})(),
    )
    try:
        told = why(shapes, ["info_nce"], Pair("test", 2, 2))[0]
    finally:
        shapes.embedder = embedder
    assert "failed here (RuntimeError)" in told.no_words and "secret" not in told.no_words


def test_of_a_clip_frames_are_left_out(tmp_path, cache_folder):
    clips = make_other(tmp_path, make_clips)
    asked = []

    class Counting(type(clips.embedder)):
        def embed_visuals(self, run, visuals, encoded):
            asked.append([len(frames) for frames in visuals])
            return super().embed_visuals(run, [frames[0] for frames in visuals], encoded)

    clips.embedder = Counting()
    found = why(clips, ["info_nce"], Pair("test", 3, 6))[0]
    assert asked == [[4, 3, 3, 3, 3]] and found.parts.shape == (4,)
    assert found.parts[1:] == pytest.approx([0, 0, 0], abs=1e-6), "only the first frame is looked at here"


# ---- attention ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attend", ["text", "visual", "both"])
@pytest.mark.parametrize(
    ("name", "focal"), [("token_max", False), ("cross_attention", False), ("cross_attention", True)]
)
def test_words_look_where_the_score_looks(name, attend, focal):
    rng = torch.Generator().manual_seed(3)
    more = {"focal": focal} if name == "cross_attention" else {}
    matcher = MATCHERS[name].make(8, 6, None, attend=attend, embed_dim=5, **more).eval()
    visual, text = (
        matcher.visual(torch.randn(1, 4, 8, generator=rng)),
        matcher.text(torch.randn(1, 3, 6, generator=rng)),
    )
    padded = torch.cat([text, torch.zeros(1, 2, 5)], 1)
    with torch.no_grad():
        shares = matcher.looks(visual[0], padded[0]).double()
        score = float(matcher.scores(visual, text))
    v, t = visual[0].double().detach(), text[0].double().detach()
    assert shares.shape == (3, 4)
    sides = []
    if name == "token_max":
        for word in range(3):
            for region in range(4):
                assert shares[word, region] == pytest.approx(float(t[word] @ v[region]), abs=1e-6)
        sides = [shares.amax(1).mean(), shares.amax(0).mean()]
    else:
        by_words = attend != "visual"
        assert shares.sum(1 if by_words else 0) == pytest.approx(1, abs=1e-5)
        # Each word is compared with the regions by its shares of them, or each region with the words.
        asking, context, of = (t, v, shares) if by_words else (v, t, shares.T)
        each = [torch.cosine_similarity(asking[i], of[i] @ context, dim=0) for i in range(len(asking))]
        sides = [torch.stack(each).mean()] * 2
    expected = {"text": sides[0], "visual": sides[1], "both": sum(sides) / 2}[attend]
    if not (name == "cross_attention" and attend == "both"):  # which has the other side's, too
        assert score == pytest.approx(float(expected), abs=1e-5)


# ---- in words ----------------------------------------------------------------------------------------------------


def test_something_differs_if_and_only_if_the_caption_does_not_hold():
    scenes = sample_scenes(60, 4)
    _, forms = sample_captions(scenes, 3, 0.5, 4)
    _, loose = sample_captions(scenes, 2, 1.0, 5)
    for some in (forms, loose):
        truth = holds(scenes, some)
        for visual in range(len(scenes)):
            for text in range(visual % 7, len(some), 7):
                assert bool(differences(scenes, some, visual, text)) == (not truth[visual, text])


def test_forms_that_no_caption_says_are_compared_too():
    scenes, rng = sample_scenes(40, 6), np.random.default_rng(2)
    forms = any_forms(rng, 60)
    some = forms[np.flatnonzero(forms.number.sum(1) <= 4)]
    checked = 0
    for visual in range(len(scenes)):
        story = scene_story(scenes, visual)
        for text in range(len(some)):
            assert bool(differences(scenes, some, visual, text)) == (not scene_oracle(story, some, text))
            checked += 1
    assert checked > 1000


def test_where_one_attribute_would_do_exactly_that_is_told():
    """Every attribute of every object is changed in turn, and the world asked whether the caption holds then."""
    scenes = sample_scenes(80, 8)
    texts, forms = sample_captions(scenes, 3, 0.4, 8)
    truth, found = holds(scenes, forms), 0
    for visual in range(len(scenes)):
        for text in range(visual % 9, len(forms), 9):
            if truth[visual, text]:
                continue
            edits = [
                (slot, name, value)
                for slot in range(scenes.count[visual])
                for name, values in ATTRIBUTES.items()
                for value in range(len(values))
                if getattr(scenes, name)[visual, slot] != value
            ]
            many = scenes[np.full(len(edits), visual)]
            codes = {name: getattr(many, name).copy() for name in ATTRIBUTES}
            for row, (slot, name, value) in enumerate(edits):
                codes[name][row, slot] = value
            enough = {}
            for at in np.flatnonzero(holds(replace(many, **codes), forms[[text]])[:, 0]):
                slot, name, value = edits[at]
                enough.setdefault((slot, name), set()).add(ATTRIBUTES[name][value])
            if not enough:
                continue
            told = differences(scenes, forms, visual, text)
            assert len(told) == 1, (texts[text], told)
            (one,) = told
            if one.slot < 0:  # a number or a place in place of an attribute
                continue
            pairs = zip(ATTRIBUTES, one.codes, strict=True)
            wrong = [
                (name, code)
                for name, code in pairs
                if code >= 0 and getattr(scenes, name)[visual, one.slot] != code
            ]
            assert len(wrong) == 1 and ATTRIBUTES[wrong[0][0]][wrong[0][1]] in enough[one.slot, wrong[0][0]]
            words = one.words(True)
            assert ATTRIBUTES[wrong[0][0]][getattr(scenes, wrong[0][0])[visual, one.slot]] in words
            assert ATTRIBUTES[wrong[0][0]][wrong[0][1]] in words
            found += 1
    assert found > 20


def test_once_objects_are_as_they_should_be_the_rest_is_what_is_left():
    """All objects that differ are made as the caption says: what is told of the scene then is what was told besides."""
    scenes = sample_scenes(60, 9)
    _, forms = sample_captions(scenes, 3, 0.4, 9)
    repaired = 0
    for visual in range(len(scenes)):
        for text in range(visual % 6, len(forms), 6):
            told = differences(scenes, forms, visual, text)
            if any(one.found == "nothing more" for one in told):
                continue
            scene = scenes[[visual]]
            for one in told:
                if one.slot >= 0:
                    codes = {name: getattr(scene, name).copy() for name in ATTRIBUTES}
                    for name, code in zip(ATTRIBUTES, one.codes, strict=True):
                        codes[name][0, one.slot] = code if code >= 0 else codes[name][0, one.slot]
                    scene = replace(scene, **codes)
            others = [one for one in told if one.slot < 0]
            assert bool(others) == (not holds(scene, forms[[text]])[0, 0])
            repaired += 1
    assert repaired > 500


def test_differences_read_as_people_say_them():
    scenes = sample_scenes(300, 11)
    _, forms = sample_captions(scenes, 3, 0.5, 11)
    kinds = {}
    for visual in range(0, 300, 3):
        for text in range(0, len(forms), 25):
            for one in differences(scenes, forms, visual, text):
                words = one.words(True)
                assert re.fullmatch(r"[a-z ]+ where [a-z ]+ (was|were) asked", words), words
                assert one.words(False) == words.replace(" was asked", " is said").replace(
                    " were asked", " are said"
                )
                kinds[words.split(" where ")[0].split()[0]] = words
    assert {"a", "the", "nothing"} <= set(kinds), kinds


def test_a_part_of_a_split_tells_the_same():
    data = load_dataset("blocks", "validation")
    some = data.some(np.array([3, 9, 20]))
    for visual in range(3):
        for text in (0, 7, 14):
            whole = data.truth.differences(
                [3, 9, 20][visual], int(np.flatnonzero(np.isin(data.visual_of_text, [3, 9, 20]))[text]), True
            )
            assert some.truth.differences(visual, text, True) == whole
            assert bool(whole) == (some.truth.block(np.array([visual]), np.array([text]))[0, 0] == 0)
