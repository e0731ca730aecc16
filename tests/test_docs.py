"""The pages that people read say what the code does: links lead somewhere, commands have their options, and what is made
from the code is up to date."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.selection import SELECTORS
from xmr.views import TABS

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *DOCS]
TEXT = {path: path.read_text(encoding="utf-8") for path in PAGES}
README = TEXT[ROOT / "README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)  # `page` is a browser's


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text):
    """The names of headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(text):
    """(script, words) of every command, by its file or as `xmr NAME`: in blocks of shell, of which lines may go on, and in a
    line of text."""
    blocks = [block.replace("\\\n", " ") for kind, block in FENCE.findall(text) if kind == "sh"]
    spans = re.findall(r"`([^`]+)`", FENCE.sub("", text))
    for one in [*blocks, *(f"python {span.removeprefix('python ')}" for span in spans)]:
        for found in re.finditer(
            r"(?:python ((?:[\w-]+/)*[\w-]+)\.py|^xmr (\w+))([^\n;]*)", one, re.MULTILINE
        ):
            yield f"{found[1] or found[2]}.py", shlex.split(found[3], comments=True)


def options_of(script):
    """The options that a command line has, also those that it takes from another script."""
    source = script.read_text()
    shared = re.findall(r"from scripts\.(\w+) import|from scripts import ([\w, ]+)", source)
    names = {name for one, many in shared for name in (one, *many.split(", ")) if name}
    sources = [source] + [
        path.read_text() for name in names if (path := script.parent / f"{name}.py").exists()
    ]
    fields = {name.replace("_", "-") for text in sources for name in re.findall(r'\badd\("(\w+)"', text)}
    spelt = {option for text in sources for option in re.findall(r'"(--[\w-]+)"', text)}
    return {"--help"} | spelt | {f"--{field}" for field in fields}  # of `TrainConfig`, see scripts/options.py


@each_page
def test_links_lead_to_a_file_and_to_a_heading_of_it(path):
    text = FENCE.sub("", TEXT[path])
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for link in links:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@each_page
def test_commands_name_scripts_and_options_that_there_are(path):
    for name, words in commands(TEXT[path]):
        script = next((one for one in (ROOT / name, ROOT / "scripts" / name) if one.is_file()), None)
        assert script, name
        known = options_of(script)
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{name} has no {word}"
            if word in ("--loss", "--selector", "--matcher"):
                registry = {"--loss": LOSSES, "--selector": SELECTORS, "--matcher": MATCHERS}[word]
                first = words[words.index(word) + 1].partition("+")[0]
                assert first in registry or first.startswith("$") or first == "NAME", f"{name} {word} {first}"


def test_the_front_page_is_short_and_begins_with_what_a_space_needs():
    assert len(README.encode()) <= 9_000
    front = re.match(r"---\n(.*?)\n---\n", README, re.DOTALL)[1]
    facts = dict(line.split(": ", 1) for line in front.splitlines())
    assert facts["sdk"] == "gradio"
    assert (ROOT / facts["app_file"]).is_file()
    for theme in ("light", "dark"):
        assert f"docs/app-{theme}.png" in README
        assert (ROOT / "docs" / f"app-{theme}.png").stat().st_size <= 200_000


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_no_page_is_longer_than_400_lines(path):
    assert len(TEXT[path].splitlines()) < 400


def test_the_python_of_the_front_page_runs():
    shown = [block for kind, block in FENCE.findall(README) if kind == "python"]
    assert len(shown) == 2
    try:
        names = {}
        for block in shown:
            exec(block, names)
        value = names["loss_value"]("my_loss", names["torch"].eye(3), margin=0.3)
        assert value == 0  # positives 1, negatives 0: the margin is kept
        assert LOSSES["my_loss"].caption.startswith("One line")
        # Three equal scores: the worst negative violates the whole margin, in both directions.
        assert names["loss_value"]("my_loss", names["torch"].zeros(3, 3), margin=0.3) == pytest.approx(0.3)
    finally:
        LOSSES.pop("my_loss", None)


@pytest.mark.parametrize("name", ["README.md", "docs/app.md"])
def test_the_tabs_are_those_of_the_app(name):
    assert re.findall(r"^\| \*\*([\w ]+)\*\* \|", TEXT[ROOT / name], re.MULTILINE) == [
        title for title, _ in TABS.values()
    ]


@pytest.mark.parametrize(
    ("name", "registry"),
    [("losses", LOSSES), ("selectors", SELECTORS), ("matchers", MATCHERS)],
    ids=lambda one: str(one)[:9],
)
def test_the_tables_by_family_name_all_that_is_shipped_and_nothing_else(name, registry):
    page = TEXT[ROOT / "docs" / f"{name}.md"].partition("<!-- made")[0]
    table = [line for line in page.splitlines() if line.startswith("| ")]
    # Of matchers a row is one, in the first column; of the others a row is a family.
    cells = [line.split(" | ")[0 if name == "matchers" else 1] for line in table]
    named = [one for cell in cells for one in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(one for one, entry in registry.items() if entry.shipped)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_what_is_made_from_the_code_is_up_to_date(path, make):
    assert make.made_again(TEXT[path], leave=make.SLOW) == TEXT[path], "run `make docs`"


def test_a_page_that_is_behind_is_written_anew_and_fails(make, monkeypatch, tmp_path, capsys):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "page.md").write_text("before\n<!-- made: selectors -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(make, "ROOT", tmp_path)
    monkeypatch.setattr(make, "DOCS", docs)
    assert make.main() == 1
    assert "docs/page.md" in capsys.readouterr().out
    text = (docs / "page.md").read_text()
    assert text.startswith("before\n<!-- made: selectors -->\n### `caption_similarity`")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text.splitlines()
    assert make.main() == 0


def test_a_part_that_nobody_makes_is_an_error(make):
    with pytest.raises(KeyError, match="lossses"):
        make.made_again("<!-- made: lossses -->\n<!-- end -->\n")
