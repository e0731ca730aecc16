"""Wrong captions that are written to be hard: read from every layout, negatives of every loss, asked in evaluation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests import tiny
from xmr.checkpoints import load_run
from xmr.core import Pairs
from xmr.data import DataFault, load_dataset
from xmr.embedding import embed_texts, embed_visuals, text_states, visual_states
from xmr.losses import LOSSES
from xmr.losses.base import without_peers
from xmr.scoring import hard_figure
from xmr.training import objective

ROWS = [  # a picture, its captions, and wrong ones
    ("a", ["a red dog", "one dog"], ["a dog red", "no dog"]),
    ("b", ["a blue sky"], []),
    ("c", ["two cats"], ["one cat", "one cat"]),
]
EXPECTED = (["a dog red", "no dog", "one cat"], [0, 0, 2])


def pictures(root, ending="png"):
    root.mkdir()
    for place, (name, _, _) in enumerate(ROWS):
        Image.new("RGB", (8, 8), (80 * place, 20, 90)).save(root / f"{name}.{ending}")


def imagefolder(root):
    pictures(root)
    rows = [{"file_name": f"{name}.png", "captions": own, "hard_captions": wrong, "split": "test"} for name, own, wrong in ROWS]  # fmt: skip
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def printed_list(root):
    pictures(root)
    lines = [f"{name}.png|{own}|{wrong or ''}|test" for name, own, wrong in ROWS]
    (root / "pairs.csv").write_text("\n".join(["filepath|captions|hard_captions|split", *lines]))


def row_for_each_caption(root):
    pictures(root)
    rows = []
    for name, own, wrong in ROWS:
        for place in range(max(len(own), len(wrong))):
            caption, hard = own[min(place, len(own) - 1)], wrong[place] if place < len(wrong) else ""
            if place < len(own) or hard != wrong[0]:
                rows.append(f"{name}.png,{caption},{hard},test")
    (root / "pairs.csv").write_text("\n".join(["filepath,caption,hard_captions,split", *rows]))


def parquet(root):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures(root)
    columns = {
        "image": [(root / f"{name}.png").read_bytes() for name, _, _ in ROWS],
        "captions": [own for _, own, _ in ROWS],
        "hard_captions": [wrong for _, _, wrong in ROWS],
    }
    pq.write_table(pa.table(columns), root / "test-00000-of-00001.parquet")
    for name, _, _ in ROWS:
        (root / f"{name}.png").unlink()
    made = {name: values[:1] for name, values in columns.items()}
    for split in ("train", "validation"):
        pq.write_table(pa.table(made), root / f"{split}-00000-of-00001.parquet")


def shards(root):
    import io
    import tarfile

    pictures(root)
    with tarfile.open(root / "test-0.tar", "w") as tar:
        for name, own, wrong in ROWS:
            parts = {"png": (root / f"{name}.png").read_bytes()}
            parts["json"] = json.dumps({"captions": own, "hard_captions": wrong}).encode()
            for ending, content in parts.items():
                info = tarfile.TarInfo(f"{name}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            (root / f"{name}.png").unlink()
    for split in ("train", "validation"):
        (root / f"{split}-0.tar").write_bytes((root / "test-0.tar").read_bytes())


def features(root):
    row_for_each_caption(root)
    (root / "pairs.csv").rename(root / "captions.csv")
    (root / "captions.csv").write_text((root / "captions.csv").read_text().replace("filepath", "image", 1))
    values = np.arange(6, dtype=np.float32).reshape(3, 2) + 1
    np.savez(root / "features.npz", names=[f"{name}.png" for name, _, _ in ROWS], features=values)


LAYOUTS = [imagefolder, printed_list, row_for_each_caption, parquet, shards, features]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", LAYOUTS)
def test_every_layout_keeps_them(tmp_path, write):
    write(tmp_path / "data")
    data = load_dataset(tmp_path / "data", "test")
    assert (data.hard_captions, data.visual_of_hard.tolist()) == EXPECTED
    assert "hard_captions" not in data.columns
    some = data.some(np.array([1, 2]))
    assert (some.hard_captions, some.visual_of_hard.tolist()) == (["one cat"], [1])


def test_what_reads_like_a_right_one_is_left_out_and_counted(tmp_path):
    imagefolder(tmp_path / "data")
    before = load_dataset(tmp_path / "data", "test").fingerprint
    rows = (tmp_path / "data" / "metadata.jsonl").read_text().replace('"no dog"', '"One DOG.", " "')
    (tmp_path / "data" / "metadata.jsonl").write_text(rows)
    with pytest.warns(UserWarning, match="'One DOG.' is among the right captions of 'a.png'"):
        data = load_dataset(tmp_path / "data", "test")
    assert data.hard_captions == ["a dog red", "one cat"] and data.fingerprint != before
    assert data.faults == {"hard captions that read like a right one": 1, "blank hard captions": 1}
    with pytest.raises(DataFault, match="is among the right captions"):
        load_dataset(tmp_path / "data", "test", strict=True)


# ---- training ------------------------------------------------------------------------------------------------


def hard(split):
    """The tiny data, of which every visual but each fifth has wrong captions; the first of all is right for another."""
    features, captions = tiny.items(split)
    owners = [visual for visual in range(len(features)) if visual % 5 for _ in range(1 + visual % 2)]
    wrong = [f"{captions[2 * visual]} {place}" for place, visual in enumerate(owners)]
    own = set(captions[2 * owners[0] : 2 * owners[0] + 2])
    wrong[0] = next(text for text in captions if text not in own)
    return tiny.dataset(split, hard_captions=wrong, visual_of_hard=np.array(owners, np.int64))


def spied(monkeypatch):
    seen = []
    symmetric = objective.symmetric

    def spy(loss, pairs, back, **hyper):
        value = symmetric(loss, pairs, back, **hyper)
        then = {name: one.detach().clone() if torch.is_tensor(one) else one for name, one in hyper.items()}
        seen.append((pairs, back, then, value))
        return value

    monkeypatch.setattr(objective, "symmetric", spy)
    return seen


@pytest.mark.parametrize("loss", without_peers())
def test_every_loss_takes_them_as_negatives_of_visuals_alone(monkeypatch, loss):
    """Against the loss of each direction by itself, asked with masks that are written here by a loop."""
    seen = spied(monkeypatch)
    tiny.fit(tiny.config(epochs=1, batch_size=120, loss=loss), load=hard)
    pairs, back, hyper, value = seen[0]
    data, (size, width) = hard("train"), pairs.scores.shape
    texts, wrong = back.scores.shape[0], len(data.hard_captions)
    assert (size, texts, width) == (120, 120, 120 + wrong)
    assert not pairs.positives[:, texts:].any() and (pairs.scores[:, :texts] == back.scores.T).all()
    keys = [(caption, group) for caption, group in zip(data.captions, data.text_group, strict=True)]
    right = {
        one: {group for caption, group in keys if caption == text}
        for one, text in enumerate(data.hard_captions)
    }
    ignored = (~pairs.negatives[:, texts:]).sum(0).tolist()
    assert ignored == [2 * len(right[one]) for one in range(wrong)] and ignored[0] > 0 == ignored[1]
    scores = pairs.scores.detach().requires_grad_()
    wide = Pairs(
        scores,
        pairs.positives,
        pairs.negatives,
        **{name: getattr(pairs, name) for name in LOSSES[loss].needs},
    )
    of_visuals = LOSSES[loss].make(wide, **hyper).mean()
    of_texts = LOSSES[loss].make(back, **hyper).mean()
    assert value.item() == pytest.approx((of_visuals + of_texts).item() / 2, rel=1e-5)
    (slope,) = torch.autograd.grad(of_visuals, scores)
    pushed = slope[:, texts:]
    assert (pushed[~pairs.negatives[:, texts:]] == 0).all() and pushed.isfinite().all()
    assert pushed.any(), "hard captions have a part in the loss"


@pytest.mark.parametrize("matcher", ["linear", "cross_attention"])
def test_micro_batches_and_selectors_see_the_same(monkeypatch, matcher):
    same = {
        "matcher_params": {**(tiny.SMALL if matcher == "linear" else {}), "word_dropout": 0.0},
        "epochs": 1,
        "batch_size": 60,
    }
    same["matcher"] = matcher

    def losses(**more):
        steps, trained = tiny.fit(tiny.config(**same, **more), load=hard)
        assert trained.dataset["hard_captions"] == len(hard("train").hard_captions)
        return [step.loss for step in steps]

    plain = losses()
    assert losses(micro_batch=16) == pytest.approx(plain, abs=1e-4)
    seen = spied(monkeypatch)
    losses(selector="near_positive")
    pairs = seen[0][0]
    texts = seen[0][1].scores.shape[0]
    assert pairs.negatives[:, texts:].float().mean() > 0.9  # nobody suspects what is known to be wrong


def test_without_a_column_nothing_is_another():
    _, trained = tiny.fit(tiny.config(epochs=1))
    assert "hard_captions" not in trained.dataset


# ---- evaluation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["info_nce", "info_nce-cross_attention-clips"])
def test_evaluation_asks_whether_right_captions_beat_them(name):
    run = load_run(f"checkpoints/{name}")
    data = load_dataset(run.config.dataset, "test", **run.config.dataset_params).some(np.arange(12))
    wrong = [
        f"{data.captions[data.texts_of(visual)[0]]} not {place}" for place, visual in enumerate((0, 3, 3, 7))
    ]
    data = replace(data, hard_captions=wrong, visual_of_hard=np.array([0, 3, 3, 7]))
    found = hard_figure(run, data)
    right = count = 0
    chances = []
    for visual in (0, 3, 7):
        own = [data.captions[text] for text in data.texts_of(visual)]
        bad = [text for text, of in zip(wrong, (0, 3, 3, 7), strict=True) if of == visual]
        seen = data.visuals[visual]
        if run.scores_pairs:
            with torch.no_grad():
                scores = [run.matcher().scores(visual_states(run, [seen]), text_states(run, [text]))[0, 0].half().item() for text in own + bad]  # fmt: skip
        else:
            scores = (embed_texts(run, own + bad) @ embed_visuals(run, [seen])[0]).tolist()
        for score in scores[: len(own)]:
            right, count = right + all(score > other for other in scores[len(own) :]), count + 1
            chances.append(1 / (1 + len(bad)))
    assert (found.questions, found.right, found.chance) == (
        count,
        pytest.approx(right / count),
        pytest.approx(np.mean(chances)),
    )
    assert hard_figure(run, replace(data, hard_captions=[], visual_of_hard=np.empty(0, np.int64))) is None
