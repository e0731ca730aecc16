"""The sections of a report: what is measured of a workspace's runs, in tables, figures, examples and words.

Each function takes a `Subject` and returns HTML of `xmr.figures.report_page`; it says so where there is nothing to
tell, instead of leaving a hole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xmr.analysis import (
    Hubness,
    PairedQueries,
    ScoredSide,
    ScoreSamples,
    batch_weights,
    buckets,
    hard_negatives_by_weight,
    hits,
    hubness,
    mean_interval,
    missed_by_one,
    modality_gap,
    nearest_own_caption,
    paired_queries,
    precision_recall,
    query_slicings,
    sample_batch,
    score_distributions,
    score_samples,
    slice_differences,
    slice_means,
    suspected_pairs,
    top_items,
    true_but_unannotated,
    typical_negatives,
    weight_curve,
)
from xmr.checkpoints import trains_a_loss
from xmr.comparison import holm
from xmr.core import DIRECTIONS, Direction
from xmr.data import Dataset
from xmr.evidence import Evidence
from xmr.figures.distributions import distribution_figure, distribution_words
from xmr.figures.errors import (
    buckets_figure,
    buckets_words,
    curves_figure,
    hubness_figure,
    hubness_words,
    ranks_figure,
    slices_figure,
    slices_words,
)
from xmr.figures.matrix import matrix_figure, matrix_words
from xmr.figures.report_page import (
    RunName,
    Tile,
    chart,
    columns,
    heading,
    inline,
    paragraph,
    query_grid,
    suspect_cards,
    table,
)
from xmr.figures.shared import percent
from xmr.figures.weights import weight_comparison_figure, weight_comparison_words
from xmr.losses import LOSSES
from xmr.metrics import (
    average_precision,
    headline,
    map_at_r,
    rank_embeddings,
    rank_scores,
    rank_truth,
    rank_truth_of_scores,
    recall_at_k,
)
from xmr.selection import DEFAULT, SELECTORS
from xmr.workspace import MAX_PAIRS, Query, Workspace

LEVEL = 0.05  # of the tests
TOP = 10  # length of the lists in which hubs are counted
BATCH = 32  # pairs of the batches whose weights are drawn
OTHERS, SPREAD = BATCH - 1, 0.15  # negatives of the weight curve's query, and the deviation of their scores
EXAMPLES, POOL, RESULTS = 4, 60, 5  # queries shown of each direction, drawn from so many; results of each run
SUSPECTS = 6  # shown of each run
CAPTIONS = 5  # told of a visual
SHOWN_SLICES = 12  # rows of the table of differences

Values = dict[str, np.ndarray]  # a metric's title -> its value for each query


@dataclass
class Subject:
    """What a report is about: the runs `names` of a workspace, the first of which the others are compared with.

    `k` is the cut-off of what counts as right, `seed` draws examples, batches and resamples.
    """

    workspace: Workspace
    names: list[str]
    split: str
    k: int = 1
    seed: int = 0
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def data(self) -> Dataset:
        return self.workspace.dataset(self.split)

    @property
    def styles(self) -> dict[str, Any]:
        return {name: self.workspace.style(name) for name in self.names}

    @property
    def trained(self) -> list[str]:
        return [name for name in self.names if trains_a_loss(self.workspace.run(name))]

    def name(self, run: str) -> RunName:
        return RunName(run, self.workspace.style(run))

    def words(self, direction: Direction) -> str:
        """The direction in words."""
        if self.data.gallery_visuals is not None:
            return "query → gallery" if direction == "v2t" else "gallery → query"
        return f"{self.data.kind} → text" if direction == "v2t" else f"text → {self.data.kind}"

    def noun(self, direction: Direction) -> str:
        """What the gallery holds."""
        if direction == "t2v":
            return self.data.kind
        return "picture" if self.data.gallery_visuals is not None else "caption"

    def sides(self, run: str, direction: Direction) -> tuple[Any, ...]:
        """Queries, gallery, and the groups of both."""
        visual, text = self.workspace.sides(run, self.split)
        if direction == "v2t":
            return visual, text, self.data.visual_group, self.data.text_group
        return text, visual, self.data.text_group, self.data.visual_group

    def relevance(self, direction: Direction) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
        """Truth as queries by gallery; None where the dataset knows none."""
        if self.data.truth is None:
            return None
        return lambda queries, gallery: self.workspace.truth(self.split, direction, queries, gallery)

    def values(self, run: str, direction: Direction) -> Values:
        """Each metric of each query."""
        return self._once(("values", run), lambda: _values(self, run))[direction]

    def ranks(self, run: str, direction: Direction) -> np.ndarray:
        return self.workspace.ranks(run, self.split, direction)

    def hits(self, run: str, direction: Direction) -> np.ndarray:
        return hits(self.ranks(run, direction), self.k)

    def top(self, run: str, direction: Direction) -> np.ndarray:
        """The first `TOP` results of every query."""
        queries, gallery, *_ = self.sides(run, direction)
        return self._once(("top", run, direction), lambda: top_items(queries, gallery, TOP))

    def samples(self, run: str, direction: Direction) -> ScoreSamples:
        def make() -> ScoreSamples:
            return score_samples(*self.sides(run, direction), self.relevance(direction), seed=self.seed)

        return self._once(("samples", run, direction), make)

    def effective(self, run: str) -> tuple[str, dict[str, Any]]:
        """The run's loss and its parameters as they ended."""
        loss, values = self.workspace.run(run).last_loss
        entry = LOSSES[loss]
        return loss, entry.defaults | {p.name: values[p.name] for p in entry.params if p.name in values}

    @property
    def evidence(self) -> Evidence:
        """What losses and selectors may ask for besides scores; features are read when they are missed."""

        def features() -> tuple[np.ndarray, np.ndarray | None]:
            encoder = self.workspace.run(self.names[0]).encoder["name"]
            frozen = self.workspace.embedder.frozen_features(self.data, encoder)
            return frozen.visual, frozen.text

        return self._once("evidence", lambda: Evidence(self.data.captions, features))

    def picture(self, index: int) -> str:
        """A visual as an address of itself, of a clip its middle frame; "" where there is none to be had."""
        if self.data.visuals is None:
            return ""
        return self._once(("picture", index), lambda: _inlined(lambda: self.data.image(index)))

    def gallery_picture(self, index: int) -> str:
        """As `picture`, of an item of the second side."""
        gallery = self.data.gallery_visuals
        if gallery is None:
            return ""
        return self._once(("gallery", index), lambda: _inlined(lambda: gallery[index]))

    def said(self, index: int) -> list[str]:
        """The captions that were written for a visual."""
        return [self.data.captions[i] for i in np.flatnonzero(self.data.visual_of_text == index)[:CAPTIONS]]

    def visual_words(self, index: int) -> str:
        if self.data.classes is not None:
            return f"{self.data.classes[self.data.visual_group[index]]} · {self.data.visual_ids[index]}"
        return self.data.visual_ids[index]

    def text_words(self, index: int) -> str:
        caption = self.data.captions[index]
        return (
            caption
            if self.data.classes is None
            else f"{self.data.classes[self.data.text_group[index]]} · {caption}"
        )

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


# ---- what the runs are -------------------------------------------------------------------------------------


def protocol_words(subject: Subject) -> list[str]:
    """What the numbers are measured on."""
    data = subject.data
    each = np.bincount(data.visual_of_text, minlength=len(data.visual_ids))
    low, high = int(each.min()), int(each.max())
    number = f"{low}" if low == high else f"{low} to {high}"
    second = "picture" if data.gallery_visuals is not None else "text" if data.classes else "caption"
    per = f"{number} {second}{'' if low == high == 1 else 's'} for each {data.kind}"
    text = (
        f"All is measured on {data.name}, split {data.split}: {len(data.visual_ids):,} {data.kind}s and "
        f"{len(data.captions):,} {second}s, {per}; fingerprint {data.fingerprint}."
    )
    if data.classes is not None:
        text += f" What matches is decided by {len(data.classes)} class labels."
    elif len(np.unique(data.visual_group)) < len(data.visual_ids):
        text += f" {data.kind.capitalize()}s of the same group count as matches of each other's {second}s."
    lines = [text]
    if data.truth is not None:
        known = "of every pair" if data.truth.complete else "of some pairs"
        lines.append(f"The truth {known} is known, also where nobody annotated it: {data.truth.source}.")
    if data.faults:
        skipped = ", ".join(f"{count:,} {fault}" for fault, count in data.faults.items())
        lines.append(f"Left out of the data when they were read: {skipped}.")
    return lines


def run_parts(subject: Subject) -> Iterator[str]:
    """The table of the runs, and warnings where they are not alike in what they were trained on."""
    for warning in data_warnings(subject):
        yield paragraph(warning, "warning")
    rows = []
    for name in subject.names:
        run = subject.workspace.run(name)
        config, training = run.config, run.training
        encoder = run.encoder["name"] or "features of the dataset"
        if not trains_a_loss(run):
            members = ", ".join(member.run.name for member in getattr(run, "members", ()))
            rows.append([subject.name(name), (run.about, members), "", encoder, "", "", ""])
            continue
        loss, values = subject.effective(name)
        first = f"{config.first_loss} for {config.first_epochs} epochs first" if config.first_loss else ""
        treated = f"suspects: {config.suspects}" if config.selector else ""
        params = ", ".join(f"{key} {_value(value)}" for key, value in values.items())
        epochs = str(training.get("epochs", config.epochs))
        best = f"best: {training['best_epoch']}" if "best_epoch" in training else ""
        pairs = run.dataset["sizes"].get("train", {}).get("texts")
        rows.append(
            [
                subject.name(name),
                (loss, "; ".join(part for part in (params, first) if part)),
                (config.matcher, f"{run.embed_dim} dimensions" if hasattr(run, "embed_dim") else ""),
                (encoder, run.encoder.get("hash", "")),
                (config.selector or "none", treated),
                (str(config.seed), f"{pairs:,} training pairs" if pairs else ""),
                (epochs, f"{best}; batch {config.batch_size}, lr {config.lr:g}".lstrip("; ")),
            ]
        )
    heads = ["run", "loss, as it ended", "matcher", "encoder", "selector", "seed", "epochs"]
    yield table(heads, rows, "The runs", words=True)


def data_warnings(subject: Subject) -> Iterator[str]:
    """Where the runs' data differ, so that a difference between them may not be the loss's."""
    facts: dict[str, Callable[[Any], str]] = {
        "training data": lambda run: run.dataset["fingerprints"].get("train", ""),
        "validation data": lambda run: run.dataset["fingerprints"].get("validation", ""),
        "encoders": lambda run: f"{run.encoder['name']} {run.encoder.get('hash', '')}".strip(),
        "numbers of training visuals": lambda run: str(run.config.train_visuals or "all"),
    }
    for what, fact in facts.items():
        held: dict[str, list[str]] = {}
        for name in subject.trained:
            held.setdefault(fact(subject.workspace.run(name)), []).append(name)
        if len(held) > 1:
            told = "; ".join(f"{value or 'unknown'}: {', '.join(names)}" for value, names in held.items())
            yield f"These runs have different {what}, so that not only the loss differs. {told}."
    for name in subject.names:
        recorded = subject.workspace.run(name).dataset["fingerprints"].get(subject.split)
        if recorded is not None and recorded != subject.data.fingerprint:
            yield f"{name} was trained beside another version of the {subject.split} split ({recorded})."


# ---- results -----------------------------------------------------------------------------------------------


def result_parts(subject: Subject) -> Iterator[str]:
    """Metrics with intervals in both directions, and the differences to the first run with their tests."""
    baseline, *others = subject.names
    for direction in DIRECTIONS:
        yield heading(subject.words(direction))
        of = {name: subject.values(name, direction) for name in subject.names}
        titles = list(of[baseline])
        rows = []
        for name in subject.names:
            cells = []
            for title in titles:
                mean, low, high = mean_interval(of[name][title], subject.seed)
                cells.append((f"{100 * mean:.1f}", f"{100 * low:.1f} – {100 * high:.1f}"))
            rows.append([subject.name(name), *cells, f"{np.nanmedian(subject.ranks(name, direction)):g}"])
        yield table(["run", *titles, "median rank"], rows, f"Metrics, {subject.words(direction)}")
        if others:
            yield _tests(subject, direction, titles, of)
    heads = {
        name: headline(subject.workspace.metrics(name, subject.split))
        for name in subject.names
        if subject.workspace.metrics(name, subject.split)
    }
    if heads:
        told = "; ".join(f"{name} {value:.1f}" for name, (_, value) in heads.items())
        figure = next(iter(heads.values()))[0]
        yield paragraph(f"{figure} of both directions, as the runs recorded it on this split: {told}.")
    yield paragraph(
        "Per cent, with 95% intervals from 1,000 resamples of the queries. They tell how far other queries of the same "
        "kind would move the figures, not how far another seed of the training would.",
        "quiet",
    )


def _tests(subject: Subject, direction: Direction, titles: Sequence[str], of: dict[str, Values]) -> str:
    """The table of differences to the first run."""
    baseline, *others = subject.names
    tested: dict[str, list[PairedQueries]] = {}
    for title in titles:
        tested[title] = [
            paired_queries(of[baseline][title], of[name][title], subject.seed) for name in others
        ]
    adjusted = {title: holm([one.p for one in found]) for title, found in tested.items()}
    rows = []
    for at, name in enumerate(others):
        cells = []
        for title in titles:
            one, p = tested[title][at], adjusted[title][at]
            sign = ("↑" if one.difference > 0 else "↓") if p < LEVEL else ""
            span = f"{100 * one.low:+.1f} … {100 * one.high:+.1f}".replace("-", "−")
            chance = "p < 0.001" if p < 0.001 else f"p {p:.3f}"
            cells.append((f"{100 * one.difference:+.1f}{sign}".replace("-", "−"), f"{span}, {chance}"))
        rows.append([subject.name(name), *cells])
    words = (
        f"Difference to {baseline} in points, query by query: interval, and p of McNemar's exact test (hits) or of sign "
        f"flips (the others) after Holm's correction for {len(others)} run{'s' if len(others) > 1 else ''}; ↑ ↓: "
        f"p < {LEVEL}."
    )
    name = f"Differences to {baseline}, {subject.words(direction)}"
    return paragraph(words, "quiet") + table(["run", *titles], rows, name)


def _values(subject: Subject, run: str) -> dict[Direction, Values]:
    data, workspace = subject.data, subject.workspace
    found: dict[Direction, Values] = {
        direction: {f"R@{k}": hits(subject.ranks(run, direction), k) for k in (1, 5, 10)}
        for direction in DIRECTIONS
    }
    groups = data.visual_group, data.text_group
    independent = workspace.run(run).independent
    if data.classes is not None:
        made = (
            rank_embeddings(*workspace.embeddings(run, subject.split), *groups)
            if independent
            else rank_scores(workspace.pair_scores(run, subject.split), *groups)
        )
        for direction, ranking in zip(DIRECTIONS, made, strict=True):
            found[direction]["mAP"] = average_precision(ranking)
    pairs = len(data.visual_ids) * len(data.captions)
    if data.truth is not None and data.truth.complete and pairs <= MAX_PAIRS:
        made = (
            rank_truth(*workspace.embeddings(run, subject.split), data.truth)
            if independent
            else rank_truth_of_scores(workspace.pair_scores(run, subject.split), data.truth)
        )
        for direction, ranking in zip(DIRECTIONS, made, strict=True):
            found[direction] |= {"true R@1": recall_at_k(ranking), "true mAP@R": map_at_r(ranking)}
    return found


def training_parts(subject: Subject) -> Iterator[str]:
    """How the runs got there."""
    histories = {name: subject.workspace.run(name).history for name in subject.trained}
    histories = {name: lines for name, lines in histories.items() if lines}
    if not histories:
        yield paragraph("These runs have no training of their own.")
        return
    scored = {}
    for name, lines in histories.items():
        told = [(line, headline(line)) for line in lines if "rsum" in line]
        scored[name] = [{"epoch": line["epoch"], "score": score} for line, (_, score) in told]
        if told:
            figure = told[0][1][0]
    scored = {name: lines for name, lines in scored.items() if lines}
    parts = []
    if scored:
        best = {name: max(lines, key=lambda line: line["score"]) for name, lines in scored.items()}
        last = [name for name in scored if best[name]["epoch"] == scored[name][-1]["epoch"]]
        words = f"Best {figure} on the validation split: " + ", ".join(
            f"{name} {one['score']:.1f} (epoch {one['epoch']})" for name, one in best.items()
        )
        words += "."
        if last:
            words += f" The last epoch was the best for {', '.join(last)}: more epochs might raise them."
        drawn = curves_figure(scored, subject.styles, "score", f"{figure}, validation")
        parts.append(chart(drawn, words, "Validation through training"))
    relative = {}
    for name, lines in histories.items():
        losses = [
            (line["epoch"], line["loss"]) for line in lines if isinstance(line.get("loss"), int | float)
        ]
        if losses and losses[0][1]:
            relative[name] = [{"epoch": e, "share": 100 * value / losses[0][1]} for e, value in losses]
    if relative:
        drawn = curves_figure(relative, subject.styles, "share", "training loss, % of the first epoch's")
        words = "The training loss, relative to each run's own first epoch: losses have no common scale."
        parts.append(chart(drawn, words, "Loss through training"))
    yield columns(*parts)


# ---- scores and weights ------------------------------------------------------------------------------------


def distribution_parts(subject: Subject) -> Iterator[str]:
    """Where each run's scores put matches and other pairs, in both directions."""
    complete = subject.data.truth is not None and subject.data.truth.complete
    parts = []
    for direction in DIRECTIONS:
        found = score_distributions({name: subject.samples(name, direction) for name in subject.names})
        figure = distribution_figure(found, subject.styles)
        title = subject.words(direction)
        words = f"{title}: {distribution_words(found, complete)}"
        parts.append(chart(figure, words, f"Distributions of scores, {title}"))
    yield columns(*parts)


def weight_parts(subject: Subject) -> Iterator[str]:
    """How much each pair weighs in the loss that a run was trained with: the curve, and a batch."""
    curves = {}
    for name in subject.trained:
        loss, hyper = subject.effective(name)
        values = subject.samples(name, "t2v").values
        positive, hardest = (
            float(np.median(values[kind])) if len(values[kind]) else default
            for kind, default in (("positives", 0.6), ("hardest", 0.4))
        )
        others = typical_negatives(OTHERS, hardest, SPREAD)
        curves[name] = weight_curve(loss, hyper, positive=positive, others=others)
    if not curves:
        yield paragraph("A combination of runs has no loss, so its pairs have no weights.")
        return
    words = (
        f"How hard each loss pushes a negative of a given similarity, relative to its own largest push. "
        f"{weight_comparison_words(curves)} Each in its own setting: a positive and a hardest other negative at the "
        f"medians of the run's scores, {OTHERS - 1} more negatives below."
    )
    yield chart(weight_comparison_figure(curves, subject.styles), words, "Weight of a negative by similarity")
    data = subject.data
    visuals, texts = sample_batch(data.visual_of_text, BATCH, subject.seed)
    unannotated = None
    if data.truth is not None:
        same = data.visual_group[visuals][:, None] == data.text_group[texts][None]
        unannotated = (data.truth.block(visuals, texts) > 0) & ~same
    drawn = []
    for name in curves:
        loss, hyper = subject.effective(name)
        visual, text = subject.workspace.sides(name, subject.split)
        config = subject.workspace.run(name).config
        # The run's own selector acts as in training; of the others the default one only marks.
        own = config.selector in SELECTORS
        chosen = {"selector": config.selector if own else DEFAULT} if data.gallery_visuals is None else {}
        if own:
            chosen |= {"selector_params": config.selector_params, "suspects": config.suspects}
        try:
            pairs = batch_weights(
                visual[visuals],
                text[texts],
                data.visual_group[visuals],
                data.text_group[texts],
                loss,
                hyper,
                evidence=subject.evidence,
                items=(visuals, texts),
                **chosen,
            )
        except (ValueError, OSError) as error:
            drawn.append(paragraph(f"{name}: {error}", "warning"))
            continue
        figure = matrix_figure(pairs, kind=data.kind, unannotated=unannotated)
        figure.update_layout(height=470)
        words = f"{name}: {matrix_words(pairs, data.kind, unannotated)}"
        drawn.append(chart(figure, words, f"Weights of one batch under {name}"))
    yield heading(f"The same batch of {len(visuals)} pairs in each loss")
    yield columns(*drawn)


# ---- errors ------------------------------------------------------------------------------------------------


def bucket_parts(subject: Subject) -> Iterator[str]:
    """Which queries runs get right together and alone, and how near the others come."""
    baseline, *others = subject.names
    for direction in DIRECTIONS:
        yield heading(subject.words(direction))
        ranks = {name: subject.ranks(name, direction) for name in subject.names}
        found = {
            f"B = {name}": buckets(np.stack([ranks[baseline], ranks[name]]), subject.k) for name in others
        }
        if len(others) != 1:
            title = f"all {len(ranks)} runs" if others else baseline
            found[title] = buckets(np.stack(list(ranks.values())), subject.k)
        first = next(iter(found.values()))
        pair = [baseline, others[0]] if others else [baseline]
        words = buckets_words(first, pair, subject.k) + (f" A is {baseline}." if others else "")
        drawn = [chart(buckets_figure(found), words, f"Queries by who is right, {subject.words(direction)}")]
        if others:
            a, b = ranks[baseline], ranks[others[0]]
            figure = ranks_figure(a, b, (baseline, others[0]))
            words = (
                f"Rank of the match under {baseline} and {others[0]}: {int((a < b).sum()):,} queries stand better under "
                f"{baseline}, {int((b < a).sum()):,} under {others[0]}, {int((a == b).sum()):,} equally."
            )
            drawn.append(chart(figure, words, f"Ranks under two runs, {subject.words(direction)}"))
        yield columns(*drawn)
        rows = []
        for name in subject.names:
            _, _, query_group, gallery_group = subject.sides(name, direction)
            near = [missed_by_one(ranks[name], k) for k in (1, TOP)]
            cells = [_of(int(one.sum()), len(one)) for one in near]
            best = subject.top(name, direction)[:, 0]
            hidden = true_but_unannotated(best, query_group, gallery_group, subject.relevance(direction))
            known = ~np.isnan(hidden)
            if subject.data.truth is not None:
                cells.append(_of(int(np.nansum(hidden)), int(known.sum())))
            rows.append([subject.name(name), *cells])
        heads = ["run", "missed R@1 by one place", f"missed R@{TOP} by one place"]
        if subject.data.truth is not None:
            heads.append("top hit is true, not annotated")
        yield table(heads, rows, f"Near misses, {subject.words(direction)}")


def slice_parts(subject: Subject) -> Iterator[str]:
    """On which kinds of queries the runs are right, and where the first two differ."""
    data = subject.data
    labels = None if data.classes is None else [data.classes[group] for group in data.visual_group]
    baseline, *others = subject.names
    for direction in DIRECTIONS:
        slicings = query_slicings(
            data.captions, data.visual_of_text, direction, data.columns, labels, words=data.gallery_visuals is None
        )  # fmt: skip
        yield heading(subject.words(direction))
        if not slicings:
            yield paragraph("Nothing is known of these queries to slice them by.")
            continue
        right = {name: subject.hits(name, direction) for name in subject.names}
        drawn, rows = [], []
        for title, slicing in slicings.items():
            found = {name: slice_means(right[name], slicing, subject.seed) for name in subject.names}
            words = f"By {title}."
            if others:
                compared = {
                    name: slice_differences(right[baseline], right[name], slicing, subject.seed)
                    for name in others
                }
                words = slices_words(title, compared[others[0]], (baseline, others[0]))
                rows += [(name, title, one) for name, some in compared.items() for one in some]
            figure = slices_figure(found, subject.styles, f"R@{subject.k}, %")
            drawn.append(chart(figure, words, f"R@{subject.k} by {title}, {subject.words(direction)}"))
        yield columns(*drawn)
        rows = [row for row in rows if row[2].low > 0 or row[2].high < 0]
        rows.sort(key=lambda row: max(row[2].low, -row[2].high), reverse=True)
        if others:
            yield _difference_table(subject, rows, baseline, direction)


def _difference_table(
    subject: Subject, rows: Sequence[tuple[str, str, Any]], baseline: str, direction: Direction
) -> str:
    if not rows:
        return paragraph(f"In none of these slices does a run differ from {baseline} by more than chance.")
    told = (
        f"Slices whose interval of the difference to {baseline} leaves out 0, the surest first: "
        f"{len(rows)}{f', of which {SHOWN_SLICES} are shown' if len(rows) > SHOWN_SLICES else ''}. Nothing is corrected "
        "for their number: with many slices some are there by chance."
    )
    cells = [
        [
            subject.name(name),
            (one.name, title),
            f"{100 * one.mean:+.1f}".replace("-", "−"),
            f"{100 * one.low:+.1f} … {100 * one.high:+.1f}".replace("-", "−"),
            f"{one.count:,}",
        ]
        for name, title, one in rows[:SHOWN_SLICES]
    ]
    heads = ["run", "slice", f"R@{subject.k} minus {baseline}'s", "interval", "queries"]
    return paragraph(told, "quiet") + table(
        heads, cells, f"Slices that differ, {subject.words(direction)}", words=True
    )


def hub_parts(subject: Subject) -> Iterator[str]:
    """Items that are everywhere, items that are nowhere, and the gap between the modalities."""
    drawn, found = [], {}
    for direction in DIRECTIONS:
        count = len(subject.data.captions if direction == "v2t" else subject.data.visual_ids)
        found[direction] = {name: hubness(subject.top(name, direction), count) for name in subject.names}
        figure = hubness_figure(found[direction], subject.styles)
        title = subject.words(direction)
        words = f"{title}: {hubness_words(found[direction], subject.noun(direction))}"
        drawn.append(chart(figure, words, f"How often items are retrieved, {title}"))
    yield columns(*drawn)
    rows = []
    for name in subject.names:
        cells: list[Any] = []
        for direction in DIRECTIONS:
            one: Hubness = found[direction][name]
            cells += [f"{one.skewness:.2f}", percent(one.never), f"{one.counts.max():,}"]
        visual, text = subject.workspace.sides(name, subject.split)
        if isinstance(visual, ScoredSide):
            cells += ["", "", "", ""]
        else:
            gap = modality_gap(visual, text)
            values = (gap.distance, gap.within_visual, gap.within_text, gap.between)
            cells += ["" if np.isnan(value) else f"{value:.3f}".replace("-", "−") for value in values]
        rows.append([subject.name(name), *cells])
    heads = ["run"]
    for direction in DIRECTIONS:
        way = subject.words(direction)
        heads += [f"{way}: skewness", "never retrieved", "most lists of one item"]
    heads += ["modality gap", f"cosine of {subject.data.kind}s", "of texts", "across"]
    yield table(heads, rows, "Hubs and modality gap")
    told = (
        f"Lists are the first {TOP} results of every query. The modality gap is the distance between the centroids of "
        "both sides; cosines are means over all pairs."
    )
    if any(not subject.workspace.run(name).independent for name in subject.names):
        told += " A run that scores pairs has no common space, so no gap."
    yield paragraph(told, "quiet")


# ---- examples ----------------------------------------------------------------------------------------------


def example_parts(subject: Subject) -> Iterator[str]:
    """What the runs find for queries on which they disagree most, drawn by seed."""
    data, rng = subject.data, np.random.default_rng(subject.seed)
    yield paragraph(
        f"{EXAMPLES} queries of each direction, drawn (seed {subject.seed}) from the {POOL} on which the runs rank the "
        "match most differently: not typical ones."
        if len(subject.names) > 1
        else f"{EXAMPLES} queries of each direction, drawn (seed {subject.seed}) from the {POOL} worst ones: not typical."
    )
    for direction in DIRECTIONS[::-1]:
        yield heading(subject.words(direction))
        order = subject.workspace.disagreements(subject.names, subject.split, direction)[:POOL]
        for query in rng.choice(order, min(EXAMPLES, len(order)), replace=False).tolist():
            found = subject.workspace.search(
                Query(index=query), subject.names, subject.split, direction, RESULTS
            )
            answers = []
            for column in found:
                note = column.fault
                if column.annotated is not None:
                    note = (
                        f"{'first of its class' if data.classes else 'match'}: rank {column.annotated.rank:,}"
                    )
                tiles = [_tile(subject, result, direction) for result in column.results]
                answers.append((subject.name(column.run), note, tiles))
            if direction == "t2v":
                asked, said, picture = subject.text_words(query), [], subject.gallery_picture(query)
            else:
                asked, picture = subject.visual_words(query), subject.picture(query)
                said = subject.said(query) if data.gallery_visuals is None and data.classes is None else []
            yield query_grid(asked, said, picture, answers)


def _tile(subject: Subject, result: Any, direction: Direction) -> Tile:
    badges = {"annotated": "same class" if subject.data.classes else "match", "true": "true, not annotated"}
    status = result.status if result.status in badges else ""
    if direction == "t2v":
        picture, words = subject.picture(result.index), subject.visual_words(result.index)
        said = subject.said(result.index)
        if not picture and said and subject.data.classes is None:
            words = f"{words}: {said[0]}"
    else:
        picture, words = subject.gallery_picture(result.index), subject.text_words(result.index)
    return Tile(result.rank, result.score, status, badges.get(result.status, ""), picture, words)


def suspect_parts(subject: Subject) -> Iterator[str]:
    """Which of the hardest negatives of each run are probably matches that nobody annotated."""
    data = subject.data
    if data.gallery_visuals is not None:
        yield paragraph("Selectors compare captions, and here pictures are compared with pictures.")
        return
    if not subject.trained:
        yield paragraph(
            "A combination of runs has no loss, so nothing says which negatives it pushes hardest."
        )
        return
    groups = data.visual_group, data.text_group
    rows, cards = [], []
    params = SELECTORS[DEFAULT].defaults
    for name in subject.trained:
        loss, hyper = subject.effective(name)
        try:
            found = hard_negatives_by_weight(
                *subject.sides(name, "t2v"), loss, hyper, subject.relevance("t2v"), evidence=subject.evidence,
                direction="t2v",
            )  # fmt: skip
            texts, visuals = found.query, found.candidate
            sides = subject.workspace.sides(name, subject.split)
            mask = suspected_pairs(DEFAULT, params, visuals, texts, *sides, *groups, subject.evidence, "t2v")
            chosen = np.flatnonzero(mask)[:SUSPECTS]
            nearest, near = nearest_own_caption(
                visuals[chosen], texts[chosen], *groups, subject.evidence.similarity
            )
        except (ValueError, OSError) as error:
            yield paragraph(f"{name}: {error}", "warning")
            continue
        right = precision_recall(mask, found.truth)
        cells = [f"{len(found):,}", _of(int(mask.sum()), len(mask))]
        if data.truth is not None:
            cells += [
                _of(right.matches, right.known),
                "" if right.precision is None else percent(right.precision),
                "" if right.recall is None else percent(right.recall),
            ]
        rows.append([subject.name(name), *cells])
        shown = []
        for at, own, likeness in zip(chosen.tolist(), nearest.tolist(), near.tolist(), strict=True):
            lines = [
                f"{subject.visual_words(visuals[at])} · rank {found.rank[at]:,} · score {found.score[at]:.3f} · "
                f"weight {found.weight[at]:.3g}"
            ]
            if own >= 0:
                lines.append(f"written for it: {data.captions[own]} (similarity {likeness:.2f})")
            if not np.isnan(found.truth[at]):
                lines.append("truly a match" if found.truth[at] > 0 else "truly no match")
            shown.append((subject.picture(int(visuals[at])), data.captions[texts[at]], lines))
        cards.append((name, shown))
    yield paragraph(
        f"Of each run the negatives ({subject.words('t2v')}) that its loss pushes hardest over the whole split, and those "
        f"that {DEFAULT} suspects at its defaults: {SELECTORS[DEFAULT].caption}"
    )
    heads = ["run", "hard negatives", "suspected"]
    if data.truth is not None:
        heads += ["truly matches", "precision", "recall"]
    if rows:
        yield table(heads, rows, "Suspected false negatives")
    for name, shown in cards:
        yield heading(f"{name}: the heaviest suspects")
        yield suspect_cards(shown) if shown else paragraph("It pushes no pair that is suspected.")


def _of(part: int, whole: int) -> tuple[str, str]:
    return f"{100 * part / max(whole, 1):.1f}%", f"{part:,} of {whole:,}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _inlined(load: Callable[[], Any]) -> str:
    """A picture that can't be read is left out; its words stay."""
    try:
        return inline(load())
    except (OSError, ValueError):
        return ""
