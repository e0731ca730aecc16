"""What one process does alone and two share out, for `tests/test_processes.py`: `python -m tests.shared_work FOLDER` does it with two."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts import add, evaluate, told
from tests import tiny
from xmr.checkpoints import Trained
from xmr.core import TrainConfig
from xmr.data import Dataset, load_dataset
from xmr.embedding import Inputs
from xmr.encoders import features, forget_encoders
from xmr.losses import LOSSES
from xmr.metrics import rank_embeddings, rank_scores, rank_truth
from xmr.processes import each, first, gathered, led, mine, shares, together
from xmr.selection import SELECTORS
from xmr.training import loop, task, train
from xmr.training.order import parts

STILL = tiny.SMALL | {"dropout": 0.0, "word_dropout": 0.0}
ON_WORDS = {
    "matcher": "token_max", "matcher_params": {"embed_dim": 16, "word_dim": 8, "dropout": 0.0, "word_dropout": 0.0}
}  # fmt: skip
# Settings of a step in double precision, by name.
STEPS: dict[str, dict[str, Any]] = {
    **{f"{name}, {micro}": {"loss": name, "micro_batch": micro} for name in LOSSES for micro in (0, 4)},
    "moments": {"loss": "info_nce", "selector": "posterior", "micro_batch": 4, "lr": 0.05, "steps": 14},
    **{f"{name}, queue": {"loss": name, "queue": 20} for name in LOSSES},
    "queue, selector": {"loss": "info_nce", "queue": 20, "selector": "near_positive"},
    "weighed": {"loss": "info_nce", "selector": "near_positive", "suspects": "weigh"},
    "tokens": {"loss": "info_nce", "matcher": "token_max"},
    "tokens in parts": {"loss": "max_of_hinges", "matcher": "token_max", "micro_batch": 3},
    "hard": {"loss": "info_nce", "hard": 60},
    "hard in parts": {"loss": "sum_of_hinges", "hard": 60, "micro_batch": 2},
    "few hard": {"loss": "info_nce", "hard": 1},
    "cross attention": {"loss": "info_nce", "matcher": "cross_attention"},
}  # fmt: skip
FIT = {
    "head": {"loss": "siglip", "matcher_params": STILL, "lr": 0.01, "selector": "near_positive", "ema": 0.9},
    "pairs": {"loss": "info_nce", "epochs": 1, **ON_WORDS},
    "distinct, queue": {
        "loss": "max_of_hinges", "matcher_params": STILL, "lr": 0.01, "batches": "distinct", "queue": 40, "selector": "posterior",
    },
    "hard, queue": {"loss": "info_nce", "matcher_params": STILL, "lr": 0.01, "batches": "hard", "queue": 50, "micro_batch": 5},
}  # fmt: skip
ON_TOWERS = {
    "towers": {"loss": "max_of_hinges"},
    "towers, distinct, queue": {"loss": "siglip", "batches": "distinct", "queue": 12},
    "towers, hard, queue": {"loss": "info_nce", "batches": "hard", "queue": 15, "selector": "near_positive"},
}
# Of a head and of towers, what some number of processes leaves unfinished and another goes on with.
HANDED = {
    "head": {"loss": "siglip", "matcher_params": STILL, "lr": 0.01, "batches": "hard", "queue": 50, "ema": 0.9, "selector": "posterior"},
    "towers": {"loss": "info_nce", "batches": "hard", "queue": 12, "ema": 0.9},
}  # fmt: skip
LEFT_AT = 3  # steps, within an epoch


def data(split: str, hard: int = 0, long: bool = True) -> Dataset:
    """`tiny.dataset` with captions of one to three words, and so many hard ones."""
    found = tiny.with_text_features(split)
    words = [caption.split() for caption in found.captions]
    captions = [" ".join(few[: 1 + i % 3]) for i, few in enumerate(words)]
    # No two alike: which of two equal negatives is the hardest is decided by last bits.
    features = found.text_features + np.random.default_rng(1).normal(0, 0.3, found.text_features.shape)
    found = replace(found, text_features=None if long else features.astype(np.float16))
    wrong = ["tree sleeps", "cat"] * hard
    owners = np.arange(2 * hard) // 2
    if long:
        found = replace(found, captions=captions)
    return replace(found, hard_captions=wrong[: 2 * hard], visual_of_hard=owners) if hard else found


def in_double(inputs: Inputs) -> Inputs:
    class Double(Inputs):
        def visual_batch(self, index: np.ndarray) -> Tensor:
            return super().visual_batch(index).double()

        def text_batch(self, index: np.ndarray) -> Any:
            found = super().text_batch(index)
            return found if isinstance(found, tuple) else found.double()

    return Double(inputs.visual, inputs.text)


@lru_cache(maxsize=1)
def prepared(matcher: str, hard: int) -> task.Task:
    """A training in double precision."""
    params = STILL if matcher == "linear" else ON_WORDS["matcher_params"]
    config = tiny.config(matcher=matcher, matcher_params=params, batch_size=17, lr=1e-3)
    words = bool(hard) or matcher != "linear"
    made = task.prepare(config, lambda split: data(split, hard * (split == "train"), words), None)
    made.inputs["train"] = in_double(made.inputs["train"])
    rng = np.random.default_rng(2)
    peer = rng.standard_normal((60, 4)), rng.standard_normal((120 + 2 * hard, 4))
    return replace(made, evidence=replace(made.evidence, peers=[peer]))


def step(
    loss: str, matcher: str = "linear", hard: int = 0, selector: str = "", steps: int = 2, **settings: Any
) -> dict[str, Tensor]:
    """The losses of batches of 17 pairs, which the shares divide unevenly, and the gradients of the last."""
    made = prepared(matcher, hard)
    settings |= {"loss_params": LOSSES[loss].parse({})}
    if selector:
        settings |= {"selector": selector, "selector_params": SELECTORS[selector].parse({})}
    made = replace(
        made, config=replace(made.config, loss=loss, **settings), matcher=deepcopy(made.matcher).double()
    )
    trainer = loop._Trainer(made, "")
    trainer.objective.hyper.double()
    rows = parts(np.random.default_rng(0).permutation(len(made.data["train"].captions)), 17) * 2
    found = {"loss": torch.tensor([trainer.update(chosen)[0] for chosen in rows[:steps]])}
    for name, parameter in trainer.parameters.items():
        if parameter.grad is not None:
            found[name] = parameter.grad.clone()
    state = trainer.state
    found["told"] = torch.tensor([state.suspected, state.negatives, *(state.moments or [])])
    return found


def of_towers(place: Path, **settings: Any) -> TrainConfig:
    return tiny.config(
        dataset=str(place / "photos"), encoder=f"local-dir:{place / 'vit'}", matcher_params={}, tune="all", lr_towers=1e-3,
        epochs=2, batch_size=5, micro_batch=2, **settings,
    )  # fmt: skip


def all_of(place: Path, heads: dict[str, Any], towers: dict[str, Any]) -> dict[str, tuple[TrainConfig, Any]]:
    """Configurations by name, and what loads their data."""
    found: dict[str, tuple[TrainConfig, Any]] = {
        name: (tiny.config(**one), data) for name, one in heads.items()
    }
    for name, one in towers.items():
        config = of_towers(place, **one)
        found[name] = config, partial(load_dataset, config.dataset)
    return found


def outcome(trained: Trained) -> dict[str, Any]:
    return {
        "weights": dict(trained.matcher.state_dict()), "metrics": trained.metrics, "learned": trained.learned,
        "losses": [line["loss"] for line in trained.history],
    }  # fmt: skip


def fit(folder: Path) -> dict[str, Any]:
    """Heads and tiny towers trained to the end: weights, what was learned, and metrics."""
    return {
        name: outcome(tiny.fit(config, folder / name, load=load)[1])
        for name, (config, load) in all_of(folder.parent, FIT, ON_TOWERS).items()
    }


def handed(place: Path) -> dict[str, tuple[TrainConfig, Any]]:
    return all_of(place, {"head": HANDED["head"]}, {"towers": HANDED["towers"]})


def leave(folder: Path) -> None:
    """Trainings that are interrupted within their first epoch."""
    loop.SAVE_SECONDS = 0.0
    for name, (config, load) in handed(folder.parent).items():
        running = train(config, folder / f"left {name}", load=load)
        for _ in range(LEFT_AT):
            next(running)
        running.close()
    loop.SAVE_SECONDS = 60.0


def taken_up(folder: Path, of: Path) -> dict[str, Any]:
    """What those come to that `leave` left in the folder `of`, and what was said of it."""
    found = {}
    for name, (config, load) in handed(folder.parent).items():
        shared = folder / f"taken {name}"
        first(partial(shutil.copytree, of / f"left {name}", shared))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            steps, trained = tiny.fit(config, shared, load=load, resume=True)
        assert steps[0].step == LEFT_AT + 1
        found[name] = outcome(trained) | {"said": [str(one.message) for one in said]}
    return found


def uninterrupted(folder: Path) -> dict[str, Any]:
    return {
        name: outcome(tiny.fit(config, folder / f"whole {name}", load=load)[1])
        for name, (config, load) in handed(folder.parent).items()
    }


def rankings() -> dict[str, Tensor]:
    """Ranks in blocks of a few rows: with equal embeddings, class labels, a truth that knows not all, and of scores."""
    rng = np.random.default_rng(4)
    visual, text = (rng.standard_normal((count, 8)).astype(np.float32) for count in (53, 140))
    visual[5:20], text[30:60] = visual[4], text[29]
    text[60:64] = visual[4]
    groups = np.arange(53), rng.integers(0, 53, 140)
    classes = groups[0] % 3, groups[1] % 3
    relevance = rng.choice([0.0, 0.5, 1.0, np.nan], (53, 140))

    class Known:
        @staticmethod
        def block(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            return relevance[np.ix_(rows, columns)]

    found = {
        "groups": rank_embeddings(visual, text, *groups, block=5),
        "classes": rank_embeddings(visual, text, *classes, block=5),
        "truth": rank_truth(visual, text, Known(), block=5),
        "scores": rank_scores(visual @ text.T, *groups),
    }
    return {
        f"{name} {direction}": torch.from_numpy(ranking.ranks.copy())
        for name, pair in found.items()
        for direction, ranking in zip(("v2t", "t2v"), pair, strict=True)
    }


def added(folder: Path) -> str:
    """What `add.py` tells of a model as it is, with features made anew."""
    words = [
        "--dataset",
        folder.parent / "photos",
        "--model",
        f"own={folder.parent / 'vit'}",
        "--out",
        folder / "added",
    ]
    said = io.StringIO()
    with redirect_stdout(said):
        assert add.run_all(add.parse(list(map(str, words))), "a command") == 0
    return said.getvalue().splitlines()[0].partition(": ")[2] if mine() == 0 else ""


def encoded(folder: Path) -> dict[str, Tensor]:
    """Frozen features of 200 pictures with captions that repeat, by batches of 64."""
    from tests.test_encoders import dataset

    captions = [f"number {i % 7}" if i % 3 else f"only {i}" for i in range(400)]
    some = dataset(200, captions=captions, fingerprint="repeated")
    found = features(some, f"local-dir:{folder.parent / 'vit'}")
    return {name: torch.from_numpy(np.array(getattr(found, name))) for name in ("visual", "text")}


def faults() -> list[str]:
    """What each process is told of what goes wrong in one of them alone, after which all go on in step."""
    last = shares() - 1

    def wrong(place: int = last) -> int:
        if mine() == place:
            raise ValueError(f"wrong in {place}")
        return 1

    def leading(ask: Any) -> None:
        assert ask(1) == [2] * shares()
        ask(3)

    def part(number: int) -> int:
        return number + wrong() if number == 3 else number + 1

    found = []
    for work in (lambda: each(wrong), lambda: first(lambda: wrong(0)), lambda: led(leading, part)):
        try:
            work()
        except ValueError as error:
            found.append(str(error))
    every = [one for said in each(lambda: found) for one in said]
    assert every == found * shares()
    return found


def ragged() -> Tensor:
    """Rows of different numbers and lengths, gathered; padding has no gradient."""
    rows = torch.ones(2 - mine(), 3 + mine(), 2, requires_grad=True)
    whole = gathered(rows)
    (whole * torch.arange(whole.numel()).view(whole.shape)).sum().backward()
    return torch.cat([whole.detach().flatten(), *(each(lambda: rows.grad.flatten()))])


def everything(folder: Path) -> dict[str, Any]:
    os.environ["XMR_CACHE"] = str(folder / "cache")
    forget_encoders()
    torch.set_num_threads(1)
    leave(folder)
    return {
        "faults": faults(),
        "ragged": ragged() if shares() > 1 else None,
        "ranks": rankings(),
        "features": encoded(folder),
        "added": added(folder),
        "steps": {name: step(**settings) for name, settings in STEPS.items()},
        "fit": fit(folder),
        "taken": taken_up(folder, folder.parent / ("before" if shares() > 1 else "two")),
        "whole": uninterrupted(folder),
    }


def evaluated(place: Path) -> list[str]:
    return [str(place / "trained"), "--split", "validation", "--json"]


# ---- processes ------------------------------------------------------------------------------------------------


def work(folder: Path) -> int:
    with together():
        done = everything(folder)
        if mine() == 0:
            torch.save(done, folder / "found.pt")
    return 0


def ended(how: str, folder: Path) -> int:
    """A training whose last process ends in its third step."""

    def run() -> int:
        for one in train(tiny.config(epochs=50), folder / how, load=tiny.dataset):
            if mine() and one.step == 3:
                if how == "killed":
                    os._exit(9)
                raise KeyboardInterrupt if how == "stopped" else OSError("the disk is full")
        return 0

    return told(run, "--resume goes on", shared=True)


ENDS = ("killed", "stopped", "full")
JOBS: dict[str, Callable[[Path], int]] = {
    "work": work,
    "evaluate": lambda folder: evaluate.main(evaluated(folder.parent)),
    "refused": lambda folder: told(lambda: 0),
    **{how: partial(ended, how) for how in ENDS},
}


def forked(job: str, folder: Path, rank: int, port: int) -> int:
    """A process of its own that does the job, as torchrun starts it, but for importing all once more; returns its number."""
    child = os.fork()
    if child:
        return child
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    code = 1
    try:
        for name, stream in (("out", 1), ("err", 2)):
            os.dup2(os.open(folder / f"{job}.{rank}.{name}", os.O_WRONLY | os.O_CREAT), stream)
        code = JOBS[job](folder)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    place, codes = Path(sys.argv[1]), {}
    for name in JOBS:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [forked(name, place, rank, port) for rank in range(2)]
        codes[name] = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    (place / "codes.json").write_text(json.dumps(codes))
