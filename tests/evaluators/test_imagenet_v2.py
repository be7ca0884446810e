"""ImageNet-V2's folders are numbers, not names in alphabetical order."""

import numpy as np
import pytest
from tiny_images import CLASSES, top5

from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators import make_evaluator


@pytest.fixture(scope="module")
def v2(tmp_path_factory, digits, write):
  """Folders 0 to 11, each picture labelled by its folder."""
  root = tmp_path_factory.mktemp("imagenetv2-matched-frequency-format-val")
  files = [(write(root / str(i % CLASSES) / f"{i}.png", image), i % CLASSES)
           for i, (image, _) in enumerate(digits)]
  return root, files


def test_v2_folders_are_class_numbers(v2, common, params, answer):
  root, files = v2
  evaluator = make_evaluator(
      type="imagenet_v2", source=str(root), split="test", loss="softmax",
      **common)
  logits, _ = answer([path for path, _ in files])
  labels = np.array([label for _, label in files])
  hits = top5(logits) == labels[:, None]
  scores = evaluator.run(params)
  assert scores["examples"] == len(files)
  assert scores["accuracy"] == pytest.approx(hits[:, 0].mean())
  assert scores["accuracy_top5"] == pytest.approx(hits.any(axis=-1).mean())
  # Sorted as text, which is the trap, most labels would be others.
  as_text = sorted(map(str, range(CLASSES)))
  assert [int(name) for name in as_text] != list(range(CLASSES))
  labelled = {evaluator.source[i]["id"]: evaluator.source[i]["label"]
              for i in range(len(files))}
  assert labelled == dict(files)


def test_v2_that_is_something_else(v2, common, tmp_path):
  root, _ = v2
  small = common | {"model": common["model"].clone(num_classes=10)}
  with pytest.raises(DataError, match="named 0 to 9.*10, 11"):
    make_evaluator(type="imagenet_v2", source=str(root), split="", **small)
  with pytest.raises(UsageError, match="there is no folder"):
    make_evaluator(
        type="imagenet_v2", source=str(tmp_path / "no"), split="", **common)
  (tmp_path / "0").mkdir()
  with pytest.raises(DataError, match="no image"):
    make_evaluator(
        type="imagenet_v2", source=str(tmp_path), split="", **common)
