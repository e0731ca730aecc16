"""What is measured once is found by the next start, by content: whatever changes is measured again, and damage is no harm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save as array_bytes

from tests.fake_workspace import make_workspace
from xmr import disk_values
from xmr.data.dataset import Truth
from xmr.disk_arrays import save_arrays
from xmr.workspace import measurements, memory
from xmr.workspace.memory import kept
from xmr.workspace.results import compared, estimates

KEEPS = True  # see conftest.py
CALLS = []


@dataclass(frozen=True)
class Found:
    values: dict[str, np.ndarray]
    each: list[tuple[int, float | None]]
    words: str
    further: np.ndarray | None = None


@kept
def measured(workspace, run: str, split: str, times: int = 2) -> Found:
    CALLS.append((run, split, times))
    visual, _ = workspace.embeddings(run, split)
    return Found({"a": times * visual, "none": np.zeros(0, bool)}, [(1, None), (2, np.float64(0.5))], "ä")


@kept
def by_truth(workspace, split: str) -> np.ndarray:
    CALLS.append(split)
    return workspace.truth(split, "v2t", np.arange(60), np.arange(120))


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Opens the same runs again, as another process does."""
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    CALLS.clear()
    return lambda: make_workspace(tmp_path / "runs")


def files(tmp_path):
    return list((tmp_path / "cache" / "measured").iterdir())


def test_measured_once_and_found_by_the_next_process(opened, tmp_path):
    workspace = opened()
    assert not measured.known(workspace, "siglip", "test")
    first = measured(workspace, "siglip", "test")
    assert measured(workspace, "siglip", split="test", times=2) is first  # the same question in other words
    assert measured.known(workspace, "siglip", "test")
    found = measured(opened(), "siglip", "test")
    assert CALLS == [("siglip", "test", 2)] and len(files(tmp_path)) == 1
    np.testing.assert_array_equal(found.values["a"], first.values["a"])
    assert found.values["none"].dtype == bool and found.further is None
    assert (found.each, found.words) == ([(1, None), (2, 0.5)], "ä")


def test_another_run_split_argument_or_code_is_measured_anew(opened, monkeypatch):
    workspace = opened()
    for run, split, times in (("siglip", "test", 2), ("info_nce", "test", 2), ("siglip", "validation", 2), ("siglip", "test", 3)):  # fmt: skip
        measured(workspace, run, split, times)
    assert len(CALLS) == 4
    monkeypatch.setattr(memory, "_code", lambda: "another")
    measured(opened(), "siglip", "test")
    assert len(CALLS) == 5


def test_what_a_run_holds_names_it_and_not_its_name(opened):
    workspace = opened()
    measured(workspace, "siglip", "test")
    again = opened()
    again.runs["info_nce"] = again.runs["siglip"]  # the same content under another name
    measured(again, "info_nce", "test")
    assert len(CALLS) == 1
    trained = opened()
    trained.runs["siglip"] = replace(trained.runs["siglip"], noise=0.3)
    measured(trained, "siglip", "test")
    assert len(CALLS) == 2
    tuned = opened()
    tuned.runs["siglip"] = replace(tuned.runs["siglip"], loss_values={"scale": 11.0, "bias": -9.0})
    measured(tuned, "siglip", "test")
    assert len(CALLS) == 3


@pytest.mark.parametrize("change", [
    lambda data: {"captions": [*data.captions[:-1], "another"]},
    lambda data: {"visual_group": data.visual_group // 2},
    lambda data: {"truth": Truth(lambda v, t: 1 - data.truth.block(v, t), data.truth.pairs, True, data.truth.source)},
    lambda data: {"truth": None},
    lambda data: {"fingerprint": "another"},
])  # fmt: skip
def test_data_that_changed_are_measured_anew(opened, change):
    measured(opened(), "siglip", "test")
    other = opened()
    load = other.load
    other = replace(
        other, load=lambda split: replace(load(split), **change(load(split))), _memo=type(other._memo)()
    )
    measured(other, "siglip", "test")
    assert len(CALLS) == 2


def test_truth_that_is_too_much_to_look_at_keeps_nothing(opened, tmp_path, monkeypatch):
    from xmr.workspace import runset

    monkeypatch.setattr(runset, "MAX_SCORES", 60 * 120 - 1)
    np.testing.assert_array_equal(by_truth(opened(), "test"), by_truth(opened(), "test"))
    assert CALLS == ["test", "test"] and not (tmp_path / "cache" / "measured").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no file of arrays",
        lambda content: content[:-8],
        lambda content: content[:-1] + b"\1",
        lambda content: array_bytes({"told": np.arange(5)}),  # whole, but nothing vouches for it
    ],
)
def test_a_damaged_file_is_made_again(opened, tmp_path, damage):
    first = measured(opened(), "siglip", "test")
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="made anew"):
        again = measured(opened(), "siglip", "test")
    np.testing.assert_array_equal(again.values["a"], first.values["a"])
    measured(opened(), "siglip", "test")
    assert len(CALLS) == 2 and files(tmp_path) == [path]


@pytest.mark.parametrize(
    "told", [b"{", b"[]", b"{}", b'{"values": {"a": "7"}, "each": [], "words": "", "further": null}']
)
def test_a_whole_file_of_something_else_is_made_again(opened, tmp_path, told):
    measured(opened(), "siglip", "test")
    (path,) = files(tmp_path)
    save_arrays(path, {"told": np.frombuffer(told, np.uint8)})
    with pytest.warns(UserWarning, match="made anew"):
        measured(opened(), "siglip", "test")
    assert len(CALLS) == 2


def test_a_pickle_is_never_read(opened, tmp_path):
    measured(opened(), "siglip", "test")
    (path,) = files(tmp_path)
    with path.open("wb") as file:
        np.savez(file, told=np.array([object()], dtype=object))
    with pytest.warns(UserWarning, match="made anew"):
        measured(opened(), "siglip", "test")


def test_a_disk_that_takes_nothing_keeps_nobody_from_looking(opened, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    with pytest.warns(UserWarning, match="made again"):
        measured(opened(), "siglip", "test")


@settings(deadline=None)  # a disk may be slow
@given(
    value=st.builds(
        Found,
        values=st.dictionaries(
            st.text(),
            arrays.arrays(
                st.sampled_from([np.float32, np.int64, np.bool_, np.uint8]),
                arrays.array_shapes(min_dims=0, max_dims=3, min_side=0),
            ),
        ),
        each=st.lists(st.tuples(st.integers(), st.none() | st.floats(allow_nan=False))),
        words=st.text(st.characters(codec="utf-8")),
    )
)
def test_what_is_written_is_what_is_read(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "x.safetensors"
    disk_values._write(path, value)
    (read,) = disk_values._read(path, Found)
    assert (read.each, read.words, read.further) == (value.each, value.words, value.further)
    assert read.values.keys() == value.values.keys()
    for name, array in value.values.items():
        assert read.values[name].dtype == array.dtype
        np.testing.assert_array_equal(read.values[name], array)


def test_a_start_with_a_full_cache_measures_nothing(opened, monkeypatch):
    """Every measure of the workspace, read as it was measured."""

    def every(workspace):
        runs, asked = list(workspace.runs), ("test", "t2v")
        found = [workspace.ranks(run, *asked) for run in runs]
        found += [workspace.true_ranks(run, *asked) for run in runs]
        found += [workspace.top(run, *asked) for run in runs]
        for measure in (measurements.samples, measurements.hard_negatives, measurements.evidence, estimates):
            found += [measure(workspace, run, *asked) for run in runs]
        found += [measurements.typical_curve(workspace, run, "test") for run in runs]
        found += [compared(workspace, *runs[:2], *asked, "R@1")]
        found += [measurements.suspects(workspace, run, *asked, "near_positive", defaults) for run in runs]
        return found

    from xmr.selection import SELECTORS

    defaults = SELECTORS["near_positive"].defaults
    first = every(opened())

    def fail(*_, **__):
        raise AssertionError("measured again")

    for name in (
        "score_samples",
        "hard_negatives_by_weight",
        "nearest_own_caption",
        "weight_curve",
        "suspected_pairs",
    ):
        monkeypatch.setattr(measurements, name, fail)
    again = opened()
    monkeypatch.setattr(type(again), "rankings", fail)
    for one, other in zip(first, every(again), strict=True):
        assert type(one) is type(other)
        np.testing.assert_equal(
            vars(other) if hasattr(other, "__dict__") else other,
            vars(one) if hasattr(one, "__dict__") else one,
        )
