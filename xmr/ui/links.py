"""Links: a view as a query string, what it sets when a page is opened with it, and moves from tab to tab.

A tab tells what of it a link keeps: `controls.links.keep("selector", component, one_of("selector", SELECTORS), ID)`.
Every change writes the address anew, in the browser alone; what a page is opened with is checked here, value by value,
and what can't be used is said and left as it was. A move ("open in Loss weights") is a link that is followed without
leaving: an event returns `go(tab, key=value)` for `controls.links.jump`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from xmr.registry import unknown
from xmr.ui.components.copy_link import CopyLink
from xmr.ui.doors import LONGEST_ADDRESS, TOO_LONG
from xmr.ui.events import EVENT
from xmr.ui.said import refused, warn
from xmr.workspace.pages import Page

VERSION = "1"  # of the keys: an address of another version is not guessed at
LONGEST = 1000  # characters of one value
MOST = 100  # values of one key

# Of the shown tab and the values of all that is kept: the query string. Keys that are not ours stay.
QUERY = """(tab, ...values) => {
  const spec = %s;
  const query = new URLSearchParams(location.search);
  for (const key of ['v', 'dataset', 'tab', ...spec.map(([key]) => key)]) query.delete(key);
  query.set('v', '%s');
  query.set('dataset', %s);
  query.set('tab', tab);
  spec.forEach(([key, of], at) => {
    if (of && of !== tab) return;
    // An empty list is said, else a link would bring the usual one.
    if (Array.isArray(values[at]) && !values[at].length) query.append(key, '-');
    for (const value of [values[at]].flat()) if (value !== null && value !== undefined && value !== '') query.append(key, value);
  });
  return query;
}"""

# Reading all that is kept takes a browser 50 ms and more: once for all that changes within this time, not for each.
LATER = """() => window.xmrLater ??= new Promise((go) => {
  setTimeout(() => { window.xmrLater = null; go(String(performance.now())); }, 200);
})"""

Check = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Kept:
    """One key of a link: the component that holds it, how its texts become the component's value (a check raises
    ValueError), and the tab that it belongs to ("": all)."""

    component: gr.components.Component
    check: Check
    tab: str


@dataclass
class Links:
    """What a page's links keep. Made before its tabs, wired after them."""

    box: gr.Column  # hidden, and always in the page: what is in a tab that was never opened tells no change
    tab: gr.Textbox  # id of the tab that is shown
    jump: gr.State  # where to go: what `go` returns
    copy: CopyLink
    kept: dict[str, Kept] = field(default_factory=dict)

    def keep(self, key: str, component: gr.components.Component, check: Check, tab: str = "") -> None:
        """Adds a key. Raises ValueError where there is one of that name."""
        if key in self.kept or key in ("v", "dataset", "tab"):
            raise ValueError(f"two parts of a link are called {key!r}")
        self.kept[key] = Kept(component, check, tab)

    def hidden(self, key: str, check: Check, tab: str = "", value: str = "") -> gr.Textbox:
        """A key with a text of its own, which no visible component holds."""
        with self.box:
            text = gr.Textbox(value, visible="hidden", label=key, elem_id=f"link-{key}", max_length=LONGEST)
        self.keep(key, text, check, tab)
        return text

    def tell(self, tab: gr.Tab) -> None:
        """Makes a tab say when it is shown. Before its own listeners, since Gradio runs them one after the other."""
        tab.select(None, None, self.tab, js=f"() => {json.dumps(tab.id)}", **EVENT)


def go(tab: str, **values: str | Sequence[str]) -> dict[str, Any]:
    """A move to a tab, with new values of keys; the others stay."""
    # Gradio tells of changed values only, and one may go to the same place twice.
    return {"tab": tab, **values, "moved at": time.time_ns()}  # no key has a space


def one_of(kind: str, allowed: Iterable[Any]) -> Check:
    """A check for one of the allowed values, written as text."""
    by_text = {str(value): value for value in allowed}

    def check(texts: list[str]) -> Any:
        if texts[0] not in by_text:
            raise ValueError(unknown(kind, texts[0][:80], list(by_text)))
        return by_text[texts[0]]

    return check


def some_of(kind: str, allowed: Iterable[str]) -> Check:
    """A check for several allowed values: unknown ones are told and left out, none left is an error."""
    allowed = list(allowed)

    def check(texts: list[str]) -> Any:
        if texts == ["-"]:
            return []
        kept = [text for text in dict.fromkeys(texts[:MOST]) if text in allowed]
        faults = [unknown(kind, text[:80], allowed) for text in texts[:MOST] if text not in allowed]
        if not kept and faults:
            raise ValueError("; ".join(faults))
        for fault in faults:
            warn(fault, "Left out of this link")
        return kept

    return check


def number(kind: str, low: float, high: float, whole: bool = True) -> Check:
    """A check for a number in [low, high]."""

    def check(texts: list[str]) -> float | int:
        try:
            value = int(texts[0]) if whole else float(texts[0])
        except (ValueError, OverflowError):
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"{kind} must be {low:,} to {high:,}, found {texts[0][:40]!r}")
        return value

    return check


def any_text(texts: list[str]) -> str:
    """A check for words that only the tab can judge."""
    return texts[0][:LONGEST]


def make_links(first_tab: str) -> Links:
    """The hidden part of a page that keeps its links, and the button that copies them; `first_tab` is shown first."""
    with gr.Column(visible="hidden", elem_id="link-box") as box:
        tab = gr.Textbox(first_tab, visible="hidden", label="tab", elem_id="link-tab")
        jump = gr.State(None)
    return Links(box, tab, jump, CopyLink(_space(), elem_id="copy-link"))


def wire_links(
    links: Links, tabs: gr.Tabs, shown: Sequence[gr.Tab], dataset: str, addresses: Mapping[str, str]
) -> None:
    """Makes the page write its links, follow them when it is opened, and move; `addresses` are those of the datasets'
    pages, relative to this one, by title."""
    keys, ids = list(links.kept), [one.id for one in shown]
    spec = json.dumps([[key, links.kept[key].tab] for key in keys]).replace("<", "\\u003c")
    query = QUERY % (spec, VERSION, json.dumps(dataset).replace("<", "\\u003c"))
    parts = [links.tab, *(links.kept[key].component for key in keys)]
    write = f"(...all) => {{ history.replaceState(history.state, '', '?' + ({query})(...all)); }}"
    with links.box:
        later = gr.Textbox("", visible="hidden", label="something changed", elem_id="link-later")
    gr.on([part.change for part in parts], None, None, later, js=LATER, **EVENT)
    later.change(None, parts, None, js=write, **EVENT)
    links.copy.copy(
        None, parts, None, js=f"(...all) => {{ window.xmrCopy(String(({query})(...all))); }}", **EVENT
    )
    with links.box:
        elsewhere = gr.Textbox("", visible="hidden", label="elsewhere", elem_id="link-elsewhere")
    outputs = [tabs, *(links.kept[key].component for key in keys)]

    def updates(found: Mapping[str, Any], tab: str) -> list[Any]:
        return [gr.Tabs(selected=tab) if tab else gr.skip(), *(found.get(key, gr.skip()) for key in keys)]

    def opened(request: gr.Request) -> list[Any]:
        asked = {key: request.query_params.getlist(key) for key in request.query_params}
        other = asked.get("dataset", [dataset])[0]
        if other != dataset and other in addresses:
            return [*updates({}, ""), addresses[other]]
        found, tab, faults = read(asked, links.kept, ids)
        if other != dataset:
            faults.append(f"{unknown('dataset', other[:80], addresses or [dataset])}; this is {dataset}")
        if faults:
            warn("; ".join(faults), "Not all of this link can be shown")
        return [*updates(found, tab), gr.skip()]

    def moved(to: dict[str, Any]) -> list[Any]:
        asked = {key: value if isinstance(value, list) else [str(value)] for key, value in (to or {}).items()}
        found, tab, faults = read({**asked, "v": [VERSION]}, links.kept, ids)
        if faults:
            raise refused("; ".join(faults), title="This can't be opened there")
        return updates(found, tab)

    blocks = gr.context.Context.root_block
    blocks.load(opened, None, [*outputs, elsewhere], **EVENT)
    elsewhere.change(
        None, elsewhere, None, js="(to) => { if (to) location.replace(to + location.search); }", **EVENT
    )
    links.jump.change(moved, links.jump, outputs, **EVENT)


def read(
    asked: Mapping[str, list[str]], kept: Mapping[str, Kept], tabs: Sequence[str]
) -> tuple[dict[str, Any], str, list[str]]:
    """The values of the known keys, the tab ("": none is named), and what can't be used, in words. Pure, but for the
    warnings of `some_of`."""
    found: dict[str, Any] = {}
    if length := asked.get(TOO_LONG):
        number = int(length[0]) if re.fullmatch("[0-9]{1,9}", length[0]) else LONGEST_ADDRESS
        return found, "", [f"its {number:,} characters are more than {LONGEST_ADDRESS:,}, so none was read"]
    ours = [key for key in asked if key in kept or key == "tab"]
    if not ours:
        return found, "", []
    version = (asked.get("v") or [VERSION])[0]
    if version != VERSION:
        return found, "", [f"it is of version {version[:20]!r}, and this app knows {VERSION!r}"]
    tab, faults = "", []
    for key in ours:
        texts = [text for text in asked[key] if text][:MOST]
        if not texts:
            if key in kept and isinstance(kept[key].component, gr.Textbox):
                found[key] = ""
            continue
        if any(len(text) > LONGEST for text in texts):
            faults.append(f"{key} has more than {LONGEST:,} characters")
            continue
        try:
            if key == "tab":
                tab = one_of("tab", tabs)(texts)
            else:
                found[key] = kept[key].check(texts)
        except ValueError as error:
            faults.append(str(error))
    return found, tab, faults


def addresses(pages: Sequence[Page], here: str) -> dict[str, str]:
    """Where each dataset's page is, relative to the page at the path `here`, by title."""
    up = "../" if here else "./"
    return {page.title: f"{up}{page.path}{'/' if page.path else ''}" for page in pages if page.path != here}


def _space() -> str:
    """Address of the Space that this runs in, whose frame hides the app's own; "" elsewhere."""
    name = os.environ.get("SPACE_ID", "")
    return f"https://huggingface.co/spaces/{name}" if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""
