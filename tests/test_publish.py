"""What is pushed: whole run folders without a path of this machine, cards that the Hub reads, and code in them that works."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import yaml
from gradio_client import Client
from PIL import Image

from scripts import add, check_space, combine, publish, train
from tests import tiny
from tests.hub_server import environment
from tests.test_encoders import save_tiny
from tests.test_scripts import command
from xmr.checkpoints import list_runs, load_run
from xmr.checkpoints.folder import RUN
from xmr.data import DataFault, Dataset, Truth, load_dataset
from xmr.data.shown import write_shown
from xmr.disk import Refused
from xmr.embedding import frozen_features
from xmr.encoders import features, forget_encoders, load_encoder
from xmr.publishing.folders import check_paths, files_of
from xmr.publishing.paths import portable, portable_command
from xmr.views import TABS, view
from xmr.workspace.pages import open_pages

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs on tiny features, a combination of them, and towers trained on pictures from a model of this machine."""
    place = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XMR_CACHE", str(place / "cache"))
        forget_encoders()
        data = tiny.write_folder(place / "tiny")
        assert train.main(command(data, place / "runs", loss="info_nce siglip")) == 0
        runs = [str(place / "runs" / name) for name in ("info_nce", "siglip")]
        assert combine.main([*runs, "--rule", "mean", "--out", str(place / "runs/both")]) == 0
        tiny.write_photos(place / "photos")
        save_tiny(place / "vit")
        assert train.main([
            "--dataset", str(place / "photos"), "--encoder", f"local-dir:{place / 'vit'}", "--loss", "info_nce", "--tune", "all",
            "--epochs", "1", "--batch-size", "10", "--out", str(place / "towers"),
        ]) == 0  # fmt: skip
        yield place
    forget_encoders()


def front_of(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def told(folder):
    """Everything that a folder's files say, as bytes."""
    return b"".join((folder / name).read_bytes() + name.encode() for name in files_of(folder))


def test_a_run_is_pushed_and_read_back_as_it_was(place, hub, capsys):
    (place / "runs/info_nce/verdicts.sqlite").write_text("people's")
    assert (
        publish.main([str(place / "runs/info_nce"), "--to", "me/loss", "--license", "mit", "--private"]) == 0
    )
    assert f"{hub.address}/me/loss: pushed " in capsys.readouterr().out
    assert hub.private["model", "me/loss"]
    here, there = load_run(place / "runs/info_nce"), load_run("hf-hub:me/loss")
    np.testing.assert_array_equal(here.embeddings()[0], there.embeddings()[0])
    assert (there.name, there.metrics, there.loss_values) == ("loss", here.metrics, here.loss_values)
    assert there.config.dataset == "tiny"
    folder = hub.folder("model", "me/loss")
    assert set(files_of(folder)) == {
        *json.loads((folder / RUN).read_text())["files"],
        RUN,
        "README.md",
        "distributions.png",
    }
    assert str(place).encode() not in told(folder) and str(Path.home()).encode() not in told(folder)
    hub.asked.clear()
    assert publish.main([str(place / "runs/info_nce"), "--to", "me/loss", "--license", "mit"]) == 0
    assert "nothing changed" in capsys.readouterr().out and not any(
        "/commit/" in asked for asked in hub.asked
    )


def test_the_front_matter_is_complete_and_of_the_runs_own_figures(place, tmp_path):
    assert (
        publish.main(
            [
                str(place / "runs/info_nce"),
                "--to",
                "me/loss",
                "--license",
                "mit",
                "--dry-run",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    found, run = front_of(tmp_path / "out"), load_run(place / "runs/info_nce")
    assert (found["license"], found["library_name"], found["pipeline_tag"]) == (
        "mit",
        "xmr",
        "feature-extraction",
    )
    assert {"xmr", "image-text-retrieval", "info_nce"} <= set(found["tags"])
    (result,) = found["model-index"][0]["results"]
    told = {one["name"]: one for one in result["metrics"]}
    assert told["t2v/recall_at_5"]["value"] == run.metrics["test"]["t2v/recall_at_5"]
    low, high = told["t2v/recall_at_5"]["args"]["interval"]
    assert low <= told["t2v/recall_at_5"]["value"] <= high
    assert result["dataset"]["args"] == {
        "fingerprint": run.dataset["fingerprints"]["test"], **run.dataset["sizes"]["test"], "directions": ["v2t", "t2v"]
    }  # fmt: skip
    assert "base_model" not in found  # features of nobody's model


def test_names_of_the_hub_stand_in_the_card_and_in_run_json(place, tmp_path):
    run = json.loads((place / "runs/info_nce" / RUN).read_text())
    run["config"]["dataset"] = "flickr30k"
    cached = place / "hub/models--laion--clip/snapshots" / ("a" * 40)
    run["encoder"]["name"] = f"local-dir:{cached}"
    other = place / "other/info_nce"
    other.parent.mkdir()
    (place / "runs/info_nce").rename(other)
    before = (other / RUN).read_text()
    try:
        (other / RUN).write_text(json.dumps(run))
        assert publish.main([str(other), "--to", "me/loss", "--dry-run", str(tmp_path / "out")]) == 0
    finally:
        (other / RUN).write_text(before)
        other.rename(place / "runs/info_nce")
    found = front_of(tmp_path / "out")
    assert (found["base_model"], found["datasets"]) == (["laion/clip"], ["nlphuji/flickr30k"])
    assert found["license"] == "unknown"
    encoder = json.loads((tmp_path / "out" / RUN).read_text())["encoder"]
    assert (encoder["name"], encoder["hub"]) == ("hf-hub:laion/clip", "laion/clip")


def test_several_runs_have_a_folder_each_and_a_combination_takes_its_members(place, hub, capsys):
    assert publish.main([str(place / "runs/both"), "--to", "me/losses"]) == 0
    runs, faults = list_runs("hf-hub:me/losses")
    assert [run.name for run in runs] == ["both", "info_nce", "siglip"] and not faults
    assert len(front_of(hub.folder("model", "me/losses"))["model-index"]) == 3


def test_towers_are_loaded_by_open_clip_by_their_name(place, hub, tmp_path):
    assert publish.main([str(place / "towers/info_nce-all"), "--to", "me/towers", "--license", "mit"]) == 0
    folder = hub.folder("model", "me/towers")
    assert str(place).encode() not in told(folder)
    model, _, _ = open_clip.create_model_and_transforms("hf-hub:me/towers")
    own = load_encoder(f"local-dir:{place / 'towers/info_nce-all'}").model.state_dict()
    assert all(own[key].equal(value) for key, value in model.state_dict().items())
    run = load_run("hf-hub:me/towers")
    assert load_encoder(run.encoder["name"]).hash == run.encoder["hash"]
    assert front_of(folder)["library_name"] == "open_clip"
    works(hub, tmp_path, folder)


def works(hub, tmp_path, folder):
    """Runs every piece of Python of a card, as somebody else would."""
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code
    env = {**environment(hub, tmp_path / "stranger"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    checked = "\n".join([*code, "assert scores.shape == (len(text), len(visual)) and scores.max() <= 1.001"])
    done = subprocess.run(
        [sys.executable, "-c", checked], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_code_of_cards_works(place, hub, tmp_path):
    assert publish.main([str(place / "runs/both"), "--to", "me/losses"]) == 0
    works(hub, tmp_path, hub.folder("model", "me/losses"))


def test_a_dry_run_lists_or_writes_and_changes_what_changed(place, hub, tmp_path, capsys):
    words = [str(place / "runs/info_nce"), "--to", "me/loss", "--dry-run"]
    assert publish.main(words) == 0
    assert (
        "matcher.safetensors" in (said := capsys.readouterr().out) and "not pushed" in said and not hub.asked
    )
    out = tmp_path / "out"
    assert publish.main([*words, str(out)]) == 0
    assert "; 8 written, 0 deleted, 0 as they were" in capsys.readouterr().out
    (out / "extra").write_text("")
    (out / RUN).write_text("")
    assert publish.main([*words, str(out)]) == 0
    assert "; 1 written, 1 deleted, 7 as they were" in capsys.readouterr().out
    assert publish.main([*words, str(place)]) == 2  # which holds other things
    assert "holds other things; name a folder that is empty, or not there yet" in capsys.readouterr().err


def test_altered_files_and_paths_of_this_machine_are_not_pushed(place, tmp_path, capsys):
    weights = place / "towers/info_nce-all/open_clip_model.safetensors"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert publish.main([str(weights.parent), "--to", "me/towers", "--dry-run"]) == 2
        assert "open_clip_model.safetensors was altered or truncated" in capsys.readouterr().err
    finally:
        weights.write_bytes(content)
    (tmp_path / "words.json").write_text(f'["{tmp_path.parent}/words"]')
    with pytest.raises(Refused, match="words.json would tell a folder of this machine"):
        check_paths(tmp_path, [tmp_path.parent])


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("/home/me/photos", "photos"),
        ("/photos", "photos"),
        ("~/photos", "photos"),
        ("C:\\Users\\me\\photos", "photos"),
        ("local-dir:/home/me/my-clip", "local-dir:my-clip"),
        ("ViT-B-32//home/me/epoch_5.pt", "ViT-B-32/epoch_5.pt"),
        ("/a/vit.json//home/me/epoch_5.pt", "vit.json/epoch_5.pt"),
        ("local-dir:/x/hub/models--org--my--clip/snapshots/abc", "hf-hub:org/my--clip"),
        ("hf://org/photos@main", "hf://org/photos@main"),
        ("hf-hub:org/clip", "hf-hub:org/clip"),
        ("ViT-B-32/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("v2t/recall_at_1", "v2t/recall_at_1"),
        ("/a/runs/x,/b/runs/y", "x,y"),
    ],
)
def test_names_stand_in_place_of_paths(text, without):
    assert portable({"a": [text]}) == {"a": [without]}


def test_a_command_is_told_without_paths():
    command = "python /w/scripts/train.py --dataset '/home/me/my photos' --set root=/data/x,glove=/g --encoder local-dir:/a/b"
    assert portable_command(command) == (
        "python train.py --dataset 'my photos' --set root=x,glove=g --encoder local-dir:b"
    )


# ---- Spaces ------------------------------------------------------------------------------------------------

DOCUMENTED = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version", "suggested_hardware", "app_file", "app_build_command",
    "app_port", "base_path", "fullWidth", "header", "short_description", "models", "datasets", "tags", "thumbnail", "pinned", "hf_oauth",
    "hf_oauth_scopes", "hf_oauth_expiration_minutes", "hf_oauth_authorized_org", "disable_embedding", "startup_duration_timeout",
    "custom_headers", "preload_from_hub", "license",
}  # fmt: skip
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def check_front(front):
    """As docs/hub/spaces-config-reference of the Hub says."""
    assert front.keys() <= DOCUMENTED
    assert front["sdk"] == "gradio" and re.fullmatch(r"\d+\.\d+\.\d+", front["sdk_version"])
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS and len(front["emoji"]) == 1
    assert 0 < len(front["short_description"]) <= 60 and front["app_file"] == "app.py"
    assert isinstance(front["python_version"], str) and front["header"] in ("mini", "default")
    assert front["fullWidth"] is True and all(isinstance(tag, str) for tag in front["tags"])


def test_the_front_matter_of_the_repository_is_as_documented():
    check_front(front_of(ROOT))


@pytest.fixture(scope="module")
def space(place, tmp_path_factory):
    """The folder of a Space that shows towers and the pictures that they were trained for."""
    folder = tmp_path_factory.mktemp("dry") / "space"
    words = [str(place / "towers"), "--space", "me/lab", "--license", "cc-by-4.0", "--dry-run", str(folder)]
    assert publish.main(words) == 0
    return folder


def test_a_space_has_what_it_needs_and_nothing_of_this_machine(place, space, capsys):
    front = front_of(space)
    check_front(front)
    assert front["license"] == "cc-by-4.0"
    assert str(place).encode() not in told(space) and str(ROOT).encode() not in told(space)
    wanted = [
        re.sub("^torch>=2.11,<3$", "torch>=2.11,<2.12", line)  # the latest that ZeroGPU offers
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line[:1] not in ("", "#")
    ]
    assert (space / "requirements.txt").read_text().splitlines() == wanted
    of_app = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "xmr").rglob("*")
        if path.suffix in (".py", ".js", ".css", ".html")
    }
    assert {name for name in files_of(space) if name.startswith("xmr/")} == of_app
    assert max(sum(1 for _ in one.iterdir()) for one in space.rglob("*") if one.is_dir()) < 10_000
    words = [str(place / "towers"), "--space", "me/lab", "--license", "cc-by-4.0", "--dry-run", str(space)]
    assert publish.main(words) == 0
    assert "; 0 written, 0 deleted, " in capsys.readouterr().out


def test_the_split_that_is_shown_is_the_one_that_runs_were_trained_for(place, space):
    was = load_dataset(str(place / "photos"), "test")
    data = load_dataset(str(space / "data/photos"), "test")
    assert (data.fingerprint, data.captions, data.visual_ids) == (
        was.fingerprint,
        was.captions,
        was.visual_ids,
    )
    np.testing.assert_array_equal(data.visual_group, was.visual_group)
    off = np.abs(np.asarray(data.image(3), float) - np.asarray(was.image(3).convert("RGB"), float))
    assert data.image(3).size == was.image(3).size and off.mean() < 8
    with pytest.raises(DataFault, match="holds the test split only, to be shown; there is no train split"):
        load_dataset(str(space / "data/photos"), "train")
    with pytest.raises(ValueError, match="photos is here to be shown only"):
        features(data, f"local-dir:{place / 'vit'}")
    for encoder in (f"local-dir:{place / 'vit'}", f"local-dir:{space / 'checkpoints/info_nce-all'}"):
        kept, made = frozen_features(data, encoder), frozen_features(was, encoder)
        assert kept.encoder_hash == made.encoder_hash
        np.testing.assert_array_equal(kept.visual, made.visual)
        np.testing.assert_array_equal(kept.text, made.text)


def test_a_space_without_pictures_shows_ids(place, tmp_path, monkeypatch, capsys):
    words = [str(place / "towers"), "--space", "me/lab", "--dry-run", str(tmp_path / "out")]
    assert publish.main(words) == 2
    assert (
        "the pictures of photos would be public: name their licence with --license ID"
        in capsys.readouterr().err
    )
    assert publish.main([*words, "--with-data", "none"]) == 0
    assert "left out: photos: its pictures; ids stand in" in capsys.readouterr().err
    assert not list((tmp_path / "out/data").rglob("*.parquet")) and "license" not in front_of(
        tmp_path / "out"
    )
    monkeypatch.chdir(tmp_path / "out")
    (page,) = open_pages("checkpoints")
    assert page.workspace.thumbnail("test", 0) is None and [*page.runs] == ["info_nce-all"]
    for tab in TABS:
        found = view([page], {"tab": [tab]})
        assert not found.get("fault") and found["blocks"], (tab, found)
        assert not [block for block in found["blocks"] if block["kind"] == "fault"], tab


@pytest.mark.parametrize(
    "change", [{"split": "all"}, {"visual_of_text": ["a"]}, {"fingerprint": ""}, {"frames": None}]
)
def test_a_split_that_is_not_as_it_was_written_is_refused(space, tmp_path, change):
    told = json.loads((space / "data/photos/shown.json").read_text())
    (tmp_path / "shown.json").write_text(json.dumps(told | change))
    with pytest.raises(DataFault, match="is not as xmr writes it"):
        load_dataset(str(tmp_path), "test")


def test_clips_truths_and_classes_are_shown_too(tmp_path):
    rng = np.random.default_rng(0)
    frames = [
        [Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)) for _ in range(n)] for n in (3, 70)
    ]
    data = Dataset(
        name="clips", split="test", captions=["a", "b", "c"], visual_of_text=np.array([0, 0, 1]), visual_ids=["x", "y"],
        fingerprint="f", kind="clip", visuals=frames, columns={"length": [3, 70]},
        truth=Truth(
            lambda v, t: np.array([[1, np.nan, 0], [0, 1, 1]], np.float32)[np.ix_(v, t)], lambda v, t: None, False, "people"
        ),
    )  # fmt: skip
    assert not write_shown(data, tmp_path / "clips", True, {})
    found = load_dataset(tmp_path / "clips", "test")
    assert [len(found.visuals[0]), len(found.visuals[1])] == [3, 24] and found.visuals[0][2].size == (30, 20)
    both = np.arange(2), np.arange(3)
    np.testing.assert_array_equal(found.truth.block(*both), data.truth.block(*both))
    np.testing.assert_array_equal(
        found.truth.pairs(np.array([0, 0, 1]), np.arange(3)), np.array([1, np.nan, 1], np.float32)
    )
    assert (found.truth.complete, found.truth.source, found.columns) == (False, "people", data.columns)


def test_a_space_is_made_and_only_what_changed_is_pushed_again(place, hub, capsys):
    words = [str(place / "towers"), "--space", "me/lab", "--with-data", "none"]
    assert publish.main(words) == 0
    assert f"{hub.address}/spaces/me/lab: pushed " in capsys.readouterr().out
    hub.asked.clear()
    (hub.folder("space", "me/lab") / "notes.md").write_text("the owner's own")
    (hub.folder("space", "me/lab") / "xmr/old.py").write_text("of a version before")
    assert publish.main(words) == 0
    assert "pushed" in capsys.readouterr().out and not any(asked.startswith("PUT") for asked in hub.asked)
    there = hub.files("space", "me/lab")
    assert "notes.md" in there and "xmr/old.py" not in there
    assert publish.main(words) == 0
    assert "nothing changed" in capsys.readouterr().out


def test_the_folder_serves_itself(space, tmp_path, capsys):
    """As a Space does: `python app.py`, from wherever, with nothing of this repository."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XMR_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    app = subprocess.Popen(
        [sys.executable, str(space / "app.py"), "--port", str(port)],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    try:
        for line in app.stdout:
            lines.append(line)
            if line.startswith("The page can be opened"):
                break
        client = Client(f"http://127.0.0.1:{port}/", verbose=False)
        (run,) = client.predict(api_name="/runs")
        assert (run["name"], run["dataset"]) == ("info_nce-all", "data/photos"), lines
        found = client.predict("red on blue", ["info_nce-all"], 3, api_name="/search")["runs"]["info_nce-all"]
        assert len(found["results"]) == 3  # by its own towers
        assert check_space.main([client.src]) == 0
        assert "1 runs; 1 of 1 that were asked answer a search" in capsys.readouterr().out
    finally:
        app.terminate()
        app.wait(30)
    assert check_space.main([f"http://127.0.0.1:{port}"]) == 1
    assert f"http://127.0.0.1:{port} does not answer: " in capsys.readouterr().err


# ---- models as they are ----------------------------------------------------------------------------------------


def test_the_weights_of_a_model_go_along_and_open_clip_loads_them(place, hub, tmp_path, capsys):
    words = ["--dataset", str(place / "photos"), "--out", str(tmp_path / "runs"), "--model"]
    assert add.main([*words, f"mine={place / 'vit'}", "other=blocks"]) == 0
    mine = tmp_path / "runs/mine"
    assert publish.main([str(mine), "--to", "me/model", "--license", "mit"]) == 0
    assert "weights" not in capsys.readouterr().err
    folder = hub.folder("model", "me/model")
    assert str(place).encode() not in told(folder) and str(tmp_path).encode() not in told(folder)
    model, _, _ = open_clip.create_model_and_transforms("hf-hub:me/model")
    own = load_encoder(f"local-dir:{place / 'vit'}").model.state_dict()
    assert all(own[key].equal(value) for key, value in model.state_dict().items())
    run, front = load_run("hf-hub:me/model"), front_of(folder)
    assert (run.encoder["name"], front["library_name"]) == ("hf-hub:me/model", "open_clip")
    assert load_encoder(run.encoder["name"]).hash == run.encoder["hash"] == load_run(mine).encoder["hash"]
    works(hub, tmp_path, folder)
    assert publish.main([str(mine), "--to", "me/model", "--license", "mit"]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert (
        publish.main([str(tmp_path / "runs"), "--to", "me/models", "--dry-run", str(tmp_path / "two")]) == 0
    )
    assert "the weights of mine are not pushed: push it by itself for that" in capsys.readouterr().err
    assert not list((tmp_path / "two").rglob("open_clip*"))
    assert (
        publish.main([str(tmp_path / "runs/other"), "--to", "me/o", "--dry-run", str(tmp_path / "three")])
        == 0
    )
    assert json.loads((tmp_path / "three" / RUN).read_text())["encoder"]["name"] == "blocks"
    assert (tmp_path / "three/open_clip_model.safetensors").is_file()


def test_weights_that_are_not_those_that_were_measured_stay_here(place, tmp_path, capsys):
    vit = shutil.copytree(place / "vit", tmp_path / "vit")
    words = ["--dataset", str(place / "photos"), "--out", str(tmp_path / "runs"), "--model", f"mine={vit}"]
    assert add.main(words) == 0
    forget_encoders()
    about = json.loads((vit / "open_clip_config.json").read_text())
    about["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (vit / "open_clip_config.json").write_text(json.dumps(about))
    assert (
        publish.main([str(tmp_path / "runs/mine"), "--to", "me/m", "--dry-run", str(tmp_path / "out")]) == 0
    )
    assert (
        "open_clip would read them otherwise than they were read for its figures" in capsys.readouterr().err
    )
    shutil.rmtree(vit)
    forget_encoders()
    assert (
        publish.main([str(tmp_path / "runs/mine"), "--to", "me/m", "--dry-run", str(tmp_path / "out")]) == 0
    )
    assert "the weights of mine are not pushed: the encoder 'local-dir:" in capsys.readouterr().err
    assert (
        not list((tmp_path / "out").glob("open_clip*"))
        and load_run(tmp_path / "out").encoder["name"] == "local-dir:vit"
    )
