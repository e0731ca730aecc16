"""Gradio's page and endpoints, with every failure told in a sentence: Gradio's own answer to one that it doesn't expect is
`{"error": null}`, and that to a file which nobody uploaded names folders of the server."""

from __future__ import annotations

from typing import Any

from gradio.exceptions import InvalidPathError

from xmr.page.host import gr
from xmr.page.said import failed, refused


class Served(gr.Blocks):
    """Blocks that say why something failed, whatever failed."""

    async def process_api(
        self, block_fn: Any, inputs: list[Any], *rest: Any, **options: Any
    ) -> dict[str, Any]:
        try:
            return await super().process_api(block_fn, inputs, *rest, **options)
        except gr.Error:
            raise
        except InvalidPathError as error:
            raise refused("No file of this name was uploaded here.") from error
        except Exception as error:
            wanted = len(getattr(block_fn, "inputs", ()))
            if not options.get("iterator") and isinstance(inputs, list) and len(inputs) < wanted:
                words = (
                    f"{getattr(block_fn, 'name', '') or 'This'} takes {wanted} values, found {len(inputs)}."
                )
                raise refused(words) from error
            raise failed(error) from error
