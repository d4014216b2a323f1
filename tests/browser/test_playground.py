"""The playground in headless Chromium, on a real server."""

import json
import shutil

import pytest
from fixtures.server import serving
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

WITHIN_S = 10
# The first flags are needed as root in a container; the other flags keep Chromium from the network.
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
LABELS = ["contradiction", "entailment", "neutral"]
NLI = {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}
SENTENCE = "My name is Sarah and I live in London 😀."


@pytest.fixture(scope="module")
def folders(sentiment, embeddings, tiny):
    """A model for each way to show an answer."""
    return {
        "sentiment": sentiment,
        "embeddings": embeddings,
        "chat": tiny.export("qwen3", "text-generation"),
        "choice": tiny.export("bert", "multiple-choice"),
        "gpt2": tiny.export("gpt2", "text-generation"),
        "mask": tiny.export("bert", "fill-mask"),
        "ner": tiny.export("bert", "token-classification", num_labels=5),
        "qa": tiny.export("bert", "question-answering"),
        "t5": tiny.export("t5", "text2text-generation"),
    }


@pytest.fixture(scope="module")
def server(folders):
    """A server with all these models."""
    with serving(*(f"{name}={folder}" for name, folder in folders.items())) as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    """A browser, started once."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        yield driver


class Page:
    """The page, with the actions and the view of a user."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, server, model=""):
        self.driver.get("about:blank")  # a new fragment alone does not reload the page
        self.driver.get(f"{server.url}/#{model}")
        self.until(lambda: self.by_id("model").is_enabled())

    def by_id(self, name):
        return self.driver.find_element(By.ID, name)

    def until(self, condition):
        return WebDriverWait(self.driver, WITHIN_S, poll_frequency=0.02).until(lambda _: condition())

    def fill(self, name, text):
        control = self.by_id(f"field-{name}")
        control.clear()
        # `send_keys` cannot type characters beyond the Basic Multilingual Plane.
        self.driver.execute_script("arguments[0].value = arguments[1]", control, text)

    def stop_after(self, selector, characters):
        """Click on Stop as soon as an element has a number of characters."""
        self.driver.execute_script(
            """
            const [selector, characters] = arguments, button = document.getElementById("submit");
            const watch = new MutationObserver(() => {
              const written = document.querySelector(selector)?.textContent ?? "";
              if (written.length < characters || button.textContent !== "Stop") return;
              watch.disconnect();
              button.click();
            });
            watch.observe(document.body, { childList: true, characterData: true, subtree: true });
            """,
            selector,
            characters,
        )

    def ask(self):
        self.by_id("submit").click()
        self.answered()

    def answered(self):
        self.until(lambda: self.by_id("state").text.startswith("Answered"))

    @property
    def answer(self):
        return self.by_id("answer").text

    def texts(self, selector):
        return [item.text for item in self.driver.find_elements(By.CSS_SELECTOR, f"#answer {selector}")]

    def complaints(self):
        """Return the errors of the console: breaches of the content policy, script errors, missing files."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]


@pytest.fixture
def page(chromium):
    """The page; at the end, the console must have no errors."""
    page = Page(chromium)
    yield page
    assert page.complaints() == []


def test_each_label_of_a_text_has_a_bar(page, server):
    page.open(server, "sentiment")
    page.fill("text", "I hate this so much!")
    page.ask()
    labels = page.texts(".bars li")
    assert [label.split()[0] for label in labels] == ["NEGATIVE", "POSITIVE"]
    bar, track = (
        page.driver.find_element(By.CSS_SELECTOR, f"#answer .{name}").size["width"] for name in ("bar", "track")
    )
    assert bar > 0.9 * track


def test_entities_are_marked_in_the_text(page, server):
    page.open(server, "ner")
    page.fill("text", SENTENCE)
    page.ask()
    marks, text = page.texts("mark"), page.texts(".text")[0]
    answer = json.loads(page.by_id("json").get_attribute("textContent"))
    assert len(marks) == len(answer)
    assert marks[0].startswith(SENTENCE[answer[0]["start"] : answer[0]["end"]])
    for mark in page.texts("mark small"):
        text = text.replace(mark, "", 1)
    assert text.split() == SENTENCE.split()


def test_an_answer_is_highlighted_in_its_context(page, server):
    page.open(server, "qa")
    page.fill("question", "Where do I live?")
    page.fill("context", "😀 My name is Wolfgang and I live in Berlin.")
    page.ask()
    assert page.texts("mark") == page.texts(".best")


def test_two_texts_are_compared(page, server):
    page.open(server, "embeddings")
    page.fill("text", "A man eats.")
    page.fill("other", "A man is eating.")
    page.ask()
    assert float(page.texts(".best")[0].split()[1]) > 0.7
    strips = page.driver.find_elements(By.CSS_SELECTOR, "#answer canvas")
    assert [strip.get_attribute("aria-label").split(",")[0] for strip in strips] == ["384 numbers"] * 2


@pytest.mark.parametrize(("model", "rows"), [("mask", 5), ("choice", 2)])
def test_ranked_answers_have_bars(page, server, model, rows):
    page.open(server, model)
    page.ask()
    assert len(page.texts(".bars li")) == rows


@pytest.mark.parametrize("model", ["gpt2", "t5"])
def test_generated_text_is_shown(page, server, model):
    page.open(server, model)
    page.fill("max_new_tokens", "8")
    page.ask()
    assert page.texts(".text")


def test_the_generation_of_a_text_can_be_stopped(page, server):
    page.open(server, "gpt2")
    page.fill("max_new_tokens", "400")
    page.fill("temperature", "0")
    page.stop_after("#answer", 60)
    page.by_id("submit").click()
    page.until(lambda: page.by_id("state").text == "Stopped.")
    assert len(page.answer) >= 60
    assert page.by_id("submit").text == "Answer"


def turns(page):
    return [words.text for words in page.driver.find_elements(By.CSS_SELECTOR, ".turn .text")]


def sent_messages(page):
    """Return the messages of the last request, read from its command."""
    command = page.by_id("curl").get_attribute("textContent")
    return json.loads(command.split(" -d ", 1)[1].strip("'"))["messages"]


def test_a_chat_remembers_its_turns(page, server):
    page.open(server, "chat")
    for name, text in (("system", "Be brief."), ("max_new_tokens", "8"), ("temperature", "0"), ("message", "")):
        page.fill(name, text)
    page.by_id("field-message").send_keys("Who", Keys.SHIFT, Keys.ENTER, Keys.NULL, "are you?", Keys.ENTER)
    page.answered()
    question, answer = turns(page)
    assert (question, bool(answer)) == ("Who\nare you?", True)
    page.driver.switch_to.active_element.send_keys("And I?", Keys.ENTER)
    page.until(lambda: len(turns(page)) == 4)
    page.answered()
    assert "/models/chat/v1/chat/completions" in page.by_id("curl").get_attribute("textContent")
    messages = sent_messages(page)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1]["content"] == question
    page.by_id("restart").click()
    assert not turns(page)
    page.fill("message", "Hello.")
    page.ask()
    assert [message["role"] for message in sent_messages(page)] == ["user"]


def test_a_stopped_chat_keeps_its_messages(page, server):
    page.open(server, "chat")
    page.fill("max_new_tokens", "4000")
    page.stop_after(".assistant .text", 60)
    page.by_id("submit").click()
    page.until(lambda: page.by_id("state").text == "Stopped.")
    assert len(turns(page)[1]) >= 40
    assert page.by_id("submit").text == "Send"


def test_a_refused_message_can_be_corrected(page, server):
    page.open(server, "chat")
    page.fill("message", "Hello.")
    page.fill("temperature", "3")
    page.driver.execute_script("document.getElementById('ask').noValidate = true")
    page.by_id("submit").click()
    page.until(lambda: page.by_id("error").is_displayed())
    assert "temperature" in page.by_id("error").text
    assert not turns(page)
    assert page.by_id("field-message").get_attribute("value") == "Hello."
    page.complaints()  # the browser notes the status


@pytest.mark.parametrize("model", ["sentiment", "chat", "qa", "embeddings"])
def test_each_control_has_a_label_and_shows_its_focus(page, server, model):
    page.open(server, model)
    if model == "chat":
        page.fill("max_new_tokens", "8")
    page.ask()
    controls = page.driver.execute_script("""
        return [...document.querySelectorAll("a, button, input, select, textarea, summary, [tabindex]")]
            .filter((control) => control.checkVisibility())""")
    page.driver.execute_script("document.activeElement.blur()")
    page.driver.execute_script("getSelection().removeAllRanges(); document.body.tabIndex = -1; document.body.focus()")
    page.driver.switch_to.active_element.send_keys(Keys.TAB)
    for control in controls:
        assert page.driver.switch_to.active_element == control
        assert control.accessible_name, control.get_attribute("outerHTML")
        assert control.value_of_css_property("outline-style") == "solid"
        control.send_keys(Keys.TAB)


def test_a_text_from_right_to_left_is_shown_in_its_direction(page, server):
    page.open(server, "ner")
    page.fill("text", "هذا فيلم رائع.")
    page.ask()
    for selector in ("#field-text", "#answer .text"):
        shown = page.driver.find_element(By.CSS_SELECTOR, selector)
        assert shown.value_of_css_property("direction") == "rtl"


def test_the_page_works_with_the_keyboard_alone(page, server):
    page.open(server, "sentiment")
    page.driver.switch_to.active_element.send_keys(Keys.TAB)
    visited = []
    for _ in range(12):
        focused = page.driver.switch_to.active_element
        visited.append(focused.get_attribute("id") or focused.text)
        assert focused.value_of_css_property("outline-style") != "none", visited[-1]
        if visited[-1] == "field-text":
            break
        focused.send_keys(Keys.TAB)
    focused.send_keys(Keys.CONTROL, "a")
    focused.send_keys("A delight.", Keys.CONTROL, Keys.ENTER)
    page.answered()
    assert page.answer.startswith("POSITIVE")


def test_another_model_has_other_fields_and_another_address(page, server):
    page.open(server, "sentiment")
    Select(page.by_id("model")).select_by_value("qa")
    page.until(lambda: page.driver.find_elements(By.ID, "field-question"))
    assert page.driver.current_url.endswith("#qa")
    page.driver.find_element(By.CSS_SELECTOR, "#examples button").click()
    page.answered()


def test_an_error_is_shown(page, server):
    page.open(server, "sentiment")
    page.fill("text", "word " * 2000)
    page.by_id("submit").click()
    page.until(lambda: page.by_id("error").is_displayed())
    assert "tokens" in page.by_id("error").text
    assert page.by_id("submit").text == "Answer"
    page.complaints()  # the browser notes the status


def test_a_server_may_need_a_key(page, sentiment):
    with serving(f"sentiment={sentiment}", TORCHLESS_API_KEY="secret") as server:
        page.driver.get(server.url)
        page.until(lambda: page.by_id("key").is_displayed())
        assert "Give the API key" in page.by_id("error").text
        page.by_id("key").send_keys("secret", Keys.ENTER)
        page.until(lambda: page.by_id("model").is_enabled())
        page.ask()
        assert "secret" not in page.by_id("curl").get_attribute("textContent")
        page.driver.refresh()
        page.until(lambda: page.by_id("model").is_enabled())
        page.complaints()  # the browser notes the status
        page.driver.switch_to.new_window("window")
        page.driver.get(server.url)
        page.until(lambda: page.by_id("error").is_displayed())
        assert not page.by_id("model").is_enabled()
        page.driver.close()
        page.driver.switch_to.window(page.driver.window_handles[0])
    page.complaints()


def test_the_command_sends_the_same_request(page, server):
    page.open(server, "sentiment")
    page.fill("text", 'It\'s "fine".')
    page.ask()
    command = page.by_id("curl").get_attribute("textContent")
    assert command.startswith(f"curl '{server.url}/models/sentiment'")
    assert """It'\\''s \\"fine\\".""" in command


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("text", ["A film.", "Donaudampfschifffahrtselektrizitäten" * 8], ids=["short", "long"])
@pytest.mark.parametrize("model", ["sentiment", "ner", "embeddings", "gpt2", "chat"])
def test_nothing_is_wider_than_the_screen(page, server, model, text, width):
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    page.open(server, model)
    page.fill("message" if model == "chat" else "text", text)
    page.ask()
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(page, server, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.open(server, "ner")
    page.ask()
    for selector, behind in (("h2", "section"), (".hint", "section"), ("#submit", "#submit"), ("mark", "mark")):
        words = page.driver.find_element(By.CSS_SELECTOR, selector).value_of_css_property("color")
        under = page.driver.find_element(By.CSS_SELECTOR, behind).value_of_css_property("background-color")
        assert contrast(words, under) >= 4.5, (selector, words, under)  # WCAG 2.2, level AA
    edge = page.by_id("field-text").value_of_css_property("border-top-color")
    panel = page.driver.find_element(By.TAG_NAME, "form").value_of_css_property("background-color")
    assert contrast(edge, panel) >= 3, (edge, panel)  # WCAG 2.2, level AA, for the borders of controls


def test_the_documentation_needs_no_network(page, server):
    page.driver.get_log("browser")
    page.driver.get(f"{server.url}/docs")
    page.until(lambda: len(page.driver.find_elements(By.CLASS_NAME, "opblock")) > 20)
    assert page.driver.find_element(By.CSS_SELECTOR, "h2.title").text.startswith("torchless")
    assert not page.driver.find_elements(By.CLASS_NAME, "errors-wrapper")
    assert page.driver.get_log("browser") == []
    loaded = page.driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(loaded) >= 3
    assert all(name.startswith((server.url, "data:")) for name in loaded)


def contrast(first, second):
    """Return WCAG's contrast of two CSS colours: `rgba(1, 2, 3, 1)`."""

    def luminance(colour):
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)
