"""Models as they are: added beside trained runs, and asked like them everywhere."""

import json
import math
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import app
from scripts import add, combine, evaluate, flag
from scripts import train as train_script
from tests.test_checkpoints import edit
from tests.test_encoders import save_tiny
from tests.tiny import write_photos
from xmr.allowed import find_at
from xmr.analysis import pair_weights
from xmr.analysis.weights import query_weights
from xmr.checkpoints import RunRefused, as_if_trained, list_runs, load_run
from xmr.checkpoints.folder import CARD, EMBEDDINGS, RUN
from xmr.core import Pairs
from xmr.embedding import embed_texts, embed_visuals
from xmr.encoders import forget_encoders
from xmr.losses import LOSSES
from xmr.matchers.unit import Unit
from xmr.page import api
from xmr.views import TABS, view
from xmr.workspace import Query
from xmr.workspace.measurements import hard_negatives
from xmr.workspace.pages import open_pages


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of 60 pictures, two models of open_clip, and runs: both as they are, and a head on one of them."""
    place = tmp_path_factory.mktemp("add")
    write_photos(place / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XMR_CACHE", str(place / "cache"))
        forget_encoders()
        for seed, name in enumerate(("one", "two")):
            save_tiny(place / name, seed=seed)
        data = ["--dataset", str(place / "photos")]
        models = [f"A={place / 'one'}", f"B=local-dir:{place / 'two'}"]
        arguments = [*data, "--model", *models, "--trained-with", "B=siglip", "--out", str(place / "runs")]
        assert add.main(arguments) == 0
        head = ["--encoder", f"local-dir:{place / 'one'}", "--loss", "info_nce", "--epochs", "1"]
        assert train_script.main([*data, *head, "--out", str(place / "runs")]) == 0
        yield place
    forget_encoders()


@pytest.fixture
def copied(place, tmp_path):
    return shutil.copytree(place / "runs", tmp_path / "runs")


def test_a_model_is_a_run_whose_scores_are_its_own_cosines(place):
    run = load_run(place / "runs" / "A")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{place / 'one'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{place / 'one'}")
    lines = [json.loads(line) for line in (place / "photos" / "metadata.jsonl").read_text().splitlines()]
    test = [line for line in lines if line["split"] == "test"]
    pictures = [Image.open(place / "photos" / line["file_name"]) for line in test]
    texts = [line["caption"] for line in test]
    with torch.inference_mode():
        visual = model.eval().encode_image(torch.stack([preprocess(p) for p in pictures]), normalize=True)
        text = model.encode_text(tokenizer(texts), normalize=True)
    found = run.embeddings()
    np.testing.assert_allclose(found[0] @ found[1].T, visual @ text.T, atol=3e-3)
    np.testing.assert_allclose(embed_texts(run, texts), text, atol=3e-3)
    np.testing.assert_allclose(embed_visuals(run, pictures), visual, atol=3e-3)
    assert (
        run.untrained and run.has_loss and not run.scores_pairs and run.history == [] and run.parts == (run,)
    )
    assert run.loss_values == {"temperature": pytest.approx(1 / model.logit_scale.exp().item())}
    assert sorted(path.name for path in run.path.iterdir()) == sorted([CARD, EMBEDDINGS, RUN])
    assert set(run.metrics) == {"validation", "test"} and run.dataset["sizes"]["test"]["visuals"] == 20


@pytest.mark.parametrize("loss", LOSSES)
def test_a_model_is_looked_at_with_any_loss_at_its_own_temperature(loss):
    found = as_if_trained(loss, scale=20.0, bias=-7.5)
    LOSSES[loss].parse(found)
    expected = {"temperature": 0.05, "scale": 20.0, "bias": -7.5}
    for name, value in found.items():
        bounds = LOSSES[loss].param(name).range
        assert bounds.low <= value <= bounds.high
        assert value == pytest.approx(expected[name]) or value in (bounds.low, bounds.high)
    if loss == "info_nce":
        assert found == {"temperature": pytest.approx(0.05)}
    if loss == "siglip":
        assert found == {"scale": 20.0, "bias": -7.5}


def test_loss_weights_and_false_negatives_begin_at_the_models_own_scale_and_bias(place, tmp_path, capsys):
    """In the page and in the endpoints, for two models whose losses have them by other names."""
    own = {"A": (12.5, None, "info_nce"), "B": (30.0, -6.0, "siglip"), "C": (150.0, -25.0, "siglip")}
    for name, (scale, bias, _) in own.items():
        file = save_tiny(tmp_path / name).removeprefix("local-dir:") + "/open_clip_model.safetensors"
        state = load_file(file) | {"logit_scale": torch.tensor(math.log(scale))}
        config = json.loads((tmp_path / name / "open_clip_config.json").read_text())
        if bias is not None:
            state |= {"logit_bias": torch.tensor(bias)}
            config["model_cfg"]["init_logit_bias"] = 0.0
        save_file(state, file)
        (tmp_path / name / "open_clip_config.json").write_text(json.dumps(config))
    models = [f"{name}={tmp_path / name}" for name in own]
    assert (
        add.main(["--dataset", str(place / "photos"), "--model", *models, "--out", str(tmp_path / "runs")])
        == 0
    )
    said = capsys.readouterr().err
    assert "C: its own scale, 150, is outside what siglip can have; it is looked at with 100" in said
    assert (
        "C: its own bias, -25, is outside" in said and "A: its own" not in said and "B: its own" not in said
    )
    pages = open_pages(tmp_path / "runs")
    assert len(pages) == 1
    workspace = pages[0].workspace
    for name, (scale, bias, loss) in own.items():
        scale, bias = min(scale, 100), bias and max(bias, -20)
        expected = {"temperature": 1 / scale} if loss == "info_nce" else {"scale": scale, "bias": bias}
        found = api.pair_weights(workspace)(name, 0, 8)
        assert found["loss"] == loss and found["parameters"] == pytest.approx(expected, rel=1e-6)
        scores = torch.tensor(found["scores"])
        weights = pair_weights(
            loss, scores, torch.tensor(found["positives"]), torch.tensor(found["negatives"]), **expected
        )
        np.testing.assert_allclose(found["weights"], weights, rtol=1e-3, atol=1e-5)  # of rounded scores
        blocks = json.dumps(view(pages, {"tab": ["weights"], "runs": [name], "baseline": [name]}))
        assert all(f'"value": {round(value, 6)}' in blocks for value in expected.values()), name
        heavy = hard_negatives(workspace, name, "test", "t2v")
        visual, text = load_run(tmp_path / "runs" / name).embeddings()
        data = workspace.dataset("test")
        scores = torch.from_numpy(text @ visual.T)
        pairs = Pairs.of(scores, torch.from_numpy(data.text_group[:, None] == data.visual_group))
        whole = query_weights(loss, pairs, **expected)
        np.testing.assert_allclose(heavy.weight, whole[heavy.query, heavy.candidate], rtol=1e-4, atol=1e-7)


def test_scripts_take_it_as_any_run(place, tmp_path, capsys, copied):
    assert evaluate.main([str(place / "runs"), "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["runs"]}
    assert {"A", "B", "info_nce"} < set(found)
    for name in "AB":
        told = load_run(place / "runs" / name).metrics["test"]
        assert found[name]["metrics"]["rsum"] == pytest.approx(told["rsum"])
    zero_shot = found[f"zero-shot: local-dir:{place / 'one'}"]["metrics"]
    assert zero_shot == found["A"]["metrics"]
    assert flag.main([str(place / "runs" / "B"), "--out", str(tmp_path / "s.csv")]) == 0
    assert combine.main([str(copied / "A"), str(copied / "B"), "--rule", "mean"]) == 0
    blend = load_run(copied / "mean")
    assert [member.group for member in blend.members] == ["model as it is"] * 2
    assert embed_texts(blend, ["red on blue"]).shape == (1, 32)


def test_models_stand_on_one_page_with_heads_and_have_every_tab(place):
    pages = open_pages(place / "runs")
    assert len(pages) == 1 and sorted(pages[0].workspace.runs) == ["A", "B", "info_nce"]
    workspace = pages[0].workspace
    assert workspace.trained == ["A", "B", "info_nce"]
    column = workspace.search(Query(text="red on blue"), ["A", "B"], "test", "t2v", 3)
    assert [len(one.results) for one in column] == [3, 3]
    for tab in TABS:
        found = view(pages, {"tab": [tab], "runs": ["A,B"]})
        assert found["blocks"] and not [block for block in found["blocks"] if block["kind"] == "fault"], tab
    assert "as if siglip" in json.dumps(view(pages, {"tab": ["results"]}), ensure_ascii=False)


def test_a_moved_encoder_is_found_by_its_hash_and_no_other_is_taken(copied, place, tmp_path, capsys):
    moved = shutil.copytree(place / "one", tmp_path / "elsewhere" / "one")
    hidden = (place / "one").rename(tmp_path / "hidden")
    forget_encoders()
    try:
        run, of_two = load_run(copied / "A"), load_run(copied / "B")
        with pytest.raises(
            ValueError, match="no folder .*one; where a run's encoder lies now is told by --encoder NAME"
        ):
            embed_texts(run, ["red"])
        forget_encoders()
        arguments = [str(copied / "A"), "--split", "validation", "--json", "--encoder", f"one={moved}"]
        assert evaluate.main(arguments) == 0
        found = json.loads(capsys.readouterr().out)["runs"][0]["metrics"]
        assert found["rsum"] == pytest.approx(run.metrics["validation"]["rsum"])
        assert embed_texts(run, ["red"]).shape == (1, 16)
        find_at({f"local-dir:{place / 'one'}": str(place / "two"), "two": str(moved)})
        forget_encoders()
        with pytest.raises(
            ValueError, match="A was made with .* of hash .*, and what lies at .*two has .*weights differ"
        ):
            embed_texts(run, ["red"])
        with pytest.raises(ValueError, match="B was made with"):
            embed_visuals(of_two, [Image.new("RGB", (8, 8))])
        assert evaluate.main([*arguments[:-2], "--encoder", f"one={place / 'two'}"]) == 2
        assert "the weights differ" in capsys.readouterr().err
        find_at({})
        told = "\n".join(app._found(open_pages(copied)))
        assert f"tell where:\n    --encoder local-dir:{place / 'one'}=PATH" in told
        with pytest.raises(SystemExit):
            evaluate.main([*arguments[:-2], "--encoder", "one=/nowhere"])
        assert "there is no folder and no file /nowhere" in capsys.readouterr().err
    finally:
        find_at({})
        forget_encoders()
        hidden.rename(place / "one")


# ---- embeddings in two files -------------------------------------------------------------------------------


@pytest.fixture
def files(place, tmp_path):
    """Those of model A, of other lengths and another type."""
    for name, side in zip(("img", "txt"), load_run(place / "runs" / "A").embeddings(), strict=True):
        np.save(tmp_path / f"{name}.npy", (3 * side).astype(np.float32 if name == "img" else np.float16))
    return f"{tmp_path / 'img.npy'},{tmp_path / 'txt.npy'}"


def test_two_files_of_embeddings_are_a_run_without_an_encoder(place, files, copied, capsys):
    added = ["--dataset", str(place / "photos"), "--embeddings", f"ours={files}", "--out", str(copied)]
    assert add.main(added) == 0
    said = capsys.readouterr()
    assert said.err.count("normalised here") == 2 and "as if trained with info_nce" in said.out
    run, model = load_run(copied / "ours"), load_run(copied / "A")
    for ours, theirs in zip(run.embeddings(), model.embeddings(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert run.untrained and run.about == "embeddings of two files" and set(run.metrics) == {"test"}
    with pytest.raises(ValueError, match="has embeddings from a file .* pick a test item"):
        embed_texts(run, ["red on blue"])
    assert evaluate.main([str(copied / "ours")]) == 0
    assert evaluate.main([str(copied / "ours"), "--split", "validation"]) == 2
    assert "ours is two files of embeddings of its test split" in capsys.readouterr().err
    pages = open_pages(copied)
    workspace = pages[0].workspace
    assert sorted(workspace.runs) == ["A", "B", "info_nce", "ours"]
    (column,) = workspace.search(Query(index=0), ["ours"], "test", "t2v", 3)
    assert len(column.results) == 3
    for tab in TABS:
        found = view(pages, {"tab": [tab], "runs": ["ours,A"]})
        assert found["blocks"] and "fault" not in found, tab


def npy(path, array):
    np.save(path, array)


def with_row(row, value):
    array = np.ones((20, 16))
    array[row] = value
    return array


def claiming(path, shape):
    """A file whose header tells of more than it holds."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.write(bytes(100))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: npy(f / "img.npy", np.ones((19, 16), np.float32)),
            "19 rows for the 20 visuals of photos (test)",
        ),
        (lambda f: npy(f / "txt.npy", np.ones((20, 8), np.float32)), "16 and 8 dimensions are no one space"),
        (lambda f: npy(f / "img.npy", np.ones((20, 16), int)), "holds (20, 16) int64; write floats (N, D)"),
        (lambda f: npy(f / "img.npy", np.ones(20)), "holds (20,) float64"),
        (lambda f: npy(f / "img.npy", np.zeros((20, 16))), "row 0 is zero or not finite"),
        (lambda f: npy(f / "img.npy", np.full((20, 16), np.inf)), "row 0 is zero or not finite"),
        (lambda f: npy(f / "img.npy", np.array([{}] * 20)), "is no .npy file of numbers"),
        (lambda f: npy(f / "img.npy", np.ones((20, 16), complex)), "holds (20, 16) complex128"),
        (lambda f: npy(f / "img.npy", np.full((20, 16), "a")), "holds (20, 16) <U1"),
        (lambda f: npy(f / "img.npy", np.ones((20, 4, 16))), "holds (20, 4, 16) float64"),
        (lambda f: npy(f / "txt.npy", with_row(5, np.nan)), "row 5 is zero or not finite"),
        (lambda f: npy(f / "txt.npy", with_row(7, 0).astype(np.float16)), "row 7 is zero or not finite"),
        (lambda f: npy(f / "txt.npy", np.ones((0, 16))), "holds (0, 16) float64"),
        (lambda f: claiming(f / "img.npy", (10**12, 16)), "is no .npy file of numbers"),
        (lambda f: [(f / "img.npy").unlink(), (f / "img.npy").mkdir()], "Is a directory"),
        (
            lambda f: np.savez(f / "img.npy.npz", a=1) or (f / "img.npy.npz").rename(f / "img.npy"),
            "holds an archive",
        ),
        (lambda f: (f / "img.npy").write_bytes(b""), "is no .npy file of numbers"),
        (lambda f: (f / "img.npy").unlink(), "No such file"),
    ],
)
def test_files_that_are_no_embeddings_of_the_test_split_are_told(
    place, files, tmp_path, capsys, damage, message
):
    damage(tmp_path)
    added = [
        "--dataset",
        str(place / "photos"),
        "--embeddings",
        f"x={files}",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert add.main(added) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs" / "x").exists()


def test_rows_in_another_order_are_told_and_none_is_dropped(place, files, tmp_path, capsys):
    image = np.load(tmp_path / "img.npy")
    np.save(tmp_path / "img.npy", image[np.random.default_rng(1).permutation(len(image))].astype(">f8"))
    words = [
        "--dataset",
        str(place / "photos"),
        "--embeddings",
        f"x={files}",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert add.main(words) == 0
    assert (
        "x is no better than chance: are its rows in the order of photos (test)?" in capsys.readouterr().err
    )


# ---- the place -----------------------------------------------------------------------------------------------


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_folder_that_is_no_run_is_not_written_into(place, tmp_path, capsys):
    mine = shutil.copytree(place / "one", tmp_path / "info_nce")
    (mine / "README.md").write_text("of my own")
    before, data = content(mine), ["--dataset", str(place / "photos"), "--out", str(tmp_path)]
    head = ["--loss", "info_nce", "--encoder", f"local-dir:{place / 'one'}"]
    for again in ([], ["--overwrite"]):
        assert add.main([*data, "--model", f"info_nce={mine}", *again]) == 2
        assert train_script.main([*data, *head, *again]) == 2
        assert capsys.readouterr().err.count("holds 'README.md' and no run: write it elsewhere") == 2
    assert content(mine) == before


def test_a_model_takes_the_place_of_a_run_only_if_that_is_said(place, copied, capsys):
    before = content(copied / "info_nce")
    words = ["--dataset", str(place / "photos"), "--model", f"info_nce={place / 'one'}", "--out", str(copied)]
    assert add.main(words) == 2
    assert "holds a run already; --overwrite replaces it" in capsys.readouterr().err
    assert content(copied / "info_nce") == before
    (copied / "info_nce" / "notes.txt").write_text("of my own")
    assert add.main([*words, "--overwrite"]) == 0
    assert load_run(copied / "info_nce").metrics == load_run(copied / "A").metrics
    assert set(content(copied / "info_nce")) == {RUN, CARD, EMBEDDINGS, "notes.txt"}


def test_what_was_interrupted_as_it_was_written_is_added_again(place, copied):
    (copied / "A" / RUN).unlink()
    (copied / "A" / f".{RUN}.1.2.tmp").write_text("{")
    assert [run.name for run in list_runs(copied)[0]] == ["B", "info_nce"]
    words = ["--dataset", str(place / "photos"), "--model", f"A={place / 'one'}", "--out", str(copied)]
    assert add.main(words) == 0
    assert load_run(copied / "A").metrics == load_run(place / "runs" / "A").metrics


# ---- what may be named -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--model", "one"], "write NAME=VALUE"),
        (["--model", "a=x/y", "a=x/z"], "a is there twice"),
        (["--model", "a=blocks", "--embeddings", "a=x,y"], "--model has that name"),
        (["--embeddings", "a=x.npy"], "write a=IMG.npy,TXT.npy"),
        (["--model", "a/b=ViT-B-32/openai"], "no slashes"),
        (["--model", "A=blocks"], "holds a run already; --overwrite"),
        (["--model", "n=ViT-B-32:nowhere.pt"], "there is no file nowhere.pt"),
        (["--model", "n=ViT-B-33/openai"], "did you mean 'ViT-B-32'"),
        (["--model", "n=blocks", "--trained-with", "m=siglip"], "unknown model 'm'"),
        (["--model", "n=blocks", "--trained-with", "n=siglop"], "did you mean 'siglip'"),
    ],
)
def test_what_cannot_be_added_is_told_before_the_work(place, capsys, changes, message):
    before = sorted(path.name for path in (place / "runs").iterdir())
    arguments = ["--dataset", str(place / "photos"), "--out", str(place / "runs"), *changes]
    assert add.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in (place / "runs").iterdir()) == before


# ---- the folder --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / EMBEDDINGS).unlink(), "embeddings.safetensors is missing"),
        (lambda f: (f / EMBEDDINGS).write_bytes((f / EMBEDDINGS).read_bytes()[:-1]), "altered or truncated"),
        (edit(lambda a: a["encoder"].update(text_dim=8)), "no one space"),
        (edit(lambda a: a["encoder"].update(text_dim=0, visual_dim=0)), "no one space"),
        (edit(lambda a: a["encoder"].update(text_dim=8, visual_dim=8)), "the configuration implies"),
        (edit(lambda a: a["config"].update(loss="")), "unknown loss ''"),
        (edit(lambda a: a["config"]["loss_params"].update(temperature=0)), "outside"),
        (edit(lambda a: a["dataset"]["sizes"].pop("test")), "no test split"),
        (edit(lambda a: a["metrics"].pop("validation")), "metrics.validation is not as xmr writes"),
    ],
)  # fmt: skip
def test_a_broken_folder_is_refused_with_the_reason(copied, damage, reason):
    damage(copied / "A")
    with pytest.raises(RunRefused, match=reason):
        load_run(copied / "A")
    runs, faults = list_runs(copied)
    assert [run.name for run in runs] == ["B", "info_nce"] and [fault.path.name for fault in faults] == ["A"]


def test_unit_normalises_and_takes_the_mean_of_frames():
    rng = torch.Generator().manual_seed(0)
    frames = torch.randn(3, 4, 5, generator=rng)
    frames[1, 2:] = 0  # padding
    found = Unit(5).visual(frames)
    for row, clip in zip(found, frames, strict=True):
        mean = torch.stack([frame for frame in clip if frame.any()]).mean(0)
        assert torch.allclose(row, mean / mean.norm())
    assert torch.allclose(Unit(5).text(frames[:, 0]).norm(dim=1), torch.ones(3))
