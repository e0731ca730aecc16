"""The model card of a repository: what the Hub reads of it, and what people do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from xmr.checkpoints import Run
from xmr.core import DIRECTIONS
from xmr.data.hub import PRESETS, is_remote, parse
from xmr.hub import front_matter
from xmr.metrics import headline
from xmr.publishing.folders import MADE
from xmr.publishing.paths import portable, portable_command

RECALLS = {"R@1": "recall_at_1", "R@5": "recall_at_5", "R@10": "recall_at_10"}
CLASSES = {"R@1": "recall_at_1", "mAP": "map", "mAP@50": "map_at_50"}
LEVEL = 0.95  # of the intervals, by visual


def data_name(run: Run) -> str:
    """The data set's name on the Hub, "" where it is none of the Hub."""
    source = run.config.dataset
    if not is_remote(source):
        return ""
    preset = PRESETS.get(source.partition("@")[0])
    return parse(preset.source if preset else source).name


def plain(text: str) -> str:
    """A name as Markdown shows it letter by letter, also in a table."""
    return re.sub(r"[\\`*_\[\]<>|#~$&]", r"\\\g<0>", text)


def front(runs: Sequence[Run], license: str, bases: Sequence[str], open_clips: bool) -> dict[str, Any]:
    """The front matter; `bases` are the encoders' names on the Hub, and `open_clips` tells that open_clip loads it."""
    kind = runs[0].dataset.get("kind", "image")
    task = "video-text-retrieval" if kind == "clip" else "image-text-retrieval"
    bases, data = sorted({*bases} - {""}), sorted({data_name(run) for run in runs} - {""})
    return {
        "license": license,
        "library_name": "open_clip" if open_clips else "xmr",
        **({"base_model": bases} if bases else {}),
        **({"datasets": data} if data else {}),
        "pipeline_tag": "zero-shot-image-classification" if open_clips else "feature-extraction",
        "tags": list(
            dict.fromkeys(
                ["xmr", "cross-modal-retrieval", task, *filter(None, (run.config.loss for run in runs))]
            )
        ),
        "model-index": [{"name": run.name, "results": [_result(run, task)]} for run in runs],
    }


def _result(run: Run, task: str) -> dict[str, Any]:
    test, sizes = run.metrics["test"], run.dataset["sizes"]["test"]
    metrics = []
    for key, value in test.items():
        direction, _, name = key.rpartition("/")
        if not name.startswith(("recall_at_", "map")) and key != "rsum":
            continue
        ends = [test.get(f"{direction}/{end}_{name}") for end in ("low", "high")]
        known = {} if None in ends else {"args": {"interval": ends, "level": LEVEL, "by": "visual"}}
        metrics.append({"type": name, "name": key, "value": value, **known})
    about = {"fingerprint": run.dataset["fingerprints"]["test"], **sizes, "directions": list(DIRECTIONS)}
    name = run.dataset["name"]
    data = {"type": data_name(run) or name, "name": name, "split": "test", "args": about}
    return {"task": {"type": task, "name": "Cross-modal retrieval"}, "dataset": data, "metrics": metrics}


def card(address: str, runs: Mapping[str, Run], values: dict[str, Any], pictures: Mapping[str, str]) -> str:
    """README.md of the repository `address`; `runs` by their folder in it, "" being its top, `pictures` the words below each
    one's picture."""
    title = address.rpartition("/")[2]
    body = [front_matter(values) + MADE, f"# {title}"]
    if "" not in runs:
        body.append(
            f"{len(runs)} runs for cross-modal retrieval, each in its folder, as [xmr](#use) reads them side by side."
        )
    for folder, run in runs.items():
        body += [f"## {plain(folder)}"] * bool(folder) + _about(run, folder, pictures.get(folder))
    return "\n\n".join([*body, *_use(address, runs, values)]) + "\n"


def _about(run: Run, folder: str, under: str | None) -> list[str]:
    test, sizes = run.metrics["test"], run.dataset["sizes"]
    figure, score = headline(test)
    values = ", ".join(
        f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in run.loss_values.items()
    )
    what = f"`{run.config.loss}` ({values})" if values else f"`{run.config.loss}`"
    encoder = portable(run.began_with["name"])
    if run.members:
        told = f"A weighted mean of the scores of {len(run.members)} runs, {run.about}, which it needs beside it."
    elif run.untrained:
        told = f"{encoder or 'Embeddings of a model'} as it is: nothing was trained here."
    elif run.config.tune != "none":
        told = f"Both towers of {encoder or 'an open_clip model'}, trained on with the loss {what}."
    else:
        told = f"A matcher (`{run.config.matcher}`) on frozen features of {encoder or 'the data set'}, trained with the loss {what}."
    counts = ", ".join(
        f"{split} {size['visuals']:,} visuals and {size['texts']:,} captions" for split, size in sizes.items()
    )
    test_size = sizes["test"]
    protocol = (
        f"Protocol: every one of {test_size['texts']:,} captions ranks all {test_size['visuals']:,} visuals of the test split, "
        "and the other way round; a tie counts against the query. In brackets the 95% interval, by visual, since captions of one "
        "are not independent."
    )
    diverged = run.training.get("diverged")
    return [
        told,
        *(
            [f"**Training diverged** at step {diverged['step']}; this is the best epoch before."]
            if diverged
            else []
        ),
        f"Data: {plain(run.dataset['name'])} ({counts}).",
        _table(test),
        f"{figure} {score:.1f}. {protocol}",
        *(
            [
                f"![Distributions of its scores]({quote(folder)}{'/' * bool(folder)}distributions.png)\n\n{plain(under)}"
            ]
            if under
            else []
        ),
        f"Made with:\n\n```\n{portable_command(run.training.get('command') or 'xmr')}\n```",
    ]


def _table(test: Mapping[str, float]) -> str:
    columns = CLASSES if "v2t/map" in test else RECALLS

    def cell(direction: str, name: str) -> str:
        low, high = (test.get(f"{direction}/{end}_{name}") for end in ("low", "high"))
        return f"{100 * test[f'{direction}/{name}']:.1f}" + (
            "" if low is None or high is None else f" ({100 * low:.1f}–{100 * high:.1f})"
        )

    rows = [
        f"| {one} | "
        + " | ".join(cell(one, name) for name in columns.values())
        + f" | {test[f'{one}/median_rank']:g} |"
        for one in DIRECTIONS
    ]
    return "\n".join(
        [f"| direction | {' | '.join(columns)} | median rank |", "|---" * (len(columns) + 2) + "|", *rows]
    )


def _use(address: str, runs: Mapping[str, Run], values: Mapping[str, Any]) -> list[str]:
    """How it is used, in code that works as it stands."""
    name = json.dumps(f"hf-hub:{address}")
    first = next(iter(runs.values()))
    if "" in runs:
        lines = ["from xmr.checkpoints import load_run", "", f"run = load_run({name})"]
    else:
        lines = [
            "from xmr.checkpoints import list_runs", "", f"runs, faults = list_runs({name})",
            f"run = next(run for run in runs if run.name == {json.dumps(first.name)})",
        ]  # fmt: skip
    lines += [
        "visual, text = run.embeddings()  # unit vectors of the test split",
        "scores = text @ visual.T  # rows are captions",
    ]
    told = [f"## Use\n\n```python\n{chr(10).join(lines)}\n```"]
    told.append(
        f"```sh\npython app.py --checkpoints hf-hub:{address}\npython scripts/evaluate.py hf-hub:{address}\n```"
    )
    if values["library_name"] == "open_clip":
        told.append(
            f"open_clip loads it too:\n\n```python\nimport open_clip\n\nmodel, _, preprocess = open_clip.create_model_and_transforms({name})\n"
            f"tokenizer = open_clip.get_tokenizer({name})\n```"
        )
    return told
