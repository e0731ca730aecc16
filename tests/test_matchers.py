"""Matchers: contracts of the registry, text towers that do not leak padding, vocabularies and word vectors."""

import json

import numpy as np
import pytest
import torch

from tests.shared_data import shared
from tests.tiny import SMALL
from xmr.matchers import MATCHERS, Vocabulary, build_matcher, settled_params
from xmr.matchers.base import Standardise
from xmr.matchers.vocabulary import MAX_WORDS, read_vectors
from xmr.matchers.words import Convolution, Words
from xmr.registry import UnknownName

VOCABULARY = Vocabulary(("<pad>", "<unk>", "a", "dog", "runs", "red", "house", "under", "the", "tree"))
CAPTIONS = ["a dog", "the red dog runs under the red tree", "", "zzz yyy", "house"]
TOWERS = ["features", "words_conv", "words_gru"]


def made(text="auto", text_dim=0, **params):
    torch.manual_seed(0)
    settled = settled_params("linear", SMALL | {"text": text} | params, text_dim)
    return build_matcher("linear", settled, 6, text_dim, VOCABULARY).eval()


def words(captions):
    ids, lengths = VOCABULARY.encode(captions)
    return torch.from_numpy(ids).long(), torch.from_numpy(lengths)


def texts_of(name):
    """What the matcher can read of captions."""
    return [text for text in MATCHERS[name].param("text").choices if text != "auto"]


def small(name, text, **params):
    """An untrained matcher of that name, in evaluation mode."""
    torch.manual_seed(0)
    known = {param.name for param in MATCHERS[name].params}
    params = {key: value for key, value in SMALL.items() if key in known} | {"text": text} | params
    text_dim = 5 if text == "features" else 0
    return build_matcher(name, settled_params(name, params, text_dim), 6, text_dim, VOCABULARY).eval()


def texts(text):
    return torch.randn(5, 5) if text == "features" else words(CAPTIONS)


EVERY = [(name, text) for name in MATCHERS for text in texts_of(name)]


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 6)], ids=["pooled", "tokens"])
@pytest.mark.parametrize(("name", "text"), EVERY)
def test_every_matcher_embeds_and_scores(name, text, shape):
    matcher = small(name, text)
    assert matcher.inputs in ("pooled", "tokens")
    visual, text = matcher.visual(torch.randn(shape)), matcher.text(texts(text))
    scores = matcher.scores(visual, text)
    assert scores.shape == (4, 5) and torch.isfinite(scores).all()
    for states, count in ((visual, 4), (text, 5)):
        assert states.shape[0] == count and states.shape[-1] == matcher.embed_dim
        pooled = matcher.pooled(states)
        assert pooled.shape == (count, matcher.embed_dim)
        torch.testing.assert_close(pooled.norm(dim=1), torch.ones(count))
        if not matcher.scores_pairs:
            torch.testing.assert_close(states, pooled, rtol=0, atol=0)
    if not matcher.scores_pairs:
        torch.testing.assert_close(scores, visual @ text.T)


@pytest.mark.parametrize(("name", "text"), EVERY)
def test_scores_of_every_matcher_reach_all_that_is_trained(name, text):
    matcher = small(name, text).train()
    batch = torch.randn(5, 3, 5) if (text, matcher.inputs) == ("features", "tokens") else texts(text)
    scores = matcher.scores(matcher.visual(torch.randn(5, 3, 6)), matcher.text(batch))
    (scores * torch.randn(5, 5)).sum().backward()
    for key, parameter in matcher.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), key


@pytest.mark.parametrize(("name", "text"), EVERY)
def test_a_pair_is_scored_alike_in_any_company(name, text):
    matcher = small(name, text)
    features, batch = torch.randn(4, 3, 6), texts(text)
    features[1, 2:], features[2, 1:] = 0, 0  # padding
    together = matcher.scores(matcher.visual(features), matcher.text(batch))
    for i in range(4):
        for j in range(5):
            one = (batch[0][j : j + 1], batch[1][j : j + 1]) if text != "features" else batch[j : j + 1]
            alone = matcher.scores(matcher.visual(features[i : i + 1]), matcher.text(one))
            torch.testing.assert_close(alone[0, 0], together[i, j], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", [0, 7])
@pytest.mark.parametrize("tower", TOWERS)
def test_linear_has_heads_of_one_or_two_layers(tower, hidden):
    matcher = small("linear", tower, hidden=hidden)
    layers = [part for part in matcher.visual_head if isinstance(part, torch.nn.Linear)]
    assert [layer.out_features for layer in layers] == ([7, 16] if hidden else [16])
    assert len([part for part in matcher.text_head if isinstance(part, torch.nn.Linear)]) == len(layers)
    assert matcher.text(texts(tower)).shape == (5, 16)


def test_frames_are_averaged():
    matcher, frames = made(), torch.randn(3, 4, 6)
    torch.testing.assert_close(matcher.visual(frames), matcher.visual(frames.mean(1)))


@pytest.mark.parametrize("tower", ["words_conv", "words_gru"])
def test_padding_never_leaks(tower):
    matcher = made(tower)
    together = matcher.text(words(CAPTIONS))
    alone = torch.cat([matcher.text(words([caption])) for caption in CAPTIONS])
    torch.testing.assert_close(together, alone)
    ids, lengths = words(CAPTIONS)
    wider = torch.nn.functional.pad(ids, (0, 9))
    torch.testing.assert_close(matcher.text((wider, lengths)), together)
    assert (matcher.words.table.weight[0] == 0).all()


@pytest.mark.parametrize("tower", ["words_conv", "words_gru"])
def test_captions_without_known_words_are_finite_with_finite_gradients(tower):
    matcher = made(tower).train()
    embedded = matcher.text(words(["", "?!", "zzz"]))
    embedded.sum().backward()
    assert torch.isfinite(embedded).all()
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(3))
    assert all(torch.isfinite(p.grad).all() for p in matcher.parameters() if p.grad is not None)


def test_convolution_is_that_of_torch():
    words_, tower = Words(10, 5, 0.0).double(), Convolution(dim=5, channels=4).double()
    torch.nn.init.normal_(tower.bias)
    ids, lengths = (
        torch.tensor([[2, 3, 4, 2, 5, 9, 3], [6, 7, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0]]),
        [7, 2, 1],
    )
    reference = torch.nn.Conv1d(5, 4, 3, padding=1).double()
    with torch.no_grad():
        after, own, before = tower.project.weight.chunk(3)
        reference.weight.copy_(torch.stack([before, own, after], 2))
        reference.bias.copy_(tower.bias)
    expected = []
    for row, length in zip(ids, lengths, strict=True):
        grid = reference(words_(row[:length]).T[None])[0].relu()
        expected.append(torch.cat([grid.amax(1), grid.mean(1)]))
    torch.testing.assert_close(tower(words_, ids, torch.tensor(lengths)), torch.stack(expected))


def test_settled_parameters_are_definite():
    assert settled_params("linear", {}, 5)["text"] == "features"
    assert settled_params("linear", {}, 0)["text"] == "words_conv"
    assert settled_params("linear", {}, 0)["embed_dim"] > settled_params("linear", {}, 5)["embed_dim"] > 0
    assert settled_params("linear", {"embed_dim": 7}, 5)["embed_dim"] == 7


def test_what_does_not_fit_is_refused():
    with pytest.raises(UnknownName, match="did you mean 'linear'"):
        settled_params("liner", {}, 0)
    with pytest.raises(TypeError, match="did you mean 'hidden'"):
        settled_params("linear", {"hiden": 3}, 0)
    with pytest.raises(ValueError, match="outside"):
        settled_params("linear", {"dropout": 2}, 0)
    with pytest.raises(ValueError, match="words_conv"):
        made("features", text_dim=0)
    with pytest.raises(ValueError, match="vocabulary"):
        build_matcher("linear", {"text": "words_gru"}, 6, 0, None)
    for size in (-1, 1 << 40, 2.0, "6"):
        with pytest.raises(ValueError, match="visual_dim"):
            build_matcher("linear", {}, size, 5, None)


def test_standardise_is_the_training_statistics_and_flat_dimensions_become_zero():
    features = np.random.default_rng(0).normal(5, 3, (50, 4, 6)).astype(np.float16)
    features[:, :, 2] = 7
    layer = Standardise(6)
    layer.fit(features, rows=16)
    flat = features.reshape(-1, 6).astype(np.float64)
    out = layer(torch.from_numpy(features).float()).reshape(-1, 6)
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(
        out[:, kept], ((flat - flat.mean(0)) / flat.std(0).clip(1e-9))[:, kept], atol=1e-4
    )
    assert (out[:, 2] == 0).all()


# ---- words -------------------------------------------------------------------------------------------------


def test_vocabulary_counts_orders_and_encodes():
    vocabulary = Vocabulary.build(["b a", "b a", "b c", "d"], min_count=2)
    assert vocabulary.words == ("<pad>", "<unk>", "b", "a")
    ids, lengths = vocabulary.encode(["a b", "", "c a b b"])
    assert lengths.tolist() == [2, 1, 4]
    assert ids.tolist() == [[3, 2, 0, 0], [1, 0, 0, 0], [1, 3, 2, 2]]
    with pytest.warns(UserWarning, match="longer than"):
        assert vocabulary.encode(["a " * 1000])[1].tolist() == [MAX_WORDS]
    assert Vocabulary.build([], 1).encode(["any"])[0].tolist() == [[1]]


@pytest.mark.parametrize("bad", [(), ("a",), ("<pad>", "<unk>", "a", "a"), ("<pad>", "<unk>", 3)])
def test_vocabulary_refuses_other_lists(bad):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(bad)


VECTORS = {"dog": [1.0, 2.0, 3.0], "tree": [-1.0, 0.5, 4.0], "other": [9.0, 9.0, 9.0]}


def vector_lines(parted=" ", end="\n", **more):
    rows = VECTORS | more
    return "".join(f"{word}{parted}{parted.join(map(str, row))}{end}" for word, row in rows.items())


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(VECTORS),
        vector_lines(),
        vector_lines("\t", "\r\n"),
        "3 3\n"
        + vector_lines(end=" \n"),  # word2vec's and fastText's header, and the space that ends their lines
        "\ufeff" + vector_lines().rstrip(),
        # Of glove.840B, where the first space does not end the word.
        ". . . 7 7 7\n" + vector_lines(**{"dog name@domain.com": [8, 8, 8], "tree .": [8, 8, 8]}) + "\n",
        "1 7 7 7\n" + vector_lines(),  # a number is a word
    ],
    ids=["json", "glove", "tabs", "header", "mark", "spaces", "number"],
)
def test_word_vectors_are_taken_over(tmp_path, content):
    path = tmp_path / "glove"
    path.write_bytes(content.encode())
    matcher = made("words_conv", glove=str(path))
    before = matcher.words.table.weight.detach().clone()
    assert before.shape[1] == 3  # the file decides the length
    with pytest.warns(UserWarning, match="has vectors of 2 of 8 words"):
        matcher.fit(np.zeros((2, 6), np.float32), None)
    after = matcher.words.table.weight.detach()
    dog, tree = (VOCABULARY.words.index(word) for word in ("dog", "tree"))
    ratio = after[[dog, tree]] / torch.tensor([VECTORS["dog"], VECTORS["tree"]])
    torch.testing.assert_close(ratio, ratio[0, 0].expand(2, 3))  # one scale for all
    others = [i for i in range(len(VOCABULARY)) if i not in (dog, tree)]
    assert torch.equal(after[others], before[others])


def test_words_of_vectors_are_found_in_another_normal_form(tmp_path):
    (tmp_path / "v.txt").write_text("the 1 2\ncafe\u0301 3 4\n", encoding="utf-8")
    assert read_vectors(tmp_path / "v.txt", ["café"])["café"].tolist() == [3, 4]


@pytest.mark.parametrize("wanted", [None, ["dog", "cat"]])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"dog 1 2\ncat 1 2 3\n", "line 2: a word and 2 numbers are expected, found 'cat 1 2 3'"),
        (b"dog 1 2\na 1 2\nbird 1", "line 3: a word and 2 numbers are expected, found 'bird 1'"),  # cut off
        (b"2 3\ndog 1 2\ncat 3 4\n", "line 2: a word and 3 numbers are expected, found 'dog 1 2'"),
        (b"dog 1 2\ncat 1 x\n", "line 2: the vector of 'cat'"),
        (b"dog\n", "line 1: a word and its numbers are expected"),
        (b"dog 1 nan\n", "finite"),
        (b'{"dog": [1, 2}', "can't be read"),
        (b'{"dog": [1, 2], "cat": [1]}', "entry 2: 'cat' has 1 numbers, the first 2"),
        (b"\xff\xfe\x00", "line 1: a word and its numbers are expected"),
    ],
)
def test_broken_word_vectors_are_named(tmp_path, content, reason, wanted):
    path = tmp_path / "glove.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_vectors(path, wanted)
    with pytest.raises(ValueError, match="nowhere"):
        read_vectors(tmp_path / "nowhere")


def test_real_glove_file():
    vectors = read_vectors(shared("glove") / "glove-50d-5k.json", ["dog", "table"])
    assert {"dog", "table"} <= vectors.keys() and vectors["dog"].shape == (50,)
