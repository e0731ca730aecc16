"""The losses as modules: in a loop of one's own, across processes, in open_clip's trainer and in an interface like
that of sentence-transformers."""

import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import open_clip
import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from open_clip_train.train import train_one_epoch
from PIL import Image
from torch import nn
from torch.nn.functional import normalize

from tests.pair_parts import rows, unit
from xmr.core import Pairs
from xmr.losses import LOSSES, loss_value
from xmr.nn import Loss, OpenClipLoss, SentenceTransformerLoss

ROOT = Path(__file__).parent.parent
NAMES = sorted(LOSSES)


def matrices(parts):
    """What `Pairs` has of those rows."""
    visual, text = parts["visual"], parts["text"]
    found = {f"{name}_scores": parts[f"{name}_features"] for name in ("visual", "text", "word")}
    found = {name: side @ side.T for name, side in found.items()}
    peers = torch.stack([parts["peer_visual"][:, k] @ parts["peer_text"][:, k].T for k in range(2)])
    within = {"visual_within": visual @ visual.T, "text_within": text @ text.T}
    return found | within | {"peer_scores": peers, "text_keys": parts["text_keys"]}


@pytest.mark.parametrize("name", NAMES)
class TestEveryLoss:
    def test_is_loss_value_of_the_same_scores(self, name):
        parts = rows(1, texts=8)
        groups = torch.tensor([0, 1, 2, 3, 4, 4]), torch.tensor([0, 1, 2, 3, 4, 0, 9, 9])
        known = {key: value for key, value in matrices(parts).items() if key in LOSSES[name].needs}
        expected = loss_value(name, parts["visual"] @ parts["text"].T, groups=groups, **known)
        torch.testing.assert_close(Loss(name)(**parts, groups=groups), expected)

    def test_is_computed_in_single_precision_under_autocast(self, name):
        parts = rows(2)
        with torch.autocast("cpu", torch.bfloat16):
            found = Loss(name)(**parts)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, Loss(name)(**parts))

    def test_a_memory_is_further_gallery(self, name):
        """With the latest four items of each side, met before."""
        first, parts = rows(4), rows(5)
        loss = Loss(name, memory=4)
        loss(**first)
        both = {key: torch.cat([parts[key], first[key][2:]]) for key in parts} | {
            "text_keys": torch.arange(10)
        }
        needs = LOSSES[name].needs
        if "visual_scores" in needs:
            assert loss(**parts).isfinite()  # what is annotated to a text of the memory is not all there
            return
        total = 0.0
        for turned in (False, True):
            visual, text = (both, parts) if turned else (parts, both)
            sides = {k: (visual if "visual" in k else text)[k] for k in both}
            known = {k: v for k, v in matrices(sides).items() if k in needs}
            scores = sides["visual"] @ sides["text"].T
            positives = torch.eye(*scores.shape, dtype=torch.bool)
            pairs = Pairs.of(scores, positives, **known)
            total = total + LOSSES[name](pairs.transpose() if turned else pairs).mean() / 2
        torch.testing.assert_close(loss(**parts), total)


@pytest.mark.parametrize("name", ["info_nce", "polynomial", "gravitation"])
def test_can_be_compiled_and_compiles_whole(name):
    torch.compiler.reset()
    parts, loss = rows(3), Loss(name)
    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="eager")(**parts), loss(**parts))


WORKER = """
import sys, torch
from torch import distributed, nn
from torch.nn.functional import normalize
sys.path.insert(0, sys.argv[1])
from tests.pair_parts import rows
from xmr.losses import LOSSES
from xmr.nn import Loss

file, rank, size = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
everything = rows(7, 12, 12)
cut = {1: [0, 12], 2: [0, 7, 12]}[size]
even = {1: [0, 12], 2: [0, 6, 12]}[size]
if size > 1:
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=size)

def gradients(name, share, groups, **options):
    part = {key: value[share[rank]:share[rank + 1]] for key, value in everything.items()}
    torch.manual_seed(0)
    towers = nn.ModuleList([nn.Linear(5, 4), nn.Linear(5, 4)]).double()
    loss = Loss(name, **options).double()
    for key in ("visual", "text"):
        part[key] = part[key].double()
    both = nn.ModuleList([towers, loss])
    visual, text = (normalize(tower(part.pop(key)), dim=1) for tower, key in zip(towers, ("visual", "text")))
    own = groups if groups is None else groups[share[rank]:share[rank + 1]]
    value = loss(visual, text, own, **part)
    if size > 1 and options.get("gather") == "rows":
        distributed.all_reduce(total := value.detach().clone())
        value = value + (total / size - value.detach())
    value.backward()
    found = []
    for parameter in both.parameters():
        grad = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        if size > 1:  # as DistributedDataParallel does
            distributed.all_reduce(grad)
            grad = grad / size
        found.append(grad)
    return torch.cat([value.detach().reshape(1), *(grad.flatten() for grad in found)]).double()

groups = torch.tensor([0, 1, 2, 3, 4, 5, 0, 6, 7, 7, 8, 5])
found = {"without groups": gradients("debiased", cut, None)}
for selector in ("posterior", "agreement"):
    found[selector] = gradients("polynomial", cut, groups, selector=selector)
for name in sorted(LOSSES):
    found[name] = gradients(name, cut, groups)
    try:
        found[name + " by rows"] = gradients(name, even, groups, gather="rows")
    except ValueError as error:
        assert "needs the whole batch" in str(error), error
if rank == 0:
    torch.save(found, file + f".{size}.pt")
"""


@pytest.fixture(scope="module")
def of_one_and_of_two(tmp_path_factory):
    """The value and the gradients of each loss, of one process with the whole batch and of two with a part each."""
    folder = tmp_path_factory.mktemp("gloo")
    (folder / "worker.py").write_text(WORKER)
    found = []
    for size in (1, 2):
        words = [sys.executable, folder / "worker.py", ROOT, folder / "meeting"]
        started = [
            subprocess.Popen(
                [*map(str, words), str(rank), str(size)],
                env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
            )
            for rank in range(size)
        ]  # fmt: skip
        for process in started:
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said
        found.append(torch.load(folder / f"meeting.{size}.pt", weights_only=True))
    return found


def test_two_processes_train_as_one_does(of_one_and_of_two):
    one, two = of_one_and_of_two
    assert one.keys() == two.keys() and {*NAMES, "posterior", "agreement"} < one.keys()
    for key, expected in one.items():
        slack = 1e-6 * expected[1:].abs().max()
        torch.testing.assert_close(two[key], expected, rtol=1e-6, atol=float(slack), msg=key)


def test_losses_that_need_the_whole_batch_say_so(of_one_and_of_two):
    by_rows = {key.removesuffix(" by rows") for key in of_one_and_of_two[0] if key.endswith(" by rows")}
    assert {"info_nce", "max_of_hinges", "polynomial", "siglip"} <= by_rows
    for name in {"polynomial_calibrated", "gravitation"}:
        assert name not in by_rows
        with pytest.raises(ValueError, match=f"{name} needs the whole batch in each process, gather=True"):
            Loss(name, gather="rows")


def test_a_large_batch_is_asked_by_blocks_and_is_the_same():
    generator = torch.Generator().manual_seed(0)
    visual, text = unit(300, 8, generator), unit(300, 8, generator)
    visual.requires_grad_()
    for loss in (Loss("info_nce"), Loss("max_of_hinges")):
        found = loss(visual, text)
        expected = loss_value(loss.entry.name, visual @ text.T)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            torch.autograd.grad(found, visual)[0], torch.autograd.grad(expected, visual)[0]
        )


def test_what_is_learned_is_saved_and_stays_in_its_range():
    loss = Loss("siglip", scale=5.0)
    assert sorted(loss.state_dict()) == ["hyper.raw.bias", "hyper.raw.scale", "moments"]
    with torch.no_grad():
        loss.hyper.raw["bias"].fill_(-100)
    loss(rows()["visual"], rows()["text"])
    assert loss.hyper.learned() == pytest.approx({"scale": 5, "bias": -20})
    other = Loss("siglip")
    other.load_state_dict(loss.state_dict())
    assert other.hyper.learned() == loss.hyper.learned()
    assert not list(Loss("siglip", learn=False).parameters())


def test_suspects_are_no_negatives_and_moments_are_kept():
    parts = rows(3, 40, 40)
    parts["text"] = parts["visual"] + 0.4 * parts["text"]
    loss = Loss("info_nce", selector="near_positive", selector_params={"share": 0.5}, learn=False)
    assert loss(**parts) < Loss("info_nce")(**parts)
    assert loss.moments.isfinite().all()
    kept = loss.moments.clone()
    loss.eval()(**rows(4, 40, 40))
    assert torch.equal(loss.moments, kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "info_nc"}, "did you mean 'info_nce'"),
        ({"temprature": 0.1}, "did you mean 'temperature'"),
        ({"temperature": 9}, "temperature=9 is outside"),
        ({"selector": "posterio"}, "did you mean 'posterior'"),
        ({"selector": "posterior", "suspects": "drop"}, "unknown action on suspects 'drop'"),
        ({"gather": "columns"}, "found 'columns'"),
        ({"memory": -1}, "found -1"),
        ({"selector": "posterior", "gather": "rows"}, "needs the whole batch"),
    ],
)
def test_options_that_there_are_not_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Loss(**{"name": "info_nce"} | options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": torch.zeros(3, 4)}, r"found \(6, 5\), \(3, 4\)"),
        ({"text": torch.zeros(3, 5)}, "row i of both is a pair, found 6 visuals, 3 texts"),
        ({"groups": torch.arange(5)}, "group must have 6 rows, found 5"),
        ({"text_keys": torch.arange(5)}, "text_keys must have 6 rows, found 5"),
        ({"text_scors": torch.eye(6)}, "did you mean 'text_scores'"),
        (
            {"text_scores": torch.eye(6), "memory": 4},
            "text_scores: with a memory or several processes give rows",
        ),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    parts = {key: rows()[key] for key in ("visual", "text")}
    loss = Loss("info_nce", memory=given.pop("memory", 0))
    with pytest.raises((ValueError, TypeError), match=message):
        loss(**parts | given)


class Batches:
    """What open_clip's trainer asks of its data: a few batches of random pictures and texts."""

    num_batches, num_samples = 1, 6

    def __iter__(self):
        torch.manual_seed(3)
        yield torch.rand(6, 3, 16, 16), torch.randint(1, 40, (6, 8))


def tiny_clip(bias=None):
    torch.manual_seed(0)
    vision = {"image_size": 16, "patch_size": 8, "layers": 1, "width": 16, "head_width": 8}
    text = {"context_length": 8, "vocab_size": 41, "width": 16, "heads": 2, "layers": 1}
    return open_clip.CLIP(16, vision, text, output_dict=True, init_logit_bias=bias)


SETTINGS = Namespace(
    device="cpu", precision="amp_bf16", distill=False, accum_freq=1, skip_scheduler=True, horovod=False,
    grad_clip_norm=None, rank=0, local_rank=0, distributed=False, world_size=1, log_every_n_steps=1, batch_size=6, wandb=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "theirs", "bias"),
    [("info_nce", ClipLoss(), None), ("siglip", SigLipLoss(), -10.0)],
)
def test_open_clips_own_losses_are_equalled_with_their_gradients(name, theirs, bias):
    found = []
    for loss in (OpenClipLoss(name), theirs):
        model = tiny_clip(bias).double()
        with torch.no_grad():
            model.logit_scale.fill_(2.0)
        images, texts = next(iter(Batches()))
        value = loss(**model(images.double(), texts), output_dict=True)["contrastive_loss"]
        value.backward()
        found.append([value, *(p.grad for p in model.parameters())])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if not set(LOSSES[name].needs) - {"visual_within", "text_within"}]
)
@pytest.mark.parametrize("bias", [None, -10.0])
def test_open_clips_trainer_takes_a_step(name, bias, caplog):
    model, loss = tiny_clip(bias), OpenClipLoss(name)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    data = {"train": Namespace(set_epoch=lambda epoch: None, dataloader=Batches())}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    train_one_epoch(model, data, loss, 0, optimiser, None, None, None, SETTINGS)
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters()
    )
    assert any((parameter != old).any() for parameter, old in zip(model.parameters(), before, strict=True))


class StandIn(nn.Module):
    """Called as a SentenceTransformer is: tokenised columns in, the embeddings of sentences out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.EmbeddingBag(20, 6)

    def forward(self, features):
        return features | {"sentence_embedding": self.embedding(features["input_ids"])}


def test_sentence_transformers_interface():
    """The package is not installed: a stand-in with the same signatures."""
    columns = [{"input_ids": torch.randint(0, 20, (5, 4))} for _ in range(2)]
    model = StandIn()
    loss = SentenceTransformerLoss(model, "max_of_hinges", margin=0.3)
    embedded = [normalize(model(column)["sentence_embedding"], dim=1) for column in columns]
    for labels in (None, torch.tensor([0, 1, 1, 2, 3])):
        expected = loss_value("max_of_hinges", embedded[0] @ embedded[1].T, groups=labels, margin=0.3)
        torch.testing.assert_close(loss(iter(columns), labels), expected)
    loss(columns, None).backward()
    assert model.embedding.weight.grad.abs().sum() > 0
    assert loss.get_config_dict() == {"name": "max_of_hinges", "margin": 0.3}
    with pytest.raises(ValueError, match="two columns, pictures and texts, found 3"):
        loss([*columns, columns[0]], None)


# ---- the examples of docs/losses.md, as they are written -----------------------------------------------------

EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "losses.md").read_text(), re.MULTILINE | re.DOTALL
)

# The training extra of open_clip is not installed: its readers of tar shards, which a table of files doesn't need.
NO_SHARDS = """
import sys, types
for name in ("braceexpand", "webdataset", "webdataset.filters", "webdataset.tariterators"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["webdataset"].PipelineStage = object
sys.modules["webdataset.filters"]._shuffle = None
for name in ("base_plus_ext", "url_opener", "tar_file_expander", "valid_sample"):
    setattr(sys.modules["webdataset.tariterators"], name, None)
import open_clip
open_clip.add_model_config("ViT-B-32.json")
"""
SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "layers": 1, "width": 16, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def test_the_examples_are_short():
    assert len(EXAMPLES) == 3
    assert all(len(example.splitlines()) <= 14 for example in EXAMPLES)


def test_the_example_of_a_loop_runs():
    told = {}
    exec(EXAMPLES[0], told)
    assert told["loss"].hyper.learned()["temperature"] != 0.07


def test_the_example_of_open_clips_trainer_runs(tmp_path):
    """Its whole main program; the architecture of that name is a tiny one here."""
    (tmp_path / "ViT-B-32.json").write_text(json.dumps(SMALL))
    lines = ["picture,caption"]
    for k in range(8):
        Image.new("RGB", (20, 20), (30 * k, 99, 200)).save(tmp_path / f"{k}.png")
        lines.append(f"{tmp_path / f'{k}.png'},a plain colour of number {k}")
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (tmp_path / "example.py").write_text(NO_SHARDS + EXAMPLES[1])
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Train Epoch: 0 [8/8 (100%)]" in done.stderr and "Contrastive_loss:" in done.stderr
    assert list(tmp_path.glob("logs/*/checkpoints/epoch_1.pt"))


def test_the_example_of_sentence_transformers_runs_with_a_stand_in(monkeypatch):
    class Trainer:
        def __init__(self, *, model, train_dataset, loss):
            self.model, self.data, self.loss = model, train_dataset, loss

        def train(self):
            self.loss(self.data, None).backward()

    package = ModuleType("sentence_transformers")
    package.SentenceTransformer, package.SentenceTransformerTrainer = lambda name: StandIn(), Trainer
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    told = {"pairs": [{"input_ids": torch.randint(0, 20, (5, 4))} for _ in range(2)]}
    exec(EXAMPLES[2], told)
    assert told["model"].embedding.weight.grad.abs().sum() > 0
