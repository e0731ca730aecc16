"""Components of our own: gr.HTML, each with a script that draws `props.value` and a style sheet.

Data never goes through `html_template`. Gradio hands the template to Handlebars and then evaluates the *result*
as a JavaScript template literal, so a caption such as `${alert(1)}` or `\\x3cscript\\x3e` would run or turn into
markup in spite of Handlebars' escaping. Templates here are constants; scripts build nodes with `h` (dom.js),
whose children are text nodes; values that are HTML are made in Python with `html.escape`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import gradio as gr

HERE = Path(__file__).parent


def script(name: str) -> str:
    """The component's script behind the node builder that all of them share."""
    return (HERE / "dom.js").read_text() + (HERE / f"{name}.js").read_text()


def style(name: str) -> str:
    return (HERE / f"{name}.css").read_text()


class Drawn(gr.HTML):
    """A component whose `value`, plain data, is drawn by the script and the style sheet called `ASSET` into the constant
    `TEMPLATE`. `before` is JavaScript in front of the script: a component that is updated before its tab was ever opened loses
    its own props, so settings belong there."""

    ASSET: ClassVar[str]
    TEMPLATE: ClassVar[str]
    STYLE: ClassVar[str] = ""  # another's, where two share one

    def __init__(self, value: Any = None, *, before: str = "", **props: Any):
        super().__init__(
            value=value,
            html_template=self.TEMPLATE,
            css_template=style(self.STYLE or self.ASSET),
            js_on_load=f"{before}{script(self.ASSET)}",
            apply_default_css=False,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
