"""The HTML report in a real browser: it steps, jumps, filters, and shows what was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from memslots.generation import UPDATE_IN_PROGRESS
from rcu.trace import Record
from rcu.tracepoints import RuleWasBroken, SectionBegan
from scenarios.logbook.reader import LogReader
from scenarios.report.picture import INVALID, Picture, SetState
from scenarios.report.writer import picture_of, picture_of_records, write_report
from tests.scenarios.logbook.runs import logged, plans
from tests.scenarios.report.browsing import Page, chromium, missing
from tests.scenarios.report.small_runs import DELETE, DOMAIN, endless_reader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.filterwarnings("default"),  # selenium's own
]

LEFT, RIGHT, END, HOME, TAB, ENTER = (
    "\ue012",
    "\ue014",
    "\ue010",
    "\ue011",
    "\ue004",
    "\ue007",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as driver:
        yield Page(driver)


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """Somebody looks; when they have gone, the console must be empty."""
    browser.look()
    yield browser
    assert browser.complaints == []


@pytest.fixture(scope="module")
def deletion(folder: Path) -> Path:
    path = folder / "deletion.html"
    write_report(picture_of_records(DELETE, {"scenario": "one delete"}), path)
    return path


@pytest.fixture(scope="module")
def violation(folder: Path) -> tuple[Path, Picture]:
    logged(plans()["violation"], folder / "violation.jsonl")
    picture = picture_of(LogReader(folder / "violation.jsonl"))
    write_report(picture, folder / "violation.html")
    return folder / "violation.html", picture


def described(state: SetState) -> tuple[str, str, bool]:
    """A set as the page tells it."""
    slots = " ".join(
        f"{slot.id}#{slot.serial}" + ("!" if slot.flags & INVALID else "")
        for slot in state.slots
    )
    number = state.generation & ~UPDATE_IN_PROGRESS
    mark = ", update in progress" if state.generation & UPDATE_IN_PROGRESS else ""
    return slots, f"{number}{mark}", state.active


def test_it_steps(page: Page, deletion: Path) -> None:
    page.open(deletion)
    assert page.one("h1").text == "one delete"
    page.press(HOME)
    seen = [page.step]
    for _ in range(3):
        page.press(RIGHT)
        seen.append(page.step)
    page.click("#forward")
    seen.append(page.step)
    page.click("#back")
    page.press(LEFT)
    seen.append(page.step)
    assert seen == [0, 1, 2, 3, 4, 2]
    page.press(END)
    assert page.step == 17
    assert page.one("#now-title").text == "Step 17 of 17"
    assert "call 1 returns 0 (delete)" in page.one("#records").text


def test_it_shows_the_raw_record(page: Page, deletion: Path) -> None:
    page.open(deletion, "#s4")
    assert page.one("#records pre").text == (
        '{"seq":6,"step":4,"actor":"vmm","event":"lock_acquired",'
        '"lock":"slots_lock","shared":false}'
    )


def test_a_link_leads_to_a_step_and_the_step_to_a_link(
    page: Page, deletion: Path
) -> None:
    page.open(deletion, "#s6")
    assert page.step == 6
    page.press(RIGHT)
    assert page.run("location.hash") == "#s7"
    page.run("location.hash = '#s10'")
    assert page.step in {7, 10}
    page.open(deletion, "#s9999")
    assert "step 9,999 is not in this picture" in page.one("#notice").text


def test_it_shows_the_right_slots(page: Page, deletion: Path) -> None:
    picture = picture_of_records(DELETE)
    page.open(deletion)
    page.press(HOME)
    for step in range(18):
        expected = {
            (each.as_id, each.set): described(each) for each in picture.sets_at(step)
        }
        assert (page.step, page.sets) == (step, expected)
        page.press(RIGHT)
    assert page.count("#spaces rect.invalid") == 1


def test_it_shows_the_right_slots_of_a_long_run(
    page: Page, violation: tuple[Path, Picture]
) -> None:
    path, picture = violation
    page.open(path)
    for step in range(picture.first, picture.last + 1, 1 + picture.last // 12):
        page.run("document.getElementById('step').value = arguments[0]", step)
        page.run("document.getElementById('step').dispatchEvent(new Event('change'))")
        expected = {
            (each.as_id, each.set): described(each) for each in picture.sets_at(step)
        }
        assert (page.step, page.sets) == (step, expected)


def test_it_jumps_to_violations(page: Page, violation: tuple[Path, Picture]) -> None:
    path, picture = violation
    steps = sorted({flag.step for flag in picture.flags})
    page.open(path)
    assert page.step == steps[0]
    causes = [step for step in picture.flags[0].causes if step >= picture.first]
    assert page.count("#lanes line.cause") == len(causes)
    page.press(END, "v")
    assert page.step == steps[0]
    page.press("v")
    assert page.step == steps[1]
    page.click("#violation")
    assert page.step == steps[2]
    assert page.count("#lanes line.violation") == len(picture.flags)
    flag = picture.flags[0]
    assert flag.seen in page.one("#findings").text
    for cause in flag.causes:
        assert f"step {cause:,}" in page.one("#findings").text


def test_it_jumps_to_swaps(page: Page, violation: tuple[Path, Picture]) -> None:
    path, picture = violation
    page.open(path)
    page.press(HOME)
    for swap in picture.swaps[:3]:
        page.press("s")
        assert page.step == swap.step
    page.press("S")
    assert page.step == picture.swaps[1].step


def test_kinds_can_be_hidden_and_are_stepped_over(page: Page, deletion: Path) -> None:
    page.open(deletion, "#s3")
    assert page.count("#lanes .bar.lock") == 1
    page.press("h")
    assert page.run("document.activeElement.closest('#filters') !== null")
    page.click("#kind-6")
    assert page.count("#lanes .bar.lock") == 0
    assert page.count("#lanes .bar.section") == 2
    page.press(RIGHT)
    assert page.step == 5
    page.click("#kind-6")
    assert page.count("#lanes .bar.lock") == 1


def test_lanes_can_be_hidden_and_are_stepped_over(page: Page, deletion: Path) -> None:
    page.open(deletion, "#s3")
    page.press("h")
    page.click("#lane-4")
    assert page.count("#lanes .bar.call") == 0
    shown = [each.text for each in page.all("#labels div") if each.is_displayed()]
    assert "vmm" not in " ".join(shown)
    page.press(RIGHT)
    assert page.step == 7


def test_markers_tell_the_distance(page: Page, deletion: Path) -> None:
    page.open(deletion, "#s4")
    page.press("a")
    assert page.one("#distance").text == "A 4"
    page.press(RIGHT, RIGHT, RIGHT)
    page.click("#mark-b")
    told = "A 4, B 7: 3 steps, 4 events, 1 swap"
    assert page.one("#distance").text == told
    assert page.count("#lanes line.marker") == 2
    page.press("b")
    assert page.one("#distance").text == "A 4"


def test_arrows_swaps_and_colours(page: Page, deletion: Path) -> None:
    page.open(deletion)
    assert page.count("#lanes path.arrow") == 2
    assert page.count("#lanes line.swap.f1") == 1
    assert page.count("#lanes rect.held.f0") == 1
    assert page.count("#lanes .bar.set.active") == 4


def test_ranks_and_who_is_where(page: Page, deletion: Path) -> None:
    page.open(deletion, "#s9")
    readers = [each.get_attribute("data-readers") for each in page.all("[data-rank]")]
    assert readers == ["2", "0"]
    where = page.one("#where").text
    assert "vcpu0: read section, holds set 0 (since 2)" in where
    assert "vcpu1: read section, holds no set yet (since 8)" in where
    assert "has slots_lock (since 4)" in where
    page.open(deletion, "#s6")
    assert "held by vcpu0" in page.one(".set-row[data-set='0']").text


def test_hover_and_click_show_the_record(page: Page, deletion: Path) -> None:
    chains = pytest.importorskip("selenium.webdriver.common.action_chains")
    page.open(deletion)
    bar = page.one("#lanes rect.bar.lock")
    chains.ActionChains(page.driver, duration=0).move_to_element(bar).perform()
    assert '"event":"lock_acquired"' in page.one("#tip").text
    bar.click()
    chosen = page.one("#selected").text
    assert "vmm: has slots_lock · step 4 to 16 (12 steps)" in chosen
    assert '"event":"lock_released"' in chosen


def test_it_plays(page: Page, deletion: Path) -> None:
    page.open(deletion)
    page.run("window.setInterval = (tick) => { window.tick = tick; return 7; }")
    page.press(HOME, " ")
    assert page.one("#play").get_attribute("aria-pressed") == "true"
    for _ in range(17):
        page.run("window.tick()")
    assert page.step == 17
    assert page.one("#play").get_attribute("aria-pressed") == "false"


def test_the_keyboard_reaches_everything(page: Page, deletion: Path) -> None:
    page.open(deletion)
    reached = set()
    for _ in range(60):
        page.press(TAB)
        reached.add(page.run("document.activeElement.id"))
    buttons = {each.get_attribute("id") for each in page.all("#tools button")}
    assert len(buttons) == 14
    disabled = {each.get_attribute("id") for each in page.all("button:disabled")}
    assert buttons - disabled <= reached
    assert "timeline" in reached
    page.run("document.getElementById('forward').focus()")
    page.press(HOME)
    page.press(ENTER)
    assert page.step == 1
    page.press("?")
    assert page.run("document.getElementById('keys').open")


def test_light_and_dark(page: Page, deletion: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    page.open(deletion)
    light = page.run(colour)
    page.press("t")
    dark = page.run(colour)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 28)")
    page.look(dark=True)
    page.open(deletion)
    assert page.run(colour) == dark
    page.click("#theme")
    assert page.run(colour) == light


@pytest.mark.parametrize("width", [320, 390, 800, 1280, 2200])
def test_nothing_sticks_out(
    page: Page, violation: tuple[Path, Picture], width: int
) -> None:
    page.look(width=width)
    page.open(violation[0])
    page.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.one("#lanes").size["width"] > width / 2


def test_zoom_keeps_the_step_in_sight(page: Page, deletion: Path) -> None:
    page.open(deletion, "#s6")
    for key in ("+", "+", "+", "-", "0", ">", "<"):
        page.press(key)
    at = float(page.one("#over .cursor").get_attribute("x1"))
    assert 0 <= at <= page.one("#lanes").size["width"]


def test_a_long_part_is_drawn_with_few_elements(page: Page, folder: Path) -> None:
    picture = picture_of_records(endless_reader(4_999))
    write_report(picture, folder / "long.html")
    page.open(folder / "long.html")
    page.press("0")
    assert page.count("#lanes *") < 4_000
    page.press(END)
    assert page.step == picture.last


def test_a_part_says_that_it_is_one(page: Page, folder: Path) -> None:
    picture = picture_of_records(endless_reader(5_000))
    write_report(picture, folder / "part.html")
    page.open(folder / "part.html")
    assert page.one("#notice").text.startswith("showing 15,000 of 15,001 events")


NASTY = "</script><script>window.harmed = 1</script><img src=x onerror='harmed=2'>"


def test_names_from_a_log_are_text(page: Page, folder: Path) -> None:
    run = [
        Record(1, NASTY, SectionBegan(NASTY, 0)),
        Record(2, NASTY, RuleWasBroken("consistent-set", NASTY, f"{NASTY}\u202e\x1b")),
        Record(3, "vcpu0", SectionBegan(DOMAIN, 0)),
    ]
    picture = picture_of_records(run, {"scenario": NASTY, "seed": NASTY}, NASTY)
    write_report(picture, folder / "nasty.html")
    page.open(folder / "nasty.html")
    page.press(HOME, RIGHT, RIGHT)
    page.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
    assert page.run("window.harmed === undefined")
    assert page.count("script") == 2
    assert page.count("img") == 0
    assert page.one("h1").text == NASTY
    assert not re.search("[\u202e\x1b]", page.one("body").text)
