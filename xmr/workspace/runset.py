"""What the app holds: the runs of a folder, the dataset that they share, embeddings and small pictures."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from xmr import embedding
from xmr.analysis import Side, inner, scored_sides
from xmr.cache import cache_folder
from xmr.checkpoints import Run, RunFault, list_runs
from xmr.checkpoints.head import MAX_SCORES
from xmr.core import Direction
from xmr.data import DATASETS, DataFault, Dataset, load_dataset
from xmr.data.truths import FieldTruth, directed, field_truths
from xmr.registry import UnknownName, unknown
from xmr.scoring import ReadSplit, read_dataset
from xmr.search import Index, cached_index
from xmr.workspace import stills
from xmr.workspace.commands import command
from xmr.workspace.memory import content_of, remembered
from xmr.workspace.parts import Embedder, Memo, Style, styles_of
from xmr.workspace.public import publish
from xmr.workspace.verdict_file import VerdictFile

if TYPE_CHECKING:
    from typing_extensions import Self  # typing.Self is not in Python 3.10

KNOWN_BEST = ("max_of_hinges", "info_nce", "polynomial", "siglip")  # runs of a first look, where they exist

Made = TypeVar("Made")


@dataclass
class RunSet:
    """Runs that share a dataset, their embeddings and their pictures.

    `runs` are comparable: trained on the very data that `source` loads. `apart` are whole runs of other data,
    each with the reason; `faults` are folders that are no runs. `problem` says why nothing can be shown, with
    the command that helps; it is "" when all is well.
    """

    runs: dict[str, Run]
    source: str
    load: Callable[[str], Dataset]  # split -> dataset
    embedder: Embedder
    faults: list[RunFault] = field(default_factory=list)
    apart: dict[str, tuple[Run, str]] = field(default_factory=dict)
    problem: str = ""
    checkpoints: Path = Path("checkpoints")
    beside: tuple[Path, ...] = ()  # further folders of runs
    recall: float = (
        1.0  # share of the true best that an index has to find; below 1, large galleries are approximate
    )
    members: dict[str, Run] = field(default_factory=dict)  # of `runs` that stand for several
    verdicts: VerdictFile = field(default_factory=VerdictFile)
    truth_files: str = ""  # the folder of the field's truths; "": beside the data, or in their package
    _memo: Memo = field(default_factory=Memo, repr=False)

    @classmethod
    def open(
        cls,
        checkpoints: str | Path,
        dataset: str | None = None,
        found: tuple[Sequence[Run], Sequence[RunFault]] | None = None,
    ) -> Self:
        """The runs below `checkpoints` (`found`: as `list_runs` has read them already) and their dataset: `dataset`, else the
        one that most were trained on."""
        runs, faults = found or list_runs(Path(checkpoints))
        sources = Counter(run.config.dataset for run in runs)
        source = dataset or (sources.most_common(1)[0][0] if sources else "")
        # A generated dataset has parameters; the runs of one comparison share them, so the first one's do.
        params = next((run.config.dataset_params for run in runs if run.config.dataset == source), {})
        return cls.of(
            runs,
            source,
            load=lambda split: load_dataset(source, split, **params),
            embedder=embedding,
            faults=faults,
            checkpoints=Path(checkpoints),
        )

    @classmethod
    def of(
        cls,
        runs: Sequence[Run],
        source: str,
        load: Callable[[str], Dataset],
        embedder: Embedder,
        faults: Sequence[RunFault] = (),
        checkpoints: Path = Path("checkpoints"),
    ) -> Self:
        """A workspace of these runs: those of other data set apart, and what is missing told as a `problem`."""
        ordered = {run.name: run for run in sorted(runs, key=lambda run: run.name)}
        self = cls({}, source, load, embedder, list(faults), checkpoints=checkpoints)
        if not ordered:
            self.problem = f"There is no whole run in {checkpoints}. Train some:\n" + command(
                "train",
                "--dataset",
                "blocks",
                "--loss",
                "max_of_hinges",
                "info_nce",
                "siglip",
                "polynomial",
                "--out",
                checkpoints,
            )
            return self
        try:
            fingerprint = self._loaded("test").fingerprint
        except Exception as error:  # whatever the user's data does, the app must open and say it
            self.problem = f"The dataset {source!r} could not be loaded: {error}\n" + _where_else(
                source, checkpoints, [run.config.dataset for run in ordered.values()]
            )
            self.apart = {name: (run, "its dataset is missing") for name, run in ordered.items()}
            return self
        for name, run in ordered.items():
            if run.dataset["fingerprints"].get("test") == fingerprint:
                self.runs[name] = run
            else:
                other = run.config.dataset
                hint = (
                    f"trained on another version of {source!r}; train it again"
                    if other == source
                    else f"trained on {other!r}; to see it: "
                    + command("app", "--checkpoints", checkpoints, "--dataset", other)
                )
                self.apart[name] = (run, hint)
        if not self.runs:
            self.problem = (
                f"No run in {checkpoints} was trained on {source!r}. Train one, or show another dataset:\n"
                + command("train", "--dataset", source, "--loss", "info_nce", "--out", checkpoints)
                + "\n"
                + command(
                    "app",
                    "--checkpoints",
                    checkpoints,
                    "--dataset",
                    next(iter(ordered.values())).config.dataset,
                )
            )
        return self

    def add(self, run: Run) -> None:
        """Takes in a run that was finished since: among the others, or apart with the reason where its data are others."""
        mine, theirs = self.dataset("test").fingerprint, run.dataset["fingerprints"].get("test")
        if theirs == mine:
            self.runs = dict(
                sorted({**self.runs, run.name: run}.items())
            )  # whoever goes through the old ones still may
        else:
            reason = f"trained on other data ({run.dataset['name']}) since the start; start the app again to see it"
            self.apart = {**self.apart, run.name: (run, reason)}

    def dataset(self, split: str = "test") -> Dataset:
        """The dataset's split, loaded once, with ECCV Caption as its truth where that is at hand and nothing else is known.
        Raises what loading raises."""
        return self._memo.get(("dataset", split), lambda: self._with_truth(split))

    def _loaded(self, split: str) -> Dataset:
        return self._memo.get(("loaded", split), lambda: self.load(split))

    def _with_truth(self, split: str) -> Dataset:
        data, eccv = self._loaded(split), self.field_truths(split).get("eccv")
        return data if eccv is None or data.truth is not None else replace(data, truth=directed(eccv, data))

    def field_truths(self, split: str) -> dict[str, FieldTruth]:
        """What the field knows of COCO's test split, by name; {} of all other data and where its files are not at hand."""
        return self._field_truths(split)[0]

    def no_field_truths(self, split: str) -> str:
        """Why the field's truths are not told though their files are there; "" where they are, or nobody asked for them."""
        return self._field_truths(split)[1]

    @remembered
    def _field_truths(self, split: str) -> tuple[dict[str, FieldTruth], str]:
        beside = "" if self.source in DATASETS or not Path(self.source).is_dir() else self.source
        try:
            return field_truths(self._loaded(split), self.truth_files, beside), ""
        except (DataFault, OSError) as error:
            publish(error)
            return {}, str(error)

    def run(self, name: str) -> Run:
        """The run of that name. Raises UnknownName with the near miss."""
        if name in self.runs:
            return self.runs[name]
        if name in self.members:
            return self.members[name]
        if name in self.apart:
            raise UnknownName(f"run {name!r} is not comparable here: {self.apart[name][1]}")
        raise UnknownName(unknown("run", name, self.runs))

    def each(self, name: str) -> list[str]:
        """The trainings that a run of several seeds stands for, by seed; the run itself where it is one."""
        return [one.name for one in self.run(name).each]

    @property
    def trained(self) -> list[str]:
        """Names of the runs that were trained with a loss: all but the combinations of runs."""
        return [name for name, run in self.runs.items() if run.has_loss]

    def embeddings(self, run: str, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
        """Unit embeddings of a split: visuals (N_v, E) and texts (N_t, E), float32; of a pair scorer those of its first
        stage."""
        return self.index(run, split, "v").vectors, self.index(run, split, "t").vectors

    def sides(self, run: str, split: str = "test") -> tuple[Side, Side]:
        """Visuals and texts of a split as `xmr.analysis` takes them: embeddings, or what a pair scorer said of them."""
        pair = self.embeddings(run, split)
        return scored_sides(self.pair_scores(run, split), *pair) if self.run(run).scores_pairs else pair

    @remembered
    def pair_scores(self, run: str, split: str = "test") -> np.ndarray:
        """What a pair scorer says of all pairs of a split, (N_v, N_t) float32.

        Raises ValueError where there are more than `MAX_SCORES`, which only its candidates can be asked of.
        """
        owner, data = self.run(run), self.dataset(split)
        if len(data.visual_ids) * len(data.captions) > MAX_SCORES:
            raise ValueError(
                f"{run} scores pairs, and {split} has {len(data.visual_ids):,} × {len(data.captions):,} of them: "
                "too many to score all; search asks it of the best candidates only"
            )
        stored = owner.scores() if split == "test" else None
        return self.scorer(run, split).matrix() if stored is None else stored

    @remembered
    def scorer(self, run: str, split: str = "test") -> ReadSplit:
        """A split as a pair scorer has read it."""
        return read_dataset(self.run(run), self.dataset(split))

    def index(self, run: str, split: str, side: Literal["v", "t"]) -> Index:
        """The search index over a split's visuals ("v") or texts ("t"); an approximate one is kept in xmr's cache."""
        return self._indices(run, split)["vt".index(side)]

    @remembered
    def _indices(self, run: str, split: str) -> tuple[Index, ...]:
        owner = self.run(run)
        stored = split == "test"
        pair = owner.embeddings() if stored else self.embedder.embed_dataset(owner, self.dataset(split))
        return tuple(cached_index(mine, self.recall, queries=other) for mine, other in (pair, pair[::-1]))

    def scores(
        self, run: str, split: str, direction: Direction, queries: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores (Q, G) float32 of the split's items `queries` (all: None) against the other side's items."""
        visual, text = self.sides(run, split)
        asking, gallery = (visual, text) if direction == "v2t" else (text, visual)
        return inner(asking if queries is None else asking[queries], gallery)

    def positives(self, split: str, direction: Direction, queries: np.ndarray | None = None) -> np.ndarray:
        """Which pairs are annotated as matching, (Q, G) bool, as in `scores`."""
        data = self.dataset(split)
        asking, gallery = (data.visual_group, data.text_group)[:: 1 if direction == "v2t" else -1]
        return (asking if queries is None else asking[queries])[:, None] == gallery[None]

    def truth(
        self, split: str, direction: Direction, queries: np.ndarray, gallery: np.ndarray
    ) -> np.ndarray | None:
        """What really matches, (Q, G) float32 with 1, 0 and NaN (unknown); None where the dataset has no truth."""
        known = self.dataset(split).truth
        if known is None:
            return None
        known, queries, gallery = known.asked(direction), np.asarray(queries), np.asarray(gallery)
        return known.block(queries, gallery) if direction == "v2t" else known.block(gallery, queries).T

    def known_pairs(self, split: str, visuals: np.ndarray, texts: np.ndarray) -> np.ndarray | None:
        """What is known of pairs whoever asks, (V, T) as `truth`: a match where either side says so."""
        found = self.truth(split, "v2t", visuals, texts)
        if found is None or self.dataset(split).truth.t2v is None:
            return found
        return np.fmax(found, self.truth(split, "t2v", texts, visuals).T)

    def metrics(self, run: str, split: str = "test") -> dict[str, float]:
        """What the run told of itself on that split; empty where it told nothing."""
        return self.run(run).metrics.get(split, {})

    @property
    def any_encoder(self) -> dict[str, Any]:
        """The encoder whose frozen features are evidence on the items: that of the first run."""
        return next(iter(self.runs.values())).encoder

    @property
    def shown_first(self) -> list[str]:
        """Names of the runs for a first look, at most four: the losses best known, else the first by name."""
        return _best_known_first(self.runs)[:4]

    def styles(self, runs: Sequence[str]) -> dict[str, Style]:
        """Colour, marker and dash of each run, told apart among these: first those of a first look, then by name."""
        return styles_of(list(dict.fromkeys(runs)), _best_known_first({*self.runs, *self.apart}))

    def remember(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` returned when it was first asked for under this key; kept as long as the workspace."""
        return self._memo.get(("remembered", key), make)

    def is_remembered(self, key: Hashable) -> bool:
        return self._memo.has(("remembered", key))

    @remembered
    def content_of_data(self, split: str) -> str | None:
        """A name of all that is measured by: items, what is annotated, and what is true; None where the latter is too much
        to look at."""
        data, truth = self.dataset(split), ""
        if data.truth is not None:
            visuals, texts = np.arange(len(data.visual_ids)), np.arange(len(data.captions))
            if data.truth.key:
                truth = data.truth.key
            elif len(visuals) * len(texts) <= MAX_SCORES:
                truth = content_of("truth", [data.truth.block(visuals, texts)], data.truth.complete)
            else:
                return None
        truths = [one.key for one in self.field_truths(split).values()]
        items = data.visual_ids, data.captions, data.classes, data.columns, truths
        groups = [data.visual_group, data.text_group, data.visual_of_text]
        return content_of("data", groups, (data.fingerprint, split, truth, self.any_encoder, *items))

    @remembered
    def content_of_run(self, run: str, split: str) -> str:
        """A name of all that a run has to do with a split: its embeddings or scores, and how it was trained."""
        if len(each := self.each(run)) > 1:
            return content_of("seeds", [], [self.content_of_run(one, split) for one in each])
        owner, arrays, files = self.run(run), [*self.embeddings(run, split)], {}
        if owner.scores_pairs:  # whose embeddings are only its first stage
            stored = owner.scores() if split == "test" else None
            files, arrays = owner.files, arrays + ([] if stored is None else [stored])
        told = owner.config.to_json(), owner.last_loss, owner.encoder, owner.score_kind, files
        return content_of("run", arrays, told)

    @property
    def thumbnails(self) -> Path:
        """The folder below which all thumbnails lie."""
        return cache_folder() / "thumbnails"

    def thumbnail(self, split: str, index: int) -> Path | None:
        """A small picture of a visual, of a clip its middle frame, written when first asked for; None where the dataset
        has no pictures."""
        data = self.dataset(split)
        if not data.shows(index):
            return None
        path = self._small_picture(data, "", index)
        if not path.exists():
            if data.kind == "clip":
                self._write_clip(data, index)
            else:
                stills.write(stills.still(data.image(index)), path)
        return path

    def strip(self, split: str, index: int) -> Path | None:
        """All frames of a clip side by side (`stills.film_strip`), as `thumbnail`; None where visuals are no clips."""
        data = self.dataset(split)
        if data.visuals is None or data.kind != "clip":
            return None
        path = self._small_picture(data, " strip", index)
        if not path.exists():
            self._write_clip(data, index)
        return path

    def gallery_thumbnail(self, split: str, index: int) -> Path | None:
        """A small picture of an item of the second side, as `thumbnail`; None where that side is no pictures."""
        data = self.dataset(split)
        if data.gallery_visuals is None:
            return None
        path = self._small_picture(data, " gallery", index)
        if not path.exists():
            stills.write(stills.still(data.gallery_visuals[index]), path)
        return path

    def enlarged(self, split: str, small: Path) -> Path | None:
        """The picture of one of the split's thumbnails, large (`stills.LARGE_PX`), written when first asked for; None where
        that is no thumbnail of it."""
        data, name = self.dataset(split), small.stem
        for what, pictures in (("", data.visuals), (" gallery", data.gallery_visuals)):
            if pictures is None or not name.isdecimal() or not int(name) < len(pictures):
                continue
            index = int(name)
            if not (what or data.shows(index)):
                continue
            if small != self._small_picture(data, what, index):
                continue
            large = small.with_name(f"{index}-large.webp")
            if not large.exists():
                shown = pictures[index] if what else data.image(index)
                stills.write(stills.still(shown, stills.LARGE_PX), large)
            return large
        return None

    def _write_clip(self, data: Dataset, index: int) -> None:
        """Still and strip at once, since a clip takes long to decode."""
        frames = data.visuals[index]
        stills.write(stills.film_strip(frames), self._small_picture(data, " strip", index))
        stills.write(stills.still(frames[len(frames) // 2]), self._small_picture(data, "", index))

    def _small_picture(self, data: Dataset, what: str, index: int) -> Path:
        key = hashlib.sha256(f"{data.fingerprint} {stills.STILL_PX}{what}".encode()).hexdigest()[:16]
        return self.thumbnails / key / f"{index // 1000}" / f"{index}.webp"


def _best_known_first(names: Iterable[str]) -> list[str]:
    known = {name: name.partition(" (")[0] for name in names}  # without how many seeds it has
    best = [name for best in KNOWN_BEST for name in known if known[name] == best]
    return best + sorted({*names} - {*best})


def _where_else(source: str, checkpoints: Path, trained_on: Sequence[str]) -> str:
    """What to call where the dataset `source` can't be loaded: with what other runs were trained on; with the folder of that
    name beside the runs, as when they were trained from another folder; or with where the data lie now."""
    others = [one for one in trained_on if one != source]
    beside = [checkpoints.expanduser().absolute().parent / part for part in (source, Path(source).name)]
    for one in [*others, *beside]:
        if one in DATASETS or Path(one).is_dir():
            return command("app", "--checkpoints", checkpoints, "--dataset", one)
    shown = command("app", "--checkpoints", checkpoints, "--dataset")
    return f"If its folder lies elsewhere now, name that: {shown} FOLDER"
