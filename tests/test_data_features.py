"""Folders of features: right links, memory-mapped, and every fault told with file, line or row, and remedy."""

import csv
import json
import os
import threading

import numpy as np
import pytest
from PIL import Image

from tests.shared_data import shared
from xmr.data import DataFault, arrays, load_dataset, summary
from xmr.views.data_card import sheet
from xmr.workspace import Workspace


def values(count, *shape, dtype=np.float16):
    return np.random.default_rng(0).standard_normal((count, *shape)).astype(dtype)


def table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def rows_of(count, per_image=2, split="test"):
    return [
        {"image": f"{i}.jpg", "split": split, "caption_no": j, "caption": f"{i}/{j}"}
        for i in range(count)
        for j in range(per_image)
    ]


def made(root, rows, features=None, names=None, save=np.savez):
    """The layout of flickr8k_features: captions.csv and an .npz with names and features."""
    root.mkdir(exist_ok=True)
    names = sorted({row["image"] for row in rows}) if names is None else names
    features = values(len(names), 8) if features is None else features
    save(root / "some.npz", names=np.array(names), features=features)
    table(root / "captions.csv", rows)
    return root


def precomp(root, features, lines, stem="test"):
    root.mkdir(exist_ok=True)
    np.save(root / f"{stem}_ims.npy", features)
    (root / f"{stem}_caps.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return root


def fault(root, split="test", **options):
    with pytest.raises(DataFault) as caught:
        load_dataset(root, split, **options)
    return str(caught.value)


def on_disk(array):
    """Whether the array's numbers lie in a mapped file."""
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


# One captions file, one array


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_captions_lead_to_the_features_of_their_image(tmp_path, save):
    rows = [*rows_of(3), *rows_of(5, split="train")[6:]]
    names = [f"{i}.jpg" for i in (4, 2, 0, 1, 3)]
    features = values(5, 8)
    dataset = load_dataset(made(tmp_path, rows, features, names, save))
    assert dataset.visual_ids == ["2.jpg", "0.jpg", "1.jpg"]  # in the order of the array: one stretch of it
    assert [c.split("/")[0] + ".jpg" for c in dataset.captions] == [
        dataset.visual_ids[v] for v in dataset.visual_of_text
    ]
    np.testing.assert_array_equal(dataset.visual_features, features[1:4])
    assert on_disk(dataset.visual_features) == (save is np.savez)
    assert dataset.about["features"] == "some.npz"


def test_rows_that_are_no_stretch_are_a_copy(tmp_path):
    rows = [
        row | {"split": "test" if row["image"] in ("0.jpg", "1.jpg", "3.jpg") else "train"}
        for row in rows_of(5)
    ]
    features = values(5, 8)
    dataset = load_dataset(made(tmp_path, rows, features))
    np.testing.assert_array_equal(dataset.visual_features, features[[0, 1, 3]])


@pytest.mark.parametrize(
    ("shape", "dtype", "order"),
    [((8,), np.float16, "C"), ((3, 8), np.float32, "C"), ((8,), np.float32, "F")],
)
def test_an_npy_is_known_by_row_number_or_names_txt(tmp_path, shape, dtype, order):
    features = np.asarray(values(3, *shape, dtype=dtype), order=order)
    np.save(tmp_path / "clip.npy", features)
    lines = [{"image": i, "split": "test", "captions": [f"{i} a", f"{i} b"]} for i in range(3)]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(dataset.visual_features, features)
    assert on_disk(dataset.visual_features)
    assert dataset.visual_features.dtype == dtype
    assert dataset.visual_ids == ["0", "1", "2"]
    assert dataset.visual_of_text.tolist() == [0, 0, 1, 1, 2, 2]
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    assert "captions.jsonl, line 1: no features of image '0' in clip.npy" in fault(tmp_path)
    table(tmp_path / "captions.csv", [{"image": "b", "caption": "B"}])
    (tmp_path / "captions.jsonl").unlink()
    assert "too few pictures" in fault(tmp_path, "train")


def test_text_features_follow_their_captions(tmp_path):
    rows = [row | {"split": "train" if row["image"] == "0.jpg" else "test"} for row in rows_of(3)]
    rows[3]["caption"] = " "
    made(tmp_path, rows)
    texts = values(6, 4)
    np.save(tmp_path / "text_features.npy", texts)
    with pytest.warns(UserWarning, match=r"skipped 1 blank captions \(first: .*captions.csv, line 5"):
        dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(dataset.text_features, texts[[2, 4, 5]])
    assert dataset.captions == ["1/0", "2/0", "2/1"]
    assert "captions.csv, line 5: the caption is blank; write it or delete the row" in fault(
        tmp_path, strict=True
    )
    np.save(tmp_path / "text_features.npy", texts[:5])
    assert "a row for each of the 6 captions in captions.csv, found (5, 4)" in fault(tmp_path)


def test_text_features_of_any_name_and_pictures_beside(tmp_path):
    made(tmp_path, rows_of(3))
    texts = values(6, 4)
    np.save(tmp_path / "minilm.npy", texts)
    assert "several arrays could be the features" in fault(tmp_path)
    data = load_dataset(tmp_path, text_features="minilm.npy")
    np.testing.assert_array_equal(data.text_features, texts)
    assert data.visuals is None
    assert "no bert.npy for the features of the captions" in fault(tmp_path, text_features="bert.npy")
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (4, 4), (number * 50, 0, 0)).save(tmp_path / f"images/{number}.png")
        (tmp_path / f"images/{number}.png").rename(tmp_path / f"images/{number}.jpg")
    data = load_dataset(tmp_path, text_features="minilm.npy")
    assert [data.image(number).getpixel((0, 0))[0] for number in range(3)] == [0, 50, 100]


@pytest.mark.parametrize("named", [True, False])
def test_pictures_that_images_lacks_are_counted_and_the_others_shown_where_names_tell_them(
    tmp_path, cache_folder, named
):
    made(tmp_path, rows_of(3))
    if not named:
        (tmp_path / "some.npz").unlink()
        np.save(tmp_path / "some.npy", values(3, 8))
        table(tmp_path / "captions.csv", [row | {"image": row["image"][0]} for row in rows_of(3)])
    (tmp_path / "images").mkdir()
    for number in (0, 2):
        Image.new("RGB", (4, 4), (number * 50, 0, 0)).save(tmp_path / f"images/{number}.png")
        (tmp_path / f"images/{number}.png").rename(tmp_path / f"images/{number}.jpg")
    data = load_dataset(tmp_path)
    said = "images/ lacks 1 of 3 pictures"
    assert f"{said}, {'which are shown by their names' if named else 'so none is shown'}" in summary.line(
        data
    )
    expected = [named, False, named]
    assert [data.shows(number) for number in range(3)] == expected
    assert [data.some(np.array([1, 2])).shows(number) for number in range(2)] == expected[1:]
    assert [bool(row["image"]) for row in json.loads(json.dumps(sheet(data)))["rows"]] == expected
    workspace = Workspace.of([], "photos", lambda split: data, None)
    assert [workspace.thumbnail("test", number) is not None for number in range(3)] == expected
    if named:
        assert data.image(2).getpixel((0, 0))[0] == 100
        with pytest.raises(DataFault, match="no picture for row 1"):
            data.image(1)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (
            {"features": "b.npy", "text_features": "a_text.npy"},
            "b.npy has 5 dimensions, a_text.npy 8: they are of two models. some.npz has 8: is it meant for b.npy? "
            "Then --set features=some.npz",
        ),
        (
            {"features": "some.npz", "text_features": "b_text.npy"},
            "some.npz has 8 dimensions, b_text.npy 5: they are of two models. b.npy has 5: is it meant for some.npz?",
        ),
        (
            {"features": "named.npz", "text_features": "named_text.npz"},
            "named.npz is of the model 'ViT-B-32', named_text.npz of 'RN50'; name two of one by --set features=FILE",
        ),
    ],
)
def test_two_sides_of_two_models_are_an_error(tmp_path, chosen, said):
    made(tmp_path, rows_of(3))
    np.save(tmp_path / "b.npy", values(3, 5))
    np.save(tmp_path / "a_text.npy", values(6, 8))
    np.save(tmp_path / "b_text.npy", values(6, 5))
    (tmp_path / "names.txt").write_text("0.jpg\n1.jpg\n2.jpg\n")
    np.savez(tmp_path / "named.npz", features=values(3, 7), model="ViT-B-32")
    np.savez_compressed(tmp_path / "named_text.npz", features=values(6, 7), model="RN50")
    assert said in fault(tmp_path, **chosen)
    for features, text_features in (("b.npy", "b_text.npy"), ("some.npz", "a_text.npy")):
        data = load_dataset(tmp_path, features=features, text_features=text_features)
        assert data.visual_features.shape[1] == data.text_features.shape[1]
        assert "sides" not in data.about


def test_two_sides_of_two_models_are_told_where_no_other_file_is_meant(tmp_path):
    made(tmp_path, rows_of(3))
    np.save(tmp_path / "text_features.npy", values(6, 4))
    said = summary.line(load_dataset(tmp_path))
    assert "; visual features of 8 dimensions, text features of 4: of two models" in said


def test_concepts_and_columns_of_images_are_kept(tmp_path):
    rows = [
        row | {"concept": f"c{int(row['image'][0]) // 2}", "label": row["image"][0]} for row in rows_of(4)
    ]
    dataset = load_dataset(made(tmp_path, rows))
    assert dataset.visual_group.tolist() == [0, 0, 1, 1]
    assert dataset.columns == {"concept": ["c0", "c0", "c1", "c1"], "label": ["0", "1", "2", "3"]}


def test_missing_splits_are_made(tmp_path):
    rows = [{key: row[key] for key in ("image", "caption")} for row in rows_of(60)]
    made(tmp_path, rows)
    found = [set(load_dataset(tmp_path, split).visual_ids) for split in ("train", "validation", "test")]
    assert all(found)
    assert sum(map(len, found)) == len(set.union(*found)) == 60


def test_the_features_file_can_be_named(tmp_path):
    made(tmp_path, rows_of(2))
    np.save(tmp_path / "other.npy", values(2, 4))
    assert "several arrays could be the features" in fault(tmp_path)
    assert 'other.npy, some.npz); name one with features="FILE"' in fault(tmp_path)
    assert load_dataset(tmp_path, features="some.npz").visual_features.shape == (2, 8)
    assert "no x.npz" in fault(tmp_path, features="x.npz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"image": "x.jpg"},
            "captions.csv, line 4: no features of image 'x.jpg' in some.npz; is the name right?",
        ),
        ({"split": "train"}, "captions.csv, line 4: split 'train', but 'test' for the same image on line 3"),
        ({"caption_no": "0"}, "captions.csv, line 4: caption_no 0 of this image was given already ("),
        ({"caption_no": "one"}, "captions.csv, line 4: 'caption_no' must be int, found 'one'"),
    ],
)
def test_wrong_rows_name_their_line(tmp_path, change, said):
    rows = [rows_of(1)[0], *rows_of(2)[2:]]
    rows[2] |= change
    assert said in fault(made(tmp_path, rows, names=["0.jpg", "1.jpg"], features=values(2, 8)))


def test_a_misspelt_split_names_its_line(tmp_path):
    message = fault(made(tmp_path, [*rows_of(1), {**rows_of(2)[2], "split": "tset"}]))
    assert "captions.csv, line 4: unknown split 'tset'; did you mean 'test'?" in message


def test_wrong_row_numbers_name_their_line(tmp_path):
    np.save(tmp_path / "a.npy", values(2, 4))
    table(tmp_path / "captions.csv", [{"image": "0", "caption": "a"}, {"image": "2", "caption": "b"}])
    assert "captions.csv, line 3: image 2, but a.npy has rows 0 … 1" in fault(tmp_path)
    table(tmp_path / "captions.csv", [{"image": "0.jpg", "caption": "a"}])
    assert "captions.csv, line 2: 'image' must be int, found '0.jpg'" in fault(tmp_path)


def test_missing_columns_tell_which_there_are(tmp_path):
    np.save(tmp_path / "a.npy", values(2, 4))
    table(tmp_path / "captions.csv", [{"picture": "0", "caption": "a"}])
    assert "no column 'image' (name or row of the visual); there are picture, caption" in fault(tmp_path)
    table(tmp_path / "captions.csv", [{"image": "0", "sentence": "a"}])
    assert "there are 'image', 'sentence'" in fault(tmp_path)
    (tmp_path / "captions.csv").write_text("image,caption\n")
    assert "captions.csv: no rows; write one per caption" in fault(tmp_path)


def spoilt(array, place, value):
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (
            spoilt(values(3, 8), (1, 5), np.nan),
            "some.npz, row 1 (1.jpg): NaN among the features; compute this row",
        ),
        (spoilt(values(3, 2, 8), (2, 1, 0), -np.inf), "some.npz, row 2 (2.jpg): infinity among the features"),
        (
            values(3, 8, dtype=np.float64),
            "must be float16 or float32, found float64 (<f8); save them as array.astype",
        ),
        (values(3, 8).astype(">f4"), "must be float16 or float32, found >f4"),
        (np.ones((3, 8), np.int32), "must be float16 or float32, found int32"),
        (values(3), "features must be (N, D) or (N, T, D), found (3,)"),
        (np.empty((3, 0), np.float32), "features must be (N, D) or (N, T, D), found (3, 0)"),
        (values(4, 8), "some.npz (names): 3 names, but the features needs 4"),
        (
            np.array([[1, "a"]] * 3, object),
            "an array of Python objects, which are never unpickled; save plain",
        ),
    ],
)
def test_wrong_features_name_file_and_row(tmp_path, features, said):
    message = fault(made(tmp_path, rows_of(3), features))
    assert message.startswith(str(tmp_path / "some.npz"))
    assert said in message


def test_only_the_rows_of_the_split_are_looked_at(tmp_path):
    rows = [row | {"split": name} for row, name in zip(rows_of(3, 1), ("train", "dev", "test"), strict=True)]
    made(tmp_path, rows, spoilt(values(3, 8), 0, np.nan))
    load_dataset(tmp_path)
    assert "row 0 (0.jpg): NaN" in fault(tmp_path, "train")


def test_wrong_names_are_faults(tmp_path):
    message = fault(made(tmp_path, rows_of(2), values(3, 8), ["0.jpg", "1.jpg", "0.jpg"]))
    assert "'0.jpg' names row 0 and row 2; a name must be unique" in message
    message = fault(made(tmp_path, rows_of(2), names=[1, 2]))
    assert "some.npz (names): must be a vector of strings, found int64 (2,)" in message


def test_broken_files_are_faults(tmp_path):
    made(tmp_path, rows_of(2))
    path = tmp_path / "some.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert f"{path}: not an .npz file" in fault(tmp_path)
    path.unlink()
    np.save(tmp_path / "a.npy", values(2, 8))
    data = (tmp_path / "a.npy").read_bytes()
    for broken in (b"", b"\x93NUMPY", data[:-4], data.replace(b"}", b"{")):
        (tmp_path / "a.npy").write_bytes(broken)
        assert f"{tmp_path / 'a.npy'}: not readable" in fault(tmp_path)


def test_an_npz_needs_one_array_that_can_be_the_features(tmp_path):
    made(tmp_path, rows_of(2))
    np.savez(tmp_path / "some.npz", names=np.array(["0.jpg", "1.jpg"]), clip=values(2, 8))
    assert load_dataset(tmp_path).visual_features.shape == (2, 8)
    np.savez(tmp_path / "some.npz", names=np.array(["0.jpg", "1.jpg"]), a=values(2, 8), b=values(2, 4))
    assert "no member 'features' (there are a (2, 8), b (2, 4))" in fault(tmp_path)


def test_every_chunk_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 64)
    features = spoilt(values(50, 8), (37, 7), np.inf)
    with pytest.raises(DataFault, match=r"row 37 \(i37\): infinity"):
        arrays.check_finite(features, tmp_path, np.arange(50), [f"i{i}" for i in range(50)])


def test_the_fingerprint_follows_the_content_not_the_file(tmp_path):
    rows, features = rows_of(3), values(3, 8)
    first = load_dataset(made(tmp_path / "a", rows, features)).fingerprint
    assert load_dataset(made(tmp_path / "b", rows, features, save=np.savez_compressed)).fingerprint == first
    other = [rows[0] | {"caption": "x"}, *rows[1:]]
    assert load_dataset(made(tmp_path / "c", other, features)).fingerprint != first
    assert load_dataset(made(tmp_path / "d", rows, spoilt(features.copy(), (2, 3), 1))).fingerprint != first
    assert load_dataset(made(tmp_path / "e", rows, features.astype(np.float32))).fingerprint != first


# Judgements


def judged(root, expert=(), crowd=()):
    made(root, rows_of(3))
    keys = ("image", "caption_image", "caption_no")
    if expert:
        names = (*keys, "score1", "score2", "score3")
        table(root / "expert.csv", [dict(zip(names, row, strict=True)) for row in expert])
    if crowd:
        table(root / "crowdflower.csv", [dict(zip((*keys, "frac_yes"), row, strict=True)) for row in crowd])
    return root


def test_judgements_are_truth_of_the_judged_pairs_only(tmp_path):
    expert = [
        ("0.jpg", "1.jpg", 0, 2, 2, 4),  # mean 2.67: matches
        ("0.jpg", "1.jpg", 1, 2, 2, 3),  # mean 2.33: does not
        ("1.jpg", "1.jpg", 0, 1, 1, 1),  # its own caption
        ("2.jpg", "0.jpg", 1, 4, 4, 4),  # experts prevail
    ]
    crowd = [("2.jpg", "0.jpg", 1, 0.0), ("2.jpg", "1.jpg", 1, 0.5), ("1.jpg", "2.jpg", 0, 0.3333)]
    truth = load_dataset(judged(tmp_path, expert, crowd)).truth
    nan = np.nan
    expected = np.array([[1, 1, 1, 0, nan, nan], [nan, nan, 1, 1, 0, nan], [nan, 1, nan, 1, 1, 1]])
    np.testing.assert_array_equal(truth.block(np.arange(3), np.arange(6)), expected)
    assert not truth.complete
    assert truth.block(np.arange(3), np.arange(6)).dtype == np.float32
    visuals, texts = np.array([2, 0, 2, 1]), np.array([5, 3, 1, 3, 3, 0])  # in any order and more than once
    np.testing.assert_array_equal(truth.block(visuals, texts), expected[np.ix_(visuals, texts)])
    every = np.indices(expected.shape).reshape(2, -1)
    np.testing.assert_array_equal(truth.pairs(*every), expected.ravel())
    assert truth.pairs(*every).dtype == np.float32


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("x.jpg", "1.jpg", 0, 1, 1, 1), "expert.csv, line 2: no image 'x.jpg' among the captions"),
        (("0.jpg", "1.jpg", 7, 1, 1, 1), "expert.csv, line 2: no caption 7 of '1.jpg'"),
        (("0.jpg", "1.jpg", 0, 1, "", 1), "expert.csv, line 2: 'score2' must be float, found ''"),
        (("0.jpg", "1.jpg", 0, 1, "nan", 1), "expert.csv, line 2: a judgement must be a number from 0"),
    ],
)
def test_wrong_judgements_name_their_line(tmp_path, row, said):
    assert said in fault(judged(tmp_path, [row]))


# Precomp


def captions(count, per_image):
    return [f"{i}/{j}" for i in range(count) for j in range(per_image)]


@pytest.mark.parametrize("shape", [(8,), (36, 8)])
@pytest.mark.parametrize(("per_image", "repeats"), [(5, 1), (5, 5), (1, 1), (3, 3)])
def test_precomp_derives_how_many_captions_an_image_has(tmp_path, shape, per_image, repeats):
    features = values(7, *shape, dtype=np.float32)
    precomp(tmp_path, np.repeat(features, repeats, axis=0), captions(7, per_image))
    dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(dataset.visual_features, features)
    assert on_disk(dataset.visual_features)
    assert dataset.captions == captions(7, per_image)
    assert dataset.visual_of_text.tolist() == [i for i in range(7) for _ in range(per_image)]
    assert dataset.visual_ids == [f"test/{i}" for i in range(7)]


def test_equal_neighbours_are_not_taken_for_repeats(tmp_path):
    features = values(6, 8)
    features[1] = features[0]
    assert len(load_dataset(precomp(tmp_path / "one", features, captions(6, 1))).visual_ids) == 6
    fives = np.repeat(features, 5, axis=0)
    assert len(load_dataset(precomp(tmp_path / "five", fives, captions(6, 5))).visual_ids) == 6


def test_precomp_lines_are_split_at_line_feeds_only(tmp_path):
    precomp(tmp_path, values(2, 8), ["a\u2028b", "c\x85d\r", "e\x0cf", "g"])
    assert load_dataset(tmp_path).captions == ["a\u2028b", "c\x85d", "e\x0cf", "g"]


def test_precomp_splits_ids_and_text_features(tmp_path):
    precomp(tmp_path, values(2, 8), captions(2, 5), "dev")
    precomp(tmp_path, values(3, 8), captions(3, 5), "train")
    texts = values(10, 4)
    np.save(tmp_path / "dev_text_features.npy", texts)
    for lines in (["x", "y"], ["x"] * 5 + ["y"] * 5):
        (tmp_path / "dev_ids.txt").write_text("\n".join(lines))
        dataset = load_dataset(tmp_path, "validation")
        assert dataset.visual_ids == ["x", "y"]
        np.testing.assert_array_equal(dataset.text_features, texts)
    made, rest = load_dataset(tmp_path, "test"), load_dataset(tmp_path, "train")
    assert sorted([*made.visual_ids, *rest.visual_ids]) == ["train/0", "train/1", "train/2"]
    assert made.about["splits"] == rest.about["splits"] == "test made of train by seed 0"
    (tmp_path / "dev_ids.txt").write_text("x\ny\nz\n")
    assert "dev_ids.txt: 3 names, but" in fault(tmp_path, "validation")
    (tmp_path / "train_ims.npy").unlink()
    assert "the test split is empty: there is validation only; add it, or a train split" in fault(tmp_path)
    (tmp_path / "dev_ids.txt").write_text("x\nx\n")
    assert "dev_ids.txt: 'x' names row 0 and row 1; a name must be unique" in fault(tmp_path, "validation")


def test_precomp_counts_that_do_not_fit_are_a_fault(tmp_path):
    message = fault(precomp(tmp_path, values(4, 8), captions(4, 5)[:-1]))
    assert "test_caps.txt: 19 captions for the 4 rows of test_ims.npy" in message
    assert "such as 20 (five each)" in message
    assert "test_caps.txt: 1 captions for the 4 rows" in fault(precomp(tmp_path, values(4, 8), ["a"]))
    (tmp_path / "test_caps.txt").unlink()
    assert "test_caps.txt is missing: it holds the captions of test_ims.npy" in fault(tmp_path)


def test_precomp_faults_name_line_and_row(tmp_path):
    precomp(tmp_path, spoilt(values(4, 8), (2, 0), np.nan), captions(4, 5))
    assert "test_ims.npy, row 2 (test/2): NaN" in fault(tmp_path)
    lines = captions(4, 5)
    lines[6] = " "
    precomp(tmp_path, values(4, 8), lines)
    assert "test_caps.txt, line 7: the caption is blank" in fault(tmp_path, strict=True)
    with pytest.warns(UserWarning, match="1 blank captions"):
        dataset = load_dataset(tmp_path)
    assert dataset.visual_of_text.tolist().count(1) == 4
    (tmp_path / "test_caps.txt").write_bytes(b"a\nb\ncaf\xe9\nd\n")
    assert "test_caps.txt, line 3: not UTF-8 (byte 0xe9)" in fault(tmp_path)
    precomp(tmp_path, values(2, 8), ["", "", "", "x"])
    with pytest.warns(UserWarning, match="3 blank captions"):
        dataset = load_dataset(tmp_path)
    assert dataset.visual_ids == ["test/1"]
    assert dataset.faults == {"blank captions": 3, "visuals without captions": 1}
    np.testing.assert_array_equal(dataset.visual_features, values(2, 8)[1:])


def test_precomp_never_unpickles(tmp_path):
    precomp(tmp_path, np.array([[1, None]] * 2, object), captions(2, 5))
    assert "test_ims.npy: an array of Python objects, which are never unpickled" in fault(tmp_path)


# Real data


def test_flickr8k_loads_as_it_lies():
    dataset = load_dataset(shared("flickr8k_features"), "test")
    assert (len(dataset.visual_ids), len(dataset.captions)) == (1000, 5000)
    assert dataset.visual_features.shape == (1000, 1280)
    assert dataset.visual_features.dtype == np.float16
    assert dataset.about["captions_per_visual"] == {"min": 5, "median": 5.0, "max": 5}
    block = dataset.truth.block(np.arange(1000), np.arange(5000))
    own = dataset.visual_of_text[None, :] == np.arange(1000)[:, None]
    assert (block[own] == 1).all()
    assert np.isnan(block).mean() > 0.98
    assert ((block == 1) & ~own).sum() > 658  # those that experts confirmed, and the crowd's


@pytest.mark.parametrize(("split", "visuals"), [("train", 5999), ("validation", 1000)])
def test_flickr8k_has_judgements_of_the_test_split_only(split, visuals):
    dataset = load_dataset(shared("flickr8k_features"), split)
    assert len(dataset.visual_ids) == visuals
    assert dataset.truth is None


@pytest.mark.skipif(os.name != "posix", reason="pipes")
@pytest.mark.parametrize("name", ["some.npz", "some.npy"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    made(tmp_path / "data", rows_of(2))
    (tmp_path / "data" / "some.npz").unlink()
    os.mkfifo(tmp_path / "data" / name)
    told = []

    def read():
        with pytest.raises(DataFault, match="no regular file") as caught:
            load_dataset(tmp_path / "data")
        told.append(caught.value)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(30)
    assert told
