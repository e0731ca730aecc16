"""COCO's and Karpathy's annotations as they lie beside their pictures, and the faults that they have."""

import json
import os

import numpy as np
import pytest

from tests.test_data_arrow import check_pairs, fault, loaded
from tests.test_data_pairs import NUMBERS, PARTS, captions, files
from xmr.data import load_dataset
from xmr.data.sources import kind_of


def coco_json(numbers, name="{}.jpg"):
    """As COCO writes it, captions in no order."""
    notes = [
        {"image_id": 1000 + n, "id": 10 * n + k, "caption": text}
        for n in numbers
        for k, text in enumerate(captions(n))
    ]
    return {
        "info": {"description": "a [bracket] and \"quotes\""}, "licenses": [{"id": 1}],
        "images": [{"license": 1, "file_name": name.format(n), "id": 1000 + n, "width": 24} for n in numbers],
        "annotations": sorted(notes, key=lambda note: -note["image_id"]),
    }  # fmt: skip


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def coco2017(root):
    for name, numbers in PARTS.items():
        files(root / f"{name}2017", numbers)
        put(root / f"annotations/captions_{name}2017.json", coco_json(numbers))
        put(
            root / f"annotations/instances_{name}2017.json",
            coco_json(numbers) | {"annotations": [{"bbox": [1]}]},
        )


def coco_above(root):
    for name, numbers in PARTS.items():
        files(root / "images" / f"{name}2014", numbers)
        put(root / f"captions_{name}2014.json", coco_json(numbers))


def karpathy_json(folder=None):
    split = {n: name for name, own in PARTS.items() for n in own} | {3: "restval", 4: "restval"}
    return {
        "images": [
            {
                "filename": f"{n}.jpg", "imgid": n, "split": split[n], "sentids": [9],
                "sentences": [{"tokens": text.split(), "raw": text, "imgid": n, "sentid": 9} for text in captions(n)],
            } | ({"filepath": folder(n), "cocoid": 7 + n} if folder else {})
            for n in NUMBERS
        ],
        "dataset": "coco",
    }  # fmt: skip


def karpathy_coco(root):
    def folder(number):
        return "val2014" if number % 2 else "train2014"

    for number in NUMBERS:
        files(root / folder(number), [number])
    put(root / "dataset_coco.json", karpathy_json(folder))


def karpathy_flickr(root):
    files(root / "flickr8k-images")
    put(root / "dataset_flickr8k.json", karpathy_json())


LAYOUTS = {coco2017: "coco", coco_above: "coco", karpathy_coco: "karpathy", karpathy_flickr: "karpathy"}


@pytest.mark.parametrize("make", LAYOUTS)
def test_every_layout_gives_the_same_pairs(tmp_path, make):
    make(tmp_path)
    assert kind_of(tmp_path) == LAYOUTS[make]
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        data, said = loaded(tmp_path, split)
        assert not said
        assert [os.path.basename(one) for one in data.visual_ids] == [f"{n}.jpg" for n in PARTS[name]]
        assert data.captions == [text for n in PARTS[name] for text in captions(n)]
        check_pairs(data)
        assert data.about["splits"] == "given"


def test_a_file_is_named_by_itself_and_its_pictures_lie_elsewhere(tmp_path):
    coco2017(tmp_path)
    source = tmp_path / "annotations/captions_train2017.json"
    found = [load_dataset(source, split) for split in ("train", "validation", "test")]
    assert sum(len(data.visual_ids) for data in found) == 9
    assert found[0].about["splits"] == "validation and test made of train by seed 0"
    put(tmp_path / "json/dataset_x.json", karpathy_json())
    data = load_dataset(tmp_path / "json/dataset_x.json", "test", root=str(tmp_path / "test2017"))
    check_pairs(data)


def test_several_of_karpathys_files_are_a_question(tmp_path):
    for name in ("coco", "flickr8k"):
        put(tmp_path / f"dataset_{name}.json", karpathy_json())
    assert "dataset_coco.json and dataset_flickr8k.json: name the file instead of the folder" in fault(
        tmp_path
    )


def test_pictures_that_are_missing_are_counted_and_no_caption_moves(tmp_path):
    karpathy_coco(tmp_path)
    coco_above(tmp_path / "coco")
    for path in (tmp_path / "train2014/14.jpg", tmp_path / "coco/images/test2014/14.jpg"):
        path.unlink()
    for root in (tmp_path, tmp_path / "coco"):
        data, said = loaded(root)
        assert data.faults == {"missing pictures": 1}
        assert ", images[" in said and "14.jpg' is missing" in said
        check_pairs(data)
        assert "images[" in fault(root, strict=True)


def test_captions_of_pictures_that_are_not_listed_are_counted(tmp_path):
    content = coco_json(range(3))
    content["annotations"] += [{"image_id": 5, "caption": "stray"}]
    files(tmp_path, range(3))
    put(tmp_path / "captions_test.json", content)
    data, said = loaded(tmp_path)
    assert data.faults == {"captions of pictures that are not listed": 1}
    assert "annotations[6]: no picture has the id 5" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotations": [{"image_id": 1000}]}, "captions_test.json, annotations[0]: no 'caption'; there are 'image_id'"),
        ({"annotations": {}}, "captions_test.json: 'annotations' must be a list of objects"),
        ({"images": [{"id": 1}]}, "captions_test.json, images[0]: 'id' and 'file_name' are needed; there are 'id'"),
        ({"images": [7]}, "captions_test.json, images[0]: must be an object, found int"),
        ({"images": coco_json([1, 1])["images"]}, "images[1]: id 1001 was given already"),
        ({"annotations": [{"image_id": 1000, "caption": 7}]}, "annotations[0]: 'caption' must be a string"),
    ],
)  # fmt: skip
def test_faults_of_cocos_annotation_name_their_place(tmp_path, change, said):
    files(tmp_path, range(3))
    put(tmp_path / "captions_test.json", coco_json(range(3)) | change)
    assert said in fault(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda image: image.pop("filename"), "images[1]: no 'filename'; there are 'imgid'"),
        (lambda image: image.update(sentences=[{"tokens": ["a"]}]), "images[1]: 'sentences' holds an object with 'tokens'"),
        (lambda image: image.update(split="tset"), "images[1]: unknown split 'tset'; did you mean 'test'"),
    ],
)  # fmt: skip
def test_faults_of_karpathys_annotation_name_their_place(tmp_path, spoil, said):
    content = karpathy_json()
    spoil(content["images"][1])
    files(tmp_path)
    put(tmp_path / "dataset.json", content)
    assert said in fault(tmp_path)


def test_half_a_file_is_a_fault(tmp_path):
    karpathy_flickr(tmp_path)
    path = tmp_path / "dataset_flickr8k.json"
    path.write_text(path.read_text()[:-20])
    assert "dataset_flickr8k.json: not JSON (" in fault(tmp_path)


def test_neither_is_taken_for_msrvtt_and_unrelated_json_changes_nothing(tmp_path):
    karpathy_flickr(tmp_path)
    put(tmp_path / "other.json", {"images": [{"id": 1}], "annotations": []})
    assert kind_of(tmp_path) == "karpathy"
    rows = [{"file_name": f"flickr8k-images/{n}.jpg", "caption": f"{n}/0", "split": "test"} for n in NUMBERS]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert kind_of(tmp_path) == "imagefolder"
    data = load_dataset(tmp_path)
    assert len(data.visual_ids) == len(NUMBERS)
    np.testing.assert_array_equal(data.visual_of_text, np.arange(len(NUMBERS)))
