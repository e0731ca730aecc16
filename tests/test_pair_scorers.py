"""Pair scorers from training to search: their scores are kept, measured and searched in two stages, and stages resume."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from tests import tiny
from xmr import embedding
from xmr.analysis import scored_sides
from xmr.analysis.blocks import inner
from xmr.checkpoints import RunRefused, load_run
from xmr.checkpoints.folder import EMBEDDINGS, MATCHER
from xmr.checkpoints.head import METRIC_LOSS
from xmr.matchers import MATCHERS, build_matcher, settled_params
from xmr.metrics import evaluate, evaluate_embeddings
from xmr.scoring import joined, read_dataset
from xmr.training import loop, objective
from xmr.workspace import Query, Workspace

UNCSM = {
    "loss": "double_triplet",
    "first_loss": "contrastive",
    "first_epochs": 2,
    "epochs": 6,
    "matcher": "two_pathway",
}
STAGES = {
    "embed_dim": 16,
    "hidden": 24,
    "metric_epochs": 2,
    "metric_hidden": 8,
    "text": "features",
    "dropout": 0.1,
}
SMALL = {"embed_dim": 16, "word_dim": 8}


def frames(split):
    """The tiny dataset as clips: three frames of noise around each item's features, the last one missing in half."""
    features, _ = tiny.items(split)
    noise = np.random.default_rng(1).normal(0, 0.3, (len(features), 3, tiny.DIM)).astype(np.float32)
    tokens = features[:, None] + noise
    tokens[::2, 2] = 0
    return tiny.dataset(split, visual_features=tokens, kind="clip")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "token_max"
    settings = tiny.config(matcher="token_max", matcher_params=SMALL, epochs=6)
    tiny.fit(settings, folder, load=frames)
    return folder


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "uncsm"
    tiny.fit(tiny.config(matcher_params=STAGES, **UNCSM), folder, load=tiny.with_text_features)
    return folder


@pytest.mark.parametrize("name", MATCHERS)
def test_every_matcher_trains_saves_and_answers(name, tmp_path):
    params = {k: v for k, v in SMALL.items() if k in MATCHERS[name].defaults}
    settings = tiny.config(matcher=name, matcher_params=params, epochs=4)
    _, trained = tiny.fit(settings, tmp_path / name, load=frames)
    run = load_run(tmp_path / name)
    assert trained.metrics["test"]["rsum"] > 160  # chance is about 120
    assert run.dataset["kind"] == "clip" and run.scores_pairs == (run.scores() is not None)
    assert embedding.embed_texts(run, ["red dog", "the tree"]).shape == (2, run.embed_dim)
    for stored, made in zip(run.embeddings(), embedding.embed_dataset(run, frames("test")), strict=True):
        np.testing.assert_allclose(stored, made, atol=2e-3)


def test_the_scores_of_a_pair_scorer_are_kept_and_measured(scorer):
    run, data = load_run(scorer), frames("test")
    scores = read_dataset(run, data).matrix()
    np.testing.assert_array_equal(run.scores(), scores)  # what was measured is what is kept
    positives = data.visual_group[:, None] == data.text_group
    expected = evaluate(scores, positives)
    assert {key: run.metrics["test"][key] for key in expected} == pytest.approx(expected)
    first = evaluate_embeddings(*embedding.embed_dataset(run, data), data.visual_group, data.text_group)
    assert {key: run.metrics["first_stage"][key] for key in first} == pytest.approx(first)
    alone = read_dataset(run, data)
    np.testing.assert_allclose(alone.block(np.array([3]), np.array([5]))[0, 0], scores[3, 5], atol=1e-6)


def test_a_pair_scorer_is_validated_on_some_visuals(scorer, monkeypatch):
    from xmr import scoring

    run, data = load_run(scorer), frames("validation")
    monkeypatch.setattr(scoring, "VALIDATED", 4)
    found = scoring.validate(run.matcher(), embedding.run_inputs(run, data), data)
    visuals = np.array([0, 9, 19, 29])
    texts = np.flatnonzero(np.isin(data.visual_of_text, visuals))
    scores = read_dataset(run, data).matrix()[np.ix_(visuals, texts)]
    expected = evaluate(scores, data.visual_group[visuals][:, None] == data.text_group[texts])
    assert {key: found[key] for key in expected} == pytest.approx(expected)


def test_scores_that_do_not_fit_are_refused(scorer, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(scorer, folder)
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / EMBEDDINGS)
    save_file({key: value for key, value in tensors.items() if key != "scores"}, folder / EMBEDDINGS)
    about = json.loads(
        (folder / "run.json").read_text()
    )  # the sum is that of the new file, so that its parts are looked at
    about["files"][EMBEDDINGS] = hashlib.sha256((folder / EMBEDDINGS).read_bytes()).hexdigest()
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunRefused, match="scores"):
        load_run(folder)


def test_a_side_of_a_matrix_stands_for_embeddings():
    rng = np.random.default_rng(0)
    scores, visual, text = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 7), (5, 3), (7, 3)))
    left, right = scored_sides(scores, visual, text)
    rows, columns = np.array([4, 0]), np.array([6, 2, 2])
    np.testing.assert_array_equal(inner(left[rows], right[columns]), scores[np.ix_(rows, columns)])
    np.testing.assert_array_equal(inner(right[columns], left[rows]), scores[np.ix_(rows, columns)].T)
    np.testing.assert_array_equal(inner(left[rows][1:], right), scores[[0]])
    np.testing.assert_array_equal(right[columns].vectors, text[columns])
    np.testing.assert_allclose(inner(visual, text), visual @ text.T)


def test_joined_states_are_padded_with_zeros():
    one, two = torch.ones(2, 3, 4), torch.ones(1, 5, 4)
    both = joined([one, two])
    assert both.shape == (3, 5, 4) and both[:2, 3:].abs().sum() == 0 and both.sum() == 24 + 20
    assert joined([torch.ones(2, 4), torch.ones(1, 4)]).shape == (3, 4)


def test_gradient_caching_of_tokens_gives_the_plain_step():
    settings = tiny.config(
        matcher="token_max", matcher_params=SMALL | {"dropout": 0, "word_dropout": 0}, epochs=1
    )
    _, plain = tiny.fit(settings, load=frames)
    _, cached = tiny.fit(tiny.config(**settings.to_json() | {"micro_batch": 10}), load=frames)
    for (name, one), two in zip(
        plain.matcher.state_dict().items(), cached.matcher.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, two, atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_search_re_ranks_the_first_stage(scorer, direction, monkeypatch):
    import xmr.workspace as module

    monkeypatch.setattr(module, "DEPTH", 9)
    run = load_run(scorer)
    workspace = Workspace.of([run], "tiny", frames, embedding)
    scores = run.scores() if direction == "v2t" else run.scores().T
    vectors = run.embeddings() if direction == "v2t" else run.embeddings()[::-1]
    data = frames("test")
    for index in (0, 7, 11):
        (column,) = workspace.search(Query(index=index), ["token_max"], "test", direction, 4)
        stage = vectors[1] @ vectors[0][index]
        candidates = np.argsort(-stage, kind="stable")[:9]
        expected = candidates[np.argsort(-scores[index][candidates], kind="stable")][:4]
        assert [result.index for result in column.results] == expected.tolist()
        for result in column.results:
            assert result.first_rank == 1 + int((stage > stage[result.index]).sum())
            assert result.score == pytest.approx(scores[index][result.index])
            assert (
                workspace.locate(Query(index=index), "token_max", "test", direction, result.index) == result
            )
        groups = (data.visual_group, data.text_group)[:: 1 if direction == "v2t" else -1]
        own = np.flatnonzero(groups[1] == groups[0][index])
        assert column.annotated.index in own
        if column.annotated.first_rank > 9:
            assert column.annotated.rank == column.annotated.first_rank > 4
    ranks = workspace.ranks("token_max", "test", direction)
    positives = data.visual_group[:, None] == data.text_group
    positives = positives if direction == "v2t" else positives.T
    best = np.where(positives, scores, -np.inf).max(1, keepdims=True)
    np.testing.assert_array_equal(ranks, 1 + ((scores >= best) & ~positives).sum(1))


def test_a_free_text_is_re_ranked_as_the_caption_that_it_equals(scorer):
    run, data = load_run(scorer), frames("test")
    workspace = Workspace.of([run], "tiny", frames, embedding)
    (typed,) = workspace.search(Query(text=data.captions[4]), ["token_max"], "test", "t2v", 5)
    (chosen,) = workspace.search(Query(index=4), ["token_max"], "test", "t2v", 5)
    assert [r.index for r in typed.results] == [r.index for r in chosen.results]
    np.testing.assert_allclose([r.score for r in typed.results], [r.score for r in chosen.results], atol=2e-3)


def test_too_many_pairs_are_not_scored(scorer, monkeypatch):
    from xmr.workspace import runset

    monkeypatch.setattr(runset, "MAX_SCORES", 100)
    workspace = Workspace.of([load_run(scorer)], "tiny", frames, embedding)
    with pytest.raises(ValueError, match="too many to score all"):
        workspace.ranks("token_max", "test", "t2v")
    assert workspace.search(Query(index=0), ["token_max"], "test", "t2v", 3)[0].results


# ---- two_pathway: three stages -----------------------------------------------------------------------------


def test_three_stages_train_one_after_the_other(monkeypatch):
    seen = []
    original = objective.symmetric

    def watched(loss, pairs, back=None, **hyper):
        seen.append(loss.__name__)
        return original(loss, pairs, back, **hyper)

    monkeypatch.setattr(objective, "symmetric", watched)
    steps, trained = tiny.fit(tiny.config(matcher_params=STAGES, **UNCSM), load=tiny.with_text_features)
    each = len(steps) // 6
    assert seen == ["contrastive"] * 2 * each + ["double_triplet"] * 2 * each + [METRIC_LOSS] * 2 * each
    rates = [step.lr for step in steps]
    assert rates[4 * each - 1] < 0.05 * rates[4 * each]  # the last stage has a schedule of its own
    assert trained.training["best_epoch"] in (5, 6)  # chosen among the epochs of the metric network
    assert trained.metrics["test"] != trained.metrics["first_stage"]
    assert trained.metrics["test"]["rsum"] > 250 and trained.metrics["first_stage"]["rsum"] > 250


def test_the_metric_network_starts_from_the_best_shared_space_and_leaves_it(staged):
    run = load_run(staged)
    assert run.scores_pairs and run.last_loss == (METRIC_LOSS, {"scale": 1.0, "bias": 0.0})
    _, shared = tiny.fit(
        tiny.config(**{**UNCSM, "epochs": 4}, matcher_params=STAGES | {"metric_epochs": 0}),
        load=tiny.with_text_features,
    )
    kept = run.matcher().state_dict()
    for name, tensor in shared.matcher.named_parameters():
        torch.testing.assert_close(kept[name], tensor, rtol=0, atol=0, msg=name)
    joint = tiny.fit(
        tiny.config(**UNCSM, matcher_params=STAGES | {"joint": True}), load=tiny.with_text_features
    )[1]
    frozen = run.matcher().visual_pathway[0].weight
    assert not torch.equal(joint.matcher.visual_pathway[0].weight, frozen)


@pytest.mark.parametrize("stop", [5, 8, 15, 16, 17, 20])
def test_stages_resume_to_the_same_bytes(staged, tmp_path, stop):
    settings, folder = tiny.config(matcher_params=STAGES, **UNCSM), tmp_path / "run"
    from xmr.training import train

    running = train(settings, folder, load=tiny.with_text_features)
    loop_saves = loop.SAVE_SECONDS
    loop.SAVE_SECONDS = 0.0
    try:
        for _ in range(stop):
            next(running)
        running.close()
        tiny.fit(settings, folder, resume=True, load=tiny.with_text_features)
    finally:
        loop.SAVE_SECONDS = loop_saves
    assert (folder / MATCHER).read_bytes() == (staged / MATCHER).read_bytes()
    assert load_run(folder).metrics == load_run(staged).metrics


def test_the_metric_network_is_the_sum_that_its_docstring_says():
    torch.manual_seed(0)
    params = settled_params("two_pathway", STAGES, 5)
    matcher = build_matcher("two_pathway", params, 6, 5, None).eval()
    visual, text = matcher.visual(torch.randn(3, 6)), matcher.text(torch.randn(4, 5))
    found = matcher.scores(visual, text)
    for i, x in enumerate(visual):
        for j, z in enumerate(text):
            first = matcher.of_visual(x) + matcher.of_text(z) + matcher.of_product @ (x * z)
            hidden = matcher.second(first.relu()).relu()
            expected = matcher.similar(hidden)[0] + matcher.of_cosine * (x @ z)
            torch.testing.assert_close(found[i, j], expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        import xmr.matchers.two_pathway as module

        whole, cells = matcher.scores(visual, text), module.CELLS
        module.CELLS = 1
        try:
            torch.testing.assert_close(matcher.scores(visual, text), whole)
        finally:
            module.CELLS = cells


def test_one_layer_without_a_metric_network_is_a_linear_projection():
    params = settled_params("two_pathway", {"layers": 1, "metric_epochs": 0, "embed_dim": 7}, 5)
    matcher = build_matcher("two_pathway", params, 6, 5, None).eval()
    x = torch.randn(3, 6)
    projected = matcher.visual_pathway[0](x)
    torch.testing.assert_close(matcher.visual(x), projected / projected.norm(dim=1, keepdim=True))
    assert not matcher.scores_pairs


def test_a_metric_network_needs_epochs_before_it():
    with pytest.raises(ValueError, match="leave some before"):
        tiny.fit(tiny.config(matcher_params=STAGES, **UNCSM | {"epochs": 2}), load=tiny.with_text_features)


def test_the_last_loss_is_what_the_app_weighs_with(staged):
    from xmr.workspace.measurements import effective, loss_of_run

    workspace = Workspace.of([load_run(staged)], "tiny", tiny.with_text_features, embedding)
    assert loss_of_run(workspace, "uncsm") == METRIC_LOSS and effective(workspace, "uncsm")["scale"] == 1.0


def test_selectors_compare_captions_by_the_mean_of_their_tokens():
    def load(split):
        _, captions = tiny.items(split)
        rng = np.random.default_rng(3)
        table = {word: rng.normal(size=6).astype(np.float32) for word in tiny.WORDS}
        tokens = np.stack([[table[word] for word in caption.split()] for caption in captions])
        return tiny.dataset(split, text_features=np.concatenate([tokens, np.zeros_like(tokens[:, :1])], 1))

    settings = tiny.config(
        matcher="graph", matcher_params={"embed_dim": 16}, selector="caption_similarity", epochs=2
    )
    _, trained = tiny.fit(settings, load=load)
    assert trained.metrics["test"]["rsum"] > 160
    from xmr.training.task import prepare

    evidence = prepare(settings, load, None).evidence
    text = load("train").text_features[:, :3].mean(1)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    rows = np.arange(5)
    np.testing.assert_allclose(evidence.similarity.block(rows, rows), text[:5] @ text[:5].T, atol=1e-5)
