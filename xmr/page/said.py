"""What endpoints and the page say of failures. Gradio draws its messages as HTML, and they name what anyone may have sent, or
put into a file's name or a caption: so they are escaped here, and paths of the server lose their folders."""

from __future__ import annotations

import traceback
from html import escape
from typing import Any

from xmr.limits import is_public
from xmr.page.host import gr
from xmr.workspace.public import public


def refused(text: str, title: str = "Not done") -> gr.Error:
    """An error to raise: what can't be done, and why."""
    return gr.Error(escape(public(text), quote=False), title=title, print_exception=False)


# What an answer holds that is no sentence: the state, addresses, figures and formulas; and, where only its owner asks, commands to be
# pasted.
EXACT = {"state", "set", "key", "src", "image", "figure", "mark", "math", "latex"}


def told(answer: Any) -> Any:
    """An answer to the page, without the server's folders in whatever it says."""
    if isinstance(answer, str):
        return public(answer) if "/" in answer or "\\" in answer else answer
    if isinstance(answer, list | tuple):
        return [told(one) for one in answer]
    if not isinstance(answer, dict) or (answer.get("kind") == "code" and not is_public()):
        return answer
    return {key: one if key in EXACT else told(one) for key, one in answer.items()}


def failure(error: Exception) -> str:
    """What to say where something went wrong that nobody thought of; the server's log has the whole of it."""
    traceback.print_exception(error)
    return f"This failed in the server ({type(error).__name__}); its log says where."


def failed(error: Exception) -> gr.Error:
    """As an error to raise."""
    words = f"This failed in the server ({type(error).__name__}); its log says where."
    return gr.Error(words, title="Not done", print_exception=True)
