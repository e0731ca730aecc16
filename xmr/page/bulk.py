"""What encodes a whole split, where that takes a GPU which is lent for the call (ZeroGPU): the endpoint /embed, which is there
only. It is a queued event, never a function of the page's script: the host reads from the event whose quota is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xmr.devices import use_device
from xmr.page.api import answering
from xmr.views import given
from xmr.workspace import Workspace
from xmr.workspace.pages import Page, holder
from xmr.zero_gpu import lent

SECONDS = 120  # for which the GPU is asked; a visitor who is not logged in has as many a day


def embed(first: Workspace, pages: Sequence[Page] = ()) -> Callable[..., dict[str, int]]:
    """The function behind the endpoint /embed."""

    @lent(SECONDS)
    def on_gpu(run: str) -> dict[str, int]:
        """In a process of its own: what it makes goes into the cache of features, where the server finds it."""
        from xmr.encoders import forget_encoders  # open_clip takes seconds to import

        use_device("cuda")
        forget_encoders()  # those of the server lie in its memory
        return embedded(run)

    def embedded(run: str) -> dict[str, int]:
        workspace = holder(run, first, pages)
        data, sizes = workspace.dataset("test"), {}
        for part in workspace.run(run).parts:
            found = workspace.embedder.frozen_features(data, part.encoder["name"])
            sizes = {"visuals": len(found.visual), "captions": 0 if found.text is None else len(found.text)}
        return sizes

    @answering
    def embed(run: str) -> dict[str, int]:
        """Let a run's encoder read the whole test split on the GPU, once: what needs its features is quick afterwards.

        Args:
            run: Name of the run, as /runs lists them.

        Returns:
            {"visuals", "captions"}: how many there are.
        """
        name = given.text("run", run)
        holder(name, first, pages)  # a name that there is not costs no quota
        return on_gpu(name)

    return embed
