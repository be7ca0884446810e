"""The page holds what the network did, and answers clicks with it."""

import base64
import gzip
import json
import re

import browser
import numpy as np
import pytest

from vit_jax.analysis import attention, page

GRID, STRIDE, SIZE = (2, 3), (8, 8), (16, 24)
TOKENS, HEADS, LAYERS = 7, 2, 3


@pytest.fixture(scope="module")
def shown():
  """Images, exact weights (image, layer, head, query, key), rollout, page."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, *SIZE, 3), np.uint8)
  images[1, :8, :8] = [255, 0, 0]  # top left
  weights = rng.dirichlet(
      np.full(TOKENS, 0.5), (2, LAYERS, HEADS, TOKENS)).astype(np.float32)
  rollout = rng.uniform(0.1, 1, (2, *GRID))
  pages = [
      page.image_data(
          f"</script><!--<script> {i} @DATA@", images[i],
          [tuple(map(np.asarray, attention.quantise(layer)))
           for layer in weights[i]], rollout[i], [("<b>cat</b>", 0.75)],
          label=("", "<i>dog</i>")[i])
      for i in range(2)]
  document = page.render_page(
      title="Tiny & <small> @FACTS@", facts=["one < two"], image_size=SIZE,
      grid=GRID, stride=STRIDE, tokens=TOKENS, layers=range(LAYERS),
      distance=np.arange(6).reshape(LAYERS, HEADS) + 0.25, averaged=2,
      images=pages)
  return images, weights, rollout, document


def read(document):
  """Returns the data in a page."""
  (text,) = re.findall(
      r'<script type="application/json" id="data">(.*?)</script>', document,
      re.DOTALL)
  return json.loads(text)


def test_weights_survive_the_page(shown):
  _, weights, _, document = shown
  packed = read(document)["images"][1]["attention"][2]
  content = gzip.decompress(base64.b64decode(packed))
  largest = np.frombuffer(content, "<f4", HEADS * TOKENS)
  levels = np.frombuffer(content, np.uint8, offset=4 * HEADS * TOKENS)
  again = attention.dequantise(
      levels.reshape(HEADS, TOKENS, TOKENS), largest.reshape(HEADS, TOKENS))
  np.testing.assert_allclose(again, weights[1, 2], atol=0.004)
  assert np.abs(again - weights[1, 1]).max() > 0.1


def test_names_cannot_break_the_page(shown):
  document = shown[-1]
  assert read(document)["images"][0]["name"] == "</script><!--<script> 0 @DATA@"
  assert document.count("<h1>Tiny &amp; &lt;small&gt; @FACTS@</h1>") == 1
  assert "<p>one &lt; two</p>" in document
  # Nothing is fetched: no address but the name space of SVG.
  assert set(re.findall(r"https?://[^\"'\s<]+", document)) == {
      "http://www.w3.org/2000/svg"}


def test_fewer_images_then_fewer_layers_fit_on_a_page():
  def fit(**settings):
    return page.images_and_layers(**(dict(
        layers=12, heads=12, tokens=197, images=100, megabytes=32)
        | settings))

  assert fit() == (5, list(range(12)))
  assert fit(images=3) == (3, list(range(12)))
  assert fit(tokens=17) == (page.MAX_IMAGES, list(range(12)))
  # H/14 at 518 pixels: 30 MB a layer.
  assert fit(layers=32, heads=16, tokens=1370, megabytes=100) == (
      1, [0, 16, 31])
  assert fit(layers=32, heads=16, tokens=1370, megabytes=1) == (1, [31])


@pytest.fixture(scope="module")
def opened(shown, tmp_path_factory):
  """The page in a browser, from the disk."""
  if browser.find() is None:
    pytest.skip(f"no browser: none of {', '.join(browser.NAMES)} is installed")
  folder = tmp_path_factory.mktemp("page")
  (folder / "attention.html").write_text(shown[-1], encoding="utf-8")
  with browser.open_page(folder / "profile") as tab:
    tab.size(1280, 1000)
    tab.address = (folder / "attention.html").as_uri()
    yield tab


@pytest.fixture
def tab(opened):
  """The page as it is when it is opened afresh."""
  opened.send("Page.navigate", url="about:blank")
  opened.until("location.href === 'about:blank'")
  opened.problems.clear()
  opened.requests.clear()
  opened.send("Page.navigate", url=opened.address)
  opened.until("document.body && document.body.dataset.draws")
  yield opened
  assert opened.problems == []


def do(tab, action, *args, **kwargs):
  """Clicks or presses, and waits until the page has been drawn again."""
  before = int(tab.run("document.body.dataset.draws"))
  getattr(tab, action)(*args, **kwargs)
  tab.until(f"Number(document.body.dataset.draws) > {before}")


def sentence(tab):
  return tab.run("document.getElementById('sentence').textContent")


def values(tab):
  """Returns the weights that are shown."""
  return tab.run("Array.from(current)")


def test_it_opens_with_the_class_token_and_without_requests(shown, tab):
  _, weights, _, _ = shown
  np.testing.assert_allclose(
      values(tab), weights[0, 2, :, 0].mean(0), atol=0.004)
  assert sentence(tab).startswith(
      "Layer 2, mean of its heads: the class token looks most at row ")
  assert [url for url in tab.requests
          if not url.startswith(("data:", tab.address))] == []
  # A class's name is text, not HTML.
  assert tab.run("document.querySelector('#classes span').textContent") == (
      "<b>cat</b>")


def test_a_click_on_a_patch_shows_where_it_looks(shown, tab):
  _, weights, _, _ = shown
  do(tab, "click", "#strip button:nth-child(2)")
  do(tab, "click", "#all button[value='1 0']")
  # The middle of row 1, column 2.
  do(tab, "click", "#stage", x=5 / 6, y=3 / 4)
  assert tab.run("location.hash") == "#image=1&layer=1&head=0&query=6"
  expected = weights[1, 1, 0, 6]
  np.testing.assert_allclose(values(tab), expected, atol=0.004)
  most = int(expected[1:].argmax())
  text = sentence(tab)
  assert text.startswith(
      "Layer 1, head 0: the patch in row 1, column 2 looks most at "
      f"row {most // 3}, column {most % 3} (")
  assert ("Over 2 images and all queries, its mean attention distance is 2.3 "
          "pixels.") in text
  assert tab.run("document.getElementById('whose').textContent") == (
      "where the patch in row 1, column 2 looks")
  # The pointer rests on the patch: its own weight is read out.
  tab.send("Input.dispatchMouseEvent", type="mouseMoved", **dict(
      zip("xy", tab.run(
          "(() => { const b = find('stage').getBoundingClientRect();"
          "return [b.left + b.width / 6, b.top + b.height / 4]; })()"),
          strict=True)))
  pointed = tab.run("find('pointed').textContent")
  assert pointed.startswith("Row 0, column 0: ")
  if expected[1] >= 0.0995:
    assert pointed.endswith(f"{100 * expected[1]:.0f} %")


def test_keys_move_the_query_and_stop_at_the_border(tab):
  do(tab, "click", "#stage", x=1 / 6, y=1 / 4)
  for key, query in (("ArrowRight", 2), ("ArrowDown", 5), ("ArrowLeft", 4)):
    do(tab, "press", key)
    assert tab.run("state.query") == query
  tab.press("ArrowLeft")
  tab.press("ArrowDown")
  assert tab.run("state.query") == 4
  do(tab, "click", "#classtoken")
  assert tab.run("state.query") == 0


def test_the_image_is_the_right_side_up(tab):
  do(tab, "click", "#strip button:nth-child(2)")
  do(tab, "click", "#show button[value=none]")
  corner = "find('stage').getContext('2d').getImageData(%d, %d, 1, 1).data"
  red = tab.run(f"Array.from({corner % (40, 40)})")
  assert red == [255, 0, 0, 255]
  other = tab.run(
      "(() => { const c = find('stage'); return Array.from(c.getContext('2d')"
      ".getImageData(c.width - 40, c.height - 40, 1, 1).data); })()")
  assert other != red


def test_the_brightest_patch_is_the_one_with_the_largest_weight(shown, tab):
  _, weights, _, _ = shown
  do(tab, "click", "#all button[value='0 1']")
  bright = tab.run(
      "small.filter((s) => s.layer === 0 && s.head === 1).map((s) =>"
      "Array.from(s.canvas.getContext('2d').getImageData(0, 0, 3, 2).data))")
  levels = np.array(bright[0]).reshape(6, 4)[:, :3].sum(1)
  assert levels.argmax() == weights[0, 0, 1, 0, 1:].argmax()
  assert levels.argmin() == weights[0, 0, 1, 0, 1:].argmin()


def test_rollout_belongs_to_the_image(shown, tab):
  _, _, rollout, _ = shown
  do(tab, "run", "(() => { find('head').value = 'rollout';"
     "find('head').dispatchEvent(new Event('change')); })()")
  np.testing.assert_allclose(
      values(tab), (rollout[0] / rollout[0].max()).ravel(), atol=1e-4)
  assert sentence(tab).startswith("Attention rollout")


def test_an_address_brings_a_choice_back(opened, shown):
  weights = shown[1]
  opened.send("Page.navigate", url="about:blank")
  opened.send("Page.navigate", url=(
      opened.address + "#image=1&layer=0&head=1&query=3"))
  opened.until("document.body && document.body.dataset.draws")
  np.testing.assert_allclose(
      values(opened), weights[1, 0, 1, 3], atol=0.004)


def test_it_is_light_or_dark_as_the_system_is(tab):
  colors = []
  for dark in (False, True):
    tab.size(1280, 1000, dark=dark)
    colors.append([int(x) for x in re.findall(r"\d+", tab.run(
        "getComputedStyle(document.body).backgroundColor"))])
  assert min(colors[0]) > 200
  assert max(colors[1]) < 50


def test_it_fits_on_a_phone(tab):
  tab.size(390, 800)
  assert tab.run("document.documentElement.scrollWidth") <= 390
  tab.size(1280, 1000)
