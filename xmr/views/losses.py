"""A page for each loss: its formula, its weights and what it goes back to; and all of them by the shape of their weights."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from xmr.analysis import NEGATIVES, Shape, shape_of
from xmr.figures.weights import weight_figure, weight_words
from xmr.losses import LOSSES
from xmr.registry import Entry
from xmr.views import Scene, tab
from xmr.views.blocks import Block, button, chart, column, menu, part, row, words
from xmr.views.prose import prose
from xmr.views.values import table
from xmr.views.weight_curves import SETTING, curve
from xmr.words import fixed, percent, significant
from xmr.workspace.measurements import loss_of_run

SIGNS = (
    "s⁺ is the score of a positive, s⁻ of a negative, h of the hardest negative; [x]₊ is x where it is positive, else 0; τ is the "
    "temperature. Of one query; both directions are averaged."
)
FEW, MUCH = 0.01, 0.1  # shares: what is next to none, and what is a good part
COLUMNS = (
    ("loss", ""),
    ("carried by", f"By how many of {NEGATIVES} negatives the push of an unsolved query is carried: 1 is the hardest alone"),
    ("easy negative", "Weight of their median, in per cent of the largest"),
    ("far above", "Weight of a hardest negative far above its positive (0.9 and 0.5), as a multiple of the largest just above it"),
    ("solved query", "Largest weight where the positive stands at 0.9 and no negative above 0, in per cent of an unsolved query's"),
    ("largest weight", "Of any pair of a query, among scores of −1 to 1"),
    ("beyond cosines", "Whether the largest weight grows with scores that have no bounds, as pair scorers have them"),
    ("attracts", "The largest pull on a negative, in per cent of the largest push on one"),
    ("alone", "Whether a pair's weight depends on its own score only"),
)  # fmt: skip
MEASURED = (
    "Each with its default values, and measured: d loss / d score by automatic differentiation, in a query whose positive stands at 0.5 "
    f"and whose hardest of {NEGATIVES} negatives at 0.55, and in others as the columns' titles say."
)


@tab("losses", "Losses")
def losses(scene: Scene) -> list[Block]:
    if scene.act.event == "pick":
        scene.set(about=str(scene.act.of("row") or "")[:80])
        scene.go = "losses-name"
    name = scene.one_of("about", list(LOSSES), _first(scene))
    entry = LOSSES[name]
    lead, fields = entry.told()
    shown = curve(name, entry.defaults, SETTING)
    figure = weight_figure(shown)
    figure.update_layout(uirevision=name)
    own = [run for run in scene.workspace.trained if loss_of_run(scene.workspace, run) == name]
    here = f"Runs here: {', '.join(own)}." if own else "No run here was trained with it."
    return [
        row(
            "losses-controls",
            menu("losses-about", "Loss", list(LOSSES), name, key="about"),
            button("losses-weigh", "Move its parameters", set={"tab": "weights", "loss": f"loss {name}", "params": ""}),
        ),
        words("losses-name", name, "heading"),
        words("losses-caption", entry.caption),
        row(
            "losses-page",
            column(
                "losses-told",
                prose("losses-formula", _paragraphs(lead), {}),
                *([words("losses-signs", SIGNS, "note")] if any("$" in line for line in lead) else []),
                prose("losses-fields", fields, _moves(name)),
                words("losses-values", _values(entry), "note"),
                words("losses-runs", here, "note"),
            ),
            chart("losses-curve", f"Weights of {name}", figure, weight_words(name, shown)),
        ),
        words("losses-shapes", "All losses by the shape of their weights", "heading"),
        *(words(f"losses-{id}", text) for id, text in findings(shapes()).items()),
        part("table", "losses-table", shape_table(shapes()), on=["pick"]),
    ]  # fmt: skip


def _first(scene: Scene) -> str:
    """The loss of the baseline, where it has one."""
    baseline = scene.state.baseline
    known = baseline in scene.workspace.trained
    return loss_of_run(scene.workspace, baseline) if known else next(iter(LOSSES))


def _paragraphs(lead: list[str]) -> list[str]:
    """Formulas that have a line of their own, and what is said of them."""
    said = " ".join(line for line in lead if not line.startswith("$$"))
    return [*(line for line in lead if line.startswith("$$")), *([said] if said else [])]


def _moves(own: str) -> dict[str, dict[str, Any]]:
    return {name: {"tab": "losses", "about": name} for name in LOSSES if name != own}


def _values(entry: Entry) -> str:
    told = [f"{name.replace('_', ' ')} {value}" for name, value in entry.defaults.items() if value != ""]
    return f"Drawn with {', '.join(told)}." if told else "It has no parameters."


# ---- the table of all -----------------------------------------------------------------------------------------------


def shapes() -> dict[str, Shape]:
    """The shape of every registered loss, with its defaults."""
    return {name: _shape(entry) for name, entry in LOSSES.items()}


@lru_cache(maxsize=256)
def _shape(entry: Entry) -> Shape:
    return shape_of(entry.name, entry.defaults)


def findings(found: dict[str, Shape]) -> dict[str, str]:
    """What tells losses apart, in sentences with the names of those of which it is true."""
    groups = {
        "hardest": ("Push one negative of a query only", lambda one: one.carried < 1 + FEW),
        "easy": ("Leave an easy negative next to nothing, under 1%", lambda one: abs(one.easy) < FEW),
        "kept": ("Never let go: a tenth or more of the weight is left in a solved query", lambda one: one.solved >= MUCH),
        "let-go": ("Let a solved query go entirely", lambda one: one.solved == 0),
        "given-up": ("Give up on a negative that stands far above its positive", lambda one: one.far < FEW),
        "attracted": ("Pull some negatives up", lambda one: one.attracts >= FEW),
        "grows": ("Grow without bounds with scores that have none", lambda one: one.growth > 1 + FEW),
        "alone": ("Weigh each pair by its own score only", lambda one: one.alone),
    }  # fmt: skip
    told = {}
    for id, (text, holds) in groups.items():
        names = [name for name, one in found.items() if holds(one)]
        told[id] = f"{text} ({len(names)} of {len(found)}): {', '.join(names) or 'none'}."
    return told


def shape_table(found: dict[str, Shape]) -> dict[str, Any]:
    rows = [(name, None, _cells(one)) for name, one in found.items()]
    return table(COLUMNS, rows, MEASURED, pick="Its page", sortable=True)


def _cells(one: Shape) -> list[tuple[str, str, float]]:
    grows = one.growth > 1 + FEW
    return [
        (fixed(one.carried, 1), "", one.carried),
        (_share(one.easy, "none"), "", one.easy),
        (f"× {significant(one.far)}" if one.far else "none", "", one.far),
        (_share(one.solved, "lets go"), "", one.solved),
        (significant(one.most), "", one.most),
        ("grows" if grows else "bounded", "", float(grows)),
        (_share(one.attracts, "none"), "", one.attracts),
        ("yes" if one.alone else "no", "", float(one.alone)),
    ]


def _share(share: float, none: str) -> str:
    if not share:
        return none
    return percent(share) if share >= FEW else f"{significant(100 * share, 2)}%"
