"""Writes what the documentation takes from the code and from the shipped runs: `make docs`.

What stands between `<!-- made: NAME -->` and `<!-- end -->` in docs/*.md comes from the function of that name here. The exit
code is 1 where a page did not match its source any more: it does now, and the change wants to be committed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from xmr.registry import Entry, Param, Registry
from xmr.tables import markdown_table

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PART = re.compile(r"(<!-- made: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
MADE: dict[str, Callable[[], str]] = {}
MOST_TOLD = 1e6  # a limit above it only keeps numbers in range
SLOW = ("difficulties",)  # seconds: tests leave them to `make docs`


def main() -> int:
    stale = []
    for page in sorted(DOCS.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        if (after := made_again(before)) != before:
            page.write_text(after, encoding="utf-8")
            stale.append(str(page.relative_to(ROOT)))
    if stale:
        print(
            f"Did not match their sources, and are written anew: {', '.join(stale)}. Look at them and commit them."
        )
    return 1 if stale else 0


def made_again(text: str, leave: Sequence[str] = ()) -> str:
    """The page with its made parts as they should be, but for those to leave. Raises KeyError on a part that nobody makes."""

    def part(found: re.Match[str]) -> str:
        start, name, held, end = found.groups()
        return start + (held if name in leave else MADE[name]()) + end

    return PART.sub(part, text)


def makes(part: Callable[[], str]) -> Callable[[], str]:
    """Decorator: the part of that name."""
    MADE[part.__name__] = part
    return part


@makes
def losses() -> str:
    from xmr.losses import LOSSES

    return "\n".join(_entry(entry) for entry in LOSSES.values() if entry.shipped)


@makes
def shapes() -> str:
    from xmr.losses import LOSSES
    from xmr.views.losses import findings
    from xmr.views.losses import shapes as measured

    found = {name: shape for name, shape in measured().items() if LOSSES[name].shipped}
    return "".join(f"* {text}\n" for text in findings(found).values())


@makes
def selectors() -> str:
    from xmr.selection import SELECTORS

    return "\n".join(_entry(entry) for entry in SELECTORS.values() if entry.shipped)


@makes
def matchers() -> str:
    from xmr.matchers import MATCHERS

    return "\n".join(_entry(entry) for entry in MATCHERS.values() if entry.shipped)


@makes
def kinds() -> str:
    from xmr.data.sources import KINDS

    return _parameters_table("kind of folder", "what lies in it", KINDS)


@makes
def datasets() -> str:
    from xmr.data import DATASETS

    return _parameters_table("dataset", "what it is", DATASETS)


@makes
def difficulties() -> str:
    from xmr.data import load_dataset

    rows = []
    for difficulty in (0.2, 0.5, 0.8):
        about = load_dataset("blocks", "test", difficulty=difficulty).about
        best = [
            " / ".join(_percent(about["ceiling"][f"{way}/recall_at_{k}"]) for k in (1, 5, 10))
            for way in ("v2t", "t2v")
        ]
        name = "**0.5** (default)" if difficulty == 0.5 else f"{difficulty}"
        hidden = f"{_percent(about['unannotated_share'])} %"
        rows.append([name, f"{about['true_visuals_median']:g}", hidden, *best])
    head = ["difficulty", "pictures that a caption is true of, median", "true pairs that nobody annotated"]
    return _table([*head, "R@1/5/10 of a model that knows only the truth: v2t", "t2v"], rows)


@makes
def shipped() -> str:
    from xmr.checkpoints import list_runs

    tables = []
    runs, _ = list_runs(ROOT / "checkpoints")
    for name in sorted({run.dataset["name"] for run in runs}):
        own = [run for run in runs if run.dataset["name"] == name]
        own.sort(key=lambda run: (-run.metrics["test"]["rsum"], run.name))
        rows = []
        for run in own:
            measured = run.metrics["test"]
            shares = ("v2t/recall_at_1", "t2v/recall_at_1", "v2t/true_map_at_r", "t2v/true_map_at_r")
            rows.append(
                [f"`{run.name}`", f"{measured['rsum']:.1f}", *(_percent(measured[key]) for key in shares)]
            )
        head = [f"run on `{name}`", "rsum", "v2t R@1", "t2v R@1", "v2t true mAP@R", "t2v true mAP@R"]
        tables.append(_table(head, rows))
    return "\n".join(tables)


@makes
def towers() -> str:
    """Of benchmarks/photo_model.py."""
    found = json.loads((DOCS / "results-towers.json").read_text("utf-8"))
    settings, sizes, aligned = found["settings"], found["sizes"], found["aligned"]
    parts = found["losses"].values()
    wall, own = (sum(part[key] for part in parts) / 60 for key in ("seconds", "processor"))
    rows = []
    for loss, one in found["losses"].items():
        grid = ", ".join(f"{rate}: {score:.1f}" for rate, score in one["validation"].items())
        way = [f"{part['validation']:.1f} / {part['test']:.1f}" for part in one["path"]]
        before, after = (_within(one["metrics"][when]) for when in ("zero_shot", "test"))
        rows.append([f"`{loss}`", grid, f"{one['rate']:g}", *way, after])
    rows.append(["the model before", "", "", way[0], "", "", before])
    head = [
        "loss",
        "validation rsum at each rate",
        "chosen",
        "before: validation / test rsum",
        "half way",
        "after",
    ]
    table = _table([*head, "test R@1, v2t and t2v"], rows)
    told = (
        f"{found['parameters'] / 1e6:.1f} M parameters; pictures of {found['side']} pixels, {found['tokens']} tokens of a caption "
        f"({found['cut']:,} of {sizes['test']['texts']:,} test captions are longer). The test split has {sizes['test']['visuals']:,} pictures. "
        f"Aligned on {sizes['train']['visuals']:,} pictures (validation rsum {aligned['validation']:.1f}), "
        f"then `--tune {settings['tune']}` on {settings['train_visuals']} of them, {settings['epochs']} epoch"
        f"{'s' * (settings['epochs'] > 1)} of {one['steps']} steps in batches of {settings['batch_size']}, seed 0. "
        f"The four losses took {wall:.0f} minutes on {found['cores']} busy cores, {own:.0f} of processor time:"
    )
    return f"{told}\n\n```sh\n{found['command']}\n```\n\n{table}"


@makes
def verdicts() -> str:
    """Of benchmarks/verdicts.py."""
    found = json.loads((DOCS / "results-verdicts.json").read_text("utf-8"))
    measures = ("t2v R@1", "t2v true mAP@R", "v2t R@1", "v2t true mAP@R")
    rows = []
    for loss, counts in found["losses"].items():
        for count, line in counts.items():
            rows.append(
                [
                    f"`{loss}`",
                    f"{int(count):,}",
                    f"{line['matches']:,}",
                    *(_gain(line[one]) for one in measures),
                ]
            )
    sizes, settings = found["sizes"]["train"], found["settings"]
    told = (
        f"Trained on {sizes['visuals']:,} pictures and {sizes['texts']:,} captions, {settings['epochs']} epochs in batches of "
        f"{settings['batch_size']}, {found['seeds']} seeds, {found['seconds'] / 60:.0f} minutes of training on a busy machine:"
    )
    head = ["loss", "verdicts", "matches among them", *measures]
    return f"{told}\n\n```sh\n{found['command']}\n```\n\n{_table(head, rows)}"


def _gain(measured: Mapping[str, Any]) -> str:
    """The mean over seeds in per cent; the mean of the differences in points, and on how many seeds a test tells them apart."""
    mean, seeds = _percent(measured["mean"]), measured["seeds"]
    if not seeds:
        return mean
    gain = 100 * sum(difference for difference, *_ in seeds) / len(seeds)
    sure = sum(p < 0.05 for *_, p in seeds)
    return f"{mean} ({gain:+.1f}; {sure} of {len(seeds)})".replace("-", "−")


def _within(metrics: Mapping[str, float]) -> str:
    """R@1 of both directions with the ends of their intervals, per cent."""
    told = [
        " ".join(
            [
                _percent(metrics[f"{way}/recall_at_1"]),
                "({} to {})".format(
                    *(_percent(metrics[f"{way}/{end}_recall_at_1"]) for end in ("low", "high"))
                ),
            ]
        )
        for way in ("v2t", "t2v")
    ]
    return ", ".join(told)


@makes
def options() -> str:
    """Of app.py."""
    from app import _parser

    rows = []
    for one in _parser()._actions[1:]:  # without --help
        words = " ".join(
            [one.option_strings[0], *filter(None, [one.metavar or one.option_strings[0][2:].upper()])]
        )
        said = one.help or {"host": "default: 127.0.0.1", "port": "default: 7860"}[one.dest]
        rows.append([f"`{words}`", said.replace("|", "\\|")])
    return _table(["option of app.py", ""], rows).replace("NAME|PATH", "NAME\\|PATH")


@makes
def limits() -> str:
    from xmr.limits import LIMITS

    def told(most: int | None) -> str:
        return "no limit" if most is None else f"{most:,}"

    rows = [[one.what, told(one.usual), told(one.public)] for one in LIMITS]
    return _table(["the most", "usually", "in public"], rows)


def _entry(entry: Entry) -> str:
    """A heading, what the docstring says, and the parameters."""
    words, fields = entry.told()
    words = [*map(_plain, words)]
    lines = [f"- *{name}*: {_plain(text)}" for name, text in fields.items()]
    if entry.params:
        lines.append(f"- *Parameters*: {', '.join(map(_parameter, entry.params))}")
    if entry.needs:
        lines.append(f"- *Needs*: {', '.join(f'`{need}`' for need in entry.needs)}")
    caption = f"**{_plain(entry.caption)}**" + "  " * bool(words)
    return "\n".join([f"### `{entry.name}`", caption, *words, "", *lines, ""])


def _parameter(param: Param) -> str:
    default = param.default
    if param.kind is not str:
        default = str(default).lower() if param.kind is bool else f"{default:g}"
    default = "none" if default == "" else default
    if param.choices:
        return f"`{param.name}` {default} (of {', '.join(map(str, param.choices))})"
    if not param.range:
        return f"`{param.name}` {default}"
    if param.range.high > MOST_TOLD:
        return f"`{param.name}` {default} (from {param.range.low:g})"
    limits = f"{param.range.low:g} to {param.range.high:g}"
    if param.range.search:
        limits += ", compared in {:g} to {:g}".format(*param.range.search)
    return f"`{param.name}` {default} ({limits})"


def _parameters_table(kind: str, what: str, registry: Registry) -> str:
    rows = [
        [
            f"`{entry.name}`",
            _plain(entry.caption),
            ", ".join(map(_parameter, entry.params)).replace("|", "\\|"),
        ]
        for entry in registry.values()
    ]
    return _table([kind, what, "parameters: `--set NAME=VALUE`"], rows)


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is, but for `code`, *emphasis* and formulas, which docstrings write in the same way."""
    return "".join(
        re.sub(r"^\$+(.*?)\$+$", r"$`\1`$", part)
        if part.startswith(("`", "$"))
        else re.sub(r"[\[\]<|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", part)
        for part in re.split(r"(`[^`]*`|\$\$?[^$]+\$\$?|https?://\S+)", text)
        if part is not None
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown_table([head, *rows]) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    sys.exit(main())
