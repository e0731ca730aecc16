"""Files of weights as trainers write them: their architecture is found by shapes, and nothing in them is run."""

import json
import pickle
import subprocess
import sys

import numpy as np
import open_clip
import pytest
import torch
from open_clip import CustomTextCLIP
from PIL import Image
from safetensors.torch import save_file

from scripts import add
from tests.test_encoders import TEXT, VISION, WORDS, save_tokenizer
from tests.tiny import write_photos
from xmr.allowed import find_at
from xmr.checkpoints import load_run
from xmr.encoders import candidates, forget_encoders, load_encoder
from xmr.encoders.weights import architectures, shapes_of

CONFIG = {"embed_dim": 16, "vision_cfg": VISION["vit"], "text_cfg": TEXT}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    forget_encoders()


@pytest.fixture
def known(tmp_path):
    """Makes an architecture known to open_clip by name."""
    before, paths = dict(open_clip.factory._MODEL_CONFIGS), list(open_clip.factory._MODEL_CONFIG_PATHS)
    (tmp_path / "configs").mkdir()

    def add_config(name, **changes):
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(CONFIG | changes))
        open_clip.add_model_config(tmp_path / "configs")
        return name

    yield add_config
    open_clip.factory._MODEL_CONFIG_PATHS[:] = paths
    open_clip.factory._MODEL_CONFIGS.clear()
    open_clip.factory._MODEL_CONFIGS.update(before)


@pytest.fixture
def pair(known):
    """An architecture with and without QuickGELU."""
    return [known("tiny-vit"), known("tiny-vit-quickgelu", quick_gelu=True)]


def model_of(config=CONFIG, seed=0, **more):
    torch.manual_seed(seed)
    made = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    return made(**{key: value for key, value in config.items() if key != "custom_text"}, **more)


def trained(path, model, prefix="module.", **more):
    """What open_clip's trainer writes."""
    state = {f"{prefix}{key}": tensor for key, tensor in model.state_dict().items()}
    torch.save({"epoch": 5, "name": "run", "state_dict": state, "optimizer": {"state": {}}, **more}, path)
    return path


def equal(encoder, model):
    found, told = encoder.model.state_dict(), model.state_dict()
    return found.keys() == told.keys() and all(torch.equal(found[key], told[key]) for key in found)


# ---- which architecture it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    ["module.", "", "_orig_mod.", "module._orig_mod.", "model.", "model.clip.module.", "module.module."],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_trainers_file_is_read_by_its_shapes_or_by_name(tmp_path, pair, named, prefix):
    file = trained(tmp_path / "epoch_5.pt", model := model_of(), prefix)
    names = candidates(f"tiny-vit:{file}" if named else str(file))
    assert names == [f"{name}/{file}" for name in pair]
    plain, quick = map(load_encoder, names)
    assert equal(plain, model) and equal(quick, model)
    # Equal weights of other activations are other encoders, whose features don't meet.
    assert plain.hash != quick.hash and quick.hash.startswith(plain.hash)
    picture = [Image.new("RGB", (32, 32), "red")]
    assert not np.allclose(plain.encode_images(picture), quick.encode_images(picture), atol=1e-4)


def test_the_weights_alone_and_other_endings_are_read(tmp_path, pair):
    model = model_of()
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    torch.save(model.state_dict(), tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    save_file(
        {key: tensor.contiguous() for key, tensor in model.state_dict().items()}, tmp_path / "a.safetensors"
    )
    for name in ("plain.pth", "old.bin", "a.safetensors"):
        assert equal(load_encoder(candidates(str(tmp_path / name))[0]), model), name


@pytest.mark.parametrize("own", [False, True])
def test_a_tokenizer_of_hugging_face_is_had_where_its_name_says(tmp_path, known, own):
    save_tokenizer(tmp_path / "words", "$A </s>", pad="</s>")
    text = TEXT | {
        "hf_tokenizer_name": str(tmp_path / "words"),
        "vocab_size": len(WORDS),
        "tokenizer_kwargs": {"strip_sep_token": True},
    }
    config = CONFIG | {"text_cfg": text, "custom_text": True}
    (tmp_path / "mine.json").write_text(json.dumps(config))
    spec = str(tmp_path / "mine.json") if own else known("tiny-siglip", **config)
    model = CustomTextCLIP(16, VISION["vit"], text)
    found = load_encoder(candidates(f"{spec}:{trained(tmp_path / 'epoch.pt', model)}")[0])
    ids = found.tokenizer(["zebra a dog"])
    assert ids.shape == (1, TEXT["context_length"]) and equal(found, model)
    assert ids[0, :4].tolist() == [WORDS.index(word) for word in ("zebra", "a", "dog", "</s>")]


def test_a_configuration_beside_a_file_tells_its_architecture(tmp_path, capsys):
    """As in the folder of a run of towers, which has files of its epochs, of no architecture that open_clip knows by name."""
    file, config = trained(tmp_path / "epoch_1.pt", model := model_of()), tmp_path / "open_clip_config.json"
    with pytest.raises(ValueError, match="of none of open_clip's architectures.*--config"):
        candidates(str(file))
    config.write_text(json.dumps(CONFIG))
    assert candidates(str(file)) == [f"{config}/{file}"]
    assert equal(load_encoder(f"{config}/{file}"), model)
    (tmp_path / "elsewhere").mkdir()
    config = config.rename(tmp_path / "elsewhere" / config.name)  # that of another model in one command
    others = [f"local-dir:{tmp_path}", "ViT-B-32/openai", f"local-dir:{config.parent}", str(file)]
    assert add.encoders_of(str(file), "", others) == [f"{config}/{file}"]
    assert "its architecture is that of" in capsys.readouterr().err
    with pytest.raises(ValueError, match="of none of open_clip's architectures"):
        add.encoders_of(str(file), "", others[:2])
    config = config.rename(tmp_path / config.name)
    config.write_text(json.dumps(CONFIG | {"embed_dim": 24}))  # of other weights
    with pytest.raises(ValueError, match="of none of open_clip's architectures"):
        candidates(str(file))


def test_a_prefix_of_some_names_alone_is_none(tmp_path, pair):
    state = model_of().state_dict()
    torch.save(
        {key if key == "logit_scale" else f"model.{key}": one for key, one in state.items()},
        tmp_path / "a.pt",
    )
    with pytest.raises(ValueError, match="nearest is tiny-vit.* is missing in the file") as raised:
        candidates(str(tmp_path / "a.pt"))
    assert "\n" not in str(raised.value)


def test_a_bias_that_the_architecture_does_not_tell_is_read(tmp_path, pair):
    """open_clip's trainer adds one with --siglip."""
    file = trained(tmp_path / "siglip.pt", model_of(init_logit_bias=-7.5, init_logit_scale=2.0))
    scale, bias = load_encoder(candidates(str(file))[0]).scale_and_bias()
    assert (scale, bias) == (pytest.approx(np.exp(2.0)), -7.5)


def test_a_text_tower_of_its_own_is_the_same_architecture(tmp_path, known):
    name = known("tiny-custom", custom_text=True)
    file = trained(tmp_path / "epoch.pt", model_of())
    assert candidates(str(file)) == [f"{name}/{file}"]
    picture = [Image.new("RGB", (32, 32), "red")]
    with torch.inference_mode():
        text = model_of().eval().encode_text(open_clip.tokenize(["a"], TEXT["context_length"]))
    np.testing.assert_allclose(load_encoder(f"{name}/{file}").encode_texts(["a"]), text, atol=1e-5)
    assert load_encoder(f"{name}/{file}").encode_images(picture).shape == (1, 16)


def test_those_that_fit_are_named_where_they_differ_in_more(tmp_path, known):
    heads = VISION["vit"] | {"head_width": 8}
    names = [known("tiny-two"), known("tiny-four", vision_cfg=heads)]
    file = trained(tmp_path / "epoch.pt", model_of())
    with pytest.raises(ValueError, match="has the sizes of .*: name one, as tiny-") as raised:
        candidates(str(file))
    assert all(name in str(raised.value) for name in names)


def test_what_differs_from_the_nearest_is_told(tmp_path, pair):
    wide = trained(tmp_path / "wide.pt", model_of(CONFIG | {"text_cfg": TEXT | {"width": 16}}))
    with pytest.raises(
        ValueError, match="of none of open_clip's architectures; the nearest is tiny-vit"
    ) as raised:
        candidates(str(wide))
    said = str(raised.value)
    assert "positional_embedding is (12, 16) in the file and (12, 8) there" in said
    assert "more tensors differ" in said and "--config CONFIG.json" in said and "\n" not in said
    with pytest.raises(
        ValueError, match="weights are of another architecture than tiny-vit, where positional_embe"
    ):
        load_encoder(candidates(f"tiny-vit:{wide}")[0])
    state = model_of().state_dict()
    del state["text_projection"]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(ValueError, match="where text_projection is missing in the file"):
        load_encoder(candidates(f"tiny-vit:{tmp_path / 'less.pt'}")[0])


def test_real_architectures_are_told_apart_without_their_weights(tmp_path):
    """Their tensors take no memory here, nor in the file: one number stands for all of a tensor."""
    for name, expected in {
        "ViT-B-32-quickgelu": ["ViT-B-32", "ViT-B-32-quickgelu"],
        "ViT-B-32-256": ["ViT-B-32-256"],
        "RN50": ["RN50", "RN50-quickgelu"],
        "ViT-B-16-SigLIP": ["ViT-B-16-SigLIP"],
        "coca_ViT-B-32": ["coca_ViT-B-32"],
    }.items():
        with torch.device("meta"):
            model = open_clip.create_model(name, load_weights=False, device="meta")
        state = {key: torch.zeros(()).expand(tensor.shape) for key, tensor in model.state_dict().items()}
        torch.save({"state_dict": state}, tmp_path / "epoch.pt")
        assert sorted(architectures(tmp_path / "epoch.pt")) == sorted(expected)
        assert len(shapes_of(tmp_path / "epoch.pt")) == len(state)


def test_a_moved_file_is_of_the_architecture_that_the_run_tells(tmp_path, pair):
    file = trained(tmp_path / "epoch.pt", model_of())
    name = f"tiny-vit-quickgelu/{file}"
    before = load_encoder(name).hash
    file.rename(tmp_path / "moved.pt")
    forget_encoders()
    with pytest.raises(ValueError, match="there is no file .*epoch.pt; where a run's encoder lies now"):
        load_encoder(name)
    forget_encoders()
    find_at({"epoch.pt": str(tmp_path / "moved.pt")})
    try:
        assert load_encoder(name).hash == before
    finally:
        find_at({})


# ---- an architecture of one's own --------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_an_architecture_of_ones_own_is_told_by_its_configuration(tmp_path, whole):
    preprocess = {"size": [32, 32], "mean": [0.1] * 3, "std": [0.9] * 3}
    told = {"model_cfg": CONFIG, "preprocess_cfg": preprocess} if whole else CONFIG
    (tmp_path / "mine.json").write_text(json.dumps(told))
    file = trained(tmp_path / "epoch.pt", model := model_of())
    (name,) = candidates(str(file), str(tmp_path / "mine.json"))
    assert candidates(f"{tmp_path / 'mine.json'}:{file}") == [name]
    encoder = load_encoder(name)
    assert equal(encoder, model)
    assert ("mean=[0.1, 0.1, 0.1]" in repr(encoder.preprocess).replace("tensor(", "")) is whole
    if not whole:
        return
    # Another process knows no more than the name.
    code = "import sys; from xmr.encoders import load_encoder; print(load_encoder(sys.argv[1]).hash)"
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == encoder.hash, done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "mine.json is not JSON"),
        ("[]", "is no configuration of open_clip's"),
        ('{"embed_dim": 16}', "has not all of embed_dim, vision_cfg, text_cfg"),
        (
            json.dumps(CONFIG | {"embed_dim": 24}),
            "are of another architecture than .*text_projection is (8, 16) in the file",
        ),
        (json.dumps(CONFIG | {"embed_dim": 10**12}), "could not be loaded"),
        (json.dumps(CONFIG | {"text_cfg": {"wdith": 3}}), "could not be loaded: .*wdith"),
        (json.dumps(CONFIG | {"vision_cfg": 7}), "could not be loaded"),
    ],
)
def test_a_configuration_that_is_none_is_told(tmp_path, content, message):
    (tmp_path / "mine.json").write_text(content)
    file = trained(tmp_path / "epoch.pt", model_of())
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")) as raised:
        load_encoder(candidates(str(file), str(tmp_path / "mine.json"))[0])
    assert "\n" not in str(raised.value)


# ---- what is no weights ------------------------------------------------------------------------------------


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).mkdir, (self.path,))


def with_nan(model):
    model.visual.proj.data[3, 3] = float("nan")
    return model


HOSTILE = {
    "pickle": (lambda f, t: f.write_bytes(pickle.dumps({"state_dict": Trap(t)})), "holds more than weights"),
    "program": (lambda f, t: torch.save({"state_dict": Trap(t)}, f), "holds more than weights"),
    "in optimizer": (lambda f, t: trained(f, model_of(), optimizer=Trap(t)), "holds more than weights"),
    "TorchScript": (lambda f, t: torch.jit.save(torch.jit.script(torch.nn.ReLU()), f), "a program of TorchScript"),
    "cut": (lambda f, t: f.write_bytes(trained(f, model_of()).read_bytes()[:5000]), "no whole file|holds more than"),
    "empty": (lambda f, t: f.write_bytes(b""), "no whole file of weights"),
    "text": (lambda f, t: f.write_text("version https://git-lfs.github.com/spec/v1"), "holds more than weights"),
    "a tensor": (lambda f, t: torch.save(torch.ones(3), f), "holds no weights by name.*Tensor"),
    "a list": (lambda f, t: torch.save([torch.ones(3)], f), "holds no weights by name.*list"),
    "nothing": (lambda f, t: torch.save({}, f), "holds no weights by name.*nothing"),
    "other keys": (lambda f, t: torch.save({"model": {}, "step": 3}, f), "no state_dict of such: model, step"),
    "numbers": (lambda f, t: torch.save({"state_dict": {"a": 3}}, f), "holds no weights by name"),
    "NaN": (lambda f, t: trained(f, with_nan(model_of())), "weights visual.proj are not all finite"),
    "huge": (lambda f, t: torch.save({"a": torch.zeros(1).expand(10**9, 10**9)}, f), "of none of open_clip's"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_files_that_are_no_weights_are_told_in_a_sentence_and_nothing_is_run(tmp_path, pair, kind):
    make, message = HOSTILE[kind]
    make(tmp_path / "epoch.pt", tmp_path / "sprung")
    for spec in (str(tmp_path / "epoch.pt"), f"tiny-vit:{tmp_path / 'epoch.pt'}"):
        with pytest.raises(
            ValueError, match=message if ":" not in spec or kind != "huge" else "another arch"
        ) as e:
            load_encoder(candidates(spec)[0])
        assert "\n" not in str(e.value) and len(str(e.value)) < 600
    assert not (tmp_path / "sprung").exists()


# ---- added -------------------------------------------------------------------------------------------------


def test_add_finds_the_activation_on_validation(tmp_path, pair, capsys, monkeypatch):
    photos = write_photos(tmp_path / "photos")
    file = trained(tmp_path / "epoch_5.pt", model_of())
    arguments = ["--dataset", str(photos), "--model", f"mine={file}", "--out", str(tmp_path / "runs")]
    found = {}

    def metrics(data, visual, text):
        found[data.fingerprint] = found.get(data.fingerprint, 0) + 1
        return add_metrics(data, visual, text) | {"rsum": float(found[data.fingerprint])}

    add_metrics = add.split_metrics
    monkeypatch.setattr(add, "split_metrics", metrics)  # the one that is asked last is best
    assert add.main(arguments) == 0
    said = capsys.readouterr()
    assert "tiny-vit 1.0 and tiny-vit-quickgelu 2.0 on 20 visuals of validation" in said.err
    assert "so it was trained as tiny-vit-quickgelu" in said.err
    run = load_run(tmp_path / "runs" / "mine")
    assert run.encoder["name"] == f"tiny-vit-quickgelu/{file}" and run.encoder["hash"].endswith("-quickgelu")
    assert "--allow-encoders" in said.out and "as if trained with info_nce (temperature" in said.out
    monkeypatch.setattr(add, "SAMPLE", 7)
    assert add.main([*arguments, "--overwrite"]) == 0
    assert "on 7 visuals of validation" in capsys.readouterr().err
