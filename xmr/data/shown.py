"""A split as it was read elsewhere, for showing beside runs that keep their embeddings: what a Space has in place of the data.

    shown.json                                 ids, captions, links, groups, columns, and the fingerprint that the split had where it was read
    visuals-00000.parquet, gallery-….parquet   copies of its pictures, made smaller and without what cameras write into files
    truth.npz                                  what is known to match, where more is known than the annotation
    features.safetensors                       what encoders made of the pictures and captions themselves

No encoder reads it: features of copies would not be those of the pictures. Without pictures, ids stand in.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from safetensors import SafetensorError
from safetensors.numpy import load, save
from typing_extensions import TypedDict

from xmr.data import arrays
from xmr.data.arrow import ArrowFile, Cells
from xmr.data.dataset import DataFault, Dataset, Split, Truth
from xmr.data.pictures import Blobs
from xmr.disk import Refused, parse_json, read

TOLD, TRUTH, FEATURES = "shown.json", "truth.npz", "features.safetensors"
MAX_TOLD = 256 << 20  # bytes
MAX_FEATURES = 4 << 30  # bytes
MAX_TRUTH = 50_000_000  # pairs whose relevance is kept, a byte each before it is compressed
SIDE, FRAME, FRAMES = 640, 224, 32  # px of a picture's longer side and of a frame's; most frames of a clip
FILE, GROUP = 2000, 50  # rows of a parquet file, and of what is read at once
SIDES = ("visuals", "gallery")


@with_config(ConfigDict(strict=True))
class _Told(TypedDict):
    name: str
    split: Literal["train", "validation", "test"]
    kind: Literal["image", "clip"]
    fingerprint: Annotated[str, Field(min_length=1, max_length=100)]
    visual_ids: list[str]
    captions: list[str]
    visual_of_text: list[int]
    visual_group: list[int]
    classes: list[str] | None
    hard_captions: list[str]
    visual_of_hard: list[int]
    columns: dict[str, list[Any]]
    about: dict[str, Any]
    pairs_of_pictures: bool
    frames: list[int]  # of each clip; empty where visuals are pictures, or none are kept
    encoders: dict[str, str]  # the hash of each whose features are kept
    complete: bool | None  # of the truth; None where there is none
    truth: str


TOLD_OF = TypeAdapter(_Told)


class Strips(Sequence[Any]):
    """Clips whose frames lie side by side in one picture."""

    def __init__(self, strips: Sequence[Any], counts: Sequence[int]):
        self.strips, self.counts = strips, counts

    def __len__(self) -> int:
        return len(self.strips)

    def __getitem__(self, index: int) -> list[Image.Image]:
        strip, count = self.strips[int(index)], self.counts[int(index)]
        width = strip.width // count
        return [strip.crop((width * k, 0, width * (k + 1), strip.height)) for k in range(count)]


def shown(path: Path, split: Split) -> Dataset:
    """shown.json and copies of pictures, as publish.py --space writes them: one split, for showing

    Raises DataFault where it is of another split, or not as it was written.
    """
    told = _read(path)
    if told["split"] != split:
        raise DataFault(
            f"{path} holds the {told['split']} split only, to be shown; there is no {split} split"
        )
    truth = None
    if told["complete"] is not None:
        known = arrays.open_array(path / TRUTH, "relevance")
        shape = len(told["visual_ids"]), len(told["captions"])
        if known.shape != shape or known.dtype != np.int8:
            raise DataFault(f"{path / TRUTH}: must be {shape} int8, found {known.shape} {known.dtype}")
        truth = Truth(
            lambda visuals, texts: _relevance(known[np.ix_(visuals, texts)]),
            lambda visuals, texts: _relevance(known[visuals, texts]),
            complete=told["complete"],
            source=told["truth"],
            key=f"shown {told['fingerprint']}",
        )
    visuals, gallery = (_pictures(path, side) for side in SIDES)
    if visuals is not None and told["kind"] == "clip":
        if len(told["frames"]) != len(visuals) or min(told["frames"]) < 1:
            raise DataFault(f"{path / TOLD}: frames must be a number from 1 for each of {len(visuals)} clips")
        visuals = Strips(visuals, told["frames"])
    if told["pairs_of_pictures"] and gallery is None:
        gallery = [Image.new("RGB", (8, 8), "white")] * len(told["captions"])
    kept = (
        "name",
        "split",
        "kind",
        "fingerprint",
        "visual_ids",
        "captions",
        "classes",
        "hard_captions",
        "columns",
        "about",
    )
    return Dataset(
        **{name: told[name] for name in kept},
        **{
            name: np.array(told[name], np.int64)
            for name in ("visual_of_text", "visual_group", "visual_of_hard")
        },
        visuals=visuals,
        gallery_visuals=gallery,
        truth=truth,
        kept_features=_kept(path, told),
    )


def is_shown(path: Path) -> bool:
    return (path / TOLD).is_file()


def write_shown(
    data: Dataset, folder: Path, pictures: bool, features: Mapping[str, tuple[str, np.ndarray, np.ndarray]]
) -> list[str]:
    """Writes the split to a new folder, with copies of its pictures or without, and with the `features` of it, as in
    `Dataset.kept_features`. Returns what is left out."""
    folder.mkdir(parents=True)
    left, frames, complete = [], [], None
    if data.truth is not None:
        if len(data.visual_ids) * len(data.captions) <= MAX_TRUTH:
            complete = data.truth.complete
            found = data.truth.block(np.arange(len(data.visual_ids)), np.arange(len(data.captions)))
            relevance = np.where(np.isnan(found), -1, found > 0).astype(np.int8)
            np.savez_compressed(folder / TRUTH, relevance=relevance)
        else:
            left.append(
                f"{data.name}: what is known to match beyond the annotation, of too many pairs to keep"
            )
    if pictures and data.visuals is not None:
        frames = _write_pictures(folder, "visuals", data.visuals, data.kind == "clip")
    elif data.visuals is not None:
        left.append(f"{data.name}: its pictures; ids stand in")
    if pictures and data.gallery_visuals is not None:
        _write_pictures(folder, "gallery", data.gallery_visuals, False)
    told = {
        **{name: getattr(data, name) for name in ("name", "split", "kind", "fingerprint", "visual_ids", "captions", "classes", "hard_captions")},
        **{name: getattr(data, name).tolist() for name in ("visual_of_text", "visual_group", "visual_of_hard")},
        "columns": json.loads(json.dumps(data.columns, default=str)),
        "about": json.loads(json.dumps(data.about, default=str)),
        "pairs_of_pictures": data.gallery_visuals is not None,
        "frames": frames,
        "encoders": {name: digest for name, (digest, *_) in features.items()},
        "complete": complete,
        "truth": data.truth.source if data.truth else "",
    }  # fmt: skip
    tensors = {
        f"{name} {side}": np.ascontiguousarray(part, np.float16)
        for name, (_, *parts) in features.items()
        for side, part in zip(("visual", "text"), parts, strict=True)
    }
    (folder / FEATURES).write_bytes(save(tensors))
    (folder / TOLD).write_text(json.dumps(told, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return left


def _read(path: Path) -> dict[str, Any]:
    try:
        return TOLD_OF.validate_python(parse_json(read(path / TOLD, MAX_TOLD), TOLD))
    except Refused as error:
        raise DataFault(f"{path}: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in fault["loc"])
        raise DataFault(f"{path / TOLD}: {place} is not as xmr writes it: {fault['msg']}") from error


def _kept(path: Path, told: dict[str, Any]) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    found = {}
    try:
        tensors = load(read(path / FEATURES, MAX_FEATURES))
    except (Refused, SafetensorError) as error:
        raise DataFault(f"{path}: {FEATURES}: {error}") from error
    for name, digest in told["encoders"].items():
        sides = [tensors.get(f"{name} {side}") for side in ("visual", "text")]
        for part, rows in zip(sides, (told["visual_ids"], told["captions"]), strict=True):
            if part is None or part.ndim != 2 or len(part) != len(rows) or part.dtype != np.float16:
                raise DataFault(
                    f"{path / FEATURES}: no float16 features of {name!r:.80} for {len(rows)} rows"
                )
            if not np.isfinite(part).all():
                raise DataFault(f"{path / FEATURES}: features of {name!r:.80} are not all finite")
        found[name] = (digest, *sides)
    return found


def _pictures(path: Path, side: str) -> Blobs | None:
    files = [ArrowFile(file, "") for file in sorted(path.glob(f"{side}-*.parquet"))]
    if not files:
        return None
    if wrong := next((file for file in files if "image" not in file.types), None):
        raise DataFault(f"{wrong.path}: no column 'image'")
    places = [(number, row) for number, file in enumerate(files) for row in range(file.rows)]
    return Blobs(Cells(files, "image", path).read, places, [f"{side} {row}" for row in range(len(places))])


def _write_pictures(folder: Path, side: str, visuals: Sequence[Any], clips: bool) -> list[int]:
    """Writes copies, and returns how many frames each clip has in them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames: list[int] = []
    for start in range(0, len(visuals), FILE):
        rows = []
        for index in range(start, min(start + FILE, len(visuals))):
            picture = visuals[index]
            if clips:
                picture, count = _strip(picture)
                frames.append(count)
            rows.append({"bytes": _copy(picture, None if clips else SIDE), "path": f"{index}.webp"})
        table = pa.table({"image": pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))})
        pq.write_table(
            table, folder / f"{side}-{start // FILE:05d}.parquet", row_group_size=GROUP, compression="none"
        )
    return frames


def _copy(picture: Image.Image, side: int | None) -> bytes:
    copy = Image.new("RGB", picture.size)  # nothing comes along but what is seen
    copy.paste(picture.convert("RGB"))
    if side:
        copy.thumbnail((side, side))
    made = io.BytesIO()
    copy.save(made, "WEBP", quality=88)
    return made.getvalue()


def _strip(clip: Sequence[Image.Image]) -> tuple[Image.Image, int]:
    step = -(-len(clip) // FRAMES)
    frames = [frame.convert("RGB") for frame in clip[::step]]
    for frame in frames:
        frame.thumbnail((FRAME, FRAME))
    width, height = frames[0].size
    strip = Image.new("RGB", (width * len(frames), height))
    for place, frame in enumerate(frames):
        strip.paste(frame, (width * place, 0))
    return strip, len(frames)


def _relevance(known: np.ndarray) -> np.ndarray:
    return np.where(known < 0, np.float32(np.nan), known.astype(np.float32))
