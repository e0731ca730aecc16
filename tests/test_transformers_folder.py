"""CLIP and SigLIP as transformers and sentence-transformers save them are encoders; what is none of them is told."""

import json
import pickle
import shutil

import numpy as np
import open_clip
import pytest
import torch

from scripts import add
from tests.test_encoders import WORDS, pictures, save_tokenizer
from tests.tiny import write_photos
from xmr import encoders
from xmr.checkpoints import load_run
from xmr.embedding import embed_texts
from xmr.encoders import candidates, forget_encoders, load_encoder

transformers = pytest.importorskip("transformers")

TEXT = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    forget_encoders()


def save_clip(folder, **changes):
    known = open_clip.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): i for word, i in known.encoder.items()}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=list(known.bpe_ranks)).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**size).save_pretrained(folder)
    config = transformers.CLIPConfig(text_config=TEXT | changes, vision_config=VISION, projection_dim=16)
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def save_siglip(folder, **changes):
    save_tokenizer(folder, "$A </s>", pad="</s>")
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    text = TEXT | {"vocab_size": len(WORDS), "projection_size": 32} | changes
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    torch.manual_seed(0)
    transformers.SiglipModel(config).save_pretrained(folder)
    return folder


MAKERS = {"clip": save_clip, "siglip": save_siglip}


@pytest.fixture(params=MAKERS)
def folder(tmp_path, request):
    return MAKERS[request.param](tmp_path / "model")


def test_features_are_what_transformers_computes(folder):
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["zebra a dog", "red", "the tree runs under the red tree"]
    ids = tokenizer(texts, padding="max_length", max_length=12, truncation=True, return_tensors="pt")[
        "input_ids"
    ]
    (name,) = candidates(str(folder))
    encoder = load_encoder(name)
    with torch.inference_mode():
        image = model.get_image_features(processor(pictures(3), return_tensors="pt")["pixel_values"])
        text = model.get_text_features(ids)
    np.testing.assert_allclose(encoder.encode_images(pictures(3)), image.pooler_output, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), text.pooler_output, atol=1e-5)
    scale, bias = encoder.scale_and_bias()
    assert scale == pytest.approx(model.logit_scale.exp().item())
    assert bias == (None if model.config.model_type == "clip" else pytest.approx(model.logit_bias.item()))
    # Tokens: four patches, and as many words as there are, none of padding.
    assert encoder.encode_images(pictures(3), "tokens").shape == (3, 4, 32)
    kept = (encoder.encode_texts(texts, "tokens") != 0).any(2).sum(1)
    ends = 2 if model.config.model_type == "clip" else 0  # SigLIP pads with its end
    assert kept.tolist() == [3 + ends, 1 + ends, 7 + ends]
    assert encoder.reading(["dog " * 20, "dog"]).cut == 1


def test_it_is_added_as_a_model_with_its_own_loss(folder, tmp_path):
    photos, runs = write_photos(tmp_path / "photos"), tmp_path / "runs"
    assert add.main(["--dataset", str(photos), "--model", f"mine={folder}", "--out", str(runs)]) == 0
    run = load_run(runs / "mine")
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    assert run.config.loss == {"clip": "info_nce", "siglip": "siglip"}[kind]
    assert embed_texts(run, ["red"]).shape == (1, run.embed_dim)


def test_the_hash_is_of_weights_and_preprocessing_wherever_it_lies(tmp_path):
    first, again = save_clip(tmp_path / "a"), shutil.copytree(tmp_path / "a", tmp_path / "b")
    told = load_encoder(f"local-dir:{first}").hash
    assert told == load_encoder(f"local-dir:{again}").hash and told.endswith("-quickgelu")
    gelu = save_clip(tmp_path / "c", hidden_act="gelu")
    edit(gelu / "config.json", lambda c: c["vision_config"].update(hidden_act="gelu"))
    assert load_encoder(f"local-dir:{gelu}").hash == told.removesuffix("-quickgelu")
    edit(again / "preprocessor_config.json", lambda c: c.update(image_mean=[0, 0, 0]))
    forget_encoders()
    assert load_encoder(f"local-dir:{again}").hash != told


@pytest.mark.parametrize("inner", ["0_CLIPModel", ""])
def test_a_clip_of_sentence_transformers_is_the_one_within(tmp_path, inner):
    outer = tmp_path / "outer"
    save_clip(outer / inner)
    modules(outer, inner, "sentence_transformers.models.CLIPModel", "sentence_transformers.models.Normalize")
    found, plain = (
        load_encoder(f"local-dir:{outer}"),
        load_encoder(f"local-dir:{save_clip(tmp_path / 'plain')}"),
    )
    assert found.hash == plain.hash
    np.testing.assert_array_equal(found.encode_texts(["a dog"]), plain.encode_texts(["a dog"]))


# ---- what is told ------------------------------------------------------------------------------------------


def edit(path, change):
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def modules(folder, inner, *kinds):
    told = [
        {"idx": i, "name": str(i), "path": inner if i == 0 else f"{i}_x", "type": kind}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(told))


def weights(folder, change):
    path = folder / "model.safetensors"
    from safetensors.torch import load_file, save_file

    state = load_file(path)
    change(state)
    path.unlink()
    save_file(state, path, {"format": "pt"})


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).mkdir, (self.path,))


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Trap(folder.parent / "sprung")}))


def own_code(folder):
    (folder / "trap.py").write_text(
        f"import pathlib\npathlib.Path({str(folder.parent / 'sprung')!r}).mkdir()\nclass C: pass\n"
    )
    names = {
        "AutoConfig": "trap.C",
        "AutoModel": "trap.C",
        "AutoTokenizer": ["trap.C", "trap.C"],
        "AutoImageProcessor": "trap.C",
    }
    edit(folder / "config.json", lambda c: c.update(auto_map=names, model_type="trap"))


FAULTS = {
    "nothing": (lambda f: (f / "config.json").unlink(), "has no open_clip_config.json and no config.json of transfo.*--embeddings"),
    "another kind": (lambda f: edit(f / "config.json", lambda c: c.update(model_type="bert")), "of the kind 'bert', and only clip and siglip.*--embeddings"),
    "a dense layer": (lambda f: modules(f, "", "a.CLIPModel", "a.Dense"), "made of CLIPModel, Dense, and only its CLIP is read; .*--embeddings"),
    "no modules": (lambda f: (f / "modules.json").write_text("[]"), "made of nothing"),
    "a way out": (lambda f: modules(f, "../..", "a.CLIPModel"), "names a folder that is not in it"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "of the kind None"),
    "cut weights": (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "could not be loaded"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "could not be loaded"),
    "some weights": (lambda f: weights(f, lambda s: s.pop("visual_projection.weight")), "its weights lack visual_projection.weight$"),
    "other sizes": (lambda f: edit(f / "config.json", lambda c: c["text_config"].update(hidden_size=16)), "could not be loaded"),
    "NaN": (lambda f: weights(f, lambda s: s["visual_projection.weight"].fill_(float("nan"))), "are not all finite"),
    "no tokenizer": (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "has no tokenizer: save the model's"),
    "another tokenizer": (lambda f: edit(f / "config.json", lambda c: c["text_config"].update(vocab_size=400)), "could not be loaded"),
    "no processor": (lambda f: (f / "preprocessor_config.json").unlink(), "could not be loaded"),
    "other pictures": (lambda f: edit(f / "preprocessor_config.json", lambda c: c.update(crop_size={"height": 64, "width": 64}, size={"shortest_edge": 64})), "could not be loaded"),
    "pickle": (pickled, "could not be loaded"),
    "code of its own": (own_code, "of the kind 'trap'"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_can_not_be_read_is_told_in_a_sentence_and_nothing_is_run(tmp_path, fault):
    folder = save_clip(tmp_path / "model")
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(ValueError, match=message) as raised:
        load_encoder(f"local-dir:{folder}")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700
    assert not (tmp_path / "sprung").exists()


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "find_spec", lambda package: None)
    with pytest.raises(
        ValueError, match="it is read with the package transformers, which is not installed: pip inst"
    ):
        load_encoder(f"local-dir:{save_clip(tmp_path / 'model')}")
