"""Pictures in columns: parquet and arrow as they lie on disks and on the Hub, and the faults that they have."""

import io
import warnings

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from xmr.data import DataFault, load_dataset
from xmr.data.sources import kind_of


def jpeg(number, size=(24, 16)):
    """A picture of its own, as bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 11 % 256, number % 256)).save(buffer, "JPEG")
    return buffer.getvalue()


def cell(number):
    return {"bytes": jpeg(number), "path": f"{number}.jpg"}


def parquet(path, rows, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def rows_of(numbers, **more):
    return [
        {"image": cell(number), "caption": [f"{number}/{k}" for k in range(1 + number % 3)]} | more
        for number in numbers
    ]


def loaded(path, split="test", **options):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = load_dataset(path, split, **options)
    return data, "\n".join(str(one.message) for one in said)


def fault(path, split="test", **options):
    with pytest.raises(DataFault) as caught:
        load_dataset(path, split, **options)
    return str(caught.value)


def check_pairs(data, separator="/"):
    """That each caption "N/…" stands with the picture of number N, which its colour tells."""
    for caption, visual in zip(data.captions, data.visual_of_text, strict=True):
        number = int(caption.split(separator)[0])
        wanted = np.array(Image.open(io.BytesIO(jpeg(number))).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(data.visuals[visual]), wanted)


# Layouts


def files_per_split(root):
    parquet(root / "data/train-00000-of-00002.parquet", rows_of(range(6)), row_group_size=2)
    parquet(root / "data/train-00001-of-00002.parquet", rows_of(range(6, 9)))
    parquet(root / "data/validation-00000-of-00001.parquet", rows_of([10, 11]))
    parquet(root / "data/test-00000-of-00001.parquet", rows_of([12, 13, 14]))
    (root / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")


def folders_of_a_config(root):
    for name, numbers in (("train", range(9)), ("val", [10, 11]), ("test", [12, 13, 14])):
        parquet(root / "default" / name / "0000.parquet", rows_of(numbers))


def one_file_with_a_column(root):
    named = (
        [("train", n) for n in range(9)] + [("val", 10), ("val", 11)] + [("test", n) for n in (12, 13, 14)]
    )
    parquet(root / "flickr.parquet", [row for name, n in named for row in rows_of([n], split=name)])


def saved_dict(root):
    parts = {"train": range(9), "validation": [10, 11], "test": [12, 13, 14]}
    features = datasets.Features(
        {"image": datasets.Image(), "caption": datasets.List(datasets.Value("string"))}
    )
    found = {name: datasets.Dataset.from_list(rows_of(own), features=features) for name, own in parts.items()}
    datasets.DatasetDict(found).save_to_disk(root)


def paths_in_columns(root):
    for name, numbers in (("train", range(9)), ("dev", [10, 11]), ("test", [12, 13, 14])):
        for number in numbers:
            (root / "pics").mkdir(parents=True, exist_ok=True)
            (root / "pics" / f"{number}.jpg").write_bytes(jpeg(number))
        rows = [
            {"filepath": f"pics/{n}.jpg", "text": row["caption"]}
            for n, row in zip(numbers, rows_of(numbers), strict=True)
        ]
        parquet(root / f"{name}.parquet", rows)


def one_caption_a_row(root):
    for name, numbers in (("train", range(9)), ("val", [10, 11]), ("test", [12, 13, 14])):
        rows = [
            row | {"caption": text, "cocoid": n, "sentid": text}
            for n in numbers
            for row in rows_of([n])
            for text in row["caption"]
        ]
        parquet(root / f"{name}.parquet", rows, row_group_size=2)


def bare_bytes(root):
    for name, numbers in (("train", range(9)), ("val", [10, 11]), ("test", [12, 13, 14])):
        rows = [
            {"jpg": row["image"]["bytes"], "txt": text} for row in rows_of(numbers) for text in row["caption"]
        ]
        parquet(root / f"{name}.parquet", rows)


def objects_for_captions(root):
    for name, numbers in (("train", range(9)), ("val", [10, 11]), ("test", [12, 13, 14])):
        rows = [
            {"image": row["image"], "sentences": [{"raw": text, "sentid": 1} for text in row["caption"]]}
            for row in rows_of(numbers)
        ]
        parquet(root / f"{name}-0.parquet", rows)


def columns_of_captions(root):
    for name, numbers in (("train", range(9)), ("val", [10, 11]), ("test", [12, 13, 14])):
        rows = [
            {"image": cell(n)} | {f"caption_{k}": f"{n}/{k}" if k < 1 + n % 3 else None for k in range(3)}
            for n in numbers
        ]
        schema = pa.schema(
            [
                ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                *((f"caption_{k}", pa.string()) for k in range(3)),
            ]
        )
        root.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), root / f"{name}.parquet")


LAYOUTS = [
    files_per_split, folders_of_a_config, one_file_with_a_column, saved_dict, paths_in_columns, one_caption_a_row, bare_bytes,
    objects_for_captions, columns_of_captions,
]  # fmt: skip


@pytest.mark.parametrize("make", LAYOUTS)
def test_every_layout_gives_the_same_pairs(tmp_path, make):
    root = tmp_path / "mine"
    make(root)
    assert kind_of(root) == "arrow"
    for split, numbers in (("train", range(9)), ("validation", [10, 11]), ("test", [12, 13, 14])):
        data, _ = loaded(root, split)
        assert len(data.visual_ids) == len(set(data.visual_ids)) == len(numbers)
        assert data.captions == [f"{n}/{k}" for n in numbers for k in range(1 + n % 3)]
        assert data.visual_of_text.tolist() == [i for i, n in enumerate(numbers) for _ in range(1 + n % 3)]
        check_pairs(data)
        assert data.about["splits"] == "given"
    assert data.fingerprint == load_dataset(root, "test").fingerprint
    assert sorted(path.suffix for path in root.rglob("*.arrow")) == [".arrow"] * (
        3 if make is saved_dict else 0
    )


def test_a_saved_dataset_by_itself_is_of_one_split_or_made_into_three(tmp_path):
    features = datasets.Features(
        {"image": datasets.Image(), "caption": datasets.List(datasets.Value("string"))}
    )
    datasets.Dataset.from_list(rows_of(range(30)), features=features).save_to_disk(tmp_path / "a")
    found = [load_dataset(tmp_path / "a", split) for split in ("train", "validation", "test")]
    assert sum(len(data.visual_ids) for data in found) == 30
    assert found[0].about["splits"] == "validation and test made of train by seed 0"
    datasets.Dataset.from_list(rows_of(range(3)), features=features, split="test").save_to_disk(
        tmp_path / "b"
    )
    assert len(load_dataset(tmp_path / "b").visual_ids) == 3


def test_one_file_is_named_by_itself(tmp_path):
    path = parquet(tmp_path / "pairs.parquet", rows_of(range(20)))
    parquet(tmp_path / "other.parquet", rows_of(range(20, 30)))
    assert sum(len(load_dataset(path, split).visual_ids) for split in ("train", "validation", "test")) == 20


def test_columns_of_other_names_are_given_and_told(tmp_path):
    rows = [
        {"thumbnail": cell(n), "photo": cell(n + 50), "prompt": f"{n}/0", "caption": "no"} for n in range(3)
    ]
    parquet(tmp_path / "test.parquet", rows)
    assert load_dataset(tmp_path).about["columns"] == "pictures from 'photo', captions from 'caption'"
    data = load_dataset(tmp_path, image="thumbnail", text="prompt")
    assert data.about["columns"] == "pictures from 'thumbnail', captions from 'prompt'"
    check_pairs(data)
    assert load_dataset(tmp_path, image="thumbnail", text="prompt,caption").captions[:2] == ["0/0", "no"]
    assert "--set text=promt: unknown column 'promt'; did you mean 'prompt'?" in fault(tmp_path, text="promt")


def test_other_columns_are_kept_and_concepts_are_positives(tmp_path):
    rows = [
        row | {"concept": f"c{n // 2}", "width": n, "vector": [0.5] * 4}
        for n, row in enumerate(rows_of(range(4)))
    ]
    parquet(tmp_path / "test.parquet", rows)
    data = load_dataset(tmp_path)
    assert data.columns == {"concept": ["c0", "c0", "c1", "c1"], "width": [0, 1, 2, 3]}
    assert data.visual_group.tolist() == [0, 0, 1, 1]


def test_equal_pictures_stay_in_one_made_split(tmp_path):
    parquet(
        tmp_path / "all.parquet", [{"image": cell(n // 2), "caption": [f"{n // 2}/{n}"]} for n in range(40)]
    )
    found = [load_dataset(tmp_path, split) for split in ("train", "validation", "test")]
    numbers = [{caption.split("/")[0] for caption in data.captions} for data in found]
    assert sum(map(len, numbers)) == len(set.union(*numbers)) == 20
    assert sum(len(data.visual_ids) for data in found) == 40


# Faults


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        ({"bytes": jpeg(5)[:-40], "path": "x.jpg"}, "unreadable pictures"),
        ({"bytes": b"", "path": "x.jpg"}, "unreadable pictures"),
        ({"bytes": None, "path": "nowhere.jpg"}, "missing pictures"),
        ({"bytes": None, "path": "../secret.jpg"}, "pictures outside the folder"),
        ({"bytes": None, "path": "/etc/passwd"}, "pictures outside the folder"),
        ({"bytes": None, "path": None}, "missing pictures"),
        (None, "missing pictures"),
    ],
)
def test_spoilt_pictures_are_counted_and_no_caption_moves(tmp_path, spoil, kind):
    (tmp_path / "secret.jpg").write_bytes(jpeg(1))
    rows = rows_of(range(10))
    rows[4] = rows[4] | {"image": spoil}
    parquet(tmp_path / "set/test.parquet", rows)
    data, said = loaded(tmp_path / "set")
    assert data.faults == {kind: 1}
    assert f"skipped 1 {kind} (first: {tmp_path / 'set/test.parquet'}, row 4: " in said
    assert len(data.visual_ids) == 9
    check_pairs(data)
    assert "row 4" in fault(tmp_path / "set", strict=True)


def test_blank_captions_and_splits_of_other_names_are_counted(tmp_path):
    rows = rows_of(range(4))
    rows[1]["caption"] = ["", "1/0"]
    rows[2]["caption"] = None
    parquet(tmp_path / "test.parquet", rows)
    parquet(tmp_path / "holdout.parquet", rows_of(range(5)))
    data, said = loaded(tmp_path)
    assert data.faults == {
        "pictures of split 'holdout'": 5,
        "blank captions": 1,
        "pictures without captions": 1,
    }
    assert "holdout" in said


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ([{"image": cell(1), "title": ["x"]}], "column 'caption' is missing here, but text in"),
        ([{"image": cell(1), "caption": 7}], "column 'caption' is int64 here, but text in"),
        ([{"image": "1.jpg", "caption": ["x"]}], "column 'image' is text here, but pictures in"),
    ],
)
def test_a_schema_that_changes_between_files_is_a_fault(tmp_path, second, said):
    parquet(tmp_path / "test-0.parquet", rows_of(range(3)))
    parquet(tmp_path / "test-1.parquet", second)
    message = fault(tmp_path)
    assert message.startswith(f"{tmp_path / 'test-1.parquet'}: {said} test-0.parquet")


@pytest.mark.parametrize("name", ["test.parquet", "test.arrow"])
def test_half_a_file_is_a_fault_that_names_it(tmp_path, name):
    data = parquet(tmp_path / "test.parquet", rows_of(range(9))).read_bytes()
    (tmp_path / "test.parquet").unlink()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    assert fault(tmp_path).startswith(f"{tmp_path / name}: not readable as ")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"caption": "x"}, "no column holds the pictures (there are 'caption'); name it with --set image=COLUMN"),
        ({"image": cell(0), "n": 1}, "no column holds the captions (there are 'image', 'n'); name it with --set text"),
        ({"a": cell(0), "b": cell(1), "caption": "x"}, "several columns hold pictures (there are 'a', 'b', 'caption')"),
    ],
)  # fmt: skip
def test_columns_that_are_missing_or_open_are_faults(tmp_path, row, said):
    parquet(tmp_path / "test.parquet", [row])
    assert said in fault(tmp_path)


def test_a_picture_of_two_splits_is_a_fault(tmp_path):
    rows = [{"image": cell(0), "caption": "a", "image_id": 1, "split": name} for name in ("train", "test")]
    parquet(tmp_path / "x.parquet", rows)
    assert "x.parquet, row 1: split 'test', but 'train' for the same '1'" in fault(tmp_path)
