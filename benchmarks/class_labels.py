"""Class mAP of UNCSM and of baselines on data with class labels, in both directions.

    python benchmarks/class_labels.py wikipedia digits [--seeds 5] [--only NAME …]

Every method learns from the training split; its settings are those of its grid with the best mean mAP on the
validation split (seed 0); the table is of the test split. What is random runs with several seeds: mean ± half of the
95 % interval of the mean (Student's t). All scores are cosines. CCA, PLS and logistic regression are scikit-learn's,
kernel and deep CCA are those of cca-zoo (pip install "cca-zoo[deep]"); the correspondence autoencoder is here.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cross_decomposition import CCA, PLSCanonical
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.metrics import machine
from xmr.core import TrainConfig
from xmr.data import SPLITS, load_dataset
from xmr.experiments.intervals import interval
from xmr.matchers import MATCHERS
from xmr.metrics import evaluate_embeddings, headline
from xmr.training import train

COLUMNS = ("v2t/map", "t2v/map", "v2t/map_at_50", "t2v/map_at_50")


@dataclass(frozen=True)
class Views:
    """Features (N, D) and (N, E) that belong together, and the class (N,) of each pair."""

    visual: np.ndarray
    text: np.ndarray
    labels: np.ndarray
    classes: list[str]

    @classmethod
    def of(cls, dataset: str, split: str) -> Views:
        data = load_dataset(dataset, split)
        if data.classes is None or data.text_features is None or data.visual_features.ndim != 2:
            raise SystemExit(f"{dataset} is no data set of two feature views with class labels")
        features = (np.asarray(part, np.float64) for part in (data.visual_features, data.text_features))
        return cls(*features, data.visual_group, data.classes)

    def sample(self, count: int) -> Views:
        """`count` of the pairs, drawn by chance."""
        rows = np.random.default_rng(0).permutation(len(self.labels))[:count]
        return Views(self.visual[rows], self.text[rows], self.labels[rows], self.classes)


Embed = Callable[[Views], tuple[np.ndarray, np.ndarray]]
Fit = Callable[..., Embed]  # (views of the training split, seed, **settings) -> views to vectors of one space


@dataclass(frozen=True)
class Method:
    """One baseline: `learns` from labels or from pairs alone; `grid` has the values of each setting.

    `tuned_on` is how many training rows its settings are chosen with, where all would take too long; 0 means all.
    """

    fit: Fit
    learns: str
    grid: dict[str, list[Any]]
    random: bool = False
    needs: str = ""
    tuned_on: int = 0

    @property
    def settings(self) -> list[dict[str, Any]]:
        return [
            dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())
        ]


def standardiser(views: Views, scale: bool = True) -> Callable[[Views], list[np.ndarray]]:
    """Views to both sides' features, each dimension with mean 0 and deviation 1 on `views`, or as they are."""
    options = {"with_mean": scale, "with_std": scale}
    scalers = StandardScaler(**options).fit(views.visual), StandardScaler(**options).fit(views.text)
    return lambda v: [scalers[0].transform(v.visual), scalers[1].transform(v.text)]


def canonical(kind: Callable[..., Any]) -> Fit:
    """CCA or PLS of scikit-learn."""

    def fit(views: Views, _: int, components: int) -> Embed:
        sides = standardiser(views)
        most = min(x.shape[1] for x in sides(views))
        model = kind(n_components=min(components, most), max_iter=2000).fit(*sides(views))
        return lambda v: model.transform(*sides(v))

    return fit


def kernel_cca(views: Views, _: int, components: int, width: float, shrinkage: float) -> Embed:
    """`width` is that of the Gaussian, relative to the number of dimensions."""
    from cca_zoo.nonparametric import KCCA

    sides = standardiser(views)
    gamma = [1 / (width * x.shape[1]) for x in sides(views)]
    model = KCCA(components, shrinkage=shrinkage, kernel="rbf", gamma=gamma).fit(sides(views))
    return lambda v: tuple(model.transform(sides(v)))


def deep_cca(views: Views, seed: int, components: int, ridge: float, epochs: int) -> Embed:
    """Two layers of 256 units a side, in batches of 400, then linear CCA of what they give, as the authors do."""
    import lightning.pytorch as pl
    from cca_zoo.deep import DCCA, MultiviewDataset
    from cca_zoo.linear import CCA as LinearCCA

    sides = standardiser(views)

    def tensors(v: Views) -> list[Tensor]:
        return [torch.from_numpy(x.astype(np.float32)) for x in sides(v)]

    torch.manual_seed(seed)
    encoders = [
        nn.Sequential(
            nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, components)
        )
        for x in (views.visual, views.text)
    ]
    model = DCCA(components, encoders, reg_covar=ridge)
    batches = torch.utils.data.DataLoader(
        MultiviewDataset(tensors(views)), batch_size=400, shuffle=True, drop_last=True
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.fit(model, batches)
    model.eval()

    @torch.no_grad()
    def encode(v: Views) -> list[np.ndarray]:
        return [part.numpy() for part in model(tensors(v))]

    last = LinearCCA(components).fit(encode(views))
    return lambda v: tuple(last.transform(encode(v)))


def semantic_matching(views: Views, _: int, inverse: float, scale: bool, centred: bool) -> Embed:
    """Each side's class probabilities by logistic regression are its vector (Rasiwasia et al., ACM MM 2010).

    `inverse` is that of the regularisation's strength; `centred` takes the mean of the training split off.
    """
    sides = standardiser(views, scale)
    models = [LogisticRegression(C=inverse, max_iter=3000).fit(x, views.labels) for x in sides(views)]

    def probabilities(v: Views) -> list[np.ndarray]:
        return [model.predict_proba(x) for model, x in zip(models, sides(v), strict=True)]

    means = [p.mean(0) * centred for p in probabilities(views)]
    return lambda v: tuple(p - mean for p, mean in zip(probabilities(v), means, strict=True))


class Autoencoder(nn.Module):
    """One side: features (B, D) to a code (B, C) and back."""

    def __init__(self, dim: int, hidden: int, code: int):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, code), nn.Tanh())
        self.decode = nn.Sequential(nn.Linear(code, hidden), nn.Tanh(), nn.Linear(hidden, dim))


def correspondence_autoencoder(views: Views, seed: int, weight: float, code: int, epochs: int) -> Embed:
    """Corr-AE: (1 - weight) · both sides' squared errors of reconstruction + weight · that between both codes.

    Reference: Feng, Wang and Li, Cross-modal Retrieval with Correspondence Autoencoder, ACM MM 2014.
    Deviation: Adam from random weights on standardised features instead of pretrained Boltzmann machines, and means
    over dimensions in place of sums, so that long features don't outweigh the code.
    """
    features = standardiser(views)

    def tensors(v: Views) -> list[Tensor]:
        return [torch.from_numpy(x.astype(np.float32)) for x in features(v)]

    torch.manual_seed(seed)
    inputs = tensors(views)
    sides = nn.ModuleList(Autoencoder(x.shape[1], 256, code) for x in inputs)
    optimiser = torch.optim.Adam(sides.parameters(), 1e-3, weight_decay=1e-5)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs[0])).split(256):
            batch = [x[rows] for x in inputs]
            codes = [side.encode(x) for side, x in zip(sides, batch, strict=True)]
            back = [side.decode(c) for side, c in zip(sides, codes, strict=True)]
            rebuilt = sum((b - x).square().mean() for b, x in zip(back, batch, strict=True))
            loss = (1 - weight) * rebuilt + weight * (codes[0] - codes[1]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    @torch.no_grad()
    def embed(v: Views) -> tuple[np.ndarray, ...]:
        return tuple(side.encode(x).numpy() for side, x in zip(sides, tensors(v), strict=True))

    return embed


def chance(views: Views, seed: int) -> Embed:
    rng = np.random.default_rng(seed)
    return lambda v: tuple(rng.standard_normal((len(v.labels), 8)) for _ in range(2))


METHODS = {
    "chance": Method(chance, "nothing", {}, random=True),
    "CCA": Method(canonical(CCA), "pairs", {"components": [2, 4, 6, 8, 9, 10, 16, 32]}),
    "PLS": Method(canonical(PLSCanonical), "pairs", {"components": [2, 4, 6, 8, 9, 10, 16, 32]}),
    "kernel CCA": Method(
        kernel_cca,
        "pairs",
        {"components": [10, 30], "width": [1.0, 4.0], "shrinkage": [0.1, 0.5, 0.9]},
        needs="cca_zoo",
        tuned_on=600,
    ),
    "deep CCA": Method(
        deep_cca,
        "pairs",
        {"components": [8, 16], "ridge": [1e-3, 1e-1], "epochs": [20, 60]},
        random=True,
        needs="cca_zoo",
    ),
    "correspondence autoencoder": Method(
        correspondence_autoencoder,
        "pairs",
        {"weight": [0.2, 0.8], "code": [16, 64], "epochs": [20, 60]},
        random=True,
    ),
    "semantic matching": Method(
        semantic_matching,
        "labels",
        {"inverse": [0.01, 0.1, 1.0, 10.0, 100.0], "scale": [False, True], "centred": [False, True]},
    ),
}
UNCSM = "UNCSM"
UNCSM_CONFIG = {  # chosen by hand among some twenty, mainly by the validation splits
    "matcher": "two_pathway",
    "matcher_params": {"layers": 3, "hidden": 512, "embed_dim": 64, "dropout": 0.5, "metric_epochs": 10},
    "first_loss": "contrastive",
    "first_epochs": 20,
    "loss": "double_triplet",
    "epochs": 50,
    "batch_size": 64,
    "lr": 0.005,
    "weight_decay": 0.001,
}


def measure(embed: Embed, views: Views) -> dict[str, float]:
    visual, text = (
        np.nan_to_num(part / np.linalg.norm(part, axis=1, keepdims=True)) for part in embed(views)
    )
    return evaluate_embeddings(visual, text, views.labels, views.labels, classes=views.classes)


def baseline(
    method: Method, data: dict[str, Views], seeds: int
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Test metrics of each seed, and the settings that were best on the validation split."""

    some = data["train"].sample(method.tuned_on) if method.tuned_on else data["train"]

    def validated(settings: dict[str, Any]) -> float:
        return headline(measure(method.fit(some, 0, **settings), data["validation"]))[1]

    chosen = max(method.settings, key=validated)
    runs = range(seeds if method.random else 1)
    return [measure(method.fit(data["train"], seed, **chosen), data["test"]) for seed in runs], chosen


def uncsm(dataset: str, seed: int) -> dict[str, dict[str, float]]:
    """Test metrics of a `two_pathway` matcher by what scores the pairs: "metric network" and "shared space".

    Its stages follow one another; the weights are those of the best epoch on the validation split.
    """
    steps = train(TrainConfig(dataset=dataset, seed=seed, **UNCSM_CONFIG))
    while True:
        try:
            next(steps)
        except StopIteration as done:
            metrics = done.value.metrics
            break
    if "first_stage" not in metrics:
        return {"shared space": metrics["test"]}
    return {"metric network": metrics["test"], "shared space": metrics["first_stage"]}


def cell(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return "{:.3f} ± {:.3f}".format(*interval(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("dataset", nargs="+", help="folders of data with class labels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=[*METHODS, UNCSM], help="methods; all by default")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|sklearn")
    for dataset in args.dataset:
        data = {split: Views.of(dataset, split) for split in SPLITS}
        sizes = ", ".join(f"{len(views.labels):,} {split}" for split, views in data.items())
        dims = f"{data['train'].visual.shape[1]} and {data['train'].text.shape[1]} dimensions"
        print(f"\n{Path(dataset).name}: {sizes}; {dims}; {machine()}.\n")
        print("| method | learns from | mAP v2t | mAP t2v | mAP@50 v2t | mAP@50 t2v | settings | s |")
        print("|---|---|---:|---:|---:|---:|---|---:|", flush=True)
        for name in args.only or [*METHODS, UNCSM]:
            start = time.perf_counter()
            if name == UNCSM and "two_pathway" not in MATCHERS:
                print(f"{name} skipped: no matcher two_pathway is registered", file=sys.stderr)
            elif name == UNCSM:
                found = [uncsm(dataset, seed) for seed in range(args.seeds)]
                for scorer in found[0]:
                    row(f"{name}, {scorer}", "labels", [each[scorer] for each in found], {}, start)
            elif METHODS[name].needs and find_spec(METHODS[name].needs) is None:
                print(f"{name} skipped: {METHODS[name].needs} is not installed", file=sys.stderr)
            else:
                found, chosen = baseline(METHODS[name], data, args.seeds)
                row(name, METHODS[name].learns, found, chosen, start)


def row(
    name: str, learns: str, found: list[dict[str, float]], settings: dict[str, Any], start: float
) -> None:
    """Prints a row of the table: one method's test metrics over its seeds."""
    cells = " | ".join(cell([metrics[column] for metrics in found]) for column in COLUMNS)
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    print(f"| {name} | {learns} | {cells} | {shown} | {time.perf_counter() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
