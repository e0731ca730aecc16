"""A report: one page of HTML about runs, in tables, figures, examples and words, to send.

`SECTIONS` are its parts by title. Each is a function that takes a `Subject` and yields HTML of `xmr.figures.report.page`;
it says so where there is nothing to tell, instead of leaving a hole.
"""

from collections.abc import Callable, Iterator

from xmr.figures.report.errors import bucket_parts, hub_parts, slice_parts
from xmr.figures.report.examples import example_parts, suspect_parts
from xmr.figures.report.results import protocol_words, result_parts, run_parts, training_parts
from xmr.figures.report.scores import distribution_parts, weight_parts
from xmr.figures.report.subject import Subject

SECTIONS: dict[str, Callable[[Subject], Iterator[str]]] = {
    "The runs": run_parts,
    "Results": result_parts,
    "Training": training_parts,
    "Distributions of scores": distribution_parts,
    "Weights of pairs": weight_parts,
    "Who is right, and who alone": bucket_parts,
    "Kinds of queries": slice_parts,
    "Hubs and the modality gap": hub_parts,
    "Where the runs disagree": example_parts,
    "Suspected false negatives": suspect_parts,
}

__all__ = ["SECTIONS", "Subject", "protocol_words"]
