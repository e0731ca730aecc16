"""Tar shards as webdataset and img2dataset write them, and the faults that they have."""

import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_data_arrow import check_pairs, fault, jpeg, loaded, parquet, rows_of
from tests.test_data_pairs import PARTS, captions
from tests.test_data_videos import film
from xmr.data import DataFault, load_dataset
from xmr.data.shards import expanded, members
from xmr.data.sources import kind_of
from xmr.data.videos import decode


def tar(path, files, **options):
    """A shard of (name, content) pairs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def lines(number):
    """CLIP_benchmark's: captions joined by newlines."""
    return [(f"{number:04}.jpg", jpeg(number)), (f"{number:04}.txt", "\n".join(captions(number)).encode())]


def keys(number):
    """Captions in the JSON."""
    values = {"captions": captions(number), "cocoid": number, "box": [1]}
    return [(f"a/{number:04}.json", json.dumps(values).encode()), (f"a/{number:04}.jpg", jpeg(number))]


def img2dataset(number):
    values = {"caption": "not this", "url": "x", "status": "success", "width": 24}
    return [*lines(number), (f"{number:04}.json", json.dumps(values).encode())]


@pytest.mark.parametrize("make", [lines, keys, img2dataset])
@pytest.mark.parametrize("where", ["{}/00000.tar", "coco-{}-000.tar"])
def test_every_layout_gives_the_same_pairs(tmp_path, make, where):
    for name, numbers in PARTS.items():
        tar(tmp_path / where.format(name), [file for n in numbers for file in make(n)])
    (tmp_path / "00000_stats.json").write_text('{"count": 3, "images": [], "sentences": []}')
    parquet(tmp_path / "00000.parquet", rows_of(range(3)))
    assert kind_of(tmp_path) == "shards"
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        data, said = loaded(tmp_path, split)
        assert not said
        assert data.captions == [text for n in PARTS[name] for text in captions(n)]
        assert [one[-4:] for one in data.visual_ids] == [f"{n:04}" for n in PARTS[name]]
        check_pairs(data)
    assert data.about["columns"].startswith("captions from the .txt")
    if make is img2dataset:
        assert data.columns["width"] == [24] * 3


def test_what_macos_puts_into_a_shard_is_counted_and_no_picture(tmp_path):
    members = [file for n in range(9) for file in (*lines(n), (f"._{n:04}.jpg", b"\0\5\x16\7"))]
    tar(tmp_path / "test-0.tar", members)
    data, _ = loaded(tmp_path)
    assert data.faults == {"hidden members": 9}
    check_pairs(data)


def test_a_shard_cut_off_before_three_pictures_is_told_as_the_reason(tmp_path):
    path = tar(tmp_path / "0.tar", [file for n in range(9) for file in lines(n)])
    path.write_bytes(path.read_bytes()[: 512 * 10])
    said = fault(tmp_path, "train")
    assert "the train split is empty" in said and "left out before: 1 damaged shards (first: " in said


@pytest.mark.parametrize("make", [lines, keys, img2dataset])
@pytest.mark.parametrize("where", ["{}", "{}/00000"])
def test_unpacked_shards_are_read_as_they_lie(tmp_path, make, where):
    """img2dataset's output_format=files, with what it leaves beside."""
    for name, numbers in PARTS.items():
        for n in numbers:
            for path, content in make(n):
                file = tmp_path / where.format(name) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    (tmp_path / "00000_stats.json").write_text('{"count": 3}')
    parquet(tmp_path / "00000.parquet", rows_of(range(3)))
    assert kind_of(tmp_path) == "loose"
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        data, said = loaded(tmp_path, split)
        assert not said
        assert data.captions == [text for n in PARTS[name] for text in captions(n)]
        check_pairs(data)
    assert data.columns.keys() == (
        {"url", "status", "width"} if make is img2dataset else {"cocoid"} if make is keys else set()
    )


@pytest.mark.parametrize(
    ("spoil", "faults", "said"),
    [
        (lambda d: (d / "0001.txt").unlink(), {"pictures without captions": 1}, "'test/0001.jpg' has no captions"),
        (lambda d: (d / "0001.jpg").unlink(), {"files of captions without a picture": 1}, ""),
        (lambda d: (d / "0001.txt").write_text("\n \n"), {"pictures without captions": 1}, "0001.jpg"),
        (lambda d: (d / "0001.jpg").write_bytes(b""), {"unreadable pictures": 1}, "0001.jpg"),
        (lambda d: (d / "0001.jpg").rename(d / "0001.JPG"), {}, ""),
        (lambda d: [path.rename(path.with_suffix(".TXT")) for path in d.glob("*.txt")], {}, ""),
        (lambda d: [path.with_name(f"._{path.name}").write_bytes(b"x") for path in [*d.iterdir()]], {}, ""),
        (lambda d: (d / "0001.txt").unlink() or (d / "0001.txt").symlink_to("/etc/hostname"), None, "0001.txt' is a link to"),
        (lambda d: (d / "0001.txt").write_bytes(b"\xff"), None, "0001.txt"),
        (lambda d: (d / "0001.png").write_bytes(jpeg(3)), None, "0001.jpg: 0001.png has this name too"),
        (lambda d: (d / "0001.json").write_text("[1"), None, "0001.json"),
        (lambda d: (d / "0001.json").write_text("[1]"), None, "must be an object"),
        (lambda d: (d / "0001.jpg").unlink() or (d / "0001.jpg").symlink_to("/etc/hostname"), {"pictures outside the folder": 1}, "0001.jpg"),
    ],
)  # fmt: skip
def test_faults_of_unpacked_shards_are_counted_or_told(tmp_path, spoil, faults, said):
    for n in range(9):
        for path, content in lines(n):
            (tmp_path / "test").mkdir(exist_ok=True)
            (tmp_path / "test" / path).write_bytes(content)
    spoil(tmp_path / "test")
    if faults is None:
        assert said in fault(tmp_path)
        return
    data, told = loaded(tmp_path)
    assert data.faults == faults and said in told
    check_pairs(data)


def test_videos_in_shards_are_those_of_files(tmp_path):
    names = [f"{number:04}" for number in range(5)]
    for number, name in enumerate(names):
        film(tmp_path / f"files/{name}.mp4", 6 + 4 * number)
    contents = {name: (tmp_path / f"files/{name}.mp4").read_bytes() for name in names}
    contents["0003"] = contents["0003"][:400]  # cut off
    tar(tmp_path / "test-0.tar", [
        file for name in names
        for file in ((f"{name}.mp4", contents[name]), (f"{name}.jpg", jpeg(1)), (f"{name}.txt", f"film {name}".encode()))
    ])  # fmt: skip
    data, said = loaded(tmp_path, frames=4, size=32)
    assert data.kind == "clip" and data.visual_ids == ["0000", "0001", "0002", "0004"]
    assert data.captions == [f"film {name}" for name in data.visual_ids]
    assert data.faults == {"unreadable videos": 1} and "test-0.tar, 0003.mp4" in said
    for name, clip in zip(data.visual_ids, data.visuals, strict=True):
        expected = decode(str(tmp_path / f"files/{name}.mp4"), 4, 32)
        assert [frame.tobytes() for frame in clip] == [frame.tobytes() for frame in expected]
        assert clip[0].size == (32, 24)
    assert [len(clip) for clip in data.visuals[1:3]] == [4, 4]
    stills = load_dataset(tmp_path, image="jpg")
    assert stills.kind == "image" and len(stills.visual_ids) == 5


def test_shards_by_number_are_one_split_that_others_are_made_of(tmp_path):
    for shard in range(3):
        tar(tmp_path / f"{shard:05}.tar", [file for n in range(10) for file in lines(10 * shard + n)])
    found = [load_dataset(tmp_path, split) for split in ("train", "validation", "test")]
    assert sum(len(data.visual_ids) for data in found) == 30
    assert found[0].about["splits"] == "validation and test made of train by seed 0"
    for data in found:
        check_pairs(data)
    pattern = f"{tmp_path}/{{00001..00002}}.tar"
    assert kind_of(tmp_path / "{00001..00002}.tar") == "shards"
    assert (
        sum(len(load_dataset(pattern, split).visual_ids) for split in ("train", "validation", "test")) == 20
    )
    assert "2 of its 5 shards are not there, 00003.tar the first" in fault(tmp_path / "{00000..00004}.tar")
    one = [load_dataset(tmp_path / "00000.tar", split) for split in ("train", "validation", "test")]
    assert sum(len(data.visual_ids) for data in one) == 10


def test_equal_keys_of_several_shards_are_told_apart(tmp_path):
    for shard in range(2):
        numbers = range(5 * shard, 5 * shard + 5)
        tar(
            tmp_path / f"test/{shard}.tar",
            [(name.replace(f"{n:04}", f"{n % 5}"), data) for n in numbers for name, data in lines(n)],
        )
    data = load_dataset(tmp_path)
    assert data.visual_ids == [f"{shard}/{n}" for shard in range(2) for n in range(5)]
    check_pairs(data)


def test_other_endings_and_keys_are_given(tmp_path):
    values = json.dumps({"prompt": "0/0"}).encode()
    tar(
        tmp_path / "test.tar",
        [("a.left.jpg", jpeg(1)), ("a.right.jpg", jpeg(0)), ("a.json", values), ("a.txt", b"9/9")],
    )
    assert (
        "test.tar, a: several pictures (left.jpg, right.jpg), as a key ends at the first dot of a name; name one with --set image=ENDING"
        in fault(tmp_path)
    )
    data = load_dataset(tmp_path, image="right.jpg", text="prompt")
    assert data.captions == ["0/0"]
    check_pairs(data)


# Faults


def shard_of_ten(path):
    return tar(path, [file for n in range(10) for file in lines(n)])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_half_a_shard_is_counted_and_no_caption_moves(tmp_path, share):
    data = shard_of_ten(tmp_path / "test/0.tar").read_bytes()
    (tmp_path / "test/0.tar").write_bytes(data[: int(len(data) * share)])
    found, said = loaded(tmp_path)
    assert found.faults["damaged shards"] == 1
    assert "test/0.tar: cut off" in said
    assert 0 < len(found.visual_ids) <= 10
    check_pairs(found)
    assert "cut off" in fault(tmp_path, strict=True)


def test_a_damaged_header_ends_a_shard(tmp_path):
    path = shard_of_ten(tmp_path / "test.tar")
    data = bytearray(path.read_bytes())
    data[data.index(b"0005.jpg")] = ord("9")
    path.write_bytes(data)
    found, said = loaded(tmp_path)
    assert len(found.visual_ids) == 5 and "damaged at byte" in said
    check_pairs(found)


@pytest.mark.parametrize(
    ("files", "faults"),
    [
        ([("a.jpg", jpeg(0)[:-30]), ("a.txt", b"0/0")], {"unreadable pictures": 1}),
        ([("a.jpg", b""), ("a.txt", b"0/0")], {"unreadable pictures": 1}),
        ([("a.txt", b"0/0")], {"samples without a picture": 1}),
        ([("a.jpg", jpeg(0))], {"pictures without captions": 1}),
        ([("a.jpg", jpeg(0)), ("a.txt", b" \n\n")], {"pictures without captions": 1}),
        ([("a.jpg", jpeg(0)), ("a.json", b'{"captions": ["0/0", ""]}')], {"blank captions": 1}),
        ([("a.jpg", jpeg(0)), ("a.txt", b"0/0"), ("a.jpg", jpeg(1))], {"members that stand twice": 1}),
    ],
)  # fmt: skip
def test_spoilt_samples_are_counted_and_no_caption_moves(tmp_path, files, faults):
    tar(tmp_path / "test.tar", [*lines(1), *files, *lines(2)])
    data, said = loaded(tmp_path)
    assert data.faults == faults
    assert f"{tmp_path / 'test.tar'}, a" in said
    check_pairs(data)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("a.jpg", jpeg(0)), ("a.json", b"{")], "test.tar, a.json: not JSON ("),
        ([("a.jpg", jpeg(0)), ("a.json", b"[]")], "test.tar, a.json: must be an object, found list"),
        ([("a.jpg", jpeg(0)), ("a.txt", b"caf\xe9")], "test.tar, a.txt: not UTF-8"),
        ([("a.mp3", b"x"), ("a.txt", b"x")], "no pictures or videos in its test shards"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_a_fault_that_names_the_member(tmp_path, files, said):
    tar(tmp_path / "test.tar", files)
    assert said in fault(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "an empty file"), (b"\x1f\x8b" + b"x" * 600, "no tar; get")]
)
def test_what_is_no_tar_is_told(tmp_path, content, said):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataFault, match=said):
        list(members(tmp_path / "x.tar"))


NAME = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(
        st.tuples(st.lists(NAME, min_size=1, max_size=4).map("/".join), st.binary(max_size=1500)), max_size=6
    ),
    kind=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_found_where_tarfile_finds_them(tmp_path_factory, files, kind):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    try:
        tar(path, files, format=kind)
    except ValueError:  # a name that ustar can't hold
        return
    with tarfile.open(path) as archive:
        expected = [(one.name, one.offset_data, one.size) for one in archive.getmembers() if one.isreg()]
    assert [tuple(one) for one in members(path)] == expected


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{a,b}-{0..2}.tar", [f"{x}-{n}.tar" for x in "ab" for n in range(3)]),
        ("{098..101}.tar", ["098.tar", "099.tar", "100.tar", "101.tar"]),
    ],
)  # fmt: skip
def test_patterns_are_expanded_as_a_shell_does(pattern, names):
    assert expanded(pattern) == names
