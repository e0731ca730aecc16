"""Imports point down, and a heavy library has one home (design: layers, lowest first)."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {
        "allowed",
        "cache",
        "captions",
        "checksums",
        "devices",
        "disk",
        "disk_arrays",
        "disk_values",
        "hub",
        "limits",
        "locks",
        "processes",
        "registry",
        "start",
        "tables",
        "turns",
        "words",
        "zero_gpu",
    },
    {"core"},
    {"losses", "selection", "metrics", "fusion", "evidence", "worlds", "nn"},
    {"data", "encoders", "matchers", "search"},
    {"training", "checkpoints", "analysis", "store", "embedding", "scoring", "pretraining", "towers"},
    {"experiments"},
    {"workspace", "figures", "publishing"},
    {"views"},
    {"page"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HOMES = {
    "gradio": {"page"},
    "plotly": {"figures", "page"},  # the page serves plotly's own JavaScript file and nothing more
    "jinja2": {"views"},
    "latex2mathml": {"views"},
    "faiss": {"search"},
    "open_clip": {"encoders", "pretraining", "towers"},
    "datasets": {"data"},
    "scipy": {"data", "experiments", "fusion", "metrics"},
    "pandas": {"tables"},
    "av": {"data"},
    "tqdm": {"data"},  # the one long wait inside a library call; elsewhere progress goes to callables
}
MODULES = sorted(ROOT.glob("xmr/**/*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            if node.module == "xmr":
                yield from (f"xmr.{alias.name}" for alias in node.names)


def part(path):
    return path.relative_to(ROOT / "xmr").with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down_and_heavy_libraries_have_one_home(path):
    own = part(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top in HOMES:
            assert own in HOMES[top], f"{name} belongs to {sorted(HOMES[top])}"
        if top == "xmr" and rest and rest[0] != own and own != "__init__":
            assert LEVEL[rest[0]] <= LEVEL[own], f"xmr.{own} must not import xmr.{rest[0]}"
        assert top not in {"scripts", "app", "tests", "benchmarks"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("scripts/*.py")), ids=lambda p: p.name)
def test_scripts_do_not_import_the_page(path):
    # gradio_client, a package of its own, asks a page that is served elsewhere.
    assert not [
        name for name in imports(path) if name.startswith("xmr.page") or name.split(".")[0] == "gradio"
    ]


def test_every_part_has_a_layer():
    assert {part(path) for path in MODULES} - {"__init__"} <= set(LEVEL)


@pytest.mark.parametrize("path", [p for p in MODULES if part(p) == "page"], ids=lambda p: p.name)
def test_the_page_speaks_through_one_module_that_escapes(path):
    """Gradio draws messages as HTML; the endpoints' errors go to programs, which need them as they are."""
    if path.name not in ("said.py", "api.py"):
        made = re.findall(r"gr\.(?:Error|Warning|Info|Success)\(", path.read_text())
        assert not made, f"use xmr.page.said instead of {made}"


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in ("views", "page")
        for path in (ROOT / "xmr" / folder).rglob("*.*")
        if path.suffix != ".pyc"
    ],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_part_of_what_is_shown_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= (500 if path.name == "map.js" else 400)
