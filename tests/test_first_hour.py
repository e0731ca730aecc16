"""A first hour with one's own photos, as a new user would have it: commands as typed, and what they print is read.

A folder of 300 pictures, an encoder of one's own, several losses on a part of the data, evaluation, suspects, a combination, a
report, the app. What is printed has to be true: figures agree with `--json`, commands that are named can be called.
"""

import csv
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image, ImageDraw

from xmr.metrics import by_chance

ROOT = Path(__file__).parent.parent
COLOURS = ("red", "green", "blue", "yellow", "white", "black")
LOSSES = ("info_nce", "max_of_hinges")


def photograph(folder):
    """300 pictures of 100 kinds of a shape on a background, with two captions each, of which many read alike."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "metadata.jsonl").open("w") as file:
        for i in range(300):
            back, front = rng.choice(COLOURS, 2, replace=False)
            shape = rng.choice(["disc", "square", "bar"])
            picture = Image.new("RGB", (48, 40), str(back))
            draw = ImageDraw.Draw(picture)
            x, y = (int(n) for n in rng.integers(2, 20, 2))
            box = (x, y, x + 18, y + (6 if shape == "bar" else 18))
            (draw.ellipse if shape == "disc" else draw.rectangle)(box, fill=str(front))
            picture.save(folder / f"{i:03d}.jpg")
            captions = [f"a {front} {shape} on {back}", f"{back}, and a {shape} that is {front}"]
            file.write(json.dumps({"file_name": f"{i:03d}.jpg", "captions": captions}) + "\n")


@pytest.fixture(scope="module")
def hour(tmp_path_factory):
    """The whole hour: what each command returned and printed, by name."""
    place = tmp_path_factory.mktemp("hour")
    photograph(place / "photos")
    (place / "xmr").symlink_to(ROOT)
    env = {**os.environ, "XMR_CACHE": str(place / "cache"), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    done = {}

    def call(name, line):
        words = shlex.split(line)
        assert words[0] == "python"
        words = [sys.executable, str(ROOT / words[1]), *words[2:]]
        done[name] = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, timeout=300)
        return done[name]

    call("without an encoder", "python scripts/train.py --dataset photos --loss info_nce")
    small = "--pictures 2400 --batch-size 48 --size 32 --width 8"
    pretrained = call("pretrain", f"python scripts/pretrain.py --dataset photos --out encoder {small}")
    proposed = pretrained.stdout.splitlines()[-1]
    call("train", f"{proposed} --train-visuals 60 --epochs 4 --out runs")
    call("evaluate", "python scripts/evaluate.py runs")
    call("evaluate --json", "python scripts/evaluate.py runs --json")
    call("flag", "python scripts/flag.py runs/info_nce --out suspects.csv")
    call("combine", "python scripts/combine.py runs --rule mean")
    call("report", "python scripts/report.py runs --out report.html")
    done["app"] = served(place, env)
    return SimpleNamespace(place=place, **{"done": done})


def served(place, env):
    """What the app answers at its address, and how it leaves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "app.py"), "--checkpoints", "runs", "--port", str(port)]
    page, said = "", place / "app.txt"
    with said.open("w") as out:
        process = subprocess.Popen(command, cwd=place, env=env, stdout=out, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and "Ready in" not in said.read_text():
            time.sleep(0.2)
        if process.poll() is None:
            page = str(Client(f"http://127.0.0.1:{port}", verbose=False).predict(api_name="/runs"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    return SimpleNamespace(page=page, stdout=said.read_text(), stderr=err, port=port)


def figures(hour):
    runs = json.loads(hour.done["evaluate --json"].stdout)["runs"]
    return {run["name"]: run["metrics"] for run in runs}


def test_every_step_succeeds_without_a_traceback(hour):
    for name, one in hour.done.items():
        assert "Traceback" not in one.stderr, (name, one.stderr[-2000:])
        if name != "app":
            assert one.returncode == (2 if name == "without an encoder" else 0), (name, one.stderr[-2000:])


def test_without_an_encoder_the_ways_on_are_told_and_one_is_the_next_step(hour):
    told = hour.done["without an encoder"].stderr
    assert told.startswith("error: photos has pictures and no features") and told.count("--encoder") >= 3
    assert "python scripts/pretrain.py --dataset photos --out photos-encoder" in told


def test_pretraining_tells_what_it_reaches_and_the_next_command(hour):
    reached, written, command = hour.done["pretrain"].stdout.splitlines()
    assert re.fullmatch(
        r"validation: rsum [\d.]+ of 600, chance [\d.]+ \(v2t R@1 [\d.]+, t2v R@1 [\d.]+\)", reached
    )
    assert written.startswith("written to encoder, ") and written.endswith("next:")
    assert command.startswith("python scripts/train.py --dataset photos --encoder local-dir:encoder --loss ")
    assert "shrink pictures" in hour.done["pretrain"].stderr
    assert "attributes" not in hour.done["pretrain"].stderr


def test_only_what_is_learned_from_is_encoded_before_the_first_step(hour):
    told = hour.done["train"].stderr
    seen = {
        what: int(rows) for what, rows in re.findall(r"encode (\w+ \w+): 100%\S* (?:\S+ )?\d+/(\d+)", told)
    }
    assert seen["train pictures"] == 60 and seen["train captions"] == 120
    assert told.rindex("encode test captions") < told.index("info_nce: ")  # its time is none of a step's
    assert told.count("encode train pictures: 100%") == 1  # the second loss reads what there is
    assert "measuring the test split" in told
    card = (hour.place / "runs" / "info_nce" / "README.md").read_text()
    assert "learned from 60 visuals of the training split, chosen by seed 0, and their 120 captions" in card


def test_the_last_lines_of_training_are_true(hour):
    lines = hour.done["train"].stdout.splitlines()
    metrics = figures(hour)
    about = json.loads((hour.place / "runs" / "info_nce" / "run.json").read_text())
    sizes = about["dataset"]["sizes"]["test"]
    visuals = np.arange(sizes["visuals"])
    chance = by_chance(visuals, np.repeat(visuals, 2))["rsum"]
    assert sizes["texts"] == 2 * sizes["visuals"]
    for loss in LOSSES:
        told = rf"runs/{loss}: test rsum ([\d.]+) of 600, chance ([\d.]+); validation rsum "
        (found,) = filter(None, (re.match(told, line) for line in lines))
        assert float(found[1]) == pytest.approx(metrics[loss]["rsum"], abs=0.051)
        assert float(found[2]) == pytest.approx(chance, abs=0.051)
    last = re.fullmatch(
        r"2 runs, .+ in all; best on validation: (\w+), test rsum ([\d.]+) of 600, chance [\d.]+", lines[-1]
    )
    assert float(last[2]) == pytest.approx(metrics[last[1]]["rsum"], abs=0.051)


def test_the_table_has_the_figures_of_json_in_one_unit(hour):
    head, *rows = (line.split() for line in hour.done["evaluate"].stdout.splitlines())
    metrics, seen = figures(hour), []
    for row, below in pairwise(rows):
        if row[2:3] != ["v2t"] or row[0] not in LOSSES:
            continue  # notes, and the frozen encoder
        seen.append(row[0])
        own = metrics[row[0]]
        assert float(row[-1]) == pytest.approx(own["rsum"], abs=0.051)
        places = [head.index(f"R@{k}") for k in (1, 5, 10)]
        shown = [float(row[place]) for place in places] + [float(below[place - 2]) for place in places]
        keys = [f"{d}/recall_at_{k}" for d in ("v2t", "t2v") for k in (1, 5, 10)]
        assert shown == pytest.approx([own[key] for key in keys], abs=0.051)
        assert sum(own[key] for key in keys) == pytest.approx(own["rsum"])
    assert seen == list(LOSSES)


def test_suspects_are_counted_as_they_are_written(hour):
    told = hour.done["flag"].stderr
    count = int(
        re.search(r"([\d,]+) of the [\d,]+ negatives that info_nce pushes hardest on the test split", told)[1]
    )
    with (hour.place / "suspects.csv").open() as file:
        assert len(list(csv.DictReader(file))) == count > 0
    assert "weigh the negatives of v2t queries" in told


def test_the_combination_and_the_report_tell_what_evaluation_finds(hour):
    told = hour.done["combine"].stdout
    metrics = figures(hour)
    for loss in LOSSES:
        (line,) = (line for line in told.splitlines() if line.startswith(f"{loss} "))
        assert f"{metrics[loss]['rsum']:.1f}" in line
    assert f"written to {hour.place / 'runs' / 'mean'}" in told.replace(
        str(hour.place.resolve()), str(hour.place)
    )
    assert re.search(r"report\.html: [\d.]+ MB, ", hour.done["report"].stderr)
    page = (hour.place / "report.html").read_text()
    assert all(name in page for name in (*LOSSES, "mean"))


def test_the_app_shows_what_was_trained(hour):
    app = hour.done["app"]
    assert all(name in app.page for name in (*LOSSES, "mean")) and "photos" in app.page
    assert str(app.port) in app.stdout
