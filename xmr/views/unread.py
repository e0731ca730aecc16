"""What every tab shows of a split that is not embedded yet: how much is missing, a button that begins, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmr.views import blocks
from xmr.views.blocks import Block
from xmr.words import counted
from xmr.workspace.splits import is_ready, reading, unread, visuals_of
from xmr.workspace.words import words_of

if TYPE_CHECKING:
    from xmr.views import Scene

PAUSE, SHORT_PAUSE = (
    1000,
    300,
)  # ms between two looks at how far it is; the shorter where nothing is to be encoded
PER_SECOND = 40  # pictures that are rendered and read by the encoder of blocks, on two cores


def unread_blocks(scene: Scene) -> list[Block]:
    """Nothing where the split can be shown; what is in the cache is read at once, all else when somebody asks."""
    workspace, split = scene.workspace, scene.state.split
    if is_ready(workspace, split):
        return []
    job, left, runs = reading(workspace, split), unread(workspace, split), list(scene.state.runs or ())
    # Panels of several tabs may be there at once: each has ids of its own.
    own = {name: f"{scene.state.tab}-{name}" for name in ("unread", "progress", "doing", "embed", "cancel")}
    if scene.act.block == own["cancel"]:
        job.cancel()
    elif scene.act.block == own["embed"] or (not left and not job.how):
        job.start(runs)
    noun, total = words_of(workspace.dataset()).visual, visuals_of(workspace, split)
    if job.how in ("waiting", "running"):
        scene.again = PAUSE if left else SHORT_PAUSE
        return [
            blocks.words(own["unread"], f"The {split} split is being embedded: {counted(total, noun)}."),
            blocks.progress(own["progress"], "Embedding", job.done, job.of),
            blocks.words(own["doing"], _how_far(job.how, job.doing, job.done, job.of, job.left), "note"),
            blocks.button(own["cancel"], "Cancel"),
        ]
    if job.how == "failed":
        text, label = f"The {split} split could not be embedded. {job.fault}", "Try again"
    elif left:
        text = f"{counted(left, noun)} of the {split} split {'have' if left > 1 else 'has'} not been embedded yet: {_about(left / PER_SECOND)}."
        label = f"Embed {counted(left, noun)}"
    else:
        text, label = f"The {split} split is embedded and not read yet.", "Read it"
    more = (
        "It is done in the background, once: all that was read is kept on this server. Other splits can be looked at meanwhile. "
        "How long it takes depends on the encoder and the processor."
    )
    return [
        blocks.words(own["unread"], text),
        blocks.words(own["doing"], more, "note"),
        blocks.button(own["embed"], label, primary=True),
    ]


def _how_far(how: str, doing: str, done: int, of: int, left: float | None) -> str:
    if how == "waiting":
        return "Waiting for its turn: one split is embedded at a time."
    told = f"{doing}: {done:,} of {of:,}" if of else f"{doing} …"
    return told if left is None or done == of else f"{told}, {_about(left)} left"


def _about(seconds: float) -> str:
    return f"about {counted(round(seconds / 60), 'minute')}" if seconds >= 90 else "about a minute"
