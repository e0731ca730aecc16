"""Tables of paths and captions as people have them, and the faults that they have."""

import json
import os

import pytest

from tests.test_data_arrow import check_pairs, fault, jpeg, loaded
from tests.test_data_videos import film
from xmr.data import load_dataset, splits
from xmr.data.sources import kind_of

PARTS = {"train": range(9), "val": (10, 11), "test": (12, 13, 14)}
NUMBERS = [n for part in PARTS.values() for n in part]


def files(root, numbers=NUMBERS, name="{}.jpg"):
    for number in numbers:
        path = root / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))


def captions(number):
    return [f"{number}/{k}, with a comma" for k in range(1 + number % 3)]


def open_clip(root):
    """Tables per split, tabs, a row for each caption."""
    files(root / "pics")
    for name, numbers in PARTS.items():
        rows = [f"pics/{n}.jpg\t{text}" for n in numbers for text in captions(n)]
        (root / f"{name}.csv").write_text("\n".join(["filepath\ttitle", *rows]) + "\n")


def open_clip_elsewhere(root):
    """The same with absolute paths."""
    open_clip(root)
    for name in PARTS:
        text = (root / f"{name}.csv").read_text().replace("pics/", f"{root}/pics/")
        (root / f"{name}.csv").write_text(text)


def kaggle(root):
    files(root / "Images")
    rows = [f'{n}.jpg,"{text}"' for n in NUMBERS for text in captions(n)]
    (root / "captions.txt").write_text("\n".join(["image,caption", *rows]) + "\n")
    lists(root, "{}.jpg")


def token(root):
    files(root / "Flicker8k_Dataset")
    rows = [f"{n}.jpg#{k}\t{text}" for n in NUMBERS for k, text in enumerate(captions(n))]
    (root / "Flickr8k.token.txt").write_text("\n".join(rows) + "\n")
    lists(root, "{}.jpg")


def results(root):
    """Kaggle's Flickr30k: bars, and blanks around them."""
    files(root / "flickr30k_images")
    rows = [f"{n}.jpg| {k}| {text}" for n in NUMBERS for k, text in enumerate(captions(n))]
    (root / "results.csv").write_text("\n".join(["image_name| comment_number| comment", *rows]) + "\n")
    lists(root, "{}")


def lists(root, name):
    for split, word in (("train", "train"), ("val", "dev"), ("test", "test")):
        (root / f"Flickr_8k.{word}Images.txt").write_text("\n".join(map(name.format, PARTS[split])) + "\n")


def json_lines(root):
    files(root)
    rows = [
        {"image": f"{n}.jpg", "caption": captions(n), "split": name, "image_id": n}
        for name, own in PARTS.items()
        for n in own
    ]
    root.mkdir(exist_ok=True)
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def blip(root):
    """JSON lists, one caption a row in training and all in one list elsewhere."""
    files(root / "val2014")
    for name, own in PARTS.items():
        if name == "train":
            rows = [
                {"image": f"val2014/{n}.jpg", "caption": text, "image_id": f"c{n}"}
                for n in own
                for text in captions(n)
            ]
        else:
            rows = [{"image": f"val2014/{n}.jpg", "caption": captions(n)} for n in own]
        (root / f"coco_karpathy_{name}.json").write_text(json.dumps(rows))


def of_excel(root):
    """Tables as "Unicode text", UTF-16."""
    open_clip(root)
    for path in [*root.glob("*.csv"), *root.glob("*.tsv")]:
        path.write_bytes(path.read_text().encode("utf-16"))


LAYOUTS = [of_excel, open_clip, open_clip_elsewhere, kaggle, token, results, json_lines, blip]


@pytest.mark.parametrize("make", LAYOUTS)
def test_every_layout_gives_the_same_pairs(tmp_path, make):
    make(tmp_path)
    assert kind_of(tmp_path) == "pairs"
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        data, said = loaded(tmp_path, split)
        assert not said
        assert [os.path.basename(one) for one in data.visual_ids] == [f"{n}.jpg" for n in PARTS[name]]
        assert data.captions == [text for n in PARTS[name] for text in captions(n)]
        check_pairs(data)
        assert data.about["splits"] == "given"
    assert data.about["columns"].startswith("pictures from ")


def test_a_table_by_itself_is_named_as_a_file_and_its_pictures_lie_elsewhere(tmp_path):
    files(tmp_path / "elsewhere")
    (tmp_path / "tables").mkdir()
    rows = [f"{n}.jpg,{n}/0" for n in NUMBERS]
    for name in ("a.csv", "b.csv"):
        (tmp_path / "tables" / name).write_text("\n".join(["img,txt", *rows]) + "\n")
    assert "several tables could be it (a.csv, b.csv); name the file" in fault(tmp_path / "tables")
    source, root = tmp_path / "tables/a.csv", str(tmp_path / "elsewhere")
    found = [load_dataset(source, split, root=root) for split in ("train", "validation", "test")]
    assert sorted(int(one[:-4]) for data in found for one in data.visual_ids) == NUMBERS
    for data in found:
        check_pairs(data)
    assert "14 missing pictures" in fault(source, "train") or "missing pictures (first" in fault(
        source, "train"
    )


def test_columns_of_other_names_are_given(tmp_path):
    files(tmp_path, range(4))
    rows = [f"{n}.jpg;{n}/0;x" for n in range(4)]
    (tmp_path / "test.csv").write_text("\n".join(["where;prompt;n", *rows]) + "\n")
    assert "test.csv (columns 'where', 'prompt', 'n')" in fault(tmp_path)
    assert "no column holds the pictures (there are 'where', 'prompt', 'n')" in fault(tmp_path / "test.csv")
    data = load_dataset(tmp_path / "test.csv", "train", image="where", text="prompt")
    assert data.about["columns"] == "pictures from 'where', captions from 'prompt'"
    check_pairs(data)
    assert "--set text=promt: unknown column 'promt'; did you mean 'prompt'" in fault(
        tmp_path / "test.csv", image="where", text="promt"
    )


def test_a_table_may_name_videos(tmp_path):
    rows = []
    for number in range(3):
        film(tmp_path / "clips" / f"{number}.mp4", 8)
        rows += [f"clips/{number}.mp4,{number}/{k}" for k in range(2)]
    (tmp_path / "test.csv").write_text("\n".join(["video,caption", *rows]) + "\n")
    data = load_dataset(tmp_path, frames=4)
    assert (data.kind, len(data.visuals[0]), len(data.captions)) == ("clip", 4, 6)


# Faults


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nowhere.jpg", "missing pictures"),
        ("../secret.jpg", "pictures outside the folder"),
        ("/etc/passwd", "pictures outside the folder"),
        ("C:\\pics\\4.jpg", "pictures outside the folder"),
        ("link.jpg", "pictures outside the folder"),
        ("cut.jpg", "unreadable pictures"),
    ],
)
def test_spoilt_paths_are_counted_and_no_caption_moves(tmp_path, name, kind):
    root = tmp_path / "set"
    files(root, range(10))
    (tmp_path / "secret.jpg").write_bytes(jpeg(1))
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "cut.jpg").write_bytes(jpeg(1)[:-30])
    rows = [f"{name if n == 4 else f'{n}.jpg'}\t{n}/0" for n in range(10)]
    (root / "test.tsv").write_text("\n".join(["filepath\ttitle", *rows]) + "\n")
    data, said = loaded(root)
    assert data.faults == {kind: 1}
    assert "test.tsv, line 6: " in said
    assert len(data.visual_ids) == 9
    check_pairs(data)
    assert "line 6" in fault(root, strict=True)


def test_names_in_other_slashes_cases_and_forms_are_found(tmp_path):
    files(tmp_path / "pics", range(3), "caf\u00e9{}.JPG")
    rows = ["pics\\cafe\u03010.jpg,0/0", "pics/CAF\u00c91.jpg,1/0", "pics/caf\u00e92.JPG,2/0"]
    (tmp_path / "test.csv").write_text("\n".join(["path,caption", *rows]) + "\n")
    data, said = loaded(tmp_path)
    assert len(data.visual_ids) == 3 and not said
    check_pairs(data)


def test_rows_that_do_not_fit_the_header_are_counted(tmp_path):
    """As line 19,999 of Flickr30k's results.csv, which lacks a bar."""
    results(tmp_path)
    with (tmp_path / "results.csv").open("a") as file:
        file.write("14.jpg| 4   A dog runs across the grass .\n14.jpg| 5| 14/3\n")
    data, said = loaded(tmp_path)
    assert data.faults == {"odd rows": 1}
    assert "2 cells where the header names 3, with bars as separator" in said
    assert data.captions[-1] == "14/3"
    check_pairs(data)


def test_a_picture_in_two_tables_is_a_fault(tmp_path):
    open_clip(tmp_path)
    with (tmp_path / "test.csv").open("a") as file:
        file.write("pics/0.jpg\tagain\n")
    assert "train.csv, line 2: split 'train', but 'test' for the same 'pics/0.jpg' in" in fault(tmp_path)


def test_a_picture_in_two_lists_is_a_fault_and_one_in_none_is_counted(tmp_path):
    kaggle(tmp_path)
    with (tmp_path / "Flickr_8k.devImages.txt").open("a") as file:
        file.write("0.jpg\n")
    assert "'0.jpg' is of the validation split too, by another list" in fault(tmp_path)
    (tmp_path / "Flickr_8k.devImages.txt").write_text("10.jpg\n")
    data, _ = loaded(tmp_path, "validation")
    assert data.faults == {"pictures of split 'in no list'": 1}


def test_tables_of_other_things_change_nothing(tmp_path):
    open_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"image": "x", "caption": "y"}')
    (tmp_path / "notes.txt").write_text("take out the garbage, please\n")
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n")
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    assert len(load_dataset(tmp_path).visual_ids) == 3


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"), ("data/val2014/0.jpg", "validation"), ("TEST/0000.parquet", "test"),
        ("Flickr_8k.devImages.txt", "validation"), ("restval/a.tar", "train"), ("coco_karpathy_val.json", "validation"),
        ("msrvtt_train_9k.json", "train"), ("latest.csv", ""), ("train_test.csv", ""), ("contest.csv", ""), ("test/train.csv", "train"),
    ],
)  # fmt: skip
def test_names_of_files_tell_splits(name, split):
    assert splits.told_by(name) == split
