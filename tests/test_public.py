"""What strangers are told of files: their last names."""

from __future__ import annotations

from pathlib import Path

import pytest

from xmr.workspace.parts import Memo
from xmr.workspace.public import public, publish, source_name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no such file: '/srv/my data/pics/a b.png'", "no such file: 'a b.png'"),
        ("/srv/x/metadata.jsonl, line 3: bad", "metadata.jsonl, line 3: bad"),
        ("local-dir:/srv/enc/tiny has no weights", "local-dir:tiny has no weights"),
        ("python app.py --dataset /srv/a/photos", "python app.py --dataset photos"),
        ("no run.json in /srv/a/b.", "no run.json in b."),
        (r"C:\Users\me\x.png is cut", "x.png is cut"),
        ("the database `/var/lib/xmr/v.sqlite` is locked", "the database `v.sqlite` is locked"),
        # And what is none stays.
        ("v2t/recall_at_1 and/or https://example.org/a/b/c", "v2t/recall_at_1 and/or https://example.org/a/b/c"),
        ("'ViT-B-32/openai', 1/2 and 3 / 4", "'ViT-B-32/openai', 1/2 and 3 / 4"),
    ],
)  # fmt: skip
def test_of_a_path_the_last_name_is_told(text, said):
    assert public(text) == said


def test_folders_that_are_known_go_whatever_is_in_their_names(monkeypatch, tmp_path):
    home = tmp_path / "a home (of mine)"
    home.mkdir()
    monkeypatch.chdir(home)
    assert public(f"{home}/runs/info nce/run.json: not JSON") == "runs/info nce/run.json: not JSON"


def test_what_a_workspace_can_not_make_it_tells_without_folders():
    def make():
        return Path("/srv/data/nowhere/features.npy").read_bytes()

    with pytest.raises(FileNotFoundError) as raised:
        Memo().get("features", make)
    assert str(raised.value) == "[Errno 2] No such file or directory: 'features.npy'"
    error = ValueError("the split in /srv/a/b is empty", 3)
    publish(error)
    assert error.args == ("the split in b is empty", 3)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/srv/a/photos", "photos"),
        ("~/photos", "photos"),
        ("blocks", "blocks"),
        ("hf://me/set", "hf://me/set"),
    ],
)
def test_a_dataset_is_called_by_its_last_name(source, name):
    assert source_name(source) == name
