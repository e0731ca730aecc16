"""Visual → visual: queries and gallery are pictures of one folder, linked by their concept."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.shared_data import shared
from xmr.data import DataFault, load_dataset

SIDES = {"query": "style=line", "gallery": "style=photo"}


def made(root, rows, split="test"):
    """A folder with a picture for each row, of the colour of its place."""
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    for index, row in enumerate(rows):
        Image.new("RGB", (6, 4), (index, 100, 50)).save(folder / row["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def row(name, concept, style, **columns):
    captions = [f"name of {name}", "another"]
    return {"file_name": f"{name}.png", "captions": captions, "concept": concept, "style": style} | columns


ROWS = [
    row("a", "sun", "line"),
    row("b", "moon", "photo"),
    row("c", "sun", "photo"),
    row("d", "moon", "line"),
    row("e", "sun", "line"),
    row("f", "moon", "photo"),
    row("g", "star", "line"),  # nothing to find
    row("h", "tree", "photo"),  # nobody to find it
    row("i", "sun", "paint"),
    row("j", "", "line"),  # blank concepts equal no other
    row("k", "", "photo"),
]


def fault(root, split="test", **options):
    with pytest.raises(DataFault) as caught:
        load_dataset(root, split, **options)
    return str(caught.value)


def test_pictures_find_those_of_their_concept(tmp_path):
    dataset = load_dataset(made(tmp_path, ROWS), **SIDES)
    assert dataset.visual_ids == ["test/a.png", "test/d.png", "test/e.png"]
    assert dataset.captions == ["name of b", "name of c", "name of f"]
    assert [image.getpixel((0, 0))[0] for image in dataset.visuals] == [0, 3, 4]
    assert [image.getpixel((0, 0))[0] for image in dataset.gallery_visuals] == [1, 2, 5]
    queries, targets = ["sun", "moon", "sun"], ["moon", "sun", "moon"]
    assert [queries[visual] for visual in dataset.visual_of_text] == targets
    positives = dataset.visual_group[:, None] == dataset.text_group[None, :]
    np.testing.assert_array_equal(positives, np.equal.outer(np.array(queries), np.array(targets)))
    assert dataset.columns == {"concept": queries, "style": ["line"] * 3}
    assert dataset.kind == "image"
    assert dataset.truth is None
    assert dataset.about["visual_to_visual"] == "style=line → style=photo"
    assert (dataset.about["queries_left_out"], dataset.about["gallery_left_out"]) == (2, 2)
    assert dataset.faults == {}


def test_sides_may_come_of_different_columns_and_of_lists(tmp_path):
    rows = [
        row("a", "x", "line", view=0, tags=["old", "red"]),
        row("b", "x", "line", view=1, tags=["new"]),
        row("c", "y", "line", view=0, tags=["red"]),
        row("d", "y", "line", view=1, tags=None),
    ]
    made(tmp_path, rows)
    assert load_dataset(tmp_path, query="view=0", gallery="view=1").visual_ids == ["test/a.png", "test/c.png"]
    dataset = load_dataset(tmp_path, query=" tags = new ", gallery="tags=red")
    assert (dataset.visual_ids, dataset.captions) == (["test/b.png"], ["name of a"])


def test_base_concepts_are_known_matches_across_the_sides(tmp_path):
    base = {"sun": "sky", "moon": "sky", "tree": "ground"}
    rows = [
        row(f"{style}{concept}", concept, style, base_concept=base[concept])
        for concept in base
        for style in ("line", "photo")
    ]
    truth = load_dataset(made(tmp_path, rows), **SIDES).truth
    every = np.arange(3)
    same = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(truth.block(every, every), np.where(same == 1, 1, np.nan))
    np.testing.assert_array_equal(truth.pairs(every, every[::-1]), [np.nan, 1, np.nan])


def test_concepts_stay_together_in_made_splits(tmp_path):
    rows = [row(f"{style}{i}", f"c{i}", style) for i in range(40) for style in ("line", "photo")]
    made(tmp_path, rows, ".")
    found = [load_dataset(tmp_path, split, **SIDES) for split in ("train", "validation", "test")]
    assert sum(len(dataset.visual_ids) for dataset in found) == 40
    for dataset in found:
        assert len(dataset.captions) == len(dataset.visual_ids)
        assert dataset.about["queries_left_out"] == dataset.about["gallery_left_out"] == 0


def test_faults_of_pictures_are_counted_on_both_sides_only(tmp_path):
    made(tmp_path, ROWS)
    for name in ("a", "f", "i"):  # a query, a gallery picture, and one on neither side
        (tmp_path / f"test/{name}.png").unlink()
    with pytest.warns(
        UserWarning, match=r"skipped 2 missing pictures \(first: .*line 1: 'a.png' is miss"
    ) as warned:
        dataset = load_dataset(tmp_path, **SIDES)
    assert warned[0].filename == __file__
    assert dataset.faults == {"missing pictures": 2}
    assert dataset.visual_ids == ["test/d.png", "test/e.png"]
    assert dataset.captions == ["name of b", "name of c"]
    assert "line 1: 'a.png' is missing" in fault(tmp_path, strict=True, **SIDES)
    for name in ("d", "e", "g", "j"):
        (tmp_path / f"test/{name}.png").unlink()
    assert "the test split is empty, for all of it was skipped: 6 missing pictures" in fault(
        tmp_path, **SIDES
    )


@pytest.mark.parametrize(
    ("query", "gallery", "said"),
    [
        ("stile=line", "style=photo", "query='stile=line': unknown column 'stile'; did you mean 'style'?"),
        (
            "style=line",
            "style=foto",
            "gallery='style=foto': unknown value of style 'foto'; did you mean 'photo'?",
        ),
        ("style=line", "", "gallery='': must be \"column=value\", and both query and gallery are needed"),
        ("", "style=line", "query='': must be \"column=value\""),
        ("line", "style=photo", "query='line': must be"),
        ("style=", "style=photo", "query='style=': must be"),
        (
            "style=line",
            "concept=sun",
            "'test/a.png' is among the queries (style=line) and in the gallery (concept",
        ),
        (
            "concept=star",
            "style=paint",
            "none of the 1 pictures of concept=star has the concept of one of the 1 of",
        ),
    ],
)
def test_wrong_sides_are_errors(tmp_path, query, gallery, said):
    assert said in fault(made(tmp_path, ROWS), query=query, gallery=gallery)


def test_without_concepts_there_is_nothing_to_find(tmp_path):
    rows = [{name: value for name, value in row.items() if name != "concept"} for row in ROWS]
    assert "no column 'concept', so nobody knows" in fault(made(tmp_path, rows), **SIDES)


def test_the_fingerprint_follows_both_sides(tmp_path):
    made(tmp_path, ROWS)
    found = [
        load_dataset(tmp_path).fingerprint,
        load_dataset(tmp_path, **SIDES).fingerprint,
        load_dataset(tmp_path, query=SIDES["gallery"], gallery=SIDES["query"]).fingerprint,
    ]
    for name in ("b", "a"):  # of the gallery, then of the queries
        Image.new("RGB", (6, 4), "white").save(tmp_path / f"test/{name}.png")
        found.append(load_dataset(tmp_path, **SIDES).fingerprint)
    assert len(set(found)) == 5
    Image.new("RGB", (6, 4), "white").save(tmp_path / "test/i.png")
    assert load_dataset(tmp_path, **SIDES).fingerprint == found[-1]


def test_emoji_of_one_style_find_those_of_another():
    dataset = load_dataset(shared("emoji"), "test", query="style=openmoji", gallery="style=noto")
    assert (len(dataset.visual_ids), len(dataset.captions)) == (396, 396)
    assert dataset.about["queries_left_out"] == 45
    assert set(dataset.columns["style"]) == {"openmoji"}
    stems = [name.rsplit("/", 1)[1] for name in dataset.visual_ids]  # the code point, in either style
    assert [stems[visual] for visual in dataset.visual_of_text] == [
        name.rsplit("/", 1)[1] for name in dataset.gallery_visuals.names
    ]
    assert all("/noto/" in name for name in dataset.gallery_visuals.names)
    block = dataset.truth.block(np.arange(396), np.arange(396))
    assert (block == 1).sum() > 396  # skin tones
