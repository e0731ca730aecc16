"""Datasets: one module per kind of source, one way to load them."""

from xmr.data.dataset import DATASETS, SPLITS, DataFault, Dataset, Split, Truth
from xmr.data.sources import load_dataset

__all__ = ["DATASETS", "SPLITS", "DataFault", "Dataset", "Split", "Truth", "load_dataset"]
