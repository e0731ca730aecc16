"""ZeroGPU, by a `spaces` of our own: imported there only, before torch; one function has the GPU, and only a queued event asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import Client

from tests.fake_workspace import make_workspace
from xmr import devices, zero_gpu
from xmr.page import bulk
from xmr.workspace.pages import open_pages

ROOT = Path(__file__).parent.parent
# As much of the package as gradio and xmr ask. A GPU is lent to a call; whoever computes outside of one is told.
SPACES = """
import sys
assert not any(name == 'torch' or name.startswith('torch.') for name in sys.modules), 'torch came first'
functions, calls, inside = {}, [], []


def GPU(task=None, *, duration=60):
    if task is None:
        return lambda task: GPU(task, duration=duration)

    def called(*arguments):
        calls.append(arguments)
        inside.append(True)
        try:
            return task(*arguments)
        finally:
            inside.pop()

    functions[task.__name__] = duration
    return called


def gradio_auto_wrap(function):
    return function
"""


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    """The package, in this process and in others, on a host that is ZeroGPU."""
    (tmp_path / "spaces.py").write_text(SPACES.replace("assert", "pass  #"))  # torch is here long since
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    import spaces

    yield spaces
    monkeypatch.delitem(sys.modules, "spaces", raising=False)


@pytest.mark.parametrize(
    ("value", "zero"),
    [("true", True), ("1", True), ("T", True), ("false", False), ("", False), (None, False)],
)
def test_the_host_is_asked_as_the_package_asks_it(monkeypatch, value, zero):
    monkeypatch.setenv("SPACES_ZERO_GPU", value) if value is not None else monkeypatch.delenv(
        "SPACES_ZERO_GPU", raising=False
    )
    assert zero_gpu.is_zero_gpu() is zero


@pytest.mark.parametrize("zero", ["true", ""])
def test_the_package_is_imported_there_only_and_before_torch(tmp_path, zero):
    (tmp_path / "spaces.py").write_text(SPACES + "\nprint('imported spaces', flush=True)\n")
    env = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "SPACES_ZERO_GPU": zero,
        "XMR_CACHE": str(tmp_path / "cache"),
    }
    code = "import app, sys; from xmr import zero_gpu; zero_gpu.prepare(); print('spaces' in sys.modules); import torch"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == (["imported spaces", "True"] if zero else ["False"])
    source = (ROOT / "app.py").read_text()
    assert 0 < source.index("zero_gpu.prepare()") < source.index("from xmr.devices import")


def test_the_processor_computes_outside_of_calls(spaces, monkeypatch):
    monkeypatch.setattr(devices, "available", lambda: ["cpu", "cuda", "cuda:0"])
    assert devices.use_device("auto").type == "cpu"
    assert not devices.in_half(
        devices.torch.device("cuda")
    )  # what a call makes is what the processor would make


def test_the_one_function_is_asked_by_a_queued_event(spaces, serve, tmp_path, monkeypatch):
    asked = []
    workspace = make_workspace(tmp_path / "runs")
    frozen = workspace.embedder.frozen_features

    def features(data, encoder):
        asked.append((encoder, bool(spaces.inside)))
        return frozen(data, encoder)

    monkeypatch.setattr(workspace.embedder, "frozen_features", features)
    monkeypatch.setattr(bulk, "use_device", lambda name: asked.append((name, bool(spaces.inside))))
    with serve(workspace) as url:
        client = Client(url, verbose=False)
        assert spaces.functions == {"on_gpu": bulk.SECONDS} and not spaces.calls
        assert client.predict("siglip", api_name="/embed") == {"visuals": 60, "captions": 0}
        assert spaces.calls == [("siglip",)] and asked[0] == ("cuda", True) and asked[1][1]
        (event,) = [one for one in client.config["dependencies"] if one["api_name"] == "embed"]
        assert event["queue"] is not False and event["api_visibility"] == "public"
        with pytest.raises(Exception, match="did you mean 'siglip'"):
            client.predict("sigslip", api_name="/embed")
        spaces.calls.clear()
        found = client.predict("a red ring", ["siglip"], 3, api_name="/search")
        assert len(found["runs"]["siglip"]["results"]) == 3 and not spaces.calls  # typed words need no GPU


def test_elsewhere_there_is_no_such_endpoint(url):
    assert (
        "/embed"
        not in Client(url, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    )


def test_what_the_gpu_read_is_found_by_the_server(spaces, tmp_path, monkeypatch):
    """The shipped encoder on what is generated: the call's features are in the cache, and are those of the processor."""
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bulk, "use_device", lambda name: None)  # none here
    pages = open_pages(ROOT / "checkpoints")
    run = next(iter(pages[0].runs))
    sizes = bulk.embed(pages[0].workspace, pages)(run)
    assert sizes == {"visuals": 1000, "captions": len(pages[0].workspace.dataset("test").captions)}
    assert list((tmp_path / "cache/features").glob("*-pooled/visual.npy")) and spaces.calls == [(run,)]
