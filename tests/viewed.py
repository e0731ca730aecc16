"""What a view shows, by the ids of its blocks."""

from __future__ import annotations

from typing import Any

from xmr.views import view
from xmr.workspace import Workspace
from xmr.workspace.pages import Page


class Seen(dict[str, Any]):
    """Blocks by id, and of the answer the state, what is said, where it scrolls to, and whether it asks again."""

    def __init__(self, answer: dict[str, Any]):
        assert "fault" not in answer, answer["fault"]
        super().__init__()
        waiting = [*answer["blocks"]]
        while waiting:
            block = waiting.pop()
            assert block["id"] not in self, f"two blocks are called {block['id']}"
            self[block["id"]] = block
            waiting += block.get("blocks", [])
        self.state, self.said = answer["state"], answer["said"]
        self.go, self.again = answer["go"], answer["again"]

    def value(self, id: str) -> Any:
        return self[id]["value"]

    def words(self, id: str) -> str:
        """What a chart says, or a sentence."""
        return self[id]["text"] if self[id]["kind"] == "words" else self[id]["value"]["words"]

    def names(self, id: str) -> list[str]:
        return [row["name"] for row in self[id]["value"]["rows"]]


def see(workspace: Workspace, act: tuple[str, str, Any] | None = None, **state: Any) -> Seen:
    """The view of these keys of the state; `act` is a block, its event and what came with it."""
    done = act and dict(zip(("block", "event", "data"), act, strict=True))
    return Seen(view(pages_of(workspace), state, done))


def pages_of(workspace: Workspace) -> list[Page]:
    return [Page(workspace.dataset().name, "", dict(workspace.runs), lambda: workspace)]
