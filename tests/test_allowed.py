"""Whose encoders a server loads, that one that fails is not tried for every query, and how many encode at a time."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from PIL import Image

from xmr import allowed, encoders
from xmr.allowed import allow_only, find_at, is_allowed, place_of, places
from xmr.encoders import Encoder, load_encoder


@pytest.fixture(autouse=True)
def _as_before():
    encoders.forget_encoders()
    yield
    allow_only(None)
    find_at({})
    encoders.forget_encoders()


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("blocks", True),
        (f"local-dir:{allowed.SHIPPED / 'blocks'}", True),
        ("ViT-B-32/laion2b_s34b_b79k", True),
        ("hf-hub:me/mine", True),  # named by the operator
        ("hf-hub:me/other", False),
        ("hf-hub:me/mine/", False),
        ("local-dir:/srv/enc", False),
        (f"local-dir:{allowed.SHIPPED / '..' / '..'}", False),
        ("ViT-B-32//srv/weights", False),  # weights may be a file
        ("ViT-B-32/weights.pt", False),
        ("ViT-B-32/..\\weights", False),
        ("vit.json/openai", False),  # an architecture may be a file, too
        ("local-dir:/old/clip", True),  # the operator said where it lies
        ("ViT-B-32//old/clip", True),
        ("local-dir:/old/clip/", False),
        ("local-dir:/old/eclip", False),
    ],
)
def test_what_a_server_loads_is_the_operators_own(name, own):
    assert is_allowed(name)
    allow_only(["hf-hub:me/mine"])
    find_at({"clip": "/new/clip"})
    assert is_allowed(name) is own


def test_places_are_told_by_a_name_or_its_last_part(tmp_path):
    (tmp_path / "a=b").mkdir()
    found = places([f"local-dir:/old/x=y/clip={tmp_path}", f"clip={tmp_path / 'a=b'}"])
    assert found == {"local-dir:/old/x=y/clip": str(tmp_path), "clip": str(tmp_path / "a=b")}
    find_at(found)
    assert place_of("local-dir:/old/x=y/clip") == str(tmp_path)
    assert place_of("local-dir:/another/clip") == place_of("local-dir:clip") == str(tmp_path / "a=b")
    assert place_of("local-dir:/another/eclip") == place_of("clip/openai") == ""
    for wrong, message in (("clip", "write NAME"), (f"={tmp_path}", "write NAME"), ("clip=", "write NAME")):
        with pytest.raises(ValueError, match=message):
            places([wrong])
    with pytest.raises(ValueError, match="no folder and no file /nowhere"):
        places(["clip=/nowhere"])


@pytest.mark.parametrize("name", ["hf-hub:me/other", "local-dir:/srv/enc", "ViT-B-32//srv/weights"])
def test_another_is_not_even_looked_for(monkeypatch, name):
    monkeypatch.setattr(encoders, "_load", lambda name: pytest.fail("looked for"))
    allow_only([])
    with pytest.raises(ValueError, match="--allow-encoders"):
        load_encoder(name)


def test_one_that_failed_is_remembered_and_tried_again_after_a_while(monkeypatch):
    tried, now = [], [1000.0]

    def load(name):
        tried.append(name)
        raise ValueError("the hub does not answer")

    load.cache_clear = lambda: None
    monkeypatch.setattr(encoders, "_load", load)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for words in ("^the hub does not answer$", r"does not answer \(tried a while ago", "tried a while ago"):
        with pytest.raises(ValueError, match=words):
            load_encoder("hf-hub:a/b")
    assert tried == ["hf-hub:a/b"]
    now[0] += encoders.RETRY
    with pytest.raises(ValueError, match="^the hub does not answer$"):
        load_encoder("hf-hub:a/b")
    assert len(tried) == 2


def test_many_who_ask_for_one_encoder_at_once_load_it_once(monkeypatch):
    tried = []

    def load(name):
        tried.append(name)
        time.sleep(0.05)
        raise ValueError("no")

    load.cache_clear = lambda: None
    monkeypatch.setattr(encoders, "_load", load)

    def ask():
        with pytest.raises(ValueError, match="no"):
            load_encoder("hf-hub:a/b")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tried) == 1


def test_two_encode_at_a_time_whoever_asks():
    inside, most, both = [], [], threading.Barrier(2, timeout=20)

    class Slow:
        def encode_text(self, ids):
            inside.append(1)
            most.append(len(inside))
            both.wait()  # two are let in, else this would end in an error
            time.sleep(0.02)
            inside.pop()
            return ids

        encode_image = encode_text

        def parameters(self):
            return iter([torch.zeros(1)])

    encoder = Encoder(
        "slow", "", Slow(), lambda image: torch.zeros(3), lambda texts: torch.zeros(len(texts), 4)
    )
    asks = [lambda: encoder.encode_texts(["a"]), lambda: encoder.encode_images([Image.new("RGB", (4, 4))])]
    threads = [threading.Thread(target=asks[n % 2]) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 10 and max(most) == 2
