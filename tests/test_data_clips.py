"""Clips as arrays: frames with a table, and features of frames, padded; every fault told with file, line and remedy."""

import json
import re

import numpy as np
import pytest

from tests.shared_data import shared
from xmr.data import DataFault, load_dataset
from xmr.data.sources import kind_of

SPLITS = ("train", "validation", "test")


def frames_of(count, frames=3, height=4, width=5, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (count, frames, height, width, 3), dtype=np.uint8)


def table(root, rows, name="clips.jsonl"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rows_of(count, **columns):
    return [{"captions": [f"caption {i}"], "split": "test"} | columns for i in range(count)]


def made(root, rows, values=None, save=np.savez):
    values = frames_of(len(rows)) if values is None else values
    table(root, rows)
    save(root / "some.npz", frames=values)
    return root


def fault(root, split="test", **options):
    with pytest.raises(DataFault) as caught:
        load_dataset(root, split, **options)
    return str(caught.value)


def on_disk(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def arrays_of(dataset):
    return np.array([[np.asarray(frame) for frame in clip] for clip in dataset.visuals])


# Frames with a table


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_lead_to_the_clip_of_their_index(tmp_path, save):
    order = [3, 0, 4, 1]
    rows = [
        {"index": i, "caption": f"of {i}", "split": "dev" if i == 4 else "test", "mood": i} for i in order
    ]
    values = frames_of(5)
    dataset = load_dataset(made(tmp_path, rows, values, save))
    assert kind_of(tmp_path) == "clips"
    assert (dataset.kind, dataset.captions) == ("clip", ["of 3", "of 0", "of 1"])
    assert (dataset.visual_ids, dataset.columns) == (["3", "0", "1"], {"mood": [3, 0, 1]})
    np.testing.assert_array_equal(arrays_of(dataset), values[[3, 0, 1]])
    np.testing.assert_array_equal(np.asarray(dataset.image(1)), values[0, 1])
    np.testing.assert_array_equal(arrays_of(load_dataset(tmp_path, "validation")), values[[4]])
    assert on_disk(dataset.visuals.values) == (save is np.savez)
    assert len(dataset.visuals[1:]) == 2


def test_an_npy_in_the_order_of_the_rows(tmp_path):
    values = frames_of(2)
    table(tmp_path, rows_of(2))
    np.save(tmp_path / "a.npy", values)
    dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(arrays_of(dataset), values)
    assert dataset.visuals[0][0].mode == "RGB"
    assert on_disk(dataset.visuals.values)


@pytest.mark.parametrize(("there", "wanted"), [(3, 8), (8, 8), (9, 8), (40, 8), (5, 1), (6, 4)])
def test_longer_clips_are_sampled_evenly(tmp_path, there, wanted):
    values = frames_of(1, there)
    dataset = load_dataset(made(tmp_path, rows_of(1), values), frames=wanted)
    stretch = there / min(there, wanted)
    expected = [int((k + 0.5) * stretch) for k in range(min(there, wanted))]
    np.testing.assert_array_equal(arrays_of(dataset)[0], values[0, expected])
    assert dataset.about["frames"] == len(expected)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"annotation": "thumbs up", "name": "Thumbs Up"}, ["thumbs up"]),
        ({"annotation": "grinning face", "name": "grin"}, ["grinning face", "grin"]),
        ({"annotation": "", "name": "harp", "tags": "", "alt_tags": ""}, ["harp"]),
        ({"annotation": "rabbit", "tags": "bunny, pet", "alt_tags": "rabbit, pet"}, ["rabbit", "bunny, pet"]),
        ({"annotation": "a red face", "name": "red", "tags": "face, red"}, ["a red face"]),
        ({"annotation": "flexed biceps", "tags": ["arm", "flex"]}, ["flexed biceps", "arm, flex"]),
        ({"tags": "a, b"}, ["a, b"]),
        ({"caption": "as it is", "annotation": "not", "tags": "read"}, ["as it is"]),
    ],
)
def test_captions_are_made_of_what_adds_words(tmp_path, row, expected):
    dataset = load_dataset(made(tmp_path, [row | {"split": "test"}]))
    assert dataset.captions == expected


def test_tags_can_be_left_out(tmp_path):
    row = {"annotation": "a", "name": "b", "tags": "c", "split": "test"}
    assert load_dataset(made(tmp_path, [row]), tags=False).captions == ["a", "b"]


def test_alike_clips_and_equal_captions_are_known_matches_but_not_positives(tmp_path):
    names = ["ear", "ear", "nose", "foot", "ear"]
    texts = [["ear", "body"], ["ear", "body"], ["nose", "body"], ["foot"], ["an ear"]]
    rows = [{"name": name, "captions": own, "split": "test"} for name, own in zip(names, texts, strict=True)]
    dataset = load_dataset(made(tmp_path, rows))
    assert dataset.visual_ids == ["0 ear", "1 ear", "2 nose", "3 foot", "4 ear"]
    assert dataset.visual_group.tolist() == [0, 1, 2, 3, 4]
    truth, nv, nt = dataset.truth, len(names), len(dataset.captions)
    expected = np.full((nv, nt), np.nan, np.float32)
    for v in range(nv):
        for t, caption in enumerate(dataset.captions):
            if names[v] == names[dataset.visual_of_text[t]] or caption in texts[v]:
                expected[v, t] = 1
    assert 0 < np.isnan(expected).sum() < expected.size
    np.testing.assert_array_equal(truth.block(np.arange(nv), np.arange(nt)), expected)
    visuals, captions = np.array([4, 2, 2, 0]), np.array([7, 1, 5, 5, 0])  # in any order and more than once
    np.testing.assert_array_equal(truth.block(visuals, captions), expected[np.ix_(visuals, captions)])
    np.testing.assert_array_equal(truth.pairs(*np.indices((nv, nt)).reshape(2, -1)), expected.ravel())
    assert truth.block(visuals, captions).dtype == truth.pairs(visuals, visuals).dtype == np.float32
    assert not truth.complete


def test_concepts_are_positives_and_base_concepts_matches(tmp_path):
    rows = [row | {"concept": f"c{i // 2}", "name": "x"} for i, row in enumerate(rows_of(4))]
    dataset = load_dataset(made(tmp_path / "a", rows))
    assert dataset.visual_group.tolist() == [0, 0, 1, 1]
    assert dataset.truth is None
    dataset = load_dataset(made(tmp_path / "b", [row | {"base_concept": "b"} for row in rows]))
    assert (dataset.truth.block(np.arange(4), np.arange(4)) == 1).all()
    rows[1]["base_concept"] = "b"
    assert "line 2: concept 'c0' has base_concept 'b' here and ''" in fault(made(tmp_path / "c", rows))


@pytest.mark.parametrize("column", ["name", "group_slug", "concept", "base_concept"])
def test_alike_clips_never_straddle_made_splits(tmp_path, column):
    rows = [{"caption": f"{i}", column: f"g{i // 3}"} for i in range(90)]
    made(tmp_path, rows, frames_of(90, 1, 1, 1))
    found = [load_dataset(tmp_path, split) for split in SPLITS]
    assert sum(len(dataset.visual_ids) for dataset in found) == 90
    groups = [set(dataset.columns[column]) for dataset in found]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 30
    assert found[0].about["splits"] == "validation and test made of train by seed 0"
    assert load_dataset(tmp_path, seed=1).visual_ids != found[2].visual_ids


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": 7}, "clips.jsonl, line 2: index 7, but some.npz has clips 0 … 2"),
        ({"index": -1}, "clips.jsonl, line 2: index -1, but some.npz has clips 0 … 2"),
        ({"index": "x"}, "clips.jsonl, line 2: 'index' must be int, found 'x'"),
        ({"index": 0}, "clips.jsonl, line 2: index 0 was given already ("),
        ({"split": "tset"}, "clips.jsonl, line 2: unknown split 'tset'; did you mean 'test'?"),
        ({"captions": [3]}, "clips.jsonl, line 2: 'captions' must be a string"),
    ],
)
def test_wrong_rows_name_their_line(tmp_path, change, said):
    rows = [row | {"index": i} for i, row in enumerate(rows_of(3))]
    rows[1] |= change
    message = fault(made(tmp_path, rows))
    assert said in message


def test_what_is_missing_is_told(tmp_path):
    made(tmp_path, rows_of(2), frames_of(3))
    assert "clips.jsonl: 2 rows for the 3 clips of some.npz; write one for each" in fault(tmp_path)
    table(tmp_path, [{"name": "x"}] * 3)
    assert "clips.jsonl: no captions: a column 'captions'" in fault(tmp_path)
    np.save(tmp_path / "other.npy", frames_of(3))
    assert "several arrays could be the frames (.npy and .npz files: other.npy, some.npz)" in fault(tmp_path)
    table(tmp_path, rows_of(3))
    assert len(load_dataset(tmp_path, array="other.npy").visual_ids) == 3
    assert "no x.npy (.npy" in fault(tmp_path, array="x.npy")
    table(tmp_path, rows_of(3), "clips.csv")
    assert "clips.csv and clips.jsonl: move the other away" in fault(tmp_path)
    for path in tmp_path.glob("*.n*"):
        path.unlink()
    (tmp_path / "clips.csv").unlink()
    assert "no frames (.npy and .npz files: none)" in fault(tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (frames_of(2)[..., :1], "frames must be (N, F, H, W, 3) uint8, found (2, 3, 4, 5, 1) uint8"),
        (frames_of(2)[:, 0], "frames must be (N, F, H, W, 3) uint8, found (2, 4, 5, 3)"),
        (frames_of(2).astype(np.float32), "found (2, 3, 4, 5, 3) float32; put colours last and scale them"),
        (frames_of(2)[:, :0], "found (2, 0, 4, 5, 3)"),
        (np.array([[None]] * 2), "an array of Python objects, which are never unpickled"),
    ],
)
def test_wrong_frames_are_faults(tmp_path, values, said):
    message = fault(made(tmp_path, rows_of(2), values))
    assert message.startswith(f"{tmp_path / 'some.npz'}")
    assert said in message


def test_an_npz_needs_one_array_that_can_be_the_frames(tmp_path):
    made(tmp_path, rows_of(2))
    np.savez(tmp_path / "some.npz", a=frames_of(2), b=np.arange(3))
    assert len(load_dataset(tmp_path).visual_ids) == 2
    np.savez(tmp_path / "some.npz", a=np.arange(2), b=np.arange(3))
    assert "no member 'frames' (there are a (2,), b (3,)); save as np.savez" in fault(tmp_path)
    (tmp_path / "some.npz").write_bytes(b"x")
    assert "not an .npz file" in fault(tmp_path)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"captions": []}, "clips without captions", "line 2: no caption; write one or delete the row"),
        ({"captions": ["a", " "]}, "blank captions", "line 2: a caption is blank; write or delete it"),
        ({}, "empty clips", "line 2: all its frames are black; add them or delete the row"),
    ],
)
def test_what_cannot_be_used_is_skipped_and_counted_or_an_error(tmp_path, change, kind, said):
    rows, values = rows_of(3), frames_of(3)
    rows[1] |= change
    values[1] *= bool(change)
    values[0, 1:] = values[2, :2] = 0  # one frame that isn't black is enough
    made(tmp_path, rows, values)
    with pytest.warns(UserWarning, match=f"skipped 1 {kind}") as warned:
        dataset = load_dataset(tmp_path)
    assert dataset.faults == {kind: 1}
    assert warned[0].filename == __file__
    assert len(dataset.visual_ids) == 2 + (kind == "blank captions")
    assert said in fault(tmp_path, strict=True)


def test_the_fingerprint_follows_the_frames_that_are_used(tmp_path):
    rows, values = rows_of(3), frames_of(3, 9)
    first = load_dataset(made(tmp_path / "a", rows, values)).fingerprint
    assert load_dataset(made(tmp_path / "b", rows, values, np.savez_compressed)).fingerprint == first
    other = values.copy()
    other[2, 4, 1, 1, 1] ^= 1
    found = {
        first,
        load_dataset(tmp_path / "a", frames=4).fingerprint,
        load_dataset(made(tmp_path / "c", rows, other)).fingerprint,
        load_dataset(made(tmp_path / "d", [rows[0] | {"captions": "x"}, *rows[1:]], values)).fingerprint,
    }
    assert len(found) == 4


# Features of frames


def ragged(lengths, width=4, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((length, width)).astype(np.float16) for length in lengths]


def padded(clips, longest):
    """The oracle: rows of zeros behind each clip's frames, up to the longest."""
    values = np.zeros((len(clips), longest, clips[0].shape[1]), clips[0].dtype)
    for index, clip in enumerate(clips):
        for place, row in enumerate(clip):
            values[index, place] = row
    return values


@pytest.mark.parametrize(("column", "kind"), [("video", "clip"), ("video_id", "clip"), ("image", "image")])
def test_a_table_of_videos_makes_features_clips(tmp_path, column, kind):
    values = padded(ragged([3, 1, 2]), 3)
    np.savez(tmp_path / "some.npz", names=np.array(["a", "b", "c"]), features=values)
    table(tmp_path, [{column: name, "caption": name, "split": "test"} for name in "abc"], "captions.jsonl")
    dataset = load_dataset(tmp_path)
    assert dataset.kind == kind
    np.testing.assert_array_equal(dataset.visual_features, values)
    values[1] = 0
    np.savez(tmp_path / "some.npz", names=np.array(["a", "b", "c"]), features=values)
    assert "some.npz, row 1 (b): all zeros, which is padding, so it has no frames" in fault(tmp_path)


def annotation(root, names, splits=None, name="videodatainfo.json", sentences=None):
    """MSR-VTT's own form, with two captions for each video unless told otherwise."""
    root.mkdir(parents=True, exist_ok=True)
    splits = splits or ["test"] * len(names)
    videos = [
        {"category": i, "video_id": video, "id": i, "split": split}
        for i, (video, split) in enumerate(zip(names, splits, strict=True))
    ]
    if sentences is None:
        sentences = [{"caption": f"{v}/{j}", "video_id": v, "sen_id": j} for j in range(2) for v in names]
    (root / name).write_text(json.dumps({"info": {}, "videos": videos, "sentences": sentences}))
    return root


def folder_of(root, names, values):
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(names, values, strict=True):
        np.save(root / f"{name}.npy", rows)


NAMES = ["video0", "video1", "video2", "video3"]


def store(root, form, names, values):
    longest = max(map(len, values))
    if form == "folder":
        folder_of(root / "resnet", names, values)
    elif form == "here":
        folder_of(root, names, values)
    elif form == "members":
        np.savez(root / "resnet.npz", **dict(zip(names, values, strict=True)))
    elif form == "names":
        np.savez(root / "resnet.npz", names=np.array(names[::-1]), features=padded(values, longest)[::-1])
    elif form == "lines":
        np.save(root / "resnet.npy", padded(values, longest)[::-1])
        (root / "names.txt").write_text("\n".join(names[::-1]))
    else:
        np.save(root / "resnet.npy", padded(values, longest))


@pytest.mark.parametrize("form", ["folder", "here", "members", "names", "lines", "order"])
def test_msrvtt_loads_in_each_form_padded_to_the_longest(tmp_path, form):
    values = ragged([3, 1, 5, 2])
    annotation(tmp_path, NAMES, ["train", "validate", "test", "test"])
    store(tmp_path, form, NAMES, values)
    assert kind_of(tmp_path) == "msrvtt"
    dataset = load_dataset(tmp_path)
    assert (dataset.kind, dataset.visual_ids) == ("clip", ["video2", "video3"])
    assert dataset.captions == ["video2/0", "video2/1", "video3/0", "video3/1"]
    assert dataset.visual_of_text.tolist() == [0, 0, 1, 1]
    assert dataset.columns == {"category": [2, 3]}
    np.testing.assert_array_equal(dataset.visual_features, padded(values[2:], 5))
    assert dataset.visual_features.dtype == np.float16
    assert on_disk(dataset.visual_features)
    for split, name in (("train", 0), ("validation", 1)):
        found = load_dataset(tmp_path, split)
        assert found.visual_ids == [NAMES[name]]
        np.testing.assert_array_equal(found.visual_features, values[name][None])


@pytest.mark.parametrize("cap", [1, 2, 4, 5, 32])
def test_msrvtt_samples_longer_videos_evenly(tmp_path, cap):
    values = ragged([3, 9, 5, 2])
    annotation(tmp_path, NAMES)
    store(tmp_path, "folder", NAMES, values)
    sampled = []
    for rows in values:
        wanted = min(cap, len(rows))
        sampled.append(np.array([rows[int((k + 0.5) * len(rows) / wanted)] for k in range(wanted)]))
    dataset = load_dataset(tmp_path, frames=cap)
    np.testing.assert_array_equal(dataset.visual_features, padded(sampled, min(cap, 9)))


def test_msrvtt_rows_of_zeros_are_padding_wherever_they_stand(tmp_path):
    values = ragged([3, 4])
    holes = [np.insert(values[0], [0, 2], 0, axis=0), np.pad(values[1], ((0, 9), (0, 0)))]
    annotation(tmp_path, NAMES[:2])
    store(tmp_path, "folder", NAMES[:2], holes)
    np.testing.assert_array_equal(load_dataset(tmp_path, frames=6).visual_features, padded(values, 4))


@pytest.mark.parametrize("form", ["folder", "order"])
def test_msrvtt_may_have_one_vector_per_video(tmp_path, form):
    values = np.concatenate(ragged([4]))
    annotation(tmp_path, NAMES)
    if form == "folder":
        folder_of(tmp_path / "pooled", NAMES, values)
    else:
        np.save(tmp_path / "pooled.npy", values)
    np.testing.assert_array_equal(load_dataset(tmp_path).visual_features, values)


def test_msrvtt_reads_several_files_as_one_and_features_can_be_named(tmp_path):
    annotation(tmp_path, NAMES[:2], ["train", "validate"], "train_val_videodatainfo.json")
    annotation(tmp_path, NAMES[2:], name="test_videodatainfo.json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    store(tmp_path, "folder", NAMES, ragged([1, 2, 3, 4]))
    assert [load_dataset(tmp_path, split).visual_ids for split in SPLITS] == [
        NAMES[:1],
        NAMES[1:2],
        NAMES[2:],
    ]
    store(tmp_path, "order", NAMES, ragged([2, 2, 2, 2], width=7))
    assert "several could be the features (arrays, and folders of video2.npy" in fault(tmp_path)
    assert "resnet.npy, resnet); name one with features=NAME" in fault(tmp_path)
    assert load_dataset(tmp_path, features="resnet").visual_features.shape == (2, 4, 4)
    message = "resnet.npy: 4 rows for the 4 videos of 2 files; write the name of each row into names.txt"
    assert message in fault(tmp_path, features="resnet.npy")  # in which order?
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    assert load_dataset(tmp_path, features="resnet.npy").visual_features.shape == (2, 2, 7)
    assert "no x (" in fault(tmp_path, features="x")
    annotation(tmp_path, NAMES[2:], name="again.json")
    assert "test_videodatainfo.json, videos[0]: 'video2' was listed already (" in fault(tmp_path)


def test_features_of_msrvtt_follow_the_lists_of_1k_a(tmp_path):
    annotation(tmp_path, NAMES, ["train", "test", "test", "train"])
    store(tmp_path, "folder", NAMES, ragged([2] * 4))
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("key,video_id,sentence\nret0,video3,the one\n")
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\nvideo1\n")
    test, train = load_dataset(tmp_path), load_dataset(tmp_path, "train")
    assert (test.visual_ids, test.captions) == (["video3"], ["the one"])
    assert test.about["protocol"] == train.about["protocol"] == "1k-A"
    assert set(train.visual_ids) < {"video0", "video1"}  # of which one is made the validation split
    assert train.faults == {"videos of split 'in no list'": 1}


def test_msrvtt_makes_splits_where_none_are_told(tmp_path):
    names = [f"video{i}" for i in range(40)]
    annotation(tmp_path, names)
    content = json.loads((tmp_path / "videodatainfo.json").read_text())
    for video in content["videos"]:
        del video["split"]
    (tmp_path / "videodatainfo.json").write_text(json.dumps(content))
    store(tmp_path, "folder", names, ragged([1] * 40))
    found = [load_dataset(tmp_path, split).visual_ids for split in SPLITS]
    assert all(found)
    assert sorted(name for names_of_split in found for name in names_of_split) == sorted(names)


def lose(root):
    (root / "resnet/video1.npy").unlink()


def empty(root):
    np.save(root / "resnet/video1.npy", np.zeros((0, 4), np.float16))


def zeros(root):
    np.save(root / "resnet/video1.npy", np.zeros((3, 4), np.float16))


def silence(root):
    annotation(root, NAMES, sentences=[{"caption": "x", "video_id": v} for v in NAMES if v != "video1"])


def blank(root):
    rows = [
        {"caption": caption, "video_id": v} for v in NAMES for caption in ("x", " " * (v == "video1") or "y")
    ]
    annotation(root, NAMES, sentences=rows)


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (lose, "videos without features", "videos[1]: no features of 'video1' in resnet"),
        (empty, "empty videos", "videos[1]: no frames of 'video1' in resnet"),
        (zeros, "empty videos", "videos[1]: no frames of 'video1' in resnet"),
        (silence, "videos without captions", "videos[1]: 'video1' has no sentence with a caption; add one"),
        (blank, "blank captions", "sentences[3]: the caption is blank; write it or delete the sentence"),
    ],
)
def test_msrvtt_skips_and_counts_or_stops(tmp_path, spoil, kind, said):
    values = ragged([3, 1, 5, 2])
    store(annotation(tmp_path, NAMES), "folder", NAMES, values)
    spoil(tmp_path)
    with pytest.warns(UserWarning, match=f"skipped 1 {kind}") as warned:
        dataset = load_dataset(tmp_path)
    assert dataset.faults == {kind: 1}
    assert warned[0].filename == __file__
    kept = [0, 1, 2, 3] if kind == "blank captions" else [0, 2, 3]
    assert dataset.visual_ids == [NAMES[index] for index in kept]
    np.testing.assert_array_equal(dataset.visual_features, padded([values[index] for index in kept], 5))
    assert f"{tmp_path / 'videodatainfo.json'}, {said}" in fault(tmp_path, strict=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["sentences"][1].update(video_id="video9x"),
            "sentences[1]: no video 'video9x' among the vid",
        ),
        (lambda c: c["sentences"][1].update(caption=3), "sentences[1]: 'caption' must be a string"),
        (
            lambda c: c["videos"][1].pop("video_id"),
            "videos[1]: no 'video_id'; there are 'category', 'id', 'split'",
        ),
        (
            lambda c: c["videos"][1].update(split="tset"),
            "videos[1]: unknown split 'tset'; did you mean 'test'?",
        ),
        (lambda c: c["videos"].append(3), "videos[4]: must be an object, found int"),
        (lambda c: c.update(sentences={}), "'sentences' must be a list of objects"),
        (lambda c: c.update(sentences=[]), "4 videos and 0 sentences in its JSON files"),
    ],
)
def test_msrvtt_faults_name_file_and_place(tmp_path, change, said):
    store(annotation(tmp_path, NAMES), "folder", NAMES, ragged([1] * 4))
    content = json.loads((tmp_path / "videodatainfo.json").read_text())
    change(content)
    (tmp_path / "videodatainfo.json").write_text(json.dumps(content))
    message = fault(tmp_path)
    assert message.startswith(str(tmp_path))
    assert said in message


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.full((2, 4), np.nan, np.float16), "(video1): NaN or infinity among the features"),
        (
            np.ones((2, 5), np.float16),
            "(video1): (2, 5) float16, but video0 has T, 4 float16; save all alike",
        ),
        (
            np.ones((2, 4), np.float32),
            "(video1): (2, 4) float32, but video0 has T, 4 float16; save all alike",
        ),
        (np.ones(4, np.float16), "(video1): (4,) float16, but video0 has T, 4"),
        (np.ones((2, 4)), "(video1): must be (T, D) float16 or float32, found (2, 4) <f8"),
        (np.ones((2, 2, 4), np.float16), "(video1): must be (T, D) float16 or float32, found (2, 2, 4)"),
        (np.array([[None]]), "video1"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "members"])
def test_msrvtt_wrong_features_name_the_video(tmp_path, rows, said, form):
    values = ragged([1] * 4)
    values[1] = rows
    store(annotation(tmp_path, NAMES), form, NAMES, values)
    message = fault(tmp_path)
    assert said in message
    assert "resnet" in message


def test_msrvtt_broken_files_are_faults(tmp_path):
    store(annotation(tmp_path, NAMES), "order", NAMES, ragged([1] * 4))
    np.save(tmp_path / "resnet.npy", np.ones((3, 1, 4), np.float16))
    assert (
        "resnet.npy: 3 rows for the 4 videos of 1 file; write the name of each row into names.txt"
        in fault(tmp_path)
    )
    text = (tmp_path / "videodatainfo.json").read_text()
    (tmp_path / "videodatainfo.json").write_text(text[:-20])
    assert "videodatainfo.json: not JSON (" in fault(tmp_path)
    (tmp_path / "videodatainfo.json").write_text(text)
    (tmp_path / "resnet.npy").unlink()
    assert "no features (arrays, and folders of video0.npy …: none)" in fault(tmp_path)


# Real data


def test_animated_emoji_loads_as_it_lies():
    found = [load_dataset(shared("animated_emoji"), split) for split in SPLITS]
    assert sum(len(dataset.visual_ids) for dataset in found) == 712
    assert sum(len(set(dataset.columns["name"])) for dataset in found) == 447  # so none straddles
    for dataset in found:
        assert (dataset.kind, dataset.faults) == ("clip", {})
        assert [frame.size for frame in dataset.visuals[0]] == [(64, 64)] * 8
        visuals, texts = np.arange(len(dataset.visual_ids)), np.arange(len(dataset.captions))
        block = dataset.truth.block(visuals, texts)
        names = np.array(dataset.columns["name"])
        alike = names[:, None] == names[dataset.visual_of_text][None, :]
        assert (block[alike] == 1).all()
        assert alike.sum() > 2 * len(texts)  # skin tones: several clips that a caption was not written for
        assert not (block == 0).any()


def test_made_captions_of_animated_emoji_say_something_each():
    dataset = load_dataset(shared("animated_emoji"), "train")
    before = {}
    for caption, visual in zip(dataset.captions, dataset.visual_of_text, strict=True):
        words = set(re.findall(r"\w+", caption.lower()))
        assert not words <= before.setdefault(visual, set())
        before[visual] |= words
