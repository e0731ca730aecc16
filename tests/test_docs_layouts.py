"""docs/data.md word for word: what each row of its first table shows is made, with the names that it has, and read by the
command below it; the other commands' data are read where files of those names lie."""

import os
import re
import shlex

import numpy as np
import pytest

from scripts import data as data_script
from tests import test_data_arrow as arrow
from tests import test_data_classes as classes
from tests import test_data_coco as coco
from tests import test_data_features as features
from tests import test_data_named_folders as named
from tests import test_data_pairs as pairs
from tests import test_data_shards as shards
from tests import test_data_videos as videos
from tests.test_docs import ROOT
from tests.tiny import write_photos
from xmr.data import SPLITS
from xmr.data.sources import kind_of

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (.+?) \| (.+?) \| ", PAGE.partition("```sh")[0].partition("| --- |")[2], re.M))
COMMANDS = PAGE.partition("```sh")[2].partition("```")[0].strip().splitlines()


def flickr30k(root):
    coco.karpathy_flickr(root)
    (own,) = root.glob("dataset_*.json")
    own.rename(root / "dataset_flickr30k.json")


def shard(root):
    shards.tar(root / "00000.tar", [file for n in range(12) for file in shards.img2dataset(n)])


def unpacked(root):
    for n in range(12):
        for name, content in shards.lines(n):
            (root / name).write_bytes(content)


def imagefolder(root):
    write_photos(root / "photos")
    return root / "photos"


def of_videos(root):
    for split in ("train", "val", "test"):
        videos.made(root, ["a.mp4", "b.webm", "c.gif"], split)


def one_k_a(root):
    named.msrvtt(root)
    (root / "MSRVTT_JSFUSION_test.csv").write_text("video_id,sentence\nvideo6,video6 0\nvideo7,video7 0\n")


def msvd(root):
    names = [f"-4wsuPCjDBc_{n}_{n + 9}" for n in range(6)]
    named.clips(root / "YouTubeClips", names, ".avi")
    (root / "AllVideoDescriptions.txt").write_text("".join(f"{name} a squirrel {name}\n" for name in names))
    for word, own in (("train", names[:3]), ("val", names[3:4]), ("test", names[4:])):
        (root / f"{word}_list.txt").write_text("\n".join(own) + "\n")


def of_features(root):
    features.made(root, features.rows_of(12, split="train"))


def precomp(root):
    for number, split in enumerate(("train", "dev", "test")):
        values = np.random.default_rng(number).normal(size=(4, 3)).astype(np.float32)
        features.precomp(root, values, [f"{split} {n}" for n in range(20)], split)


MADE = {  # by how a row begins: what makes such folders, and the kinds that they are
    "parquet or arrow": ([arrow.files_per_split], {"arrow"}),
    "`save_to_disk`": ([arrow.saved_dict], {"arrow"}),
    "the Hugging Face Hub": ([], set()),  # tests/test_data_hub.py
    "COCO": ([coco.coco2017], {"coco"}),
    "Karpathy": ([coco.karpathy_coco, flickr30k], {"karpathy"}),
    "tables": ([pairs.open_clip, pairs.kaggle, pairs.results, pairs.token, pairs.json_lines, pairs.blip], {"pairs"}),
    "tar shards": ([shard], {"shards"}),
    "pictures or videos with a file": ([unpacked], {"loose"}),
    "an imagefolder": ([imagefolder], {"imagefolder"}),
    "a folder of videos": ([of_videos], {"videofolder"}),
    "MSR-VTT, MSVD": ([one_k_a, msvd], {"msrvtt_videos", "pairs"}),
    "folders of classes": ([named.imagenet], {"classfolder"}),
    "features": ([of_features, precomp, classes.folder], {"features", "precomp", "class_views"}),
}  # fmt: skip


def test_every_row_has_what_makes_it():
    assert [sum(row.startswith(begins) for begins in MADE) for row in ROWS] == [1] * len(MADE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("begins", MADE)
def test_what_a_row_shows_is_read_as_it_lies(tmp_path, begins, capsys):
    makers, kinds = MADE[begins]
    found, there = set(), []
    for make in makers:
        (tmp_path / make.__name__).mkdir()
        folder = make(tmp_path / make.__name__)
        folder = folder if isinstance(folder, os.PathLike) else tmp_path / make.__name__
        found.add(kind_of(folder))
        there += [f"{path.as_posix()}{'/' * path.is_dir()}" for path in folder.rglob("*")]
        assert data_script.main([str(folder)]) == 0
        said = capsys.readouterr().out
        assert all(f", {split}: " in said for split in SPLITS)
    assert found == kinds
    shown = next(cell for row, cell in ROWS.items() if row.startswith(begins))
    names = re.findall(r"`([\w./]+(?:\.(?:jsonl?|csv|txt|tar)|/))`", shown) if makers else []
    assert [
        name for name in names if not any(path.endswith(f"/{name}") for path in there) and "KEY" not in name
    ] == []


@pytest.mark.filterwarnings("ignore")
def test_the_data_of_the_commands_are_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/pictures").mkdir(parents=True)
    for n in range(12):
        (tmp_path / f"data/pictures/{n}.jpg").write_bytes(arrow.jpeg(n))
    (tmp_path / "pairs.csv").write_text("where,prompt\n" + "".join(f"{n}.jpg,{n}/0\n" for n in range(12)))
    for n in range(42):
        shards.tar(tmp_path / f"shards/{n:05}.tar", shards.lines(n % 12))
    imagefolder(tmp_path / "path/to")
    (tmp_path / "path/to/photos").rename(tmp_path / "path/to/folder")
    read = 0
    for command in COMMANDS:
        words = shlex.split(command.replace("/data/pictures", "data/pictures"), comments=True)
        source = words[words.index("--dataset") + 1] if "--dataset" in words else words[2]
        if source.startswith("hf://"):  # tests/test_data_hub.py
            continue
        params = [
            part for at, word in enumerate(words) if word == "--set" for part in ("--set", words[at + 1])
        ]
        own = (
            [word for word in words[3:] if word not in ("--encoder", "…")]
            if "data.py" in words[1]
            else params
        )
        assert data_script.main([source, *own]) == 0, command
        read += 1
    assert read == 4 and (tmp_path / "card.html").stat().st_size > 1000
