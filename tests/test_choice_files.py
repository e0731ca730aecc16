"""Files of SugarCrepe, ARO and Winoground, and evaluate.py on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts import evaluate
from xmr.checkpoints import load_run
from xmr.data import DataFault, load_dataset
from xmr.data.choices import picture, read_choices
from xmr.embedding import embed_texts, embed_visuals, text_states, visual_states
from xmr.scoring import _scores_of_questions

RUN = Path(__file__).parent.parent / "checkpoints" / "info_nce"
FEW = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Questions of each layout on a few pictures of blocks; the wrong caption is that of the next picture."""
    place = tmp_path_factory.mktemp("choices")
    data = load_dataset("blocks", "test")
    own = [data.captions[data.texts_of(n)[0]] for n in range(FEW)]
    other = [data.captions[data.texts_of(n)[1]] for n in range(FEW)]
    for n in range(FEW):
        data.visuals[n].save(place / f"{n}.png")
    sugar = {
        str(n): {"filename": f"{n}.png", "caption": own[n], "negative_caption": own[n - 1]}
        for n in range(FEW)
    }
    plus = {n: one | {"caption2": other[int(n)]} for n, one in sugar.items()}
    box = {"bbox_x": 5, "bbox_y": 0, "bbox_w": 40, "bbox_h": 30}
    aro = [
        {"image_path": f"{n}.png", "true_caption": own[n], "false_caption": own[n - 1], **box}
        for n in range(FEW)
    ]
    wino = [
        {"id": n, "image_0": str(n), "image_1": str(n + 1), "caption_0": own[n], "caption_1": own[n + 1]}
        for n in range(FEW - 1)
    ]
    for name, content in {"sugar": sugar, "plus": plus, "aro": aro}.items():
        (place / f"{name}.json").write_text(json.dumps(content))
    (place / "wino.jsonl").write_text("\n".join(map(json.dumps, wino)) + "\n")
    return place


def test_a_run_is_asked_as_the_benchmarks_do(folder, capsys):
    run = load_run(RUN)
    asked = [f"--choices={folder / name}" for name in ("sugar.json", "plus.json", "aro.json", "wino.jsonl")]
    assert evaluate.main([str(RUN), *asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["runs"][0]["choices"]

    images = [Image.open(folder / f"{n}.png").convert("RGB") for n in range(FEW)]
    cuts = [image.crop((5, 0, 45, 30)) for image in images]
    sugar = json.loads((folder / "plus.json").read_text())
    texts = [one[key] for one in sugar.values() for key in ("caption", "caption2")]
    seen, read = embed_visuals(run, images + cuts), embed_texts(run, texts)

    def score(image, text):
        row = next(n for n, one in enumerate(images + cuts) if one is image)
        return sum(a * b for a, b in zip(seen[row].tolist(), read[texts.index(text)].tolist(), strict=True))

    one = both = part = 0
    for n, image in enumerate(images):
        asks = sugar[str(n)]
        cut = cuts[n]
        wrong = score(image, asks["negative_caption"])
        one += score(image, asks["caption"]) > wrong
        both += min(score(image, asks["caption"]), score(image, asks["caption2"])) > wrong
        part += score(cut, asks["caption"]) > score(cut, asks["negative_caption"])
    text = found = group = 0
    for n in range(FEW - 1):
        s = [[score(images[i], sugar[str(c)]["caption"]) for c in (n, n + 1)] for i in (n, n + 1)]
        by_text, by_image = s[0][0] > s[0][1] and s[1][1] > s[1][0], s[0][0] > s[1][0] and s[1][1] > s[0][1]
        text, found, group = text + by_text, found + by_image, group + (by_text and by_image)
    expected = {
        ("sugar", "caption"): (FEW, one, 1 / 2),
        ("plus", "caption"): (FEW, both, 1 / 3),
        ("aro", "caption"): (FEW, part, 1 / 2),
        ("wino", "text"): (FEW - 1, text, 1 / 4),
        ("wino", "image"): (FEW - 1, found, 1 / 4),
        ("wino", "group"): (FEW - 1, group, 1 / 6),
    }
    assert [(row["file"], row["chosen"]) for row in told] == list(expected)
    for row in told:
        count, hits, chance = expected[row["file"], row["chosen"]]
        assert row["questions"] == count and row["right"] == pytest.approx(100 * hits / count)
        assert row["chance"] == pytest.approx(100 * chance)


def test_the_table_tells_them(folder, capsys):
    assert evaluate.main([str(RUN), "--choices", str(folder / "wino.jsonl")]) == 0
    rows = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert rows[0].split() == ["run", "questions", "of", "choosing", "the", "questions", "right", "chance"]
    assert [row.split()[-4] for row in rows[1:]] == ["text", "image", "group"] and rows[1].startswith(
        "info_nce"
    )


@torch.no_grad()
def test_a_pair_scorer_is_asked_by_its_scores(folder):
    run = load_run(RUN.parent / "info_nce-cross_attention-clips")
    questions = read_choices(folder / "plus.json").questions
    pictures = [picture(question, folder) for question in questions]
    found = _scores_of_questions(run, questions, pictures)
    expected = [
        float(run.matcher().scores(visual_states(run, [image]), text_states(run, [caption]))[0, 0])
        for question, image in zip(questions, pictures, strict=True)
        for caption in question.captions
    ]
    assert run.scores_pairs and found == pytest.approx(expected, abs=2e-3)  # kept in half precision


def test_embeddings_alone_are_not_asked(capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--embeddings", "a.npy", "b.npy", "--dataset", "blocks", "--choices", "x.json"])
    assert "embeddings in a file can't read new captions" in capsys.readouterr().err


ONE = {"filename": "0.png", "caption": "a", "negative_caption": "b"}
FAULTS = {
    "not JSON": ("x.json", '{"0": ', "not JSON"),
    "half a line": ("x.jsonl", '{"image_0": \n', "line 1: not JSON"),
    "a number": ("x.json", "5", "list or an object of questions, found int"),
    "no questions": ("x.json", "{}", "has no questions"),
    "a list in it": ("x.json", "[[1]]", "question 0: must be an object, found list"),
    "no wrong caption": ("x.json", [{"filename": "0.png", "caption": "a"}], "a wrong one .* there are 'filename', 'caption'"),
    "blank": ("x.json", [ONE | {"caption": " "}], "question 0: caption must be words, found ' '"),
    "a list of captions": ("x.json", [ONE, ONE | {"negative_caption": ["b"]}], "question 1: negative_caption must be words"),
    "half a box": ("x.json", [ONE | {"bbox_x": 1}], "must be whole numbers, found"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_file_are_told(tmp_path, fault):
    name, content, words = FAULTS[fault]
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataFault, match=words):
        read_choices(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filename": "none.png"}, "question 0: none.png in .*No such file"),
        ({"filename": "../0.png"}, "leads out of the folder"),
        ({"filename": "broken.jpg"}, "question 0: broken.jpg in"),
        ({"bbox_x": 99, "bbox_y": 0, "bbox_w": 9, "bbox_h": 9}, r"box \(99, 0, 108, 9\) has nothing of 8 × 8 pixels"),
        ({"bbox_x": 2, "bbox_y": 0, "bbox_w": 0, "bbox_h": 9}, "has nothing of"),
    ],
)  # fmt: skip
def test_faults_of_pictures_are_told(tmp_path, change, words):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "0.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "x.json").write_text(json.dumps([ONE | change]))
    (question,) = read_choices(tmp_path / "x.json").questions
    with pytest.raises(DataFault, match=words):
        picture(question, tmp_path)
