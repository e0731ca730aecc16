"""One small class for everything that can be chosen by name.

A registered thing's name is its key, its docstring's first line its caption, and its keyword-only parameters
are the sliders of the app and the `--set name=value` options of the scripts.
"""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Annotated, Any, Literal, TypeVar

Thing = TypeVar("Thing", bound=Callable[..., Any])
FIELDS = ("Weights", "Relations", "Reference", "Deviation")  # of docstrings, each with a colon behind it


@dataclass(frozen=True)
class Range:
    """Bounds of a number: `Annotated[float, Range(0, 1)]`.

    `learn` says that training may turn the value into a parameter of the model: in its logarithm ("log", for
    temperatures and scales, which stay positive) or as it is ("linear"). `search` is the interval in which a
    comparison of losses looks for a good value; without one the default stays.
    """

    low: float
    high: float
    step: float | None = None
    learn: Literal["log", "linear"] | None = None
    search: tuple[float, float] | None = None


@dataclass(frozen=True)
class Param:
    """One keyword-only parameter of a registered thing, read from its signature."""

    name: str
    kind: type
    default: Any
    range: Range | None = None
    choices: tuple[Any, ...] | None = None

    def parse(self, value: Any) -> Any:
        """`value` (often a string from a command line) as this parameter's type.

        Raises ValueError where it is not of the type, not one of the choices, outside the range, or not finite.
        """
        if self.kind is bool and isinstance(value, str):
            truths = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
            if value.lower() not in truths:
                raise ValueError(f"{self.name}={value!r} is not true or false")
            value = truths[value.lower()]
        # What Python would convert without a word: True is no 1.0, 1.5 no whole number, None no text.
        fitting = {bool: (bool, str), str: (str, PathLike)}.get(self.kind, (numbers.Real, str))
        if not isinstance(value, fitting) or (self.kind in (int, float) and isinstance(value, bool)):
            raise ValueError(f"{self.name}={value!r} is not {a_or_an(self.kind.__name__)}")
        try:
            parsed = self.kind(value)
            if self.kind is int and not isinstance(value, str) and parsed != value:
                raise ValueError("not whole")
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{self.name}={value!r} is not {a_or_an(self.kind.__name__)}") from error
        if self.choices is not None and parsed not in self.choices:
            raise ValueError(unknown(f"value of {self.name}", str(parsed), map(str, self.choices)))
        if self.range is not None and not self.range.low <= parsed <= self.range.high:  # NaN fails too
            raise ValueError(f"{self.name}={parsed:g} is outside {self.range.low:g} … {self.range.high:g}")
        if self.kind is float and not math.isfinite(parsed):
            raise ValueError(f"{self.name}={parsed:g} is not finite")
        return parsed


@dataclass(frozen=True)
class Entry:
    """A registered thing and what its signature and docstring say of it."""

    name: str
    make: Callable[..., Any]
    caption: str
    doc: str
    params: tuple[Param, ...]
    needs: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls `make`, after its parameters were checked as a command line's are."""
        own = {param.name for param in self.params}
        checked = self.checked({name: value for name, value in kwargs.items() if name in own})
        return self.make(*args, **kwargs | checked)

    @property
    def shipped(self) -> bool:
        """Whether it comes with xmr, and is not somebody's own: of these docs/ and the oracles tell."""
        return self.make.__module__.startswith("xmr.")

    def told(self) -> tuple[list[str], dict[str, str]]:
        """Of the docstring the lines between its first and its fields, of a loss its formula (`$LaTeX$`, or `$$LaTeX$$` on a
        line of its own); and what it says by `FIELDS`, each as one line."""
        lead: list[str] = []
        fields: dict[str, str] = {}
        for line in filter(None, map(str.strip, self.doc.split("\n")[1:])):
            name, _, said = line.partition(":")
            if name in FIELDS:
                fields[name] = said.strip()
            elif fields:
                fields[[*fields][-1]] += f" {line}"
            else:
                lead.append(line)
        return lead, fields

    @property
    def defaults(self) -> dict[str, Any]:
        return {param.name: param.default for param in self.params}

    def param(self, name: str) -> Param:
        """The parameter of that name. Raises TypeError naming the nearest one."""
        for param in self.params:
            if param.name == name:
                return param
        raise TypeError(unknown(f"parameter of {self.name}", name, [p.name for p in self.params]))

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: `values` (a training may learn any) or their defaults; unknown names are left out."""
        return self.defaults | {
            param.name: values[param.name] for param in self.params if param.name in values
        }

    def parse(self, values: dict[str, Any]) -> dict[str, Any]:
        """All parameters: `values` checked and converted, the rest at their defaults."""
        return self.defaults | {name: self.param(name).parse(value) for name, value in values.items()}

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` checked and converted. A tensor, as a parameter that is learned, is its owner's to keep in its range:
        to look at it would wait for the device. Raises TypeError on an unknown name, ValueError as `Param.parse`."""
        given = {name: (self.param(name), value) for name, value in values.items()}
        return {
            name: value if hasattr(value, "requires_grad") else param.parse(value)
            for name, (param, value) in given.items()
        }


def needs(*evidence: str) -> Callable[[Thing], Thing]:
    """Decorator: says which optional parts of `Pairs` a loss or a selector looks at, so that they are made for it."""

    def mark(thing: Thing) -> Thing:
        thing.needs = evidence
        return thing

    return mark


class Registry(dict[str, Entry]):
    """A dict from name to `Entry`, filled by its decorator; a missing name is answered with the near miss."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def register(self, thing: Thing) -> Thing:
        """Decorator: registers a function under its name, or a class under its `name` attribute."""
        name = getattr(thing, "name", None) or thing.__name__
        if name in self:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        doc = inspect.getdoc(thing)
        if not doc:
            raise ValueError(f"{self.kind} {name!r} has no docstring: its first line is its caption")
        self[name] = Entry(
            name, thing, doc.split("\n", 1)[0], doc, tuple(_params(thing)), getattr(thing, "needs", ())
        )
        return thing

    def __missing__(self, name: str) -> Entry:
        raise UnknownName(unknown(self.kind, name, self))


class UnknownName(KeyError, ValueError):
    """A name that is not registered; the message lists the allowed ones and the nearest."""

    def __str__(self) -> str:  # KeyError would show its message in quotes
        return str(self.args[0])


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """The sentence for a name that is not among the allowed ones, with the nearest of them."""
    allowed = list(allowed)
    near = difflib.get_close_matches(str(name), allowed, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}{hint} (there are: {', '.join(allowed) or 'none'})"


def a_or_an(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _params(thing: Callable[..., Any]) -> Iterable[Param]:
    """Keyword-only parameters; of a class whose `__init__` takes `**others`, also those of the classes it derives from."""
    for target in _inits(thing) if inspect.isclass(thing) else [thing]:
        hints = typing.get_type_hints(target, include_extras=True)
        for parameter in inspect.signature(target).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty:
                yield _param(parameter, hints[parameter.name])


def _inits(thing: type) -> Iterable[Callable[..., Any]]:
    for part in thing.__mro__:
        if "__init__" in vars(part):
            yield part.__init__
            kinds = [p.kind for p in inspect.signature(part.__init__).parameters.values()]
            if inspect.Parameter.VAR_KEYWORD not in kinds:
                return


def _param(parameter: inspect.Parameter, kind: Any) -> Param:
    bounds, choices = None, None
    if typing.get_origin(kind) is Annotated:
        kind, *notes = typing.get_args(kind)
        bounds = next((note for note in notes if isinstance(note, Range)), None)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        kind = type(choices[0])
    return Param(parameter.name, kind, parameter.default, bounds, choices)
