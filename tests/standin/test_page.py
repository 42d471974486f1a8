"""The page of ``vsbatch serve``, in a browser that has no window: one server and one browser for all tests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from ..helpers.processes import RunningServer, started

INSTALL = "Chromium or its driver is not here: apt-get install chromium chromium-driver"
REQUIRED = "VSBATCH_NEEDS_CHROMIUM"
"""If this variable is set, as by ``.ci/run``, a missing browser fails the tests that need one."""
PATIENCE = 30
"""Seconds after which what does not come is a failure."""

BEYOND = """
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= width) return [];
return [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > width)
  .map((element) => element.outerHTML.slice(0, 200));
"""
"""The elements because of which the page can be scrolled sideways."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(INSTALL)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = found
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-extensions", "--disable-background-networking", "--disable-component-update"),
        *("--window-size=1300,1000", f"--user-data-dir={profile}"),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with started("--plan", "manual", "--seed", "1") as running:
        yield running


class World:
    """The server that a test asks, and the page that shows it, both empty at first."""

    def __init__(self, server: RunningServer, browser: Any) -> None:
        self.root = server.url.removesuffix("/v1")
        self.browser = browser

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers.setdefault("content_type", "application/json")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(self.root + path, data, sent, method=method)  # noqa: S310 - of a server of our own
        with urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 - as above
            return json.loads(response.read())

    def store(self, **given: Any) -> str:
        return str(self.ask("POST", "/v1/vector_stores", given)["id"])

    def batch(self, store: str, *ids: str) -> str:
        path = f"/v1/vector_stores/{store}/file_batches"
        return str(self.ask("POST", path, {"file_ids": ids})["id"])

    def end(self, how: str, store: str, *ids: str) -> None:
        self.ask("POST", f"/_vsbatch/files/{how}", {"vector_store_id": store, "file_ids": ids})

    def statuses(self, store: str) -> dict[str, str]:
        page = self.ask("GET", f"/v1/vector_stores/{store}/files?limit=100")
        return {file["id"]: file["status"] for file in page["data"]}

    # The page

    def all(self, css: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", css))

    def one(self, css: str) -> Any:
        return self.browser.find_element("css selector", css)

    def text(self, css: str) -> str:
        return str(self.browser.execute_script("return document.querySelector(arguments[0]).textContent", css))

    def texts(self, css: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
        return list(self.browser.execute_script(script, css))

    def wait(self, look: Callable[[], Any], expected: Any = None) -> Any:
        """Wait until what is looked at is as expected, or is anything; return it."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        seen: list[Any] = []

        def fits(_browser: Any) -> bool:
            seen[:] = [look()]
            return bool(seen[0]) if expected is None else bool(seen[0] == expected)

        try:
            WebDriverWait(self.browser, PATIENCE, poll_frequency=0.05).until(fits)
        except TimeoutException:
            pytest.fail(f"expected {expected!r}, but the page shows {seen[0]!r}; {self.text('#alert')!r}")
        return seen[0]

    def shown(self) -> list[str]:
        """The ids of the files that the page shows."""
        return self.texts("#rows tr th > :first-child")

    def counts(self, css: str) -> list[str]:
        """The counts beside a bar: completed, failed, cancelled, in progress, total."""
        return self.texts(f"{css} .counts dd")

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    @property
    def focused(self) -> str:
        """The accessible name of the element that has the focus."""
        return str(self.browser.switch_to.active_element.accessible_name)


@pytest.fixture
def world(server: RunningServer, browser: Any) -> Iterator[World]:
    made = World(server, browser)
    made.ask("POST", "/_vsbatch/reset")
    browser.get(made.root + "/")
    made.wait(lambda: made.text("#link"), "live")
    yield made
    # No error of the page's is in the log of the browser, and nothing that its policy had to stop.
    log = [entry for entry in browser.get_log("browser") if entry["source"] != "network"]
    assert [entry["message"] for entry in log] == []


def test_a_batch_is_watched_to_its_end(world: World) -> None:
    assert world.text("#stores-empty") == "There is no vector store yet."
    store = world.store(name="docs")
    batch = world.batch(store, "file-a", "file-b", "file-c")
    world.wait(lambda: world.counts("#batches"), ["0", "0", "0", "3", "3"])
    world.end("complete", store, "file-a")
    world.wait(lambda: world.counts("#batches"), ["1", "0", "0", "2", "3"])
    bar = world.one("#batches .bar")
    assert bar.accessible_name == "1 completed, 0 failed, 0 cancelled, 2 in progress, 3 total"
    world.wait(
        lambda: [round(part.size["width"] / bar.size["width"], 2) for part in world.all("#batches .bar span")],
        [0.33, 0, 0, 0.67],
    )
    world.end("fail", store, "file-b")
    world.wait(lambda: world.counts("#batches"), ["1", "1", "0", "1", "3"])
    assert world.text("#batches .status") == "in progress"
    world.one(f"[aria-label='Cancel {batch}']").click()
    world.wait(lambda: world.counts("#batches"), ["1", "1", "1", "0", "3"])
    world.wait(lambda: world.text("#batches .status"), "cancelled")
    world.wait(lambda: world.counts("#stores"), ["1", "1", "1", "0", "3"])
    world.wait(lambda: world.texts("#rows .status"), ["completed", "failed", "cancelled"])
    kinds = world.wait(lambda: len(found := world.texts("#events td:nth-child(2)")) == 5 and found)
    assert kinds[-1] == "created"
    assert kinds[0] == "file_batch.cancelled"


def test_a_file_is_failed_by_a_click_and_another_is_completed(world: World) -> None:
    store = world.store()
    world.batch(store, "file-a", "file-b")
    world.wait(world.shown, ["file-a", "file-b"])
    world.one("#code option:nth-child(3)").click()
    world.one("#message").send_keys("It is torn.")
    world.one("[aria-label='Fail file-b']").click()
    world.one("[aria-label='Complete file-a']").click()
    world.wait(lambda: world.texts("#rows .status"), ["completed", "failed"])
    assert world.statuses(store) == {"file-a": "completed", "file-b": "failed"}
    assert "invalid_file: It is torn." in world.texts("#rows td")
    assert world.one("[aria-label='Fail file-a']").is_enabled() is False
    assert world.wait(lambda: world.text("#done")) == "Completed file-a"


def test_pages_are_turned_while_statuses_change(world: World) -> None:
    store = world.store()
    ids = [f"file-{i:02d}" for i in range(35)]
    world.batch(store, *ids)
    world.one("#limit option:nth-child(1)").click()
    world.wait(world.shown, ids[:10])
    assert not world.one("#previous").is_enabled()
    world.one("#next").click()
    world.wait(world.shown, ids[10:20])
    world.end("complete", store, *ids[5:15])
    world.wait(lambda: world.texts("#rows .status"), ["completed"] * 5 + ["in progress"] * 5)
    world.one("#next").click()
    world.wait(world.shown, ids[20:30])
    world.end("fail", store, *ids[18:22])
    world.one("#previous").click()
    world.wait(world.shown, ids[10:20])
    world.wait(lambda: world.texts("#rows .status"), ["completed"] * 5 + ["in progress"] * 3 + ["failed"] * 2)
    world.one("#previous").click()
    world.wait(world.shown, ids[:10])
    world.one("#filter option[value=in_progress]").click()
    left = [*ids[:5], *ids[15:18], *ids[22:]]
    world.wait(world.shown, left[:10])
    world.one("#next").click()
    world.wait(world.shown, left[10:20])
    # A file that ends leaves the page, and the next one takes its place.
    world.end("complete", store, left[10])
    world.wait(world.shown, left[11:21])


def test_what_data_says_is_text_and_nothing_else(world: World) -> None:
    evil = "<img src=x onerror=\"document.title='gone'\"><b>bold</b>"
    form = (
        b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="<b>bold</b>.txt"\r\n\r\n'
        b"hello\r\n--x--\r\n"
    )
    file = world.ask("POST", "/v1/files", form, content_type="multipart/form-data; boundary=x")["id"]
    store = world.store(name=evil)
    path = f"/v1/vector_stores/{store}/files"
    world.ask("POST", path, {"file_id": file, "attributes": {"<i>key</i>": evil}})
    world.ask("POST", "/_vsbatch/files/fail", {"vector_store_id": store, "file_id": file, "message": evil})
    world.wait(lambda: world.texts("#rows .name"), ["<b>bold</b>.txt"])
    world.wait(lambda: world.texts("#rows .status"), ["failed"])
    assert world.texts("#rows th .faint") == [f"<i>key</i>: {evil}"]
    assert f"server_error: {evil}" in world.texts("#rows td")
    assert world.texts("#stores .pick") == [evil]
    world.wait(lambda: len(world.texts("#requests tr")), 3)
    for summary in world.all("#requests summary"):
        summary.click()
    world.wait(lambda: len(world.texts("#requests pre")), 6)
    assert any(evil.replace('"', '\\"') in text for text in world.texts("#requests pre"))
    assert world.all("main img, main b, main i") == []
    assert world.browser.title == "vsbatch"


def test_everything_can_be_done_by_keyboard_and_the_focus_is_never_lost(world: World) -> None:
    from selenium.webdriver.common.keys import Keys

    store = world.store(name="docs")
    world.batch(store, "file-a", "file-b")
    world.wait(world.shown, ["file-a", "file-b"])
    world.browser.execute_script("document.body.focus()")
    world.press(Keys.TAB)
    assert world.focused == "Skip to the files"
    world.press(Keys.ENTER)
    names: list[str] = []
    while "Complete file-b" not in names:
        world.press(Keys.TAB)
        assert world.focused, "an element that has the focus has no name"
        names.append(world.focused)
        assert len(names) < 30
    expected = ["Status", "Order", "A page has", "Fail with", "Message", "Complete all on this page"]
    assert [name for name in names if name in expected] == expected
    assert [name for name in names if name.endswith("file-a")] == [
        "Complete file-a",
        "Fail file-a",
        "Release file-a",
    ]
    # Another file ends meanwhile: the focus stays where it is.
    world.end("complete", store, "file-a")
    world.wait(lambda: world.texts("#rows .status")[0], "completed")
    assert world.focused == "Complete file-b"
    world.press(Keys.ENTER)
    world.wait(lambda: world.statuses(store)["file-b"], "completed")
    # The button that was pressed can no longer be: the focus is on the heading of its table.
    world.wait(lambda: world.focused, "Files of docs")


def test_every_control_has_a_name_and_every_part_is_reachable_by_a_screen_reader(world: World) -> None:
    store = world.store(name="docs")
    world.batch(store, "file-a")
    world.wait(world.shown, ["file-a"])
    controls = [each for each in world.all("button, input, select, textarea, summary") if each.is_displayed()]
    assert len(controls) > 30
    assert [each.get_attribute("outerHTML") for each in controls if not each.accessible_name] == []
    named = {each.accessible_name for each in world.all("section") if each.is_displayed()}
    assert {"Vector stores", "File batches of docs", "Files of docs", "Requests", "Events"} <= named
    roles = [world.one(css).aria_role for css in ("header", "main", "#link")]
    assert roles == ["banner", "main", "status"]
    assert world.one("html").get_attribute("lang") == "en"


def test_the_clock_is_frozen_moved_and_stepped(world: World) -> None:
    world.one("#freeze").click()
    world.wait(lambda: world.text("#pace"), "frozen")
    assert world.wait(lambda: world.text("#freeze")) == "Run"
    before = world.ask("GET", "/_vsbatch/")["clock"]["now"]
    world.one("#seconds").clear()
    world.one("#seconds").send_keys("90")
    world.one("#advance").click()
    world.wait(lambda: world.ask("GET", "/_vsbatch/")["clock"]["now"], before + 90)
    world.one("#step").click()
    world.wait(lambda: world.text("#alert"), "Nothing is due at any later time: no file is being processed.")
    world.one("#freeze").click()
    world.wait(lambda: world.text("#pace"), "running")


def test_plan_and_faults_are_set_and_what_is_wrong_with_them_is_said(world: World) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    def put(name: str, text: str) -> None:
        world.one(f"#{name}").click()
        ActionChains(world.browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
        world.press(text)
        world.one(f"#{name}-form button").click()

    put("faults", "{")
    world.wait(lambda: world.text("#alert").startswith("That is not JSON: "))
    put("faults", '{"no_such_fault": true}')
    world.wait(lambda: "no_such_fault" in world.text("#alert"))
    put("faults", '{"file_batch": true}')
    world.wait(lambda: world.text("#done"), "The faults are set")
    assert not world.one("#alert").is_displayed()
    assert "file_batch" in world.ask("GET", "/_vsbatch/faults")
    world.one("#reset").click()
    world.browser.switch_to.alert.accept()
    world.wait(lambda: world.text("#done"), "Everything is as at the start")
    assert "file_batch" not in world.ask("GET", "/_vsbatch/faults")


def test_the_page_meets_no_fault_and_counts_as_no_poll_and_is_not_in_the_log(world: World) -> None:
    world.store()
    world.wait(lambda: len(world.texts("#requests tr")), 1)
    world.ask("PUT", "/_vsbatch/faults", {"first_list": True, "dropped": 1.0, "answers_store": True})
    state = world.ask("GET", "/_vsbatch/")
    world.browser.refresh()
    world.wait(lambda: world.text("#link"), "live")
    # What was asked before the page was opened is in its table too.
    world.wait(lambda: len(world.texts("#requests tr")), 1)
    world.wait(lambda: len(world.texts("#stores .pick")), 1)
    assert world.ask("GET", "/_vsbatch/")["requests"] == state["requests"]
    world.ask("PUT", "/_vsbatch/faults", {})


def test_it_fits_a_phone_and_follows_the_colours_that_are_asked_for(world: World, tmp_path: Path) -> None:
    store = world.store(name="a-long-name-" * 12)
    world.batch(store, *[f"file-{'x' * 60}-{i}" for i in range(12)])
    world.wait(lambda: len(world.shown()), 12)
    command = world.browser.execute_cdp_cmd
    ground = "return getComputedStyle(document.body).backgroundColor"
    colours = set()
    keep = os.environ.get("VSBATCH_SCREENSHOTS")
    try:
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            command("Emulation.setEmulatedMedia", {"features": features})
            colours.add(world.browser.execute_script(ground))
            for width in (390, 1300):
                size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
                command("Emulation.setDeviceMetricsOverride", size)
                assert world.browser.execute_script(BEYOND) == []
                path = Path(keep or tmp_path) / f"page-{width}-{scheme}.png"
                assert world.browser.save_screenshot(path)
    finally:
        command("Emulation.clearDeviceMetricsOverride", {})
        command("Emulation.setEmulatedMedia", {"features": []})
    assert len(colours) == 2


def test_where_keys_are_needed_the_page_asks_for_them(browser: Any) -> None:
    with started("--api-key", "sk-1", "--control-key", "steer-me", "--plan", "manual") as running:
        world = World(running, browser)
        browser.get(world.root + "/")
        world.wait(lambda: world.one("#keys").is_displayed())
        assert world.one("#alert").is_displayed()
        world.one("#api-key").send_keys("sk-1")
        world.one("#control-key").send_keys("steer-me")
        world.one("#keys-form button").click()
        world.wait(lambda: world.text("#link"), "live")
        store = world.ask("POST", "/v1/vector_stores", {"name": "docs"}, authorization="Bearer sk-1")["id"]
        world.wait(lambda: world.texts("#stores .pick"), ["docs"])
        assert not world.one("#keys").is_displayed()
        browser.execute_script("sessionStorage.clear()")
        assert store in world.text("#stores")
