"""How long it takes until the first batch of pictures is there, and how fast they are decoded: xmr beside peers, in one run.

    python benchmarks/data.py [--pictures 30000] [--rows 1000000] [--folder DIR]

The same pictures of 224 px lie in tar shards (with .txt and .json) and in parquet; each way of reading is a process of its own, so
that its memory is its own. `datasets` writes parquet anew as arrow into an empty cache, as it does at first; the plain readers look
at nothing but what they decode: tarfile in order (as img2dataset-style readers do) and pyarrow by row groups. xmr checks all
pictures and captions of the split first. The rows of captions are a captions.csv beside features, five for each image.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BATCH, DECODED, SIDE = 64, 2000, 224
WAYS = ("xmr tar", "tarfile", "xmr parquet", "pyarrow", "datasets", "xmr captions")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=30_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", help="keeps the data there, and takes what is there already")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options.way, Path(options.folder))))
        return
    from benchmarks.metrics import machine  # torch, whose memory is none of the readers'

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        make(folder, options.pictures, options.rows)
        print(f"{machine()}; {options.pictures:,} pictures of {SIDE} px, {options.rows:,} rows of captions\n")
        print(
            "| way | first batch, s | processor, s | decoded/s, two threads | memory, MB |\n| --- | --- | --- | --- | --- |"
        )
        for way in WAYS:
            command = [sys.executable, "-W", "ignore", __file__, "--way", way, "--folder", str(folder)]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
            print(
                f"| {way} | {found['first']:.1f} | {found['processor']:.1f} | {found['rate']} | {found['memory']:,} |",
                flush=True,
            )


def make(folder: Path, pictures: int, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.rmtree(folder / "cache", ignore_errors=True)  # of datasets, which is to be empty
    if (folder / "captions").exists():
        return
    for name in ("tar", "parquet", "captions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", pictures), ("val", BATCH), ("test", BATCH)):
        for shard, start in enumerate(range(0, count, 1000)):
            table = []
            with tarfile.open(folder / f"tar/{split}-{shard:05}.tar", "w") as archive:
                for number in range(start, min(start + 1000, count)):
                    coarse = Image.fromarray(rng.integers(0, 255, (14, 14, 3), np.uint8))
                    buffer = io.BytesIO()
                    coarse.resize((SIDE, SIDE)).save(buffer, "JPEG", quality=85)
                    texts = [f"{split} picture {number}, caption {k}" for k in range(5)]
                    parts = {
                        "jpg": buffer.getvalue(),
                        "txt": "\n".join(texts).encode(),
                        "json": b'{"width": 224}',
                    }
                    for ending, content in parts.items():
                        member = tarfile.TarInfo(f"{number:09}.{ending}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
                    table.append(
                        {"image": {"bytes": parts["jpg"], "path": f"{number}.jpg"}, "caption": texts}
                    )
            pq.write_table(
                pa.Table.from_pylist(table),
                folder / f"parquet/{split}-{shard:05}.parquet",
                row_group_size=100,
            )
    np.save(folder / "captions/features.npy", rng.standard_normal((rows // 5, 8), np.float32))
    with (folder / "captions/captions.csv").open("w") as file:
        file.write("image,split,caption\n")
        file.writelines(
            f'{row // 5},train,"a man, number {row // 5}, who does {row % 5}"\n' for row in range(rows)
        )


def measured(way: str, folder: Path) -> dict[str, Any]:
    """Seconds until the first batch is decoded (or the captions are read), decoded pictures a second, and peak memory."""
    start = time.monotonic()
    visuals = opened(way, folder)
    first = [np.asarray(visuals(index)) for index in range(BATCH)] if visuals else []
    seconds, processor, rate = time.monotonic() - start, time.process_time(), "–"
    if first and way != "tarfile":
        start = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            count = sum(1 for _ in pool.map(visuals, range(BATCH, BATCH + DECODED)))
        rate = f"{count / (time.monotonic() - start):.0f}"
    return {"first": seconds, "processor": processor, "rate": rate, "memory": peak()}


def peak() -> int:
    """Megabytes that this process held at most; of Linux alone (`ru_maxrss` is the parent's too, where that was larger)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def opened(way: str, folder: Path) -> Any:
    """What gives a decoded picture by its number; None where there are captions only."""
    if way == "tarfile":
        archive = tarfile.open(sorted(folder.glob("tar/train-*.tar"))[0])  # noqa: SIM115  (read by what is returned)
        members = (one for one in archive if one.name.endswith(".jpg"))
        return lambda _: Image.open(archive.extractfile(next(members))).convert("RGB")
    if way == "pyarrow":
        import pyarrow.parquet as pq

        files = sorted(folder.glob("parquet/train-*.parquet"))
        return lambda index: decoded(pq.ParquetFile(files[index // 1000]), index % 1000)
    if way == "datasets":
        import datasets

        files = [str(path) for path in sorted(folder.glob("parquet/train-*.parquet"))]
        found = datasets.load_dataset(
            "parquet", data_files=files, split="train", cache_dir=str(folder / "cache")
        )
        found = found.cast_column("image", datasets.Image())
        return lambda index: found[index]["image"].convert("RGB")
    from xmr.data import load_dataset

    data = load_dataset(folder / way.removeprefix("xmr "), "train")
    return None if data.visuals is None else data.visuals.__getitem__


def decoded(file: Any, row: int) -> Image.Image:
    cell = file.read_row_group(row // 100, columns=["image"]).column(0)[row % 100].as_py()
    return Image.open(io.BytesIO(cell["bytes"])).convert("RGB")


if __name__ == "__main__":
    main()
