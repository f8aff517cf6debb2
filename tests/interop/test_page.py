"""The page of the console in a real browser: what it shows of a real service, and what it does to real peers."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pydicom
import pytest
from selenium.webdriver.common.keys import Keys

from support.browser import PHONE, WIDE, Browser, elsewhere
from support.objects import make_ct
from support.peers import Arrival, Pacs, run_dcmtk
from support.service import Service, free_port, node, wait_for

TOKEN = "correct-horse-battery-staple"
ODD = "<img onerror=x>"  # a title that AE titles may have
NAME = "Canary^Yellow"
ROUTINGS = """\
- Description: CT goes to the reading room, too
  AeTitles: PACS
  Conditions:
    - Tag: 0008,0060
      MatchExpression: CT
  Actions:
    - Target: STRICT
- AeTitles: PACS
  Conditions:
    - Tag: 0008,0060
      MatchExpression: OT
  Actions:
    - Type: drop
"""


@dataclass(frozen=True, slots=True)
class World:
    """A service with a console, and its peers: PACS takes all, STRICT what it is told to, `ODD` does not answer."""

    leyden: Service
    url: str
    pacs: Pacs
    strict: Pacs
    status: list[int]
    folder: Path

    def send(self, path: Path, called: str = "PACS") -> None:
        words = ["-aet", "CT01", "-aec", called, "127.0.0.1", str(self.leyden.port), str(path)]
        done = run_dcmtk("dcmsend", *words)
        assert done.returncode == 0, done.stderr

    def send_ct(self, number: int, called: str = "PACS", **values: str) -> None:
        path = make_ct(self.folder / f"{number}.dcm", number, rows=64, columns=64)
        dataset = pydicom.dcmread(path)
        for keyword, value in {"PatientName": NAME, "AccessionNumber": f"ACC-{number}", **values}.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
        self.send(path, called)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("page")
    status = [0x0000]

    def answer(_arrival: Arrival) -> int:
        return status[0]

    pacs, strict = Pacs("PACS").start(), Pacs("STRICT", answer=answer).start()
    port = free_port()
    nodes = node("PACS", pacs.port) + node("STRICT", strict.port) + node(f'"{ODD}"', free_port())
    leyden = Service(folder / "leyden", nodes, ROUTINGS, api=f"{{enabled: true, port: {port}, token: {TOKEN}}}")
    try:
        leyden.start()
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _alive(url))
        yield World(leyden, url, pacs, strict, status, folder)
    finally:
        leyden.end()
        pacs.stop()
        strict.stop()


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    made = Browser(language="de-DE")  # numbers and dates are in the reader's locale
    yield made
    made.quit()


@pytest.fixture
def page(browser: Browser, world: World) -> Browser:
    """The page, opened anew without a log-in."""
    browser.size(*WIDE)
    browser.driver.get(f"{world.url}/")
    browser.driver.delete_all_cookies()
    browser.run("localStorage.clear()")
    browser.driver.get(f"{world.url}/")
    browser.wait_text("#link", "live")
    browser.wait(lambda page: "Not known yet" not in page.text("#verdict-words"))
    return browser


def log_in(page: Browser, secret: str = TOKEN) -> None:
    page.click("#log-in")
    page.write("#secret", secret)
    page.click("#login-form .main")
    page.wait(lambda page: page.text("#log-in") == "Log out" and page.text("#link") == "live")


def row(title: str) -> str:
    """The selector of a row."""
    return f'tr[id="to-{title}"]'


def button(title: str, verb: str) -> str:
    return f"{row(title)} .do button:nth-of-type({['Pause', 'Echo', 'Retry'].index(verb) + 1})"


def cell(title: str, label: str) -> str:
    return f'{row(title)} [data-label="{label}"]'


def test_what_is_received_and_sent_is_on_the_page_a_moment_later(page: Browser, world: World) -> None:
    """`/`: "one page … that shows the same live (server-sent events)"."""
    assert page.text("#title") == "LEYDEN"
    page.run("window.same = true")
    before = page.text("#today")
    world.send_ct(1)
    world.pacs.wait(1)
    page.wait(lambda page: page.text("#today") != before and "delivered" in page.text("#today"))
    page.wait(
        lambda page: page.run("return document.querySelector('#chart .in').getAttribute('d')").count("V60.0") < 101
    )
    page.wait_text('[data-step="receiving"] .rate', "0,1")
    assert page.run("return window.same"), "the page was loaded again"


def test_anybody_sees_counts_and_nobody_reasons_or_rules_without_a_log_in(page: Browser, world: World) -> None:
    """The reasons of errors hold words of peers; they, rules and stories are for those who are logged in."""
    assert page.text(f"{row('PACS')} th").startswith("PACS")
    assert "Log in" in page.text("#no-errors")
    assert "Log in" in page.text("#rules-hint")
    assert str(world.pacs.port) not in page.text("#destinations")
    with httpx.stream("GET", f"{world.url}/api/live") as answer:
        document = next(line for line in answer.iter_lines() if line.startswith("data:"))
    assert '"errors":null' in document
    assert httpx.get(f"{world.url}/api/search", params={"text": "ACC-1"}).status_code == 403
    page.click(button("PACS", "Pause"))
    page.wait_text("#login-why", "leyden token new")
    page.write("#secret", "wrong" * 5)
    page.click("#login-form .main")
    page.wait_text("#login-error", "Neither a token nor the service password")
    assert not (world.leyden.spool / "control" / "PACS.json").exists()


def test_stories_and_studies_are_found_and_names_only_where_they_are_asked_for(page: Browser, world: World) -> None:
    """Search: "by accession or UID with the instance's story and the study's completeness … no patient names unless
    switched on"."""
    log_in(page)
    world.send_ct(2, ODD)
    page.write("#search-text", "ACC-2")
    page.click("#search-form button")
    page.wait_text("#found", "received from CT01")
    page.wait_text("#found", "is not complete")
    assert ODD in page.text("#found")
    assert "Canary" not in page.run("return document.documentElement.outerHTML")
    page.click("#names")
    page.wait_text("#found", NAME)
    uid = pydicom.dcmread(world.folder / "2.dcm").StudyInstanceUID
    page.write("#search-text", uid)
    page.press(Keys.ENTER)
    page.wait_text("#found", f"Study {uid}")
    page.write("#search-text", "<img src=x onerror=alert(1)>")
    page.press(Keys.ENTER)
    page.wait_text("#found-words", "Nothing is known of <img src=x onerror=alert(1)>")
    assert not page.all("main img")
    page.driver.refresh()
    page.wait_text("#link", "live")
    assert not page.one("#names").is_selected(), "it is off again when the page is opened anew"
    journal = world.leyden.spool / "journal" / "console-0.jsonl"
    wait_for(lambda: f'"look at patient names","detail":"{uid}"' in journal.read_text())
    assert "ACC-2" not in journal.read_text()


def test_the_rules_are_drawn_with_what_they_matched_today(page: Browser, world: World) -> None:
    """ "The rules as a drawing with what each matched today"."""
    log_in(page)
    page.wait(lambda page: len(page.all("#drawing .node.rule")) == 2)
    before = counts(page)
    world.send_ct(3)
    page.wait(lambda page: counts(page)[0] == before[0] + 1)
    assert counts(page)[1] == before[1]
    assert "CT goes to the reading room, too" in page.text("#drawing")
    page.click("#rules-list summary")
    page.wait_text("#rules-list", "for objects sent to PACS, if Modality is OT: do not send to the called node")


def counts(page: Browser) -> list[int]:
    return page.run(
        "return [...document.querySelectorAll('#drawing .rule .count')].map(each => Number(each.textContent))"
    )  # type: ignore[no-any-return]


def test_a_destination_is_paused_resumed_asked_and_retried_by_clicking(page: Browser, world: World) -> None:
    """ "A row per destination with pause, retry, echo", each of which does it to the real peer."""
    log_in(page)
    page.click(button("STRICT", "Pause"))
    page.wait_text(cell("STRICT", "State"), "paused")
    page.wait_text(cell("STRICT", "State"), "by config.yml")
    page.wait_text("#causes", "STRICT is paused")
    page.wait_text("#verdict-words", "to look at")
    before = len(world.strict.arrivals)
    world.status[0] = 0xA900
    world.send_ct(10, "STRICT")
    page.wait_text(cell("STRICT", "Waiting"), "1")
    page.wait(lambda page: page.text(button("STRICT", "Pause")).startswith("Resume"))
    page.click(button("STRICT", "Pause"))
    page.wait_text(cell("STRICT", "State"), "open")
    page.wait_text(cell("STRICT", "Rejected"), "1")
    page.wait_text("#error-list", "0xA900")
    page.wait_text(f"{row('STRICT')} .why", "0xA900")
    page.wait_text("#verdict-words", "1 thing needs you")
    page.click("#error-list button")
    page.wait_text("#found", "rejected")
    assert len(world.strict.arrivals) == before
    world.status[0] = 0x0000
    page.wait_text(button("STRICT", "Retry"), "Retry 1")
    page.click(button("STRICT", "Retry"))
    page.wait_text("#confirm-words", "Put 1 object back into the queue of STRICT?")
    page.click("#confirm-dialog button[value=no]")
    page.click(button("STRICT", "Retry"))
    page.click("#confirm-yes")
    world.strict.wait(before + 1)
    page.wait_text("#said", "1 object is on the way again")
    page.wait_text(cell("STRICT", "Rejected"), "0")
    page.click(button("STRICT", "Echo"))
    page.wait_text(f"{row('STRICT')} .do", "answers C-ECHO in")
    page.click(button(ODD, "Echo"))
    page.wait_text(f"{row(ODD)} .do", "does not answer C-ECHO")


def test_nobody_is_kept_out_in_any_look_or_width(page: Browser, world: World) -> None:
    """ "A light and a dark look, readable on a phone … axe-core finds no serious fault"."""
    log_in(page)
    world.send_ct(20)
    world.pacs.wait_until(lambda arrivals: any(each.sop_instance_uid.endswith(".20") for each in arrivals), 45, "20")
    page.write("#search-text", "ACC-20")
    page.press(Keys.ENTER)
    page.wait(lambda page: len(page.all("#found details")) > 0)
    page.wait(lambda page: len(page.all("#drawing .node.rule")) == 2)
    for scheme, (width, height) in itertools.product(("light", "dark"), (WIDE, PHONE)):
        page.prefers(color_scheme=scheme, reduced_motion="reduce")
        page.size(width, height)
        assert page.axe() == [], (scheme, width)
        assert page.run("return document.documentElement.scrollWidth") <= width
        page.keep(f"page-{scheme}-{width}")
    page.prefers(color_scheme="light")
    dark = page.run("return getComputedStyle(document.body).backgroundColor")
    page.click("#look")
    page.click("#look")
    assert page.text("#look") == "Look: dark"
    page.driver.refresh()
    page.wait_text("#look", "Look: dark")
    assert page.run("return getComputedStyle(document.body).backgroundColor") != dark, "the choice stays"
    page.click("#log-in")
    page.wait_text("#log-in", "Log in")
    page.click("#log-in")
    assert page.axe() == []


def test_everything_can_be_done_by_keyboard(page: Browser, world: World) -> None:
    """ "Usable by keyboard": the order of the focus, that it is seen, and dialogs that keep and give it back."""
    seen = []
    page.run("document.activeElement.blur()")
    for _ in range(8):
        page.press(Keys.TAB)
        where, outline = page.run(
            "const now = document.activeElement;"
            "return [now.id || now.name || now.textContent.trim(), getComputedStyle(now).outlineStyle]"
        )
        seen.append(where)
        assert outline != "none" or where == "unit", where
    assert seen[:3] == ["Skip to what needs you", "look", "log-in"]
    assert seen.index("unit") < seen.index("Pause PACS") < seen.index("Echo PACS")
    page.run("document.querySelector('.skip').focus()")
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.id") == "verdict"
    page.run("document.getElementById('log-in').focus()")
    page.press(Keys.ENTER)
    page.wait(lambda page: page.run("return document.activeElement.id") == "secret")
    page.press(TOKEN, Keys.ENTER)
    page.wait(lambda page: page.text("#log-in") == "Log out")
    page.run("document.querySelector(arguments[0]).focus()", button("PACS", "Echo"))
    page.press(Keys.ENTER)
    page.wait_text(f"{row('PACS')} .do", "answers C-ECHO")
    assert page.run("return document.activeElement.textContent") == "Echo PACS", "the row has kept the focus"


def test_many_tabs_of_one_browser_do_not_starve_each_other(page: Browser, world: World) -> None:
    """A browser opens six connections to a site at most, and each stream is one: a tab that is not seen gives it up."""
    first = page.driver.current_window_handle
    try:
        for _ in range(7):
            page.driver.switch_to.new_window("tab")
            page.driver.get(f"{world.url}/")
            page.wait_text("#link", "live")
        page.driver.switch_to.window(first)
        before = page.text("#today")
        world.send_ct(30)
        page.wait(lambda page: page.text("#today") != before)
    finally:
        for tab in page.driver.window_handles:
            if tab != first:
                page.driver.switch_to.window(tab)
                page.driver.close()
        page.driver.switch_to.window(first)


def test_a_console_that_dies_is_missed_at_once_and_comes_back_by_itself(page: Browser, world: World) -> None:
    """ "When the connection breaks the page says so at once and comes back by itself"."""
    world.leyden.role("console-0").kill()
    page.wait(lambda page: page.one("#link").get_attribute("data-state") == "lost", 5.0)
    assert "Not seen since" in page.text("#verdict-words")
    page.wait_text("#link", "live")
    page.wait(lambda page: "Not seen" not in page.text("#verdict-words"))


def test_fifty_nodes_and_a_hundred_rules_can_be_read(page: Browser, world: World) -> None:
    """The drawing is "legible with 50 nodes and 100 rules"; a reload draws it anew."""
    log_in(page)
    page.wait(lambda page: len(page.all("#drawing .node.rule")) == 2)
    titles = [f"SIXTEENLETTERS{n:02d}" for n in range(47)]
    nodes = world.leyden.folder / "nodes.yml"
    nodes.write_text(nodes.read_text() + "".join(node(title, 1000 + n) for n, title in enumerate(titles)))
    rules = "".join(
        f"- AeTitles: {titles[n % 47]}\n  Conditions:\n    - Tag: 0008,1030\n      MatchExpression: protocol {n} of\n"
        f"  Actions:\n    - Target: {titles[n * 7 % 47]}\n"
        for n in range(98)
    )
    (world.leyden.folder / "routings.yml").write_text(ROUTINGS + rules)
    assert world.leyden.leyden("reload").returncode == 0
    page.wait(lambda page: len(page.all("#drawing .node.rule")) == 100)
    page.wait(lambda page: len(page.all("#rows tr")) == 50)
    overlapping, spilling = page.run(_BOXES)
    assert (overlapping, spilling) == ([], [])
    for size in (WIDE, PHONE):
        page.size(*size)
        assert page.run("return document.documentElement.scrollWidth") <= size[0]
    assert page.axe() == []
    page.keep("page-fifty-nodes-320")
    page.size(*WIDE)
    page.keep("page-fifty-nodes-1280")


_BOXES = """
const boxes = [...document.querySelectorAll("#drawing .node")].map((node) => {
  const box = node.querySelector("rect").getBBox();
  const texts = [...node.querySelectorAll("text")].map((text) => text.getBBox());
  const [label, count] = texts.map((text) => [text.x, text.x + text.width]);
  return { box, label, count, name: node.textContent };
});
const overlapping = boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) =>
  a.box.x < b.box.x + b.box.width && b.box.x < a.box.x + a.box.width &&
  a.box.y < b.box.y + b.box.height && b.box.y < a.box.y + a.box.height).map((b) => [a.name, b.name]));
const spilling = boxes.filter(({ box, label, count }) => label[1] > count[0] || count[1] > box.x + box.width);
return [overlapping, spilling.map(({ name }) => name)];
"""


def test_nothing_was_asked_of_anybody_else_and_the_policy_was_never_broken(browser: Browser, world: World) -> None:
    """ "Strict CSP, no request to anywhere else", over all that the tests before have done."""
    asked = browser.asked()
    assert f"{world.url}/api/live" in asked
    assert elsewhere(asked, world.url) == []
    wrong = [line for line in browser.said() if "Content Security Policy" in line or "Error" in line]
    assert wrong == []
