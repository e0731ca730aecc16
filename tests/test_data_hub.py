"""Data on the Hub, served from this machine as the Hub serves it, and what is told without a network."""

import pytest

from tests.test_data_arrow import check_pairs, fault, files_per_split, parquet, rows_of
from tests.test_data_coco import put
from tests.test_data_videos import film
from xmr.data import DataFault, load_dataset
from xmr.data.hub import PARQUET
from xmr.data.sources import is_there, kind_of, pinned


@pytest.fixture
def served(hub):
    """A Hub of this machine, and the folder of its data sets."""
    return hub, hub.root / "dataset"


def test_a_repository_is_fetched_once_and_read_as_it_lies(served):
    at, root = served
    files_per_split(root / "me/pics/main")
    assert kind_of("hf://me/pics") == "arrow"
    data = load_dataset("hf://me/pics", "test")
    assert (data.name, data.about["address"]) == ("pics", f"hf://me/pics@{at.commit('dataset', 'me/pics')}")
    assert data.about["licence"] == "mit"
    check_pairs(data)
    local = load_dataset(root / "me/pics/main", "test")
    assert (data.fingerprint, data.visual_ids) == (local.fingerprint, local.visual_ids)
    assert pinned("hf://me/pics") == data.about["address"]
    assert pinned("blocks") == "blocks" and is_there("hf://me/pics")
    at.close()
    at.asked.clear()
    again = load_dataset(data.about["address"], "train")  # what is pinned and here needs no network
    assert len(again.visual_ids) == 9 and not at.asked
    assert len(load_dataset("hf://me/pics", "validation").visual_ids) == 2


def test_revisions_and_configurations_are_followed(served):
    at, root = served
    parquet(root / "me/pics/main/big/test-0.parquet", rows_of(range(5)))
    parquet(root / "me/pics/main/small/test-0.parquet", rows_of(range(2)))
    parquet(root / "me/pics/v1/small/test-0.parquet", rows_of(range(3)))
    assert len(load_dataset("hf://me/pics:big").visual_ids) == 5
    assert len(load_dataset("hf://me/pics:small").visual_ids) == 2
    assert len(load_dataset("hf://me/pics@v1:small").visual_ids) == 3
    assert "no folder 'tiny' in it (there are: " in fault("hf://me/pics:tiny")


def test_what_only_a_script_could_make_comes_from_the_branch_of_parquet(served):
    at, root = served
    (root / "me/script/main").mkdir(parents=True)
    (root / "me/script/main/script.py").write_text("raise SystemExit('run')")
    parquet(root / "me/script/refs_convert_parquet/default/test/0000.parquet", rows_of(range(4)))
    data = load_dataset("hf://me/script")
    assert len(data.visual_ids) == 4
    assert data.about["address"] == f"hf://me/script@{at.commit('dataset', 'me/script', PARQUET)}"


def test_a_preset_has_its_files_and_parameters(served, tmp_path):
    at, root = served
    repository = root / "friedrichor/MSR-VTT/main"
    for name, numbers in (("train_9k", range(4)), ("train_7k", range(2)), ("test_1k", (5, 6))):
        rows = [
            {"video_id": f"video{n}", "video": f"video{n}.mp4", "caption": [f"{n}/0", f"{n}/1"]}
            for n in numbers
        ]
        put(repository / f"msrvtt_{name}.json", rows)
    for n in range(7):
        film(tmp_path / "videos" / f"video{n}.mp4", 6)
    data = load_dataset("msrvtt", "test", root=str(tmp_path / "videos"))
    assert (data.name, data.about["address"]) == (
        "msrvtt",
        f"msrvtt@{at.commit('dataset', 'friedrichor/MSR-VTT')}",
    )
    assert data.captions == ["5/0", "5/1", "6/0", "6/1"]
    assert pinned("msrvtt") == f"msrvtt@{at.commit('dataset', 'friedrichor/MSR-VTT')}"
    assert "missing pictures" in (message := fault("msrvtt")) or "missing videos" in message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hf://me/nothing", "me/nothing: no such data set on the Hub, or a private one"),
        ("hf://me/pics@v1", "me/pics@v1: there is no such revision of the data set"),
        ("hf://pics", "'hf://pics' is no address on the Hub; write hf://ORG/NAME"),
        ("hf://me/pics/../../etc", "is no address on the Hub"),
    ],
)
def test_what_the_hub_does_not_have_is_told(served, source, said):
    at, root = served
    files_per_split(root / "me/pics/main")
    assert said in fault(source)


def test_without_a_network_a_sentence_tells_what_to_do(served):
    at, _ = served
    at.close()
    for source in ("hf://me/pics", "flickr30k"):
        message = fault(source)
        assert "is not on this machine, and the Hub can't be reached (" in message
        assert message.endswith("go online once, or name a folder that holds it")
        assert "\n" not in message


def test_a_server_does_not_fetch_what_a_strangers_run_names(served):
    at, root = served
    files_per_split(root / "me/pics/main")
    with pytest.raises(DataFault, match="the Hub can't be reached \\(it is not asked here\\)"):
        kind_of("hf://me/pics", download=False)
    assert not at.asked
