"""Small open_clip models from scratch: the loss falls, and what is written loads as any open_clip folder."""

import json
import re

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from scripts import pretrain as script
from xmr.data import load_dataset
from xmr.embedding import zero_shot
from xmr.encoders import forget_encoders, load_encoder
from xmr.metrics import by_chance, evaluate_embeddings
from xmr.pretraining import (
    Batch,
    Pretraining,
    augment,
    folder_batches,
    model_config,
    pretrain,
    save_encoder,
    scene_batches,
)

CONFIG = model_config(size=32, width=4, text_width=16)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    forget_encoders()


def test_loss_and_attributes_fall_on_scenes():
    batches = scene_batches(total=320, pool=32, size=32, batch=16, seed=0)
    seen = list(pretrain(batches, 320, 0, Pretraining(CONFIG, 3e-3, 0)))
    assert seen[-1].seen == 320
    assert np.mean([p.attributes for p in seen[-5:]]) < 0.5 * seen[0].attributes
    assert np.mean([p.loss for p in seen[-5:]]) < seen[0].loss


def test_same_seed_same_model():
    def weights():
        batches = scene_batches(total=48, pool=16, size=32, batch=16, seed=3)
        state = Pretraining(CONFIG, 1e-3, 3)
        list(pretrain(batches, 48, 3, state))
        return state.model.state_dict()

    first, again = weights(), weights()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_batch_of_scenes_knows_every_true_pair():
    batch = next(scene_batches(total=16, pool=16, size=32, batch=16, seed=0))
    assert batch.pictures.shape == (16, 32, 32, 3)
    assert batch.positives.shape == (16, 16)
    assert batch.positives.diagonal().all()
    assert len(batch.captions) == 16


def test_the_folder_written_is_a_plain_open_clip_model(tmp_path):
    batch = Batch(np.zeros((2, 32, 32, 3), np.uint8), ["a red cube", "a ball"], np.eye(2, dtype=bool), None)
    state = Pretraining(CONFIG, 1e-3, 0)
    list(pretrain(iter([batch]), 2, 0, state))
    model = state.model
    save_encoder(model, CONFIG, batch.captions, tmp_path / "tiny", "# card\n")
    name = f"local-dir:{tmp_path / 'tiny'}"
    loaded, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval(), loaded.eval()
    ids = open_clip.get_tokenizer(name)(batch.captions)
    picture = preprocess(Image.new("RGB", (50, 40), "red"))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.encode_text(ids), model.encode_text(ids), atol=2e-2, rtol=2e-2)
        torch.testing.assert_close(
            loaded.encode_image(picture), model.encode_image(picture), atol=2e-2, rtol=2e-2
        )
    assert sorted(p.name for p in (tmp_path / "tiny").iterdir()) == [
        "README.md",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    unused = open_clip.SimpleTokenizer().encode("elephant")[0]
    assert (loaded.token_embedding.weight[unused] == 0).all()


def test_augmented_pictures_keep_shape_and_stay_near_the_originals():
    pictures = np.full((3, 32, 32, 3), 200, np.uint8)
    images = augment(pictures, seed=1)
    assert images.shape == (3, 3, 32, 32)
    torch.testing.assert_close(images.mean(), torch.tensor((200 / 255 - 0.5) / 0.5), atol=0.2, rtol=0)


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / "own" / split).mkdir(parents=True)
        rows = []
        for i in range(12):
            colour = ("red", "blue", "green")[i % 3]
            Image.new("RGB", (20, 20), colour).save(tmp_path / "own" / split / f"{i}.png")
            rows.append({"file_name": f"{i}.png", "captions": [f"a {colour} square {i}"], "concept": colour})
        (tmp_path / "own" / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "own"


def test_folder_batches_take_equal_concepts_as_positives(folder):
    batch = next(folder_batches(load_dataset(str(folder), "train"), total=8, size=32, batch=8, seed=0))
    colours = [caption.split()[1] for caption in batch.captions]
    expected = np.array([[a == b for b in colours] for a in colours])
    assert np.array_equal(batch.positives, expected)
    assert batch.pictures.shape == (8, 32, 32, 3)


def test_the_script_trains_on_a_folder_and_the_result_encodes(folder, tmp_path):
    arguments = ["--dataset", str(folder), "--out", str(tmp_path / "encoder"), "--pictures", "48"]
    assert script.main([*arguments, "--batch-size", "8", "--size", "32", "--width", "4"]) == 0
    encoder = load_encoder(f"local-dir:{tmp_path / 'encoder'}")
    assert encoder.encode_images([Image.new("RGB", (9, 9))]).shape == (1, 256)
    card = (tmp_path / "encoder" / "README.md").read_text()
    assert "--pictures 48" in card
    assert str(tmp_path) not in card


SMALL = ["--pictures", "48", "--batch-size", "8", "--size", "32", "--width", "4"]


def weights(folder):
    return (folder / script.WEIGHTS).read_bytes()


def test_batches_that_were_met_are_left_out_and_change_no_other():
    def met(skip):
        return list(scene_batches(total=64, pool=16, size=32, batch=16, seed=5, skip=skip))

    whole, rest = met(0), met(2)
    assert len(rest) == 2
    for one, other in zip(whole[2:], rest, strict=True):
        assert one.captions == other.captions
        for name in ("pictures", "positives", "attributes"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_stopped_pretraining_goes_on_bit_for_bit(folder, tmp_path, monkeypatch, capsys):
    """Stopped after a state was written and some steps more, as by Ctrl-C or kill -9."""
    options = ["--dataset", str(folder), *SMALL]
    assert script.main([*options, "--out", str(tmp_path / "whole")]) == 0
    monkeypatch.setattr(script, "SAVE_SECONDS", -1.0)
    original = script.pretrain

    def stopped(*arguments):
        for step, progress in enumerate(original(*arguments), 1):
            yield progress
            if step == 3:
                monkeypatch.setattr(script, "SAVE_SECONDS", 60.0)
            if step == 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(script, "pretrain", stopped)
    out = tmp_path / "stopped"
    assert script.main([*options, "--out", str(out)]) == 130
    assert "interrupted; the same command with --resume goes on" in capsys.readouterr().err
    assert load_encoder(f"local-dir:{out}").encode_texts(["a red square"]).shape == (
        1,
        256,
    )  # what there is so far
    forget_encoders()
    monkeypatch.setattr(script, "pretrain", original)
    assert script.main([*options, "--out", str(out)]) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert script.main([*options, "--out", str(out), "--resume", "--lr", "0.1"]) == 2
    assert "lr: 0.002 there, 0.1 now" in capsys.readouterr().err
    assert script.main([*options, "--out", str(out), "--resume"]) == 0
    assert weights(out) == weights(tmp_path / "whole")
    assert not list(out.glob("resume*"))
    capsys.readouterr()
    assert script.main([*options, "--out", str(out), "--resume"]) == 0
    assert "finished already" in capsys.readouterr().out


def test_its_last_lines_are_what_it_reaches_and_the_next_command(folder, tmp_path, capsys):
    assert script.main(["--dataset", str(folder), "--out", str(tmp_path / "e"), *SMALL]) == 0
    told = capsys.readouterr()
    reached, written, command = told.out.splitlines()
    found = re.fullmatch(
        r"validation: rsum ([\d.]+) of 600, chance ([\d.]+) \(v2t R@1 ([\d.]+), t2v R@1 ([\d.]+)\)", reached
    )
    data = load_dataset(str(folder), "validation")
    groups = data.visual_group, data.text_group
    expected = evaluate_embeddings(*zero_shot(data, f"local-dir:{tmp_path / 'e'}"), *groups)
    chance = by_chance(*groups)["rsum"]
    assert [float(number) for number in found.groups()] == pytest.approx(
        [expected["rsum"], chance, *(100 * expected[f"{d}/recall_at_1"] for d in ("v2t", "t2v"))], abs=0.051
    )
    assert written.startswith(f"written to {tmp_path / 'e'}, ")
    assert command.startswith(
        f"python scripts/train.py --dataset {folder} --encoder local-dir:{tmp_path / 'e'} --loss "
    )
    assert "attributes" not in told.err  # those of another data set
    assert reached in (tmp_path / "e" / "README.md").read_text()


def test_nothing_is_written_over_that_is_no_encoder(folder, tmp_path, capsys):
    before = sorted(path.name for path in folder.rglob("*"))
    assert script.main(["--dataset", str(folder), "--out", str(folder), *SMALL]) == 2
    assert "holds something that is no encoder" in capsys.readouterr().err
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert script.main(["--dataset", str(folder), "--out", str(tmp_path / "e"), *SMALL]) == 0
    made = weights(tmp_path / "e")
    assert script.main(["--dataset", str(folder), "--out", str(tmp_path / "e"), *SMALL, "--seed", "1"]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err and weights(tmp_path / "e") == made
    assert (
        script.main(
            ["--dataset", str(folder), "--out", str(tmp_path / "e"), *SMALL, "--seed", "1", "--overwrite"]
        )
        == 0
    )
    assert weights(tmp_path / "e") != made


def test_the_script_tells_faults_in_one_line(tmp_path, capsys):
    assert script.main(["--dataset", str(tmp_path), "--out", str(tmp_path / "e")]) == 2
    assert "Traceback" not in capsys.readouterr().err
