"""The table of released files: complete, well-formed, true to its sources."""

from made_augreg_index import PUBLISHED
import pytest

from vit_jax.data.preprocess import Preprocess
from vit_jax.models import names
from vit_jax.weights.hub import released

ROWS = released.released_table()
BY_NAME = {row["name"]: row for row in ROWS}
# Parameters without pre_logits of each variant by classes and resolution.
PARAMETERS = {
    "Ti/16": {(21843, 224): 9740115},
    "S/32": {(21843, 224): 30903507},
    "S/16": {(21843, 224): 30075219, (1000, 224): 22050664},
    "B/32": {(21843, 224): 104252499, (1000, 224): 88224232,
             (1000, 384): 88297192},
    "B/16": {(21843, 224): 102595923, (1000, 224): 86567656,
             (1000, 384): 86859496},
    "B/8": {(21843, 224): 102605139, (1000, 384): 87744232},
    "L/32": {(21843, 224): 327899475, (1000, 224): 306535400,
             (1000, 384): 306632680},
    "L/16": {(21843, 224): 325690707, (1000, 224): 304326632,
             (1000, 384): 304715752},
    "H/14": {(21843, 224): 658745683},
    "R+Ti/16": {(21843, 224): 10360403},
    "R26+S/32": {(21843, 224): 44456467},
    "R26+B/32": {(21843, 224): 117412243},
    "R50+B/16": {(21843, 224): 114687379, (1000, 384): 98950952},
    "R50+L/32": {(21843, 224): 350358931},
}


def test_the_table_lists_every_file_once():
  buckets = [row["file"].partition("/")[0] for row in ROWS]
  assert {b: buckets.count(b) for b in buckets} == {
      "imagenet21k": 9, "imagenet21k+imagenet2012": 8, "augreg": 20, "sam": 5,
      "gsam": 4}
  assert len(BY_NAME) == len({row["file"] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=BY_NAME)
def test_rows_make_sense(row):
  assert names.canonical(row["variant"]) == row["variant"]
  names.parse(row["variant"])
  assert row["resolution"] in (224, 384) and row["classes"] in (1000, 21843)
  assert row["head_zeros"] == (row["file"].split("/")[0] == "imagenet21k")
  assert (row["score"] is None) == (row["score_source"] is None)
  assert row["score"] is None or 50 < row["score"] < 100
  if row["preprocess"]:
    Preprocess(row["preprocess"], (row["resolution"],) * 2)


@pytest.mark.parametrize("row", [r for r in ROWS if r["bytes"]],
                         ids=lambda row: row["name"])
def test_sizes_are_those_of_the_parameters(row):
  size = 4 * PARAMETERS[row["variant"]][row["classes"], row["resolution"]]
  if row["pre_logits"] is not False:
    width = names.parse(row["variant"]).sizes["width"]
    size += 4 * (width * width + width)
  if row["name"] == "sam/ViT-S_16":
    size *= 3  # Adam's two moments
  tolerance = 0.002 * size + row["bytes_tolerance"]
  assert abs(row["bytes"] - size) < tolerance
  assert abs(row["bytes"] - 2 * size) > tolerance


@pytest.mark.parametrize(["name", "facts"], [
    ("imagenet21k/ViT-B_16", dict(
        variant="B/16", classes=21843, resolution=224, pre_logits=True,
        head_zeros=True, score=84.53, preprocess=None, size="393.69 MiB",
        bytes=412_813_885, bytes_tolerance=20_972)),
    ("imagenet21k+imagenet2012/ViT-L_16-224", dict(
        variant="L/16", classes=1000, resolution=224, pre_logits=False,
        score=82.7, preprocess="resize(224)", score_on="imagenet2012")),
    ("imagenet21k/R50+ViT-L_32", dict(pre_logits=None, score=None)),
    ("augreg/R_Ti_16-384", dict(
        variant="R+Ti/16", resolution=384, score=75.4, bytes=None,
        preprocess="resize_small(448)|central_crop(384)")),
    ("sam/ViT-B_16", dict(classes=1000, score=79.9, head_zeros=False)),
    ("gsam/ViT-S_16", dict(pooling="gap", bytes=None, score_on="cifar10"))])
def test_facts_of_the_table(name, facts):
  assert {key: BY_NAME[name][key] for key in facts} == facts


def test_the_published_augreg_scores():
  for model, (*_, score, _, _) in PUBLISHED.items():
    name = f"augreg/{model.replace('/', '_').replace('+', '_')}-384"
    if score:
      assert BY_NAME[name]["score"] == round(100 * score, 2)
