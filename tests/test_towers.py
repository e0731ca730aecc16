"""Towers trained end to end: with every loss, whatever of them learns, and saved as open_clip itself loads them."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch.nn.functional import normalize

from scripts import add
from scripts import train as train_script
from tests import tiny
from tests.test_encoders import save_roberta, save_tiny
from tests.test_queue import watched
from tests.tiny import write_photos
from xmr.checkpoints import RunRefused, files, load_run, resume
from xmr.checkpoints.folder import EMBEDDINGS, MATCHER, RUN, SNAPSHOTS
from xmr.core import TrainConfig
from xmr.data import load_dataset
from xmr.embedding import embed_dataset, embed_texts, embed_visuals
from xmr.encoders import forget_encoders, load_encoder
from xmr.losses import LOSSES
from xmr.losses.base import without_peers
from xmr.nn import Loss
from xmr.selection import SELECTORS
from xmr.towers import Towers, depths, make_towers, trained_names
from xmr.training import loop, train
from xmr.views import TABS, view
from xmr.workspace import Query
from xmr.workspace.pages import open_pages
from xmr.workspace.results import results

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Sixty pictures of two colours, and two tiny models of open_clip: a ViT, and a ResNet with its batch norm."""
    place = tmp_path_factory.mktemp("towers")
    write_photos(place / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XMR_CACHE", str(place / "cache"))
        forget_encoders()
        save_tiny(place / "vit")
        save_tiny(place / "resnet", kind="resnet")
        yield place
    forget_encoders()


def config(place, **changes):
    parts = {
        "dataset": str(place / "photos"), "encoder": f"local-dir:{place / 'vit'}", "loss": "info_nce", "tune": "all",
        "lr_towers": 1e-3, "epochs": 2, "batch_size": 10,
    }  # fmt: skip
    return TrainConfig(**parts | changes)


def fit(settings, folder=None, **options):
    return tiny.fit(settings, folder, load=lambda split: load_dataset(settings.dataset, split), **options)


def weights(trained):
    return trained.matcher.weights()


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("loss", without_peers())
def test_every_loss_trains_both_towers(place, loss):
    steps, trained = fit(config(place, loss=loss, epochs=3, batch_size=20, layer_decay=1.0))
    assert all(np.isfinite(step.loss) for step in steps)
    assert steps[-1].loss < steps[0].loss
    before, after = trained.matcher.before, weights(trained)
    for key in ("visual.conv1.weight", "visual.proj", "token_embedding.weight", "text_projection"):
        assert not torch.equal(before[key], after[key]), key


@pytest.mark.parametrize(
    "selector", [name for name, entry in SELECTORS.items() if "peer_scores" not in entry.needs]
)
def test_every_selector_judges_what_towers_learn_from(place, selector):
    _, trained = fit(config(place, selector=selector, epochs=1))
    (line,) = trained.history
    assert line["negatives"] > 0 and np.isfinite(line["loss"])


@pytest.mark.parametrize(
    ("tune", "lock", "moved"),
    [
        ("all", "", {"visual.conv1.weight", "visual.transformer.resblocks.0.attn.in_proj_weight", "token_embedding.weight"}),
        ("last:1", "", {"visual.transformer.resblocks.1.mlp.c_fc.weight", "visual.proj", "text_projection", "ln_final.weight"}),
        ("all", "image", {"token_embedding.weight", "text_projection"}),
        ("all", "text", {"visual.conv1.weight", "visual.proj"}),
        ("lora:2", "", {"visual.transformer.resblocks.0.attn.in_proj_weight", "transformer.resblocks.0.mlp.c_proj.weight"}),
        ("lora:2", "text", {"visual.transformer.resblocks.0.attn.out_proj.weight"}),
    ],
)  # fmt: skip
def test_what_is_asked_for_learns_and_nothing_else(place, tune, lock, moved):
    _, trained = fit(config(place, tune=tune, lock=lock, epochs=1))
    before, after = trained.matcher.before, weights(trained)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved <= changed
    still = {
        "last:1": ("conv1", "positional_embedding", "visual.transformer.resblocks.0", "token_embedding"),
        "lora:2": ("conv1", "proj$", "ln_", "bias", "embedding"),
    }.get(tune, ())
    for key in changed:
        assert not any(
            f"{key}$".endswith(f".{part}") or (part in key and "$" not in part) for part in still
        ), key
        assert lock != ("text", "image")[key.startswith("visual.") is True], key
    if tune.startswith("lora"):
        for key in changed:  # of the rank that was asked for, and no parametrization is left
            assert torch.linalg.matrix_rank(after[key] - before[key], rtol=1e-3) <= 2, key
        assert set(trained.matcher.model.state_dict()) == set(before)


def test_depth_counts_layers_from_the_embedding():
    names = [
        "positional_embedding", "text_projection", "logit_scale", "visual.class_embedding", "visual.proj",
        "visual.conv1.weight", "visual.ln_pre.weight", "visual.transformer.resblocks.0.ln_1.weight",
        "visual.transformer.resblocks.1.attn.in_proj_weight", "visual.ln_post.weight",
        "transformer.resblocks.0.mlp.c_fc.weight", "token_embedding.weight", "ln_final.weight",
    ]  # fmt: skip
    assert depths(names) == {
        "visual.proj": 0, "visual.ln_post.weight": 0, "visual.transformer.resblocks.1.attn.in_proj_weight": 1,
        "visual.transformer.resblocks.0.ln_1.weight": 2, "visual.conv1.weight": 3, "visual.class_embedding": 3,
        "visual.ln_pre.weight": 3, "text_projection": 0, "ln_final.weight": 0, "transformer.resblocks.0.mlp.c_fc.weight": 1,
        "token_embedding.weight": 2, "positional_embedding": 2,
    }  # fmt: skip
    others = {
        "visual.trunk.conv_stem.weight": 3, "visual.trunk.blocks.0.0.conv_dw.weight": 2, "visual.trunk.blocks.1.0.bn1.weight": 1,
        "visual.trunk.conv_head.weight": 0, "visual.head.proj.weight": 0, "text.transformer.embeddings.word_embeddings.weight": 3,
        "text.transformer.encoder.layer.0.attention.self.query.weight": 2, "text.transformer.encoder.layer.1.output.dense.weight": 1,
    }  # fmt: skip
    assert depths(others) == others
    stages = {
        "visual.conv1.weight": 3,
        "visual.layer1.0.conv1.weight": 2,
        "visual.layer2.0.bn2.weight": 1,
        "visual.attnpool.c_proj.weight": 0,
    }
    assert depths(stages) == stages
    assert trained_names(others, "last", 1, "text") == {
        "visual.trunk.blocks.1.0.bn1.weight", "visual.trunk.conv_head.weight", "visual.head.proj.weight"
    }  # fmt: skip


def test_the_rate_falls_with_depth_and_that_of_the_loss_is_its_own(place):
    settings = config(place, lr_towers=1e-4, lr=1e-2, layer_decay=0.5, warmup=0, epochs=1)
    running = train(settings, load=lambda split: load_dataset(settings.dataset, split))
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        original = loop._Trainer.update

        def watched(self, texts):
            found = original(self, texts)
            for group in self.optimiser.param_groups:
                for name, parameter in self.parameters.items():
                    if any(parameter is one for one in group["params"]):
                        seen.setdefault(name, group["lr"])
            return found

        patch.setattr(loop._Trainer, "update", watched)
        step = next(running)
    assert step.lr == pytest.approx(1e-4)
    assert seen["loss.raw.temperature"] == pytest.approx(1e-2)
    assert seen["matcher.model.visual.proj"] == pytest.approx(1e-4)
    assert seen["matcher.model.visual.transformer.resblocks.1.ln_1.weight"] == pytest.approx(0.5e-4)
    assert seen["matcher.model.visual.conv1.weight"] == pytest.approx(0.125e-4)


def test_batch_norm_stays_unless_it_is_asked_to_follow(place):
    for follow in (False, True):
        settings = config(place, encoder=f"local-dir:{place / 'resnet'}", epochs=1, train_batch_norm=follow)
        _, trained = fit(settings)
        before, after = trained.matcher.before, weights(trained)
        assert torch.equal(before["visual.bn1.running_mean"], after["visual.bn1.running_mean"]) is not follow
        assert not torch.equal(before["visual.conv1.weight"], after["visual.conv1.weight"])


@pytest.mark.parametrize(
    "changes", [{"micro_batch": 3}, {"grad_checkpointing": True}, {"micro_batch": 4, "augment": True}]
)
def test_less_memory_gives_the_same_weights(place, changes):
    plain = {"micro_batch": 0, "grad_checkpointing": False}
    for loss in ("info_nce", "max_of_hinges"):
        _, one = fit(config(place, loss=loss, epochs=1, **changes))
        _, other = fit(config(place, loss=loss, epochs=1, **changes | plain))
        for key, tensor in weights(
            one
        ).items():  # Adam's first steps have the size of the rate, so signs would show
            torch.testing.assert_close(tensor, weights(other)[key], rtol=0, atol=3e-4)
        assert one.history[0]["loss"] == pytest.approx(other.history[0]["loss"], rel=1e-4)


def test_pixels_are_drawn_anew_for_each_step_and_never_to_validate(place):
    settings, encoder = config(place, augment=True), load_encoder(f"local-dir:{place / 'vit'}")
    data = {split: load_dataset(settings.dataset, split) for split in ("train", "validation", "test")}
    _, inputs, _ = make_towers(settings, encoder, data)
    rows = np.arange(4)
    assert not torch.equal(inputs["train"].visual_batch(rows), inputs["train"].visual_batch(rows))
    own = torch.stack([encoder.preprocess(data["test"].image(i)) for i in rows])
    assert torch.equal(inputs["test"].visual_batch(rows), own)


def test_half_precision_is_of_the_steps_and_not_of_losses_or_figures(place):
    settings, encoder = config(place, precision="bf16"), load_encoder(f"local-dir:{place / 'vit'}")
    towers = Towers(encoder, settings)
    pixels = torch.randn(6, 3, 32, 32)
    with torch.no_grad():
        plain = normalize(encoder.model.encode_image(pixels), dim=-1)
        assert torch.equal(towers.eval().visual(pixels), plain)
        half = towers.train().visual(pixels)
    assert half.dtype == torch.float32 and 0 < (half - plain).abs().max() < 0.05
    steps, trained = fit(settings)
    assert steps[-1].loss < steps[0].loss
    assert all(tensor.dtype == torch.float32 for tensor in weights(trained).values())


@pytest.mark.parametrize("loss", ["info_nce", "siglip", "max_of_hinges"])
@pytest.mark.parametrize("micro_batch", [0, 3])
def test_a_queue_of_towers_is_the_memory_of_the_module(place, monkeypatch, loss, micro_batch):
    settings = {
        "dataset": str(place / "photos"),
        "encoder": f"local-dir:{place / 'vit'}",
        "tune": "all",
        "batches": "hard",
    }
    more = {
        "matcher_params": {},
        "lr_towers": 1e-3,
        "batch_size": 5,
        "queue": 12,
        "micro_batch": micro_batch,
        "lr": 1e-12,
    }
    load = partial(load_dataset, settings["dataset"])
    _, states, losses, data, trained = watched(monkeypatch, load=load, loss=loss, **settings, **more)
    values = LOSSES[loss].parse(trained.config.loss_params)
    module = Loss(loss, memory=12, learn=False, **values)
    assert len(losses) == 8
    for (visual, text, texts), found in zip(states, losses, strict=True):
        assert module(visual, text, data.text_group[texts]).item() == pytest.approx(found, rel=1e-4)
    for line in trained.history:
        assert line["together"] == 0


def test_the_mean_of_the_weights_is_what_is_kept(place):
    settings, kept = config(place, epochs=1, ema=0.7), []
    with pytest.MonkeyPatch.context() as patch:
        original = loop._Trainer.update

        def watched(self, texts):
            if not kept:
                kept.append(self.parameters["matcher.model.visual.proj"].detach().clone())
            found = original(self, texts)
            kept.append(self.parameters["matcher.model.visual.proj"].detach().clone())
            return found

        patch.setattr(loop._Trainer, "update", watched)
        _, trained = fit(settings)
    mean = kept[0]
    for own in kept[1:]:
        mean = 0.7 * mean + 0.3 * own
    found = weights(trained)["visual.proj"]
    torch.testing.assert_close(found, mean)
    assert not torch.allclose(found, kept[-1])


def test_what_fine_tuning_changes_is_told_with_the_way_between(place):
    _, whole = fit(config(place, epochs=3))
    _, half = fit(config(place, epochs=3, interpolate=0.25))
    zero = load_encoder(f"local-dir:{place / 'vit'}")
    path = whole.training["interpolation"]
    assert [one["share"] for one in path] == [0, 0.5, 1]
    assert path[0]["validation"] == whole.training["untrained"]
    assert path[0]["test"] == whole.metrics["zero_shot"]["rsum"] != whole.metrics["test"]["rsum"]
    assert path[-1] == {
        "share": 1.0, "validation": whole.metrics["validation"]["rsum"], "test": whole.metrics["test"]["rsum"]
    }  # fmt: skip
    assert [one["share"] for one in half.training["interpolation"]] == [0, 0.25, 0.5, 1]
    assert half.training["interpolation"][2:] == path[1:]
    assert half.training["interpolation"][1]["test"] == half.metrics["test"]["rsum"]
    for key, tensor in zero.model.state_dict().items():
        expected = 0.75 * tensor + 0.25 * weights(whole)[key] if tensor.is_floating_point() else tensor
        torch.testing.assert_close(weights(half)[key], expected)


RESUMED = """
import os, signal, sys
from tests import test_towers
from xmr.core import TrainConfig
import json
config = TrainConfig.from_json(json.loads(sys.argv[1]))
running = test_towers.train(config, sys.argv[2], resume=True, load=lambda s: test_towers.load_dataset(config.dataset, s))
for step in running:
    if step.epoch > int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


MORE = {"augment": True, "ema": 0.9, "selector": "near_positive", "micro_batch": 4, "epochs": 3}


def whole(settings, folder):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fit(settings, folder)
    finally:
        torch.set_num_threads(threads)


def assert_same_run(one, other):
    for name in ("open_clip_model.safetensors", MATCHER, EMBEDDINGS):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert load_run(one).metrics == load_run(other).metrics and len(load_run(other).history) == 3


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_9_between_epochs_and_resume_gives_the_same_bytes(place, tmp_path):
    settings = config(place, **MORE)

    def worker(last):
        arguments = [json.dumps(settings.to_json()), str(tmp_path / "killed"), str(last)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-c", RESUMED, *arguments], cwd=ROOT, env=environment
        ).returncode

    whole(settings, tmp_path / "whole")
    assert worker(2) == -signal.SIGKILL
    assert not (tmp_path / "killed" / RUN).exists()
    assert worker(3) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    "changes", [{"tune": "lora:2"}, {"batches": "hard", "queue": 15}, {"batches": "distinct", "queue": 8}]
)
def test_what_is_left_within_an_epoch_goes_on_where_it_was(place, tmp_path, monkeypatch, changes):
    """Whatever learns, in whichever order, and in several files where one has no room for the state."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    if "queue" in changes:
        monkeypatch.setattr(resume, "PART", 20_000)
        monkeypatch.setattr(files, "MAX_FILE", 2_000_000)  # that of token embeddings takes 1,580,000
    settings = config(place, **MORE | changes)
    whole(settings, tmp_path / "whole")
    running = train(settings, tmp_path / "stopped", load=lambda split: load_dataset(settings.dataset, split))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert any(step.step == 3 for step in running)  # of two in an epoch
        running.close()
        parts = [path.stat().st_size for path in (tmp_path / "stopped").glob(resume.PARTS)]
        assert (len(parts) > 3 and sum(parts) > 2_000_000) == ("queue" in changes)
        fit(settings, tmp_path / "stopped", resume=True)
    finally:
        torch.set_num_threads(threads)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


# ---- as a run, and as open_clip's -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(place):
    """Two losses by the script, one of them with files of epochs, a head beside them, and what the script told."""
    out = place / "runs"
    data = ["--dataset", str(place / "photos"), "--encoder", f"local-dir:{place / 'vit'}", "--out", str(out)]
    tuned = ["--lr-towers", "0.001", "--epochs", "2", "--batch-size", "10"]
    losses = ["--loss", "info_nce", "siglip", "--tune", "all", "--epoch-files"]
    assert train_script.main([*data, *losses, *tuned]) == 0
    assert (
        train_script.main(
            [*data, "--loss", "max_of_hinges", "--tune", "lora:2", "--interpolate", "0.5", *tuned]
        )
        == 0
    )
    assert train_script.main([*data, "--loss", "info_nce", "--epochs", "1"]) == 0
    return out


@pytest.mark.parametrize("name", ["info_nce-all", "siglip-all", "max_of_hinges-lora2"])
def test_a_run_of_towers_is_a_folder_that_open_clip_loads(place, runs, name):
    run = load_run(runs / name)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{runs / name}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{runs / name}")
    test = load_dataset(str(place / "photos"), "test")
    with torch.inference_mode():
        images = torch.stack([preprocess(test.image(i)) for i in range(len(test.visual_ids))])
        sides = (
            model.eval().encode_image(images, normalize=True),
            model.encode_text(tokenizer(test.captions), normalize=True),
        )
    for own, kept in zip(sides, run.embeddings(), strict=True):
        np.testing.assert_allclose(own.numpy(), kept, atol=1e-3)
    values = run.loss_values
    scale = values.get("scale", 1 / values["temperature"] if "temperature" in values else None)
    expected = load_encoder(f"local-dir:{place / 'vit'}").model.logit_scale.exp() if scale is None else scale
    assert float(model.logit_scale.exp()) == pytest.approx(float(expected), rel=1e-5)


def test_it_is_asked_by_its_own_text_tower_and_pictures_of_others(place, runs):
    run, head = load_run(runs / "info_nce-all"), load_run(runs / "info_nce")
    test = load_dataset(str(place / "photos"), "test")
    np.testing.assert_allclose(embed_texts(run, test.captions), run.embeddings()[1], atol=2e-3)
    pictures = [test.image(i) for i in range(4)]
    np.testing.assert_allclose(embed_visuals(run, pictures), run.embeddings()[0][:4], atol=2e-3)
    for own, kept in zip(embed_dataset(run, test), run.embeddings(), strict=True):
        np.testing.assert_allclose(own, kept, atol=2e-3)
    assert run.began_with == {"name": head.encoder["name"], "hash": head.encoder["hash"]}
    assert run.encoder["hash"] != head.encoder["hash"] and not run.untrained and run.about == "towers, all"


def test_a_moved_run_is_its_own_encoder_and_an_altered_one_is_refused(runs, tmp_path):
    moved = (tmp_path / "moved").resolve()
    moved.mkdir()
    for path in (runs / "info_nce-all").iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    run = load_run(moved)
    assert run.encoder["name"] == f"local-dir:{moved}"
    np.testing.assert_allclose(
        embed_texts(run, ["red"]), embed_texts(load_run(runs / "info_nce-all"), ["red"])
    )
    other = (runs / "siglip-all" / "open_clip_model.safetensors").read_bytes()
    (moved / "open_clip_model.safetensors").write_bytes(other)
    forget_encoders()
    with pytest.raises(ValueError, match="weights differ"):
        embed_texts(run, ["red"])
    (moved / "open_clip_model.safetensors").unlink()
    with pytest.raises(RunRefused, match=r"open_clip_model.safetensors is missing"):
        load_run(moved)
    (moved / "open_clip_config.json").write_text("{}")
    with pytest.raises(RunRefused, match="altered"):
        load_run(moved)


def test_towers_that_read_texts_with_transformers_bring_their_tokenizer(place, tmp_path):
    folder = tmp_path / "run"
    settings = config(place, encoder=save_roberta(tmp_path / "roberta"), epochs=1)
    fit(settings, folder, epoch_files=True)
    run = load_run(folder)
    texts = load_dataset(settings.dataset, "test").captions
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    with torch.inference_mode():
        own = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(texts), normalize=True)
    np.testing.assert_allclose(own, run.embeddings()[1], atol=1e-3)
    fit(replace(settings, encoder=f"local-dir:{place / 'vit'}"), folder, overwrite=True)
    assert {path.name for path in folder.iterdir()} == {
        RUN, MATCHER, EMBEDDINGS, SNAPSHOTS, "README.md", "history.jsonl", "open_clip_config.json",
        "open_clip_model.safetensors",
    }  # fmt: skip
    fit(settings, folder, overwrite=True)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(RunRefused, match=r"tokenizer.json was altered"):
        load_run(folder)


def test_a_text_tower_that_is_looked_up_elsewhere_is_found_beside_or_told(
    place, tmp_path, monkeypatch, capsys
):
    """Once the folder that the configuration names is gone."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start, data = save_roberta(tmp_path / "roberta"), ["--dataset", str(place / "photos")]
    fit(config(place, encoder=start, epochs=1), tmp_path / "run")
    before = embed_texts(run := load_run(tmp_path / "run"), ["red on blue"])
    moved = (tmp_path / "roberta").rename(tmp_path / "moved")
    forget_encoders()
    np.testing.assert_array_equal(embed_texts(run, ["red on blue"]), before)
    assert add.main([*data, "--model", f"a={moved}", "--out", str(tmp_path / "out")]) == 0
    assert load_run(tmp_path / "out" / "a").encoder["hash"] == run.began_with["hash"]
    for folder in (moved, run.path):
        (folder / "config.json").unlink()
    forget_encoders()
    capsys.readouterr()
    said = f"is looked up as '{tmp_path / 'roberta'}' (hf_model_name in its configuration), which is no folder here"
    with pytest.raises(ValueError, match=re.escape(said)):
        load_encoder(run.encoder["name"])
    for main, *words in (
        [train_script.main, "--loss", "info_nce", "--tune", "all", "--encoder", f"local-dir:{moved}"],
        [train_script.main, "--loss", "info_nce", "--encoder", f"local-dir:{run.path}"],
        [add.main, "--model", f"b={moved}"],
    ):
        assert main([*data, *words, "--out", str(tmp_path / "out")]) == 2
        assert said in (told := capsys.readouterr().err) and "Traceback" not in told
    with pytest.raises(RunRefused, match="config.json is missing"):
        load_run(run.path)


def test_files_of_epochs_are_read_as_those_of_open_clips_trainer(place, runs):
    found = sorted(path.name for path in (runs / "info_nce-all").glob("epoch_*.pt"))
    assert found == ["epoch_1.pt", "epoch_2.pt"] and not list((runs / "max_of_hinges-lora2").glob("*.pt"))
    content = torch.load(runs / "info_nce-all" / "epoch_2.pt", weights_only=True)
    assert (content["epoch"], content["name"]) == (2, "info_nce-all")
    model = open_clip.create_model(f"local-dir:{place / 'vit'}")
    open_clip.load_checkpoint(model, str(runs / "info_nce-all" / "epoch_2.pt"))
    run = load_run(runs / "info_nce-all")
    if run.training["best_epoch"] == 2:
        kept = open_clip.create_model(f"local-dir:{runs / 'info_nce-all'}")
        assert same(model.state_dict(), kept.state_dict())


def test_the_script_tells_what_was_before_and_between(place, tmp_path, capsys):
    data = [
        "--dataset",
        str(place / "photos"),
        "--encoder",
        f"local-dir:{place / 'vit'}",
        "--out",
        str(tmp_path),
    ]
    assert (
        train_script.main([*data, "--loss", "triplet", "--tune", "last:1", "--epochs", "1", "--lock-text"])
        == 2
    )
    capsys.readouterr()
    assert (
        train_script.main([*data, "--loss", "polynomial", "--tune", "last:1", "--epochs", "1", "--lock-text"])
        == 0
    )
    told = capsys.readouterr()
    run = load_run(tmp_path / "polynomial-last1")
    assert run.config.lock == "text"
    before = run.training["untrained"]
    assert f"the encoder as it is reaches {before:.1f} on validation" in told.out + told.err
    assert (
        f"zero-shot: validation {before:.1f}" in told.out
        and "0.5 of the way" in told.out
        and "fine-tuned" in told.out
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lock-text"], "--lock-text is of towers"),
        (["--layer-decay", "0.5"], "--layer-decay is of towers"),
        (["--epoch-files"], "--epoch-files is of towers"),
        (["--tune", "all", "--matcher", "graph"], "--matcher graph is a head"),
        (["--tune", "all", "--interpolate", "1.5"], "interpolate must be from 0 to 1"),
        (["--tune", "all", "--ema", "1"], "ema must be at least 0 and below 1"),
        (["--tune", "last:0"], "write none, all, last:N or lora:R"),
        (["--tune", "some"], "write none, all, last:N or lora:R"),
    ],
)
def test_what_does_not_fit_is_told_before_the_work(place, tmp_path, capsys, arguments, said):
    data = [
        "--dataset",
        str(place / "photos"),
        "--encoder",
        f"local-dir:{place / 'vit'}",
        "--out",
        str(tmp_path),
    ]
    code = 0
    try:
        code = train_script.main([*data, "--loss", "info_nce", *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_data_without_pictures_has_no_towers(place, tmp_path, capsys):
    features = tiny.write_folder(tmp_path / "features")
    data = [
        "--dataset",
        str(features),
        "--encoder",
        f"local-dir:{place / 'vit'}",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert train_script.main([*data, "--loss", "info_nce", "--tune", "all"]) == 2
    assert "no pictures" in capsys.readouterr().err


def test_towers_stand_beside_their_zero_shot_parent_and_heads_in_every_tab(place, runs):
    pages = open_pages(runs)
    (page,) = pages
    names = ["info_nce", "info_nce-all", "max_of_hinges-lora2", "siglip-all"]
    assert sorted(page.workspace.runs) == names
    column = page.workspace.search(Query(text="red on blue"), ["info_nce-all", "info_nce"], "test", "t2v", 3)
    assert [len(one.results) for one in column] == [3, 3]
    for tab in TABS:
        found = view(pages, {"tab": [tab], "runs": [",".join(names)]})
        assert found["blocks"] and not [block for block in found["blocks"] if block["kind"] == "fault"], tab
    told = json.dumps(view(pages, {"tab": ["results"], "runs": [",".join(names)]}), ensure_ascii=False)
    assert "towers, lora:2" in told and "different encoders" not in told
    (tuned,) = [
        block
        for block in view(pages, {"tab": ["results"], "runs": [",".join(names)]})["blocks"]
        if block["id"] == "results-tuning"
    ]
    path = load_run(runs / "info_nce-all").training["interpolation"]
    (cells,) = [row["cells"] for row in tuned["value"]["rows"] if row["name"] == "info_nce-all"]
    assert [cell["text"] for cell in cells[:3]] == [f"{one['test']:.1f}" for one in path]
    assert len(tuned["value"]["rows"]) == 3, "a head is not fine-tuned"
    head = page.workspace.run("info_nce")
    object.__setattr__(head, "encoder", head.encoder | {"name": "local-dir:named/otherwise"})
    found = results(page.workspace, names[::-1], "test", "t2v", names[0])
    (row,) = found.zero_shot.values()  # one parent, not each tower its own, and not each path to it
    parent = load_run(runs / "info_nce-all").metrics["zero_shot"]
    assert row.total == pytest.approx(parent["rsum"], abs=0.01)
