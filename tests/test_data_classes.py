"""Views with class labels in MATLAB files: right pairs, nothing that gives the class away, every fault told."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from tests.shared_data import shared
from xmr.data import DataFault, load_dataset
from xmr.data.matlab import MatFile
from xmr.embedding import frozen_features

CLASSES = ["art", "biology", "history"]


def variables(train=60, test=12, pixels=False, seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for end, count in (("tr", train), ("te", test)):
        made[f"I_{end}"] = rng.standard_normal((count, 7))
        made[f"T_{end}"] = rng.standard_normal((count, 4))
        made[f"L_{end}"] = (1 + np.arange(count) % 3)[:, None].astype(np.uint8)
        if pixels:
            made[f"P_{end}"] = rng.integers(0, 7, (count, 240)).astype(np.uint8)
    return made


def folder(root, change=None, **options):
    """A folder with views.mat; `change` replaces variables, or leaves out those that are None."""
    root.mkdir(exist_ok=True)
    values = variables(**options) | (change or {})
    scipy.io.savemat(root / "views.mat", {key: value for key, value in values.items() if value is not None})
    return root


def listed(root, train=60, test=12, classes=CLASSES):
    """The layout of Wikipedia: no L, but lists and names."""
    folder(root, {"L_tr": None, "L_te": None}, train=train, test=test)
    for split, count in (("train", train), ("test", test)):
        lines = [f"doc{split}{row}-1\timg{split}{row}\t{1 + row % 3}" for row in range(count)]
        (root / f"{split}set_txt_img_cat.list").write_text("\n".join(lines) + "\n")
    (root / "categories.list").write_text("\n".join(classes) + "\n")
    return root


def fault(root, split="test", **options):
    with pytest.raises(DataFault) as caught:
        load_dataset(root, split, **options)
    return str(caught.value)


def every(root, **options):
    return {split: load_dataset(root, split, **options) for split in ("train", "validation", "test")}


# What comes out


@pytest.mark.parametrize("make", [folder, listed])
def test_rows_keep_their_features_and_their_label_in_every_split(tmp_path, make):
    data, values = every(make(tmp_path / "set")), variables()
    for split, end in (("train", "tr"), ("validation", "tr"), ("test", "te")):
        part = data[split]
        rows = [int(caption.removeprefix("text ")) for caption in part.captions]
        np.testing.assert_allclose(part.visual_features, values[f"I_{end}"][rows].astype(np.float32))
        np.testing.assert_allclose(part.text_features, values[f"T_{end}"][rows].astype(np.float32))
        assert part.visual_group.tolist() == [row % 3 for row in rows]
        assert part.columns["label"] == [part.classes[row % 3] for row in rows]
        assert part.visual_of_text.tolist() == list(range(len(rows)))
        assert (part.text_group == part.visual_group).all()
    counts = {split: len(part.captions) for split, part in data.items()}
    assert counts["test"] == 12 and counts["train"] + counts["validation"] == 60 and counts["validation"] >= 1
    assert not set(data["train"].visual_ids) & set(data["validation"].visual_ids)
    assert len({part.fingerprint for part in data.values()}) == 3


def test_names_of_classes_and_documents_come_from_the_lists(tmp_path):
    data = load_dataset(listed(tmp_path / "set"))
    assert data.classes == CLASSES
    assert data.visual_ids[:2] == ["imgtest0", "imgtest1"]
    assert data.columns["document"][:2] == ["doctest0-1", "doctest1-1"]


def test_captions_tell_neither_class_nor_document_nor_id(tmp_path):
    data = load_dataset(listed(tmp_path / "set"), "train")
    for caption, *told in zip(data.captions, data.visual_ids, *data.columns.values(), strict=True):
        assert re.fullmatch(r"text \d+", caption)
        assert not any(part in caption for part in told)


def test_classes_are_the_same_in_all_splits_also_where_one_lacks_some(tmp_path):
    only_two = {"L_te": (1 + np.arange(12) % 2)[:, None]}
    data = every(folder(tmp_path / "set", only_two))
    assert {tuple(part.classes) for part in data.values()} == {("1", "2", "3")}
    assert set(data["test"].visual_group.tolist()) == {0, 1}


def test_validation_is_made_by_seed(tmp_path):
    root = folder(tmp_path / "set", train=300)
    first, again, other = (load_dataset(root, "validation", seed=seed).visual_ids for seed in (0, 0, 1))
    assert first == again != other
    assert 15 <= len(first) <= 45
    tests = [load_dataset(root, "test", seed=seed).fingerprint for seed in (0, 1)]
    assert tests[0] == tests[1]


def test_any_two_views_can_be_chosen(tmp_path):
    root = folder(tmp_path / "set", pixels=True)
    data = load_dataset(root, visual="P", text="I")
    assert data.visual_features.shape == (12, 240) and data.text_features.shape == (12, 7)
    message = fault(root, visual="Q")
    assert "unknown view 'Q'" in message and "I, P, T" in message


def test_pixels_are_shown_as_pictures_of_digits(tmp_path):
    values = variables(pixels=True)
    row = np.zeros((16, 15), np.uint8)
    row[:, :5] = 6  # ink on the left
    values["P_te"][3] = row.ravel()
    data = load_dataset(folder(tmp_path / "set", values))
    assert data.classes == ["0", "1", "2"]  # labels 1, 2, 3 of UCI's file are the digits 0, 1, 2
    picture = np.asarray(data.image(3))
    assert picture.shape == (80, 75, 3)
    assert picture[:, :20].max() < 30 and picture[:, 30:].min() > 225
    assert len(data.visuals) == 12 and load_dataset(folder(tmp_path / "plain")).visuals is None


def test_features_of_a_matcher_are_the_views_themselves(tmp_path):
    data = load_dataset(folder(tmp_path / "set"))
    frozen = frozen_features(data)
    assert frozen.visual is data.visual_features and frozen.text is data.text_features


# Faults


@pytest.mark.parametrize(
    ("change", "split", "message"),
    [
        ({"I_te": None}, "test", "unknown variable of numbers 'I_te'; did you mean"),
        ({"T_te": np.ones((11, 4))}, "test", "I has 12 rows of test and T 11"),
        ({"I_tr": np.ones((60, 0))}, "train", r"I_tr must be \(N, D\), found \(60, 0\)"),
        ({"I_tr": np.ones((60, 2, 3))}, "train", r"I_tr must be \(N, D\), found \(60, 2, 3\)"),
        ({"I_tr": np.full((60, 7), 1j)}, "train", "unknown variable of numbers.*I_tr"),
        ({"T_te": np.where(np.arange(48).reshape(12, 4) == 21, np.nan, 1)}, "test", r"row 5 \(test/5\): NaN"),
        ({"T_te": np.full((12, 4), 1e300)}, "test", r"row 0 \(test/0\): infinity"),
        ({"L_te": None}, "test", "unknown variable of numbers 'L_te'.*L_tr"),
        ({"L_te": np.ones((11, 1))}, "test", "11 labels for 12 rows of test"),
        ({"L_te": np.ones((12, 2))}, "test", r"L_te must be \(N,\) or \(N, 1\), .*found \(12, 2\)"),
        ({"L_te": np.full((12, 1), 1.5)}, "test", "L_te, row 0: a label must be a whole number, found 1.5"),
        ({"L_te": np.full((12, 1), np.nan)}, "test", "whole number, found nan"),
        ({"I_te": np.array([["a"]], object)}, "test", "unknown variable of numbers 'I_te'"),
    ],
)
def test_faults_of_variables_name_file_variable_and_row(tmp_path, change, split, message):
    said = fault(folder(tmp_path / "set", change), split)
    assert re.search(message, said) and "views.mat" in said


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("testset_txt_img_cat.list", "doc img", "line 3: must be text id, image id and label between tabs"),
        ("testset_txt_img_cat.list", "doc\timgtest0\t1", "line 3: image 'imgtest0' stood on line 1"),
        ("testset_txt_img_cat.list", "doc\timg\tone", "line 3: the label must be a number, found 'one'"),
        ("testset_txt_img_cat.list", "doc\timg\t²", "line 3: the label must be a number"),
        ("testset_txt_img_cat.list", "doc\timg\t4", "label 4, but categories.list names the classes 1 … 3"),
        ("testset_txt_img_cat.list", "doc\timg\t0", "label 0, but"),
        ("categories.list", "art", "a class name is blank or stands twice"),
    ],
)
def test_faults_of_lists_name_the_line(tmp_path, name, line, message):
    root = listed(tmp_path / "set")
    lines = (root / name).read_text().splitlines()
    lines[2] = line
    (root / name).write_text("\n".join(lines))
    said = fault(root)
    assert message in said and str(root) in said


def test_a_list_of_another_length_is_a_fault(tmp_path):
    root = listed(tmp_path / "set")
    path = root / "testset_txt_img_cat.list"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    assert "11 labels for 12 rows of test" in fault(root)


@pytest.mark.parametrize(
    "content", [b"", b"MATLAB 7.3 MAT-file", b"\0" * 300, b"\x89HDF\r\n\x1a\n" + b"\0" * 600]
)
def test_what_is_no_matlab_file_is_a_fault(tmp_path, content):
    (tmp_path / "views.mat").write_bytes(content)
    said = fault(tmp_path)
    assert "views.mat" in said and (
        "not readable as a MATLAB file" in said or "no variable of numbers" in said
    )


def test_damaged_files_are_faults_or_load_and_never_anything_else(tmp_path):
    """300 copies cut off or with some bytes changed, compressed and not."""
    rng = np.random.default_rng(0)
    path = tmp_path / "views.mat"
    refused = 0
    for compressed in (False, True):
        sound = io.BytesIO()
        scipy.io.savemat(sound, variables(train=12, test=6), do_compression=compressed)
        for _ in range(150):
            data = bytearray(sound.getvalue())
            if rng.random() < 0.3:
                data = data[: rng.integers(len(data))]
            else:
                for place in rng.integers(0, len(data), rng.integers(1, 20)):
                    data[place] = rng.integers(256)
            path.write_bytes(data)
            try:
                load_dataset(tmp_path)
            except DataFault:
                refused += 1
    assert refused > 100


def test_a_variable_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path):
    """The dimensions in the header, 12 × 7, become 2^30 × 7."""
    root = folder(tmp_path / "set", {"I_te": np.ones((12, 7))})
    data = (root / "views.mat").read_bytes()
    header = np.array([12, 7], "<i4").tobytes()
    assert data.count(header) == 1
    (root / "views.mat").write_bytes(data.replace(header, np.array([2**30, 7], "<i4").tobytes()))
    assert "more than 1 GiB" in fault(root)


def test_views_of_other_splits_are_told(tmp_path):
    more = {"I_va": np.ones((3, 7)), "T_va": np.ones((3, 4)), "alone_va": np.ones((3, 4))}
    with pytest.warns(UserWarning, match="skipped 2 variables of split 'va'$"):
        dataset = load_dataset(folder(tmp_path, more))
    assert dataset.faults == {"variables of split 'va'": 2}


def test_several_files_are_a_fault(tmp_path):
    root = folder(tmp_path / "set")
    (root / "more.mat").write_bytes((root / "views.mat").read_bytes())
    assert "several .mat files (more.mat, views.mat)" in fault(root)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_reader_agrees_with_scipy_on_every_type_of_numbers(tmp_path, compressed):
    kinds = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
    rng = np.random.default_rng(0)
    values = {f"x{kind}": (100 * rng.random((5, 3))).astype(kind) for kind in kinds}
    values |= {"one": np.array([[3]], "u1"), "cube": rng.random((2, 3, 4)), "none": np.zeros((0, 3))}
    others = {
        "text": "words",
        "cell": np.array([["a", 1]], object),
        "complex": np.ones((2, 2)) * 1j,
        "truth": [[True]],
    }
    scipy.io.savemat(tmp_path / "a.mat", values | others, do_compression=compressed)
    file, theirs = MatFile(tmp_path / "a.mat"), scipy.io.loadmat(tmp_path / "a.mat")
    assert set(file.shapes) == set(values)
    for name in values:
        np.testing.assert_array_equal(file.read(name), theirs[name])
        assert file.shapes[name] == theirs[name].shape and file.read(name).dtype == values[name].dtype


# Real data


def test_wikipedia_as_it_lies():
    data = every(shared("wikipedia"))
    sizes = [len(part.captions) for part in data.values()]
    assert sum(sizes[:2]) == 2173 and sizes[2] == 693 and 150 < sizes[1] < 280
    assert data["test"].classes[0] == "art" and data["test"].classes[-1] == "warfare"
    assert np.bincount(data["test"].visual_group).tolist() == [34, 88, 96, 85, 65, 58, 51, 41, 71, 104]
    first = Path(shared("wikipedia") / "testset_txt_img_cat.list").read_text().split("\n")[0].split("\t")
    assert [data["test"].columns["document"][0], data["test"].visual_ids[0]] == first[:2]
    assert data["test"].columns["label"][0] == data["test"].classes[int(first[2]) - 1]
    assert data["test"].visual_features.shape[1] == 128 and data["test"].text_features.shape[1] == 10


def test_digits_as_they_lie():
    data = every(shared("digits"))
    sizes = [len(part.captions) for part in data.values()]
    assert sum(sizes[:2]) == 1500 and sizes[2] == 500
    assert data["test"].classes == list("0123456789")
    assert np.bincount(data["test"].visual_group).tolist() == [49, 53, 48, 59, 52, 43, 47, 50, 49, 50]
    ink = [
        1 - np.asarray(data["train"].image(i), float)[35:45, 30:45].mean() / 255
        for i in range(len(data["train"].visuals))
    ]
    label = data["train"].visual_group
    zeros, ones = (
        np.mean([value for value, own in zip(ink, label, strict=True) if own == digit]) for digit in (0, 1)
    )
    assert zeros < 0.3 < 0.6 < ones  # a 0 is empty in the middle
