"""Scores a checkpoint on every example of a data set, each exactly once.

  python -m vit_jax evaluate --checkpoint=runs/digits --source=digits
  python -m vit_jax evaluate --checkpoint=augreg/R_Ti_16-224 \\
      --source=tfds:imagenet2012 --split=validation
  python -m vit_jax evaluate --checkpoint=model.npz --source=images/ --json

Prints accuracy, top-5 accuracy where there are more than five classes, loss,
how many examples were counted and skipped, and the speed. The images are
prepared as the checkpoint says, unless --preprocess says otherwise. Classes are
matched by name; a data set with a class that the checkpoint does not have is
refused."""

import argparse
from collections.abc import Callable, Mapping
import dataclasses
import re
from typing import Any

from vit_jax.cli import arguments, logs, output
from vit_jax.cli.timed_predict import TimedPredict
from vit_jax.config.schema import EVALUATORS
from vit_jax.errors import CheckpointError, UsageError

# Keys of the evaluators, and the flag of each.
_FLAGS = {"labels": "labels", "train_split": "train_split", "shots": "shots",
          "num_seeds": "seeds", "l2": "l2"}


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  arguments.add_checkpoint(parser)
  add("--source", help="digits, tfds:NAME, shards:PATTERN or a folder of "
      "images (default: the training data, if the checkpoint is of a "
      "--workdir)")
  add("--split", help="such as test, validation, all or train[98%%:] (default: "
      "test; all for a folder without splits that was not trained on)")
  add("--data_dir", default="", metavar="DIR",
      help="folder of image folders or prepared data sets")
  add("--type", default="accuracy",
      help=f"one of {', '.join(EVALUATORS)} (default: accuracy)")
  add("--labels", metavar="FILE",
      help="real: path of real.json; objectnet: of the mapping")
  add_few_shot(
      parser.add_argument_group("options of --type=fewshot").add_argument)
  arguments.add_preprocess(parser)
  arguments.add_flip(parser)
  add("--loss", choices=("softmax", "sigmoid"), default="softmax",
      help="which loss to print (default: softmax)")
  arguments.add_loading(parser)
  arguments.add_json(parser)


def add_few_shot(add: Callable[..., Any]) -> None:
  """Adds the options of the few-shot probe; None stands for its defaults."""
  add("--train_split", help="split that the examples are drawn from "
      "(default: train)")
  add("--shots", type=arguments.list_of(arguments.positive), metavar="N,N,...",
      help="examples of each class (default: 1,5,10,25)")
  add("--seeds", type=arguments.positive, metavar="N",
      help="draws to average over (default: 3)")
  add("--l2", type=arguments.number, metavar="X",
      help="strength of the regularisation (default: 1024)")


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """How a checkpoint scored.

  Attributes:
    facts: checkpoint, model, image_size, source, split, preprocess, type, and
      the settings of that type; images_in_source, where only a hash splits
      them.
    scores: of the evaluator, with "examples" and "skipped".
    seconds: from the first batch to the last.
    images_per_second: without the first batch, which is compiled for; None
      where the evaluator does not predict classes.
    head_is_zero: whether the head was never trained.
  """

  facts: dict[str, Any]
  scores: dict[str, float]
  seconds: float
  images_per_second: float | None
  head_is_zero: bool

  def to_json(self) -> dict[str, Any]:
    """Returns everything, in one flat object."""
    return self.facts | self.scores | {
        "seconds": self.seconds, "images_per_second": self.images_per_second,
        "head_is_zero": self.head_is_zero}


def run(args: argparse.Namespace) -> None:
  """Prints the scores."""
  logs.starting(f"opening {args.checkpoint}")
  from vit_jax.devices import distributed
  from vit_jax.devices.compilation import enable_cache

  enable_cache()
  distributed.initialize()
  with output.stdout_is_stderr():
    evaluation = evaluate(args)
  if not distributed.is_primary():
    return
  if args.json:
    output.print_json(evaluation.to_json())
  elif args.type == "fewshot":
    _print_few_shot(evaluation)
  else:
    _print_scores(evaluation)


def evaluate(args: argparse.Namespace) -> Evaluation:
  """Returns the scores of a checkpoint, and what they are of."""
  import jax
  from jax.sharding import NamedSharding, PartitionSpec

  from vit_jax.cli import opening
  from vit_jax.data.sources import count_without_splits
  from vit_jax.devices.sharding import make_mesh, put_tree
  from vit_jax.evaluators import make_evaluator
  from vit_jax.models.predict import make_predict_fn

  source, data_dir, trained_on = _data(args)
  total = count_without_splits(source, data_dir=data_dir) if (
      args.type in ("accuracy", "calibration")) else 0
  split = args.split or ("all" if total and not trained_on else "test")
  loaded = opening.open_model(
      args.checkpoint, image_size=args.image_size, preprocess=args.preprocess,
      posemb=args.posemb)
  # The few-shot probe makes a head of its own.
  if not loaded.model.num_classes and args.type != "fewshot":
    raise UsageError(f"{args.checkpoint} has no head: fine-tune it on the data "
                     "set first (--config.init.path)")
  mesh = make_mesh()
  whole = NamedSharding(mesh, PartitionSpec())
  shardings = jax.tree.map(lambda _: whole, loaded.params)
  predict = TimedPredict(make_predict_fn(
      loaded.model, mesh, shardings, flip=args.flip))
  settings = EVALUATORS.get(args.type, {}) | {
      key: getattr(args, flag) for key, flag in _FLAGS.items()
      if getattr(args, flag) is not None}
  evaluator = make_evaluator(
      type=args.type, model=loaded.model, mesh=mesh,
      image_size=loaded.config["image_size"], shardings=shardings,
      source=source, data_dir=data_dir, split=split,
      num_classes=loaded.model.num_classes, class_names=loaded.class_names,
      preprocess=loaded.config["preprocess"],
      batch_size=args.batch_size or 32 * mesh.size, loss=args.loss,
      flip=args.flip, num_threads=args.num_threads, max_broken=args.max_broken,
      predict=predict, **settings)
  params = put_tree(loaded.params, shardings)
  predict.start(total=len(evaluator.source))
  scores = evaluator.run(params)
  seconds, rate = predict.stop()
  return Evaluation(
      {"checkpoint": args.checkpoint, "model": loaded.model.variant_name,
       "image_size": list(loaded.config["image_size"]), "source": source,
       "split": split, "preprocess": loaded.config["preprocess"],
       "type": args.type,
       **{_FLAGS[key]: value for key, value in settings.items()},
       **({"flip": True} if args.flip else {}),
       **({"images_in_source": total} if total else {})},
      scores | {"skipped": scores.get("skipped", 0)}, seconds, rate,
      loaded.config["report"].head_is_zero)


def _data(args: argparse.Namespace) -> tuple[str, str, bool]:
  """Returns source, data_dir, and whether the run was trained on them."""
  from vit_jax.cli import opening
  from vit_jax.data.sources.storage import resolve

  try:
    config = opening.run_config(args.checkpoint)
  except CheckpointError:
    if not args.source:
      raise
    config = None
  data = config["data"] if config and "data" in config else {}
  if args.source:
    return args.source, args.data_dir, bool(data) and (
        resolve(args.source, args.data_dir)
        == resolve(data["source"], data["data_dir"]))
  if not data:
    raise UsageError(
        f"--source is missing: {args.checkpoint} is not in the working "
        "directory of a run, whose data could be taken; pass digits, "
        "tfds:NAME or a folder")
  return data["source"], args.data_dir or data["data_dir"], True


def _print_scores(evaluation: Evaluation) -> None:
  """Prints every score, and the speed."""
  facts = evaluation.facts
  output.print_table([
      *_about(facts), ["data", f"{facts['source']}, {facts['split']}"],
      *_score_rows(evaluation)])


def _about(facts: Mapping[str, Any]) -> list[list[str]]:
  """Returns the rows about the model."""
  return [
      ["checkpoint", facts["checkpoint"]],
      ["model", f"{facts['model']} at {output.by(facts['image_size'])}, "
       f"{facts['preprocess']}" + (
           ", and mirrored" if "flip" in facts else "")]]


def _score_rows(evaluation: Evaluation) -> list[list[str]]:
  """Returns a row for each score, and one for the speed."""
  rows = []
  for key, value in evaluation.scores.items():
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
    if "accuracy" in key:
      text = f"{value:.2%}"
    if key == "accuracy":
      examples = evaluation.scores["examples"]
      text += f"  ({round(value * examples):,} of {examples:,})"
    total = evaluation.facts.get("images_in_source", value)
    if key == "examples" and total > value:
      text += f" of {total:,}; --split=all scores every image"
    rows.append([key.replace("_top5", ", top 5").replace("_", " "), text])
  if evaluation.images_per_second is not None:
    rows.append(["speed", f"{evaluation.images_per_second:,.1f} img/s"])
  return rows


def _print_few_shot(evaluation: Evaluation) -> None:
  """Prints the accuracy for each number of shots."""
  scores, facts = evaluation.scores, evaluation.facts
  splits = f"{facts['train_split']} -> {facts['split']}"
  output.print_table([*_about(facts), [
      "data", f"{facts['source']}, {splits} ({scores['examples']:,} examples)"
  ]])
  print()
  rows = []
  for key, value in scores.items():
    if match := re.fullmatch(r"accuracy_(\d+)shot", key):
      std = scores.get(f"{key}_std")
      spread = "" if std is None else f" +- {std:.2%}"
      rows.append([match[1], f"{value:.2%}{spread}"])
  output.print_table(rows, ["shots", "accuracy"], right=(0,))
