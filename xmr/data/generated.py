"""`blocks` and `moving_blocks`, the embedded datasets: generated worlds as a `Dataset` whose truth is known for every pair.

Pictures are rendered when the first is asked for, and kept as an arrow table.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from xmr import worlds
from xmr.cache import cache_dir, cache_folder
from xmr.checksums import digest_of
from xmr.data.dataset import DATASETS, Dataset, Rows, Truth
from xmr.disk import aside
from xmr.disk_values import value_at
from xmr.locks import holding
from xmr.registry import Range, unknown
from xmr.worlds.captions import Forms, captions_of
from xmr.worlds.ceilings import annotated_ceiling, informed_ceiling, unannotated_share
from xmr.worlds.clips import clips_of
from xmr.worlds.differences import differences
from xmr.worlds.motion import FRAMES, Clips, frames
from xmr.worlds.motion_captions import MotionForms, sample_motion_captions
from xmr.worlds.motion_truth import motion_holds, motion_holds_pairs
from xmr.worlds.parallel import render_parallel
from xmr.worlds.scenes import Scenes, scenes_of
from xmr.worlds.seeds import CAPTIONS_PER_VISUAL, CLIPS, SPLITS, clip_seed
from xmr.worlds.truth import holds, holds_pairs

if TYPE_CHECKING:  # it takes a second or two to import, and the workers that render don't need it
    import datasets

VERSIONS = {
    "blocks": 1,
    "moving_blocks": 1,
}  # of the generators: a change of pictures or captions must raise them
SIZES = {"blocks": 128, "moving_blocks": 64}
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "pictures"

Difficulty = Annotated[float, Range(0, 1)]
DataSeed = Annotated[int, Range(0, 2**31 - 1)]
Check = Callable[[np.ndarray, np.ndarray], np.ndarray]
Told = Callable[[int, int], object]  # how many are done, and of how many


@dataclass(frozen=True)
class Scenery:
    """All of a split of `blocks` but its pictures; `whole` is the truth of every pair, (N_v, N_t) bool, None where that is large."""

    scenes: Scenes
    captions: list[str]
    forms: Forms
    whole: np.ndarray | None
    known: dict[str, Any]


@dataclass(frozen=True)
class MovingScenery:
    """As `Scenery`, of `moving_blocks`."""

    clips: Clips
    captions: list[str]
    forms: MotionForms
    whole: np.ndarray | None
    known: dict[str, Any]


@DATASETS.register
def blocks(split: str, *, difficulty: Difficulty = 0.5, seed: DataSeed = 0) -> Dataset:
    """Ray-traced table-top scenes with captions that leave things out; every match is known."""
    if split not in SPLITS:
        raise ValueError(unknown("split of blocks", split, SPLITS))

    def make() -> Scenery:
        scenes = scenes_of(split, seed)
        captions, forms = captions_of(split, difficulty, seed)
        return Scenery(scenes, captions, forms, *_truth(split, lambda: holds(scenes, forms)))

    made = _made_once("blocks", split, SPLITS[split], difficulty, seed, Scenery, make)
    scenes, forms = made.scenes, made.forms
    return _dataset(
        "blocks",
        split,
        seed,
        difficulty,
        made,
        Rendered(
            "blocks",
            table_name("blocks", split, seed),
            len(scenes),
            lambda rows, told: pictures(split, scenes[rows], told),
        ),
        {"objects": scenes.count.tolist()},
        lambda visuals, texts: holds(scenes[visuals], forms[texts]),
        lambda visuals, texts: holds_pairs(scenes, forms, visuals, texts),
        told=lambda visual, text, asked: [
            one.words(asked) for one in differences(scenes, forms, visual, text)
        ],
    )


@DATASETS.register
def moving_blocks(split: str, *, difficulty: Difficulty = 0.5, seed: DataSeed = 0) -> Dataset:
    """Clips of blocks that slide, turn, bounce, appear and pass one another, in an order; every match is known."""
    if split not in CLIPS:
        raise ValueError(unknown("split of moving_blocks", split, CLIPS))

    def make() -> MovingScenery:
        clips = clips_of(split, seed)
        captions, forms = sample_motion_captions(
            clips, CAPTIONS_PER_VISUAL, difficulty, clip_seed(split, seed)
        )
        return MovingScenery(clips, captions, forms, *_truth(split, lambda: motion_holds(clips, forms)))

    made = _made_once("moving_blocks", split, CLIPS[split], difficulty, seed, MovingScenery, make)
    clips, forms = made.clips, made.forms
    return _dataset(
        "moving_blocks",
        split,
        seed,
        difficulty,
        made,
        Rendered(
            "moving_blocks",
            table_name("moving_blocks", split, seed),
            len(clips),
            lambda rows, told: strips(split, clips[rows], told),
            cut,
        ),
        {"objects": clips.scenes.count.tolist(), "events": (clips.action >= 0).sum(1).tolist()},
        lambda visuals, texts: motion_holds(clips[visuals], forms[texts]),
        lambda visuals, texts: motion_holds_pairs(clips, forms, visuals, texts),
        kind="clip",
    )


def _made_once(
    name: str, split: str, count: int, difficulty: float, seed: int, kind: type, make: Callable[[], Any]
) -> Any:
    """What `make` gives, kept in the cache under all that decides it: a start of the app waits a second for a test split."""
    told = f"{name} {split} {count} {difficulty!r} {seed} {_code()}"
    key = hashlib.sha256(told.encode()).hexdigest()[:32]
    return value_at(cache_folder() / "generated" / f"{key}.safetensors", kind, make)


@cache
def _code() -> str:
    """A name of the code that generates."""
    paths = [*sorted(Path(worlds.__file__).parent.glob("*.py")), Path(__file__)]
    return " ".join(map(digest_of, paths))


def _truth(split: str, whole: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, dict[str, Any]]:
    """The truth of all pairs and what it says of the split; for the training split, where it would take a minute and 500 MB,
    neither."""
    if split == "train":
        return None, {}
    truth = whole()
    return truth, known_truth(truth, np.repeat(np.arange(len(truth)), CAPTIONS_PER_VISUAL))


def _dataset(
    name: str,
    split: str,
    seed: int,
    difficulty: float,
    made: Scenery | MovingScenery,
    visuals: Rendered,
    columns: dict[str, list[int]],
    block: Check,
    pairs: Check,
    kind: str = "image",
    told: Callable[[int, int, bool], list[str]] | None = None,
) -> Dataset:
    """What the two have in common. `block(visuals, texts)` is the truth of all pairs of the two, `pairs` of those beside
    each other, both bool; `told` as `Truth.differences`."""
    links = np.repeat(np.arange(len(visuals)), CAPTIONS_PER_VISUAL)
    key = f"{name} {VERSIONS[name]} {split} {seed} {SIZES[name]}"
    digest = hashlib.blake2b(key.encode(), digest_size=8)
    digest.update("\n".join(made.captions).encode())
    about = {"source": "generated by xmr", "licence": "Apache-2.0", "difficulty": difficulty} | made.known
    whole = made.whole
    if whole is not None:

        def block(visuals: np.ndarray, texts: np.ndarray) -> np.ndarray:  # every ranking of every run asks it
            return whole[np.ix_(visuals, texts)]

    return Dataset(
        name=name,
        split=split,
        captions=made.captions,
        visual_of_text=links,
        visual_ids=[f"{split}-{i:05d}" for i in range(len(visuals))],
        fingerprint=digest.hexdigest(),
        visuals=visuals,
        kind=kind,
        columns=columns,
        truth=Truth(
            lambda visuals, texts: block(visuals, texts).astype(np.float32),
            lambda visuals, texts: pairs(visuals, texts).astype(np.float32),
            complete=True,
            source=f"computed from the {'clip' if kind == 'clip' else 'scene'} and the caption's logical form",
            key=digest.hexdigest(),
            differences=told,
        ),
        encoder="blocks",
        about=about,
    )


def known_truth(truth: np.ndarray, visual_of_text: np.ndarray) -> dict[str, Any]:
    """What full truth (N_v, N_t) bool says of a split: the share of true pairs that nobody annotated, the median
    number of visuals that a caption is true of, and the annotated R@K that a perfect model would reach, since it
    can't tell the annotated one among the true ones; `informed_ceiling` when it prefers the most specific."""
    return {
        "unannotated_share": unannotated_share(truth, visual_of_text),
        "true_visuals_median": float(np.median(truth.sum(0))),
        "ceiling": annotated_ceiling(truth, visual_of_text),
        "informed_ceiling": informed_ceiling(truth, visual_of_text),
    }


# ---- pictures --------------------------------------------------------------------------------------------------


def table_name(name: str, split: str, seed: int = 0) -> str:
    """The folder's name of a split's pictures: all that decides them."""
    return f"{'moving-' * (name == 'moving_blocks')}{split}-{seed}-{SIZES[name]}-v{VERSIONS[name]}"


def pictures(split: str, scenes: Scenes, told: Told | None = None) -> np.ndarray:
    """Pictures of `blocks`, (N, SIZE, SIZE, 3) uint8."""
    return rendered(f"blocks {split}", scenes, SIZES["blocks"], told)


def strips(split: str, clips: Clips, told: Told | None = None) -> np.ndarray:
    """The frames of each clip side by side, (N, SIZE, FRAMES · SIZE, 3) uint8."""
    size = SIZES["moving_blocks"]
    scenes, lift = frames(clips)
    side_by_side = rendered(f"moving_blocks {split}", scenes, size, told, lift=lift).reshape(
        -1, FRAMES, size, size, 3
    )
    return side_by_side.transpose(0, 2, 1, 3, 4).reshape(-1, size, FRAMES * size, 3)


def cut(strip: Image.Image) -> list[Image.Image]:
    """A clip's frames, which lie side by side."""
    size = SIZES["moving_blocks"]
    return [strip.crop((size * k, 0, size * (k + 1), size)) for k in range(FRAMES)]


def rendered(what: str, scenes: Scenes, size: int, told: Told | None = None, **options: Any) -> np.ndarray:
    """`render_parallel` with a bar; what `told` raises ends it."""
    with tqdm(total=len(scenes), desc=f"render {what}", unit=" pictures") as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)
            if told is not None:
                told(done, len(scenes))

        return render_parallel(scenes, size, progress=progress, **options)


@dataclass(frozen=True, eq=False)
class Rendered(Sequence[Any]):
    """Generated pictures, of an arrow table that is rendered when the first is asked for, and kept.

    `name` and `table` say where the table lies, `render(rows, told)` gives the pictures of some rows, (n, H, W, 3) uint8, and
    `cut` makes an item of a picture.
    """

    name: str
    table: str
    length: int
    render: Callable[[np.ndarray, Told | None], np.ndarray]
    cut: Callable[[Image.Image], Any] | None = None

    def __len__(self) -> int:
        return self.length

    @cached_property
    def _stored(self) -> datasets.Dataset:
        return self._made(None)

    def _made(self, told: Told | None) -> datasets.Dataset:
        return stored(
            self.name,
            self.table,
            lambda folder: write_pictures(folder, self.render(np.arange(self.length), told)),
        )

    def prepare(self, told: Told) -> None:
        """Renders them where that is yet to be done, which else who asks for the first one waits for."""
        if "_stored" not in self.__dict__:
            self.__dict__["_stored"] = self._made(told)

    def __getitem__(self, index: int) -> Any:
        return self.item(self._stored[int(index)]["image"])

    def item(self, picture: Image.Image) -> Any:
        picture = picture.convert("RGB")
        return picture if self.cut is None else self.cut(picture)

    def some(self, rows: np.ndarray) -> Sequence[Any]:
        """Some of them; where there is no table yet, no others are rendered."""
        there = any(path.exists() for path in _places(self.name, self.table))
        return Rows(self, rows) if there else _Part(self, rows)


@dataclass(frozen=True, eq=False)
class _Part(Sequence[Any]):
    whole: Rendered
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _files(self) -> list[bytes]:  # as in the table, so that a picture has one value
        return [_webp(picture) for picture in self.whole.render(self.rows, None)]

    def __getitem__(self, index: int) -> Any:
        return self.whole.item(Image.open(io.BytesIO(self._files[int(index)])))


def _places(name: str, table: str) -> tuple[Path, Path]:
    """Where a table may lie: in the repository, or in the cache."""
    return SHIPPED / table, cache_folder() / name / table


def stored(name: str, table: str, render: Callable[[Path], None]) -> datasets.Dataset:
    """An arrow table of pictures, memory-mapped, which `render` writes to a folder unless it is in the cache of `name`.

    Those of the test split come with the repository, so that the app is full at once.
    """
    import datasets

    if (SHIPPED / table).exists():
        return datasets.load_from_disk(str(SHIPPED / table))
    folder = cache_dir(name) / table
    if not folder.exists():
        with holding(folder, wait=True):
            if not folder.exists():
                render(folder)
    return datasets.load_from_disk(str(folder))


def write_pictures(folder: Path, rendered: Iterable[np.ndarray]) -> None:
    """Pictures (H, W, 3) uint8 as an arrow table of WebP images, which appears whole or not at all."""
    import datasets

    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": _webp(picture), "path": None} for picture in rendered]},
        features=datasets.Features({"image": datasets.Image()}),
    )
    with aside(folder) as made:
        table.save_to_disk(str(made))


def _webp(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=92)
    return buffer.getvalue()
