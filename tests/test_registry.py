"""Names, parameters and near misses."""

from typing import Annotated, Literal

import numpy as np
import pytest
import torch

from xmr.losses import LOSSES
from xmr.matchers import MATCHERS
from xmr.registry import Range, Registry
from xmr.selection import SELECTORS


def fresh():
    registry = Registry("loss")

    @registry.register
    def tilt(
        pairs,
        *,
        margin: Annotated[float, Range(0, 1)] = 0.2,
        way: Literal["up", "down"] = "up",
        steps: Annotated[int, Range(1, 9)] = 3,
        both: bool = False,
        free: float = 0.0,
    ):
        """Tilts.

        More words.
        """
        return margin, way, steps, both

    return registry


def test_an_entry_knows_its_caption_and_its_parameters():
    entry = fresh()["tilt"]
    assert entry.caption == "Tilts."
    assert entry.defaults == {"margin": 0.2, "way": "up", "steps": 3, "both": False, "free": 0.0}
    assert entry.param("margin").range == Range(0, 1)
    assert entry.param("way").choices == ("up", "down")


def test_strings_are_parsed_to_the_parameters_types():
    parsed = fresh()["tilt"].parse({"margin": "0.5", "way": "down", "steps": "4", "both": "true"})
    assert parsed == {"margin": 0.5, "way": "down", "steps": 4, "both": True, "free": 0.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"margin": "2"}, "margin=2 is outside 0 … 1"),
        ({"margin": "nan"}, "outside"),
        ({"margin": "x"}, "is not a float"),
        ({"steps": "1.5"}, "is not an int"),
        ({"way": "upp"}, "did you mean 'up'"),
        ({"both": "maybe"}, "not true or false"),
        ({"both": 2}, "both=2 is not a bool"),
        ({"margin": True}, "margin=True is not a float"),
        ({"margin": None}, "margin=None is not a float"),
        ({"margin": 10**400}, "is not a float"),
        ({"steps": 1.5}, "steps=1.5 is not an int"),
        ({"steps": float("inf")}, "is not an int"),
        ({"steps": True}, "steps=True is not an int"),
        ({"way": None}, "way=None is not a str"),
        ({"free": "nan"}, "free=nan is not finite"),
        ({"free": float("inf")}, "free=inf is not finite"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        fresh()["tilt"].parse(values)
    with pytest.raises(ValueError, match=message):
        fresh()["tilt"](None, **values)


def test_whole_numbers_may_come_as_floats_and_numbers_of_numpy_count():
    parsed = fresh()["tilt"].parse({"steps": 4.0, "margin": np.float32(0.5), "way": np.str_("down")})
    assert parsed == {"margin": 0.5, "way": "down", "steps": 4, "both": False, "free": 0.0}
    assert type(parsed["steps"]) is int and type(parsed["margin"]) is float


def test_a_tensor_is_its_owners_to_keep_in_range():
    learned = torch.tensor(7.0, requires_grad=True)
    assert fresh()["tilt"](None, margin=learned)[0] is learned
    with pytest.raises(TypeError, match="did you mean 'margin'"):
        fresh()["tilt"].checked({"margn": learned})


def test_a_misspelt_parameter_is_an_error_never_dropped():
    with pytest.raises(TypeError, match="did you mean 'margin'"):
        fresh()["tilt"].parse({"margn": 1})


def test_a_name_is_registered_once_and_with_a_docstring():
    registry = fresh()

    def tilt(pairs):
        """Again."""

    def bare(pairs):
        pass

    with pytest.raises(ValueError, match="twice"):
        registry.register(tilt)
    with pytest.raises(ValueError, match="docstring"):
        registry.register(bare)


@pytest.mark.parametrize("registry", [LOSSES, SELECTORS, MATCHERS], ids=["losses", "selectors", "matchers"])
def test_every_number_is_refused_out_of_its_range_from_python_too(registry):
    asked = 0
    for entry in registry.values():
        for param in entry.params:
            if param.range is None:
                assert param.kind is not float, f"{entry.name}.{param.name} has no range"
                continue
            for bad in (param.range.low - 1, param.range.high + 1, float("nan"), float("inf")):
                asked += 1
                with pytest.raises(ValueError, match=f"{param.name}=.* is (outside|not)"):
                    entry(None, **{param.name: bad})
    assert asked > 20


@pytest.mark.parametrize("registry", [LOSSES, SELECTORS, MATCHERS], ids=["losses", "selectors", "matchers"])
def test_defaults_lie_within_their_ranges(registry):
    for entry in registry.values():
        assert entry.parse({}) == entry.defaults
        for param in entry.params:
            assert param.parse(param.default) == param.default
