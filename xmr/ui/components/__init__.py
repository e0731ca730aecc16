"""Components of our own: gr.HTML, each with a script that draws `props.value` and a style sheet.

Data never goes through `html_template`. Gradio hands the template to Handlebars and then evaluates the *result*
as a JavaScript template literal, so a caption such as `${alert(1)}` or `\\x3cscript\\x3e` would run or turn into
markup in spite of Handlebars' escaping. Templates here are constants; scripts build nodes with `h` (dom.js),
whose children are text nodes; values that are HTML are made in Python with `html.escape`.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def script(name: str) -> str:
    """The component's script behind the node builder that all of them share."""
    return (HERE / "dom.js").read_text() + (HERE / f"{name}.js").read_text()


def style(name: str) -> str:
    return (HERE / f"{name}.css").read_text()
