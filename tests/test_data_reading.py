"""What must not be read wrongly without a word: lists in cells, names of splits, pairs by position, separators, encodings
and names of files, in every reader that has them; and what is told of what was read."""

import contextlib
import json
import os
import re
import unicodedata
import warnings
from itertools import chain, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.test_data_folder import jsonl, picture
from xmr.core import TrainConfig
from xmr.data import DataFault, duplicates, load_dataset, summary
from xmr.data.names import matched
from xmr.data.printed import BadList, elements
from xmr.data.sources import kind_of
from xmr.training import train


def features(count, width=4, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def loaded(folder, split="test", **options):
    """The dataset and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = load_dataset(folder, split, **options)
    return data, "\n".join(str(one.message) for one in said)


def fault(folder, split="test", **options):
    with pytest.raises(DataFault) as caught:
        load_dataset(folder, split, **options)
    return str(caught.value)


def pairs(data):
    found = {name: [] for name in data.visual_ids}
    for caption, visual in zip(data.captions, data.visual_of_text, strict=True):
        found[data.visual_ids[visual]].append(caption)
    return found


def table(path, rows, separator=","):
    """A table as csv.writer makes it, but for the separator."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def cell(value):
        quoted = any(mark in value for mark in (separator, '"', "\n"))
        return '"' + value.replace('"', '""') + '"' if quoted else value

    lines = [
        separator.join(map(cell, row)) for row in ([*rows[0]], *(map(str, row.values()) for row in rows))
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# Each reader of captions: a folder whose items have one caption cell each, named in `splits`.


def imagefolder_csv(root, cells, splits, column="captions"):
    for number in range(len(cells)):
        picture(root / f"{number}.png", (number, 9, 9))
    rows = zip(cells, splits, strict=True)
    table(
        root / "metadata.csv",
        [{"file_name": f"{n}.png", column: cell, "split": split} for n, (cell, split) in enumerate(rows)],
    )


def imagefolder_jsonl(root, cells, splits, column="captions"):
    for number in range(len(cells)):
        picture(root / f"{number}.png", (number, 9, 9))
    rows = zip(cells, splits, strict=True)
    jsonl(
        root / "metadata.jsonl",
        [{"file_name": f"{n}.png", column: cell, "split": split} for n, (cell, split) in enumerate(rows)],
    )


def with_features(root, cells, splits, column="captions"):
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "f.npy", features(len(cells)))
    rows = zip(cells, splits, strict=True)
    table(
        root / "captions.csv",
        [{"image": str(n), column: cell, "split": split} for n, (cell, split) in enumerate(rows)],
    )


def clip_table(root, cells, splits, column="captions"):
    root.mkdir(parents=True, exist_ok=True)
    frames = np.random.default_rng(0).integers(1, 255, (len(cells), 2, 4, 4, 3), np.uint8)
    np.save(root / "frames.npy", frames)
    rows = zip(cells, splits, strict=True)
    table(
        root / "clips.csv",
        [{"name": f"c{n}", column: cell, "split": split} for n, (cell, split) in enumerate(rows)],
    )


def clip_annotation(root, cells, splits, column="captions"):
    clip_table(root, cells, splits, "annotation")


def msrvtt_json(root, cells, splits, column="captions"):
    (root / "x").mkdir(parents=True)
    ids = [f"v{number}" for number in range(len(cells))]
    for number, name in enumerate(ids):
        np.save(root / "x" / f"{name}.npy", features(2, seed=number))
    annotation = {
        "videos": [{"video_id": name, "split": split} for name, split in zip(ids, splits, strict=True)],
        "sentences": [{"video_id": name, "caption": cell} for name, cell in zip(ids, cells, strict=True)],
    }
    (root / "a.json").write_text(json.dumps(annotation))


TABLES = [imagefolder_csv, imagefolder_jsonl, with_features, clip_table]
READERS = [*TABLES, clip_annotation, msrvtt_json]

LISTS = [
    (str(np.array(["a cat", "one cat"], dtype=object)), ["a cat", "one cat"]),
    (str(np.array(["it's", 'a "big" one'])), ["it's", 'a "big" one']),
    (str(np.array([f"caption number {n} is long" for n in range(9)])), [f"caption number {n} is long" for n in range(9)]),
    (repr(np.array(["a", "b"], dtype=object)), ["a", "b"]),
    (repr(["it's", 'a "b"', "c\nd"]), ["it's", 'a "b"', "c\nd"]),
    (repr(("a", "b")), ["a", "b"]),
    (repr(("a",)), ["a"]),
    ("{'a', 'b'}", ["a", "b"]),
    ("frozenset({'a'})", ["a"]),
    (repr([np.str_("a"), np.str_("b")]), ["a", "b"]),
    (json.dumps(["ü", 'a "b"', "[c]"]), ["ü", 'a "b"', "[c]"]),
    ("['a' None 'b' nan]", ["a", "b"]),
    ("  ['a',\n 'b',]  ", ["a", "b"]),
]  # fmt: skip
CAUGHT = [
    str(np.array([f"c{n}" for n in range(1001)])),  # numpy's own limit: 'c0' 'c1' 'c2' ... 'c998' …
    "['a', 'b', ...]",
    "['a', 'b', …",
    "['a cat', 'one c...",
    "['one long capti…",
    "['a cat', 'one c",
    "('a', 'b', ...)",
    "[['a', 'b'], ['c']]",
    "[('a', 'b')]",
    '[{"caption": "a"}]',
    '{"caption": "a"}',
    "{'caption': 'a'}",
]
CAPTIONS = [
    "[a cat in brackets]",
    '"a", "b"',
    '[laughs] "so what"',
    '("quoted")',
    "('tis the season)",
    '["a", "b"] are letters',
    '["So?" asks...',
    "['tis] the season ...",
    '("Hello", she said...',
    "(a cat) and (a dog)",
    "{a, b}",
    "[1]",
    "[12, 3]",
    "a list: ['a', 'b']",
    "[",
    "(",
    "nan",
]  # fmt: skip


@pytest.mark.parametrize("make", READERS)
@pytest.mark.parametrize(("cell", "captions"), LISTS)
def test_captions_of_a_printed_list_stand_apart(tmp_path, make, cell, captions):
    make(tmp_path, [cell, "of another"], ["test"] * 2)
    data, _ = loaded(tmp_path)
    first = [
        caption for caption, visual in zip(data.captions, data.visual_of_text, strict=True) if not visual
    ]
    assert [caption for caption in first if caption != "c0"] == captions  # c0 is the clip's name


@pytest.mark.parametrize("make", READERS)
@pytest.mark.parametrize("cell", CAUGHT)
def test_lists_that_were_cut_or_hold_more_than_strings_are_errors(tmp_path, make, cell):
    make(tmp_path, ["of another", cell], ["test"] * 2)
    place = {imagefolder_jsonl: "line 2", msrvtt_json: "sentences[1]"}.get(make, "line 3")
    assert f"{place}: " in (message := fault(tmp_path))
    assert "write the whole list as JSON" in message


@pytest.mark.parametrize("make", READERS)
def test_captions_that_merely_begin_with_a_bracket_stay_as_written(tmp_path, make):
    written = CAPTIONS if make is not clip_annotation else [one for one in CAPTIONS if re.search(r"\w", one)]
    make(tmp_path, written, ["test"] * len(written), "caption")
    data, _ = loaded(tmp_path)
    assert [
        one for one in data.captions if not re.fullmatch(r"c\d+", one)
    ] == written  # but for names of clips


def test_captions_within_a_list_may_begin_with_a_bracket_too(tmp_path):
    imagefolder_jsonl(tmp_path, [["[a cat]", "('a' said)"]], ["test"])
    assert load_dataset(tmp_path).captions == ["[a cat]", "('a' said)"]


@pytest.mark.parametrize("make", TABLES)
@pytest.mark.parametrize("cell", ["[a cat, a dog]", "[a cat, a d...", "[a cat, …"])
def test_a_cell_of_captions_in_brackets_is_open_and_an_error(tmp_path, make, cell):
    make(tmp_path, [cell], ["test"])
    assert f"'captions' looks like a list but is none: {cell!r}; write [" in fault(tmp_path)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=12))
def test_whatever_python_numpy_and_json_print_comes_back(captions):
    for printed in (
        repr(captions),
        repr(tuple(captions)),
        str(np.array(captions, object)),
        json.dumps(captions),
    ):
        assert elements(printed) == captions


@settings(max_examples=300, deadline=None)
@given(st.text("[({})]'\"\\,:. ….a\nbxN", max_size=30))
def test_no_text_is_more_than_a_list_a_caption_or_a_bad_list(text):
    with contextlib.suppress(BadList):
        found = elements(text)
        assert found is None or all(one is None or isinstance(one, str) for one in found)


@pytest.mark.parametrize(
    ("cell", "expected"), [("['a\nb' 'c']", ["a\nb", "c"]), (r"['\d', '\xz']", [r"\d", r"\xz"]), (r"['\N{x}']", [r"\N{x}"])]
)  # fmt: skip
def test_strings_that_python_would_not_read_stay_as_they_are(cell, expected):
    assert elements(cell) == expected


def test_a_printed_list_of_a_million_characters_takes_no_time():
    many = [f"caption {n}" for n in range(60_000)]
    assert elements(repr(many)) == elements("[" + " ".join(map(repr, many)) + "]") == many
    assert elements("[" * 100_000) is None
    with pytest.raises(BadList):
        elements("['" + "a" * 1_000_000 + "...")


def test_tags_of_clips_may_be_a_printed_list(tmp_path):
    clip_table(tmp_path, ["['red ball', 'sky']", "red, blue"], ["test"] * 2, "tags")
    assert pairs(load_dataset(tmp_path)) == {"0 c0": ["c0", "red ball, sky"], "1 c1": ["c1", "red, blue"]}


def test_a_sentence_of_msrvtt_may_hold_several_captions(tmp_path):
    msrvtt_json(tmp_path, [["a", "b"], "c"], ["test"] * 2)
    assert pairs(load_dataset(tmp_path)) == {"v0": ["a", "b"], "v1": ["c"]}


# Names of splits

SPLITS = ["train"] * 3 + ["restval"] * 2 + ["RESTVAL", "holdout", "holdout", "unused", "val", "test"]


@pytest.mark.parametrize("make", READERS)
def test_restval_is_train_and_other_names_are_counted(tmp_path, make):
    make(tmp_path, [f"no {n}" for n in range(len(SPLITS))], SPLITS, "caption")
    for split, count in (("train", 6), ("validation", 1), ("test", 1)):
        data, said = loaded(tmp_path, split)
        assert len(data.visual_ids) == count
        assert sorted(data.faults.values()) == [1, 2]
        noun = {
            imagefolder_csv: "picture",
            imagefolder_jsonl: "picture",
            with_features: "visual",
            msrvtt_json: "video",
        }
        for name, left in (("holdout", 2), ("unused", 1)):
            assert f"{left} {noun.get(make, 'clip')}s of split '{name}'" in said
            assert f"{left} {noun.get(make, 'clip')}s of split '{name}'" in summary.line(data)


def test_folders_of_other_splits_are_counted_and_restval_joins_train(tmp_path):
    for name, count in (("train", 2), ("restval", 3), ("holdout", 4), ("val", 1), ("test", 1)):
        for number in range(count):
            picture(tmp_path / name / f"{number}.png", (number, count, 1))
        jsonl(
            tmp_path / name / "metadata.jsonl",
            [{"file_name": f"{n}.png", "caption": f"{name} {n}"} for n in range(count)],
        )
    (tmp_path / "notes").mkdir()
    jsonl(tmp_path / "broken/metadata.jsonl", ["no object"])
    data, said = loaded(tmp_path, "train")
    assert data.captions == ["train 0", "train 1", "restval 0", "restval 1", "restval 2"]
    assert data.faults == {"pictures of split 'broken'": 1, "pictures of split 'holdout'": 4}
    assert "1 pictures of split 'broken', 4 pictures of split 'holdout'" in said
    assert loaded(tmp_path, "validation")[0].captions == ["val 0"]


def test_one_table_that_names_folders_of_splits_leaves_the_others_out_by_name(tmp_path):
    names = ["train/a.png", "train/b.png", "restval/c.png", "test/d.png", "holdout/e.png"]
    for number, name in enumerate(names):
        picture(tmp_path / name, (number, 1, 1))
    jsonl(tmp_path / "metadata.jsonl", [{"file_name": name, "caption": name} for name in names])
    data, said = loaded(tmp_path, "test")
    assert data.visual_ids == ["test/d.png"]
    assert data.faults == {"pictures of split 'holdout'": 1}
    assert "holdout" in said
    found = [load_dataset(tmp_path, split).visual_ids for split in ("train", "validation")]
    assert sorted(chain(*found)) == sorted(names[:3])


def test_one_folder_called_test_among_others_is_no_split(tmp_path):
    names = [f"{folder}/{n}.png" for folder in ("cooking", "test") for n in range(3)]
    for number, name in enumerate(names):
        picture(tmp_path / name, (number, 1, 1))
    jsonl(tmp_path / "metadata.jsonl", [{"file_name": name, "caption": name} for name in names])
    parts = [load_dataset(tmp_path, split).visual_ids for split in ("train", "validation", "test")]
    assert sorted(chain(*parts)) == names


# Pairs by position


def precomp(root, values, captions, ids=None, ending="\n", stem="test"):
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / f"{stem}_ims.npy", values)
    (root / f"{stem}_caps.txt").write_text("\n".join(captions) + ending, encoding="utf-8")
    if ids is not None:
        (root / f"{stem}_ids.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
    return root


COUNTS = [3, 1, 4, 2]
VARIED = [f"{image}/{n}" for image, count in zip("abcd", COUNTS, strict=True) for n in range(count)]


@pytest.mark.parametrize("per_caption", [False, True])
def test_ids_tell_which_captions_are_whose_where_counts_differ(tmp_path, per_caption):
    values = features(4)
    rows = np.repeat(values, COUNTS, axis=0) if per_caption else values
    data = load_dataset(precomp(tmp_path, rows, VARIED, [name[0] for name in VARIED]))
    assert pairs(data) == {image: [name for name in VARIED if name[0] == image] for image in "abcd"}
    np.testing.assert_array_equal(data.visual_features, values)


def test_counts_that_differ_but_would_divide_evenly_are_read_by_name(tmp_path):
    captions = ["a/0", "a/1", "a/2", "b/0"]  # two each, by number alone
    data = load_dataset(precomp(tmp_path, features(2), captions, ["a", "a", "a", "b"]))
    assert pairs(data) == {"a": ["a/0", "a/1", "a/2"], "b": ["b/0"]}


@pytest.mark.parametrize(
    ("rows", "ids", "said"),
    [
        (features(3), "aab", "test_ids.txt: 'a' names row 0 and row 1; a name must be unique"),
        (features(2), "aabb", "test_ids.txt: 4 names, but"),
        (features(2), "aabaab", "test_ids.txt, line 4: 'a' stands on line 1 too, with others between"),
        (features(3), "aaabbb", "2 images by name and 6 captions, but test_ims.npy has 3 rows"),
        (np.repeat(features(2), [2, 4], axis=0), "aaabbb", "test_ims.npy, row 2: not the features of the row before"),
        (features(6), "aaabbb", "row 1: not the features of the row before, but test_ids.txt has the same image 'a'"),
        (np.repeat(features(3), [3, 2, 1], axis=0), "", "equal rows follow one another, 3, 2, 1, … times"),
        (features(4), "", "6 captions for the 4 rows of test_ims.npy; it must be the same number for each row"),
    ],
)  # fmt: skip
def test_what_could_shift_captions_to_other_images_is_an_error(tmp_path, rows, ids, said):
    assert said in fault(precomp(tmp_path, rows, [f"c{n}" for n in range(6)], list(ids) or None))


def test_rows_repeated_ten_times_are_one_image_each(tmp_path):
    captions = [f"{image}/{n}" for image in range(3) for n in range(10)]
    data = load_dataset(precomp(tmp_path, np.repeat(features(3), 10, axis=0), captions))
    assert data.visual_of_text.tolist() == [image for image in range(3) for _ in range(10)]


@pytest.mark.parametrize(
    ("captions", "rows", "said"),
    [
        (["a", "b", "", ""], 2, "4 captions for the 2 rows of test_ims.npy, of which the last 2 are blank lines"),
        (["a", "b", "c", "d", ""], 2, "of which the last 1 are blank lines: with 4 the captions would fit too"),
        (["a", "b", "c", "", "\r"], 3, "with 3 the captions would fit too"),
        ([], 2, "0 captions for the 2 rows"),
    ],
)  # fmt: skip
def test_blank_lines_at_the_end_that_leave_pairs_open_are_an_error(tmp_path, captions, rows, said):
    ending = "\n" if captions else ""
    assert said in fault(precomp(tmp_path, features(rows), captions, ending=ending))


GROUPS = [["a", "b"], ["c", "d"], ["e", "f"]]


@pytest.mark.parametrize(
    "lines",
    [
        ["", "", "", *chain(*GROUPS)],
        ["a", "", "", "", "b", "c", "d", "e", "f"],
        ["", "a", "", "b", "c", "d", "e", "", "f"],
    ],
    ids=["first", "together", "scattered"],
)
def test_blank_lines_anywhere_that_leave_pairs_open_are_an_error(tmp_path, lines):
    said = fault(precomp(tmp_path, features(3), lines))
    assert "3 of the 9 captions for the 3 rows" in said and "with 6 captions they would fit too" in said


@pytest.mark.parametrize("place", [0, 1, 2])
def test_as_many_blank_lines_for_each_image_move_nothing(tmp_path, place):
    lines = [line for own in GROUPS for line in [*own[:place], "", *own[place:]]]
    assert list(pairs(loaded(precomp(tmp_path, features(3), lines))[0]).values()) == GROUPS


@pytest.mark.parametrize("counts", [(3, 5), (1, 7), (4, 4)])
def test_names_of_captions_tell_their_images(tmp_path, counts):
    names = [
        f"{image}.jpg#{number}" for image, count in zip("AB", counts, strict=True) for number in range(count)
    ]
    folder = precomp(tmp_path, features(2), names, ids=names)
    found = list(pairs(load_dataset(folder)).values())
    assert found == [names[: counts[0]], names[counts[0] :]]


@pytest.mark.parametrize(
    "line",
    [
        '{"file_name": "a.png", "captions": ["a"], "captions": ["b"]}',
        '{"file_name": "a.png", "captions": ["a"], "file_name": "b.png"}',
    ],
)
def test_what_stands_twice_in_an_object_is_told(tmp_path, line):
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    (tmp_path / "metadata.jsonl").write_text(line + "\n")
    assert "stands twice in an object" in fault(tmp_path, "train")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_line_feed_ends_the_last_caption(tmp_path, ending):
    data = load_dataset(precomp(tmp_path, features(2), ["a", "b", "c", "d"], ending=ending))
    assert data.captions == ["a", "b", "c", "d"]


def test_a_blank_last_caption_that_only_fits_as_one_is_counted(tmp_path):
    data, said = loaded(precomp(tmp_path, features(2), ["a", "b", "c", ""]))
    assert pairs(data) == {"test/0": ["a", "b"], "test/1": ["c"]}
    assert "1 blank captions" in said


def test_blank_names_are_errors(tmp_path):
    np.save(tmp_path / "f.npy", features(3))
    table(tmp_path / "captions.csv", [{"image": "a", "caption": "x", "split": "test"}])
    (tmp_path / "names.txt").write_text("a\n\nb\n")
    assert "names.txt: the name of row 1 is blank" in fault(tmp_path)
    (tmp_path / "names.txt").write_text("a\nb\nc\n\n")
    assert "names.txt: 4 names, but f.npy needs 3; the last 1 are blank" in fault(tmp_path)


def test_a_list_on_a_line_of_captions_is_an_error(tmp_path):
    message = fault(precomp(tmp_path, features(2), ["a", "['b', 'c']"]))
    assert "test_caps.txt, line 2: a list of captions, but each line is one" in message
    assert "test_caps.txt, line 2: 'caption' holds a list that was cut off" in fault(
        precomp(tmp_path, features(2), ["a", "['b', 'c', …"])
    )
    assert load_dataset(precomp(tmp_path, features(2), ["a", "[b]"])).captions == ["a", "[b]"]


def test_precomp_files_of_other_splits_are_told_and_two_of_one_are_an_error(tmp_path):
    precomp(tmp_path, features(2), ["a", "b"])
    precomp(tmp_path, features(3), ["a", "b", "c"], stem="testall")
    data, said = loaded(tmp_path)
    assert len(data.visual_ids) == 2
    assert "1 files of split 'testall'" in said
    precomp(tmp_path, features(2), ["a", "b"], stem="dev")
    precomp(tmp_path, features(2), ["a", "b"], stem="val")
    assert "dev_ims.npy and val_ims.npy are both the validation split" in fault(tmp_path)


def test_an_id_for_each_caption_is_the_name_of_its_image_by_place(tmp_path):
    ids = [f"{image}#{n}" for image in "ab" for n in range(3)]
    captions = [f"c{n}" for n in range(6)]
    for rows in (features(2), np.repeat(features(2), 3, axis=0)):
        data = load_dataset(precomp(tmp_path, rows, captions, ids))
        assert pairs(data) == {"a#0": captions[:3], "b#0": captions[3:]}


def test_rows_of_features_that_no_caption_is_of_are_told(tmp_path):
    """Row numbers that begin with 1 would otherwise give every image its neighbour's captions without a word."""
    np.save(tmp_path / "f.npy", features(4))
    table(
        tmp_path / "captions.csv",
        [{"image": f"{n}", "caption": f"no {n}", "split": "test"} for n in (1, 2, 3)],
    )
    _, said = loaded(tmp_path)
    assert "skipped 1 rows of features that no caption is of" in said


# Which layout it is

JSONS = {
    "karpathy": {"images": [{"filename": "a.png", "split": "test", "sentences": [{"raw": "x"}]}], "dataset": "x"},
    "videos deep inside": {"info": {"videos": [], "sentences": []}},
    "videos": {"videos": [{"id": 1}], "annotations": []},
    "msrvtt": {"videos": [{"video_id": "v"}], "sentences": [{"video_id": "v", "caption": "c"}]},
    "a list": [{"videos": [], "sentences": []}],
    "no JSON": None,
}  # fmt: skip


@pytest.mark.parametrize("where", [".", "test"])
@pytest.mark.parametrize("kind", JSONS)
def test_metadata_wins_over_any_json_beside_it(tmp_path, kind, where):
    picture(tmp_path / where / "a.png")
    jsonl(tmp_path / where / "metadata.jsonl", [{"file_name": "a.png", "caption": "a cat"}] * 1)
    (tmp_path / "other.json").write_text('{"videos": [' if JSONS[kind] is None else json.dumps(JSONS[kind]))
    assert kind_of(tmp_path) == "imagefolder"
    assert load_dataset(tmp_path).captions == ["a cat"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("msrvtt", True), ("videos", True), ("videos deep inside", False)],
)
def test_only_lists_of_the_outermost_object_are_msrvtt(tmp_path, kind, expected):
    (tmp_path / "other.json").write_text(json.dumps(JSONS[kind], indent=1))
    if expected:
        assert kind_of(tmp_path) == "msrvtt"
    else:
        message = fault(tmp_path)
        assert "is no layout that xmr knows" in message
        keys = ", ".join(map(repr, JSONS[kind]))
        assert f"it holds other.json (JSON with {keys})" in message


# Concepts


@pytest.mark.parametrize("make", TABLES)
def test_concepts_are_equal_in_either_normal_form(tmp_path, make):
    make(tmp_path, ["a", "b", "c"], ["test"] * 3, "caption")
    path = next(path for name in ("metadata", "captions", "clips") for path in tmp_path.glob(f"{name}.*"))
    text, forms = (
        path.read_text(),
        iter(unicodedata.normalize(form, "café") for form in ("NFC", "NFD", "NFC")),
    )
    if path.suffix == ".csv":
        head, *lines = text.splitlines()
        text = "\n".join([head + ",concept", *(f"{line},{next(forms)}" for line in lines)])
    else:
        text = "\n".join(
            json.dumps(json.loads(line) | {"concept": next(forms)}) for line in text.splitlines()
        )
    path.write_text(text, encoding="utf-8")
    data, _ = loaded(tmp_path)
    assert len(set(data.visual_group.tolist())) == 1


# Separators and encodings

ROWS = [
    {"file_name": "0.png", "caption": 'a cat, asleep; on "this" | that', "split": "test"},
    {"file_name": "1.png", "caption": "größer\nals ein Hund", "split": "test"},
    {"file_name": "2.png", "caption": "犬", "split": "test"},
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("line_feed", ["\n", "\r\n"])
def test_tables_are_read_whatever_separates_and_encodes_them(tmp_path, encoding, separator, line_feed):
    for number, row in enumerate(ROWS):
        picture(tmp_path / row["file_name"], (number, 1, 1))
    path = tmp_path / "metadata.csv"
    table(path, ROWS, separator)
    text = path.read_text(encoding="utf-8")
    path.write_bytes(text.replace("\n", line_feed).encode(encoding))
    data, said = loaded(tmp_path)
    assert data.captions == [row["caption"].replace("\n", line_feed) for row in ROWS]
    assert not said


def test_other_tables_and_lines_may_be_utf_16_too(tmp_path):
    values = features(2)
    precomp(tmp_path / "a", values, ["größer", "犬"])
    path = tmp_path / "a/test_caps.txt"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    assert load_dataset(tmp_path / "a").captions == ["größer", "犬"]
    msrvtt_json(tmp_path / "b", ["größer"], ["test"])
    path = tmp_path / "b/a.json"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    assert load_dataset(tmp_path / "b").captions == ["größer"]


def test_excel_and_tsv(tmp_path):
    picture(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("sep=;\nfile_name;caption\n0.png;a, b\n0.png\n")
    assert "metadata.csv, line 4: 1 cells where the header names 2, with semicolons as" in fault(tmp_path)
    (tmp_path / "metadata.csv").rename(tmp_path / "metadata.tsv")
    (tmp_path / "metadata.tsv").write_text("file_name\tcaption\n0.png\ta, b; c\n")
    assert load_dataset(tmp_path).captions == ["a, b; c"]


def test_known_names_tell_the_separator_not_the_number_of_names(tmp_path):
    picture(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("file_name;caption;by, when, where, why\n0.png;a, b;c\n")
    data = load_dataset(tmp_path)
    assert (data.captions, data.columns) == (["a, b"], {"by, when, where, why": ["c"]})


def test_a_caption_with_the_separator_names_it(tmp_path):
    picture(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("file_name;caption\n0.png;a; b\n")
    message = fault(tmp_path)
    assert "line 2: 3 cells where the header names 2, with semicolons as separator" in message
    assert 'captions with semicolons need double quotes around them: "a cat; asleep"' in message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("file_name,caption\n0.png,café\n".encode("cp1252"), "line 2: not UTF-8 (byte 0xe9)"),
        ("file_name,caption\n0.png,犬\n".encode("shift_jis"), "line 2: not UTF-8 (byte 0x8c)"),
        ("file_name,caption\n0.png,a\n".encode("utf-16-le"), "line 1: a zero byte, so this is no UTF-8"),
        (b"\xff\xfef\0i", None),
    ],
)
def test_no_advice_destroys_text(tmp_path, data, said):
    """A wrong `iconv` turns every letter into another in silence: it is advised with what it would make of the text,
    and into a new file."""
    picture(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_bytes(data)
    message = fault(tmp_path)
    if said:
        assert said in message
        assert "> new.csv` makes a copy" in message
    if "cp1252" in message:
        shown = data.split(b"\n")[1].decode("cp1252", "replace")
        assert f"Only if {shown!r} reads right is it Windows-1252" in message
    assert "delete" not in message


# Names of files


def named_folder(root, disk, asked):
    for number, name in enumerate(disk):
        picture(root / name, (number, 1, 1))
        if not name.endswith((".png", ".jpg", ".PNG")):
            continue
    jsonl(root / "metadata.jsonl", [{"file_name": name, "caption": name, "split": "test"} for name in asked])


NFD, NFC = (unicodedata.normalize(form, "café 한국.png") for form in ("NFD", "NFC"))


@pytest.mark.parametrize(
    ("disk", "asked", "meant"),
    [
        ([NFD], [NFC], [NFD]),
        ([NFC], [NFD], [NFC]),
        (["in/a.png"], ["in\\a.png"], ["in/a.png"]),
        (["in/a.png"], [".\\in\\a.png"], ["in/a.png"]),
        (["A.PNG"], ["a.png"], ["A.PNG"]),
        (["a.png"], ["a"], ["a.png"]),
        (["Dir/" + NFD], ["dir\\" + NFC.removesuffix(".png")], ["Dir/" + NFD]),
        (["a.png", "A.png"], ["A.png", "a.png"], ["A.png", "a.png"]),  # each means itself
        (["a.png", "b.png"], ["a.png", "B.png"], ["a.png", "b.png"]),
    ],
)
def test_names_written_elsewhere_are_found(tmp_path, disk, asked, meant):
    named_folder(tmp_path, disk, asked)
    data, said = loaded(tmp_path)
    assert (data.visual_ids, data.captions) == (meant, asked)
    assert [data.image(number).size for number in range(len(meant))] == [(6, 4)] * len(meant)
    assert not said


@pytest.mark.parametrize(
    ("disk", "asked", "near"),
    [
        (["x.png", "a.png", "A.png"], ["x.png", "a.PNG"], "'A.png' or 'a.png'"),
        (["x.png", "a.png", "a.jpg"], ["x.png", "a"], "'a.jpg' or 'a.png'"),
        (["x.png", "a.png"], ["x.png", "a.jpg"], "'a.png'"),
        (["x.png", "a.png"], ["x.png", "a.png", "A.png"], "'a.png'"),  # which is the other's
        (["x.png", "a.png"], ["x.png", "A.png", "a.PNG"], "'a.png'"),
    ],
)
def test_names_that_are_not_clear_are_told_with_what_is_there(tmp_path, disk, asked, near):
    named_folder(tmp_path, disk, asked)
    data, said = loaded(tmp_path)
    assert len(data.visual_ids) == len(asked) - data.faults["missing pictures"]
    assert f"missing, but {near} is there; write the name of the file that is meant" in said
    assert "delete" not in said


def test_the_order_of_rows_and_disk_does_not_matter_to_what_a_name_means():
    there = ["a.png", "B.png", "c"]
    for asked in (["A.PNG", "b", "c.png", "a.png"], ["a.png", "c.png", "b", "A.PNG"]):
        assert matched(asked, there) == {"a.png": "a.png", "b": "B.png", "c.png": "c"}


def test_names_of_features_and_videos_are_found_too(tmp_path):
    values = features(3)
    (tmp_path / "f").mkdir()
    np.savez(tmp_path / "f/f.npz", names=np.array([NFD, "in/b.jpg", "C.png"]), features=values)
    rows = [{"image": name, "caption": name, "split": "test"} for name in (NFC, "in\\b", "c.png")]
    table(tmp_path / "f/captions.csv", rows)
    data = load_dataset(tmp_path / "f")
    assert pairs(data) == {NFD: [NFC], "in/b.jpg": ["in\\b"], "C.png": ["c.png"]}
    msrvtt_json(tmp_path / "v", ["a", "b"], ["test"] * 2)
    os.rename(tmp_path / "v/x/v1.npy", tmp_path / "v/x/V1.npy")
    text = (tmp_path / "v/a.json").read_text().replace('"v0"', '"v0.mp4"')
    (tmp_path / "v/a.json").write_text(text)
    data, said = loaded(tmp_path / "v")
    assert (data.visual_ids, said) == (["v0.mp4", "v1"], "")
    np.testing.assert_array_equal(data.visual_features[1], features(2, seed=1))


def test_names_of_videos_without_an_ending_are_videos(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    jsonl(tmp_path / "metadata.jsonl", [{"file_name": "a", "caption": "x", "split": "test"}])
    assert kind_of(tmp_path) == "videofolder"
    assert load_dataset(tmp_path).visual_ids == ["a.gif"]


def test_a_snapshot_of_the_hubs_cache_is_read_and_links_out_of_it_are_not(tmp_path):
    repository = tmp_path / "hub/datasets--me--pictures"
    snapshot = repository / "snapshots/0123abc"
    (repository / "blobs").mkdir(parents=True)
    (snapshot / "test").mkdir(parents=True)

    def put(name, write):
        blob = repository / "blobs" / f"{name.replace('/', '-')}-sha"
        write(blob)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))

    put("test/metadata.jsonl", lambda path: jsonl(path, [{"file_name": "a.png", "caption": "a cat"}]))
    put("test/a.png", lambda path: Image.new("RGB", (6, 4)).save(path, "PNG"))
    for folder in (snapshot, snapshot / "test"):
        data = load_dataset(folder)
        assert data.image(0).size == (6, 4)
    (tmp_path / "mine").symlink_to(snapshot)
    assert load_dataset(tmp_path / "mine").captions == ["a cat"]
    link = snapshot / "test/a.png"
    outside = {
        "secret.png": tmp_path,
        "other.png": tmp_path / "hub/datasets--you--pictures/blobs",
        "deep.png": repository / "blobs/deeper",
        "ref.png": repository / "refs",
    }
    for name, folder in outside.items():
        picture(folder / name)
        link.unlink()
        link.symlink_to(folder / name)
        assert "is a link to" in fault(snapshot)
        with pytest.raises(DataFault, match="is a link to"):
            data.image(0)
    blob = repository / "blobs/linked"  # a blob that is itself a link out
    blob.symlink_to(tmp_path / "secret.png")
    link.unlink()
    link.symlink_to(blob)
    assert "is a link to" in fault(snapshot)


# What stands twice


def best_by_trying(query, query_group, item, item_group):
    """The oracle: each kind of query is given each kind of item for its best, in turn."""
    kinds, items = sorted(set(query)), sorted(set(item))
    best = 0
    for choice in product(items, repeat=len(kinds)):
        hits = 0
        for kind, group in zip(query, query_group, strict=True):
            scores = [float(one == choice[kinds.index(kind)]) for one in item]
            right = [score for score, own in zip(scores, item_group, strict=True) if own == group]
            wrong = [score for score, own in zip(scores, item_group, strict=True) if own != group]
            hits += bool(right) and max(right) > max(wrong, default=-1.0)
        best = max(best, hits)
    return best / len(query)


def test_the_ceiling_is_what_no_model_surpasses():
    rng = np.random.default_rng(0)
    for _ in range(60):
        queries, items = rng.integers(1, 7, 2)
        sides = rng.integers(0, 3, queries), rng.integers(0, 3, queries), rng.integers(0, 3, items)
        group = rng.integers(0, 3, items)
        assert duplicates.best_recall_at_1(*sides, group) == pytest.approx(best_by_trying(*sides, group))


def test_captions_that_read_alike_on_different_pictures_are_told(tmp_path):
    captions = ["A man sings.", "a man sings", "A  MAN sings!", "a man sings"] + [f"no {n}" for n in range(4)]
    imagefolder_jsonl(tmp_path, captions, ["test"] * 8, "caption")
    data, _ = loaded(tmp_path)
    assert summary.summary(data) == {
        "name": tmp_path.name,
        "split": "test",
        "visuals": 8,
        "captions": 8,
        "left_out": {},
        "duplicates": {
            "captions": 4,
            "visuals": 0,
            "ceiling": {"v2t/recall_at_1": 0.5, "t2v/recall_at_1": 5 / 8},
        },
    }
    assert (
        "4 captions read like one of other pictures, so a perfect model's R@1 is at most 50.0 (v2t) and 62.5 (t2v)"
        in summary.line(data)
    )


def test_captions_that_read_alike_on_pictures_of_one_concept_are_no_matter(tmp_path):
    rows = [{"file_name": f"{n}.png", "caption": "the same", "concept": f"c{n // 2}"} for n in range(2)]
    for number in range(2):
        picture(tmp_path / "test" / f"{number}.png", (number, 0, 0))
    jsonl(tmp_path / "test/metadata.jsonl", rows)
    assert "duplicates" not in load_dataset(tmp_path).about


def test_the_same_picture_under_two_names_is_told(tmp_path):
    imagefolder_jsonl(tmp_path, ["a", "b", "c"], ["test"] * 3, "caption")
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())
    found = load_dataset(tmp_path).about["duplicates"]
    assert found == {
        "captions": 0,
        "visuals": 2,
        "ceiling": {"v2t/recall_at_1": pytest.approx(2 / 3), "t2v/recall_at_1": pytest.approx(1 / 3)},
    }


def bitmap(path, middle):
    """A picture of which only the middle differs, not the length nor the 4 KiB at either end."""
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[90:110] = middle
    Image.fromarray(pixels).save(path, "BMP")


def test_pictures_that_differ_in_the_middle_only_are_two(tmp_path):
    for name in "abcd":
        bitmap(tmp_path / f"{name}.bmp", 9 if name == "b" else 5)
    jsonl(
        tmp_path / "metadata.jsonl",
        [{"file_name": f"{n}.bmp", "caption": n, "split": s} for n, s in zip("abcd", ("test", "test", "train", "val"), strict=True)],
    )  # fmt: skip
    test, train_split = load_dataset(tmp_path), load_dataset(tmp_path, "train")
    assert "duplicates" not in test.about
    assert duplicates.shared(test, train_split) == [(0, 0)]


def precomp_of_train(root, cells, splits, column):
    precomp(root, features(len(cells)), cells, stem="train")


@pytest.mark.parametrize(
    "make", [imagefolder_jsonl, with_features, clip_table, msrvtt_json, precomp_of_train]
)
def test_equal_visuals_stay_on_one_side_of_made_splits(tmp_path, make):
    count = 60
    make(tmp_path, [f"no {n}" for n in range(count)], ["train"] * count, "caption")
    for number in range(20):  # 20, 21, …, 39 are 0, 1, …, 19 once more
        if make is imagefolder_jsonl:
            (tmp_path / f"{number + 20}.png").write_bytes((tmp_path / f"{number}.png").read_bytes())
        elif make is msrvtt_json:
            (tmp_path / f"x/v{number + 20}.npy").write_bytes((tmp_path / f"x/v{number}.npy").read_bytes())
    for path in tmp_path.glob("*.npy"):
        values = np.load(path)
        values[20:40] = values[:20]
        np.save(path, values)
    found = [load_dataset(tmp_path, split) for split in ("train", "validation", "test")]
    ids = [name for data in found for name in data.visual_ids]
    assert len(ids) == len(set(ids)) == count
    assert all(data.about["splits"] == "validation and test made of train by seed 0" for data in found)
    assert not any(duplicates.shared(found[one], found[other]) for one, other in ((0, 1), (0, 2), (1, 2)))
    again = [load_dataset(tmp_path, split, seed=1) for split in ("train", "validation", "test")]
    assert [data.visual_ids for data in again] != [data.visual_ids for data in found]
    assert not duplicates.shared(again[1], again[2])


@pytest.mark.parametrize("make", [imagefolder_jsonl, with_features, clip_table, msrvtt_json])
def test_what_train_and_test_share_is_found_in_every_reader(tmp_path, make):
    splits = ["train"] * 4 + ["test"] * 3
    make(tmp_path, [f"no {n}" for n in range(7)], splits, "caption")
    if make is imagefolder_jsonl:
        (tmp_path / "5.png").write_bytes((tmp_path / "2.png").read_bytes())
    elif make is msrvtt_json:
        (tmp_path / "x/v5.npy").write_bytes((tmp_path / "x/v2.npy").read_bytes())
    else:
        path = next(tmp_path.glob("*.npy"))
        values = np.load(path)
        values[5] = values[2]
        np.save(path, values)
    train_split, test = load_dataset(tmp_path, "train", seed=3), load_dataset(tmp_path, "test", seed=3)
    validation = load_dataset(tmp_path, "validation", seed=3)
    found = [(test.visual_ids[1], other.visual_ids[twin]) for other in (train_split, validation)
             for one, twin in duplicates.shared(test, other) if one == 1]  # fmt: skip
    assert len(found) == 1
    assert "2" in found[0][1]
    assert len(duplicates.shared(test, train_split)) + len(duplicates.shared(test, validation)) == 1


def finished(steps):
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_training_tells_and_records_what_was_learned_by_heart(tmp_path):
    root = tmp_path / "leak"
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 3
    with_features(root, [f"no {n}" for n in range(11)], splits, "caption")
    values = features(11)
    values[8], values[9] = values[0], values[1]
    np.save(root / "f.npy", values)
    config = TrainConfig(
        dataset=str(root),
        loss="info_nce",
        epochs=1,
        batch_size=6,
        matcher_params={"word_dim": 4, "channels": 4},
    )
    words = "2 of 3 test pictures are identical to pictures of the train split"
    with pytest.warns(UserWarning, match=words):
        record = finished(train(config)).dataset
    assert record["also_in_train"] == {"test": 2}
    assert words in summary.in_train(record, "test")
    assert summary.in_train(record, "validation") == ""


@pytest.mark.parametrize(
    "record",
    [{}, {"also_in_train": 3}, {"also_in_train": {"test": "many"}}, {"also_in_train": {"test": 0}}, {"also_in_train": []}],
)  # fmt: skip
def test_records_of_other_runs_tell_nothing(record):
    assert summary.in_train(record, "test") == ""


# What was read


def test_one_line_says_what_was_read(tmp_path):
    imagefolder_csv(tmp_path, ["['a', 'b']", "c", " ", "d", "e"], ["test"] * 4 + ["holdout"])
    (tmp_path / "3.png").unlink()
    data = loaded(tmp_path, "test")[0]
    assert data.captions == ["a", "b", "c"]
    assert summary.line(data) == (
        f"{tmp_path.name}, test: 2 pictures with 3 captions; left out: 1 pictures of split 'holdout', "
        "1 pictures without captions, 1 missing pictures"
    )
    (tmp_path / "4.png").unlink()
    table(tmp_path / "metadata.csv", [{"file_name": f"{n}.png", "caption": f"{n}"} for n in range(3)])
    assert summary.line(load_dataset(tmp_path)).endswith("validation and test made of train by seed 0")
    assert summary.line(data, ["1 caption cut at 77 tokens"]).endswith("; 1 caption cut at 77 tokens")


def test_a_ceiling_of_nearly_a_hundred_is_not_rounded_up():
    assert [summary._floor(share) for share in (1.0, 0.99999, 0.5, 0.123)] == [
        "100.0",
        "99.9",
        "50.0",
        "12.3",
    ]
