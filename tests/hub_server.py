"""A small Hub of our own on loopback: as much of its interface as `huggingface_hub` asks, with faults on demand.

Repositories are folders ROOT/KIND/ORG/NAME/REVISION, which tests may write themselves; a commit is a digest of what a folder holds,
and what a commit held is kept. Large files go the way of LFS (xet is switched off).
"""

import base64
import hashlib
import http.server
import json
import re
import shutil
import threading
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

LARGE = (".safetensors", ".parquet", ".png", ".arrow")
TOKEN, READER = "hf_may_write", "hf_may_read"


class Hub:
    """The server's state. `asked` are the requests so far; `faults` are [method, pattern of the path, status or "cut", times left]."""

    def __init__(self, root):
        self.root, self.asked, self.faults = root, [], []
        self.commits, self.large, self.private = {}, {}, {}
        self.address, self.close = "", lambda: None

    def folder(self, kind, name, revision="main"):
        return self.root / kind / name / revision.replace("/", "_")

    def files(self, kind, name, revision="main"):
        folder = self.folder(kind, name, revision)
        return {
            one.relative_to(folder).as_posix(): one.read_bytes()
            for one in sorted(folder.rglob("*"))
            if one.is_file()
        }

    def commit(self, kind, name, revision="main"):
        """The commit that a revision stands for, itself if it is one; None where there is none."""
        if (kind, name, revision) in self.commits:
            return revision
        if not self.folder(kind, name, revision).is_dir():
            return None
        files = self.files(kind, name, revision)
        sha = hashlib.sha1(repr([(path, digest(one)) for path, one in files.items()]).encode()).hexdigest()
        self.commits[kind, name, sha] = files
        return sha

    def fault(self, method, path):
        for fault in self.faults:
            if fault[0] == method and re.search(fault[1], path) and fault[3] > 0:
                fault[3] -= 1
                return fault[2]
        return None


def digest(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self):
        self.do("HEAD")

    def do_GET(self):
        self.do("GET")

    def do_POST(self):
        self.do("POST")

    def do_PUT(self):
        self.do("PUT")

    def do(self, method):
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.asked.append(f"{method} {path}")
        fault = hub.fault(method, path)
        if fault == "cut":
            self.close_connection = True
            return self.connection.close()
        if fault:
            headers = {"Retry-After": "0"} if fault == 429 else {}
            return self.answer(b"{}", fault, headers)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in ("", TOKEN, READER):
            return self.answer(b"{}", 401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        if path.startswith("/lfs/"):
            assert hashlib.sha256(body).hexdigest() == path[5:]
            hub.large[path[5:]] = body
            return self.answer(b"")
        if path == "/":
            return self.answer(b"")
        if path == "/api/whoami-v2":
            return self.json({"name": "me"}) if token else self.answer(b"{}", 401)
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body), token)
        if found := re.fullmatch(r"/api/(model|dataset|space)s/([^/]+/[^/]+)(?:/(\w+)/(.+))?", path):
            return self.api(*found.groups(), body, token)
        found = re.fullmatch(r"/(?:(dataset|space)s/)?([^/]+/[^/]+?)(\.git/info/lfs|/resolve)/(.+)", path)
        kind, name, verb, rest = found.groups()
        if verb.startswith(".git"):
            return self.batch(json.loads(body))
        return self.resolve(kind or "model", name, *rest.split("/", 1))

    def create(self, asked, token):
        kind = asked.get("type") or "model"
        name = f"{asked['organization'] or 'me'}/{asked['name']}"
        if token != TOKEN:
            return self.answer(b'{"error": "no"}', 403, {"X-Error-Message": "no right to write"})
        status = 409 if self.hub.folder(kind, name).is_dir() else 200
        self.hub.folder(kind, name).mkdir(parents=True, exist_ok=True)
        self.hub.private.setdefault((kind, name), asked.get("visibility") == "private")
        return self.json(
            {"url": f"{self.hub.address}/{'' if kind == 'model' else kind + 's/'}{name}"}, status
        )

    def api(self, kind, name, verb, rest, body, token):
        hub = self.hub
        if not (hub.root / kind / name).is_dir() or (hub.private.get((kind, name)) and not token):
            return self.answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
        revision = rest if verb in ("revision", "tree", "preupload", "commit") else "main"
        commit = hub.commit(kind, name, revision)
        if commit is None:
            return self.answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        files = hub.commits[kind, name, commit]
        if verb in (None, "revision"):
            siblings = [{"rfilename": path} for path in files]
            return self.json({"id": name, "sha": commit, "siblings": siblings, "private": False})
        if verb == "tree":
            return self.json([self.entry(path, content) for path, content in files.items()])
        if verb == "preupload":
            told = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": self.entry(one["path"], files[one["path"]])["preupload"]
                    if one["path"] in files
                    else None,
                }
                for one in json.loads(body)["files"]
            ]
            return self.json({"files": told})
        if token != TOKEN:
            return self.answer(b"{}", 403, {"X-Error-Message": "no right to write"})
        folder = hub.folder(kind, name, revision)
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                (folder / value["path"]).unlink()
                continue
            else:
                continue
            (folder / value["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / value["path"]).write_bytes(content)
        sha = hub.commit(kind, name, revision)
        return self.json(
            {"commitUrl": f"{hub.address}/{name}/commit/{sha}", "commitOid": sha, "success": True}
        )

    def entry(self, path, content):
        told = {"type": "file", "path": path, "size": len(content), "oid": digest(content)}
        told["preupload"] = told["oid"]
        if path.endswith(LARGE):
            sha = hashlib.sha256(content).hexdigest()
            told |= {"lfs": {"oid": sha, "size": len(content), "pointerSize": 100}, "preupload": sha}
        return told

    def batch(self, asked):
        objects = []
        for one in asked["objects"]:
            action = {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}
            objects.append(one | ({} if one["oid"] in self.hub.large else {"actions": action}))
        return self.json({"transfer": "basic", "objects": objects})

    def resolve(self, kind, name, revision, path):
        commit = self.hub.commit(kind, name, revision)
        content = self.hub.commits[kind, name, commit].get(path)
        if content is None:
            return self.answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else digest(content)
        return self.answer(content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def json(self, value, status=200):
        self.answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def answer(self, content, status=200, headers=()):
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def serving(root, patch):
    """A Hub whose repositories lie below `root`, and which this process takes for the Hub; `patch` is pytest's."""
    hub = Hub(root / "repositories")
    hub.root.mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"

    def close():
        server.shutdown()
        server.server_close()

    hub.close = close
    patch.setattr(constants, "ENDPOINT", hub.address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "".join(template[1:]))
    for name, value in environment(hub, root).items():
        patch.setenv(name, value)
    patch.setattr(constants, "HF_HUB_CACHE", str(root / "cache" / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(root / "cache" / "token"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield hub
    shutil.rmtree(root / "cache", ignore_errors=True)
    close()


def environment(hub, root):
    """What lets another process take it for the Hub."""
    return {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(root / "cache"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serving(tmp_path / "hub", monkeypatch) as found:
        yield found
