"""Scores a checkpoint on every example of a data set, each exactly once.

  python -m vit_jax evaluate --checkpoint=runs/digits --source=digits
  python -m vit_jax evaluate --checkpoint=augreg/R_Ti_16-224 \\
      --source=tfds:imagenet2012 --split=validation
  python -m vit_jax evaluate --checkpoint=model.npz --source=pictures/ --json

Prints accuracy, top-5 accuracy where there are more than five classes, loss,
how many examples were counted and skipped, and the speed. The pictures are
prepared as the checkpoint says, unless --preprocess says otherwise. Class
numbers of the data set and of the checkpoint's head must be the same."""

import argparse
import sys
import time
from typing import Any

from vit_jax.cli import common
from vit_jax.config.schema import EVALUATORS


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  common.add_checkpoint(parser)
  add("--source", help="digits, tfds:NAME or a folder of pictures (default: "
      "the training data, where the checkpoint is of a --workdir)")
  add("--split", default="test", help="such as test, validation or "
      "train[98%%:] (default: test)")
  add("--data_dir", default="", help="where folders or prepared data sets lie")
  add("--type", default="accuracy",
      help=f"one of {', '.join(EVALUATORS)} (default: accuracy)")
  add("--labels", help="real: path of real.json; objectnet: of the mapping")
  add("--train_split", help="fewshot: where its examples come from")
  add("--shots", type=_numbers, help="fewshot: such as 1,5,10,25")
  add("--preprocess", help="such as 'resize_small(448)|central_crop({size})' "
      "(default: what is stored with the checkpoint)")
  common.add_image_size(parser)
  add("--batch_size", type=common.positive, help="over all devices (default: "
      "32 a device)")
  add("--loss", choices=("softmax", "sigmoid"), default="softmax",
      help="which loss to print (default: softmax)")
  add("--num_threads", type=common.positive, default=16,
      help="that read and decode (default: 16)")
  add("--max_broken", type=int, default=0,
      help="broken pictures that may be skipped (default: 0, an error)")
  common.add_json(parser)


def _numbers(text: str) -> tuple[int, ...]:
  """Reads "1,5,10"."""
  return tuple(common.positive(word) for word in text.split(","))


def run(args: argparse.Namespace) -> None:
  """Prints the scores."""
  from vit_jax.devices import distributed
  from vit_jax.devices.compilation import enable_cache

  enable_cache()
  distributed.initialize()
  with common.stdout_is_stderr():
    scores = evaluate(args)
  if not distributed.is_primary():
    return
  if args.json:
    common.print_json(scores)
  else:
    common.print_table(_rows(scores))


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
  """Returns the scores and what they are of."""
  import jax
  from jax.sharding import NamedSharding, PartitionSpec

  from vit_jax.cli import opening
  from vit_jax.devices.sharding import make_mesh, put_tree
  from vit_jax.evaluators import make_evaluator
  from vit_jax.models.predict import make_predict_fn

  source, data_dir = _data(args)
  loaded = opening.open_model(
      args.checkpoint, image_size=args.image_size, preprocess=args.preprocess)
  fewshot = args.type == "fewshot"  # Makes a head of its own.
  common.refuse(
      not loaded.model.num_classes and not fewshot, f"{args.checkpoint} has no "
      "head: fine-tune it on the data set first (--config.init.path)")
  mesh = make_mesh()
  whole = NamedSharding(mesh, PartitionSpec())
  shardings = jax.tree.map(lambda _: whole, loaded.params)
  clock = _Clock(make_predict_fn(loaded.model, mesh, shardings))
  size = loaded.config["image_size"]
  own = {"labels": args.labels or ""} | {
      key: getattr(args, key) for key in ("train_split", "shots")
      if getattr(args, key) is not None}
  evaluator = make_evaluator(
      type=args.type, model=loaded.model, mesh=mesh, image_size=size,
      shardings=shardings, source=source, data_dir=data_dir, split=args.split,
      preprocess=loaded.config["preprocess"],
      batch_size=args.batch_size or 32 * mesh.size, loss=args.loss,
      num_threads=args.num_threads, max_broken=args.max_broken,
      predict=clock, **own)
  clock.total = len(evaluator.source)
  if args.type == "accuracy":
    _compare_classes(loaded, evaluator.source)
  params = put_tree(loaded.params, shardings)
  scores = evaluator.run(params)
  scores = scores | {"examples": len(evaluator.source), "skipped": 0} | scores
  seconds, rate = clock.stop(scores["examples"])
  return {
      "checkpoint": args.checkpoint, "model": loaded.model.variant_name,
      "image_size": list(size), "source": source, "split": args.split,
      "preprocess": loaded.config["preprocess"], "type": args.type, **scores,
      "seconds": seconds, "images_per_second": rate,
      "head_is_zero": loaded.config["report"].head_is_zero}


def _data(args: argparse.Namespace) -> tuple[str, str]:
  """Returns source and data_dir; those of the run if none is said."""
  from vit_jax.cli import opening

  if args.source:
    return args.source, args.data_dir
  config = opening.run_config(args.checkpoint)
  common.refuse(
      config is None, f"--source is missing: {args.checkpoint} is of no run "
      "here that would tell its data; say digits, tfds:NAME or a folder")
  return (config["data"]["source"],
          args.data_dir or config["data"]["data_dir"])


def _compare_classes(loaded: Any, source: Any) -> None:
  """Warns where head and data set seem to mean different classes."""
  from absl import logging

  from vit_jax.data.class_names import readable

  ours, theirs = loaded.class_names, readable(source.class_names or ())
  if loaded.model.num_classes != source.num_classes:
    logging.warning(
        "the head has %d classes and %s has %d: the scores mean something "
        "only if the first of the head's are the data set's",
        loaded.model.num_classes, source.name, source.num_classes)
  elif ours and theirs and ours != tuple(theirs):
    first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
                 if a != b)
    logging.warning(
        "class names differ: class %d is %r for the checkpoint, %r in %s",
        first, ours[first], theirs[first], source.name)


class _Clock:
  """Counts batches on their way to the model, and their time."""

  def __init__(self, predict: Any) -> None:
    self.total = 0
    self._predict, self._seen, self._first = predict, 0, 0
    self._start = self._compiled = time.perf_counter()

  def __call__(self, params: Any, images: Any) -> Any:
    logits = self._predict(params, images)
    if not self._seen:  # The first batch compiles: it does not count.
      self._start = time.perf_counter()
      logits.block_until_ready()
      self._compiled, self._first = time.perf_counter(), images.shape[0]
    self._seen += images.shape[0]
    if sys.stderr.isatty():
      end = "\n" if self._seen >= self.total else ""
      print(f"\r{min(self._seen, self.total):,} of {self.total:,}", end=end,
            file=sys.stderr, flush=True)
    return logits

  def stop(self, examples: int) -> tuple[float, float]:
    """Returns seconds in all, and images a second after the first batch."""
    now = time.perf_counter()
    if examples > self._first:
      return now - self._start, (
          (examples - self._first) / (now - self._compiled))
    return now - self._start, examples / (now - self._start)


def _rows(scores: dict[str, Any]) -> list[list[str]]:
  """Returns the table of the scores."""
  size = "x".join(map(str, scores["image_size"]))
  rows = [
      ["checkpoint", scores["checkpoint"]],
      ["model", f"{scores['model']} at {size}, {scores['preprocess']}"],
      ["data", f"{scores['source']}, {scores['split']}"]]
  metrics = list(scores)[list(scores).index("type") + 1:]
  for key in metrics[:metrics.index("seconds")]:
    value, name = scores[key], key.replace("_top5", ", top 5")
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
    if "accuracy" in key:
      text = f"{value:.2%}"
    if key == "accuracy":
      right = round(value * scores["examples"])
      text += f"  ({right:,} of {scores['examples']:,})"
    rows.append([name.replace("_", " "), text])
  return [*rows, ["speed", f"{scores['images_per_second']:,.1f} img/s"]]
