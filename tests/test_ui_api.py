"""The endpoints over the wire, as gradio_client and as agents use them, and that nothing else is public."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

RUNS = ["info_nce", "max_of_hinges", "siglip"]  # by name


@pytest.fixture(scope="module")
def client(app_url):
    return Client(app_url, verbose=False)


def test_only_the_four_endpoints_are_public(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(endpoints) == ["/false_negatives", "/pair_weights", "/runs", "/search"]
    arguments = [parameter["parameter_name"] for parameter in endpoints["/search"]["parameters"]]
    assert arguments == ["query", "runs", "k"]


def test_agents_find_the_endpoints_with_their_descriptions(app_url):
    tools = {tool["name"]: tool for tool in httpx.get(f"{app_url}gradio_api/mcp/schema").json()}
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


def test_every_argument_is_typed_and_described(app_url):
    tools = httpx.get(f"{app_url}gradio_api/mcp/schema").json()
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
        ("/pair_weights", ("siglip", -1, 8), "batch_seed must not be negative"),
        ("/pair_weights", ("siglip", 0, 100_000), "batch_size must be 2 to 256"),
        ("/false_negatives", ("siglip", "near_positiv", 5), "did you mean 'near_positive'"),
        ("/false_negatives", ("siglip", "near_positive", 10**9), "limit must be 1 to 500"),
    ],
)
def test_endpoints_say_what_is_wrong(client, endpoint, arguments, words):
    with pytest.raises(AppError, match=words):
        client.predict(*arguments, api_name=endpoint)


def test_an_agent_calls_a_tool(app_url):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def call():
        async with (
            streamablehttp_client(f"{app_url}gradio_api/mcp/") as (reader, writer, _),
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
