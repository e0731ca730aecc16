"""The negatives that a loss pushes hardest, which of them are probably matches, and what people say of them."""

from __future__ import annotations

import re
from typing import Any

from xmr.analysis import precision_recall, threshold_of
from xmr.data import SPLITS
from xmr.figures.suspects import suspects_figure
from xmr.selection import DEFAULT, SELECTORS
from xmr.store import StoreRefused, as_csv, as_jsonl
from xmr.views import Act, Scene, file_of, judging, part_of, tab
from xmr.views.agreement import agreement_csv, agreement_words
from xmr.views.blocks import Block, button, chart, code, column, fold, many, menu, part, radio, row, words
from xmr.views.close_loop import loop_blocks
from xmr.views.params import sliders
from xmr.views.runs import NO_LOSS
from xmr.views.suspect_lists import (
    ANY,
    JUDGED,
    TRUTH_FILTERS,
    Asked,
    NothingToShow,
    examine,
    filters,
)
from xmr.views.suspect_order import ORDERS, estimate_words, order_words
from xmr.views.suspect_pages import counted, judge_pairs, list_page
from xmr.views.suspect_settings import parsed, read_settings, setting_at, settings_of, written
from xmr.views.suspect_words import about_selector, findings, selector_table, share
from xmr.views.values import table
from xmr.views.verdicts import kept_where
from xmr.workspace import Workspace, style_at
from xmr.workspace.commands import verdict_commands
from xmr.workspace.measurements import captions, sample_words, suspects_curve

BESIDE = ("word_overlap", "near_positive")  # compared with at first: they look at other things than most
USE = (
    "Train with verdicts on the train split, evaluate with those on the split that is evaluated; confirmed pairs count as "
    "matches, and no selector suspects what people refuted. With what JSONL saves of either split, in the folder of xmr:"
)
MODES = [("a list", "list"), ("one at a time", "one")]
BLIND = [("after your own answer", "hidden"), ("always", "shown")]
TOLD = "This list is made by the truth, so nothing is hidden."
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
    again = {"page": 0}
    controls = column(
        "fn-controls",
        menu("fn-run", "Run", names, state.fn_run, key="fn_run", resets=again),
        words("fn-combined", NO_LOSS.format(", ".join(combined)) if combined else "", "note"),
        menu("fn-selector", "Selector", list(SELECTORS), selector, key="selector", resets=again),
        words("fn-about", about_selector(workspace, state.fn_run, selector), "note"),
        *sliders(SELECTORS[selector], params, "fn", "fn-param"),
        many("fn-beside", "Compare with", list(SELECTORS), state.compare or (), key="compare", resets=again),
    )
    filters_, order, how, panel, exports, turns, pairs = _list(scene, asked)
    people = _people(workspace, asked)
    if state.mode == "one":  # the pair first, and no figures that take time
        setup = fold("fn-setup", "Run, selectors and list", controls, filters_)
        return [how, order, panel, pairs, turns, *people, exports, *loop_blocks(scene), setup]
    drawn, numbers = _measured(scene, asked)
    drawn = column("fn-drawn", drawn, part("table", "fn-table", numbers))
    measured = row("fn-measured", controls, drawn, widths=(1, 4))
    return [measured, filters_, order, how, panel, *people, exports, *loop_blocks(scene), turns, pairs]


def _asked(scene: Scene) -> Asked:
    """What the state asks for, with what was moved just now."""
    workspace, act = scene.workspace, scene.act
    scene.one_of("fn_run", workspace.trained, next(iter(workspace.trained), ""))
    scene.one_of("selector", list(SELECTORS), DEFAULT)
    state = scene.state
    held, faults = read_settings(state.settings)
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
            now[selector] |= {str(act.of("name")): parsed(selector, act.of("name"), act.of("value"))}
            scene.set(page=0)
        elif act.block == "fn-chart":
            name, param, value = setting_at(act, [selector, *others])
            now[name] |= {param: value}
            scene.set(page=0)
            scene.say(f"{param} of {name} is set to {value:.3g}.")
    except (ValueError, TypeError, OverflowError) as error:
        faults.append(str(error))
    for fault in faults:
        scene.say(fault)
    moved = {name: params for name, params in now.items() if params != SELECTORS[name].defaults}
    scene.set(settings=written(moved), compare=others)
    owner = judging.owner_of(scene.visitor.secret, scene.visitor.login)
    judge = judging.judge_of(workspace, scene.visitor.name, owner)[0]
    settings = settings_of(selector, now[selector], others, now)
    told = [value for _, value in TRUTH_FILTERS]
    return Asked(
        state.fn_run,
        state.split,
        state.direction,
        settings,
        state.list,
        state.not_by or ANY,
        "open" if state.mode == "one" and state.judged == "any" else state.judged,
        judge,
        owner,
        state.by,
        tuple(scene.drawn[0]),
        state.answers == "hidden" and state.list not in told,
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
    known = workspace.dataset(asked.split).truth
    of = "" if known is None or known.complete else f"Truth: {known.source}."
    said = " ".join(text for text in (found, of, some, *examined.faults) if text)
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
    """The filters, the order, how to judge, what is judged, what to do with it, and a page of pairs with the ways on: by place,
    so that what is judged takes no others' turns."""
    workspace, state, act = scene.workspace, scene.state, scene.act
    names = state.suspect_visual, state.suspect_text
    move, *shown = _turn(act) or (0, state.page, state.page)
    page = list_page(workspace, asked, scene.visitor.name, names, (shown[0], shown[1]), move)
    scene.set(page=page.shown[0] if page.shown else 0)
    turn = [
        button(f"fn-{id}", label, block="fn-turn", data=[step, *(page.shown or ())])
        for id, label, step in (("previous", "Previous", -1), ("next", "Next", 1))
    ]
    unasked = {"suspect_visual": "", "suspect_text": ""}
    return [
        *_list_controls(scene, asked),
        _judging(workspace.verdicts.at_risk, page.panel),
        _exports(scene),
        row(
            "fn-pages",
            *turn,
            button("fn-clear", "Clear the pair asked for", set=unasked, hidden=not any(names)),
            words("fn-where", page.where, "note"),
        ),
        part("cards", "fn-pairs", page.cards | {"one": state.mode == "one"}),
    ]


def _list_controls(scene: Scene, asked: Asked) -> list[Block]:
    """The filters, the order in words, and how to judge."""
    workspace, state, again = scene.workspace, scene.state, {"page": 0}
    selectors, runs = len(asked.settings), 1 if workspace.is_large(state.split) else len(asked.runs)
    chosen = [radio("fn-list", "List", filters(workspace), state.list, key="list", resets=again)]
    if asked.listed == "only":
        others, label = [ANY, *SELECTORS], "and not suspected by"
        chosen.append(menu("fn-not-by", label, others, asked.not_by, key="not_by", resets=again))
    known = "Scores, suspicions, truth and others' answers"
    return [
        row(
            "fn-filters",
            *chosen,
            radio("fn-judged", "Judged", JUDGED, state.judged, key="judged", resets=again),
            menu("fn-by", "Order", ORDERS, state.by, key="by", resets=again),
        ),
        words("fn-order", order_words(state.by, state.selector, selectors, runs), "note"),
        row(
            "fn-how",
            radio("fn-mode", "Judge", MODES, state.mode, key="mode", resets=again),
            radio("fn-answers", known, BLIND, state.answers, key="answers"),
            words("fn-blind", "" if asked.blind or state.answers == "shown" else TOLD, "note"),
        ),
    ]


def _judging(at_risk: bool, panel: dict[str, Any]) -> Block:
    """The person's name, and what is judged."""
    told = "under which your verdicts are kept"
    return row(
        "fn-judging",
        {"kind": "visitor", "id": "fn-name", "label": "Your name", "placeholder": told},
        part("verdicts", "fn-verdicts", panel)
        | {
            "ask": {"judge": "judge", "count": "count"},
            "settings": {"name": "fn-name", "exports": "fn-exports", "forgetful": at_risk},
        },
        widths=(1, 3),
    )


def _exports(scene: Scene) -> Block:
    """Files of verdicts, and what to run with them."""
    verdicts = scene.workspace.verdicts
    return fold(
        "fn-exports",
        "Export and use the verdicts on this split",
        words("fn-forgets", kept_where(verdicts)),
        row(
            "fn-export",
            button("fn-jsonl", "JSONL", save="verdicts.jsonl"),
            button("fn-csv", "CSV", save="verdicts.csv"),
            button("fn-agreement-csv", "Agreement (CSV)", save="agreement.csv"),
        ),
        words("fn-use", USE, "note"),
        code("fn-commands", _commands(scene)),
        words("fn-names", NAMES, "note"),
        opened=verdicts.at_risk,
    )


def _people(workspace: Workspace, asked: Asked, whole: bool = False) -> list[Block]:
    """What the verdicts tell of the first selector and of those who gave them, as far as they are counted."""
    estimate = agreed = ""
    try:
        examined = examine(workspace, asked, whole)
    except NothingToShow:
        whole = False
    else:
        whole = examined.answers.whole
    if whole:
        first, mask = next(iter(examined.masks.items()))
        told = not asked.blind or examined.standing.mine[examined.drawn].any()
        truth = precision_recall(mask, examined.found.truth).precision if told else None
        estimate = estimate_words(first, examined.drawn, examined.standing, truth)
        agreed = agreement_words(examined.answers)
    return [words("fn-estimate", estimate, "note"), words("fn-agreement", agreed, "note")]


def _turn(act: Act) -> tuple[int, int, int] | None:
    """One page on (1) or back (-1), and the first and the last place that were shown; None where a browser sends no such.
    What was judged since may have left the list, so the places count, not the page."""
    sent = act.data if act.block == "fn-turn" else None
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


def _slug(name: str) -> str:
    """A dataset's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "dataset"


@file_of("verdicts.jsonl", "verdicts.csv", "agreement.csv")
def verdicts_file(scene: Scene, name: str) -> tuple[str, str]:
    workspace, split = scene.workspace, scene.state.split
    kind = name.rpartition(".")[2]
    own = f"verdicts-{_slug(workspace.dataset(split).name)}-{split}"
    if name == "agreement.csv":
        return f"{own}-agreement.csv", agreement_csv(judging.answers_on(workspace, split, ""))
    try:
        found = judging.store_of(workspace).verdicts(fingerprint=workspace.dataset(split).fingerprint)
    except StoreRefused as error:
        raise ValueError(str(error)) from error
    if not found:
        raise ValueError("Nobody has judged a pair of this split yet.")
    return f"{own}.{kind}", as_csv(found) if kind == "csv" else as_jsonl(found)


@part_of("judge")
def judge(scene: Scene, data: Any) -> dict[str, Any]:
    """Keeps the answers that a browser sends; the panel and the table of selectors as people judge them now."""
    asked = _asked(scene)
    return _told(scene, asked, *judge_pairs(scene.workspace, asked, scene.visitor.name, data, SPLITS))


@part_of("count")
def count(scene: Scene, data: Any) -> dict[str, Any]:
    """The same, where nothing was judged meanwhile: the first view of a split does not wait for all verdicts to be counted."""
    asked = _asked(scene)
    return _told(scene, asked, *counted(scene.workspace, asked, scene.visitor.name, data))


def _told(scene: Scene, asked: Asked, panel: dict[str, Any], numbers: dict[str, Any]) -> dict[str, Any]:
    shown = part("verdicts", "fn-verdicts", panel), part("table", "fn-table", numbers)
    return {"blocks": [*shown, *_people(scene.workspace, asked, whole=True)]}
