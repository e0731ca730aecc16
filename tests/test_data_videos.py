"""Folders of videos: frames evenly spaced in time, limits kept, and every fault counted and told with its line."""

import json
import pickle
import shutil
import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from xmr.data import DataFault, load_dataset, videos
from xmr.data.sources import kind_of

av = pytest.importorskip("av")
CODECS = {".mp4": "libx264", ".mov": "libx264", ".webm": "libvpx-vp9", ".mkv": "libvpx", ".avi": "mpeg4"}


def film(path, count=20, size=(64, 48), rate=10, times=None, draw=None):
    """A video that grows brighter with each frame: 0 at the first, 255 at the last (`draw(i)` (H, W, 3) otherwise)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(count):
            grey = np.full((size[1], size[0], 3), round(index * 255 / max(1, count - 1)), np.uint8)
            frame = av.VideoFrame.from_ndarray(draw(index) if draw else grey, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[index], Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def moving_gif(path, count=8, durations=100, square="red", ground=(0, 0, 0, 0)):
    """A square that moves 4 pixels to the right with each frame, on a transparent ground 40 × 12."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = []
    for index in range(count):
        frame = Image.new("RGBA", (40, 12), ground)
        frame.paste(square, (4 * index, 2, 4 * index + 4, 8))
        frames.append(frame)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=2)


def made(root, names, split="test"):
    """A folder of videos with a caption each."""
    for name in names:
        path = root / split / name
        moving_gif(path) if path.suffix == ".gif" else film(path)
    rows = [{"file_name": name, "captions": [f"about {name}"]} for name in names]
    (root / split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def shades(frames):
    return [int(np.asarray(frame).mean()) for frame in frames]


def fault(root, **options):
    with pytest.raises(DataFault) as caught:
        load_dataset(root, **options)
    return str(caught.value)


def shown_at(times, end, wanted):
    """The oracle: which frame is shown in the middle of each of `wanted` equal stretches of the time."""
    found = []
    for k in range(wanted):
        moment = times[0] + (k + 0.5) / wanted * (end - times[0])
        found.append(max(index for index, time in enumerate(times) if time <= moment))
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm", ".mkv", ".avi"])
@pytest.mark.parametrize(("count", "wanted"), [(20, 8), (3, 8), (1, 2), (50, 7)])
def test_frames_are_spaced_evenly_in_time(tmp_path, suffix, count, wanted):
    film(tmp_path / f"a{suffix}", count)
    frames = videos.decode(str(tmp_path / f"a{suffix}"), wanted, 256)
    expected = [index * 255 / max(1, count - 1) for index in shown_at(range(count), count, wanted)]
    np.testing.assert_allclose(shades(frames), expected, atol=5)
    assert {(frame.size, frame.mode) for frame in frames} == {((64, 48), "RGB")}


def test_a_frame_that_stands_longer_is_seen_more_often(tmp_path):
    times = [0, 1, 2, 12, 13, 14]
    film(tmp_path / "a.mkv", 6, times=times)
    expected = [index * 51 for index in shown_at(times, 15, 8)]
    np.testing.assert_allclose(shades(videos.decode(str(tmp_path / "a.mkv"), 8, 64)), expected, atol=5)
    moving_gif(tmp_path / "a.gif", 3, durations=[100, 500, 200])
    places = [
        np.asarray(frame)[5, :, 1].argmin() // 4 for frame in videos.decode(str(tmp_path / "a.gif"), 8, 64)
    ]
    assert places == [0, 1, 1, 1, 1, 1, 2, 2]


def test_transparent_parts_of_a_gif_are_white_and_leave_no_trail(tmp_path):
    moving_gif(tmp_path / "a.gif")
    for index, frame in enumerate(videos.decode(str(tmp_path / "a.gif"), 8, 64)):
        expected = np.full((12, 40, 3), 255)
        expected[2:8, 4 * index : 4 * index + 4] = (255, 0, 0)
        np.testing.assert_array_equal(np.asarray(frame), expected)


def test_transparent_parts_of_other_videos_are_white_as_well(tmp_path):
    path = str(tmp_path / "a.mov")
    with av.open(path, "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 8, 4, "rgba"
        clear = np.zeros((4, 8, 4), np.uint8)
        clear[:, :4, 3] = 255  # the left half is black, the right one nothing
        container.mux(stream.encode(av.VideoFrame.from_ndarray(clear, format="rgba")))
        container.mux(stream.encode())
    frame = np.asarray(videos.decode(path, 1, 64)[0])
    assert (frame[:, :4] == 0).all()
    assert (frame[:, 4:] == 255).all()


def test_frames_that_an_edit_took_out_are_not_counted(tmp_path):
    path = tmp_path / "a.mp4"
    film(path, 20)
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 16  # of the edit list: where in the stream the video begins
    ticks = videos._track(str(path)).length // 20
    begins = struct.unpack(">i", data[place : place + 4])[0]
    data[place : place + 4] = struct.pack(">i", begins + 10 * ticks)
    for box, offset in (
        (b"elst", 12),
        (b"mvhd", 20),
        (b"tkhd", 24),
    ):  # each tells the duration: half of it is left
        place = data.index(box) + offset
        data[place : place + 4] = struct.pack(">i", struct.unpack(">i", data[place : place + 4])[0] // 2)
    path.write_bytes(data)
    expected = [(10 + index) * 255 / 19 for index in shown_at(range(10, 20), 20, 5)]
    np.testing.assert_allclose(shades(videos.decode(str(path), 5, 64)), expected, atol=5)


@pytest.mark.parametrize(("size", "expected"), [(256, (64, 48)), (32, (32, 24)), (16, (16, 12))])
def test_frames_are_scaled_down_never_up(tmp_path, size, expected):
    film(tmp_path / "a.mp4", 2)
    assert {frame.size for frame in videos.decode(str(tmp_path / "a.mp4"), 2, size)} == {expected}


# Of a track header: where what is at (x, y) is shown, at (a x + c y, b x + d y) and moved back into sight; ISO 14496-12, 6.2.2.
SHOWN = {
    "as it is": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (-1, 0, 0, -1),
    "upside down and mirrored": (1, 0, 0, -1),
    "turned right": (0, 1, -1, 0),  # as a telephone held upright writes it
    "turned right and mirrored": (0, 1, 1, 0),
    "turned left": (0, -1, 1, 0),
    "turned left and mirrored": (0, -1, -1, 0),
}


def shown(path, matrix, scale=1.0):
    """A video, black with one white corner at the top left that is wider than high, with that display matrix."""

    def corner(_):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:16, :40] = 255
        return picture

    film(path, 2, draw=corner)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    assert struct.unpack(">9i", data[start : start + 36])[:5] == (65536, 0, 0, 0, 65536)
    a, b, c, d = (round(scale * 65536 * part) for part in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return corner(0)[:, :, 0]


@pytest.mark.parametrize("scale", [1, 1.25])
@pytest.mark.parametrize("how", SHOWN)
def test_videos_stand_upright(tmp_path, how, scale):
    a, b, c, d = SHOWN[how]
    stored = shown(tmp_path / "a.mp4", SHOWN[how], scale)
    places = {(a * x + c * y, b * x + d * y): stored[y, x] for y in range(48) for x in range(64)}
    left, top = (min(place[axis] for place in places) for axis in (0, 1))
    expected = np.zeros((64, 48) if b else (48, 64))
    for (x, y), grey in places.items():
        expected[y - top, x - left] = grey
    videos.check(str(tmp_path / "a.mp4"), thorough=True)
    found = np.asarray(videos.decode(str(tmp_path / "a.mp4"), 1, 256)[0]).mean(2)
    assert found.shape == expected.shape
    assert abs(found - expected).mean() < 8  # a codec blurs the border


def test_features_of_mirrored_videos_from_before_are_not_taken_for_theirs(tmp_path):
    evidence = {}
    for how, matrix in SHOWN.items():
        shown(tmp_path / "a.mp4", matrix)
        size = (tmp_path / "a.mp4").stat().st_size
        with (tmp_path / "a.mp4").open("rb") as file:
            evidence[how] = videos.check(str(tmp_path / "a.mp4"), False) == videos.content(file, size)
    assert [how for how, as_before in evidence.items() if not as_before] == [
        h for h in SHOWN if "mirrored" in h
    ]


def test_a_folder_of_videos_loads_as_clips(tmp_path):
    dataset = load_dataset(made(tmp_path, ["a.mp4", "b.webm", "c.gif"]), frames=4, size=32)
    assert kind_of(tmp_path) == "videofolder"
    assert (dataset.kind, dataset.visual_ids) == ("clip", ["test/a.mp4", "test/b.webm", "test/c.gif"])
    assert dataset.captions == ["about a.mp4", "about b.webm", "about c.gif"]
    assert [len(clip) for clip in dataset.visuals] == [4, 4, 4]
    assert dataset.visuals[0][0].size == (32, 24)
    assert dataset.image(0) == dataset.visuals[0][2]
    assert dataset.faults == {}
    assert shades(pickle.loads(pickle.dumps(dataset.visuals[1:]))[0]) == shades(dataset.visuals[1])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a.gif", "b.gif"], "videofolder"),
        (["a.gif", "b.png"], "imagefolder"),
        (["a.png", "b.mp4"], "videofolder"),
        (["a.PNG", "b"], "imagefolder"),
    ],
)
def test_gifs_alone_are_clips_and_pictures_among_others(tmp_path, names, kind):
    rows = "".join(json.dumps({"file_name": name, "caption": "x"}) + "\n" for name in names)
    (tmp_path / "metadata.jsonl").write_text(rows)
    assert kind_of(tmp_path) == kind


def test_concepts_groups_and_splits_are_as_of_pictures(tmp_path):
    names = [f"{index}.gif" for index in range(9)]
    made(tmp_path, names, ".")
    rows = [
        {"file_name": name, "caption": name, "concept": f"c{i // 2}", "base_concept": f"b{i // 4}", "by": i}
        for i, name in enumerate(names)
    ]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [load_dataset(tmp_path, split) for split in ("train", "validation", "test")]
    assert sorted(name for dataset in found for name in dataset.visual_ids) == names
    bases = [set(dataset.columns["base_concept"]) for dataset in found]
    assert sum(map(len, bases)) == len(set.union(*bases)) == 3
    for dataset in found:
        groups = [int(name[0]) // 2 for name in dataset.visual_ids]
        same = dataset.visual_group[:, None] == dataset.visual_group[None, :]
        np.testing.assert_array_equal(same, np.equal.outer(groups, groups))
        if len(set(groups)) > 1:
            assert (dataset.truth.block(np.arange(len(groups)), np.arange(len(groups))) == 1).all()


# Faults


def cut(path):
    film(path, 200, (128, 96), rate=5)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_gif(path):
    path.write_bytes(path.read_bytes()[:-80])


def sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def no_frames(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\x2c")] + b"\x3b")  # a GIF's header and its end


def huge_canvas(path):
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<2H", 30000, 30000)
    path.write_bytes(data)


def playlist(path):
    film(path.parent / "secret.mp4")
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{path.parent / 'secret.mp4'}\n#EXT-X-ENDLIST\n"
    )


def concat(path):
    film(path.parent / "secret.mp4")
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")


@pytest.mark.parametrize(
    ("name", "spoil", "kind", "said"),
    [
        ("b.mp4", lambda path: path.unlink(), "missing videos", "'b.mp4' is missing; add the file or delete"),
        ("b.mp4", lambda path: path.write_bytes(b""), "empty videos", "0 bytes"),
        ("b.mp4", lambda path: path.write_text("<html>"), "unreadable videos", "not readable as .mp4"),
        (
            "b.mp4",
            lambda path: Image.new("RGB", (9, 9)).save(path, "PNG"),
            "unreadable videos",
            "not readable",
        ),
        ("b.mp4", cut, "unreadable videos", "not readable as .mp4"),
        ("b.webm", cut, "unreadable videos", "cut off after"),
        ("b.gif", cut_gif, "unreadable videos", "cut off"),
        ("b.mp4", sound_only, "unreadable videos", "no video in it"),
        ("b.gif", no_frames, "empty videos", "none of its frames can be decoded"),
        ("b.gif", huge_canvas, "unreadable videos", "or is more than 9 million pixels; convert it"),
        ("b.mp4", playlist, "unreadable videos", "not readable"),
        ("b.mp4", concat, "unreadable videos", "not readable"),
    ],
)
def test_spoilt_videos_are_skipped_and_counted_or_an_error(tmp_path, name, spoil, kind, said):
    made(tmp_path, ["a.mp4", name])
    spoil(tmp_path / "test" / name)
    with pytest.warns(UserWarning, match=f"skipped 1 {kind}") as warned:
        dataset = load_dataset(tmp_path)
    assert dataset.faults == {kind: 1}
    assert dataset.visual_ids == ["test/a.mp4"]
    assert warned[0].filename == __file__
    for text in (str(warned[0].message), fault(tmp_path, strict=True)):
        assert f"metadata.jsonl, line 2: {name!r}" in text
        assert said in text


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        (
            "MAX_PIXELS",
            64 * 48 - 1,
            "frames of 64 × 48 pixels, more than|or is more than 0.003071 million pixels",
        ),
        ("MAX_SECONDS", 1, "2 s, more than 1; cut it or scale it down"),
        ("MAX_FRAMES", 19, "more than 19 frames; cut it or scale it down"),
        ("MAX_WORK", 64 * 48 * 20 - 1, "more than 61439 pixels in all"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_limits_are_kept_before_anything_is_decoded(tmp_path, monkeypatch, limit, value, said, suffix):
    film(tmp_path / f"a{suffix}")
    videos.check(str(tmp_path / f"a{suffix}"), thorough=True)
    monkeypatch.setattr(videos, limit, value)
    monkeypatch.setattr(videos, "_decoded", lambda path: pytest.fail("decoded"))
    with pytest.raises(videos.BadVideo, match=said) as caught:
        videos.check(str(tmp_path / f"a{suffix}"), thorough=False)
    assert caught.value.kind == ("unreadable videos" if "or is" in str(caught.value) else "oversized videos")


def test_large_videos_are_decoded_in_full_only_if_strict(tmp_path, monkeypatch):
    film(tmp_path / "a.mp4")
    decoded = []
    frame = next(videos._decoded(str(tmp_path / "a.mp4")))
    monkeypatch.setattr(videos, "_decoded", lambda path: (decoded.append(i) or frame for i in range(20)))
    for small, thorough, expected in ((64 * 48 * 20, False, 20), (64 * 48 * 20 - 1, False, 1), (1, True, 20)):
        decoded.clear()
        monkeypatch.setattr(videos, "SMALL", small)
        videos.check(str(tmp_path / "a.mp4"), thorough)
        assert len(decoded) == expected


def test_videos_are_opened_when_asked_for_and_faults_then_named(tmp_path):
    dataset = load_dataset(made(tmp_path / "root", ["a.mp4", "b.gif"]))
    (tmp_path / "root/test/b.gif").write_text("x")
    assert len(dataset.visuals[0]) == 8
    with pytest.raises(DataFault, match=r"test/b\.gif: not readable .*; replace the file or delete its row"):
        dataset.image(1)
    film(tmp_path / "secret.mp4")
    (tmp_path / "root/test/a.mp4").unlink()
    (tmp_path / "root/test/a.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(DataFault, match="is a link to"):
        dataset.image(0)
    assert "metadata.jsonl, line 1: 'test/a.mp4' is a link to" in fault(tmp_path / "root")


def test_faults_of_the_metadata_speak_of_videos(tmp_path):
    made(tmp_path, ["a.gif"])
    rows = '{"file_name": "a.gif", "caption": "x"}\n{"file": "b.gif", "caption": "x"}\n'
    (tmp_path / "test/metadata.jsonl").write_text(rows.replace("a.gif", "a.mp4"))
    assert "line 2: no 'file_name'; it names the video" in fault(tmp_path)


def test_the_fingerprint_follows_content_frames_and_size(tmp_path):
    root = made(tmp_path / "one", ["a.mp4", "b.gif"])
    first = load_dataset(root).fingerprint
    shutil.copytree(root, tmp_path / "elsewhere")
    assert load_dataset(tmp_path / "elsewhere").fingerprint == first
    found = {first, load_dataset(root, frames=4).fingerprint, load_dataset(root, size=64).fingerprint}
    moving_gif(root / "test/b.gif", square="blue")
    assert len(found | {load_dataset(root).fingerprint}) == 4
