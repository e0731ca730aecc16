"""Numbers in words: one way to write them for the page, the report and the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

MINUS, NOTHING = "−", "–"  # a minus sign is as wide as a plus; a dash stands where there is no number


def program(name: str) -> str:
    """What a shell calls the script of that name, or the app: by the command `xmr` where the package is installed, which leaves
    no scripts/ to name."""
    if (Path(__file__).parent / "programs").is_dir():
        return f"xmr {name}"
    return "python app.py" if name == "app" else f"python scripts/{name}.py"


def fixed(value: float, places: int, sign: bool = False) -> str:
    """The value with so many decimals, "–" where it is no number; `sign` writes a plus, too.

    >>> fixed(-0.1234, 2), fixed(0.2, 1, sign=True), fixed(-0.0001, 2)
    ('−0.12', '+0.2', '0.00')
    """
    if math.isnan(value):
        return NOTHING
    rounded = round(float(value), places) + 0.0  # never "−0.00"
    return f"{rounded:{'+' if sign and rounded else ''},.{places}f}".replace("-", MINUS)


def significant(value: float, digits: int = 3, sign: bool = False) -> str:
    """The value with so many significant digits, as tiny ones need; 0 is "0".

    >>> significant(-0.00123456), significant(0.0), significant(4.9), significant(12345.6), significant(1.5e-7)
    ('−0.00123', '0', '4.90', '12,346', '1.5e−07')
    """
    if math.isnan(value) or not value:
        return NOTHING if math.isnan(value) else "0"
    if not 1e-5 <= abs(value) < 1e9:
        return f"{value:{'+' if sign else ''}.{digits}g}".replace("-", MINUS)
    return fixed(value, max(digits - 1 - math.floor(math.log10(abs(value))), 0), sign)


def percent(share: float, places: int = 0) -> str:
    """A share in percent; nearly none is not none, and nearly all is not all.

    >>> percent(0.254), percent(0.001), percent(0.0), percent(0.996), percent(0.9999), percent(1.0)
    ('25%', 'under 1%', '0%', '99.6%', 'over 99.9%', '100%')
    """
    if math.isnan(share):
        return NOTHING
    shown, step = round(100 * share, places), 10.0**-places
    if share > 0 and shown == 0:
        return f"under {fixed(step, places)}%"
    if share < 1 and shown == 100:
        return percent(share, 1) if not places else f"over {fixed(100 - step, places)}%"
    return f"{fixed(shown, places)}%"


def plural(noun: str, count: int) -> str:
    """The noun as it goes with the number; it is given in the singular.

    >>> plural("caption", 1), plural("caption", 0), plural("query", 2), plural("match", 3), plural("epoch", 3)
    ('caption', 'captions', 'queries', 'matches', 'epochs')
    """
    if count == 1:
        return noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    hisses = noun.endswith(("s", "x", "ch", "sh")) and noun != "epoch"
    return f"{noun}es" if hisses else f"{noun}s"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "run"), counted(25000, "picture")
    ('1 run', '25,000 pictures')
    """
    return f"{count:,} {plural(noun, count)}"


def score(value: float) -> str:
    """One score by itself: three decimals, and three digits where those would be zeros.

    >>> score(0.54321), score(0.004123), score(-12.3456)
    ('0.543', '0.00412', '−12.346')
    """
    return significant(value) if 0 < abs(value) < 0.01 else fixed(value, 3)


def places_for(values: Iterable[float]) -> int:
    """How many decimals tell different scores apart: 3 for ordinary ones, up to 6 where all lie close together.

    >>> places_for([0.91, 0.3]), places_for([0.0041, 0.0049]), places_for([0.5, 0.5])
    (3, 5, 3)
    """
    known = sorted({float(value) for value in values if math.isfinite(value)})
    if len(known) < 2 or known[-1] == known[0]:
        return 3
    # A tenth of the whole spread is seen; two that lie closer than that may read alike.
    needed = math.ceil(-math.log10((known[-1] - known[0]) / 10))
    return min(max(3, needed), 6)
