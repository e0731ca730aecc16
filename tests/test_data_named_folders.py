"""Folders of classes, and videos as MSR-VTT and MSVD have them."""

import json
import os

import numpy as np
import pytest

from tests.test_data_arrow import fault, jpeg, loaded
from tests.test_data_videos import film
from xmr.data import load_dataset
from xmr.data.sources import kind_of

# Classes


def imagenet(root, splits=("train", "val", "test"), classes=("n01440764", "n01443537", "tabby_cat")):
    for number, name in enumerate(classes):
        for place, split in enumerate(splits):
            for k in range(4):
                path = root / split / name / f"{number}-{place}-{k}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jpeg(100 * number + 10 * place + k))
    (root / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")


def test_classes_are_labels_and_captions(tmp_path):
    imagenet(tmp_path)
    assert kind_of(tmp_path) == "classfolder"
    for split in ("train", "validation", "test"):
        data, said = loaded(tmp_path, split, template="a {}.")
        assert not said
        assert data.classes == ["tench", "goldfish", "tabby cat"]
        assert data.captions == [f"a {name}." for name in data.classes for _ in range(4)]
        assert data.visual_group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert data.columns == {"label": [name for name in data.classes for _ in range(4)]}
        assert data.about["splits"] == "given"


def test_splits_of_classes_are_made_and_hold_whole_pictures(tmp_path):
    imagenet(tmp_path, splits=(".",))
    found = [load_dataset(tmp_path, split) for split in ("train", "validation", "test")]
    ids = [name for data in found for name in data.visual_ids]
    assert len(ids) == len(set(ids)) == 12
    assert all(data.classes == found[0].classes for data in found)
    for data in found:
        folders = {"tench": "n01440764", "goldfish": "n01443537", "tabby cat": "tabby_cat"}
        assert [os.path.dirname(name) for name in data.visual_ids] == [
            folders[label] for label in data.columns["label"]
        ]


def test_faults_of_class_folders(tmp_path):
    imagenet(tmp_path)
    (tmp_path / "test/tabby_cat/2-2-0.JPEG").write_bytes(b"no picture")
    data, said = loaded(tmp_path)
    assert data.faults == {"unreadable pictures": 1} and "2-2-0.JPEG" in said
    assert "needs {} where the name of the class" in fault(tmp_path, template="a photo")
    (tmp_path / "words.txt").unlink(missing_ok=True)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 fish\nn01443537 fish\n")
    assert load_dataset(tmp_path).classes == ["fish (n01440764)", "fish (n01443537)", "tabby cat"]


def test_one_folder_of_pictures_is_no_class(tmp_path):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics/a.jpg").write_bytes(jpeg(1))
    assert "is no layout that xmr knows" in fault(tmp_path)


# Videos


def clips(root, names, ending=".mp4"):
    for number, name in enumerate(names):
        film(root / f"{name}{ending}", 6 + number)


def sentences(name, count):
    return [{"video_id": name, "caption": f"{name} {k}", "sen_id": k} for k in range(count)]


def msrvtt(root):
    names = [f"video{n}" for n in range(8)]
    clips(root / "TrainValVideo", names[:6])
    clips(root / "TestVideo", names[6:])
    split = ["train"] * 4 + ["validate"] * 2 + ["test"] * 2
    annotation = {
        "info": {"year": "2016"},
        "videos": [
            {"video_id": name, "split": own, "category": 3, "url": "x"}
            for name, own in zip(names, split, strict=True)
        ],
        "sentences": [one for n, name in enumerate(names) for one in sentences(name, 1 + n % 3)],
    }
    (root / "videodatainfo.json").write_text(json.dumps(annotation))


def test_msrvtt_with_its_videos(tmp_path):
    msrvtt(tmp_path)
    assert kind_of(tmp_path) == "msrvtt_videos"
    for split, numbers, folder in (
        ("train", range(4), "TrainVal"),
        ("validation", (4, 5), "TrainVal"),
        ("test", (6, 7), "Test"),
    ):
        data, said = loaded(tmp_path, split, frames=4)
        assert not said
        assert data.visual_ids == [f"{folder}Video/video{n}.mp4" for n in numbers]
        assert data.captions == [f"video{n} {k}" for n in numbers for k in range(1 + n % 3)]
        assert (data.kind, len(data.visuals[0])) == ("clip", 4)
        assert data.columns["category"] == [3] * len(numbers)


def test_the_protocol_1k_a_has_one_sentence_for_each_test_video(tmp_path):
    msrvtt(tmp_path)
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\nret0,msr7,video1,video1 1\nret1,msr8,video6,one\n"
    )
    data, _ = loaded(tmp_path)
    assert data.about["protocol"] == "1k-A"
    assert (data.visual_ids, data.captions) == (
        ["TrainValVideo/video1.mp4", "TestVideo/video6.mp4"],
        ["video1 1", "one"],
    )
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\nvideo2\nvideo3\nvideo4\nvideo5\n")
    found = [loaded(tmp_path, split)[0] for split in ("train", "validation")]
    assert sum(len(data.visual_ids) for data in found) == 5
    assert found[0].faults == {"videos of split 'in no list'": 1}
    assert found[0].about["splits"] == "validation made of train by seed 0"
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("video_id,sentence\nvideo99,x\n")
    assert "MSRVTT_JSFUSION_test.csv: 'video99' is none of the videos" in fault(tmp_path)


def test_videos_that_are_missing_are_counted(tmp_path):
    msrvtt(tmp_path)
    (tmp_path / "TestVideo/video6.mp4").unlink()
    data, said = loaded(tmp_path)
    assert data.faults == {"missing videos": 1}
    assert "videodatainfo.json, videos[6]: 'video6' is missing" in said
    assert data.captions == ["video7 0", "video7 1"]


def test_msvd_with_its_descriptions_and_lists(tmp_path):
    names = [f"-4wsuPCjDBc_{5 + n}_{15 + n}" for n in range(6)]
    clips(tmp_path / "YouTubeClips", names, ".avi")
    lines = [f"{name} a squirrel is eating {n} {k}" for n, name in enumerate(names) for k in range(1 + n % 3)]
    (tmp_path / "AllVideoDescriptions.txt").write_text(
        "# Microsoft Research Video Description Corpus\n\n" + "\n".join(lines) + "\n"
    )
    for word, own in (("train", names[:3]), ("val", names[3:4]), ("test", names[4:])):
        (tmp_path / f"{word}_list.txt").write_text("\n".join(own) + "\n")
    assert kind_of(tmp_path) == "pairs"
    data, said = loaded(tmp_path)
    assert not said
    assert data.visual_ids == [f"YouTubeClips/{name}.avi" for name in names[4:]]
    assert data.captions == [f"a squirrel is eating {n} {k}" for n in (4, 5) for k in range(1 + n % 3)]
    assert data.kind == "clip"
    np.testing.assert_array_equal(data.visual_of_text, [0, 0, 1, 1, 1])
    assert data.about["columns"] == "videos from 'video', captions from 'caption'"


def test_msvd_with_its_own_table(tmp_path):
    clips(tmp_path / "YouTubeClips", [f"-4wsuPCjDBc_{5 + n}_{15 + n}" for n in range(2)], ".avi")
    rows = [
        f'-4wsuPCjDBc,{5 + n},{15 + n},7,clean,9,{language},"{language}, {n} {k}"'
        for n in range(2)
        for k, language in enumerate(("English", "English", "Hindi"))
    ]
    header = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description"
    (tmp_path / "test.csv").write_text("\n".join([header, *rows]) + "\n")
    data, _ = loaded(tmp_path)
    assert data.visual_ids == [f"YouTubeClips/-4wsuPCjDBc_{5 + n}_{15 + n}.avi" for n in range(2)]
    assert data.captions == [f"English, {n} {k}" for n in range(2) for k in range(2)]
    assert data.faults == {"captions in Hindi": 2}


def test_a_layout_below_is_told(tmp_path):
    clips(tmp_path / "YouTubeClips", ["a_1_2"], ".avi")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/AllVideoDescriptions.txt").write_text("a_1_2 a squirrel\n")
    said = fault(tmp_path)
    assert f"But texts/ is of the kind pairs: give {tmp_path}/texts, with --set root=FOLDER where" in said
    told = tmp_path / "texts/test.txt"
    (tmp_path / "texts/AllVideoDescriptions.txt").rename(told)
    assert load_dataset(told.parent, root=str(tmp_path)).visual_ids == ["YouTubeClips/a_1_2.avi"]


@pytest.mark.parametrize("ending", [".jpg", ".JPG"])
def test_names_without_an_ending_are_those_of_files_in_any_folder(tmp_path, ending):
    for n in range(4):
        path = tmp_path / f"pics/{n % 2}/{n:03}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(n))
    (tmp_path / "test.csv").write_text("image_id,caption\n" + "".join(f"{n:03},{n}/0\n" for n in range(4)))
    assert load_dataset(tmp_path).visual_ids == [f"pics/{n % 2}/{n:03}{ending}" for n in range(4)]
