"""Names, parameters and near misses."""

from typing import Annotated, Literal

import pytest

from xmr.losses import LOSSES
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
    ):
        """Tilts.

        More words.
        """
        return margin, way, steps, both

    return registry


def test_an_entry_knows_its_caption_and_its_parameters():
    entry = fresh()["tilt"]
    assert entry.caption == "Tilts."
    assert entry.defaults == {"margin": 0.2, "way": "up", "steps": 3, "both": False}
    assert entry.param("margin").range == Range(0, 1)
    assert entry.param("way").choices == ("up", "down")


def test_strings_are_parsed_to_the_parameters_types():
    parsed = fresh()["tilt"].parse({"margin": "0.5", "way": "down", "steps": "4", "both": "true"})
    assert parsed == {"margin": 0.5, "way": "down", "steps": 4, "both": True}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"margin": "2"}, "margin=2 is outside 0 … 1"),
        ({"margin": "nan"}, "outside"),
        ({"margin": "x"}, "is not a float"),
        ({"steps": "1.5"}, "is not an int"),
        ({"way": "upp"}, "did you mean 'up'"),
        ({"both": "maybe"}, "not true or false"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        fresh()["tilt"].parse(values)


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


@pytest.mark.parametrize("registry", [LOSSES, SELECTORS], ids=["losses", "selectors"])
def test_defaults_lie_within_their_ranges(registry):
    for entry in registry.values():
        assert entry.parse({}) == entry.defaults
        for param in entry.params:
            assert param.parse(param.default) == param.default
