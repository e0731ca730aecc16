"""Matchers on tokens that embed each side by itself: graph and dual_encoding, against loops and in their limits."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv1d, layer_norm, linear, normalize, pad

from xmr.losses import loss_value
from xmr.matchers import MATCHERS, Vocabulary, build_matcher, settled_params
from xmr.matchers.dual_encoding import FRAME_KERNELS, BatchNorm
from xmr.matchers.graph import adjacent, nearest, normalised
from xmr.training.gradcache import cached_backward

VOCABULARY = Vocabulary(("<pad>", "<unk>", "a", "dog", "runs", "red", "house", "under", "the", "tree"))
CAPTIONS = ["a dog", "the red dog runs under the red tree", "", "zzz yyy", "house"]
NAMES = ["graph", "dual_encoding"]
SIDES = ["visual", "features", "words"]
SMALL = {"embed_dim": 12, "word_dim": 7}


def made(name, text="features", **params):
    torch.manual_seed(0)
    small = SMALL | ({"units": 5, "filters": 4} if name == "dual_encoding" else {})
    settled = settled_params(name, small | {"text": text} | params, 6)
    matcher = build_matcher(name, settled, 6, 6, VOCABULARY)
    for parameter in matcher.parameters():  # biases and gains too, so that none is at its neutral value
        nn.init.normal_(parameter, std=0.5)
    return matcher.eval()


def sequences(counts, width=6, total=None):
    """Tokens (B, T, width), `counts` of each item, zeros behind them."""
    generator = torch.Generator().manual_seed(4)
    tokens = torch.zeros(len(counts), total or max(counts), width)
    for row, count in zip(tokens, counts, strict=True):
        row[:count] = torch.randn(count, width, generator=generator)
    return tokens


def words(captions):
    ids, lengths = VOCABULARY.encode(captions)
    return torch.from_numpy(ids).long(), torch.from_numpy(lengths)


def embed(matcher, side, batch):
    return matcher.visual(batch) if side == "visual" else matcher.text(batch)


def example(side):
    return words(CAPTIONS) if side == "words" else sequences([4, 1, 7, 2, 5])


def matcher_of(name, side, **params):
    return made(name, "words" if side == "words" else "features", **params)


# ---- both --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", NAMES)
def test_padding_never_leaks(name, side):
    matcher, batch = matcher_of(name, side), example(side)
    together = embed(matcher, side, batch)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(5))
    assert (together @ together.T - torch.eye(5)).max() < 0.999  # they differ
    if side == "words":
        alone = [embed(matcher, side, words([caption])) for caption in CAPTIONS]
        others = [(pad(batch[0], (0, 9)), batch[1])]
    else:
        alone = [embed(matcher, side, row[(row != 0).any(1)][None]) for row in batch]
        between = torch.zeros(5, 14, 6)
        between[:, ::2] = batch
        others = [pad(batch, (0, 0, 0, 9)), between]
    torch.testing.assert_close(torch.cat(alone), together)
    for other in others:
        torch.testing.assert_close(embed(matcher, side, other), together)


@pytest.mark.parametrize("name", NAMES)
def test_pooled_features_are_one_token(name):
    matcher, features = made(name), torch.randn(4, 6)
    for embed_ in (matcher.visual, matcher.text):
        torch.testing.assert_close(embed_(features), embed_(features[:, None]))


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_where_items_are_one_token_or_nothing(name, size):
    for text, batch in (("words", words(["", "zzz", "a dog", "?", "tree"][:size])), ("features", None)):
        matcher = made(name, text).train()
        for features in (torch.zeros(size, 4, 6), sequences([1, 4, 1, 2, 1][:size])):
            matcher.zero_grad()
            both = torch.cat([matcher.visual(features), matcher.text(features if batch is None else batch)])
            torch.testing.assert_close(both.norm(dim=1), torch.ones(2 * size))
            both.square().sum(0).cos().sum().backward()
            grads = [p.grad for p in matcher.parameters() if p.grad is not None]
            assert grads and all(torch.isfinite(grad).all() and grad.norm() < 1e6 for grad in grads)


@pytest.mark.parametrize("text", ["features", "words"])
@pytest.mark.parametrize("name", NAMES)
def test_one_built_without_memory_takes_the_weights_of_another(name, text):
    matcher = made(name, text)
    state = matcher.state_dict()
    with torch.device("meta"):
        other = build_matcher(
            name, settled_params(name, {"text": text} | SMALL | sizes(name), 6), 6, 6, VOCABULARY
        )
    assert all(parameter.is_meta for parameter in other.parameters())
    other.load_state_dict(state, assign=True)
    batch = example(text)
    assert torch.equal(other.eval().text(batch), matcher.text(batch))
    assert torch.equal(other.visual(example("visual")), matcher.visual(example("visual")))


def sizes(name):
    return {"units": 5, "filters": 4} if name == "dual_encoding" else {}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_tokens_and_its_own(name):
    inherited = {"text", "embed_dim", "dropout", "word_dim", "word_dropout", "min_count", "glove"}
    own = {"graph": {"neighbours", "window"}, "dual_encoding": {"attend", "units", "filters"}}
    assert set(MATCHERS[name].defaults) == inherited | own[name]
    assert (
        settled_params(name, {}, 0)["text"] == "words" and settled_params(name, {}, 5)["text"] == "features"
    )
    with pytest.raises(ValueError, match="words"):
        build_matcher(name, settled_params(name, {"text": "features"}, 0), 6, 0, None)
    with pytest.raises(ValueError, match="vocabulary"):
        build_matcher(name, settled_params(name, {}, 0), 6, 0, None)


@pytest.mark.parametrize("name", NAMES)
def test_clips_of_one_content_in_two_orders_are_told_apart_by_captions(name):
    """Six clips: each order of three pictures, their names in that order; both directions must find all."""
    orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    names = ["dog", "house", "tree"]
    clips = 2 * torch.eye(6)[torch.tensor(orders)]
    batch = words([" ".join(names[i] for i in order) for order in orders])
    torch.manual_seed(1)
    params = settled_params(name, {"embed_dim": 24, "word_dim": 16, "dropout": 0, "word_dropout": 0}, 0)
    matcher = build_matcher(name, params, 6, 0, VOCABULARY)
    optimiser = torch.optim.Adam(matcher.parameters(), 0.01)
    for _ in range(60):
        scores = matcher.scores(matcher.visual(clips), matcher.text(batch))
        optimiser.zero_grad()
        loss_value("info_nce", scores, temperature=0.1).backward()
        optimiser.step()
    found = (scores.argmax(0) == torch.arange(6)).float().mean()
    # The graph does not know the order of its visual tokens, so the six clips are one to it.
    torch.testing.assert_close(scores.std(0) < 1e-4, torch.full((6,), name == "graph"))
    assert found == 1 if name == "dual_encoding" else found < 0.5


# ---- graph -------------------------------------------------------------------------------------------------


def test_graph_on_one_token_is_a_residual_projection():
    matcher, features = made("graph"), torch.randn(3, 6)
    for embed_, tokens, part in (
        (matcher.visual, matcher.visual_tokens, matcher.visual_reasoning),
        (matcher.text, matcher.text_tokens, matcher.text_reasoning),
    ):
        x = tokens(features)[:, 0]
        beside = torch.cat([part.neighbourhood(x).relu(), part.latent(x)], dim=1)
        expected = normalize(part.norm(x + part.join(beside)), dim=1)
        torch.testing.assert_close(embed_(features), expected)


def graph_by_loops(tokens, near, reasoning, pooling):
    """One item's vector of tokens (T, W), `near(i)` the neighbours of i."""
    count, width = tokens.shape
    neighbours = [
        sorted({i} | {j for j in range(count) if j in near(i) or i in near(j)}) for i in range(count)
    ]

    def convolved(rows, weight):
        out = []
        for i in range(count):
            total = torch.zeros(width)
            for j in neighbours[i]:
                total += weight @ rows[j] / (len(neighbours[i]) * len(neighbours[j])) ** 0.5
            out.append(total.clamp(min=0))
        return out

    local, related = convolved(tokens, reasoning.neighbourhood.weight), []
    for i in range(count):
        query, latent = reasoning.query.weight @ tokens[i], []
        logits = [(query @ (reasoning.key.weight @ tokens[j]) / width**0.5).exp() for j in range(count)]
        latent = sum(e / sum(logits) * (reasoning.latent.weight @ tokens[j]) for j, e in enumerate(logits))
        residual = tokens[i] + reasoning.join.weight @ torch.cat([local[i], latent])
        related.append(layer_norm(residual, (width,), reasoning.norm.weight, reasoning.norm.bias))
    gates = [(pooling.score.weight[0] @ row).exp() for row in convolved(related, pooling.convolution.weight)]
    total = sum(gate / sum(gates) * row for gate, row in zip(gates, related, strict=True))
    return total / total.norm()


@pytest.mark.parametrize("neighbours", [1, 2, 5, 64])
def test_graph_of_visual_tokens_is_that_of_loops(neighbours):
    matcher = made("graph", neighbours=neighbours)
    counts = [4, 1, 7, 2, 9]
    features = sequences(counts, total=10)
    expected = []
    for row, count in zip(matcher.visual_tokens(features), counts, strict=True):
        row = row[:count]

        def near(i, row=row):
            others = [j for j in range(len(row)) if j != i]
            cosine = {j: row[i] @ row[j] / (row[i].norm() * row[j].norm()) for j in others}
            return sorted(others, key=lambda j: -cosine[j])[:neighbours]

        expected.append(graph_by_loops(row, near, matcher.visual_reasoning, matcher.visual_pooling))
    torch.testing.assert_close(matcher.visual(features), torch.stack(expected))


@pytest.mark.parametrize("window", [1, 2, 16])
@pytest.mark.parametrize("text", ["features", "words"])
def test_graph_of_words_is_that_of_loops(text, window):
    matcher, batch = made("graph", text, window=window), example(text)
    counts = batch[1].tolist() if text == "words" else [4, 1, 7, 2, 5]
    expected = []
    for row, count in zip(matcher.text_tokens(batch), counts, strict=True):

        def near(i):
            return range(i - window, i + window + 1)

        expected.append(graph_by_loops(row[:count], near, matcher.text_reasoning, matcher.text_pooling))
    torch.testing.assert_close(matcher.text(batch), torch.stack(expected))


def test_graph_ignores_the_order_of_visual_tokens_and_not_that_of_words():
    matcher, order = made("graph", neighbours=2), [3, 6, 0, 5, 1, 4, 2]
    features = sequences([7, 7, 7])
    features[1, 3:] = features[1, 2]  # equal tokens are equally near
    torch.testing.assert_close(matcher.visual(features), matcher.visual(features[:, order]))
    moved = (matcher.text(features) - matcher.text(features[:, order])).abs().amax(1)
    assert moved[[0, 2]].min() > 0.01  # rounding is 1e-6
    matcher = made("graph", "words")
    one, other = matcher.text(words(["the red dog runs", "runs the dog red"]))
    assert one @ other < 0.999


def test_neighbours_are_mutual_and_none_is_padding():
    there = torch.tensor([[True, True, True, True, False], [True, False, False, False, False]])
    tokens = sequences([4, 1], total=5)
    for graph in (nearest(tokens, there, 2), adjacent(there, 1)):
        assert torch.equal(graph, graph.transpose(1, 2))
        assert not graph.diagonal(dim1=1, dim2=2).any()
        assert not graph[~there].any() and not graph[1].any()
        assert graph[0, :4].any(1).all()
    path = torch.tensor([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]], dtype=torch.bool)
    assert torch.equal(adjacent(there, 1)[0, :4, :4], path)
    split = torch.tensor([[True, True, False, True, True]])  # padding between them takes no place
    kept = adjacent(split, 1)[0][:, split[0]][split[0]]
    assert torch.equal(kept, path)


def test_gates_sum_to_one_and_padding_stays_zero():
    matcher, features = made("graph"), sequences([4, 1, 7])
    tokens, there = matcher.visual_tokens(features), (features != 0).any(2)
    graph = normalised(nearest(tokens, there, 5), there)
    related = matcher.visual_reasoning(tokens, graph, there)
    assert (related[~there] == 0).all() and (related[there] != 0).any(1).all()
    gates = matcher.visual_pooling.gates(related, graph, there)
    assert (gates[~there] == 0).all() and gates[2].std() > 0
    torch.testing.assert_close(gates.sum(1), torch.ones(3))


@pytest.mark.parametrize("loss", ["gravitation", "max_of_hinges"])
def test_graph_reduces_its_loss(loss):
    matcher = made("graph", dropout=0).train()
    visual, text = sequences([5, 3, 6, 2, 4, 6, 1, 3]), sequences([3, 2, 4, 5, 2, 1, 3, 6]).flip(0)
    optimiser, values = torch.optim.Adam(matcher.parameters(), 0.01), []
    for _ in range(60):
        v, t = matcher.visual(visual), matcher.text(text)
        within = {"visual_within": v @ v.T, "text_within": t @ t.T} if loss == "gravitation" else {}
        value = loss_value(loss, matcher.scores(v, t), **within)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]


def test_graph_refuses_embeddings_of_one_number():
    with pytest.raises(ValueError, match="2 or more"):
        made("graph", embed_dim=1)


# ---- dual_encoding -----------------------------------------------------------------------------------------


def levels_by_loops(steps, levels):
    """One item's levels of steps (T, D), without packing or masks."""
    states = levels.gru(steps[:, None])[0][:, 0]
    if levels.attention is not None:
        part = levels.attention
        logits = [
            (part.score.weight[0] @ (part.hidden.weight @ h + part.hidden.bias).tanh()).exp() for h in states
        ]
        states = torch.stack([h * e / sum(logits) * len(states) for h, e in zip(states, logits, strict=True)])
    found = [sum(steps) / len(steps), sum(states) / len(states)]
    for part in levels.convolutions:
        # The kernel (filters, states, places) from the projections, the last place first: a step that a window
        # ends with stands at its last place.
        kernel = part.project.weight.unflatten(0, (part.kernel, part.filters)).permute(1, 2, 0).flip(2)
        values = conv1d(states.T[None], kernel.flip(2), part.bias, padding=part.kernel - 1)[0]
        found.append(values.relu().amax(1))
    return torch.cat(found)


@pytest.mark.parametrize("attend", ["both", "visual", "text", "none"])
@pytest.mark.parametrize("side", SIDES)
def test_dual_encoding_is_that_of_loops(side, attend):
    matcher, batch = matcher_of("dual_encoding", side, attend=attend), example(side)
    kind = "visual" if side == "visual" else "text"
    levels, outer, norm = (getattr(matcher, f"{kind}_{part}") for part in ("levels", "head", "norm"))
    assert (levels.attention is not None) == (attend in ("both", kind))
    nn.init.uniform_(norm.variance, 0.5, 2)
    nn.init.normal_(norm.mean)
    expected = []
    for i in range(5):
        if side == "words":
            steps = matcher.text_tokens.words(batch[0][i, : batch[1][i]])
        else:
            steps = getattr(matcher, f"{kind}_tokens")(batch[i : i + 1])[0, : [4, 1, 7, 2, 5][i]]
        row = outer(levels_by_loops(steps, levels))
        row = (row - norm.mean) / (norm.variance + 1e-5).sqrt() * norm.weight + norm.bias
        expected.append(row / row.norm())
    torch.testing.assert_close(embed(matcher, side, batch), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_dual_encoding_on_one_step_is_a_function_of_that_step():
    levels = made("dual_encoding").visual_levels
    step = torch.randn(3, 12)
    states = []
    for end in ("", "_reverse"):  # a GRU from zero: h = (1 - z)·tanh(W x + b + r·c)
        inputs = linear(step, *(getattr(levels.gru, f"{name}_ih_l0{end}") for name in ("weight", "bias")))
        r, z, n = (inputs + pad(getattr(levels.gru, f"bias_hh_l0{end}")[:10], (0, 5))).chunk(3, dim=1)
        n = (n + r.sigmoid() * getattr(levels.gru, f"bias_hh_l0{end}")[10:]).tanh()
        states.append((1 - z.sigmoid()) * n)
    state = torch.cat(states, dim=1)
    expected = [step, state]  # its attention is 1
    for part in levels.convolutions:  # each window holds the step at another place
        places = part.project(state).unflatten(1, (part.kernel, part.filters))
        expected.append((places + part.bias).relu().amax(1))
    found = levels(step, torch.ones(3, 1, dtype=torch.bool))
    torch.testing.assert_close(found, torch.cat(expected, dim=1))
    assert [part.kernel for part in levels.convolutions] == list(FRAME_KERNELS)


def test_attention_is_over_the_sequence_and_not_over_one_number():
    levels = made("dual_encoding").visual_levels
    there = torch.tensor([[True, True, True, False], [True, False, False, False], [True, True, True, True]])
    states = torch.randn(8, 10)
    weights = levels.attention(states, there)
    assert weights.shape == (8,) and (weights > 0).all()
    padded = torch.zeros(3, 4).masked_scatter(there, weights)
    torch.testing.assert_close(padded.sum(1), torch.ones(3))
    assert weights[:3].std() > 0.01 and weights[4:].std() > 0.01  # they tell steps apart
    released = levels.attention.score(levels.attention.hidden(states).tanh()).softmax(-1)
    assert (released == 1).all()  # the released code's axis: nothing is weighted

    # Equal attention is that code's: the same as without, a plain mean of states.
    steps = torch.randn(8, 12)
    attended = levels(steps, there)
    nn.init.zeros_(levels.attention.score.weight)
    equal = levels(steps, there)
    levels.attention = None
    torch.testing.assert_close(equal, levels(steps, there))
    recurrent = levels.recurrent(steps, there.sum(1))
    plain = torch.stack([recurrent[:3].mean(0), recurrent[3], recurrent[4:].mean(0)])
    torch.testing.assert_close(equal[:, 12:22], plain)
    assert (attended - equal)[[0, 2], 12:].abs().mean() > 0.01
    torch.testing.assert_close(attended[1], equal[1])


def test_dual_encoding_knows_the_order_of_steps_and_its_first_level_does_not():
    matcher, order = made("dual_encoding"), [3, 6, 0, 5, 1, 4, 2]
    features = sequences([7, 7, 7])
    for side in ("visual", "features"):
        one, other = embed(matcher, side, features), embed(matcher, side, features[:, order])
        assert (one * other).sum(1).max() < 0.999
    there = torch.ones(3, 7, dtype=torch.bool)
    one, other = (
        matcher.visual_levels(matcher.visual_tokens(f)[there], there) for f in (features, features[:, order])
    )
    torch.testing.assert_close(one[:, :12], other[:, :12])
    assert (one[:, 12:] - other[:, 12:]).abs().mean() > 0.01


def test_batch_normalisation_is_that_of_torch_and_one_row_takes_the_running_statistics():
    torch.manual_seed(3)
    ours, reference = BatchNorm(4), nn.BatchNorm1d(4)
    nn.init.normal_(ours.weight)
    with torch.no_grad():
        reference.weight.copy_(ours.weight)
        reference.bias.copy_(ours.bias)
    for rows in (torch.randn(2, 4), torch.randn(9, 4) + 3):
        torch.testing.assert_close(ours(rows), reference(rows))
    before = ours.mean.clone()
    one = torch.randn(1, 4)
    torch.testing.assert_close(ours(one), reference.eval()(one))
    assert torch.equal(ours.mean, before)
    torch.testing.assert_close((ours.mean, ours.variance), (reference.running_mean, reference.running_var))
    torch.testing.assert_close(ours.eval()(rows), reference(rows))
    assert ours.bias.norm() > 0  # equal rows become the bias, which has a direction


def test_gradient_caching_gives_the_gradients_of_its_micro_batches_and_takes_statistics_twice():
    visual, text = sequences([5, 3, 6, 2, 4, 6, 1]), sequences([3, 2, 4, 5, 2, 1, 3])
    found = []
    for cached in (False, True):
        matcher = made("dual_encoding", dropout=0.0).train()

        def embed_visual(rows, matcher=matcher):
            return matcher.visual(visual[rows])

        def embed_text(rows, matcher=matcher):
            return matcher.text(text[rows])

        def loss(v, t, matcher=matcher):
            return loss_value("info_nce", matcher.scores(v, t), temperature=0.1)

        if cached:
            cached_backward(loss, (embed_visual, embed_text), (7, 7), 4)
        else:
            slices = [slice(0, 4), slice(4, 7)]
            loss(
                *(torch.cat([part(rows) for rows in slices]) for part in (embed_visual, embed_text))
            ).backward()
        found.append(matcher)
    plain, cached = found
    # mean <- 0.9·mean + 0.1·batch for each batch, so of the same two batches twice: m, and then 0.81·m + m.
    torch.testing.assert_close(cached.visual_norm.mean, (1 + 0.9**2) * plain.visual_norm.mean)
    for one, other in zip(plain.parameters(), cached.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)
