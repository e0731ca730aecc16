"""Class-labelled views that train in a second, as a folder for the scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

DIM = 12
CLASSES = 4


def write_folder(folder: Path) -> Path:
    """A .mat of two views: noise around a centre of each class."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    centres = {view: rng.normal(size=(CLASSES, DIM)) for view in "IT"}
    views = {}
    for part, rows in (("tr", 80), ("te", 24)):
        labels = np.arange(rows) % CLASSES
        views[f"L_{part}"] = labels[:, None] + 1.0
        for view, centre in centres.items():
            views[f"{view}_{part}"] = centre[labels] + rng.normal(size=(rows, DIM))
    savemat(folder / "views.mat", views)
    return folder
