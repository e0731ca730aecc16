"""The negatives that a loss pushes hardest, which of them are probably matches, and what people say of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from xmr.analysis import precision_recall, threshold_of
from xmr.data import SPLITS
from xmr.figures.suspects import suspects_figure
from xmr.registry import UnknownName
from xmr.selection import DEFAULT, SELECTORS
from xmr.store import StoreRefused, as_csv, as_jsonl
from xmr.views import Act, Scene, file_of, judging, part_of, tab
from xmr.views.blocks import Block, button, chart, code, column, fold, many, menu, part, radio, row, words
from xmr.views.params import sliders
from xmr.views.runs import NO_LOSS
from xmr.views.suspect_lists import ANY, JUDGED, Asked, NothingToShow, examine, filters, page_of, settings_of
from xmr.views.suspect_pages import counted, judge_pairs, list_page
from xmr.views.suspect_words import about_selector, findings, selector_table, share
from xmr.views.values import table
from xmr.workspace import style_at
from xmr.workspace.commands import verdict_commands
from xmr.workspace.measurements import captions, sample_words, suspects_curve

BESIDE = ("word_overlap", "near_positive")  # compared with at first: they look at other things than most
FORGETS = (
    "This host forgets all verdicts when it restarts: take them with you by JSONL or CSV before you leave. "
    "You are asked when you leave with verdicts that were not exported."
)
USE = (
    "Train with verdicts on the train split, evaluate with those on the split that is evaluated; confirmed pairs count as "
    "matches, and no selector suspects what people refuted. With what JSONL saves of either split, in the folder of xmr:"
)
NAMES = "A name is no account: it is of the browser that judged under it first."


@tab("false_negatives", "False negatives")
def false_negatives(scene: Scene) -> list[Block]:
    workspace = scene.workspace
    names = workspace.trained
    own = scene.state.baseline
    scene.one_of("fn_run", names, own if own in names else next(iter(names), ""))
    selector = scene.one_of("selector", list(SELECTORS), DEFAULT)
    scene.one_of("list", [value for _, value in filters(workspace)], "all")
    scene.one_of("not_by", [ANY, *SELECTORS], ANY)
    scene.one_of("judged", [value for _, value in JUDGED], "any")
    asked = _asked(scene)
    params = asked.settings[selector]
    state = scene.state
    combined = [name for name in workspace.runs if name not in names]
    controls = column(
        "fn-controls",
        menu(
            "fn-run", "Run", [(name, name) for name in names], state.fn_run, key="fn_run", resets={"page": 0}
        ),
        words("fn-combined", NO_LOSS.format(", ".join(combined)) if combined else "", "note"),
        menu(
            "fn-selector",
            "Selector",
            [(name, name) for name in SELECTORS],
            selector,
            key="selector",
            resets={"page": 0},
        ),
        words("fn-about", about_selector(workspace, state.fn_run, selector), "note"),
        *sliders(SELECTORS[selector], params, "fn", "fn-param"),
        many(
            "fn-beside",
            "Compare with",
            [(name, name) for name in SELECTORS],
            state.compare or (),
            key="compare",
            resets={"page": 0},
        ),
    )
    drawn, numbers = _measured(scene, asked)
    return [
        row(
            "fn-measured",
            controls,
            column("fn-drawn", drawn, part("table", "fn-table", numbers)),
            widths=(1, 4),
        ),
        *_list(scene, asked),
    ]


def _asked(scene: Scene) -> Asked:
    """What the state asks for, with what was moved just now."""
    workspace, act = scene.workspace, scene.act
    scene.one_of("fn_run", workspace.trained, next(iter(workspace.trained), ""))
    scene.one_of("selector", list(SELECTORS), DEFAULT)
    state = scene.state
    held, faults = _read_settings(state.settings)
    selector = state.selector or DEFAULT
    others = state.compare
    if others is None:
        others = tuple(name for name in BESIDE if name != selector)
    unknown = [name for name in others if name not in SELECTORS]
    faults += [f"there is no selector {name[:40]!r}" for name in unknown]
    others = tuple(name for name in others if name in SELECTORS)
    now = {name: dict(held.get(name, SELECTORS[name].defaults)) for name in SELECTORS}
    try:
        if act.block == "fn-param":
            now[selector] |= {str(act.of("name")): _parsed(selector, act.of("name"), act.of("value"))}
            scene.set(page=0)
        elif act.block == "fn-chart":
            name, param, value = _setting_at(act, [selector, *others])
            now[name] |= {param: value}
            scene.set(page=0)
            scene.say(f"{param} of {name} is set to {value:.3g}.")
    except (ValueError, TypeError, OverflowError) as error:
        faults.append(str(error))
    for fault in faults:
        scene.say(fault)
    moved = {name: params for name, params in now.items() if params != SELECTORS[name].defaults}
    scene.set(settings=_written(moved), compare=others)
    owner = judging.owner_of(scene.visitor.secret, scene.visitor.login)
    judge = judging.judge_of(workspace, scene.visitor.name, owner)[0]
    settings = settings_of(selector, now[selector], others, now)
    return Asked(
        state.fn_run,
        state.split,
        state.direction,
        settings,
        state.list,
        state.not_by or ANY,
        state.judged,
        judge,
        owner,
    )


def _measured(scene: Scene, asked: Asked) -> tuple[Block, dict[str, Any]]:
    """The chart with the finding, and the table of selectors."""
    workspace, name = scene.workspace, "Precision against recall of the selectors"
    try:
        examined = examine(workspace, asked, whole=False)
    except NothingToShow as error:
        return chart("fn-chart", name, None, str(error)), table([], [])
    truth, masks = examined.found.truth, examined.masks
    measured = {one: precision_recall(mask, truth) for one, mask in masks.items()}
    found = findings(asked.run, masks, measured, truth)
    some = sample_words(workspace, asked.split, asked.direction)
    said = " ".join(text for text in (found, some, *examined.faults) if text)
    numbers = selector_table(examined, captions(workspace, asked.split).source)
    curves = {}
    if next(iter(measured.values())).matches:
        of = asked.run, asked.split, asked.direction
        curves = {
            one: suspects_curve(workspace, *of, one, asked.settings[one])
            for one in masks
            if threshold_of(one)
        }
    if not curves:
        return chart("fn-chart", name, None, said), numbers
    styles = {one: style_at(i) for i, one in enumerate(masks)}
    figure = suspects_figure(curves, measured, styles, f"{asked.run} {asked.split} {asked.direction}")
    rows = [
        (one, f"{curve.parameter} {value:.3g}", share(at.precision), share(at.recall))
        for one, curve in curves.items()
        for value, at in zip(curve.values, curve.measured, strict=True)
    ]
    told = (("selector", "setting", "precision", "recall"), rows)
    return chart("fn-chart", name, figure, said, told, on=["select"]), numbers


def _list(scene: Scene, asked: Asked) -> list[Block]:
    """The filters, what is judged, and a page of pairs: by place, so that what is judged takes no others' turns."""
    workspace, state, act = scene.workspace, scene.state, scene.act
    place = None
    names = state.suspect_visual, state.suspect_text
    try:
        places = examine(workspace, asked, whole=False).listed.nonzero()[0]
        if act.block == "fn-turn" and (way := _turn(act)):
            shown = page_of(places, way[1:], way[0])
        else:
            shown = page_of(places, (state.page, state.page), 0)
        place = (asked.key, int(shown[0]), int(shown[-1])) if len(shown) else None
    except NothingToShow:
        pass
    page = list_page(workspace, asked, scene.visitor.name, names, place)
    scene.set(page=page.place[1] if page.place else 0)
    forgotten = workspace.verdicts.forgotten
    again = {"page": 0}
    turn = [
        button(f"fn-{id}", label, block="fn-turn", data=[step, *(page.place or ())[1:]])
        for id, label, step in (("previous", "Previous", -1), ("next", "Next", 1))
    ]
    exports = [
        button(f"fn-{kind}", label, save=f"verdicts.{kind}")
        for kind, label in (("jsonl", "JSONL"), ("csv", "CSV"))
    ]
    return [
        row(
            "fn-filters",
            radio("fn-list", "List", filters(workspace), state.list, key="list", resets=again),
            *(
                [
                    menu(
                        "fn-not-by",
                        "and not suspected by",
                        [(one, one) for one in (ANY, *SELECTORS)],
                        asked.not_by,
                        key="not_by",
                        resets=again,
                    )
                ]
                if asked.listed == "only"
                else []
            ),
            radio("fn-judged", "Judged", JUDGED, state.judged, key="judged", resets=again),
        ),
        row(
            "fn-judging",
            {
                "kind": "visitor",
                "id": "fn-name",
                "label": "Your name",
                "placeholder": "under which your verdicts are kept",
            },
            part("verdicts", "fn-verdicts", page.panel)
            | {
                "ask": {"judge": "judge", "count": "count"},
                "settings": {"name": "fn-name", "exports": "fn-exports", "forgetful": forgotten},
            },
            widths=(1, 3),
        ),
        fold(
            "fn-exports",
            "Export and use the verdicts on this split",
            *([words("fn-forgets", FORGETS)] if forgotten else []),
            row("fn-export", *exports),
            words("fn-use", USE, "note"),
            code("fn-commands", _commands(scene)),
            words("fn-names", NAMES, "note"),
            opened=forgotten,
        ),
        row(
            "fn-pages",
            *turn,
            button(
                "fn-clear",
                "Clear the pair asked for",
                set={"suspect_visual": "", "suspect_text": ""},
                hidden=not any(names),
            ),
            words("fn-where", page.where, "note"),
        ),
        part("cards", "fn-pairs", page.cards),
    ]


def _turn(act: Act) -> tuple[int, int, int] | None:
    """One page on (1) or back (-1), and the first and the last place that were shown; None where a browser sends no such.
    What was judged since may have left the list, so the places count, not the page."""
    sent = act.data
    if not isinstance(sent, list) or [type(one) for one in sent] != [int] * 3:
        return None
    step, first, last = sent
    return (1 if step > 0 else -1, first, last) if 0 <= first <= last < 2**31 else None


def _commands(scene: Scene) -> str:
    """What to run with the verdicts of either split."""
    workspace = scene.workspace
    exported = f"verdicts-{_slug(workspace.dataset().name)}-{{split}}.jsonl"
    held = list(workspace.runs.values()), workspace.source, workspace.checkpoints, exported
    return "\n".join(verdict_commands(*held))


def _file_name(scene: Scene, kind: str) -> str:
    return f"verdicts-{_slug(scene.workspace.dataset(scene.state.split).name)}-{scene.state.split}.{kind}"


def _slug(name: str) -> str:
    """A dataset's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "dataset"


@file_of("verdicts.jsonl", "verdicts.csv")
def verdicts_file(scene: Scene, name: str) -> tuple[str, str]:
    kind = name.rpartition(".")[2]
    try:
        fingerprint = scene.workspace.dataset(scene.state.split).fingerprint
        found = judging.store_of(scene.workspace).verdicts(fingerprint=fingerprint)
    except StoreRefused as error:
        raise ValueError(str(error)) from error
    if not found:
        raise ValueError("Nobody has judged a pair of this split yet.")
    return _file_name(scene, kind), as_csv(found) if kind == "csv" else as_jsonl(found)


@part_of("judge")
def judge(scene: Scene, data: Any) -> dict[str, Any]:
    """Keeps the answers that a browser sends; the panel and the table of selectors as people judge them now."""
    return _told(*judge_pairs(scene.workspace, _asked(scene), scene.visitor.name, data, SPLITS))


@part_of("count")
def count(scene: Scene, data: Any) -> dict[str, Any]:
    """The same, where nothing was judged meanwhile: the first view of a split does not wait for all verdicts to be counted."""
    return _told(*counted(scene.workspace, _asked(scene), scene.visitor.name, data))


def _told(panel: dict[str, Any], numbers: dict[str, Any]) -> dict[str, Any]:
    return {"blocks": [part("verdicts", "fn-verdicts", panel), part("table", "fn-table", numbers)]}


# ---- moved parameters in the address: "selector: name=value, name=value; selector: …" ---------------------------------------


def _written(moved: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for name, params in moved.items():
        changed = {key: value for key, value in params.items() if value != SELECTORS[name].defaults[key]}
        values = (
            f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in changed.items()
        )
        parts.append(f"{name}: {', '.join(values)}")
    return "; ".join(parts)


def _read_settings(text: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    held: dict[str, dict[str, Any]] = {}
    faults = []
    for one in filter(None, text.split("; ")):
        name, _, values = one.partition(": ")
        try:
            params = dict(SELECTORS[name].defaults)
            for value in values.split(", "):
                key, _, number = value.partition("=")
                params[key] = _parsed(name, key, number)
            held[name] = params
        except (UnknownName, ValueError, TypeError) as error:
            faults.append(str(error))
    return held, faults


def _parsed(selector: str, name: Any, value: Any) -> Any:
    """Raises TypeError on an unknown parameter and ValueError on a value that does not fit."""
    return SELECTORS[selector].parse({str(name): value})[str(name)]


def _setting_at(act: Any, compared: list[str]) -> tuple[str, str, Any]:
    """Selector, parameter and value of a point of the chart that was clicked. Raises ValueError where there is none."""
    point = act.of("customdata")
    name, value = point if isinstance(point, list) and len(point) == 2 else (None, None)
    param = threshold_of(name) if isinstance(name, str) and name in compared else None
    if param is None or type(value) not in (int, float):
        raise ValueError("Click a point on the curve of a selector.")
    return name, param.name, param.parse(value)
