"""The losses as modules, for a training loop of one's own, open_clip's trainer, and that of sentence-transformers.

Needs torch and numpy alone. `Loss` asks a registered loss of embeddings, with a selector, across processes, and with a
memory of earlier batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import normalize

from xmr.core import DIRECTIONS, EVIDENCE, Direction, Pairs, single
from xmr.losses import LOSSES, symmetric
from xmr.losses.base import learnable
from xmr.losses.batch import unchunkable
from xmr.losses.chunked import SMALL, chunked_loss
from xmr.processes import gathered, processes
from xmr.registry import Entry, unknown
from xmr.selection import ACTIONS, SELECTORS, blended, score_moments, suspected, treat

Side = dict[
    str, Tensor
]  # rows of the visuals or of the texts, all of one number: embeddings, groups, evidence

# Evidence that is given as rows, which can be gathered and remembered: the side that it is of.
ROWS: dict[str, Direction] = {
    "visual_features": "v2t",  # (V, F), frozen; `visual_scores` are their cosines
    "text_features": "t2v",  # (T, F), frozen; `text_scores` are their cosines
    "word_features": "t2v",  # (T, W), weights of words; `word_scores` are their cosines
    "text_keys": "t2v",  # (T,) int, see `Pairs`
    "peer_visual": "v2t",  # (V, K, D) and (T, K, D), unit embeddings of K other models: `peer_scores`
    "peer_text": "t2v",
}


class LossParameters(nn.Module):
    """The hyper-parameters of a loss: numbers, and `nn.Parameter`s where the range says that they are learned."""

    def __init__(self, loss: Entry, values: dict[str, Any], learn: bool = True):
        super().__init__()
        self.loss, self.given = loss, values
        names = learnable(loss) if learn else []
        self.raw = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(float(self._inner(name, values[name])))) for name in names}
        )

    def values(self) -> dict[str, Any]:
        """All hyper-parameters; the learned ones as tensors with gradients."""
        return self.given | {name: raw.exp() if self._is_log(name) else raw for name, raw in self.raw.items()}

    def learned(self) -> dict[str, float]:
        """The learned ones as numbers within their ranges."""
        values = {}
        for name, value in self.values().items():
            if name in self.raw:
                bounds = self.loss.param(name).range
                values[name] = min(max(value.item(), bounds.low), bounds.high)
        return values

    @torch.no_grad()
    def clamp_(self) -> None:
        """Puts what an optimiser step moved outside its range back on the border."""
        for name, raw in self.raw.items():
            bounds = self.loss.param(name).range
            raw.clamp_(self._inner(name, bounds.low), self._inner(name, bounds.high))

    def _is_log(self, name: str) -> bool:
        return self.loss.param(name).range.learn == "log"

    def _inner(self, name: str, value: float) -> float:
        return math.log(value) if self._is_log(name) else value


class Loss(nn.Module):
    """A registered loss of embeddings: the mean over the queries of both directions, () in single precision.

    `selector` treats suspected false negatives by `suspects`, with `selector_params`. `learn` makes parameters of what
    training learns (temperature, scale, bias): give them to the optimiser; they are kept in their ranges. Where
    torch.distributed runs, `gather` takes the batches of all processes as one, with gradients, so that what
    DistributedDataParallel averages is the gradient of that one batch; "rows" computes in each process the queries of its
    own share alone, for losses that look at no more than a query's row, and refuses the others; False leaves the batches apart.
    `memory` keeps that many of the latest items of each side as further gallery, without gradient (not in the state_dict:
    it fills again). Raises UnknownName, TypeError and ValueError as `loss_value`.
    """

    def __init__(
        self,
        name: str,
        *,
        selector: str = "",
        selector_params: Mapping[str, Any] | None = None,
        suspects: str = "ignore",
        learn: bool = True,
        gather: bool | Literal["rows"] = True,
        memory: int = 0,
        **hyper: Any,
    ):
        super().__init__()
        self.entry = LOSSES[name]
        self.hyper = LossParameters(self.entry, self.entry.parse(hyper), learn)
        self.selector = SELECTORS[selector] if selector else None
        self.selector_params = self.selector.parse(dict(selector_params or {})) if self.selector else {}
        if suspects not in ACTIONS:
            raise ValueError(unknown("action on suspects", suspects, ACTIONS))
        if not isinstance(gather, bool) and gather != "rows":
            raise ValueError(f"gather is True, False or 'rows', found {gather!r}")
        if memory < 0:
            raise ValueError(f"memory is a number of items, found {memory}")
        if gather == "rows":
            reason = "a selector may look at all" if selector else unchunkable(self.entry, self.hyper.given)
            if reason:
                raise ValueError(f"{name} needs the whole batch in each process, gather=True: {reason}")
        self.suspects, self.gather, self.memory = suspects, gather, memory
        needs = {*self.entry.needs, *(self.selector.needs if self.selector else ())}
        self.needs = sorted(needs)
        self.register_buffer("moments", torch.full((4,), math.nan))
        self._kept: dict[Direction, Side] = {}
        self._met = 0  # pairs, to number those that come without groups

    def extra_repr(self) -> str:
        return ", ".join(
            [repr(self.entry.name), *(f"{key}={value}" for key, value in self.hyper.given.items())]
        )

    def forward(self, visual: Tensor, text: Tensor, groups: Any = None, **evidence: Tensor) -> Tensor:
        """visual (V, D), text (T, D): unit rows, whose products are the scores. `groups`: integers (B,) or a tuple of (V,)
        and (T,); pairs of equal number are positive, and with a memory or several processes that holds among all;
        without, row i of both is a pair. `evidence`: rows named in `ROWS`, or, of one process without a memory, the
        matrices of `Pairs`; similarities within a modality are made of the embeddings. Raises ValueError where something does
        not fit or is missing."""
        return self._value(visual, text, groups, evidence, {})

    def _value(
        self, visual: Tensor, text: Tensor, groups: Any, evidence: dict[str, Tensor], taken: dict[str, Any]
    ) -> Tensor:
        if self.training:
            self.hyper.clamp_()
        with torch.autocast(visual.device.type, enabled=False):
            hyper = self.hyper.values() | taken
            own, matrices = self._sides(single(visual), single(text), groups, evidence)
            gathered = self._gathered(own)
            if self._by_blocks(gathered, matrices, hyper):
                sides = [gathered[direction] for direction in DIRECTIONS]
                rows = [side["embedding"] for side in sides]
                return chunked_loss(self.entry.name, *rows, *(side.get("group") for side in sides), **hyper)
            pairs, back = self._pairs(own, gathered, matrices)
            value = symmetric(self.entry.make, *self._treated(pairs, back), **hyper)
        if self.training and self.memory:
            self._remember(gathered)
        return value

    def _sides(
        self, visual: Tensor, text: Tensor, groups: Any, evidence: dict[str, Tensor]
    ) -> tuple[dict[Direction, Side], dict[str, Tensor]]:
        """The rows of both sides, and the evidence that is given as matrices."""
        if visual.ndim != 2 or text.ndim != 2 or visual.shape[1] != text.shape[1]:
            raise ValueError(
                f"visual and text must be (V, D) and (T, D), found {tuple(visual.shape)}, {tuple(text.shape)}"
            )
        sides: dict[Direction, Side] = {"v2t": {"embedding": visual}, "t2v": {"embedding": text}}
        if groups is not None:
            both = groups if isinstance(groups, tuple) and len(groups) == 2 else (groups, groups)
            for side, numbers in zip(sides.values(), both, strict=True):
                side["group"] = torch.as_tensor(numbers, device=visual.device)
        elif len(visual) != len(text):
            raise ValueError(
                f"without groups, row i of both is a pair, found {len(visual)} visuals, {len(text)} texts"
            )
        matrices = {}
        for name, value in sorted(evidence.items()):
            if name in ROWS:
                sides[ROWS[name]][name] = single(value)
            elif name in EVIDENCE:
                matrices[name] = value
            else:
                raise TypeError(unknown("evidence", name, [*ROWS, *EVIDENCE]))
        for side in sides.values():
            for name, rows in side.items():
                if len(rows) != len(side["embedding"]):
                    raise ValueError(f"{name} must have {len(side['embedding'])} rows, found {len(rows)}")
        if matrices and (self.memory or (self.gather and processes() > 1)):
            raise ValueError(
                f"{', '.join(matrices)}: with a memory or several processes give rows: {', '.join(ROWS)}"
            )
        return sides, matrices

    def _gathered(self, own: dict[Direction, Side]) -> dict[Direction, Side]:
        """The sides of all processes. What has no groups is numbered where a memory or a share of rows needs it."""
        found = own
        if self.gather and processes() > 1:
            found = {
                direction: {name: gathered(rows) for name, rows in side.items()}
                for direction, side in own.items()
            }
            if self.gather == "rows" and len(found["v2t"]["embedding"]) != processes() * len(
                own["v2t"]["embedding"]
            ):
                raise ValueError(
                    "gather='rows' needs batches of one size in all processes: drop the last one, or gather=True"
                )
        if "group" not in own["v2t"] and (found is not own or self.memory):
            count = len(found["v2t"]["embedding"])
            numbers = torch.arange(self._met, self._met + count, device=own["v2t"]["embedding"].device)
            share = len(own["v2t"]["embedding"])
            start = distributed.get_rank() * share if found is not own and self.gather == "rows" else 0
            for direction in DIRECTIONS:
                found[direction]["group"] = numbers
                own[direction]["group"] = numbers[start : start + share] if found is not own else numbers
        return found

    def _by_blocks(
        self, sides: dict[Direction, Side], matrices: dict[str, Tensor], hyper: dict[str, Any]
    ) -> bool:
        """Whether the loss can be asked by blocks of scores, and the batch is large enough for that to take less time."""
        visual, text = (sides[direction]["embedding"] for direction in DIRECTIONS)
        plain = not (self.selector or self.needs or matrices or self.memory or self.gather == "rows")
        if not plain or torch.compiler.is_compiling() or len(visual) * len(text) <= SMALL:
            return False
        return visual.dtype == text.dtype and not unchunkable(self.entry, hyper)

    def _pairs(
        self, own: dict[Direction, Side], gathered: dict[Direction, Side], matrices: dict[str, Tensor]
    ) -> tuple[Pairs, Pairs]:
        """The pairs as either side asks: all against all, or the rows of this process; and against the memory."""
        asks = own if self.gather == "rows" else gathered
        gallery = {way: beside(side, self._kept.get(way, {})) for way, side in gathered.items()}
        pairs = self._asked("v2t", asks["v2t"], gallery["t2v"], matrices)
        if asks is gathered and not self._kept:
            return pairs, pairs.transpose()
        return pairs, self._asked("t2v", asks["t2v"], gallery["v2t"], matrices)

    def _asked(
        self, direction: Direction, queries: Side, gallery: Side, matrices: dict[str, Tensor]
    ) -> Pairs:
        scores = queries["embedding"] @ gallery["embedding"].T
        visual, text = (queries, gallery) if direction == "v2t" else (gallery, queries)
        groups = (queries["group"], gallery["group"]) if "group" in queries else None
        known = matrices | _evidence(self.needs, visual, text)
        if "peer_scores" in known and direction == "t2v" and "peer_scores" not in matrices:
            known["peer_scores"] = known["peer_scores"].transpose(1, 2)
        return Pairs.of(scores, groups=groups, direction=direction, **known)

    def _treated(self, pairs: Pairs, back: Pairs) -> tuple[Pairs, Pairs]:
        """Both as the selector leaves them."""
        if self.selector is None:
            return pairs, back
        moments = None if self.moments.isnan().any() else tuple(self.moments.tolist())
        if self.training:
            moments = blended(moments, score_moments(pairs))
            if moments is not None:
                self.moments.copy_(torch.tensor(moments))
        found = []
        for side in (pairs, back):
            side = replace(side, moments=moments)
            with torch.no_grad():
                mask = suspected(self.selector.name, side, **self.selector_params)
            found.append(treat(side, mask, self.suspects))
        return found[0], found[1]

    @torch.no_grad()
    def _remember(self, sides: dict[Direction, Side]) -> None:
        self._met += len(sides["v2t"]["embedding"])
        for way, side in sides.items():
            self._kept[way] = latest(self._kept.get(way, {}), side, self.memory)


class OpenClipLoss(Loss):
    """A registered loss with the signature of open_clip's `ClipLoss`, for its trainer.

    What training learns (temperature, scale, bias) is the model's own logit_scale and logit_bias, unless given.
    Options as `Loss`.
    """

    def __init__(self, name: str, **options: Any):
        super().__init__(name, learn=False, **options)
        self.models = [key for key in learnable(self.entry) if key not in options]

    def forward(  # the trainer's signature, and groups for one's own
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        output_dict: bool = False,
        groups: Any = None,
    ) -> Tensor | dict[str, Tensor]:
        """image_features (B, D), text_features (B, D) unit rows. Returns () or, with `output_dict`, {"contrastive_loss": ()}."""
        scale = single(logit_scale).reshape(())
        own = {"temperature": 1 / scale, "scale": scale}
        if logit_bias is not None:
            own["bias"] = single(logit_bias).reshape(())
        taken = {name: own[name] for name in self.models if name in own}
        value = self._value(image_features, text_features, groups, {}, taken)
        # DistributedDataParallel refuses a parameter of the model that the loss does not ask for.
        value = value + 0 * sum(own[name] for name in ("scale", "bias") if name in own)
        return {"contrastive_loss": value} if output_dict else value


class SentenceTransformerLoss(nn.Module):
    """A registered loss with the interface of sentence-transformers' losses, for its trainer.

    The first column of the data is embedded as the visual side, the second as the text; a column "label" of whole
    numbers says which belong together, without it row i of both is a pair. Options as `Loss`.
    """

    def __init__(self, model: nn.Module, name: str, **options: Any):
        super().__init__()
        self.model = model  # the trainer wraps what has this name
        self.loss = Loss(name, **options)
        self.options = {"name": name, **options}

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """`sentence_features`: the inputs of two columns; `labels` (B,) int or None. Raises ValueError on more columns."""
        rows = [self.model(features)["sentence_embedding"] for features in sentence_features]
        if len(rows) != 2:
            raise ValueError(f"this needs two columns, pictures and texts, found {len(rows)}")
        visual, text = (normalize(single(side), dim=-1) for side in rows)
        return self.loss(visual, text, labels)

    def get_config_dict(self) -> dict[str, Any]:
        """What the trainer writes into the model's card."""
        return self.options


def beside(rows: Side, kept: Side) -> Side:
    """The rows, and after them what is kept of earlier ones."""
    return {
        name: torch.cat([part, kept[name].to(part)]) if name in kept else part for name, part in rows.items()
    }


def latest(kept: Side, rows: Side, count: int) -> Side:
    """The last `count` of what is kept and of the rows that come after it, without gradient."""
    return {
        name: torch.cat([kept[name].to(part), part.detach()] if name in kept else [part.detach()])[-count:]
        for name, part in rows.items()
    }


def _evidence(needs: Iterable[str], visual: Side, text: Side) -> dict[str, Tensor]:
    """What is needed and can be made of rows, as arguments of `Pairs`; `peer_scores` (K, V, T)."""
    found = {}
    for name in needs:
        side = visual if name.startswith("visual") else text
        rows = side.get(name.replace("_scores", "_features"))
        if name.endswith("_within"):
            found[name] = side["embedding"] @ side["embedding"].T
        elif name == "text_keys" and name in text:
            found[name] = text[name]
        elif name == "peer_scores" and "peer_visual" in visual and "peer_text" in text:
            found[name] = torch.einsum("vkd,tkd->kvt", visual["peer_visual"], text["peer_text"])
        elif rows is not None:
            rows = normalize(rows.flatten(1), dim=1)
            found[name] = rows @ rows.T
    return found
