"""The drawing of a network names every parameter once, with its shapes."""

import xml.etree.ElementTree as ET

import jax
import numpy as np
import pytest

from vit_jax.__main__ import main
from vit_jax.models.variants import make_model
from vit_jax.report.diagram import block_boxes, diagram, network_boxes

SIZE = (32, 48)
CASES = {
    "plain": dict(variant="Ti/16"),
    "scan": dict(variant="Ti/16", scan=True),
    "hybrid": dict(variant="R26+S/32", depth=2),
    "axial": dict(variant="Ti/16", block="axial", pooling="gap", depth=2),
    "all extras": dict(
        variant="Ti/16", pooling="map", registers=2, pre_logits=True,
        pre_norm=True, final_norm="none", num_heads=3),
    "in the blocks": dict(variant="Ti/16", posemb_at="layers", depth=2),
    "no head": dict(variant="Ti/16", num_classes=0, pooling="cls_gap"),
}


def counted(options):
  model = make_model(**dict(num_classes=7) | options)
  params = jax.eval_shape(
      model.init, jax.random.key(0), np.zeros((1, *SIZE, 3), np.float32))
  return model, {"/".join(k.key for k in path): leaf.size for path, leaf in
                 jax.tree_util.tree_leaves_with_path(params["params"])}


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_is_in_one_box(name):
  model, counts = counted(CASES[name])
  boxes = network_boxes(model, SIZE, counts)
  assert sum(box.parameters for box in boxes) == sum(counts.values())
  blocks = next(box for box in boxes if box.title.endswith("blocks"))
  inside = sum(box.parameters for box in block_boxes(model, SIZE, counts))
  layers = sum(n for k, n in counts.items() if "posembed_input" in k
               and "encoderblock" in k)
  assert inside * model.depth == blocks.parameters - layers
  drawing = ET.fromstring(diagram(model, SIZE, counts))
  texts = [element.text for element in drawing.iter() if element.text]
  assert all(box.title in texts for box in boxes)


def test_shapes_are_those_of_the_tokens():
  model, counts = counted(CASES["plain"])
  shapes = [box.shape for box in network_boxes(model, SIZE, counts)]
  assert shapes[:3] == ["32 x 48 x 3", "6 x 192", "7 x 192"]


def test_the_verb_draws(tmp_path, capsys):
  path = tmp_path / "vit.svg"
  assert main(["inspect", "Ti/16", f"--diagram={path}"]) == 0
  assert f"wrote {path}" in capsys.readouterr().out
  assert ET.parse(path).getroot().tag.endswith("svg")


@pytest.mark.parametrize("words, said", [
    (["R50x1", "--diagram=x.svg"], "only ViTs and hybrids"),
    (["Ti/16", "--diagram=x.png"], "an .svg file")])
def test_what_is_not_drawn_is_one_line(words, said, capsys):
  assert main(["inspect", *words]) == 2
  assert said in capsys.readouterr().err
