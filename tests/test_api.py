"""The endpoints over the wire, as gradio_client and as agents use them, and that nothing else is public."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.fake_workspace import make_workspace
from xmr.page import api

RUNS = ["info_nce", "max_of_hinges", "siglip"]  # by name


@pytest.fixture(scope="module")
def client(url):
    return Client(url, verbose=False)


def test_only_the_four_endpoints_are_public(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(endpoints) == ["/false_negatives", "/pair_weights", "/runs", "/search"]
    arguments = [parameter["parameter_name"] for parameter in endpoints["/search"]["parameters"]]
    assert arguments == ["query", "runs", "k"]


def test_agents_find_the_endpoints_with_their_descriptions(url):
    tools = {tool["name"]: tool for tool in httpx.get(f"{url}gradio_api/mcp/schema").json()}
    assert sorted(tools) == ["false_negatives", "pair_weights", "runs", "search"]
    assert "visuals of the test split" in tools["search"]["description"]
    assert set(tools["search"]["inputSchema"]["properties"]) == {"query", "runs", "k"}


def test_search_endpoint_ranks_and_tells_relevance(client):
    found = client.predict("a red ring", RUNS[:2], 5, api_name="/search")
    assert list(found["runs"]) == RUNS[:2]
    for answered in found["runs"].values():
        assert [result["rank"] for result in answered["results"]] == [1, 2, 3, 4, 5]
        assert set(answered["results"][0]) == {"id", "score", "rank", "first_rank", "relevant"}
        assert {result["relevant"] for result in answered["results"]} <= {True, False}
    free = client.predict("no caption reads so", [], 3, api_name="/search")
    assert list(free["runs"]) == RUNS
    assert {r["relevant"] for run in free["runs"].values() for r in run["results"]} == {None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a ring", ["sigllp"], 5), "did you mean 'siglip'"),
        (("  ", RUNS, 5), "empty"),
        (("a ring", RUNS, 0), "k must be"),
    ],
)
def test_search_endpoint_says_what_is_wrong(client, arguments, words):
    with pytest.raises(AppError, match=words):
        client.predict(*arguments, api_name="/search")


def test_runs_endpoint_lists_loss_dataset_and_metrics(client):
    runs = client.predict(api_name="/runs")
    assert [run["name"] for run in runs] == RUNS
    assert runs[0]["loss"] == "info_nce"
    assert runs[0]["dataset"] == "shapes"
    assert "t2v/recall_at_1" in runs[0]["metrics"]["test"]


def test_every_argument_is_typed_and_described(url):
    tools = httpx.get(f"{url}gradio_api/mcp/schema").json()
    for tool in tools:
        assert len(tool["description"]) > 40, tool["name"]
        for name, argument in tool["inputSchema"]["properties"].items():
            assert argument["type"] in ("string", "integer", "array"), (tool["name"], name)
            assert argument.get("description") or name in tool["description"], (tool["name"], name)
    runs = next(tool for tool in tools if tool["name"] == "search")["inputSchema"]["properties"]["runs"]
    assert runs["items"] == {"type": "string"}


def test_weights_and_suspects_come_as_matrices_and_pairs(client):
    found = client.predict("siglip", 3, 8, api_name="/pair_weights")
    assert found["run"] == "siglip" and found["loss"] == "siglip"
    for part in ("scores", "weights", "positives", "negatives", "suspected"):
        assert [len(row) for row in found[part]] == [8] * 8, part
    assert len(found["visuals"]) == len(found["captions"]) == 8
    flagged = client.predict("siglip", "near_positive", 5, api_name="/false_negatives")
    assert flagged["selector"] == "near_positive" and len(flagged["pairs"]) <= 5
    assert {"query", "query_id", "candidate_id", "score", "weight", "rank", "evidence"} <= set(
        flagged["pairs"][0]
    )


@pytest.mark.parametrize(
    ("endpoint", "arguments", "words"),
    [
        ("/pair_weights", ("siglipp", 0, 8), "did you mean 'siglip'"),
        ("/pair_weights", ("siglip", -1, 8), "batch_seed must be 0 to"),
        ("/pair_weights", ("siglip", 0, 100_000), "batch_size must be 2 to 256"),
        ("/false_negatives", ("siglip", "near_positiv", 5), "did you mean 'near_positive'"),
        ("/false_negatives", ("siglip", "near_positive", 10**9), "limit must be 1 to 500"),
    ],
)
def test_endpoints_say_what_is_wrong(client, endpoint, arguments, words):
    with pytest.raises(AppError, match=words):
        client.predict(*arguments, api_name=endpoint)


SENTENCES = {
    "search": [
        (["a ring", "info_nce", 3], "runs is a list of names, found the string 'info_nce'"),
        (["a ring", [["info_nce"]], 3], "runs is a list of names, found a list in it"),
        (["a ring", None, 3], "runs is a list of names, found null"),
        ([{"text": "a ring"}, [], 3], "query is a text, found an object"),
        (["x" * 501, [], 3], "query has 501 characters, and at most 500 are read"),
        (["a \ud800", [], 3], "half a character"),
        (["a ring", [], "3"], "k is a whole number from 1 to 1,000, found the string '3'"),
        (["a ring", [], 2.5], "k is a whole number from 1 to 1,000, found the number 2.5"),
        (["a ring", [], True], "found the boolean True"),
        (["a ring"], "search takes 3 values, found 1"),
    ],
    "pair_weights": [
        ([["siglip"], 0, 8], "run is a text, found a list"),
        (["siglip", None, 8], "batch_seed is a whole number"),
        (["siglip", 10**400, 8], "batch_seed must be 0 to 4,294,967,295"),
        (["siglip", 0, {}], "batch_size is a whole number from 2 to 256, found an object"),
    ],
    "false_negatives": [
        (["siglip", 7, 5], "selector is a text, found the number 7"),
        (["siglip", "near_positive", [5]], "limit is a whole number from 1 to 500, found a list"),
    ],
}  # fmt: skip
FILE = {"path": "../../etc/passwd", "meta": {"_type": "gradio.FileData"}}


def called(url, endpoint, data):
    """What an endpoint answers to a program that sends anything."""
    kind = {"Content-Type": "application/json"}
    body = json.dumps({"data": data})
    joined = httpx.post(f"{url}gradio_api/call/{endpoint}", content=body, headers=kind)
    if joined.status_code != 200 or "event_id" not in joined.json():
        return joined.text
    return httpx.get(f"{url}gradio_api/call/{endpoint}/{joined.json()['event_id']}", timeout=60).text


@pytest.mark.parametrize(
    ("endpoint", "data", "words"), [(name, *one) for name, all_of in SENTENCES.items() for one in all_of]
)
def test_what_is_of_the_wrong_kind_is_told_in_a_sentence(url, endpoint, data, words):
    said = called(url, endpoint, data)
    assert "event: error" in said and words in json.loads(said.split("data: ", 1)[1])["error"]


@pytest.mark.parametrize("endpoint", SENTENCES)
def test_a_file_that_nobody_uploaded_is_not_named_whole(url, endpoint):
    said = called(url, endpoint, [FILE, FILE, FILE])
    assert "No file of this name was uploaded here" in said and os.getcwd() not in said


def test_agents_are_told_in_a_sentence_too(url):
    call = {
        "method": "tools/call",
        "jsonrpc": "2.0",
        "id": 1,
        "params": {"name": "search", "arguments": {"query": "a ring", "runs": "siglip"}},
    }
    headers = {"Accept": "application/json, text/event-stream"}
    answer = httpx.post(
        f"{url}gradio_api/mcp/", json=call, headers=headers, timeout=60, follow_redirects=True
    )
    assert "runs is a list of names" in answer.text or "is not of type 'array'" in answer.text


def test_a_run_that_fails_is_a_fault_of_its_own(client, tmp_path, serve):
    found = client.predict("a red ring", ["info_nce", "sigllp"], 3, api_name="/search")["runs"]
    assert len(found["info_nce"]["results"]) == 3 and found["info_nce"]["fault"] is None
    assert found["sigllp"]["results"] == [] and "did you mean 'siglip'" in found["sigllp"]["fault"]
    workspace = make_workspace(tmp_path)
    embed = workspace.embedder.embed_texts
    reasons = {
        "max_of_hinges": FileNotFoundError(
            2, "No such file or directory", "/srv/models/enc/open_clip.safetensors"
        ),
        "siglip": RuntimeError("mat1 and mat2 shapes cannot be multiplied, see /srv/models"),
    }

    def breaking(run, texts, encoded):
        if run.name in reasons:
            raise reasons[run.name]
        return embed(run, texts, encoded)

    workspace.embedder.embed_texts = breaking
    found = api.search(workspace)("a red ring", [], 3)["runs"]
    assert [len(found[run]["results"]) for run in RUNS] == [3, 0, 0]
    assert "open_clip.safetensors" in found["max_of_hinges"]["fault"]
    assert found["siglip"]["fault"] == "siglip failed here (RuntimeError); the server's log says where"
    assert "/srv" not in json.dumps(found)


def test_what_nobody_thought_of_is_told_without_its_words(tmp_path, monkeypatch):
    workspace = make_workspace(tmp_path)
    monkeypatch.setattr(api, "batch", lambda *_: 1 / 0)
    with pytest.raises(gr.Error, match=r"failed in the server \(ZeroDivisionError\)"):
        api.pair_weights(workspace)("siglip", 0, 8)


def test_runs_tell_no_folder_of_the_server(tmp_path):
    workspace = make_workspace(tmp_path)
    run = workspace.runs["siglip"]
    workspace.runs["siglip"] = replace(run, config=replace(run.config, dataset="/srv/data/my photos"))
    workspace.apart["other"] = (
        run,
        "trained on '/srv/data/my photos'; to see it: python app.py --dataset /srv/data/b",
    )
    said = api.runs(workspace)()
    assert {one["dataset"] for one in said} == {"shapes", "my photos"} and "/srv" not in json.dumps(said)


def test_an_agent_calls_a_tool(url):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def call():
        async with (
            streamablehttp_client(f"{url}gradio_api/mcp/") as (reader, writer, _),
            ClientSession(reader, writer) as session,
        ):
            await session.initialize()
            names = sorted(tool.name for tool in (await session.list_tools()).tools)
            return names, await session.call_tool(
                "search", {"query": "a red ring", "runs": ["siglip"], "k": 3}
            )

    with ThreadPoolExecutor(1) as other:  # the browser of other tests keeps a loop in this thread
        names, answer = other.submit(asyncio.run, call()).result(60)
    assert names == ["false_negatives", "pair_weights", "runs", "search"]
    assert not answer.isError
    said = answer.content[0].text
    found = json.loads(
        said[said.index("{") : said.rindex("}") + 1]
        .replace("'", '"')
        .replace("None", "null")
        .replace("True", "true")
        .replace("False", "false")
    )
    assert [result["rank"] for result in found["runs"]["siglip"]["results"]] == [1, 2, 3]
