"""Run folders: save, load, list, verify.

run.json                config, dataset fingerprints, encoder, metrics, SHA-256 of the other files
matcher.safetensors     the weights, and the learned hyper-parameters of the loss
embeddings.safetensors  the test split's embeddings, half precision
history.jsonl           one line per epoch
words.json              the vocabulary, where the text tower reads words
README.md               model card
resume.safetensors      only while training is not finished
"""

from xmr.checkpoints.files import CannotSave, RunRefused
from xmr.checkpoints.run import (
    Run,
    RunFault,
    clear_run,
    is_finished,
    is_started,
    list_runs,
    load_run,
    verify,
)
from xmr.checkpoints.save import Trained, save_run

__all__ = [
    "CannotSave",
    "Run",
    "RunFault",
    "RunRefused",
    "Trained",
    "clear_run",
    "is_finished",
    "is_started",
    "list_runs",
    "load_run",
    "save_run",
    "verify",
]
