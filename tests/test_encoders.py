"""Encoders: any open_clip folder; features computed once, resumed, never half written."""

import json

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file

from xmr import encoders
from xmr.data.dataset import Dataset
from xmr.encoders import features, load_encoder

VISION = {
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
    "vit": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}


def save_tiny(folder, kind="vit", seed=0):
    """An open_clip `local-dir:` folder with random weights."""
    torch.manual_seed(seed)
    config = {"embed_dim": 16, "vision_cfg": VISION[kind], "text_cfg": TEXT}
    folder.mkdir(parents=True)
    state = {k: v.clone().contiguous() for k, v in CLIP(**config).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    preprocess = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    return f"local-dir:{folder}"


def pictures(n, seed=0):
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)) for _ in range(n)]


def dataset(n=150, **changes):
    values = {
        "name": "noise",
        "split": "test",
        "captions": [f"picture number {i % n}" for i in range(2 * n)],
        "visual_of_text": np.arange(2 * n) % n,
        "visual_ids": [str(i) for i in range(n)],
        "fingerprint": f"noise{n}",
        "visuals": pictures(n),
    }
    return Dataset(**(values | changes))


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    load_encoder.cache_clear()


@pytest.fixture(params=sorted(VISION))
def tiny(tmp_path, request):
    return save_tiny(tmp_path / request.param, request.param)


def test_features_are_what_open_clip_computes(tiny):
    model, _, preprocess = open_clip.create_model_and_transforms(tiny)
    model.eval()
    found = features(dataset(5), tiny)
    with torch.inference_mode():
        visual = model.encode_image(torch.stack([preprocess(p) for p in pictures(5)]))
        text = model.encode_text(open_clip.get_tokenizer(tiny)(dataset(5).captions))
    np.testing.assert_allclose(found.visual, visual.numpy(), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found.text, text.numpy(), rtol=2e-3, atol=2e-3)
    assert found.visual.dtype == np.float16
    assert isinstance(found.visual, np.memmap)
    assert abs(np.linalg.norm(found.visual[0].astype(float)) - 1) > 1e-3  # raw, not normalised


def test_token_features_have_a_token_axis_and_zeros_after_a_captions_end(tiny):
    found = features(dataset(3), tiny, "tokens")
    assert found.visual.ndim == found.text.ndim == 3
    assert len(found.visual) == 3
    assert found.text.shape[:2] == (6, TEXT["context_length"])
    length = 2 + len(open_clip.SimpleTokenizer().encode("picture number 0"))
    assert (found.text[0, length:] == 0).all()
    assert (found.text[0, :length] != 0).any(axis=1).all()


def test_a_clip_gives_features_per_frame(tiny):
    clips = [pictures(4, seed) for seed in range(3)]
    found = features(dataset(3, visuals=clips, kind="clip"), tiny)
    assert found.visual.shape == (3, 4, 16)
    np.testing.assert_allclose(
        found.visual[1, 2], load_encoder(tiny).encode_images([clips[1][2]])[0], atol=2e-3
    )


def test_computed_once(tiny, monkeypatch):
    first = features(dataset(), tiny)
    calls = []
    monkeypatch.setattr(encoders, "_write", lambda *a: calls.append(a))
    again = features(dataset(), tiny)
    assert not calls
    np.testing.assert_array_equal(first.visual, again.visual)


def test_resumes_after_an_interruption_with_the_same_result(tiny):
    whole = np.array(features(dataset(), tiny).visual)
    encoders.cache_dir("features")
    other = dataset(fingerprint="again")

    class Stop(Exception):
        pass

    def interrupt(what, done, total):
        if done >= 2 * encoders.BATCH:
            raise Stop

    with pytest.raises(Stop):
        features(other, tiny, progress=interrupt)
    assert not list(encoders.cache_dir("features").glob("*again*/visual.npy"))
    seen = []
    resumed = features(other, tiny, progress=lambda what, done, total: seen.append((what, done)))
    assert seen[0] == ("visual", 150)  # only the last batch was left
    np.testing.assert_array_equal(resumed.visual, whole)


def test_other_weights_or_data_do_not_meet_the_same_cache(tmp_path):
    a, b = save_tiny(tmp_path / "a", seed=0), save_tiny(tmp_path / "b", seed=1)
    assert load_encoder(a).hash != load_encoder(b).hash
    assert load_encoder(a).hash == load_encoder(save_tiny(tmp_path / "c", seed=0)).hash
    assert not np.array_equal(features(dataset(4), a).visual, features(dataset(4), b).visual)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blcks", "did you mean 'blocks'"),
        ("ViT-B-33/openai", "did you mean 'ViT-B-32"),
        ("ViT-B-32", "write ViT-B-32/PRETRAINED"),
        ("ViT-B-32/opnai", "did you mean 'openai'"),
        ("local-dir:/nowhere", "/nowhere"),
    ],
)
def test_unknown_encoders_are_errors_with_the_way_out(name, message):
    with pytest.raises(ValueError, match=message):
        load_encoder(name)


def test_a_truncated_weights_file_is_refused(tmp_path):
    name = save_tiny(tmp_path / "t")
    weights = tmp_path / "t" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="could not be loaded"):
        load_encoder(name)


def test_features_without_pictures_are_an_error():
    given = dataset(3, visuals=None, visual_features=np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="no pictures"):
        features(given, "blocks")
