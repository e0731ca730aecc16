"""Stories: steps of a few sentences, each beside a view. A story is a Markdown file:

    # Its title
    What it is about.

    ## The title of a step
    Sentences, in one paragraph or more.
    [What is seen](?v=1&tab=weights&loss=run+info_nce)

`#` and `##` begin the title and a step, a line that is a link to a view of the page is what the step shows (one each), and all
else is text, with `code`, *emphasis* and $formulas$. Markup of HTML is text like any other; a `\\` before a line's first
character makes it text. No gradio here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from xmr.losses import LOSSES
from xmr.registry import unknown
from xmr.views import TABS
from xmr.views.prose import parts
from xmr.views.state import MOST_STEPS, read
from xmr.workspace.pages import Page

SHIPPED = Path(__file__).parent.parent / "stories"
LARGEST = 64 << 10  # bytes of a file
MOST_STORIES = 50
LINK = re.compile(r"\[([^\]]*)\]\(([^\s()]+)\)")
RUNS = ("runs", "baseline", "fn_run", "a", "b", "map_a", "map_b")  # keys that name runs
CHOICES = ("loss", "beside")  # those that name "run NAME" or "loss NAME"


@dataclass(frozen=True)
class Step:
    """`keys` are those of the address that shows it, each with its texts; `label` is what its link says."""

    title: str
    paragraphs: tuple[str, ...]
    label: str
    keys: dict[str, list[str]]


@dataclass(frozen=True)
class Story:
    """`id` is what addresses call it: the name of its file."""

    id: str
    title: str
    about: str
    steps: tuple[Step, ...]

    @property
    def plain(self) -> dict[str, Any]:
        """As the page holds it: text in parts, and for each step the keys of the state that it sets."""
        steps = [
            {
                "title": step.title,
                "paragraphs": [parts(text) for text in step.paragraphs],
                "label": step.label,
                "keys": step.keys | {"story": [self.id], "step": [str(at)]},
            }
            for at, step in enumerate(self.steps, 1)
        ]
        return {"id": self.id, "title": self.title, "about": self.about, "steps": steps}


def read_story(id: str, text: str) -> Story:
    """The story that a file's text tells. Raises ValueError with the line that is none of its grammar."""
    heads: list[tuple[str, int]] = []  # the title's and the steps' headings, with their lines
    bodies: list[list[str]] = []  # what stands below each
    for at, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        line = line.strip()
        mark = re.match(r"#+(?=\s|$)", line)
        if mark:
            wanted = "##" if heads else "#"
            if mark[0] != wanted:
                raise ValueError(
                    f"line {at}: {mark[0]} where {wanted} is wanted (# is the title, ## a step): {line[:60]!r}"
                )
            heads.append((line[len(wanted) :].strip(), at))
            bodies.append([])
        elif heads:
            bodies[-1].append(line)
        elif line:
            raise ValueError(f"line {at}: a story begins with its title, # …, not with {line[:60]!r}")
    for title, at in heads:
        if not title:
            raise ValueError(f"line {at}: a heading without words")
    if not heads:
        raise ValueError("it is empty; a story begins with its title, # …")
    if not 1 <= len(heads) - 1 <= MOST_STEPS:
        raise ValueError(f"{len(heads) - 1} steps, each begins with ##; a story has 1 to {MOST_STEPS}")
    steps = [_step(title, at, body) for (title, at), body in zip(heads[1:], bodies[1:], strict=True)]
    return Story(id, heads[0][0], " ".join(_paragraphs(bodies[0])), tuple(steps))


def _step(title: str, at: int, lines: list[str]) -> Step:
    links = [(line, found) for line in lines if (found := LINK.fullmatch(line))]
    if len(links) != 1:
        raise ValueError(
            f"line {at}: the step {title[:60]!r} has {len(links)} links to a view on lines of their own; it has 1: [words](?v=1&tab=…)"
        )
    line, found = links[0]
    address = urlsplit(found[2])
    if not address.query:
        raise ValueError(f"line {at}: {found[2][:60]!r} is no link to a view: ?v=1&tab=…")
    keys = parse_qs(address.query, max_num_fields=200)
    for key in ("story", "step"):  # of whoever copied the link while another story was open
        keys.pop(key, None)
    return Step(
        title, tuple(_paragraphs([one for one in lines if one is not line])), found[1].strip() or title, keys
    )


def _paragraphs(lines: Sequence[str]) -> list[str]:
    blocks = re.split(r"\n{2,}", "\n".join(line.removeprefix("\\") for line in lines).strip())
    return [" ".join(block.split()) for block in blocks if block.strip()]


def faults_of(story: Story, pages: Sequence[Page]) -> list[str]:
    """What its links name and is not there, in words."""
    found = []
    by_title = {page.title: page for page in pages}
    for at, step in enumerate(story.steps, 1):
        state, faults = read(step.keys)
        if state.tab not in TABS:
            faults.append(unknown("tab", state.tab[:80], TABS))
        page = by_title.get(state.dataset or pages[0].title)
        if page is None:
            faults.append(unknown("dataset", state.dataset[:80], by_title))
        else:
            named = [name for key in RUNS for name in _many(getattr(state, key)) if name not in ("", "-")]
            for kind, name in (
                value.split(" ", 1) for key in CHOICES if " " in (value := getattr(state, key))
            ):
                if kind == "run":
                    named.append(name)
                elif name not in LOSSES:
                    faults.append(unknown("loss", name[:80], LOSSES))
            faults += [
                unknown("run", name[:80], page.runs) for name in dict.fromkeys(named) if name not in page.runs
            ]
        found += [f"step {at}: {fault}" for fault in faults]
    return found


def _many(value: Any) -> Sequence[str]:
    return value if isinstance(value, tuple) else [value or ""]


def open_stories(folder: Path, pages: Sequence[Page]) -> tuple[list[Story], list[str]]:
    """The stories of a folder's `*.md`, by name, whose links all lead somewhere; and a sentence for each that is left out."""
    if not folder.is_dir():
        return [], [f"{folder}: there is no such folder"]
    stories, faults = [], []
    paths = sorted(folder.glob("*.md"))
    if len(paths) > MOST_STORIES:
        faults.append(f"{folder}: {len(paths)} stories, the first {MOST_STORIES} are read")
    for path in paths[:MOST_STORIES]:
        try:
            story = story_of(path)
        except (OSError, ValueError) as error:
            faults.append(f"{path.name}: {error}")
            continue
        if wrong := faults_of(story, pages):
            faults.append(
                f"{path.name}: {'; '.join(wrong[:3])}"
                + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            )
        else:
            stories.append(story)
    return stories, faults


def story_of(path: Path) -> Story:
    """The story of a file. Raises OSError, and ValueError where it is too large or no story."""
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{size:,} bytes; a story has at most {LARGEST:,}")
    try:
        return read_story(path.stem, path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def joined(groups: Sequence[Sequence[Story]]) -> list[Story]:
    """All of them, a later one in the place of an earlier one of the same name."""
    found: dict[str, Story] = {}
    for story in (one for group in groups for one in group):
        found[story.id] = story
    return [*found.values()]
