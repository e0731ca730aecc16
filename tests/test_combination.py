"""Combinations of runs: the folder, what is refused of it, the script that makes it, and the app's workspace on it."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import combine, evaluate
from scripts import train as train_script
from scripts.metrics_table import percent
from tests import tiny
from tests.test_checkpoints import FakeEncoder
from xmr import embedding, encoders
from xmr.checkpoints import (
    CannotSave,
    Head,
    Member,
    RunRefused,
    clear_run,
    list_runs,
    load_run,
    save_combination,
    save_run,
    verify,
)
from xmr.checkpoints.folder import CARD, MATCHER, RUN
from xmr.checksums import digest
from xmr.data.dataset import Truth
from xmr.metrics import evaluate_embeddings
from xmr.workspace import Query, Workspace

WEIGHTS = {"max_of_hinges": 0.5, "info_nce": 0.2, "siglip": 0.3}
METRICS = {
    split: {f"{d}/{name}": 0.5 for d in ("v2t", "t2v") for name in
            ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")} | {"rsum": 300.0}
    for split in ("validation", "test")
}  # fmt: skip


def members(root, weights=WEIGHTS):
    return [Member(load_run(root / name), weight, "a group") for name, weight in weights.items()]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("saved")
    for loss in WEIGHTS:
        save_run(root / loss, tiny.fit(tiny.config(loss=loss, epochs=2))[1])
    save_combination(root / "mix", "hybrid", members(root), METRICS, {"command": "as told"})
    return root


@pytest.fixture
def root(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "runs")


def score_matrix(embed):
    """Σ weight · score of the member, by a loop over the members."""
    fused = 0.0
    for name, weight in WEIGHTS.items():
        visual, text = embed(name)
        fused = fused + weight * (visual.astype(float) @ text.astype(float).T)
    return fused


# ---- the folder --------------------------------------------------------------------------------------------


def test_a_combination_comes_back_as_it_was(saved):
    run = load_run(saved / "mix")
    assert not run.has_loss and not run.scores_pairs and run.config.matcher == ""
    assert (run.name, run.path, run.rule) == ("mix", saved / "mix", "hybrid")
    assert {m.run.name: m.weight for m in run.members} == WEIGHTS
    assert {m.group for m in run.members} == {"a group"}
    assert run.metrics == METRICS and run.training["command"] == "as told"
    assert run.config.loss == "" and run.config.dataset == "tiny" and run.loss_values == {}
    assert run.dataset == load_run(saved / "siglip").dataset
    assert run.embed_dim == 3 * 16 and run.about == "hybrid of 3 runs"
    assert sorted(path.name for path in run.path.iterdir()) == [CARD, RUN]
    assert verify(saved / "mix") is None
    assert all(load_run(saved / name).has_loss for name in WEIGHTS)


def test_its_scores_are_the_weighted_mean_of_the_members(saved):
    run = load_run(saved / "mix")
    visual, text = run.embeddings()
    assert visual.shape == (24, 48) and text.shape == (48, 48) and visual.dtype == np.float32
    np.testing.assert_allclose(
        visual @ text.T, score_matrix(lambda name: load_run(saved / name).embeddings()), atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-3)  # from half precision


@pytest.mark.parametrize("split", ["validation", "test"])
def test_splits_and_free_texts_are_embedded_by_every_member(saved, split):
    run, data = load_run(saved / "mix"), tiny.dataset(split)
    visual, text = embedding.embed_dataset(run, data)
    np.testing.assert_allclose(
        visual @ text.T,
        score_matrix(lambda name: embedding.embed_dataset(load_run(saved / name), data)),
        atol=1e-6,
    )
    np.testing.assert_allclose(embedding.embed_texts(run, data.captions[:5]), text[:5], atol=1e-6)
    assert embedding.embed_texts(run, []).shape == embedding.embed_visuals(run, []).shape == (0, 48)
    with pytest.raises(ValueError, match="features from a file"):
        embedding.embed_visuals(run, [Image.new("RGB", (8, 8))])


def test_members_that_read_one_encoder_ask_it_once(tmp_path, monkeypatch):
    asked = []

    class Encoder(FakeEncoder):
        def encode_images(self, images, kind="pooled"):
            asked.append(len(images))
            return super().encode_images(images, kind)

        def encode_texts(self, texts, kind="pooled"):
            asked.append(len(texts))
            return super().encode_texts(texts, kind)

    def pictures(split):
        colours = np.random.default_rng(len(split)).integers(0, 255, (tiny.SIZES[split], 3))
        drawn = [Image.new("RGB", (4, 4), tuple(map(int, colour))) for colour in colours]
        return tiny.dataset(split, visual_features=None, visuals=drawn, encoder="fake")

    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "load_encoder", lambda name: Encoder())
    for seed in (0, 1):
        tiny.fit(tiny.config(epochs=1, seed=seed), tmp_path / f"{seed}", load=pictures)
    run = save_combination(tmp_path / "mix", "mean", members(tmp_path, {"0": 0.5, "1": 0.5}), METRICS)
    test = pictures("test")
    visual, text = embedding.embed_dataset(run, test)
    asked.clear()
    np.testing.assert_allclose(embedding.embed_visuals(run, test.visuals), visual, atol=1e-2)
    np.testing.assert_allclose(embedding.embed_texts(run, test.captions), text, atol=1e-2)
    assert asked == [24, 48]


def test_runs_and_combinations_are_listed_together(root):
    runs, faults = list_runs(root)
    assert [run.name for run in runs] == ["info_nce", "max_of_hinges", "mix", "siglip"] and not faults
    listed = {run.name: run for run in runs}
    assert all(member.run is listed[member.run.name] for member in listed["mix"].members)
    (root / "siglip" / MATCHER).unlink()
    runs, faults = list_runs(root)
    assert [run.name for run in runs] == ["info_nce", "max_of_hinges"]
    assert [fault.path.name for fault in faults] == ["mix", "siglip"]
    assert "member siglip: matcher.safetensors is missing" in faults[0].reason


def test_the_whole_can_be_moved(root, tmp_path):
    moved = root.rename(tmp_path / "elsewhere")
    assert load_run(moved / "mix").members[0].run.path == moved / "max_of_hinges"


def test_a_combination_is_cleared_and_replaced(root):
    again = save_combination(root / "mix", "mean", members(root, {"siglip": 1.0}), METRICS)
    assert load_run(root / "mix").about == again.about == "mean of 1 run"
    clear_run(root / "mix")
    assert not list((root / "mix").iterdir())


def test_the_card_is_read_by_the_hub(saved):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard((saved / "mix" / CARD).read_text(encoding="utf-8"))
    assert "combination" in card.data.tags and len(card.data.eval_results) == 6
    assert "| siglip | a group | 0.3 |" in card.text and "as told" in card.text


# ---- refusals ----------------------------------------------------------------------------------------------


def edit(change):
    """Damage to run.json of the combination."""

    def damage(root):
        about = json.loads((root / "mix" / RUN).read_text())
        change(about)
        (root / "mix" / RUN).write_text(json.dumps(about))

    return damage


def first(**values):
    return edit(lambda about: about["members"][0].update(values))


def member(name, change):
    """A change to a member's run.json, which the combination vouches for."""

    def damage(root):
        path = root / name / RUN
        about = json.loads(path.read_text())
        change(about)
        path.write_text(json.dumps(about))
        edit(
            lambda mix: [
                entry.update(sha256=digest(path.read_bytes()))
                for entry in mix["members"]
                if entry["run"] == name
            ]
        )(root)

    return damage


def nested(root):
    """The combination as a member of another one, which is a member of it."""
    shutil.copytree(root / "mix", root / "other")
    first(run="other", sha256=digest((root / "other" / RUN).read_bytes()))(root)
    about = json.loads((root / "other" / RUN).read_text())
    about["members"][0].update(run="mix", sha256=digest((root / "mix" / RUN).read_bytes()))
    (root / "other" / RUN).write_text(json.dumps(about))
    first(sha256=digest((root / "other" / RUN).read_bytes()))(root)


def outside(root):
    shutil.copytree(root / "siglip", root.parent / "siglip")


def linked(root):
    outside(root)
    (root / "link").symlink_to(root.parent / "siglip")
    first(run="link")(root)


def circle(root):
    (root / "link").symlink_to(root / "link")
    first(run="link")(root)


def escaping(name):
    def damage(root):
        outside(root)
        first(run=name.format(root=root), sha256=digest((root / "siglip" / RUN).read_bytes()))(root)

    return damage


def both(*damages):
    return lambda root: [damage(root) for damage in damages]


NOT_BESIDE = "not the name of a folder beside"
REFUSALS = {
    "missing member": (lambda r: shutil.rmtree(r / "siglip"), "there is no member 'siglip'"),
    "altered member": (lambda r: (r / "siglip" / RUN).write_text("{}"), "member siglip: its run.json is not the one"),
    "broken member": (lambda r: (r / "siglip" / MATCHER).write_bytes(b"\0" * 99), "member siglip: matcher.safetensors was altered"),
    "retrained member": (lambda r: save_run(r / "siglip", tiny.fit(tiny.config(loss="siglip", epochs=1))[1]), "combine again"),
    "another folder": (escaping("../siglip"), NOT_BESIDE),
    "another folder below": (escaping("siglip/../../siglip"), NOT_BESIDE),
    "another folder, absolute": (escaping("{root}/siglip"), NOT_BESIDE),
    "another folder in Windows": (escaping("..\\siglip"), NOT_BESIDE),
    "a drive in Windows": (escaping("C:siglip"), NOT_BESIDE),
    "the folder itself": (escaping("."), NOT_BESIDE),
    "the folder above": (escaping(".."), NOT_BESIDE),
    "no name": (escaping(""), NOT_BESIDE),
    "zero byte": (escaping("sig\0lip"), r"U\+0000"),
    "endless name": (escaping("s" * 5000), "can't be a folder"),
    "link elsewhere": (linked, "leads out of"),
    "link to itself": (circle, "link"),
    "itself": (first(run="mix"), "member mix: its run.json is not the one"),
    "cycle": (nested, "member other: its run.json|itself a combination"),
    "twice": (edit(lambda a: a["members"].append(dict(a["members"][0], weight=1e-9))), "'max_of_hinges' more than once"),
    "no members": (edit(lambda a: a.update(members=[])), "members is not as xmr writes it"),
    "members no list": (edit(lambda a: a.update(members={"run": "siglip"})), "members is not as xmr writes it"),
    "member no object": (edit(lambda a: a.update(members=["siglip"])), r"members\.0.* is not as xmr writes it"),
    "member a number": (first(run=3), r"members\.0\.run is not as xmr writes it"),
    "no digest": (edit(lambda a: a["members"][0].pop("sha256")), r"members\.0.* is not as xmr writes it"),
    "no rule": (edit(lambda a: a.pop("rule")), "is not as xmr writes it"),
    "no metrics": (edit(lambda a: a["metrics"].pop("test")), "is not as xmr writes it"),
    "huge metric": (edit(lambda a: a["metrics"]["test"].update(rsum=10**400)), "401 digits"),
    "metrics a string": (edit(lambda a: a["metrics"]["test"].update(rsum="1")), "is not as xmr writes it"),
    "no training": (edit(lambda a: a.update(training=None)), "is not as xmr writes it"),
    "NaN weight": (first(weight=float("nan")), "holds NaN"),
    "infinite weight": (lambda r: (r / "mix" / RUN).write_text((r / "mix" / RUN).read_text().replace("0.5,", "1e999,", 1)), "1e999, which is no number"),
    "negative weight": (first(weight=-0.5), "is -0.5, not a number"),
    "zero weight": (first(weight=0), "is 0, not a number"),
    "huge weight": (first(weight=10**400), "401 digits"),
    "weight a string": (first(weight="0.5"), "is '0.5', not a number"),
    "weight a truth": (first(weight=True), "is True, not a number"),
    "weights sum to more": (first(weight=0.75), "sum to 1.25, not to 1"),
    "other test data": (member("siglip", lambda a: a["dataset"]["fingerprints"].update(test="else")), "different test splits"),
    "other validation data": (member("info_nce", lambda a: a["dataset"]["fingerprints"].update(validation="else")), "different validation splits"),
    "unknown data": (member("max_of_hinges", lambda a: a["dataset"]["fingerprints"].pop("test")), "different test splits"),
    "unknown loss of a member": (member("siglip", lambda a: a["config"].update(loss="siglop")), "did you mean 'siglip'"),
    "later schema": (edit(lambda a: a.update(schema=99)), "schema version 99"),
    "nested too deeply": (lambda r: (r / "mix" / RUN).write_text("[" * 200_000), "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_broken_combination_is_refused_with_the_reason(root, case):
    damage, reason = REFUSALS[case]
    damage(root)
    with pytest.raises(RunRefused, match=reason):
        load_run(root / "mix")
    _, faults = list_runs(root)
    assert "mix" in [fault.path.name for fault in faults]


def test_a_combination_of_combinations_is_refused(root):
    shutil.copytree(root / "mix", root / "other")
    first(run="other", sha256=digest((root / "other" / RUN).read_bytes()))(root)
    with pytest.raises(RunRefused, match="member other: it is itself a combination"):
        load_run(root / "mix")


def test_pair_scorers_are_refused(root, monkeypatch):
    monkeypatch.setattr(Head, "scores_pairs", True)
    with pytest.raises(RunRefused, match="max_of_hinges scores pairs"):
        load_run(root / "mix")


def test_only_what_could_be_read_back_is_written(root):
    with pytest.raises(RunRefused, match="sum to 0.5"):
        save_combination(root / "new", "mean", members(root, {"siglip": 0.5}), METRICS)
    with pytest.raises(RunRefused, match="is nan"):
        save_combination(root / "new", "mean", members(root, {"siglip": float("nan")}), METRICS)
    with pytest.raises(ValueError, match="beside its members"):
        save_combination(root / "below" / "new", "mean", members(root), METRICS)
    with pytest.raises(ValueError, match="one of the members"):
        save_combination(root / "siglip", "mean", members(root), METRICS)
    with pytest.raises(ValueError, match="no combination"):
        save_combination(root / "info_nce", "mean", members(root, {"siglip": 1.0}), METRICS)
    (root / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        save_combination(root / "file", "mean", members(root), METRICS)
    (root / "notes").mkdir()
    (root / "notes" / "todo.txt").write_text("mine")
    with pytest.raises(ValueError, match="no combination"):
        save_combination(root / "notes", "mean", members(root), METRICS)
    assert not (root / "new").exists() and not (root / "below").exists()
    assert verify(root / "siglip") is None and os.listdir(root / "notes") == ["todo.txt"]


def test_a_failed_write_leaves_what_was_there(root, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in (root / "mix").iterdir()}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotSave, match="No space left"):
        save_combination(root / "mix", "mean", members(root), METRICS)
    assert {path.name: path.read_bytes() for path in (root / "mix").iterdir()} == before


# ---- the workspace -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workspace(saved):
    runs, faults = list_runs(saved)
    return Workspace.of(runs, "tiny", tiny.dataset, embedding, faults, saved)


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_the_workspace_ranks_as_the_fused_scores_say(workspace, direction, split):
    scores = score_matrix(lambda name: workspace.embeddings(name, split))
    scores = scores if direction == "v2t" else scores.T
    np.testing.assert_allclose(workspace.scores("mix", split, direction), scores, atol=1e-6)
    for asked in (0, 5, 11):
        (column,) = workspace.search(Query(index=asked), ["mix"], split, direction, 6)
        assert not column.fault
        np.testing.assert_allclose(
            [r.score for r in column.results], np.sort(scores[asked])[::-1][:6], atol=1e-5
        )
        for result in column.results:
            assert result.score == pytest.approx(scores[asked, result.index], abs=1e-5)
            assert (
                abs((scores[asked] > result.score + 1e-5).sum() - (result.rank - 1)) <= 1
            )  # captions may tie


def test_free_queries_and_style_of_a_combination(workspace, saved):
    (column,) = workspace.search(Query(text="a red dog"), ["mix"], "test", "t2v", 3)
    rows = {name: embedding.embed_texts(load_run(saved / name), ["a red dog"])[0] for name in WEIGHTS}
    fused = sum(w * (load_run(saved / n).embeddings()[0] @ rows[n]) for n, w in WEIGHTS.items())
    assert [r.index for r in column.results] == np.argsort(-fused, kind="stable")[:3].tolist()
    assert workspace.trained == ["info_nce", "max_of_hinges", "siglip"]
    assert list(workspace.runs) == ["info_nce", "max_of_hinges", "mix", "siglip"]
    assert len(set(workspace.styles(list(workspace.runs)).values())) == 4
    assert workspace.metrics("mix", "test") == METRICS["test"]


def test_a_folder_of_other_data_sets_its_combination_apart(saved):
    runs, _ = list_runs(saved)
    other = Workspace.of(runs, "tiny", lambda split: tiny.dataset(split, fingerprint="else"), embedding)
    assert "mix" in other.apart and "another version of 'tiny'" in other.apart["mix"][1]


# ---- the script --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of three losses on the tiny dataset as a folder; two of them of one family."""
    data = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")
    out = tmp_path_factory.mktemp("runs")
    settings = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]
    assert train_script.main(
        ["--dataset", str(data), "--out", str(out), "--epochs", "2", "--batch-size", "32", "--lr", "0.02", *settings,
         "--loss", "info_nce", "siglip", "max_of_hinges"]
    ) == 0  # fmt: skip
    return out


@pytest.fixture
def folders(trained, tmp_path):
    root = shutil.copytree(trained, tmp_path / "runs")
    return [str(root / name) for name in ("info_nce", "siglip", "max_of_hinges")]


def called(capsys, *arguments):
    assert combine.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_script_saves_what_evaluate_finds_again(folders, capsys):
    report = called(capsys, *folders, "--rule", "mean")
    run = load_run(Path(folders[0]).parent / "mean")
    assert report["path"] == str(run.path) and report["chosen"] == run.rule == "mean"
    assert report["unit"] == "per cent"
    told = report["rules"]["mean"]["metrics"]
    assert told == {split: percent(values) for split, values in run.metrics.items()}
    assert {m.run.name: m.weight for m in run.members} == report["rules"]["mean"]["weights"]
    assert {m.run.name: m.group for m in run.members} == {
        "info_nce": "softmax, linear", "siglip": "softmax, linear", "max_of_hinges": "hinge, linear",
    }  # fmt: skip
    for split in ("validation", "test"):
        assert evaluate.main([str(run.path), "--split", split, "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["runs"]
        assert found["name"] == "mean" and found["metrics"] == pytest.approx(percent(run.metrics[split]))
    for one in report["members"]:
        told = load_run(one["path"]).metrics
        assert {split: one["metrics"][split]["rsum"] for split in told} == pytest.approx(
            {split: values["rsum"] for split, values in told.items()}
        )


def test_without_a_rule_the_best_on_validation_is_saved(folders, capsys):
    report = called(capsys, *folders)
    reached = {rule: entry["metrics"]["validation"]["rsum"] for rule, entry in report["rules"].items()}
    assert reached[report["chosen"]] == max(value for rule, value in reached.items() if rule != "rank")
    singles = [one["metrics"]["validation"]["rsum"] for one in report["members"]]
    assert reached["subset"] >= max(singles) - 1e-9 and reached["weighted"] >= max(singles) - 1e-9
    assert load_run(report["path"]).training["validation_rsum"] == reached


def test_the_order_of_runs_changes_nothing(folders, capsys):
    one, other = called(capsys, *folders), called(capsys, *folders[::-1], folders[0])
    assert one == other


def test_choices_look_at_validation_only(folders, capsys, monkeypatch):
    """Another test split: other figures for it, the same choices."""
    before = called(capsys, *folders)
    real = combine.load_split

    def shuffled(runs, split):
        data = real(runs, split)
        if split == "test":
            links = np.random.default_rng(0).permutation(data.visual_of_text)
            data = replace(data, visual_of_text=links)
        return data

    monkeypatch.setattr(combine, "load_split", shuffled)
    after = called(capsys, *folders)
    assert after["chosen"] == before["chosen"]
    for rule, entry in after["rules"].items():
        assert entry["weights"] == before["rules"][rule]["weights"]
        assert entry["metrics"]["validation"] == before["rules"][rule]["metrics"]["validation"]
        assert entry["metrics"]["test"]["rsum"] < before["rules"][rule]["metrics"]["test"]["rsum"]


def test_the_table_tells_all_and_where_it_is(folders, capsys):
    out = Path(folders[0]).parent / "mine"
    assert combine.main([*folders, "--rule", "hybrid", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    rows = [line.split()[0] for line in told.split("\n\n")[0].splitlines()[1:]]
    assert rows == ["info_nce", "max_of_hinges", "siglip", "mean", "subset", "*", "weighted", "rank"]
    assert "* hybrid" in told and f"written to {out}" in told and "mAP@R" not in told  # no truth here
    assert load_run(out).rule == "hybrid"
    capsys.readouterr()
    assert combine.main([*folders, str(out), "--rule", "mean"]) == 0  # as by runs/*
    assert "is a combination itself" in capsys.readouterr().err


def test_ranks_are_shown_and_not_saved(folders, capsys):
    report = called(capsys, *folders, "--rule", "rank")
    assert report["path"] is None and report["rules"]["rank"]["weights"] is None
    assert sorted(path.name for path in Path(folders[0]).parent.iterdir()) == [
        "info_nce",
        "max_of_hinges",
        "siglip",
    ]
    with pytest.raises(SystemExit):
        combine.main([*folders, "--rule", "rank", "--out", "x"])
    assert "no weighted sum" in capsys.readouterr().err


def test_what_the_script_refuses(folders, capsys, tmp_path):
    assert combine.main([*folders, "--out", str(tmp_path / "elsewhere")]) == 2
    assert "lies beside its members" in capsys.readouterr().err
    assert combine.main([*folders, "--out", folders[0]]) == 2
    assert "one of the members" in capsys.readouterr().err
    assert combine.main([str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    about = json.loads((Path(folders[1]) / RUN).read_text())
    about["dataset"]["fingerprints"]["validation"] = "else"
    (Path(folders[1]) / RUN).write_text(json.dumps(about))
    assert combine.main(folders) == 2
    assert "different validation splits" in capsys.readouterr().err
    assert combine.main([folders[1]]) == 2
    assert "not the version" in capsys.readouterr().err


@pytest.mark.parametrize("unknown", [0.0, 0.2])
def test_reciprocal_ranks_of_one_model_measure_as_the_model(unknown):
    """Also against a truth, with pairs of unknown truth left out."""
    rng = np.random.default_rng(0)
    relevance = (rng.random((24, 48)) < 0.1).astype(np.float32)
    relevance[np.arange(48) // 2, np.arange(48)] = 1
    relevance[rng.random((24, 48)) < unknown] = np.nan
    truth = Truth(lambda v, t: relevance[np.ix_(v, t)], lambda v, t: relevance[v, t], False, "drawn")
    data = tiny.dataset("test", truth=truth)
    visual, text = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (24, 48))
    expected = evaluate_embeddings(visual, text, data.visual_group, data.text_group, truth)
    found = combine.of_ranks([(visual, text)], data)
    assert {"v2t/true_map_at_r", "t2v/true_map_at_r", "rsum"} < found.keys()
    assert found == pytest.approx({key: expected[key] for key in found})
