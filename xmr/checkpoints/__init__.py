"""Run folders: save, load, list, verify.

run.json                config, dataset fingerprints, encoder, metrics, SHA-256 of the other files
matcher.safetensors     the weights, and the learned hyper-parameters of the loss
embeddings.safetensors  the test split's embeddings, half precision
snapshots.safetensors   a sample of the test split at moments of the training, from which it is replayed; older runs have none
history.jsonl           one line per epoch
words.json              the vocabulary, where the text tower reads words
README.md               model card
resume.safetensors      only while training is not finished

Towers that were trained (`towers.py`) also have open_clip_config.json and open_clip_model.safetensors, and
matcher.safetensors holds no more than what the loss learned.

A combination of runs (`combination.py`) is a folder beside them with run.json and README.md only.
"""

from xmr.checkpoints.combination import Combination, save_combination
from xmr.checkpoints.files import RunRefused
from xmr.checkpoints.folder import RunFault, clear_run, is_finished, is_started, local, pinned
from xmr.checkpoints.head import Head
from xmr.checkpoints.load import list_runs, load_run, verify
from xmr.checkpoints.model import Model, as_if_trained, save_model
from xmr.checkpoints.resume import config_in, difference
from xmr.checkpoints.run import Member, Run
from xmr.checkpoints.save import Trained, save_run
from xmr.disk import CannotSave

__all__ = [
    "CannotSave",
    "Combination",
    "Head",
    "Member",
    "Model",
    "Run",
    "RunFault",
    "RunRefused",
    "Trained",
    "as_if_trained",
    "clear_run",
    "config_in",
    "difference",
    "is_finished",
    "is_started",
    "list_runs",
    "load_run",
    "local",
    "pinned",
    "save_combination",
    "save_model",
    "save_run",
    "verify",
]
