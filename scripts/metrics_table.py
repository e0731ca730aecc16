"""Tables of metrics in the terminal: a row for each run and direction, and all figures in per cent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xmr.core import DIRECTIONS
from xmr.data.truths import TRUTHS
from xmr.metrics import headline

# Column titles and what they show: key below the direction, factor, format.
COLUMNS = {
    "R@1": ("recall_at_1", 100, ".1f"),
    "±": ("half_recall_at_1", 100, ".1f"),
    "R@5": ("recall_at_5", 100, ".1f"),
    "R@10": ("recall_at_10", 100, ".1f"),
    "mAP": ("map", 100, ".1f"),
    "mAP@50": ("map_at_50", 100, ".1f"),
    "median": ("median_rank", 1, "g"),
    "R-prec": ("r_precision", 100, ".1f"),
    "mAP@R": ("map_at_r", 100, ".1f"),
    "true R@1": ("true_recall_at_1", 100, ".1f"),
    "true mAP@R": ("true_map_at_r", 100, ".1f"),
    "true R-prec": ("true_r_precision", 100, ".1f"),
    "true nDCG": ("true_ndcg", 100, ".1f"),
    "true xinfAP": ("true_xinf_ap", 100, ".1f"),
}
DUPLICATES = (
    "with duplicates: pairs that nobody annotated and nobody can tell from an annotated one (an equal visual, a caption that "
    "reads alike) count as matches too."
)
METRICS_OF = {  # parts of a result, and how their rows begin
    "metrics": "",
    "with_duplicates": "with duplicates",
    "with_verdicts": "with verdicts",
    "first_stage": "first stage",
}


def as_percent(result: dict[str, Any]) -> dict[str, Any]:
    """A result with its shares in per cent, also those of each class."""
    parts = {name: percent(result[name]) for name in METRICS_OF if name in result}
    if "truths" in result:
        parts["truths"] = {
            name: one | {"metrics": percent(one["metrics"])} for name, one in result["truths"].items()
        }
    if "choices" in result:
        shares = ("right", "chance")
        parts["choices"] = [one | {name: 100 * one[name] for name in shares} for one in result["choices"]]
    if "per_class" in result:
        classes = result["per_class"].items()
        parts["per_class"] = {
            side: {name: 100 * share for name, share in one.items()} for side, one in classes
        }
    return result | parts


def percent(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics, of one split or by split, with their shares in per cent; rsum is, ranks and counts are none."""
    return {
        name: percent(value) if isinstance(value, dict) else value if _no_share(name) else 100 * value
        for name, value in metrics.items()
    }


def _no_share(name: str) -> bool:
    return name == "rsum" or name.endswith(("_rank", "without_positives"))


def tables(results: list[dict[str, Any]], split: str, per_class: bool) -> list[str]:
    """The table of all results; where they are of several data sets, one for each with its name above."""
    by_data: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        by_data.setdefault((result["dataset"], result["fingerprint"]), []).append(result)
    shown = []
    for some in by_data.values():
        lines = [table(some)]
        if len(by_data) > 1:
            first = some[0]
            sizes = f"{first['visuals']:,} visuals, {first['texts']:,} texts"
            lines.insert(0, f"{first['dataset']} ({split}, {first['fingerprint']}): {sizes}")
        if per_class:
            lines.append("\n" + class_table(some))
        shown.append("\n".join(lines))
    return shown


def table(results: list[dict[str, Any]]) -> str:
    """An aligned table: a row per run and direction, rsum (mAP of class labels) in the first row of each; then the same
    with what people confirmed as matches, of a pair scorer's first stage, and by the truths of the field."""
    parts = [metrics for result in results for _, metrics in _parts(result)]
    shown = {
        title: column
        for title, column in COLUMNS.items()
        if any(figure(metrics, "v2t", column[0]) is not None for metrics in parts)
    }
    figures = list(dict.fromkeys(headline(metrics)[0] for metrics in parts))
    rows = [["run", "matcher", "direction", *shown, *(f"mean {f}" if f == "mAP" else f for f in figures)]]
    for result in results:
        for label, metrics in _parts(result):
            heads = ("", label) if label else (result["name"], result["matcher"])
            rows += _rows(*heads, metrics, shown, figures)
    return "\n".join([aligned(rows, left=3), *notes(results)])


def _parts(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each part of a result that has rows of its own, with what it is called: "" of the run itself."""
    yield from ((label, result[name]) for name, label in METRICS_OF.items() if name in result)
    yield from ((TRUTHS[name], one["metrics"]) for name, one in result.get("truths", {}).items())


def notes(results: list[dict[str, Any]]) -> list[str]:
    """What the figures are of, a line for each data set."""
    lines = []
    for one in {result["fingerprint"]: result for result in results}.values():
        lines.append(
            f"{one['dataset']}, {one['split']}: {one['visuals']:,} visuals × {one['texts']:,} texts, each side asks among all "
            "of the other; per cent. ±: half of the 95% interval of R@1, from 1,000 resamples of the visuals with all "
            "their texts; another seed of the training moves the figures besides."
        )
        lines += [one["judged"]] if one["judged"] else []
        if "with_duplicates" in one:
            lines.append(DUPLICATES)
        lines += [truth["about"] for truth in one.get("truths", {}).values()]
    return lines


def figure(metrics: dict[str, float], direction: str, key: str) -> float | None:
    """One of the metrics, or half of the interval of one; None where it is not there."""
    name = key.removeprefix("half_")
    if name == key:
        return metrics.get(f"{direction}/{key}")
    low, high = (metrics.get(f"{direction}/{end}_{name}") for end in ("low", "high"))
    return None if low is None or high is None else (high - low) / 2


def _rows(
    name: str,
    matcher: str,
    metrics: dict[str, float],
    shown: dict[str, tuple[str, float, str]],
    figures: list[str],
) -> list[list[str]]:
    rows = []
    own, score = headline(metrics)
    for direction in DIRECTIONS:
        first = direction == DIRECTIONS[0]
        cells = []
        for key, factor, style in shown.values():
            value = figure(metrics, direction, key)
            cells.append("" if value is None else format(factor * value, style))
        heads = [f"{score:.1f}" if first and figure == own else "" for figure in figures]
        rows.append([name if first else "", matcher if first else "", direction, *cells, *heads])
    return rows


def class_table(results: list[dict[str, Any]]) -> str:
    """An aligned table of mean average precision: a row per class, two columns per run, and the mean in the last row."""
    columns = [(result, direction) for result in results for direction in DIRECTIONS]
    names = list(dict.fromkeys(name for r, direction in columns for name in r["per_class"][direction]))
    rows = [["mAP", *(f"{result['name']} {direction}" for result, direction in columns)]]
    for name in names:
        values = [result["per_class"][direction].get(name) for result, direction in columns]
        rows.append([name, *("" if value is None else f"{100 * value:.1f}" for value in values)])
    rows.append(
        ["all", *(f"{100 * result['metrics'][f'{direction}/map']:.1f}" for result, direction in columns)]
    )
    return aligned(rows, left=1)


def choice_tables(results: list[dict[str, Any]]) -> list[str]:
    """An aligned table of the questions that each run answers, where some were asked."""
    rows = [["run", "questions of", "choosing the", "questions", "right", "chance"]]
    for result in results:
        for n, one in enumerate(result.get("choices", ())):
            shares = [f"{100 * one[name]:.1f}" for name in ("right", "chance")]
            rows.append(
                ["" if n else result["name"], one["file"], one["chosen"], f"{one['questions']:,}", *shares]
            )
    return [aligned(rows, left=3)] if len(rows) > 1 else []


def aligned(rows: list[list[str]], left: int) -> str:
    """Rows of cells in columns: the first `left` to the left (names), the others to the right (numbers)."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
