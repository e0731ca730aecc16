"""Pictures that visitors bring: read once, made small within bounds, and their files deleted; and who has to wait."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from xmr.data.pictures import decode
from xmr.turns import Busy, Turns
from xmr.workspace.uploads import Uploads, open_picture


def put(folder, name, image, **options):
    path = folder / name / "x"
    path.parent.mkdir(parents=True)
    image.save(path, options.pop("format", "PNG"), **options)
    return str(path)


def test_pictures_are_kept_by_what_is_in_them_the_latest_first(tmp_path):
    store = Uploads(lambda: tmp_path, kept=2 * 4 * 100 * 100)
    keys = [store.take(put(tmp_path, f"{n}", Image.new("RGB", (100, 100), (n, 0, 0)))) for n in (1, 2, 3)]
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert [store.picture(key).getpixel((0, 0))[0] for key in keys[1:]] == [2, 3]
    assert store.picture(keys[2]) is store.picture(keys[2])
    with pytest.raises(ValueError, match="upload it again"):
        store.picture(keys[0])
    with pytest.raises(ValueError, match="upload it again"):
        store.take(str(tmp_path / "1" / "x"))  # read by somebody else, and gone since
    with pytest.raises(ValueError, match="not uploaded here"):
        store.take(str(tmp_path / ".." / "y"))
    (tmp_path / "way out").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="not uploaded here"):
        store.take(str(tmp_path / "way out"))


def gradient(width, height, mode="RGB"):
    rows, columns = np.mgrid[:height, :width]
    planes = [(columns * 255 // width), (rows * 255 // height), (rows + columns) % 256, 128 + (columns % 97)]
    return Image.fromarray(
        np.dstack(planes[: len(mode)]).astype(np.uint8).squeeze(), mode if len(mode) > 1 else "L"
    )


CLOSE = {
    "grey": (gradient(3000, 1700, "L"), "PNG", {}),
    "colours": (gradient(3001, 1703), "PNG", {}),
    "transparent": (gradient(2600, 2100, "RGBA"), "PNG", {}),
    "few colours": (gradient(2500, 2300).quantize(64), "PNG", {}),
    "16 bits": (Image.fromarray(np.asarray(gradient(2500, 2200, "L")).astype(np.uint16) << 8), "PNG", {}),
    "16 bits, one of them clear": (
        Image.fromarray((np.asarray(gradient(2500, 2200, "L")).astype(np.uint16) // 64) << 14),
        "PNG",
        {"transparency": 0},
    ),
    "a photo": (gradient(4100, 3100), "JPEG", {"quality": 95}),
    "progressive": (gradient(4100, 3100), "JPEG", {"quality": 95, "progressive": True}),
    "small": (gradient(90, 70), "PNG", {}),
    "a line": (gradient(20_000, 3), "PNG", {}),
}


@pytest.mark.parametrize("kind", CLOSE)
def test_a_picture_made_smaller_strip_by_strip_is_the_picture(tmp_path, kind):
    image, form, options = CLOSE[kind]
    path = put(tmp_path, kind, image, format=form, **options)
    whole, small = decode(path), open_picture(path)
    assert max(small.size) == min(1024, max(whole.size))
    wanted = whole.resize(small.size, Image.Resampling.BOX)
    off = np.abs(np.asarray(wanted, float) - np.asarray(small, float))
    assert off.mean() < 3


def test_a_picture_lies_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    small = open_picture(put(tmp_path, "turned", gradient(3000, 2000), format="JPEG", exif=exif))
    assert small.size == (683, 1024)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_phones_48_megapixels_open_and_bombs_do_not(tmp_path):
    phone = put(tmp_path, "phone", Image.new("RGB", (8064, 6048), "teal"), format="JPEG")
    assert open_picture(phone).size == (1024, 768)
    for name, image, options in (
        ("drawn", Image.new("L", (8064, 6048)), {}),
        ("held whole", Image.new("L", (8064, 6048)), {"format": "JPEG", "progressive": True}),
        ("a poster", Image.new("L", (12_000, 11_000)), {"format": "JPEG"}),
    ):
        with pytest.raises(ValueError, match="more than 25 million"):
            open_picture(put(tmp_path, name, image, **options))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's account of a process")
def test_many_pictures_of_many_megapixels_take_the_memory_of_few(tmp_path):
    """In a process of its own, whose peak is the measure; each of these takes 100 MB when it is read."""
    drawn = Image.new("RGB", (5000, 5000), (9, 90, 200))
    paths = [put(tmp_path, f"{n}", drawn) for n in range(8)]
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path), *paths], capture_output=True, text=True, check=True
    )
    faults, taken = done.stdout.splitlines()
    assert faults == "[]" and int(taken) < 350_000  # kB


MANY = """
import resource, sys, threading
from xmr.workspace.uploads import Uploads
store, faults = Uploads(lambda: sys.argv[1]), []
def one(path):
    try: store.take(path)
    except BaseException as error: faults.append(repr(error))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = [threading.Thread(target=one, args=(path,)) for path in sys.argv[2:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(faults)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_turns_bound_who_is_inside_and_who_waits():
    turns, go, inside, most, refused = Turns(2, waiting=3), threading.Event(), [], [], []

    def one():
        try:
            with turns:
                inside.append(1)
                most.append(len(inside))
                go.wait(20)
                inside.pop()
        except Busy as error:
            refused.append(str(error))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(refused) < 3:
        pass
    assert len(inside) == 2
    go.set()
    for thread in threads:
        thread.join(20)
    assert len(refused) == 3 and "3 others wait" in refused[0] and len(most) == 5 and max(most) == 2
    with turns:  # and all places are free again
        pass
