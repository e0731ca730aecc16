"""What is pushed: whole run folders without a path of this machine, cards that the Hub reads, and code in them that works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import yaml

from scripts import combine, publish, train
from tests import tiny
from tests.hub_server import environment
from tests.test_encoders import save_tiny
from tests.test_scripts import command
from xmr.checkpoints import list_runs, load_run
from xmr.checkpoints.folder import RUN
from xmr.disk import Refused
from xmr.encoders import forget_encoders, load_encoder
from xmr.publishing.folders import check_paths, files_of
from xmr.publishing.paths import portable, portable_command

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
    assert "; 7 written, 0 deleted, 0 as they were" in capsys.readouterr().out
    (out / "extra").write_text("")
    (out / RUN).write_text("")
    assert publish.main([*words, str(out)]) == 0
    assert "; 1 written, 1 deleted, 6 as they were" in capsys.readouterr().out
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
