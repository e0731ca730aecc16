"""Recipes: what one visitor's training differs by from the run beside it, as a text that an address can hold.

A recipe takes the data, the encoder, the head and the settings of its optimiser from a run, its parent; the rest it says
itself, so that whoever reads it trains the same bits. Its text may come from anybody: nothing in it names a file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from xmr.allowed import is_allowed
from xmr.checkpoints import Run
from xmr.checkpoints.folder import check_name
from xmr.core import DUPLICATES, TrainConfig
from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.registry import Entry, unknown
from xmr.selection import ACTIONS, SELECTORS

Values = tuple[tuple[str, Any], ...]  # parameters that are not at their defaults, by name
MOST_EPOCHS, MOST_SEED, LONGEST_NAME = 20, 2**31, 40
DIGEST = re.compile("[0-9a-f]{16}")
KEYS = ("from", "loss", "selector", "suspects", "duplicates", "verdicts", "epochs", "seed", "called")


@dataclass(frozen=True)
class Recipe:
    """`parent` names the run that it trains beside, `verdicts` is the digest of the set that it learns from ("": none), and
    `called` is what to call what is trained."""

    parent: str
    loss: str
    loss_params: Values = ()
    selector: str = ""
    selector_params: Values = ()
    suspects: str = TrainConfig.suspects
    duplicates: str = "ignore"
    verdicts: str = ""
    epochs: int = 3
    seed: int = 0
    called: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError on what no recipe may hold."""
        object.__setattr__(self, "loss_params", _settled("loss", LOSSES[self.loss], self.loss_params))
        if self.selector or self.selector_params:
            settled = _settled("selector", SELECTORS[self.selector], self.selector_params)
            object.__setattr__(self, "selector_params", settled)
        for what, value, allowed in (
            ("action on suspects", self.suspects, ACTIONS),
            ("use of duplicates", self.duplicates, DUPLICATES),
        ):
            if value not in allowed:
                raise ValueError(unknown(what, value[:40], allowed))
        if self.verdicts and not DIGEST.fullmatch(self.verdicts):
            raise ValueError(f"verdicts are named by 16 hexadecimal digits, not {self.verdicts[:40]!r}")
        for name, value, low, high in (
            ("epochs", self.epochs, 1, MOST_EPOCHS),
            ("seed", self.seed, 0, MOST_SEED),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low:,} to {high:,}, found {value}")
        for name in (self.parent, self.called):
            check_name(name)
        if not self.parent:
            raise ValueError("a recipe says from which run it takes its data and its head: from=NAME")
        if len(self.called) > LONGEST_NAME or self.called != self.called.strip():
            raise ValueError(
                f"what a run is called has at most {LONGEST_NAME} characters and no spaces around"
            )

    @property
    def text(self) -> str:
        """What `read` reads."""
        return written(
            {
                "from": self.parent,
                "loss": self.loss,
                **{f"loss.{name}": value for name, value in self.loss_params},
                "selector": self.selector,
                **{f"selector.{name}": value for name, value in self.selector_params},
                "suspects": self.suspects if self.selector else "",
                "duplicates": self.duplicates,
                "verdicts": self.verdicts,
                "epochs": self.epochs,
                "seed": self.seed,
                "called": self.called,
            }
        )

    @property
    def python(self) -> str:
        """The loss as code."""
        of = [repr(self.loss), *(f"{name}={value!r}" for name, value in self.loss_params)]
        if self.selector:
            of.append(f"selector={self.selector!r}")
            if self.selector_params:
                of.append(f"selector_params={dict(self.selector_params)!r}")
            if self.suspects != TrainConfig.suspects:
                of.append(f"suspects={self.suspects!r}")
        return f"from xmr.nn import Loss\n\nloss = Loss({', '.join(of)})"

    def config(self, parent: Run, source: str, verdicts: str = "") -> TrainConfig:
        """The configuration beside that run, of the data `source`; `verdicts` is the file of their set. Raises ValueError
        where the run has no head that can be trained anew."""
        if reason := why_no_parent(parent):
            raise ValueError(reason)
        return replace(
            parent.config,
            dataset=source,
            loss=self.loss,
            loss_params=LOSSES[self.loss].parse(dict(self.loss_params)),
            selector=self.selector,
            selector_params=SELECTORS[self.selector].parse(dict(self.selector_params))
            if self.selector
            else {},
            suspects=self.suspects if self.selector else TrainConfig.suspects,
            duplicates=self.duplicates,
            verdicts=verdicts,
            verdicts_as=TrainConfig.verdicts_as,
            first_loss="",
            first_epochs=0,
            patience=0,
            epochs=self.epochs,
            seed=self.seed,
        )

    def digest(self, parent: Run, source: str) -> str:
        """A name of what is trained, whatever it is called: 16 hexadecimal digits. Raises as `config`."""
        config = self.config(parent, source).to_json() | {"verdicts": self.verdicts}
        of = [config, parent.dataset["fingerprints"], parent.encoder.get("hash", "")]
        return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def written(values: Mapping[str, Any]) -> str:
    """The parts as a text, those left out that are ""."""
    return "; ".join(f"{key}={_quoted(str(value))}" for key, value in values.items() if value != "")


def parts(text: str) -> dict[str, str]:
    """What `written` wrote. Raises ValueError, in a sentence, on what it never writes."""
    found: dict[str, str] = {}
    for part in text.split(";"):
        part = part.removeprefix(" ")
        if not part:
            continue
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"a recipe is made of parts like epochs=3, found {part[:40]!r}")
        if key not in KEYS and key.partition(".")[0] not in ("loss", "selector"):
            raise ValueError(unknown("part of a recipe", key[:40], KEYS))
        if key in found:
            raise ValueError(f"a recipe says {key[:40]} twice")
        found[key] = unquote(value)
    return found


def read(text: str) -> Recipe:
    """The recipe of a text. Raises ValueError, in a sentence, on what is none."""
    return made(parts(text))


def made(found: Mapping[str, str]) -> Recipe:
    """The recipe of its parts. Raises as `read`."""
    for needed in ("from", "loss"):
        if needed not in found:
            raise ValueError(f"a recipe says {needed}=NAME, and this one does not")
    params: dict[str, dict[str, str]] = {"loss": {}, "selector": {}}
    for key, value in found.items():
        scope, dot, name = key.partition(".")
        if dot:
            params[scope][name] = value
    return Recipe(
        found["from"],
        found["loss"],
        tuple(params["loss"].items()),
        found.get("selector", ""),
        tuple(params["selector"].items()),
        **{key: found[key] for key in ("suspects", "duplicates", "verdicts", "called") if key in found},
        **{key: _whole(key, found[key]) for key in ("epochs", "seed") if key in found},
    )


def beside(run: Run, loss: str, loss_params: Mapping[str, Any], **more: Any) -> Recipe:
    """What trains that loss as the run was trained, but for what a recipe can't say. Raises ValueError where none can."""
    config = run.config
    usual: dict[str, Any] = {"duplicates": config.duplicates, "seed": config.seed}
    usual["epochs"] = min(config.epochs, MOST_EPOCHS)
    if config.selector and can_be_named(SELECTORS[config.selector]):
        usual |= {"selector": config.selector, "suspects": config.suspects}
        usual["selector_params"] = tuple(config.selector_params.items())
    return Recipe(run.name, loss, tuple(loss_params.items()), **usual | more)


def why_no_parent(run: Run) -> str:
    """Why nothing can be trained beside a run; "" where something can."""
    if not run.has_loss or run.untrained:
        return f"{run.name} was not trained here: choose a run with a head that was, and a loss for it."
    if run.config.tune != "none":
        return f"{run.name} has towers that were tuned, which takes longer than a visitor's training may."
    entry = MATCHERS[run.config.matcher]
    if named := [
        p.name for p in _of_files(entry) if run.config.matcher_params.get(p.name, p.default) != p.default
    ]:
        return f"The head of {run.name} reads a file by its {named[0]}: train it by scripts/train.py."
    if (encoder := run.encoder["name"]) and not is_allowed(encoder):
        return f"The encoder {encoder!r} of {run.name} is not loaded here."
    return ""


def can_be_named(entry: Entry) -> bool:
    """Whether a recipe may hold that loss or selector: none that asks other runs, by their folders."""
    return "peer_scores" not in entry.needs and not _of_files(entry)


def fitting(entry: Entry, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, each brought into its range: what was learned may lie outside."""
    ranges = {param.name: param.range for param in entry.params}
    return {
        name: min(max(value, bounds.low), bounds.high) if (bounds := ranges.get(name)) else value
        for name, value in values.items()
    }


def _settled(kind: str, entry: Entry, values: Values) -> Values:
    """Those of the values that are not at their defaults, checked, in the order of the parameters."""
    if not can_be_named(entry):
        raise ValueError(f"{entry.name} asks other runs by their folders, which a recipe can't name")
    if len(values) > len(entry.params):
        raise ValueError(f"{entry.name} has {len(entry.params)} parameters, found {len(values)}")
    try:
        found = entry.parse(dict(values))
    except TypeError as error:
        raise ValueError(str(error)) from error
    return tuple((name, value) for name, value in found.items() if value != entry.defaults[name])


def _of_files(entry: Entry) -> list[Any]:
    return [param for param in entry.params if param.kind is str and param.choices is None]


def _whole(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text):
        raise ValueError(f"{name} is a whole number, found {text[:40]!r}")
    return int(text)


def _quoted(text: str) -> str:
    return text.replace("%", "%25").replace(";", "%3B")
