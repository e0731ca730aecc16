"""Components of our own: gr.HTML, each with a script that draws `props.value` and a style sheet.

Data never goes through `html_template`. Gradio hands the template to Handlebars and then evaluates the *result*
as a JavaScript template literal, so a caption such as `${alert(1)}` or `\\x3cscript\\x3e` would run or turn into
markup in spite of Handlebars' escaping. Templates here are constants; scripts build nodes with `h` (dom.js),
whose children are text nodes; values that are HTML are made in Python with `html.escape`.
"""

from __future__ import annotations

import json
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
    `TEMPLATE`. `before` is JavaScript in front of the script: a component that is updated before its tab was ever opened
    loses its own props, so settings belong there.

    The value travels as JSON text. Gradio copies the values of all components that ever had an event with every event
    of the page: a text costs nothing, objects of 10,000 parts took 250 ms. Scripts read it by `given()` of dom.js.
    """

    ASSET: ClassVar[str]
    TEMPLATE: ClassVar[str]
    STYLE: ClassVar[str] = ""  # another's, where two share one
    PARTS: ClassVar[tuple[str, ...]] = ()  # further scripts, in front of the main one

    def __init__(self, value: Any = None, *, before: str = "", **props: Any):
        parts = "".join((HERE / f"{name}.js").read_text() for name in (*self.PARTS, self.ASSET))
        super().__init__(
            value=value,
            html_template=self.TEMPLATE,
            css_template=style(self.STYLE or self.ASSET),
            js_on_load=f"{before}{(HERE / 'dom.js').read_text()}{parts}",
            apply_default_css=False,
            **props,
        )

    def postprocess(self, value: Any) -> str | None:
        # Without "<", for which Gradio looks through values of HTML.
        return None if value is None else json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")

    def api_info(self) -> dict[str, Any]:
        return {"type": "string"}
