"""Run folders: what is saved comes back, and what is broken, altered or foreign is refused with the reason."""

import errno
import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny
from xmr.captions import TextsRead
from xmr.checkpoints import CannotSave, RunRefused, clear_run, list_runs, load_run, save_run, verify
from xmr.checkpoints.folder import CARD, EMBEDDINGS, HISTORY, MATCHER, RUN, SNAPSHOTS, WORDS
from xmr.checksums import digest
from xmr.disk import write_files
from xmr.embedding import embed_dataset, embed_texts, embed_visuals


@pytest.fixture(scope="module")
def trained():
    return tiny.fit(tiny.config(loss="siglip"))[1]


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("saved") / "good", trained).path


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


# ---- round trip --------------------------------------------------------------------------------------------


def test_a_run_comes_back_as_it_was(trained, saved):
    run = load_run(saved)
    assert (run.name, run.path) == ("good", saved)
    assert run.config == trained.config
    assert run.dataset["fingerprints"] == {split: f"tiny {split}" for split in tiny.SIZES}
    assert run.dataset["sizes"]["test"] == {"visuals": 24, "texts": 48}
    assert run.encoder == {"name": "", "hash": "", "visual_dim": tiny.DIM, "text_dim": 0}
    assert run.metrics == trained.metrics and run.history == trained.history
    assert run.loss_values == trained.loss_values and set(run.loss_values) == {"scale", "bias"}
    assert run.vocabulary == trained.vocabulary
    assert tiny.state_bytes(run.matcher()) == tiny.state_bytes(trained.matcher)
    assert not run.matcher().training and run.matcher() is run.matcher()
    for ours, theirs in zip(run.embeddings(), trained.embeddings, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)  # what was measured is what is kept
    assert verify(saved) is None


def test_embedding_again_gives_what_was_saved(trained, saved):
    run = load_run(str(saved))
    visual, text = embed_dataset(run, tiny.dataset("test"))
    np.testing.assert_array_equal(visual, trained.embeddings[0])
    np.testing.assert_array_equal(text, trained.embeddings[1])
    free = embed_texts(run, [*tiny.dataset("test").captions[:3], "", "never seen"])
    np.testing.assert_allclose(
        free[:3], text[:3], atol=2e-3
    )  # a batch of another size: the last bit, rounded
    np.testing.assert_allclose(np.linalg.norm(free, axis=1), 1, rtol=1e-3)
    assert embed_texts(run, []).shape == embed_visuals(run, []).shape == (0, 16)


def test_what_a_run_cannot_embed_is_told(saved, tmp_path):
    from PIL import Image

    with pytest.raises(ValueError, match="features from a file"):
        embed_visuals(load_run(saved), [Image.new("RGB", (8, 8))])
    _, trained = tiny.fit(tiny.config(epochs=1), load=tiny.with_text_features)
    run = save_run(tmp_path / "features", trained)
    with pytest.raises(ValueError, match="new texts"):
        embed_texts(run, ["a"])
    np.testing.assert_allclose(
        embed_dataset(run, tiny.with_text_features("test"))[1], run.embeddings()[1], atol=1e-3
    )
    with pytest.raises(ValueError, match="dimensions"):
        embed_dataset(run, tiny.dataset("test"))
    other = np.zeros((tiny.SIZES["test"], tiny.DIM + 1), np.float32)
    with pytest.raises(ValueError, match="dimensions"):
        embed_dataset(load_run(saved), tiny.dataset("test", visual_features=other))


class FakeEncoder:
    """Pictures are their mean colour, texts the counts of some letters."""

    def __init__(self, digest="aaaa"):
        self.name, self.hash, self.device = "fake", digest, torch.device("cpu")

    def pixels(self, image):
        return torch.from_numpy(np.array(image.convert("RGB"), np.float32))

    def encode_pixels(self, batch, kind="pooled"):
        return batch.mean((1, 2)).numpy()

    def encode_images(self, images, kind="pooled"):
        return self.encode_pixels(torch.stack([self.pixels(image) for image in images]))

    def encode_texts(self, texts, kind="pooled"):
        return np.array([[text.count(letter) for letter in "aeiours"] for text in texts], np.float32)

    def reading(self, texts):
        return TextsRead(len(texts), 0, 0, 99, "tokens")


def test_a_run_on_an_encoder_embeds_new_pictures_and_texts(tmp_path, monkeypatch):
    from PIL import Image

    from xmr import encoders

    def pictures(split):
        colours = np.random.default_rng(len(split)).integers(0, 255, (tiny.SIZES[split], 3))
        drawn = [Image.new("RGB", (4, 4), tuple(map(int, colour))) for colour in colours]
        return tiny.dataset(split, visual_features=None, visuals=drawn, encoder="fake")

    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "load_encoder", lambda name: FakeEncoder())
    tiny.fit(tiny.config(epochs=1), tmp_path / "run", load=pictures)
    run, test = load_run(tmp_path / "run"), pictures("test")
    assert run.encoder == {"name": "fake", "hash": "aaaa", "visual_dim": 3, "text_dim": 7}
    visual, text = embed_dataset(run, test)
    np.testing.assert_allclose(embed_visuals(run, test.visuals), visual, atol=1e-2)  # features were halved
    np.testing.assert_allclose(embed_texts(run, test.captions), text, atol=1e-2)
    monkeypatch.setattr(encoders, "load_encoder", lambda name: FakeEncoder("bbbb"))
    for use in (
        lambda: embed_texts(run, ["a"]),
        lambda: embed_visuals(run, test.visuals),
        lambda: embed_dataset(run, test),
    ):
        with pytest.raises(ValueError, match="the weights differ"):
            use()


def test_the_model_card_is_read_by_the_hub(saved):
    card = (saved / CARD).read_text(encoding="utf-8")
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(card).data
    assert data.library_name == "xmr" and "siglip" in data.tags
    metrics = load_run(saved).metrics["test"]
    assert {r.metric_name: pytest.approx(metrics[r.metric_name], rel=1e-4) for r in data.eval_results} == {
        r.metric_name: r.metric_value for r in data.eval_results
    }
    assert len(data.eval_results) == 6 and "| v2t |" in card


def test_a_run_made_before_files_told_how_words_are_split_reads_as_it_did(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "old")
    now = load_run(saved)
    assert json.loads((saved / WORDS).read_text())["words_of"] == 2 and not now.vocabulary.former
    content = json.dumps(list(now.vocabulary.words)).encode()
    (tmp_path / "old" / WORDS).write_bytes(content)
    about = json.loads((saved / RUN).read_text())
    about["files"][WORDS] = digest(content)
    (tmp_path / "old" / RUN).write_text(json.dumps(about))
    old = load_run(tmp_path / "old")
    assert old.vocabulary.former and old.vocabulary.words == now.vocabulary.words
    same = embed_texts(old, ["a red dog runs"]), embed_texts(now, ["a red dog runs"])
    np.testing.assert_array_equal(*same)
    other = "re\u0301d do\u0301g"  # of which the former splitter makes "re", "d", "do", "g"
    assert len(old.vocabulary.split(other)) == 4 and len(now.vocabulary.split(other)) == 2


def test_a_run_without_words_keeps_no_vocabulary(tmp_path):
    _, _trained = tiny.fit(tiny.config(epochs=1), tmp_path / "run", load=tiny.with_text_features)
    assert load_run(tmp_path / "run").vocabulary is None and not (tmp_path / "run" / WORDS).exists()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(
        [CARD, EMBEDDINGS, HISTORY, MATCHER, RUN, SNAPSHOTS]
    )


def test_clearing_leaves_other_files(folder):
    (folder / "notes.txt").write_text("mine")
    clear_run(folder)
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]
    clear_run(folder / "nowhere")


# ---- refusals ----------------------------------------------------------------------------------------------


def edit(change):
    """Damage to run.json that keeps it JSON."""

    def damage(folder):
        about = json.loads((folder / RUN).read_text())
        change(about)
        (folder / RUN).write_text(json.dumps(about))

    return damage


def tensors(name, change):
    """Damage to tensors, with a true SHA-256, so that it is found for what it is."""

    def damage(folder):
        content = load_file(folder / name)
        change(content)
        save_file(content, folder / name)
        vouch(folder, name)

    return damage


def vouch(folder, name):
    edit(lambda about: about["files"].update({name: digest((folder / name).read_bytes())}))(folder)


def cut(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def flipped(name):
    def damage(folder):
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)

    return damage


def header(change):
    """Damage to the header of the matcher's file, its length kept true."""

    def damage(folder):
        content = (folder / MATCHER).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        told = json.loads(content[8 : 8 + length])
        change(told)
        packed = json.dumps(told).encode()
        (folder / MATCHER).write_bytes(struct.pack("<Q", len(packed)) + packed + content[8 + length :])
        vouch(folder, MATCHER)

    return damage


def vouched(name, content):
    """Another content, with a true SHA-256."""

    def damage(folder):
        (folder / name).write_bytes(content)
        vouch(folder, name)

    return damage


HEAD = "matcher.text_head.1.weight"
REFUSALS = {
    "no run.json": (lambda f: (f / RUN).unlink(), "run.json is missing"),
    "no matcher": (lambda f: (f / MATCHER).unlink(), "matcher.safetensors is missing"),
    "no embeddings": (lambda f: (f / EMBEDDINGS).unlink(), "embeddings.safetensors is missing"),
    "no history": (lambda f: (f / HISTORY).unlink(), "history.jsonl is missing"),
    "no words": (lambda f: (f / WORDS).unlink(), "words.json is missing"),
    "a folder for a file": (lambda f: [(f / RUN).unlink(), (f / RUN).mkdir()], "can't be read"),
    "cut matcher": (cut(MATCHER, -5), "altered or truncated"),
    "cut header": (cut(MATCHER, 50), "truncated"),
    "empty matcher": (cut(MATCHER, 0), "truncated"),
    "longer matcher": (lambda f: (f / MATCHER).write_bytes((f / MATCHER).read_bytes() + b"x"), "altered or truncated"),
    "far longer matcher": (lambda f: os.truncate(f / MATCHER, 1 << 40), r"more than the [\d,]+ that are allowed"),
    "far longer embeddings": (lambda f: os.truncate(f / EMBEDDINGS, 1 << 40), r"more than the [\d,]+ that are allowed"),
    "far longer run.json": (lambda f: os.truncate(f / RUN, 1 << 40), "more than the 1,048,576 that are allowed"),
    "cut embeddings": (cut(EMBEDDINGS, 900), "truncated"),
    "endless header": (vouched(MATCHER, struct.pack("<Q", 2**62) + b"{}"), "a header of"),
    "header over the limit": (vouched(MATCHER, struct.pack("<Q", 1049000) + b" " * 1049000), "at most 1,048,576"),
    "header no JSON": (vouched(MATCHER, struct.pack("<Q", 4) + b"{{{{"), "invalid JSON in header"),
    "header a list": (vouched(MATCHER, struct.pack("<Q", 2) + b"[]"), "no whole safetensors"),
    "header nested": (vouched(MATCHER, struct.pack("<Q", 200_000) + b"[" * 200_000), "no whole safetensors"),
    "lying shape": (header(lambda h: h[HEAD].update(shape=[10**9, 10**9])), "no whole safetensors"),
    "negative shape": (header(lambda h: h[HEAD].update(shape=[-1, -16 * 16])), "no whole safetensors"),
    "lying place": (header(lambda h: h[HEAD].update(data_offsets=[0, 8])), "no whole safetensors"),
    "overlapping": (header(lambda h: h[HEAD].update(data_offsets=[0, 16 * 16 * 4])), "no whole safetensors"),
    "no shape": (header(lambda h: h[HEAD].pop("shape")), "no whole safetensors"),
    "odd type": (header(lambda h: h[HEAD].update(dtype="BF17")), "no whole safetensors"),
    "altered matcher": (flipped(MATCHER), "matcher.safetensors was altered"),
    "altered embeddings": (flipped(EMBEDDINGS), "embeddings.safetensors was altered"),
    "altered history": (lambda f: (f / HISTORY).write_text("{}\n"), "history.jsonl was altered"),
    "altered words": (written(WORDS, b"[]"), "words.json was altered"),
    "pickle": (written(MATCHER, pickle.dumps({"weight": [1.0]})), "altered or truncated"),
    "run.json cut": (cut(RUN, 100), r"run.json is not JSON.*line"),
    "run.json no text": (written(RUN, b"\xff\xfe{}"), "not UTF-8"),
    "run.json a list": (written(RUN, b"[1]"), "not of xmr"),
    "run.json of others": (written(RUN, b'{"model_type": "clip"}'), "not of xmr"),
    "run.json NaN": (edit(lambda a: a["metrics"]["test"].update(rsum=float("nan"))), "NaN"),
    "run.json infinite": (written(RUN, b'{"schema": 1e999}'), "1e999, which is no number"),
    "later schema": (edit(lambda a: a.update(schema=99)), "schema version 99"),
    "unknown kind": (edit(lambda a: a.update(kind="haed")), "unknown kind of run 'haed'; did you mean 'head'"),
    "kind a list": (edit(lambda a: a.update(kind=["head"])), "unknown kind of run"),
    "metrics is not as xmr writes": (edit(lambda a: a.pop("metrics")), "metrics is not as xmr writes"),
    "metrics a string": (edit(lambda a: a["metrics"]["test"].update(rsum="1")), "not as xmr writes"),
    "metrics of no split": (edit(lambda a: a["metrics"].pop("test")), "not as xmr writes"),
    "no sizes": (edit(lambda a: a["dataset"].pop("sizes")), "not as xmr writes"),
    "negative size": (edit(lambda a: a["dataset"]["sizes"]["test"].update(texts=-1)), "not as xmr writes"),
    "no encoder hash": (edit(lambda a: a["encoder"].pop("hash")), "not as xmr writes"),
    "unknown loss": (edit(lambda a: a["config"].update(loss="siglop")), "did you mean 'siglip'"),
    "unknown matcher": (edit(lambda a: a["config"].update(matcher="liner")), "did you mean 'linear'"),
    "unknown field": (edit(lambda a: a["config"].update(batchsize=2)), "did you mean 'batch_size'"),
    "odd field": (edit(lambda a: a["config"].update(epochs="ten")), "run.json: "),
    "odd params": (edit(lambda a: a["config"].update(matcher_params=[1])), "not a dict"),
    "odd dataset": (edit(lambda a: a["config"].update(dataset=3)), "not a str"),
    "unknown parameter": (edit(lambda a: a["config"]["loss_params"].update(margin=1)), "unknown parameter"),
    "parameter outside": (edit(lambda a: a["config"]["matcher_params"].update(embed_dim=10**9)), "outside"),
    "huge features": (edit(lambda a: a["encoder"].update(visual_dim=10**12)), "visual_dim"),
    "features a string": (edit(lambda a: a["encoder"].update(visual_dim="12")), "visual_dim"),
    "another shape": (edit(lambda a: a["config"]["matcher_params"].update(embed_dim=32)), "the configuration implies"),
    "another tower": (edit(lambda a: a["config"]["matcher_params"].update(text="words_gru")), "not expected"),
    "another size": (edit(lambda a: a["dataset"]["sizes"]["test"].update(texts=47)), "the configuration implies"),
    "missing tensor": (tensors(MATCHER, lambda t: t.pop(HEAD)), "missing matcher.text_head.1.weight"),
    "more tensors": (tensors(MATCHER, lambda t: t.update(more=torch.zeros(1))), "not expected more"),
    "double tensor": (tensors(MATCHER, lambda t: t.update({HEAD: t[HEAD].double()})), "torch.float64"),
    "NaN weight": (tensors(MATCHER, lambda t: t[HEAD].fill_(float("nan"))), "not finite"),
    "infinite embedding": (tensors(EMBEDDINGS, lambda t: t["text"].fill_(float("inf"))), "not finite"),
    "scale outside": (tensors(MATCHER, lambda t: t["loss.scale"].fill_(1e9)), "outside"),
    "history no dict": (vouched(HISTORY, b"[1]\n"), "history.jsonl, line 1"),
    "history of texts": (vouched(HISTORY, b'{"epoch": 1, "loss": 1}\n{"epoch": 2, "loss": "1"}\n'), "line 2: loss is not as xmr writes"),
    "history beyond all": (vouched(HISTORY, b'{"epoch": 1, "loss": 1e999}\n'), "1e999, which is no number"),
    "history of no epoch": (vouched(HISTORY, b"{}\n"), "line 1 is of no epoch"),
    "endless history": (vouched(HISTORY, b"{}\n" * 100_001), "100,001 lines, more than"),
    "words that turn": (vouched(WORDS, '["<pad>", "<unk>", "a\u202e"]'.encode()), r"U\+202E"),
    "words no JSON": (vouched(WORDS, b"{"), "words.json is not JSON"),
    "words a dict": (vouched(WORDS, b"{}"), "no list of words"),
    "words of others": (vouched(WORDS, b'["a", "b"]'), "a vocabulary begins with"),
    "fewer words": (vouched(WORDS, b'["<pad>", "<unk>", "a"]'), "the configuration implies"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_broken_folder_is_refused_with_the_reason(folder, case):
    damage, reason = REFUSALS[case]
    damage(folder)
    with pytest.raises(RunRefused, match=reason):
        load_run(folder)
    assert verify(folder).path == folder


def test_a_broken_run_never_hides_the_others(saved, tmp_path):
    for name in ("a", "b", "c"):
        shutil.copytree(saved, tmp_path / name)
    cut(MATCHER, 100)(tmp_path / "b")
    (tmp_path / "encoders" / "blocks").mkdir(parents=True)
    (tmp_path / "encoders" / "blocks" / "open_clip_config.json").write_text("{}")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "README.md").write_text("a file")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "pytorch_model.bin").write_bytes(b"")
    runs, faults = list_runs(tmp_path)
    assert [run.name for run in runs] == ["a", "c"]
    assert [fault.path.name for fault in faults] == ["b", "foreign"]
    assert "truncated" in faults[0].reason and "run.json is missing" in faults[1].reason


def test_listing_a_run_itself_and_nothing(saved, tmp_path):
    assert [run.name for run in list_runs(saved)[0]] == ["good"]
    assert list_runs(tmp_path) == ([], [])
    runs, (fault,) = list_runs(tmp_path / "nowhere")
    assert runs == [] and "no such folder" in fault.reason


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_nothing_is_unpickled(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (MATCHER, EMBEDDINGS, WORDS, HISTORY, RUN):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Trap()))
        if name != RUN:
            vouch(folder, name)
        with pytest.raises(RunRefused):
            load_run(folder)
        (folder / name).write_bytes(before)
        if name != RUN:
            vouch(folder, name)
    assert not Path("sprung").exists()


# ---- writing -----------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_what_was_there(folder, trained, monkeypatch):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    calls = iter(range(100))
    real = os.fsync

    def fsync(descriptor):
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CannotSave, match="No space left"):
        save_run(folder, trained)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_folder_that_takes_no_files_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotSave, match="could not be written"):
        write_files(tmp_path / "file", {"a": b"1"})
    with pytest.raises(CannotSave, match="could not be written"):
        write_files(tmp_path / "file" / "below", {"a": b"1"})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CannotSave, match="Permission denied"):
        write_files(tmp_path, {"a": b"1"})


def test_a_crash_between_renames_is_noticed(folder, trained, monkeypatch):
    calls = iter(range(100))
    real = os.replace

    def replace(source, target):
        if next(calls) == 1:
            raise KeyboardInterrupt
        real(source, target)

    other = trained.matcher.state_dict()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        weight = other["text_head.1.bias"].clone()
        other["text_head.1.bias"] += 1
        with pytest.raises(KeyboardInterrupt):
            save_run(folder, trained)
        other["text_head.1.bias"].copy_(weight)
    with pytest.raises(RunRefused, match=r"matcher.safetensors was altered"):
        load_run(folder)
    assert save_run(folder, trained).name == "run"
    assert not list(folder.glob(".*.tmp"))
