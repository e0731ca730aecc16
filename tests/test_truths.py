"""COCO's truths by ids, ECCV Caption and CxC: against loops over ids, and against the package that they come with."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scripts import add, evaluate
from tests.shared_data import shared
from tests.viewed import see
from xmr.core import DIRECTIONS
from xmr.data import DataFault, load_dataset
from xmr.data.dataset import Dataset
from xmr.data.truths import FOLDS, TRUTHS, coco_test, directed, field_truth
from xmr.metrics import Matches, evaluate_matches, rank_matches, rank_matches_of_scores
from xmr.words import percent
from xmr.workspace.measurements import hard_negatives, truth_of, visual_and_text
from xmr.workspace.pages import open_pages
from xmr.workspace.results import BY_FIELD, estimates

COUNT = 20  # pictures
IMAGES = [int(image) for image in np.random.default_rng(7).permutation(1000)[:COUNT] + 5000]
CAPTIONS = [[10 * image + n for n in (1, 3, 4, 7, 9)] for image in IMAGES]
ABSENT = 999_999  # a caption that is told to match, and is none of the split


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path)


def write_files(folder):
    """The package's files for a split of 20 pictures; queries in another order than the pictures."""
    rng = np.random.default_rng(1)
    every = [caption for few in CAPTIONS for caption in few]

    def some(query, own, among, share):
        return [one for one in among if one in own or rng.random() < share]

    own = {caption: [image] for image, few in zip(IMAGES, CAPTIONS, strict=True) for caption in few}
    of = dict(zip(IMAGES, CAPTIONS, strict=True))
    content = {
        "original_caption_to_image": own,
        "original_image_to_caption": of,
        "eccv_image_to_caption": {i: some(i, of[i], every, 0.1) for i in IMAGES[::-3]},
        "eccv_caption_to_image": {c: some(c, own[c], IMAGES, 0.2) for c in every[::-7]},
        "cxc_image_to_caption": {i: some(i, of[i], every, 0.02) for i in IMAGES},
        "cxc_caption_to_image": {c: some(c, own[c], IMAGES, 0.02) for c in every[:-3]},
    }
    content["eccv_image_to_caption"][IMAGES[-1]].append(ABSENT)
    for name, lists in content.items():
        write(folder, name, lists)
    np.save(folder / "coco_test_ids.npy", np.array(every))
    return folder


def write(folder, name, lists):
    (folder / f"{name}.json").write_text(json.dumps({str(key): own for key, own in lists.items()}))


def lists_of(folder, name):
    return {int(key): own for key, own in json.loads((folder / f"{name}.json").read_text()).items()}


def dataset(**changes):
    """The split in an order of its own, captions among each other, every third picture with a sixth caption."""
    rng = np.random.default_rng(3)
    order = rng.permutation(COUNT)
    links = np.array([v for v in range(COUNT) for _ in range(5 + (order[v] % 3 == 0))])
    rng.shuffle(links)
    parts = {
        "name": "photos",
        "split": "test",
        "captions": [f"caption {n}" for n in range(len(links))],
        "visual_of_text": links,
        "visual_ids": [f"val2014/COCO_val2014_{IMAGES[place]:012}.jpg" for place in order],
        "fingerprint": "0",
        "visual_features": np.ones((COUNT, 2), np.float32),
    }
    return Dataset(**parts | changes)


def embeddings(data, seed=0):
    rng = np.random.default_rng(seed)
    visual = rng.normal(size=(len(data.visual_ids), 6)).astype(np.float32)
    return visual, (visual[data.visual_of_text] + rng.normal(size=(len(data.captions), 6))).astype(np.float32)


def by_ids(data, scores):
    """{(picture's id, caption's id): score} of the captions that have an id."""
    found = {}
    for row, name in enumerate(data.visual_ids):
        image = int(name[-16:-4])
        texts = [text for text, visual in enumerate(data.visual_of_text) if visual == row][:5]
        for caption, text in zip(CAPTIONS[IMAGES.index(image)], texts, strict=True):
            for other, other_name in enumerate(data.visual_ids):
                found[int(other_name[-16:-4]), caption] = scores[other, text]
    return found


def slow(lists, ranked):
    """Mean recall at 1, 5 and 10, R-precision and mAP@R of {query: [results]}, as the papers define them."""
    recalls, precisions, maps = [], [], []
    for query, own in lists.items():
        results, count = ranked[query], len(own)
        recalls.append([float(any(one in own for one in results[:k])) for k in (1, 5, 10)])
        hits = [place < len(results) and results[place] in own for place in range(count)]
        precisions.append(sum(hits) / count)
        maps.append(sum(sum(hits[: n + 1]) / (n + 1) for n in range(count) if hits[n]) / count)
    return [*np.mean(recalls, 0), np.mean(precisions), np.mean(maps)]


def slow_metrics(folder, name, score):
    """The figures of a truth, from its files and the score of each pair of ids."""
    files = "original" if name.startswith("coco") else name
    v2t, t2v = (lists_of(folder, f"{files}_{way}") for way in ("image_to_caption", "caption_to_image"))
    size = COUNT // FOLDS if name == "coco_1k" else COUNT
    parts = []
    for start in range(0, COUNT, size):
        images = IMAGES[start : start + size]
        captions = [caption for few in CAPTIONS[start : start + size] for caption in few]
        texts = {i: sorted(captions, key=lambda c, i=i: -score[i, c]) for i in images}
        pictures = {c: sorted(images, key=lambda i, c=c: -score[i, c]) for c in captions}
        few = [{q: own for q, own in lists.items() if q in ranked} for lists, ranked in ((v2t, texts), (t2v, pictures))]  # fmt: skip
        parts.append([slow(few[0], texts), slow(few[1], pictures)])
    names = ("recall_at_1", "recall_at_5", "recall_at_10", "r_precision", "map_at_r")
    means = np.mean(parts, 0)
    return {f"{d}/{n}": means[i, j] for i, d in enumerate(DIRECTIONS) for j, n in enumerate(names)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TRUTHS)
def test_every_truth_is_the_loop_over_its_ids(folder, name, seed):
    data = dataset()
    visual, text = embeddings(data, seed)
    truth = field_truth(name, data, str(folder))
    expected = slow_metrics(folder, name, by_ids(data, visual @ text.T))
    for found in (
        evaluate_matches(visual, text, truth.galleries),
        evaluate_matches(visual, text, truth.galleries, visual.astype(float) @ text.T.astype(float)),
    ):
        assert found.pop("rsum") == pytest.approx(100 * sum(v for k, v in expected.items() if "recall" in k))
        assert found == pytest.approx(expected, abs=1e-12)


def test_what_takes_part_is_told(folder):
    data = dataset()
    extra = len(data.captions) - 5 * COUNT
    eccv = field_truth("eccv", data, str(folder)).words
    assert eccv.startswith("ECCV Caption: 7 pictures and 15 captions ask, among 20 pictures and 100 captions")
    assert f"{extra} captions beyond the fifth of a picture left out; 1 matches are none of these" in eccv
    assert "mean of 5 folds" in field_truth("coco_1k", data, str(folder)).words


def test_a_picture_is_known_by_its_column_too(folder):
    plain = dataset()
    ids = [int(name[-16:-4]) for name in plain.visual_ids]
    named = replace(plain, visual_ids=[f"{n}.jpg" for n in range(COUNT)])
    sides = embeddings(plain)
    for column in ("cocoid", "image_id"):
        found = field_truth("eccv", replace(named, columns={column: ids}), str(folder))
        expected = field_truth("eccv", plain, str(folder))
        assert evaluate_matches(*sides, found.galleries) == evaluate_matches(*sides, expected.galleries)
    with pytest.raises(DataFault, match=r"0 of its 20 pictures are among the 20, by 'cocoid' or 'image_id'"):
        field_truth("eccv", named, str(folder))


def ids(folder, change):
    np.save(folder / "coco_test_ids.npy", change(np.load(folder / "coco_test_ids.npy")))


def text(name, content):
    return lambda folder: (folder / f"{name}.json").write_text(content)


FAULTS = {
    "no file of ids": (lambda folder: (folder / "coco_test_ids.npy").unlink(), "no coco_test_ids.npy in it"),
    "ids that are no numbers": (lambda folder: ids(folder, lambda a: a.astype(float)), "whole numbers"),
    "four of a picture": (lambda folder: ids(folder, lambda a: a[:-1]), r"5 for each picture, found \(99,\)"),
    "an id twice": (lambda folder: ids(folder, lambda a: np.r_[a[:-1], a[0]]), "there twice"),
    "captions mixed": (lambda folder: ids(folder, lambda a: a[::-1][np.argsort(a % 7)]), "follow one another"),
    "a caption without picture": (
        lambda folder: ids(folder, lambda a: np.r_[a[:-1], ABSENT]), f"caption {ABSENT} of .* found None",
    ),
    "no file of matches": (
        lambda folder: (folder / "eccv_caption_to_image.json").unlink(), "no .*eccv_caption_to_image.json; .*pip install",
    ),
    "half a file": (text("eccv_image_to_caption", '{"5": [1,'), "not JSON"),
    "a list": (text("eccv_image_to_caption", "[1, 2]"), "object of lists of ids, found list"),
    "a query twice": (text("eccv_image_to_caption", '{"5": [1], "5": [2]}'), "'5'"),
    "nothing asked": (text("eccv_image_to_caption", "{}"), "has no queries"),
    "a name for an id": (text("eccv_image_to_caption", '{"a.jpg": [1]}'), "'a.jpg': must be an id with a list"),
    "names in a list": (text("eccv_image_to_caption", '{"5": ["a"]}'), r"'5': must be .*found \['a'\]"),
    "yes for an id": (text("eccv_image_to_caption", '{"5": [true]}'), "must be an id"),
    "no match": (text("eccv_image_to_caption", f'{{"{IMAGES[0]}": []}}'), f"nothing matches {IMAGES[0]}"),
    "a query of another split": (text("eccv_image_to_caption", '{"5": [1]}'), "5 is none of the 20"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_files_are_told(folder, fault):
    break_it, words = FAULTS[fault]
    break_it(folder)
    with pytest.raises(DataFault, match=words):
        field_truth("eccv", dataset(), str(folder))


def test_other_data_are_refused(folder):
    data = dataset()
    with pytest.raises(DataFault, match="19 of its 19 pictures are among the 20"):
        field_truth("eccv", data.some(np.arange(1, COUNT)), str(folder))
    some = np.flatnonzero(np.arange(len(data.captions)) != data.texts_of(4)[0])
    short = replace(data, captions=[data.captions[i] for i in some], visual_of_text=data.visual_of_text[some])
    if len(short.texts_of(4)) < 5:
        with pytest.raises(DataFault, match=rf"{data.visual_ids[4]} has 4 captions, and truths know 5"):
            field_truth("eccv", short, str(folder))
    with pytest.raises(DataFault, match=r"unknown truth 'ecv'; did you mean 'eccv'"):
        field_truth("ecv", data, str(folder))
    with pytest.raises(DataFault, match="19 rows for the 20 pictures"):
        coco_test(np.ones((19, 2)), str(folder))


def test_a_truth_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("xmr.data.truths.find_spec", lambda name: None)
    with pytest.raises(DataFault, match="pip install eccv_caption, or name the folder"):
        coco_test(np.ones((5000, 2)))


def test_matches_that_the_gallery_lacks_count_and_are_never_found():
    queries, gallery = np.eye(3, dtype=np.float32)[:2], np.eye(3, dtype=np.float32)
    matches = Matches(np.array([1, 0]), np.array([-1, 1, -1, 2]), np.array([0, 3, 4]))
    for ranking in (
        rank_matches(queries, gallery, matches),
        rank_matches_of_scores(queries @ gallery.T, matches),
    ):
        assert ranking.ranks.tolist() == [1, 4, 5, 3] and ranking.offsets.tolist() == [0, 3, 4]


@pytest.mark.parametrize("offsets", [[0, 1], [0, 0, 2], [1, 1, 2], [0, 1, 3]])
def test_matches_that_do_not_fit_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets must rise from 0 to 2 matches"):
        Matches(np.arange(2), np.arange(2), np.array(offsets))


def test_equal_embeddings_are_the_worst_ranking(folder):
    data = dataset()
    visual, text = np.ones((COUNT, 300), np.float32) / 17, np.ones((len(data.captions), 300), np.float32) / 17
    found = evaluate_matches(visual, text, field_truth("eccv", data, str(folder)).galleries)
    assert found["v2t/recall_at_10"] == found["t2v/map_at_r"] == 0


def test_all_figures_are_those_of_the_package():
    """All that `eccv_caption` tells, of 5,000 × 25,000 random pairs; more of its results than a figure looks at are slow."""
    package = pytest.importorskip("eccv_caption")
    peer = package.Metrics()
    data = coco_test(np.ones((5000, 2)))
    rng = np.random.default_rng(0)
    visual = rng.normal(size=(5000, 64)).astype(np.float32)
    texts = (visual.repeat(5, 0) + 3 * rng.normal(size=(25000, 64))).astype(np.float32)
    scores, images = visual @ texts.T, np.array([int(name) for name in data.visual_ids])

    def first(matrix, queries, gallery):
        order = torch.as_tensor(matrix).topk(150).indices.numpy()
        return dict(zip(queries.tolist(), gallery[order].tolist(), strict=True))

    ranked = {"i2t": first(scores, images, peer.coco_ids), "t2i": first(scores.T, peer.coco_ids, images)}
    expected = peer.compute_all_metrics(
        ranked["i2t"], ranked["t2i"], ("coco_1k_recalls", "coco_5k_recalls", "cxc_recalls")
    )
    expected |= peer.eccv_metrics(ranked, "all")
    told = {"eccv": {"recall_at_1": "eccv_r1", "map_at_r": "eccv_map_at_r", "r_precision": "eccv_rprecision"}}
    told |= {
        name: {f"recall_at_{k}": f"{name}_r{k}" for k in (1, 5, 10)} for name in ("coco_5k", "coco_1k", "cxc")
    }
    for name, figures in told.items():
        found = evaluate_matches(visual, texts, field_truth(name, data).galleries)
        for metric, key in figures.items():
            for direction, way in zip(DIRECTIONS, ("i2t", "t2i"), strict=True):
                assert found[f"{direction}/{metric}"] == pytest.approx(expected[key][way], abs=1e-6), (
                    key,
                    way,
                )


def test_the_shared_files_are_read():
    folder = str(shared("coco_truth"))
    data = coco_test(np.ones((5000, 2)), folder)
    assert (len(data.captions), data.visual_ids[0]) == (25_000, "391895")
    words = {name: field_truth(name, data, folder).words for name in TRUTHS}
    assert words["eccv"] == (
        "ECCV Caption: 1,261 pictures and 1,332 captions ask, among 5,000 pictures and 25,000 captions; "
        "2 matches are none of these and can't be found"
    )
    assert (
        words["cxc"]
        == "CxC: 5,000 pictures and 24,972 captions ask, among 5,000 pictures and 25,000 captions"
    )


# ---- evaluate.py -------------------------------------------------------------------------------------------


def saved(folder, visual, text):
    paths = str(folder / "img.npy"), str(folder / "txt.npy")
    for path, array in zip(paths, (visual, text), strict=True):
        np.save(path, array)
    return ["--embeddings", *paths]


def test_embeddings_are_measured_by_truths_without_any_data(folder, capsys):
    """COCO's test split needs ids alone, in the order of their file."""
    data = coco_test(np.ones((COUNT, 2)), str(folder))
    visual, text = embeddings(data)
    asked = [*saved(folder, visual, text), "--dataset", "coco", "--truth-files", str(folder)]
    asked += [f"--truth={name}" for name in TRUTHS]
    assert evaluate.main([*asked, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert (told["name"], told["dataset"], told["visuals"], told["texts"]) == (
        "img.npy txt.npy",
        "coco",
        20,
        100,
    )
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (visual, text)]
    scores = unit[0] @ unit[1].T
    score = {
        (i, c): scores[v, t] for v, i in enumerate(IMAGES) for t, c in enumerate(np.ravel(CAPTIONS).tolist())
    }
    for name in TRUTHS:
        found = {key: value for key, value in told["truths"][name]["metrics"].items() if key != "rsum"}
        assert found == pytest.approx({key: 100 * v for key, v in slow_metrics(folder, name, score).items()})
    shared_keys = [f"{way}/recall_at_{k}" for way in DIRECTIONS for k in (1, 5, 10)]
    annotated = told["truths"]["coco_5k"]["metrics"]
    assert [annotated[key] for key in shared_keys] == pytest.approx(
        [told["metrics"][key] for key in shared_keys]
    )
    assert evaluate.main(asked) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert {"R-prec", "mAP@R"} <= set(head.split())
    for place, (name, title) in enumerate(TRUTHS.items(), start=1):
        assert rows[2 * place].split()[: len(title.split())] == title.split()
        cells = rows[2 * place].split("v2t")[1].split()
        assert cells[0] == f"{told['truths'][name]['metrics']['v2t/recall_at_1']:.1f}"
        assert sum(row.startswith(f"{title}: ") for row in rows) == 1


def write_photos(place, data, visual):
    """The data as a folder of features with 20 other pictures to learn from; rows of its test split's visuals and captions."""
    names = [*data.visual_ids, *(f"train2014/{n}.jpg" for n in range(COUNT))]
    lines = [f"{data.visual_ids[v]},caption {n},test" for n, v in enumerate(data.visual_of_text)]
    lines += [f"{name},a picture {n},{'val' if n % 2 else 'train'}" for n, name in enumerate(names[COUNT:])]
    place.mkdir()
    np.savez(
        place / "features.npz", names=np.array(names), features=np.concatenate([visual, visual[::-1] + 1])
    )
    (place / "captions.csv").write_text("image,caption,split\n" + "\n".join(lines) + "\n")
    read = load_dataset(place, "test", strict=False)
    rows = [data.visual_ids.index(name) for name in read.visual_ids]
    return rows, [int(caption.split()[1]) for caption in read.captions]


def test_truths_are_found_by_ids_in_any_data(folder, tmp_path, capsys):
    """A folder of features in another order, whose pictures are named as COCO names them."""
    data, place = dataset(), tmp_path / "photos"
    visual, text = embeddings(data)
    rows, order = write_photos(place, data, visual)
    asked = [*saved(folder, visual[rows], text[order]), "--dataset", str(place), "--truth-files", str(folder)]
    assert evaluate.main([*asked, "--truth", "eccv", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (visual, text)]
    expected = slow_metrics(folder, "eccv", by_ids(data, unit[0] @ unit[1].T))
    found = {key: value for key, value in told["truths"]["eccv"]["metrics"].items() if key != "rsum"}
    assert found == pytest.approx({key: 100 * value for key, value in expected.items()})


# ---- the app -----------------------------------------------------------------------------------------------


def told(folder, data, name, direction):
    """{(visual, text): whether the truth tells them to match} of the queries that it asks, by loops over its files."""
    lists = lists_of(folder, f"{name}_{'image_to_caption' if direction == 'v2t' else 'caption_to_image'}")
    found = {}
    for visual, visual_id in enumerate(data.visual_ids):
        for other in range(len(data.visual_ids)):
            image, of_text = int(visual_id[-16:-4]), int(data.visual_ids[other][-16:-4])
            for text, caption in zip(data.texts_of(other)[:5], CAPTIONS[IMAGES.index(of_text)], strict=True):
                query, item = (image, caption) if direction == "v2t" else (caption, image)
                if query in lists:
                    found[visual, int(text)] = item in lists[query]
    return found


@pytest.mark.parametrize("name", ["eccv", "cxc"])
def test_a_directed_truth_knows_the_pairs_of_queries_that_ask(folder, name):
    data = dataset()
    truth = directed(field_truth(name, data, str(folder)), data)
    half = np.arange(0, COUNT, 2)
    texts = np.flatnonzero(np.isin(data.visual_of_text, half))
    for direction in DIRECTIONS:
        expected = np.full((COUNT, len(data.captions)), np.nan)
        for pair, match in told(folder, data, name, direction).items():
            expected[pair] = match
        asked = truth.asked(direction)
        np.testing.assert_equal(asked.block(np.arange(COUNT), np.arange(len(data.captions))), expected)
        np.testing.assert_equal(asked.pairs(np.array([7, 3]), np.array([5, 90])), expected[[7, 3], [5, 90]])
        some = replace(data, truth=truth).some(half).truth.asked(direction)
        np.testing.assert_equal(
            some.block(np.arange(len(half)), np.arange(len(texts))), expected[half][:, texts]
        )
    assert not truth.complete and "what is not told to match is taken for no match" in truth.source


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder of data with the truths' files beside, and a workspace of two runs on it; what evaluate.py tells of them."""
    place, data = tmp_path_factory.mktemp("app"), dataset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XMR_CACHE", str(place / "cache"))
        rows, order = write_photos(place / "photos", data, embeddings(data)[0])
        for seed, name in enumerate("ab"):
            visual, text = embeddings(data, seed)
            files = saved(place, visual[rows], text[order])[1:]
            asked = ["--dataset", str(place / "photos"), "--embeddings", f"{name}={','.join(files)}"]
            assert add.main([*asked, "--out", str(place / "runs")]) == 0
        assert "truth" not in see(open_pages(place / "runs")[0].workspace, tab="results").words(
            "results-facts"
        )
        (place / "photos" / "eccv_caption").mkdir()
        write_files(place / "photos" / "eccv_caption")
        (page,) = open_pages(place / "runs")
        yield page.workspace, place


def test_results_are_those_of_evaluate(shown, capsys):
    workspace, place = shown
    asked = [
        str(place / "runs"),
        "--truth-files",
        str(place / "photos"),
        "--truth=eccv",
        "--truth=cxc",
        "--json",
    ]
    assert evaluate.main(asked) == 0
    runs = {run["name"]: run["truths"] for run in json.loads(capsys.readouterr().out)["runs"]}
    keys = {"R-precision": "r_precision", "mAP@R": "map_at_r"} | {
        f"R@{k}": f"recall_at_{k}" for k in (1, 5, 10)
    }
    assert [*BY_FIELD] == ["ECCV mAP@R", "ECCV R-precision", "ECCV R@1", "CxC R@1", "CxC R@5", "CxC R@10"]
    for direction in DIRECTIONS:
        seen = see(workspace, tab="results", direction=direction, runs=["a", "b"], baseline="a", ways="one")
        table = seen.value("results-first")
        titles = [column["text"] for column in table["columns"]][1:]
        assert titles == ["R@1", "R@5", "R@10", *BY_FIELD, "median rank", "rsum"]
        for row in table["rows"]:
            for title, (name, figure) in BY_FIELD.items():
                value = runs[row["name"]][name]["metrics"][f"{direction}/{keys[figure]}"]
                assert 100 * estimates(workspace, row["name"], "test", direction)[
                    title
                ].mean == pytest.approx(value)
                assert row["cells"][titles.index(title)]["text"] == f"{value:.1f}"
        assert "ECCV Caption: 7 pictures and 15 captions ask, among 20 pictures" in table["note"]
        assert set(BY_FIELD) <= {c["text"] for c in seen.value("results-first-differences")["columns"]}
        (chart,) = (see(workspace, tab="results", measure="CxC R@5", runs=["a", "b"])["results-forest"],)
        assert "CxC R@5" in chart["value"]["words"]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", ["eccv", "cxc"])
def test_errors_are_counted_by_a_truth_that_some_queries_have(shown, direction, name):
    workspace, place = shown
    data = workspace.dataset()
    known = told(place / "photos" / "eccv_caption", data, name, direction)
    wrong, asking = 0, {pair[direction == "t2v"] for pair in known}
    for query in asking:
        own = {pair: match for pair, match in known.items() if pair[direction == "t2v"] == query}
        best = {}
        for run in "ab":
            visual, text = (side.astype(float) for side in workspace.embeddings(run))
            best[run] = own[max(own, key=lambda pair: visual[pair[0]] @ text[pair[1]])]
        wrong += not any(best.values())
    seen = see(workspace, tab="errors", a="a", b="b", direction=direction, counted=name, bucket="all wrong")
    offered = {value: label for label, value in seen["errors-bucket"]["options"]}
    total = len(data.captions if direction == "t2v" else data.visual_ids)
    assert offered["all wrong"] == f"all wrong · {wrong}"
    assert ("no match" in offered) == (len(asking) < total)
    title = TRUTHS[name]
    assert f"a match by {title}" in seen.words("errors-buckets")
    assert seen["errors-listed"]["text"].startswith(f"Listed: all wrong by {title},") or not wrong
    if len(asking) < total:
        assert f"{title} knows matches of {len(asking)} of the {total} queries" in seen.words(
            "errors-buckets"
        )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_selectors_are_measured_by_the_truth_of_the_direction_that_asks(shown, direction):
    workspace, place = shown
    found = hard_negatives(workspace, "a", "test", direction)
    known = told(place / "photos" / "eccv_caption", workspace.dataset(), "eccv", direction)
    pairs = list(zip(*(side.tolist() for side in visual_and_text(found, direction)), strict=True))
    np.testing.assert_equal(found.truth, [known.get(pair, np.nan) for pair in pairs])
    assert {0.0, 1.0} <= {*found.truth.tolist()} and np.isnan(found.truth).any()
    seen = see(workspace, tab="false_negatives", fn_run="a", direction=direction, answers="shown")
    share = sum(known.get(pair, False) for pair in pairs) / sum(pair in known for pair in pairs)
    every = next(row for row in seen.value("fn-table")["rows"] if row["name"] == "all of them")
    assert every["cells"][1] == percent(share)
    assert "Truth: ECCV Caption: 7 pictures and 15 captions ask" in seen.words("fn-chart")


def test_a_pair_without_a_direction_matches_where_either_side_says_so(shown):
    workspace, place = shown
    sides = [
        told(place / "photos" / "eccv_caption", workspace.dataset(), "eccv", direction)
        for direction in DIRECTIONS
    ]
    differ = [pair for pair in sides[0] if pair in sides[1] and sides[0][pair] != sides[1][pair]]
    alone = [pair for pair in sides[1] if pair not in sides[0] and sides[1][pair]]
    assert differ and alone
    assert all(truth_of(workspace, "test", *pair) == 1 for pair in [*differ, *alone])


def test_files_that_do_not_fit_are_told_and_other_data_go_without(shown, tmp_path):
    workspace, place = shown
    (tmp_path / "truths").mkdir()
    write_files(tmp_path / "truths")
    for break_it, words in (
        (
            lambda folder: (folder / "cxc_image_to_caption.json").unlink(),
            "truths/cxc_image_to_caption.json; the",
        ),
        (lambda folder: (folder / "coco_test_ids.npy").unlink(), "no coco_test_ids.npy in it"),
    ):
        break_it(tmp_path / "truths")
        (page,) = open_pages(place / "runs", truth_files=str(tmp_path / "truths"))
        seen = see(page.workspace, tab="results", runs=["a", "b"])
        items = [text for _, text in seen["results-warnings"]["items"]]
        assert any(words in text and str(tmp_path) not in text for text in items), items
        assert not {*BY_FIELD} & {column["text"] for column in seen.value("results-first")["columns"]}
