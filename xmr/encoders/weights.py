"""Files of weights as trainers write them: which of open_clip's architectures they are of, told by the shapes alone."""

from __future__ import annotations

import json
import logging
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from zipfile import BadZipFile

import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer
from safetensors import SafetensorError, safe_open

from xmr.disk import Refused, parse_json, read
from xmr.registry import unknown

Shapes = dict[str, tuple[int, ...]]
Loaded = tuple[torch.nn.Module, Callable[..., torch.Tensor], Callable[..., torch.Tensor]]

T = TypeVar("T")

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TOWER = "config.json"  # of a text tower of Hugging Face
MAX_CONFIG = 1 << 20  # bytes
COMPARED = 3  # architectures that are looked at tensor by tensor where none fits
SHOWN = 2  # tensors that differ, in words
TEXT_BLOCK = re.compile(r"(text\.)?transformer\.resblocks\.\d+\.ln_1\.weight")
VISUAL_BLOCK = re.compile(r"visual\.transformer\.resblocks\.\d+\.ln_1\.weight")
# What open_clip's loader makes fit by itself: positions of other sizes, and one that is there or not.
RESIZED = ("positional_embedding", "visual.positional_embedding", "text.positional_embedding")
OPTIONAL = ("logit_bias", "text.transformer.embeddings.position_ids")
CONVERTED = ("image_encoder.",)  # names of MobileCLIP's own files, which it converts
# What trainers put before all names: DistributedDataParallel, torch.compile, and modules that hold the model.
PUT_BEFORE = re.compile(r"((module|_orig_mod|model|clip)\.){0,4}")
PROGRAM = "its file holds more than weights, which could be a program, or is cut; it is not read"


def parts(name: str) -> tuple[str, str]:
    """Architecture and weights of MODEL/PRETRAINED, where MODEL may be the path of a configuration, as /a/vit.json//b/w.pt."""
    config, ending, weights = name.partition(".json/")
    if ending:
        return f"{config}.json", weights
    model, _, weights = name.partition("/")
    return model, weights


def config_of(model: str) -> dict[str, Any]:
    """The configuration of an architecture of open_clip by its name, or of one's own, a .json file: `model_cfg` as open_clip
    calls it, `preprocess_cfg` beside it where the file has it. Raises ValueError."""
    if not model.endswith(".json"):
        if model not in (known := open_clip.list_models()):
            raise ValueError(unknown("architecture", model, known))
        return {"model_cfg": open_clip.get_model_config(model)}
    path = Path(model).expanduser()
    try:
        found = parse_json(read(path, MAX_CONFIG), path.name)
    except Refused as error:
        raise ValueError(f"{model}: {error}") from error
    told = found if isinstance(found, dict) and "model_cfg" in found else {"model_cfg": found}
    sides = ("embed_dim", "vision_cfg", "text_cfg")
    if not isinstance(told["model_cfg"], dict) or not all(key in told["model_cfg"] for key in sides):
        raise ValueError(f"{model} is no configuration of open_clip's: it has not all of {', '.join(sides)}")
    return told


def text_config(source: str) -> dict[str, Any]:
    """What the configuration of a model, as `config_of` or a folder has it, says of its text tower; empty where there is none."""
    if source.endswith(".json"):
        return config_of(source)["model_cfg"]["text_cfg"]
    return (open_clip.get_model_config(source) or {}).get("text_cfg", {})


def tower_elsewhere(source: str) -> str:
    """What the architecture of a text tower of Hugging Face is looked up as, where that is no folder; "" of any other."""
    try:
        name = str(text_config(source).get("hf_model_name") or "")
    except (ValueError, OSError, KeyError, AttributeError):  # which loading tells
        return ""
    return "" if Path(name).is_dir() else name


def architectures(path: Path) -> list[str]:
    """The names of open_clip's architectures whose tensors have the shapes of those in the file; several only where they
    differ in QuickGELU, which no shape tells. Raises ValueError where none fits, naming what differs from the nearest, and
    where those that fit differ in more."""
    shapes = shapes_of(path)
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    share = {name: _agreeing(config, shapes) for name, config in configs.items()}
    likely = sorted(share, key=lambda name: -share[name])
    likely = [name for name in likely if share[name] == 1] or likely[:COMPARED]
    compared = {name: differences({"model_cfg": configs[name]}, shapes) for name in likely}
    fitting = [name for name in likely if compared[name] == []]
    if not fitting:
        known = [name for name in likely if compared[name] is not None]
        near = min(known, key=lambda name: len(compared[name]), default="")
        said = f"; the nearest is {near}, where {in_words(compared[near])}" if near else ""
        raise ValueError(
            f"{path} is of none of open_clip's architectures{said}. One of your own is told by --config CONFIG.json"
        )
    if len({json.dumps(configs[name] | {"quick_gelu": None}, sort_keys=True) for name in fitting}) > 1:
        raise ValueError(f"{path} has the sizes of {' and '.join(fitting)}: name one, as {fitting[0]}:{path}")
    return fitting


def config_beside(path: Path, folder: Path | None = None) -> str:
    """The configuration of open_clip's in a folder, by default that of the file of weights `path`, if they are of it; else ""."""
    config = (folder or path.parent) / CONFIG
    if not config.is_file() or differences(config_of(str(config)), shapes_of(path), resized=True) != []:
        return ""
    return str(config)


def _agreeing(config: dict[str, Any], shapes: Shapes) -> float:
    """The share of what a configuration tells of sizes and depths that holds for the file: quick to ask of all."""
    text, vision = config["text_cfg"], config["vision_cfg"]
    sizes = {size for shape in shapes.values() for size in shape}
    named = [config["embed_dim"], text.get("width"), text.get("vocab_size")]
    named += [vision.get("width"), vision.get("patch_size")]
    found = [size in sizes for size in named if size is not None]
    for layers, blocks in ((text.get("layers"), TEXT_BLOCK), (vision.get("layers"), VISUAL_BLOCK)):
        if isinstance(layers, int):
            found.append(layers == sum(blocks.fullmatch(key) is not None for key in shapes))
    for key, start in (("timm_model_name", "visual.trunk."), ("hf_model_name", "text.transformer.encoder.")):
        found.append((key in vision or key in text) == any(name.startswith(start) for name in shapes))
    return sum(found) / len(found)


def shapes_of(path: Path) -> Shapes:
    """The shapes of the tensors of a file, by name, without what a trainer puts before the names; no weights are read.
    Raises ValueError where the file is cut, or holds anything but weights."""
    return _without_prefix(_shapes_as_named(path))


def prefix_of(names: Iterable[str]) -> str:
    """What a trainer put before all of the names."""
    names = [*names] or [""]
    words = PUT_BEFORE.match(names[0])[0].split(".")
    prefixes = (".".join([*words[:count], ""]) for count in range(len(words) - 1, 0, -1))
    return next((one for one in prefixes if all(name.startswith(one) for name in names)), "")


def _without_prefix(state: Mapping[str, T]) -> dict[str, T]:
    prefix = prefix_of(state)
    return {name.removeprefix(prefix): one for name, one in state.items()}


def _shapes_as_named(path: Path) -> Shapes:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        if zipped := zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                    raise ValueError("it is a program of TorchScript")
        found = torch.load(path, map_location="meta", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        raise ValueError(f"{path}: {PROGRAM}") from error
    except (
        SafetensorError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        BadZipFile,
    ) as error:
        why = str(error).partition("\n")[0] or "it ends too early"
        raise ValueError(f"{path} is no whole file of weights: {why}") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not state or not all(map(torch.is_tensor, state.values())):
        keys = ", ".join(map(str, list(state)[:5])) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path} holds no weights by name, and no state_dict of such: {keys or 'nothing'}")
    return {str(key): tuple(tensor.shape) for key, tensor in state.items()}


def differences(config: dict[str, Any], shapes: Shapes, resized: bool = False) -> list[str] | None:
    """What keeps the tensors of a file from being those of a configuration, in words, more or fewer positions aside where
    they may be `resized`; None where that can't be told, since its text tower is on a hub that is out of reach."""
    try:
        expected = {key: tuple(one.shape) for key, one in _on_meta(config).state_dict().items()}
    except OSError:
        return None
    if "text.positional_embedding" in expected or any(
        key.startswith("text.transformer.") for key in expected
    ):
        shapes = convert_to_custom_text_state_dict(shapes)
    found = {key: () if key.startswith("logit_") else shape for key, shape in shapes.items()}
    expected = {key: () if key.startswith("logit_") else shape for key, shape in expected.items()}
    for key in OPTIONAL:
        if (key in found) != (key in expected):
            found.pop(key, None)
            expected.pop(key, None)
    other = [
        f"{key} is {found[key]} in the file and {shape} there"
        for key, shape in expected.items()
        if found.get(key, shape) != shape and not (resized and key in RESIZED and found[key][1:] == shape[1:])
    ]
    lacking = [f"{key} is missing in the file" for key in expected if key not in found]
    return [*other, *lacking, *(f"{key} is not there" for key in found if key not in expected)]


def in_words(faults: list[str]) -> str:
    """Some of the `differences`, and how many more there are."""
    more = f", and {len(faults) - SHOWN} more tensors differ" if len(faults) > SHOWN else ""
    return "; ".join(faults[:SHOWN]) + more


def of_folder(folder: Path) -> Loaded | None:
    """As `of_file`, of a folder of open_clip that holds the architecture of its text tower too, where the configuration leads
    nowhere for it; None of any other folder."""
    source = f"local-dir:{folder}"
    if not tower_elsewhere(source) or not (folder / TOWER).is_file():
        return None
    config = config_of(str(folder / CONFIG))
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
    return _made(config, str(folder / WEIGHTS))


def of_file(model: str, file: str) -> Loaded:
    """The model of the architecture `model` (of `config_of`) with the weights of a file, its preprocessing and tokenizer.
    Raises ValueError where they are of another; what open_clip raises otherwise."""
    config, path = config_of(model), Path(file)
    if path.suffix not in (".npy", ".npz"):  # those of big_vision, which open_clip reads without pickle
        shapes = shapes_of(path)
        converted = any(key.startswith(CONVERTED) for key in shapes)
        faults = None if converted else differences(config, shapes, resized=True)
        if faults:
            raise ValueError(
                f"its weights are of another architecture than {model}, where {in_words(faults)}"
            )
        if "logit_bias" in shapes:
            config["model_cfg"].setdefault("init_logit_bias", 0.0)  # made, and then read of the file
    return _made(config, file)


def _made(config: dict[str, Any], file: str) -> Loaded:
    with _folder(config) as name:
        made, _, preprocess = open_clip.create_model_and_transforms(
            name, load_weights=False, pretrained_text=False
        )
        with _plainly_named(file) as plain:
            open_clip.load_checkpoint(made, plain)
        return made, preprocess, _tokenizer(config["model_cfg"]["text_cfg"], name)


def _tokenizer(text: dict[str, Any], name: str) -> Callable[..., torch.Tensor]:
    """That of a text tower. One of Hugging Face open_clip looks for beside a configuration, where here is none."""
    if not (named := text.get("hf_tokenizer_name")):
        return open_clip.get_tokenizer(name)
    length = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    more = {"tokenizer_mode": text.get("tokenizer_mode")} | text.get("tokenizer_kwargs", {})
    return HFTokenizer(named, context_length=length, **more)


@contextmanager
def _plainly_named(file: str) -> Iterator[str]:
    """The file, or, where a trainer put before the names what open_clip does not know, one for a while without that."""
    path = Path(file)
    known = path.suffix in (".npy", ".npz") or prefix_of(_shapes_as_named(path)) in ("", "module.")
    if known:
        yield file
        return
    with TemporaryDirectory() as folder:
        plain = f"{folder}/weights.pt"
        torch.save(_without_prefix(open_clip.factory.load_state_dict(file)), plain)
        yield plain


def _on_meta(config: dict[str, Any]) -> torch.nn.Module:
    """A model of that configuration without memory for its weights."""
    with _folder(config) as name, torch.device("meta"):
        return open_clip.create_model(name, load_weights=False, device="meta", pretrained_text=False)


@contextmanager
def _folder(config: dict[str, Any]) -> Iterator[str]:
    """A folder of open_clip with that configuration and no weights, of which nobody is told that it has none."""
    silent = logging.root.manager.disable
    with TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_text(json.dumps(config))
        logging.disable(logging.WARNING)
        try:
            yield f"local-dir:{folder}"
        finally:
            logging.disable(silent)
