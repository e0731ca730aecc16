"""Folders of pictures: right links, and every fault told with file, line and remedy."""

import io
import json
import os
import pickle
import shutil
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.shared_data import shared
from xmr.data import DataFault, Dataset, load_dataset, pictures, splits


def picture(path, color=(200, 30, 30), size=(6, 4), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def made(root, rows, split="test"):
    """A folder with a picture for each row of `split`, and the metadata."""
    for index, row in enumerate(rows):
        picture(root / split / row["file_name"], color=(index % 256, 100, 50))
    jsonl(root / split / "metadata.jsonl", rows)
    return root


def rows_of(count, **columns):
    return [{"file_name": f"{i}.png", "captions": [f"caption {i}"]} | columns for i in range(count)]


def fault(root, split="test", **options):
    with pytest.raises(DataFault) as caught:
        load_dataset(root, split, **options)
    return str(caught.value)


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    concepts=st.lists(st.sampled_from(["a", "b", ""])),
)
def test_links_lead_to_the_picture_each_caption_was_written_for(tmp_path_factory, counts, concepts):
    root = tmp_path_factory.mktemp("links")
    concepts = (concepts + [""] * 8)[: len(counts)]
    rows = [
        {"file_name": f"{i}.png", "captions": [f"{i}/{j}" for j in range(n)], "concept": concept}
        for i, (n, concept) in enumerate(zip(counts, concepts, strict=True))
    ]
    dataset = load_dataset(made(root, rows))
    assert [f"test/{c.split('/')[0]}.png" for c in dataset.captions] == [
        dataset.visual_ids[v] for v in dataset.visual_of_text
    ]
    for i, one in enumerate(concepts):
        for j, other in enumerate(concepts):
            together = i == j or (one == other != "")
            assert (dataset.visual_group[i] == dataset.visual_group[j]) == together


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "caption": "a <b>cat</b> "}\n\n'),
        ("metadata.jsonl", '\ufeff{"file_name": "./a.png", "captions": "a <b>cat</b> "}'),
        ("metadata.csv", "file_name,text\r\na.png,a <b>cat</b> \r\n"),
        ("metadata.csv", 'file_name,captions\na.png,"[""a <b>cat</b> ""]"\n'),
        ("metadata.csv", "file_name,captions\na.png,['a <b>cat</b> ']\n"),
    ],
)
def test_captions_are_kept_as_written_in_every_form(tmp_path, name, text):
    picture(tmp_path / "test/a.png")
    (tmp_path / "test" / name).write_text(text, encoding="utf-8")
    dataset = load_dataset(tmp_path)
    assert (dataset.captions, dataset.visual_ids) == (["a <b>cat</b> "], ["test/a.png"])


def test_columns_of_other_names_are_given(tmp_path):
    picture(tmp_path / "test/a.png")
    jsonl(tmp_path / "test/metadata.jsonl", [{"image": "a.png", "prompt": "a cat", "title": "no"}])
    assert "no 'file_name'; it names the picture" in (message := fault(tmp_path))
    assert "--set image=COLUMN" in message
    assert load_dataset(tmp_path, image="image").captions == ["no"]
    assert load_dataset(tmp_path, image="image", text="prompt").captions == ["a cat"]


def test_other_columns_are_kept_and_facts_told(tmp_path):
    rows = [row | {"label": i, "tags": ["x"]} for i, row in enumerate(rows_of(3))]
    root = made(tmp_path / "mine", [*rows[:2], {"file_name": "2.png", "captions": ["a", "b", "c"]}])
    (root / "README.md").write_text(
        "---\nlicense: cc0-1.0\ntags: [x]\n---\n# My pictures\n\nFrom a camera.\n"
    )
    dataset = load_dataset(root)
    assert dataset.columns == {"label": [0, 1, None], "tags": [["x"], ["x"], None]}
    assert dataset.name == "mine"
    assert dataset.about["licence"] == "cc0-1.0"
    assert dataset.about["source"] == "My pictures From a camera."
    assert dataset.about["captions_per_visual"] == {"min": 1, "median": 1.0, "max": 3}


# Splits


@pytest.mark.parametrize("name", ["validation", "val", "dev", "Valid"])
def test_folders_of_a_split_may_have_the_usual_names(tmp_path, name):
    made(tmp_path, rows_of(3), "train")
    made(tmp_path, rows_of(2), name)
    assert load_dataset(tmp_path, "validation").visual_ids == [f"{name}/0.png", f"{name}/1.png"]


def test_two_folders_for_one_split_are_a_fault(tmp_path):
    made(tmp_path, rows_of(1), "val")
    made(tmp_path, rows_of(1), "dev")
    assert "dev/ and val/ are both the validation split" in fault(tmp_path)


def test_a_split_column_is_followed_and_other_names_are_left_out(tmp_path):
    names = ["train", "dev", "TEST", "unused", "restval"]
    rows = [row | {"split": name} for row, name in zip(rows_of(5), names, strict=True)]
    made(tmp_path, rows, ".")
    for split, ids in (("train", ["0.png", "4.png"]), ("validation", ["1.png"]), ("test", ["2.png"])):
        with pytest.warns(UserWarning, match="skipped 1 pictures of split 'unused'$"):
            dataset = load_dataset(tmp_path, split)
        assert (dataset.visual_ids, dataset.faults) == (ids, {"pictures of split 'unused'": 1})
        load_dataset(tmp_path, split, strict=True)  # a name of one's own is no fault


def test_a_misspelt_or_blank_split_is_a_fault(tmp_path):
    rows = [row | {"split": name} for row, name in zip(rows_of(2), ["train", "tset"], strict=True)]
    made(tmp_path, rows, ".")
    assert "metadata.jsonl, line 2: unknown split 'tset'; did you mean 'test'?" in fault(tmp_path)
    made(tmp_path, [rows[0], rows[1] | {"split": ""}], ".")
    assert "line 2: 'split' is blank" in fault(tmp_path)


def test_one_metadata_file_may_name_pictures_in_split_folders(tmp_path):
    rows = [{"file_name": name, "caption": name} for name in ("train/a.png", "val/b.png", "test/c.png")]
    made(tmp_path, rows, ".")
    assert load_dataset(tmp_path, "validation").visual_ids == ["val/b.png"]


def parts(root, seed=0, names=("train", "validation", "test")):
    return {name: set(load_dataset(root, name, seed=seed).visual_ids) for name in names}


def test_made_splits_keep_concepts_together_and_stay_when_files_are_added(tmp_path):
    rows = [row | {"concept": f"c{i // 3}"} for i, row in enumerate(rows_of(120))]
    before = parts(made(tmp_path, rows[:90], "."))
    after = parts(made(tmp_path, rows, "."))
    assert sum(map(len, before.values())) == 90
    assert all(before[name] and before[name] <= after[name] for name in before)
    for ids in after.values():
        numbers = {int(name.split(".")[0]) for name in ids}
        assert numbers == {i for n in numbers for i in range(n // 3 * 3, n // 3 * 3 + 3)}
    assert parts(tmp_path, seed=1) != after
    assert load_dataset(tmp_path).about["splits"] == "validation and test made of train by seed 0"


def test_equal_pictures_stay_together_in_made_splits(tmp_path):
    rows = rows_of(60)
    made(tmp_path, rows, ".")
    for number in range(0, 60, 2):  # each even one is the next odd one again
        shutil.copy(tmp_path / f"{number}.png", tmp_path / f"{number + 1}.png")
    before = parts(tmp_path)
    for ids in before.values():
        numbers = {int(name.split(".")[0]) for name in ids}
        assert numbers == {i for n in numbers for i in (n - n % 2, n - n % 2 + 1)}
    assert all(before.values()) and sum(map(len, before.values())) == 60


def test_base_concepts_stay_together_as_well(tmp_path):
    rows = [
        row | {"concept": f"c{i}", "base_concept": f"b{i % 2 + i // 20}"} for i, row in enumerate(rows_of(60))
    ]
    made(tmp_path, rows, ".")
    bases = [
        set(load_dataset(tmp_path, name).columns["base_concept"]) for name in ("train", "validation", "test")
    ]
    assert not bases[0] & bases[1] | bases[0] & bases[2] | bases[1] & bases[2]


def test_only_what_is_missing_is_made(tmp_path):
    made(tmp_path, rows_of(60), "train")
    made(tmp_path, rows_of(2), "test")
    found = parts(tmp_path)
    assert found["test"] == {"test/0.png", "test/1.png"}
    assert found["validation"]
    assert len(found["train"] | found["validation"]) == 60
    assert not found["train"] & found["validation"]


def test_three_pictures_make_three_splits_and_fewer_are_a_fault(tmp_path):
    assert [len(ids) for ids in parts(made(tmp_path / "3", rows_of(3), ".")).values()] == [1, 1, 1]
    assert "too few pictures" in fault(made(tmp_path / "1", rows_of(1), "."), "train")


@settings(max_examples=30)
@given(st.sets(st.text("abc", max_size=4), min_size=3), st.integers(0, 5))
def test_assigned_splits_are_never_empty(keys, seed):
    found = splits.assign(["train"] * len(keys), sorted(keys), {"train"}, seed)
    assert set(found) == {"train", "validation", "test"}


def test_an_empty_split_is_a_fault(tmp_path):
    made(tmp_path, rows_of(2), "test")
    assert "the train split is empty: there is test only; add train/" in fault(tmp_path, "train")
    jsonl(tmp_path / "train/metadata.jsonl", [])
    message = fault(tmp_path, "train")
    assert "train/metadata.jsonl: the train split is empty: the file has no rows" in message
    rows = [row | {"split": "test"} for row in rows_of(2)]
    message = fault(made(tmp_path / "column", rows, "."), "validation")
    assert "the validation split is empty (found: test 2)" in message
    assert "add it, or a train split that it can be made of" in message


# Faults of the metadata


def test_no_metadata_is_a_fault_that_shows_a_line(tmp_path):
    picture(tmp_path / "test/a.png")
    message = fault(tmp_path)
    assert f"{tmp_path}: no metadata.jsonl or metadata.csv" in message
    assert '{"file_name": "a.png"' in message
    made(tmp_path, rows_of(1), "train")
    assert "test: the test split has no metadata.jsonl or metadata.csv as the other splits have" in fault(
        tmp_path
    )


def test_both_kinds_of_metadata_are_a_fault(tmp_path):
    made(tmp_path, rows_of(1))
    (tmp_path / "test/metadata.csv").write_text("file_name,text\n0.png,x\n")
    assert "metadata.jsonl and metadata.csv, so which one holds? move the other away" in fault(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("metadata.jsonl", b'{"file_name": "0.png", "caption": "a"}\n{"file_name"\n', "line 2: not JSON"),
        (
            "metadata.jsonl",
            b'{"file_name": "0.png", "caption": "a"}\n["0.png"]\n',
            "line 2: must be a JSON object",
        ),
        (
            "metadata.jsonl",
            b'{"a": "b"}\n' * 2 + b'{"caption": "\xe9"}\n',
            "line 3: not UTF-8 (byte 0xe9); save",
        ),
        (
            "metadata.csv",
            b"file_name,caption\n0.png,caf\xe9\n",
            "line 2: not UTF-8 (byte 0xe9); save the file as UTF-8",
        ),
        (
            "metadata.jsonl",
            b'{"file_name": "0.png", "caption": "\\ud83d"}\n',
            "line 1: half a surrogate pair",
        ),
        ("metadata.jsonl", b'{"file_name": "0.png", "caption": 7}\n', "line 1: 'caption' must be a string"),
        (
            "metadata.jsonl",
            b'{"file_name": "0.png", "captions": ["a", ["b"]]}\n',
            "line 1: 'captions' must be a st",
        ),
        (
            "metadata.jsonl",
            b'{"file_name": ["0.png"], "caption": "a"}\n',
            "line 1: 'file_name' must be one value",
        ),
        (
            "metadata.jsonl",
            b'{"file": "0.png", "caption": "a"}\n',
            "line 1: no 'file_name'; it names the picture",
        ),
        ("metadata.jsonl", b'{"file_name": "0.png", "prompt": "a"}\n', "there are 'file_name', 'prompt'"),
        ("metadata.csv", b"picture;sentence\n0.png;a\n", "there are 'picture', 'sentence'"),
        ("metadata.csv", b"file_name,caption\n0.png,a, b\n", "line 2: 3 cells where the header names 2"),
        ("metadata.csv", b'file_name,caption\n0.png,"a\nb"\n0.png\n', "line 4: 1 cells where"),
        ("metadata.csv", b'file_name,caption\n0.png,"a\n', "line 2: not CSV"),
        ("metadata.csv", b"caption,caption\n0.png,a\n", "line 1: a column name stands twice"),
        (
            "metadata.csv",
            b"file_name,captions\n0.png,[a cat]\n",
            "line 2: 'captions' looks like a list but is none",
        ),
    ],
)
def test_faults_of_the_metadata_name_file_and_line(tmp_path, name, data, said):
    picture(tmp_path / "test/0.png")
    (tmp_path / "test" / name).write_bytes(data)
    message = fault(tmp_path)
    assert message.startswith(str(tmp_path / "test" / name))
    assert said in message


def test_rows_of_one_picture_become_one(tmp_path):
    rows = rows_of(2)
    made(tmp_path, [*rows, {"file_name": "./0.png", "captions": ["again"]}])
    data = load_dataset(tmp_path)
    assert data.visual_ids == [f"test/{row['file_name']}" for row in rows]
    assert data.captions == [*rows[0]["captions"], "again", *rows[1]["captions"]]
    with (tmp_path / "test/metadata.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": "0.png", "captions": ["x"], "concept": "another"}) + "\n")
    message = fault(tmp_path)
    assert "line 4: another concept than for the same 'test/0.png' in" in message
    assert "metadata.jsonl, line 1; a picture has only one" in message


def test_a_concept_of_two_base_concepts_is_a_fault(tmp_path):
    rows = [row | {"concept": "c", "base_concept": f"b{i}"} for i, row in enumerate(rows_of(2))]
    assert "line 2: concept 'c' has base_concept 'b1' here and 'b0'" in fault(made(tmp_path, rows))


@pytest.mark.parametrize(
    "name", ["../secret.png", "a/../../secret.png", "/etc/passwd", "C:\\secret.png", "..\\x.png"]
)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    picture(tmp_path / "secret.png")
    root = made(tmp_path / "root", rows_of(1))
    jsonl(root / "test/metadata.jsonl", [{"file_name": name, "caption": "x"}])
    message = fault(root)
    assert "metadata.jsonl, line 1:" in message
    assert "leads out of the folder" in message


def test_links_that_lead_out_of_the_folder_are_refused_others_followed(tmp_path):
    picture(tmp_path / "secret.png")
    root = made(tmp_path / "root", rows_of(2))
    (root / "test/1.png").unlink()
    (root / "test/1.png").symlink_to(root / "test/0.png")
    assert load_dataset(root).visuals[1].size == (6, 4)
    (root / "test/1.png").unlink()
    (root / "test/1.png").symlink_to(tmp_path / "secret.png")
    message = fault(root)
    assert "metadata.jsonl, line 2:" in message
    assert "is a link to" in message
    assert "copy the file in instead" in message


# Faults of the pictures: skipped and counted, or an error


def truncated(path):
    path.write_bytes(path.read_bytes()[:-60])


def noise(size):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))


def corrupt_small(path):
    noise((40, 40)).save(path)
    truncated(path)


def corrupt_large(path):
    noise((300, 300)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def oversized(path):
    Image.new("1", (5001, 5000)).save(path)


def endless(path):
    Image.new("1", (1, 500_001)).save(path)


def foreign_format(path):
    Image.new("RGB", (4, 4)).save(path, "PPM")


def float_pixels(path):
    Image.new("F", (4, 4)).save(path, "TIFF")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (
            lambda path: path.unlink(),
            "missing pictures",
            "'1.png' is missing; add the file or delete the row",
        ),
        (lambda path: path.write_bytes(b""), "unreadable pictures", "not readable as PNG, JPEG"),
        (lambda path: path.write_text("<html>"), "unreadable pictures", "not readable as PNG, JPEG"),
        (corrupt_small, "unreadable pictures", "not readable as"),
        (corrupt_large, "unreadable pictures", "not readable as"),
        (foreign_format, "unreadable pictures", "not readable as"),
        (float_pixels, "unreadable pictures", "pixels of type 'F'; save it as RGB"),
        (pipe, "unreadable pictures", "not a regular file"),
        (endless, "oversized pictures", "1 × 500001 pixels, a side of more than 500,000; cut it"),
        (oversized, "oversized pictures", "5001 × 5000 pixels, more than 25 million; scale it down"),
    ],
)
def test_spoilt_pictures_are_skipped_and_counted_or_an_error(tmp_path, spoil, kind, said):
    made(tmp_path, rows_of(3))
    spoil(tmp_path / "test/1.png")
    with pytest.warns(UserWarning, match=f"skipped 1 {kind}") as warned:
        dataset = load_dataset(tmp_path)
    assert dataset.faults == {kind: 1}
    assert dataset.visual_ids == ["test/0.png", "test/2.png"]
    assert dataset.captions == ["caption 0", "caption 2"]
    assert dataset.visual_of_text.tolist() == [0, 1]
    assert warned[0].filename == __file__
    message = fault(tmp_path, strict=True)
    for text in (str(warned[0].message), message):
        assert "metadata.jsonl, line 2: '1.png'" in text
        assert said in text


def test_a_large_jpeg_cut_off_is_found_and_one_with_a_trailer_kept(tmp_path):
    rows = [{"file_name": name, "caption": name} for name in ("cut.jpg", "trailer.jpg", "whole.jpg")]
    made(tmp_path, rows)
    for row in rows:
        noise((400, 400)).save(tmp_path / "test" / row["file_name"])
    truncated(tmp_path / "test/cut.jpg")
    with (tmp_path / "test/trailer.jpg").open("ab") as file:
        file.write(b"a camera's own data")
    with pytest.warns(UserWarning, match="skipped 1 unreadable"):
        assert load_dataset(tmp_path).visual_ids == ["test/trailer.jpg", "test/whole.jpg"]


def test_blank_captions_are_skipped_and_counted_or_an_error(tmp_path):
    made(tmp_path, [*rows_of(1), {"file_name": "1.png", "captions": ["", "x", None]}, {"file_name": "2.png"}])
    with pytest.warns(UserWarning, match="2 blank captions"):
        dataset = load_dataset(tmp_path)
    assert dataset.faults == {"blank captions": 2, "pictures without captions": 1}
    assert dataset.captions == ["caption 0", "x"]
    assert "line 2: a caption of '1.png' is blank; write or delete it" in fault(tmp_path, strict=True)


def test_nothing_left_is_a_fault_that_tells_why(tmp_path):
    made(tmp_path, rows_of(2))
    for path in (tmp_path / "test").glob("*.png"):
        path.unlink()
    message = fault(tmp_path)
    assert "the test split is empty, for all of it was skipped: 2 missing pictures" in message
    assert "line 1" in message


# Pictures


def test_pictures_come_as_upright_rgb_on_white(tmp_path):
    rows = [
        {"file_name": name, "caption": name}
        for name in ("alpha.png", "turned.jpg", "deep.png", "palette.gif")
    ]
    made(tmp_path, rows)
    Image.new("RGBA", (6, 4), (0, 0, 0, 0)).save(tmp_path / "test/alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "test/turned.jpg", exif=exif)
    Image.fromarray(np.full((4, 6), 0x8000, np.uint16)).save(tmp_path / "test/deep.png")
    Image.new("P", (6, 4)).save(tmp_path / "test/palette.gif", transparency=0)
    visuals = load_dataset(tmp_path).visuals
    assert {image.mode for image in visuals} == {"RGB"}
    assert visuals[0].getpixel((0, 0)) == (255, 255, 255)
    assert visuals[1].size == (4, 6)
    assert visuals[2].getpixel((0, 0)) == (128, 128, 128)
    assert visuals[np.int64(-1)].getpixel((0, 0)) == (255, 255, 255)
    assert len(visuals[1:3]) == 2
    assert pickle.loads(pickle.dumps(visuals))[1].size == (4, 6)


def png(bits, colours, row, clear):
    """A PNG one pixel high as bytes: `row` holds its pixels, `clear` the grey or colour that means transparent."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width = len(row) * 8 // (bits * (3 if colours else 1))
    head = struct.pack(">IIBBBBB", width, 1, bits, 2 if colours else 0, 0, 0, 0)
    parts = (
        (b"IHDR", head),
        (b"tRNS", struct.pack(f">{len(clear)}H", *clear)),
        (b"IDAT", zlib.compress(b"\0" + row)),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in (*parts, (b"IEND", b"")))


TRANSPARENT = {  # bits of a value, whether in colour, the row of pixels, what is transparent, and what is to be seen
    "1 bit": (1, False, bytes([0b01000000]), (0,), [255, 255] + [255] * 6),
    "2 bits": (2, False, bytes([0b01101100]), (1,), [255, 170, 255, 0]),
    "4 bits": (4, False, bytes([0x37]), (3,), [255, 119]),
    "8 bits": (8, False, bytes([30, 70]), (30,), [255, 70]),
    "16 bits": (16, False, struct.pack(">3H", 0x1234, 0x5678, 0x1235), (0x1234,), [255, 0x56, 0x12]),
    "8 bits each": (8, True, bytes([9, 8, 7, 4, 4, 4]), (9, 8, 7), [255, 4]),
    "16 bits each": (16, True, struct.pack(">6H", 257, 514, 3, 0x404, 0x404, 0x404), (257, 514, 3), [255, 4]),
}


@pytest.mark.parametrize("depth", TRANSPARENT)
def test_the_transparent_value_of_a_png_is_white_at_every_depth(tmp_path, depth):
    *made, expected = TRANSPARENT[depth]
    (tmp_path / "a.png").write_bytes(png(*made))
    found = np.asarray(pictures.decode(str(tmp_path / "a.png")))
    assert found.shape == (1, len(expected), 3)
    assert found[0].tolist() == [[value] * 3 for value in expected]


def test_features_of_such_pictures_from_before_are_not_taken_for_theirs(tmp_path):
    changed = []
    for depth, (*made, _) in TRANSPARENT.items():
        (tmp_path / "a.png").write_bytes(png(*made))
        with (tmp_path / "a.png").open("rb") as file:
            before = pictures.content(file, (tmp_path / "a.png").stat().st_size)
        if pictures.check(str(tmp_path / "a.png"), False) != before:
            changed.append(depth)
    assert changed == ["2 bits", "4 bits", "16 bits", "16 bits each"]


def test_pictures_are_opened_when_asked_for_and_faults_then_named(tmp_path):
    dataset = load_dataset(made(tmp_path, rows_of(2)))
    (tmp_path / "test/1.png").unlink()
    assert dataset.image(0).size == (6, 4)
    with pytest.raises(DataFault, match=r"test/1\.png: not readable"):
        dataset.image(1)


def test_a_picture_turned_into_a_link_later_is_not_followed(tmp_path):
    picture(tmp_path / "secret.png")
    dataset = load_dataset(made(tmp_path / "root", rows_of(1)))
    (tmp_path / "root/test/0.png").unlink()
    (tmp_path / "root/test/0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataFault, match="is a link to"):
        dataset.image(0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_spoil_a_picture():
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4)).save(buffer, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert pictures._flat(Image.open(buffer)).size == (6, 4)


# Fingerprint


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path):
    rows = rows_of(3)
    root = made(tmp_path / "one", rows)
    first = load_dataset(root).fingerprint
    assert len(first) == 16
    shutil.copytree(root, tmp_path / "elsewhere")
    assert load_dataset(tmp_path / "elsewhere").fingerprint == first
    found = {first}
    for change in (
        lambda: jsonl(root / "test/metadata.jsonl", [rows[0] | {"captions": ["other"]}, *rows[1:]]),
        lambda: jsonl(root / "test/metadata.jsonl", rows[:2]),
        lambda: jsonl(root / "test/metadata.jsonl", [row | {"concept": "c"} for row in rows]),
        lambda: picture(root / "test/0.png", color=(9, 9, 9)),
    ):
        change()
        found.add(load_dataset(root).fingerprint)
    assert len(found) == 5


# Truth


def test_equal_base_concepts_are_known_matches_and_the_rest_is_unknown(tmp_path):
    rows = [row | {"concept": f"c{i}", "base_concept": f"b{i // 2}"} for i, row in enumerate(rows_of(4))]
    truth = load_dataset(made(tmp_path, rows)).truth
    everything = np.arange(4)
    block = truth.block(everything, everything)
    same = np.kron(np.eye(2), np.ones((2, 2)))
    np.testing.assert_array_equal(block, np.where(same == 1, 1, np.nan))
    assert block.dtype == np.float32
    assert not truth.complete
    np.testing.assert_array_equal(truth.pairs(everything, everything[::-1]), np.diag(block[:, ::-1]))


def test_base_concepts_that_tell_nothing_new_are_no_truth(tmp_path):
    rows = [row | {"concept": f"c{i}", "base_concept": f"c{i}"} for i, row in enumerate(rows_of(3))]
    assert load_dataset(made(tmp_path, rows)).truth is None


# What can be loaded at all


def test_unknown_sources_tell_near_names_and_layouts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = fault("nosuch")
    assert "unknown dataset 'nosuch'" in message
    assert "no such folder" in message
    assert all(kind in message for kind in ("imagefolder:", "features:", "precomp:"))
    (tmp_path / "notes.txt").write_text("x")
    assert "it holds notes.txt" in fault(tmp_path)
    assert "is a file; give the folder" in fault(tmp_path / "notes.txt")


def test_wrong_splits_and_parameters_are_errors(tmp_path):
    made(tmp_path, rows_of(1))
    with pytest.raises(ValueError, match="unknown split 'tests'; did you mean 'test'"):
        load_dataset(tmp_path, "tests")
    with pytest.raises(TypeError, match="unknown parameter of imagefolder 'sead'; did you mean 'seed'"):
        load_dataset(tmp_path, sead=1)


# Real data


@pytest.mark.parametrize(
    ("name", "split", "visuals", "captions", "groups"),
    [
        ("emoji", "test", 1233, 1916, 441),
        ("emoji", "validation", 1424, 2107, 516),
        ("exercise", "test", 196, 894, 98),
        ("exercise", "train", 1414, 6434, 707),
    ],
)
def test_real_folders_load_as_they_lie(name, split, visuals, captions, groups):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        dataset = load_dataset(shared(name), split)
    assert (len(dataset.visual_ids), len(dataset.captions)) == (visuals, captions)
    assert len(np.unique(dataset.visual_group)) == len(set(dataset.columns["concept"])) == groups
    assert dataset.image(0).mode == "RGB"
    assert bool(warned) == bool(dataset.faults)
    # exercise's training captions hold four blank ones
    assert dataset.faults == ({"blank captions": 4} if (name, split) == ("exercise", "train") else {})


def test_emoji_knows_skin_tones_as_matches():
    dataset = load_dataset(shared("emoji"), "test")
    visuals = np.arange(len(dataset.visual_ids))
    block = dataset.truth.block(visuals, np.arange(len(dataset.captions)))
    annotated = dataset.visual_group[:, None] == dataset.text_group[None, :]
    assert (block[annotated] == 1).all()
    assert (block == 1).sum() > annotated.sum()
    assert not (block == 0).any()


def test_captions_are_found_by_their_visual_in_whatever_order_they_come():
    rng = np.random.default_rng(0)
    links = rng.integers(0, 7, 40)
    links[links == 3] = 4  # one without any
    data = Dataset(
        "d", "test", ["c"] * 40, links, [str(i) for i in range(7)], "f", visual_features=np.ones((7, 2))
    )
    for visual in range(7):
        assert data.texts_of(visual).tolist() == [text for text in range(40) if links[text] == visual]
    assert data.text_numbers.tolist() == [sum(links[:text] == links[text]) for text in range(40)]
