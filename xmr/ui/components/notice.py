"""Short facts and faults of the workspace as text: escaped here, because names and reasons come from files."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import gradio as gr


class Notice(gr.HTML):
    """HTML made by the functions below. `${value}` inserts it as it is, without evaluating it again."""

    def __init__(self, value: str = "", **props: Any):
        super().__init__(value=value, html_template="${value}", js_on_load=None, **props)


def brand(title: str, lines: Sequence[str]) -> str:
    """The sidebar's head: what this is, and which data it shows."""
    facts = "".join(f"<dd>{escape(line)}</dd>" for line in lines)
    return (
        '<header class="xmr-brand"><h1>xmr</h1><p>What each loss retrieves, weighs and gets wrong</p>'
        f"<dl><dt>{escape(title)}</dt>{facts}</dl></header>"
    )


class Link(NamedTuple):
    """A page: its title, how many runs it has, its address relative to the present page ("": this one)."""

    title: str
    runs: int
    address: str


def pages(links: Sequence[Link]) -> str:
    """Where the other datasets are."""
    rows = "".join(
        f'<li><a href="{escape(link.address)}">{escape(link.title)}</a> <span>{_runs(link.runs)}</span></li>'
        if link.address
        else f'<li><b aria-current="page">{escape(link.title)}</b> <span>{_runs(link.runs)}</span></li>'
        for link in links
    )
    return f'<nav class="xmr-pages" aria-label="Datasets"><ul>{rows}</ul></nav>'


def _runs(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"


def faults(items: Sequence[tuple[str, str]]) -> str:
    """What could not be shown: names and reasons."""
    rows = "".join(f"<li><b>{escape(name)}</b> {escape(reason)}</li>" for name, reason in items)
    return (
        f'<details class="xmr-faults" open><summary>{len(items)} not shown</summary><ul>{rows}</ul></details>'
    )


def sentence(text: str) -> str:
    """A finding, said again by screen readers when it changes."""
    return f'<p class="xmr-finding" role="status">{escape(text)}</p>'


def words(text: str) -> str:
    """Something that is said beside a control. Not as Markdown: names of runs are names of folders."""
    return f'<p class="xmr-words">{escape(text)}</p>'


def problem(title: str, text: str) -> str:
    """A screen for when nothing can be shown: the first line of `text` is the reason, the others are commands."""
    reason, *commands = text.splitlines()
    shown = "".join(f"<pre><code>{escape(command)}</code></pre>" for command in commands)
    return (
        f'<section class="xmr-problem" role="alert"><h2>{escape(title)}</h2><p>{escape(reason)}</p>'
        f"{shown}</section>"
    )
