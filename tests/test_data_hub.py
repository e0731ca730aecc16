"""Data on the Hub, served from this machine as the Hub serves it, and what is told without a network."""

import functools
import hashlib
import http.server
import json
import threading
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from tests.test_data_arrow import check_pairs, fault, files_per_split, parquet, rows_of
from tests.test_data_coco import put
from tests.test_data_videos import film
from xmr.data import DataFault, hub, load_dataset
from xmr.data.sources import is_there, kind_of, pinned

COMMITS = {"main": "1" * 40, hub.PARQUET: "2" * 40, "v1": "3" * 40}


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub's interface as its client asks: repositories are folders ROOT/ORG/NAME/REVISION."""

    asked: ClassVar[list[str]] = []

    def __init__(self, root, *arguments):
        self.root = root
        super().__init__(*arguments)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.asked.append(path)
        parts = path.strip("/").split("/")
        if parts == [""]:
            return self.answer(b"")
        api = parts[0] == "api"
        org, name, verb, *rest = parts[2:] if api else parts[1:]
        repository = self.root / org / name
        rest = "/".join(rest)
        names = {commit: revision for revision, commit in COMMITS.items()}
        if not repository.is_dir():
            return self.answer(b"", 404, {"X-Error-Code": "RepoNotFound"})
        if verb == "revision":
            if not (repository / rest.replace("/", "_")).is_dir():
                return self.answer(b"", 404, {"X-Error-Code": "RevisionNotFound"})
            return self.json({"id": f"{org}/{name}", "sha": COMMITS[rest], "siblings": []})
        commit, _, file = rest.partition("/")
        folder = repository / names[commit].replace("/", "_")
        if verb == "tree":
            there = [one for one in sorted(folder.rglob("*")) if one.is_file()]
            return self.json(
                [
                    {
                        "type": "file",
                        "path": one.relative_to(folder).as_posix(),
                        "size": one.stat().st_size,
                        "oid": digest(one),
                    }
                    for one in there
                ]
            )
        content = (folder / file).read_bytes()
        etag = f'"{digest(folder / file)}"'
        return self.answer(content, headers={"ETag": etag, "X-Repo-Commit": commit})

    def json(self, value):
        self.answer(json.dumps(value).encode(), headers={"Content-Type": "application/json"})

    def answer(self, content, status=200, headers=()):
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def digest(path):
    return hashlib.sha1(path.read_bytes()).hexdigest()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A Hub of this machine: the folder of its repositories, and what ends it."""
    root = tmp_path / "repositories"
    root.mkdir()
    Hub.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, root))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "".join(template[1:]))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    def close():
        server.shutdown()
        server.server_close()

    yield root, close
    close()


def test_a_repository_is_fetched_once_and_read_as_it_lies(served):
    root, close = served
    files_per_split(root / "me/pics/main")
    assert kind_of("hf://me/pics") == "arrow"
    data = load_dataset("hf://me/pics", "test")
    assert (data.name, data.about["address"]) == ("pics", f"hf://me/pics@{COMMITS['main']}")
    assert data.about["licence"] == "mit"
    check_pairs(data)
    local = load_dataset(root / "me/pics/main", "test")
    assert (data.fingerprint, data.visual_ids) == (local.fingerprint, local.visual_ids)
    assert pinned("hf://me/pics") == data.about["address"]
    assert pinned("blocks") == "blocks" and is_there("hf://me/pics")
    close()
    Hub.asked.clear()
    again = load_dataset(data.about["address"], "train")  # what is pinned and here needs no network
    assert len(again.visual_ids) == 9 and not Hub.asked
    assert len(load_dataset("hf://me/pics", "validation").visual_ids) == 2


def test_revisions_and_configurations_are_followed(served):
    root, _ = served
    parquet(root / "me/pics/main/big/test-0.parquet", rows_of(range(5)))
    parquet(root / "me/pics/main/small/test-0.parquet", rows_of(range(2)))
    parquet(root / "me/pics/v1/small/test-0.parquet", rows_of(range(3)))
    assert len(load_dataset("hf://me/pics:big").visual_ids) == 5
    assert len(load_dataset("hf://me/pics:small").visual_ids) == 2
    assert len(load_dataset("hf://me/pics@v1:small").visual_ids) == 3
    assert "no folder 'tiny' in it (there are: " in fault("hf://me/pics:tiny")


def test_what_only_a_script_could_make_comes_from_the_branch_of_parquet(served):
    root, _ = served
    (root / "me/script/main").mkdir(parents=True)
    (root / "me/script/main/script.py").write_text("raise SystemExit('run')")
    parquet(root / "me/script/refs_convert_parquet/default/test/0000.parquet", rows_of(range(4)))
    data = load_dataset("hf://me/script")
    assert len(data.visual_ids) == 4
    assert data.about["address"] == f"hf://me/script@{COMMITS[hub.PARQUET]}"


def test_a_preset_has_its_files_and_parameters(served, tmp_path):
    root, _ = served
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
    assert (data.name, data.about["address"]) == ("msrvtt", f"msrvtt@{COMMITS['main']}")
    assert data.captions == ["5/0", "5/1", "6/0", "6/1"]
    assert pinned("msrvtt") == f"msrvtt@{COMMITS['main']}"
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
    root, _ = served
    files_per_split(root / "me/pics/main")
    assert said in fault(source)


def test_without_a_network_a_sentence_tells_what_to_do(served):
    _, close = served
    close()
    for source in ("hf://me/pics", "flickr30k"):
        message = fault(source)
        assert "is not on this machine, and the Hub can't be reached (" in message
        assert message.endswith("go online once, or name a folder that holds it")
        assert "\n" not in message


def test_a_server_does_not_fetch_what_a_strangers_run_names(served):
    root, _ = served
    files_per_split(root / "me/pics/main")
    with pytest.raises(DataFault, match="the Hub can't be reached \\(it is not asked here\\)"):
        kind_of("hf://me/pics", download=False)
    assert not Hub.asked
