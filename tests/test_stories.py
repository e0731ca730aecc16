"""Stories: their grammar, what their links name, that those which are shipped tell the truth, and a page of one to send."""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fake_workspace import make_workspace
from tests.viewed import pages_of
from xmr.views.stories import LARGEST, faults_of, joined, open_stories, read_story

GOOD = """# A *title*

What it is about,
in two lines.

## One
First sentence.
Same paragraph with `code`.

Another.
[What is seen](?v=1&tab=weights&loss=run+info_nce&story=x&step=9)

## Two
[Elsewhere](http://127.0.0.1:7860/?v=1&tab=results&runs=info_nce&runs=siglip)
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory, cache_folder):
    return pages_of(make_workspace(tmp_path_factory.mktemp("runs")))


def test_a_story_is_read_as_it_is_written():
    story = read_story("one", GOOD)
    assert (story.title, story.about) == ("A *title*", "What it is about, in two lines.")
    assert [step.title for step in story.steps] == ["One", "Two"]
    first, second = story.steps
    assert first.paragraphs == ("First sentence. Same paragraph with `code`.", "Another.")
    assert first.label == "What is seen"
    assert first.keys == {"v": ["1"], "tab": ["weights"], "loss": ["run info_nce"]}  # no other story's place
    assert second.paragraphs == () and second.keys["runs"] == ["info_nce", "siglip"]
    plain = story.plain["steps"][1]
    assert plain["keys"]["story"] == ["one"] and plain["keys"]["step"] == ["2"]
    assert read_story("one", GOOD.replace("\n", "\r\n")) == story


def test_markup_is_text_and_a_backslash_makes_a_line_text():
    step = read_story("x", "# t\n## s\n\\# no heading\n<b onclick=x>b</b>\n\\[no](?link)\n[v](?v=1)\n").steps[
        0
    ]
    assert step.paragraphs == ("# no heading <b onclick=x>b</b> [no](?link)",)
    parts = read_story("x", "# t\n## s\n<script>alert(1)</script>\n[v](?v=1)").plain["steps"][0][
        "paragraphs"
    ][0]
    assert parts == [{"text": "<script>alert(1)</script>"}]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it is empty"),
        ("words first\n# t", "line 1: a story begins with its title"),
        ("## step\n", "line 1: ## where # is wanted"),
        ("# t\n# again", "line 2: # where ## is wanted"),
        ("# t\n### deep\n", "line 2: ### where ## is wanted"),
        ("# t\n##\n[v](?v=1)", "line 2: a heading without words"),
        ("# t\n", "0 steps"),
        ("# t\n" + "## s\n[v](?v=1)\n" * 25, "25 steps"),
        ("# t\n## s\nwords", "line 2: the step 's' has 0 links"),
        ("# t\n## s\n[v](?v=1)\n[w](?v=1)", "has 2 links"),
        ("# t\n## s\n[v](https://example.org/)", "is no link to a view"),
    ],
)
def test_what_is_no_story_is_told_with_its_line(text, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        read_story("x", text)


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["# t", "## s", "[v](?v=1&tab=x)", "w", ""]), max_size=9).map("\n".join)
)
@settings(max_examples=100)
def test_whatever_a_file_holds_it_is_a_story_or_a_sentence(text):
    with contextlib.suppress(ValueError):  # nothing else
        story = read_story("x", text)
        assert story.title and story.steps and story.plain


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("v=1&tab=weighs", "step 1: unknown tab 'weighs'; did you mean 'weights'?"),
        ("v=1&tab=weights&loss=run+info", "step 1: unknown run 'info'"),
        ("v=1&tab=weights&loss=loss+infonce", "unknown loss 'infonce'; did you mean 'info_nce'?"),
        ("v=1&tab=search&runs=info_nce&runs=nobody", "unknown run 'nobody'"),
        ("v=1&tab=search&dataset=elsewhere", "unknown dataset 'elsewhere'"),
        ("v=1&tab=search&quary=x", "unknown key 'quary'; did you mean 'query'?"),
        ("v=1&tab=search&k=99", "k must be 4 to 24"),
        ("v=2&tab=search", "of version '2'"),
    ],
)
def test_what_a_link_names_and_is_not_there_is_told(pages, query, fault):
    assert fault in "; ".join(faults_of(read_story("x", f"# t\n## s\n[v](?{query})"), pages))


def test_a_folder_of_stories_serves_the_whole_ones_and_says_what_is_wrong_with_others(pages, tmp_path):
    (tmp_path / "good.md").write_text(GOOD)
    (tmp_path / "empty.md").write_text("")
    (tmp_path / "large.md").write_text("# t\n" + "x" * LARGEST)
    (tmp_path / "latin.md").write_bytes("# é".encode("latin-1"))
    (tmp_path / "elsewhere.md").write_text(GOOD.replace("info_nce", "nobody"))
    (tmp_path / "notes.txt").write_text("no story")
    stories, faults = open_stories(tmp_path, pages)
    assert [story.id for story in stories] == ["good"]
    assert len(faults) == 4 and all(str(tmp_path) not in fault for fault in faults)
    told = " ".join(faults)
    for part in (
        "empty.md: it is empty",
        f"at most {LARGEST:,}",
        "latin.md: it is not UTF-8",
        "elsewhere.md: step 1: unknown run 'nobody'",
    ):
        assert part in told
    assert open_stories(tmp_path / "none", pages)[0] == []
    later = read_story("good", GOOD.replace("A *title*", "Mine"))
    assert [one.title for one in joined([stories, [later]])] == ["Mine"]
