"""The report in a real browser: it loads without errors, and the route map answers."""

import base64
import io
import shutil

import numpy as np
import pytest

import latentroles as lr
from latentroles.evaluate.report.page import write_report

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="there is no Chromium: apt-get install chromium chromium-driver",
)


def model() -> lr.Spec:
    s = lr.Spec("small")
    x = s.observation("x", (6,))
    encoder = s.module("encoder", lr.nn.linear(6, 8))
    predictor = s.module("predictor", lr.nn.linear(8, 8))
    decoder = s.module("decoder", lr.nn.linear(8, 6))
    closed = s.gate("z_to_predictor", open=False)
    z = s.latent("z", encoder(x), role=lr.PLACE)
    s.loss("recon", lr.losses.mse(decoder(z), x))
    s.loss("jepa", lr.losses.mse(predictor(z.through(closed).t[:-1]), z.t[1:].stop()))
    return s


class Walks:
    def batch(self, step: int) -> dict[str, np.ndarray]:
        return {"x": np.random.default_rng(step).normal(size=(4, 5, 6))}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    lr.train(
        model(),
        Walks(),
        backend="torch",
        out=folder,
        steps=12,
        optimisers=lr.sgd(0.1),
        display=False,
    )
    return write_report(folder)


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("selenium", reason="selenium is not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.get(page.as_uri())
    return browser


def said(browser):
    return browser.find_element("id", "said").text


def classes(browser, part):
    return browser.find_element("id", part).get_attribute("class").split()


def pixels(browser):
    from matplotlib.image import imread

    return imread(io.BytesIO(browser.get_screenshot_as_png()), format="png")


def test_it_loads_without_errors(opened):
    assert opened.title == "small on torch"
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_it_asks_nothing_of_a_network(opened):
    loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert [name for name in opened.execute_script(loaded) if not name.startswith("data:")] == []


def test_a_loss_shows_its_route_and_its_stops(opened):
    opened.find_element("id", "part-loss-jepa").click()
    assert said(opened) == (
        "jepa updates predictor. encoder is stopped (stop on z.t[1:]; gate z_to_predictor)."
    )
    assert "live" in classes(opened, "part-predictor")
    assert "live" not in classes(opened, "part-encoder")
    assert "on" not in classes(opened, "part-decoder")
    assert opened.find_elements("css selector", ".link.stopped")
    opened.find_element("id", "part-loss-jepa").click()
    assert said(opened) == "Nothing is chosen."


def test_a_module_shows_who_updates_it(opened):
    opened.find_element("id", "part-encoder").click()
    assert said(opened).startswith("encoder is updated by recon. Stopped (")
    assert "live" in classes(opened, "part-loss-recon")
    assert "live" not in classes(opened, "part-loss-jepa")


def test_it_works_by_keyboard(opened):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened.execute_script("document.getElementById('part-loss-recon').focus()")
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    assert said(opened) == "recon updates decoder and encoder."
    pressed = opened.find_element("id", "part-loss-recon").get_attribute("aria-pressed")
    assert pressed == "true"
    ActionChains(opened).send_keys(Keys.ESCAPE).perform()
    assert said(opened) == "Nothing is chosen."


def test_a_picture_of_it_is_not_empty_and_dark_is_dark(opened):
    light = pixels(opened)
    assert light.std() > 0.05
    assert light.mean() > 0.8
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert pixels(opened)[..., :3].mean() < 0.3


def test_a_phone_scrolls_down_alone(opened):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    wide = "return [document.scrollingElement.scrollWidth, window.innerWidth]"
    content, window = opened.execute_script(wide)
    assert content <= window == 390


def test_it_prints(opened):
    printed = opened.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    assert len(printed["data"]) > 20_000


def test_on_paper_nothing_is_cut_off(opened):
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    right = "return document.getElementById('map').getBoundingClientRect().right"
    assert opened.execute_script(right) <= 718
