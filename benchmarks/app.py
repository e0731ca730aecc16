"""How fast the app answers, and whether thirty people at once get their own answers.

    python benchmarks/app.py                     on the shipped runs
    python benchmarks/app.py --large FOLDER      on 25,000 pictures with 125,000 captions and six runs, made in FOLDER
    python benchmarks/app.py --only-people       the load alone

The app runs as its users start it, in a process of its own. Over HTTP, as a browser talks to it: a text search over six
runs (`/search`, never the same text twice), and the time and size of the page's own events, which are those that a
browser sends. In a browser: the first load of a page that nobody has opened, and the time from a click or a key to a
drawn answer; a tab is opened as soon as the page is there, after the page has been looked at, and again. Then thirty people
search, walk on, open items, look at distributions and judge pairs for a minute; each answer must be about the question of
its asker.

Times are wall time; the load of the machine is told beside them. Limits are those that the project sets itself.
"""

from __future__ import annotations

import argparse
import json
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SHAPES = ("sphere", "cube", "cylinder", "cone")
SEARCH_MS, EVENT_MS, LOAD_S, PAYLOAD_KB = 300, 500, 3.0, 300
READ_S = 8  # how long a page is looked at before another tab is opened


# When something was last drawn in what people look at; Gradio's hidden progress bars don't count.
WATCH = """() => {
  window.__quiet = performance.now();
  window.__seen?.disconnect();
  window.__seen = new MutationObserver((changes) => {
    const drawn = ({ target }) => (target.closest ? target : target.parentElement)?.closest(
      '.rg, .chart, .cards, .numbers, .queries, .pm, .tiles, .verdicts, [role=tabpanel], [role=tab]')
      && !(target.closest ? target : target.parentElement)?.closest('[data-testid=status-tracker]');
    if (changes.some(drawn)) window.__quiet = performance.now();
  });
  window.__seen.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


class Session:
    """A visitor as the server sees one: calls the page's events by the component that they belong to."""

    def __init__(self, address: str):
        self.http = httpx.Client(base_url=address, timeout=120)
        self.config = self.http.get("/config").json()
        self.name = uuid4().hex
        self.parts = {part["id"]: part for part in self.config["components"]}
        self.values = {key: part["props"].get("value") for key, part in self.parts.items()}

    def id_of(self, elem_id: str) -> int:
        return next(key for key, part in self.parts.items() if part["props"].get("elem_id") == elem_id)

    def set(self, elem_id: str, value: Any) -> None:
        self.values[self.id_of(elem_id)] = value

    def get(self, elem_id: str) -> Any:
        return self.values[self.id_of(elem_id)]

    def open(self, tab: str) -> tuple[float, int]:
        """As `call`: what the server is asked when a tab is shown, which its browser writes into a text of the tab."""
        target = [self.id_of(f"tab-{tab}"), "select"]
        told = [one for one in self.config["dependencies"] if target in [list(t) for t in one["targets"]]]
        names = [self.parts[key]["props"].get("elem_id") or "" for one in told for key in one["outputs"]]
        answers = []
        for wish in (name for name in names if name.endswith("-wish")):
            self.set(wish, f"{uuid4().hex} []")
            answers.append(self.call(wish, "change"))
        return sum(seconds for seconds, _ in answers), max(size for _, size in answers)

    def act(self, kind: str) -> tuple[float, int]:
        """As `call`: what the server is asked after a button of the search tab, by its browser's wish."""
        tick = int((self.get("search-wish") or "0").split(" ")[0]) + 1
        self.set("search-wish", f"{tick} {tick} {kind} {self.get('query')}")
        return self.call("search-wish", "change")

    def call(self, elem_id: str, event: str, event_data: Any = None) -> tuple[float, int]:
        """Sends the event with what the page holds to all that listens, takes the answers over, and returns their seconds
        and the bytes of the largest."""
        target = [self.id_of(elem_id), event]
        listening = [
            one
            for one in self.config["dependencies"]
            if one["backend_fn"] and target in [list(t) for t in one["targets"]]
        ]
        answers = [self._send(one, target[0], event, event_data) for one in listening]
        return sum(seconds for seconds, _ in answers), max(size for _, size in answers)

    def _send(self, found: dict[str, Any], component: int, event: str, event_data: Any) -> tuple[float, int]:
        body = {
            "data": [self.values[key] for key in found["inputs"]],
            "fn_index": found["id"],
            "session_hash": self.name,
            "event_data": event_data,
            "trigger_id": component,
        }
        started = time.perf_counter()
        self.http.post("/gradio_api/queue/join", json=body).raise_for_status()
        size = 0
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.name}) as stream:
            for line in stream.iter_lines():
                size += len(line) + 1
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed":
                    break
        seconds = time.perf_counter() - started
        if not message.get("success"):
            raise RuntimeError(
                f"{self.parts[component]['props'].get('elem_id')}.{event}: {message.get('output')}"
            )
        for key, value in zip(found["outputs"], message["output"]["data"], strict=True):
            if isinstance(value, dict) and value.get("__type__") == "update":
                if "value" in value:
                    self.values[key] = value["value"]
            else:
                self.values[key] = value
        return seconds, size


@contextmanager
def serving(options: list[str], cache: str) -> Iterator[tuple[str, float, float]]:
    """The app in a process of its own: its address, and the seconds until it was up and until it was warm."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), *options]
    environment = {**os.environ, "XMR_CACHE": cache}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            if server.poll() is not None:
                raise SystemExit("the app has stopped; start it by hand to see why: " + " ".join(command))
            try:
                httpx.get(address, timeout=60).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        up = time.perf_counter() - started
        while line := server.stdout.readline():
            if line.startswith("Ready"):
                break
        yield address, up, time.perf_counter() - started
    finally:
        server.terminate()
        server.wait(30)


def report(name: str, times: list[float], limit: float, unit: str = "ms") -> None:
    """One line: median, slowest, and whether the limit is kept by the median."""
    scale = 1000 if unit == "ms" else 1
    middle, worst = scale * statistics.median(times), scale * max(times)
    digits = 0 if unit == "ms" else 1
    verdict = "" if middle <= limit else "   over the limit"
    print(
        f"{name:52s} {middle:8,.{digits}f} {worst:8,.{digits}f} {limit:8,.{digits}f} {unit}{verdict}",
        flush=True,
    )


def searches(address: str, runs: list[str]) -> None:
    """Text search over six runs by the public endpoint, and by the page's own event."""
    from gradio_client import Client

    client = Client(address, verbose=False)
    texts = [f"a {colour} {shape} on its own" for colour in COLOURS for shape in SHAPES]
    client.predict("to warm up", runs, 12, api_name="/search")
    times = []
    for text in texts[:20]:
        started = time.perf_counter()
        client.predict(text, runs, 12, api_name="/search")
        times.append(time.perf_counter() - started)
    report(f"text search, {len(runs)} runs, /search", times, SEARCH_MS)
    session = Session(address)
    session.set("runs", runs)
    times, sizes = [], []
    for text in texts[20:]:
        session.set("query", text)
        seconds, size = session.act("text")
        times.append(seconds)
        sizes.append(size / 1000)
    report(f"text search, {len(runs)} runs, the page's event", times, SEARCH_MS)
    report("its payload", sizes, PAYLOAD_KB, "kB")


def browsing(address: str, runs: list[str], tabs: list[tuple[str, str]]) -> None:
    """First load, tabs and sliders in a browser, and the size of every event's answer."""
    from playwright.sync_api import Page, sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise SystemExit("needs chromium; name it: CHROMIUM=/path/to/it")
    query = "&".join(f"runs={run}" for run in runs)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        loads = []
        for _ in range(5):
            context = browser.new_context(viewport={"width": 1400, "height": 900})
            page = context.new_page()
            started = time.perf_counter()
            page.goto(address)
            page.locator("#results .column").first.wait_for()
            page.wait_for_function(
                "[...document.querySelectorAll('#results img')].slice(0, 8).every((i) => i.complete)"
            )
            loads.append(time.perf_counter() - started)
            context.close()
        report("first load, nothing cached by the browser", loads, LOAD_S, "s")

        def opened() -> Page:
            page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
            page.goto(f"{address}/?v=1&{query}")
            page.locator(f"#results .column:nth-child({len(runs)})").wait_for()
            return page

        def timed(act: Callable[[], Any], drawn: str) -> float:
            """Seconds from the action until the page that is open has an answer and is quiet."""
            page.evaluate(WATCH)
            started = page.evaluate("performance.now()")
            act()
            page.wait_for_function(drawn, polling=20)
            answered = page.evaluate("performance.now()")
            page.wait_for_function("performance.now() - window.__quiet > 250", polling=50)
            return (max(answered, page.evaluate("window.__quiet")) - started) / 1000

        shown = """() => {
          const seen = [...document.querySelectorAll('#tabs figcaption, #tabs .plot, #results .rg')]
            .filter((one) => one.offsetParent && one.getBoundingClientRect().top < innerHeight);
          return seen.every((one) => !one.textContent.startsWith('Measuring') && (!one.matches('.plot') || one.dataset.drawn));
        }"""

        def switched(title: str) -> float:
            page.get_by_role("tab", name="Search", exact=True).click()
            page.wait_for_timeout(600)
            return timed(lambda: page.get_by_role("tab", name=title, exact=True).click(), shown)

        for title, _ in tabs:
            times = []
            for _ in range(3):
                page = opened()
                times.append(switched(title))
                page.context.close()
            report(f"tab {title}, as soon as the page is there", times, EVENT_MS)
        firsts: dict[str, list[float]] = {title: [] for title, _ in tabs}
        for _ in range(3):
            page = opened()
            page.wait_for_timeout(READ_S * 1000)
            for title, times in firsts.items():
                times.append(switched(title))
            page.context.close()
        for title, times in firsts.items():
            report(f"tab {title}, first opened after {READ_S} s", times, EVENT_MS)
        page = opened()
        page.wait_for_timeout(READ_S * 1000)
        for title, _ in tabs:
            switched(title)
            report(f"tab {title}, seen before", [switched(title) for _ in range(3)], EVENT_MS)
        page.get_by_role("tab", name="Loss weights", exact=True).click()
        page.wait_for_timeout(1500)

        def moved(slider: str, answered: Callable[[], str]) -> list[float]:
            page.locator(slider).focus()
            page.wait_for_timeout(500)
            times = []
            for _ in range(5):
                until = answered()
                times.append(timed(lambda: page.keyboard.press("ArrowRight"), until))
                page.wait_for_timeout(300)
            return times

        def redrawn() -> (
            str
        ):  # charts that stay as they are aren't drawn again: the link's text comes with them
            said = "document.querySelector('#link-params textarea').value"
            return f"{said} !== {json.dumps(page.evaluate(said))}"

        def relisted() -> str:
            tiles = "document.querySelectorAll('#results .column:first-child .tiles .tile').length"
            return f"{tiles} === {page.evaluate(tiles) + 1}"

        report("slider of Loss weights", moved("#weights-slider-0 input[type=range]", redrawn), EVENT_MS)
        page.get_by_role("tab", name="Search", exact=True).click()
        page.wait_for_timeout(800)
        report("slider of the sidebar (k)", moved("#k input[type=range]", relisted), EVENT_MS)
        browser.close()


def payloads(address: str, tabs: list[tuple[str, str]]) -> None:
    """Bytes of the answers when tabs are opened, as the server sends them."""
    for title, tab in tabs:
        session = Session(address)
        _, size = session.open(tab)
        report(f"payload of opening {title}", [size / 1000], PAYLOAD_KB, "kB")


def crowd(address: str, people: int, seconds: float) -> None:
    """People who search, walk on, open items and judge pairs at once: no error, and everybody's answer is to their own
    question."""
    until = time.monotonic() + seconds
    times: list[float] = []
    faults: list[str] = []
    lock = threading.Lock()

    def person(number: int) -> None:
        session = Session(address)
        turn = 0
        while time.monotonic() < until:
            turn += 1
            try:
                text = f"{COLOURS[number % 8]} {SHAPES[turn % 4]} of person {number}, question {turn}"
                session.set("query", text)
                taken = [session.act("text")[0]]
                said = json.loads(session.get("results"))["query"].get("text")
                if said != text:
                    raise RuntimeError(f"asked {text!r}, was answered {said!r}")
                session.set("k", 4 + (number + turn) % 20)
                taken.append(session.act("next")[0])
                if json.loads(session.get("results"))["k"] != session.get("k"):
                    raise RuntimeError("another one's k")
                tile = json.loads(session.get("results"))["columns"][0]["tiles"][0]
                taken.append(session.call("results", "pick", {"index": tile["index"]})[0])
                if json.loads(session.get("item"))["index"] != tile["index"]:
                    raise RuntimeError("another one's item")
                taken.append(session.open("distributions")[0])
                if turn == 1:
                    session.set("fn-name", f"person {number}")
                    taken.append(session.open("false_negatives")[0])
                listed = json.loads(session.get("fn-pairs"))
                pair = listed["cards"][turn % len(listed["cards"])]["pair"]
                key = f"{session.name} {turn}"
                said = {
                    "key": key,
                    "judge": f"person {number}",
                    "answer": "yes",
                    "pair": pair,
                    "of": listed["of"],
                }
                taken.append(session.call("fn-verdicts", "judge", {"items": [said], "shown": [pair]})[0])
                if json.loads(session.get("fn-verdicts"))["kept"] != [key]:
                    raise RuntimeError("a verdict was not kept")
            except (RuntimeError, httpx.HTTPError, KeyError, TypeError) as error:
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
        f"{people} people for {seconds:.0f} s: {len(times):,} events, median {1000 * middle:,.0f} ms, "
        f"95th percentile {1000 * high:,.0f} ms, {len(faults)} faults"
    )
    for fault in faults:
        print(f"    {fault}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--large", default="", metavar="FOLDER", help="instead of the shipped runs")
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only-people", action="store_true", help="nothing but the load of these people")
    parser.add_argument(
        "--cache", default="", metavar="FOLDER", help="default: an empty one, or FOLDER/cache"
    )
    options = parser.parse_args()
    settings = ["--dataset", "blocks"]
    with tempfile.TemporaryDirectory() as empty:
        cache = options.cache or empty
        if options.large:
            from benchmarks.large_app import make_large

            data, runs_folder = make_large(Path(options.large))
            settings = ["--checkpoints", str(runs_folder), "--dataset", str(data)]
            cache = options.cache or str(Path(options.large) / "cache")
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        options_of_app = [*settings, "--verdicts", str(Path(empty) / "verdicts.sqlite")]
        with serving(options_of_app, cache) as (address, up, warm):
            print(f"up after {up:.0f} s, warm after {warm:.0f} s")
            print(f"{'':52s} {'median':>8s} {'slowest':>8s} {'limit':>8s}", flush=True)
            known = httpx.get(f"{address}/config").json()
            tabs = [
                (one["props"]["label"], one["props"]["id"])
                for one in known["components"]
                if one["type"] == "tabitem"
            ]
            runs = next(one for one in known["components"] if one["props"].get("elem_id") == "runs")["props"][
                "choices"
            ]
            runs = [value for _, value in runs if value != "hybrid"][:6]
            if not options.only_people:
                searches(address, runs)
                payloads(address, tabs[1:])
                browsing(address, runs, tabs[1:])
            crowd(address, options.people, options.seconds)
        print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
