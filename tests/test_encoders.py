"""Encoders: any open_clip folder; features computed once, resumed, never half written."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from PIL import Image
from safetensors.torch import save_file

from xmr import encoders
from xmr.data.dataset import Dataset
from xmr.encoders import features, forget_encoders, load_encoder

VISION = {
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
    "vit": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}


def save_tiny(folder, kind="vit", seed=0, text=TEXT, model=CLIP, **preprocess):
    """An open_clip `local-dir:` folder with random weights."""
    torch.manual_seed(seed)
    config = {"embed_dim": 16, "vision_cfg": VISION[kind], "text_cfg": text}
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.clone().contiguous() for k, v in model(**config).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    preprocess = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3} | preprocess
    config |= {"custom_text": True} if model is CustomTextCLIP else {}
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
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    forget_encoders()


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


@pytest.mark.parametrize("kind", ["pooled", "tokens"])
def test_equal_texts_are_encoded_once_and_stand_in_every_place(tiny, kind, monkeypatch):
    """Within a batch and in later ones, whatever captions stand between them."""
    captions = [f"number {i % 7}" if i % 3 else f"only {i}" for i in range(200)]
    texts = dataset(100, captions=captions, fingerprint="repeated")
    asked = []
    encoder = load_encoder(tiny)
    monkeypatch.setattr(encoders, "load_encoder", lambda name: encoder)
    original = encoders.Encoder.encode_texts
    monkeypatch.setattr(
        encoders.Encoder,
        "encode_texts",
        lambda self, texts, kind: asked.extend(texts) or original(self, texts, kind),
    )
    found = features(texts, tiny, kind)
    assert sorted(asked) == sorted(set(captions))
    for row in (0, 1, 8, 64, 65, 199):
        np.testing.assert_allclose(
            found.text[row], original(encoder, [captions[row]], kind)[0], rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize("stored", [False, True])
def test_offline_one_line_after_one_quick_try(tmp_path, stored):
    """Nobody answers at that address. What the machine has is read at once; of what it lacks is said what to do."""
    import os
    import subprocess
    import sys

    name = "ViT-B-32/laion2b_s34b_b79k"
    told = "import sys; from xmr.encoders import load_encoder\ntry: load_encoder(sys.argv[1])\nexcept ValueError as e: print(e)"
    if stored:
        name = save_tiny(tmp_path / "here")
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", told, name], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.stderr == ""
    if stored:
        assert done.stdout == ""
    else:
        assert done.stdout.startswith(
            f"the encoder {name!r} can't be read from this machine, and the Hub can't be reached"
        )
        assert "local-dir:PATH" in done.stdout and done.stdout.count("\n") == 1


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
    monkeypatch.setattr(encoders.Encoder, "encode_images", lambda *a: calls.append(a))
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
    assert seen[:2] == [("encode test pictures", n) for n in (128, 150)]  # only the last batch was left
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


# Tokens of other tokenizers

WORDS = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "[SEP]",
    *["zebra", "a", "dog", "red", "tree", "runs", "under", "the"],
]


def save_tokenizer(folder, pattern, pad="<pad>", words=WORDS):
    """A tokenizer of Hugging Face that knows `words`; `pattern` is what surrounds a text's tokens, A."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = [(word, words.index(word)) for word in ("<s>", "</s>", "[SEP]")]
    made.post_processor = tokenizers.processors.TemplateProcessing(single=pattern, special_tokens=special)
    folder.mkdir(parents=True, exist_ok=True)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, eos_token="</s>", unk_token="<unk>", sep_token="[SEP]"
    ).save_pretrained(folder)


def save_siglip(folder):
    """Reads texts as SigLIP does: no start, and padding that is the end."""
    save_tokenizer(folder, "$A </s>", pad="</s>")
    text = TEXT | {
        "hf_tokenizer_name": "tiny",
        "vocab_size": len(WORDS),
        "pool_type": "last",
        "no_causal_mask": True,
    }
    return save_tiny(folder, text=text, model=CustomTextCLIP)


def save_bert(folder):
    """Reads texts as CLIPA does: BERT's tokens without its separator, padded with the first word's id."""
    save_tokenizer(folder, "<s> $A [SEP]")
    more = {
        "hf_tokenizer_name": "tiny",
        "vocab_size": len(WORDS),
        "tokenizer_kwargs": {"strip_sep_token": True},
    }
    return save_tiny(folder, text=TEXT | more, model=CustomTextCLIP)


def save_roberta(folder):
    """A tower of Hugging Face, as xlm-roberta-base-ViT-B-32 has."""
    transformers = pytest.importorskip("transformers")
    save_tokenizer(folder, "<s> $A </s>")
    transformers.XLMRobertaConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ).save_pretrained(folder)  # fmt: skip
    text = {"hf_model_name": str(folder), "hf_tokenizer_name": "tiny", "hf_model_pretrained": False,
            "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler", "context_length": 12}  # fmt: skip
    return save_tiny(folder, text=text, model=CustomTextCLIP)


# Of "zebra a dog" and "red": how many tokens stand for them, with start and end where padding is neither.
TOKENIZERS = {save_siglip: (3, 1), save_bert: (4, 2), save_roberta: (5, 3), save_tiny: (5, 3)}


@pytest.mark.parametrize("save", TOKENIZERS, ids=lambda save: save.__name__)
def test_tokens_of_every_tokenizer_are_kept_and_padding_is_zero(tmp_path, save):
    encoder = load_encoder(save(tmp_path / "encoder"))
    texts = ["zebra a dog", "red"]
    pooled, tokens = encoder.encode_texts(texts), encoder.encode_texts(texts, "tokens")
    assert pooled.shape == (2, 16) and np.isfinite(pooled).all() and not np.allclose(*pooled)
    assert tokens.shape == (2, 12, 8)
    assert [(row != 0).any(1).tolist() for row in tokens] == [
        [at < kept for at in range(12)] for kept in TOKENIZERS[save]
    ]


@pytest.mark.parametrize("save", TOKENIZERS, ids=lambda save: save.__name__)
def test_texts_beyond_the_context_are_counted(tmp_path, save):
    encoder = load_encoder(save(tmp_path / "encoder"))
    room = 12 - {save_siglip: 1, save_bert: 2, save_roberta: 2, save_tiny: 2}[save]
    words = ["dog", "red", "tree", "under"] * 3
    fits, longer = " ".join(words[:room]), " ".join([*words[:room], "runs"])
    read = encoder.reading([fits, longer, longer.replace("runs", "the"), "a " * 30, "dog"])
    assert (read.texts, read.cut, read.limit, read.unit) == (5, 3, 12, "tokens")
    # Where the last token is the end of the text, the one that fits is read as those that are cut.
    assert read.alike == 2
    assert read.said.startswith("3 of 5 captions cut off after 12 tokens, 2 of them")
    assert encoder.reading([fits, "dog"]).said == ""


def test_letters_that_are_several_tokens_are_counted_as_such(tiny):
    encoder = load_encoder(tiny)
    assert encoder.reading(["猫" * 5]).cut == 1 and encoder.reading(["é é"]).cut == 0
    assert encoder.reading([]).cut == encoder.reading([""]).cut == 0


def test_words_that_a_tower_of_our_own_never_met_are_counted(tmp_path):
    read = load_encoder("blocks").reading(["a red zebra", "a small blue ball", "Zebra lighthouse's"])
    assert (read.words, read.unknown) == (9, 3)
    assert load_encoder(save_tiny(tmp_path / "e")).reading(["a red zebra"]).words == 0  # has met all there is


def test_an_exclamation_mark_has_the_id_of_clips_padding(tiny):
    kept = (load_encoder(tiny).encode_texts(["!? !"], "tokens")[0] != 0).any(1)
    ids = open_clip.get_tokenizer(tiny)(["!? !"])[0].tolist()
    assert kept.sum() == ids.index(49407) + 1


def test_a_missing_package_is_told_in_a_sentence(tmp_path, monkeypatch):
    name = save_tiny(tmp_path / "e", text=TEXT | {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP"})
    monkeypatch.setattr(encoders, "find_spec", lambda package: None)
    with pytest.raises(
        ValueError, match="package transformers, which is not installed: pip install 'transf"
    ) as e:
        load_encoder(name)
    assert str(e.value).count("\n") == 0 and name in str(e.value)
    assert load_encoder(save_tiny(tmp_path / "clip")).reading(["a"]).texts == 1  # CLIP's own need nothing


def test_all_models_of_open_clip_say_whether_they_need_the_package():
    needing = [name for name in open_clip.list_models() if encoders.needs_transformers(name)]
    assert {"ViT-B-16-SigLIP", "xlm-roberta-base-ViT-B-32", "ViT-B-16-SigLIP2", "nllb-clip-base"} <= set(
        needing
    )
    assert "ViT-B-32" not in needing
    required = [line.split("#")[0] for line in Path("requirements.txt").read_text().splitlines()]
    assert not any(line.startswith("transformers") for line in required)
    assert encoders.NEEDS in Path("requirements.txt").read_text()


# Pictures of any proportions


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_banners_are_encoded_in_bounded_memory(tmp_path, mode, upright, monkeypatch):
    encoder = load_encoder(save_tiny(tmp_path / "e", resize_mode=mode))
    seen, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *a, **k: seen.append(size) or resize(self, size, *a, **k)
    )
    size = (1, 200_000) if upright else (200_000, 1)
    found = encoder.encode_images([Image.new("RGB", size, "red")])
    assert np.isfinite(found).all()
    assert seen and max(width * height for width, height in seen) <= 32 * 32 * encoders.RATIO


@pytest.mark.parametrize("size", [(1000, 20), (20, 1001), (999, 31), (64, 64), (320, 20)])
def test_the_middle_of_a_banner_is_what_the_preprocessing_keeps(tiny, size):
    _, _, preprocess = open_clip.create_model_and_transforms(tiny)
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    if odd := (max(size) - encoders.RATIO * min(size)) % 2:  # the crop may lie half a pixel aside
        pixels = (np.indices(pixels.shape).sum(0) * 255 // sum(size)).astype(np.uint8)
    image = Image.fromarray(pixels)
    found = load_encoder(tiny).preprocess(load_encoder(tiny).bounded(image))
    assert abs(found - preprocess(image)).max() < (0.03 if odd else 1e-6)
