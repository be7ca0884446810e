"""What every evaluator is given: the model, the devices and the data."""

from collections.abc import Callable, Sequence
import dataclasses
import os
from typing import Any

import jax
from jax.sharding import Mesh

from vit_jax.config.sections import DataConfig, EvalConfig, ObjectiveConfig
from vit_jax.data.loader import EvalBatch
from vit_jax.data.sources import Source, make_source
from vit_jax.data.sources.classes import check_labels, match_classes
from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators.passes import Pass
from vit_jax.models.network import Network
from vit_jax.models.predict import make_predict_fn

PredictFn = Callable[[Any, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalContext:
  """Model, devices and data of one evaluation; nothing is opened yet.

  Attributes:
    model: the network to score.
    mesh: devices over which a batch is split.
    shardings: of the parameters; None leaves them where they are.
    image_size: (height, width) in pixels that the parameters fit.
    source, data_dir, split: the data, see `vit_jax.data.sources.make_source`.
    num_classes: number of classes that the model was trained on, if known; the
      data must have the same ones then.
    class_names: of these classes, if known.
    preprocess: evaluation transforms, see `vit_jax.data.transforms`.
    batch_size: examples in a global batch, over all processes.
    loss: "softmax" or "sigmoid", where a loss is reported.
    num_threads: threads of each process that read and decode.
    max_broken: unreadable images that may be skipped; they are counted.
    flip: score the mean of the logits of each picture and its mirror image,
      see `vit_jax.models.predict.logits_of`.
    predict: jitted (params, images) -> logits to use instead of the model's.
  """

  model: Network
  mesh: Mesh
  shardings: Any = None
  image_size: tuple[int, int]
  source: str
  data_dir: str
  split: str
  num_classes: int | None = None
  class_names: Sequence[str] | None = None
  preprocess: str
  batch_size: int
  flip: bool = EvalConfig.flip
  loss: str = ObjectiveConfig.loss
  num_threads: int = DataConfig.num_threads
  max_broken: int = DataConfig.max_broken
  predict: PredictFn | None = None

  def open_source(self, split: str | None = None) -> Source:
    """Opens the data; another split than `self.split` where one is given."""
    return make_source(
        self.source, split=self.split if split is None else split,
        data_dir=self.data_dir)

  def open_labelled(self) -> Source:
    """Opens the data, labelled with the numbers of the model's classes.

    Raises:
      DataError: its classes are not those of the model, see `match_classes`.
    """
    source = self.open_source()
    if self.num_classes is None:
      self.check_classes(source)
      return check_labels(source)
    return match_classes(source, self.class_names, self.num_classes)

  def existing_folder(self) -> str:
    """Returns the absolute path of the folder of images that `source` names.

    Raises:
      UsageError: there is no such folder.
    """
    path = os.path.abspath(os.path.join(
        os.path.expanduser(self.data_dir), os.path.expanduser(self.source)))
    if not os.path.isdir(path):
      raise UsageError(
          f"data source {self.source!r}: there is no folder {path!r}")
    return path

  def check_classes(self, source: Source) -> None:
    """Raises DataError if the head has fewer classes than the data set."""
    if source.num_classes > self.model.num_classes:
      raise DataError(
          f"{source.name}: {source.num_classes} classes, but the model's head "
          f"has {self.model.num_classes}")

  def make_pass(
      self, source: Source,
      extend: Callable[[EvalBatch], EvalBatch] = lambda batch: batch,
  ) -> Pass:
    """Returns one pass over `source`; see `Pass` for `extend`."""
    return Pass(
        source, self.mesh, self.batch_size, dict(
            preprocess=self.preprocess, image_size=self.image_size,
            num_threads=self.num_threads, max_broken=self.max_broken), extend)

  def predict_fn(self) -> PredictFn:
    """Returns the jitted (params, images b h w c in 0..255) -> logits (b k)."""
    return self.predict or make_predict_fn(
        self.model, self.mesh, self.shardings, flip=self.flip)

  def check_no_flip(self, name: str) -> None:
    """Raises UsageError, for a type of evaluator that scores no logits."""
    if self.flip:
      raise UsageError(
          f"evals.NAME.flip=True averages logits, which type={name!r} does not "
          "use; leave it out")
