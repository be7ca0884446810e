"""What a file's description, and the table of released files, say of a model.

Class names, loss, preparation of images, and how positions are resized.
"""

from typing import Any

from vit_jax.config.sections import ObjectiveConfig
from vit_jax.data.class_names import class_names, readable
from vit_jax.data.preprocess import DEFAULT
from vit_jax.errors import CheckpointError
from vit_jax.models.features import LOSSES
from vit_jax.weights.adapt import AdaptReport
from vit_jax.weights.hub import augreg_index
from vit_jax.weights.posemb_resize import AUTO, PAPERS
from vit_jax.weights.read import WeightsFile

IMAGENET_21K = 21_843  # Rows of the released heads.


def class_names_of(
    file: WeightsFile, row: dict[str, Any] | None
) -> tuple[str, ...] | None:
  """Returns the names of a file's classes for people, None if not known."""
  names = file.metadata.get("class_names") or released_classes(row)
  return readable(names) if names else None


def loss_of(
    file: WeightsFile, row: dict[str, Any] | None, report: AdaptReport
) -> str:
  """Returns the loss that a head was trained with, the default's for a new one.

  Raises:
    CheckpointError: the description names another than these two.
  """
  if report.head != "kept":
    return ObjectiveConfig.loss
  # The classes of ImageNet-21k exclude each other as little as "dog" and
  # "animal" do: its heads were trained with a sigmoid for each.
  default = ("sigmoid" if row and row["classes"] == IMAGENET_21K
             else ObjectiveConfig.loss)
  loss = file.metadata.get("loss") or default
  if loss not in LOSSES:
    raise CheckpointError(
        f"{file.source}: its description says loss={loss!r}; expected "
        f"{' or '.join(LOSSES)}")
  return loss


def pipeline_of(
    file: WeightsFile, row: dict[str, Any] | None, size: tuple[int, int]
) -> str:
  """Returns how the images of a file are prepared."""
  text = file.metadata.get("preprocess") or _published(row, size)
  if text is None and file.unprepared:
    raise CheckpointError(
        f"{file.unprepared}; pass preprocess=, --preprocess=, to prepare the "
        "images in another way")
  return text or DEFAULT


def _published(row: dict[str, Any] | None, size: tuple[int, int]) -> str | None:
  """Returns a released file's pipeline, published for one resolution."""
  if row and size == (row["resolution"], row["resolution"]):
    return row["preprocess"]
  return None


def released_classes(row: dict[str, Any] | None) -> tuple[str, ...] | None:
  """Returns the names of a released file's classes, if a package has them."""
  if row is None:
    return None
  settings = augreg_index.parse_filename(row["file"]) or {}
  dataset = settings.get("adapt_ds") or {
      1000: "imagenet2012", 21_843: "imagenet21k"}.get(row["classes"])
  return class_names(dataset, row["classes"]) if dataset else None


def resize_of(file: WeightsFile, method: str) -> str:
  """Returns how a file's positions are resized: as asked, else as its family.

  "auto" is what the code does that the file is of, see `Codec.resize_method`.
  """
  if method != AUTO:
    return method
  return file.metadata.get("posemb_resize") or PAPERS
