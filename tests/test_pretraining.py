"""Small open_clip models from scratch: the loss falls, and what is written loads as any open_clip folder."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from scripts import pretrain as script
from xmr.encoders import load_encoder
from xmr.pretraining import (
    Batch,
    augment,
    folder_batches,
    model_config,
    pretrain,
    save_encoder,
    scene_batches,
)

CONFIG = model_config(size=32, width=4, text_width=16)


def test_loss_and_attributes_fall_on_scenes():
    batches = scene_batches(total=320, pool=32, size=32, batch=16, seed=0)
    seen = [progress for progress, _ in pretrain(batches, 320, CONFIG, lr=3e-3, seed=0)]
    assert seen[-1].seen == 320
    assert np.mean([p.attributes for p in seen[-5:]]) < 0.5 * seen[0].attributes
    assert np.mean([p.loss for p in seen[-5:]]) < seen[0].loss


def test_same_seed_same_model():
    def weights():
        batches = scene_batches(total=48, pool=16, size=32, batch=16, seed=3)
        *_, (_, model) = pretrain(batches, 48, CONFIG, lr=1e-3, seed=3)
        return model.state_dict()

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
    *_, (_, model) = pretrain(iter([batch]), 2, CONFIG, lr=1e-3, seed=0)
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
    from xmr.data import load_dataset

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


def test_the_script_tells_faults_in_one_line(tmp_path, capsys):
    assert script.main(["--dataset", str(tmp_path), "--out", str(tmp_path / "e")]) == 2
    assert "Traceback" not in capsys.readouterr().err
