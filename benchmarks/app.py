"""How long people wait for the page: from the command to the pixels, and from a click or a key to a drawn answer.

    python benchmarks/app.py                     on the shipped runs
    python benchmarks/app.py --large FOLDER      on 25,000 pictures with 125,000 captions and six runs, made in FOLDER
    python benchmarks/app.py --root CHECKOUT     another version's page, by the same browser (what is asked over HTTP is left out)
    python benchmarks/app.py --only people       of start, browser, http and people only these

The app runs as its users start it, in a process of its own, first with an empty cache and then with the one that this left.
In a browser that has nothing cached: the first tiles and the first other tab, counted from the command; then each tab, opened
as soon as a new page is there and again, the next query, and steps of two sliders. Over HTTP, as the page asks: a text search
over six runs (never the same text twice), and the size of what each tab is told. Then thirty people search, walk on, open
items, look at distributions and judge pairs for a minute; each answer must be about the question of its asker.

Times are wall time; the load of the machine is told beside them. Limits are those that the project sets itself.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SHAPES = ("sphere", "cube", "cylinder", "cone")
TABS = ("Results", "Distributions", "Loss weights", "False negatives", "Errors", "Map")
PARTS = ("start", "browser", "http", "people")
SEARCH_MS, EVENT_MS, PAYLOAD_KB = 300, 500, 60
COLD_S, WARM_S, TAB_S = (
    12,
    7,
    1,
)  # from the command to the first tiles with an empty and a full cache; then the first tab
PATIENCE = 300_000  # ms that the browser waits for anything
TILES = """() => document.querySelector('#results .column')
  && [...document.querySelectorAll('#results img')].slice(0, 8).every((one) => one.complete && one.naturalWidth)"""
# The open tab shows something, and all that is in sight of it is drawn: a chart by plotly.js, or before it is there by the page itself.
SHOWN = """(title) => {
  const tab = [...document.querySelectorAll('[role=tab]')].find((one) => one.textContent.trim() === title && one.ariaSelected === 'true');
  const panel = tab && document.getElementById(tab.getAttribute('aria-controls'));
  if (!panel?.offsetParent) return false;
  const seen = [...panel.querySelectorAll('figcaption, .plot, .pm, .numbers table, .rg .column')]
    .filter((one) => one.offsetParent && one.getBoundingClientRect().top < innerHeight);
  return seen.length > 0 && seen.every((one) => !one.textContent.startsWith('Measuring')
    && (!one.matches('.plot, .pm') || one.dataset.drawn || one.dataset.sketched));
}"""
# When something was last drawn in what people look at; Gradio's hidden progress bars don't count, nor that plotly's clips follow
# the address, which moves no pixel.
WATCH = """() => {
  window.__quiet = performance.now();
  window.__seen?.disconnect();
  window.__seen = new MutationObserver((changes) => {
    const drawn = ({ target, attributeName }) => attributeName !== 'clip-path' && (target.closest ? target : target.parentElement)?.closest('[role=tabpanel], [role=tab]')
      && !(target.closest ? target : target.parentElement)?.closest('[data-testid=status-tracker], .plot[data-sketched]');
    if (changes.some(drawn)) window.__quiet = performance.now();
  });
  window.__seen.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


@contextmanager
def serving(root: Path, options: list[str], cache: str) -> Iterator[tuple[str, float, subprocess.Popen[str]]]:
    """The app in a process of its own: its address, when it was started, and the process. It answers already."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(root / "app.py"), "--port", str(port), *options]
    started = time.perf_counter()
    server = subprocess.Popen(
        command, cwd=root, env={**os.environ, "XMR_CACHE": cache}, stdout=subprocess.PIPE, text=True
    )
    try:
        while True:
            if server.poll() is not None:
                raise SystemExit("the app has stopped; start it by hand to see why: " + " ".join(command))
            try:
                httpx.get(address, timeout=60).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield address, started, server
    finally:
        server.terminate()
        server.wait(30)


def ready(server: subprocess.Popen[str]) -> None:
    """Waits until the app has measured all runs."""
    while line := server.stdout.readline():
        if line.startswith("Ready"):
            return


def report(name: str, times: list[float], limit: float, unit: str = "ms") -> None:
    """One line: median, slowest, and whether the limit is kept by the median."""
    scale = 1000 if unit == "ms" else 1
    middle, worst = scale * statistics.median(times), scale * max(times)
    digits = 1 if unit == "s" else 0
    verdict = "" if middle <= limit else "   over the limit"
    print(
        f"{name:52s} {middle:8,.{digits}f} {worst:8,.{digits}f} {limit:8,.{digits}f} {unit}{verdict}",
        flush=True,
    )


# ---- in a browser, which knows a page by its labels, so that another version's can be measured too ---------------------------


def new_page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    return page


def tiles_of(page: Page, address: str) -> None:
    """Opens the page and waits until its first tiles are on the screen."""
    page.goto(address, wait_until="commit")
    page.wait_for_function(TILES, polling=20)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def timed(page: Page, act: Callable[[], Any], drawn: str, told: Any = None) -> float:
    """Seconds from the action until the page is as it should be and quiet."""
    page.evaluate(WATCH)
    started = page.evaluate("performance.now()")
    act()
    page.wait_for_function(drawn, arg=told, polling=20)
    answered = page.evaluate("performance.now()")
    page.wait_for_function("performance.now() - window.__quiet > 250", polling=50)
    return (max(answered, page.evaluate("window.__quiet")) - started) / 1000


def switched(page: Page, title: str) -> float:
    return timed(page, lambda: page.get_by_role("tab", name=title, exact=True).click(), SHOWN, title)


def start(browser: Browser, root: Path, options: list[str], cache: str) -> None:
    """From the command to the first tiles and to the first other tab, with the cache as it is and with what this left."""
    for words, limit in (("empty", COLD_S), ("full", WARM_S)):
        with serving(root, options, cache) as (address, started, server):
            report(f"{words} cache: server up", [time.perf_counter() - started], limit, "s")
            page = new_page(browser)
            tiles_of(page, address)
            report(
                f"{words} cache: first tiles, from the command", [time.perf_counter() - started], limit, "s"
            )
            report(f"{words} cache: then Results", [switched(page, "Results")], TAB_S, "s")
            page.context.close()
            ready(server)
            report(f"{words} cache: all runs measured", [time.perf_counter() - started], math.inf, "s")


def browsing(browser: Browser, address: str, runs: list[str]) -> None:
    """Everything that people do most, on a page of six runs."""
    link = f"{address}/?v=1&" + "&".join(f"runs={run}" for run in runs)
    loads = []
    for _ in range(5):
        page = new_page(browser)
        started = time.perf_counter()
        tiles_of(page, link)
        loads.append(time.perf_counter() - started)
        page.context.close()
    report("first tiles, nothing cached by the browser", loads, EVENT_MS * 2)
    for title in TABS:
        times = []
        for _ in range(3):
            page = new_page(browser)
            tiles_of(page, link)
            times.append(switched(page, title))
            page.context.close()
        report(f"tab {title}, as soon as the page is there", times, EVENT_MS)
    page = new_page(browser)
    tiles_of(page, link)
    for title in TABS:
        times = []
        for at in range(4):
            switched(page, "Search")
            page.wait_for_timeout(600)
            if at:
                times.append(switched(page, title))
            else:
                switched(page, title)
                page.wait_for_timeout(1000)
        report(f"tab {title}, seen before", times, EVENT_MS)

    def steps(act: Callable[[], Any], value: str) -> list[float]:
        """Of five actions, each of which changes the page's value."""
        times = []
        for _ in range(5):
            page.wait_for_timeout(600)
            times.append(timed(page, act, f"(before) => {value} !== before", page.evaluate(value)))
        return times

    switched(page, "Search")
    following = page.get_by_role("button", name="Next disagreement", exact=True)
    asked = "document.querySelector('#results .query').textContent"
    report("Next disagreement", steps(following.click, asked), EVENT_MS)
    page.locator("#k input[type=range]").focus()
    tiles = "document.querySelectorAll('#results .column:first-child .tiles .tile').length"
    report("slider of the sidebar (k)", steps(lambda: page.keyboard.press("ArrowRight"), tiles), EVENT_MS)
    switched(page, "Loss weights")
    page.wait_for_timeout(1500)
    page.locator("[role=tabpanel]:visible input[type=range]:visible").first.focus()
    curve = "document.querySelector('#weights-curve .plot').dataset.drawn"
    report("slider of Loss weights", steps(lambda: page.keyboard.press("ArrowRight"), curve), EVENT_MS)
    page.context.close()


# ---- over HTTP, as the page asks ---------------------------------------------------------------------------------------------


class Session:
    """A visitor as the server sees one: a state, the view of it, and what was last answered."""

    def __init__(self, address: str):
        self.http = httpx.Client(base_url=address, timeout=120)
        page = self.http.get("/config")
        self.config_bytes = len(page.content)
        components = page.json()["components"]
        self.component = next(one["id"] for one in components if one["props"].get("server_fns"))
        self.name = uuid4().hex
        self.visitor = {"name": "", "secret": uuid4().hex}
        self.state: dict[str, Any] = {}
        self.blocks: dict[str, Any] = {}

    def view(self, act: dict[str, Any] | None = None, **changes: Any) -> tuple[float, int]:
        """Asks for the view of the changed state; seconds and bytes of the answer, whose blocks are kept by id."""
        self.state |= changes
        answer, seconds, size = self._ask("view", {"state": self.state, "act": act, "visitor": self.visitor})
        self.state, self.blocks = answer["state"], {}
        waiting = list(answer["blocks"])
        while waiting:
            block = waiting.pop()
            self.blocks[block["id"]] = block
            waiting += block.get("blocks", [])
        return seconds, size

    def part(self, name: str, data: Any) -> tuple[dict[str, Any], float]:
        """What is told beside the view."""
        asked = {"state": self.state, "name": name, "data": data, "visitor": self.visitor}
        answer, seconds, _ = self._ask("part", asked)
        return answer, seconds

    def _ask(self, function: str, data: Any) -> tuple[dict[str, Any], float, int]:
        body = {"data": data, "component_id": self.component, "fn_name": function, "session_hash": self.name}
        started = time.perf_counter()
        answer = self.http.post("/gradio_api/component_server", json=body).raise_for_status()
        seconds, found = time.perf_counter() - started, answer.json()
        if "fault" in found:
            raise RuntimeError(found["fault"])
        return found, seconds, len(answer.content)


def asking(address: str, runs: list[str]) -> None:
    """Text search over six runs by the public endpoint and as the page asks, and the size of what tabs are told."""
    from gradio_client import Client

    client = Client(address, verbose=False)
    texts = [f"a {colour} {shape} on its own" for colour in COLOURS for shape in SHAPES]
    client.predict("to warm up", runs, 12, api_name="/search")
    times = []
    for text in texts[:16]:
        started = time.perf_counter()
        client.predict(text, runs, 12, api_name="/search")
        times.append(time.perf_counter() - started)
    report(f"text search, {len(runs)} runs, /search", times, SEARCH_MS)
    session = Session(address)
    session.view(tab="search", runs=runs)
    answers = [session.view({"block": "go", "event": "change", "data": text}) for text in texts[16:]]
    report(f"text search, {len(runs)} runs, as the page asks", [one for one, _ in answers], SEARCH_MS)
    report("the page's configuration", [session.config_bytes / 1000], PAYLOAD_KB, "kB")
    report("payload of a text search", [size / 1000 for _, size in answers], PAYLOAD_KB, "kB")
    for title in TABS:
        _, size = session.view(tab=title.lower().replace("loss ", "").replace(" ", "_"))
        report(f"payload of opening {title}", [size / 1000], PAYLOAD_KB, "kB")


def visit(session: Session, number: int, turn: int) -> list[float]:
    """One person's turn: seconds of every answer. Raises RuntimeError where an answer is to another question."""

    def check(found: Any, wanted: Any, what: str) -> None:
        if found != wanted:
            raise RuntimeError(f"another one's {what}: {found!r} instead of {wanted!r}")

    text = f"{COLOURS[number % 8]} {SHAPES[turn % 4]} of person {number}, question {turn}"
    taken = [session.view({"block": "go", "event": "change", "data": text}, tab="search", page=0)[0]]
    check(session.blocks["results"]["value"]["query"].get("text"), text, "query")
    k = 4 + (number + turn) % 20
    taken.append(session.view({"block": "next", "event": "change", "data": None}, k=k)[0])
    grid = session.blocks["results"]["value"]
    check(grid["k"], k, "k")
    index = grid["columns"][0]["tiles"][0]["index"]
    item, seconds = session.part("item", {"index": index})
    check(item["index"], index, "item")
    taken += [seconds, session.view(tab="distributions")[0]]
    session.visitor["name"] = f"person {number}"
    taken.append(session.view(tab="false_negatives")[0])
    listed = session.blocks["fn-pairs"]["value"]
    pair, key = listed["cards"][turn % len(listed["cards"])]["pair"], f"{session.name} {turn}"
    said = {
        "key": key,
        "judge": session.visitor["name"],
        "answer": "yes",
        "pair": pair,
        "of": listed["of"],
    }
    kept, seconds = session.part("judge", {"items": [said], "shown": [pair]})
    check(kept["blocks"][0]["value"]["kept"], [key], "verdict")
    return [*taken, seconds]


def crowd(address: str, people: int, seconds: float) -> None:
    """People who do this at once: no error, and everybody's answer is to their own question."""
    until = time.monotonic() + seconds
    times: list[float] = []
    faults: list[str] = []
    lock = threading.Lock()

    def person(number: int) -> None:
        session, turn = Session(address), 0
        while time.monotonic() < until:
            turn += 1
            try:
                taken = visit(session, number, turn)
            except (RuntimeError, httpx.HTTPError, KeyError, TypeError, json.JSONDecodeError) as error:
                with lock:
                    faults.append(f"person {number}: {error!r}"[:300])
                return
            with lock:
                times.extend(taken)
            time.sleep(0.5)

    threads = [threading.Thread(target=person, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = times or [float("nan")]
    middle, high = statistics.median(times), sorted(times)[int(0.95 * len(times))]
    print(
        f"{people} people for {seconds:.0f} s: {len(times):,} answers, median {1000 * middle:,.0f} ms, "
        f"95th percentile {1000 * high:,.0f} ms, {len(faults)} faults"
    )
    for fault in faults:
        print(f"    {fault}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--large", default="", metavar="FOLDER", help="instead of the shipped runs")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="CHECKOUT", help="whose app is started")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    parts = set(options.only) - ({"http", "people"} if options.root != ROOT else set())
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise SystemExit("needs chromium; name it: CHROMIUM=/path/to/it")
    settings = ["--dataset", "blocks"]
    with tempfile.TemporaryDirectory() as empty, sync_playwright() as playwright:
        cache = str(Path(empty) / "cache")
        if options.large:
            from benchmarks.large_app import make_large

            data, folder = make_large(Path(options.large))
            settings = ["--checkpoints", str(folder), "--dataset", str(data)]
            cache = str(Path(options.large) / "cache")
        settings += ["--verdicts", str(Path(empty) / "verdicts.sqlite")]
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{'':52s} {'median':>8s} {'slowest':>8s} {'limit':>8s}", flush=True)
        if "start" in parts:
            start(browser, options.root, settings, cache)
        if parts - {"start"}:
            with serving(options.root, settings, cache) as (address, _, server):
                ready(server)
                runs = [one["name"] for one in httpx.post(f"{address}/gradio_api/run/runs", json={"data": []}).json()["data"][0]]  # fmt: skip
                runs = [name for name in runs if name != "hybrid"][:6]
                if "browser" in parts:
                    browsing(browser, address, runs)
                if "http" in parts:
                    asking(address, runs)
                if "people" in parts:
                    crowd(address, options.people, options.seconds)
        browser.close()
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
