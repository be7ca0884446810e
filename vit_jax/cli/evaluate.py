"""Scores a checkpoint on every example of a data set, each exactly once.

  python -m vit_jax evaluate --checkpoint=runs/quickstart --source=digits
  python -m vit_jax evaluate --checkpoint=augreg/R_Ti_16-224 \\
      --source=tfds:imagenet2012 --split=validation
  python -m vit_jax evaluate --checkpoint=model.npz --source=images/ --json

Prints accuracy, top-5 accuracy where there are more than five classes, loss,
the expected calibration error (ece), how many examples were counted and
skipped, and the speed; then the accuracy of each class (of many, the weakest)
and the surest mistakes with their files. --json has all classes, the confusion
matrix (up to 100 classes), the confused pairs of classes, and 1,000 mistakes.
The images are prepared as the checkpoint says, unless --preprocess says
otherwise. Classes are matched by name; a data set with a class that the
checkpoint does not have is refused."""

import argparse
from collections.abc import Callable
import dataclasses
from typing import Any

from vit_jax.cli import arguments, evaluate_table, logs, output
from vit_jax.cli.timed_predict import TimedPredict
from vit_jax.config.sections import EVALUATORS
from vit_jax.errors import CheckpointError, UsageError

# Keys of the evaluators, and the flag of each.
_FLAGS = {"labels": "labels", "train_split": "train_split", "shots": "shots",
          "num_seeds": "seeds", "l2": "l2"}
# Mistakes that --json and the table list.
_MOST_MISTAKES = 1000
_FEW = 10


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  arguments.add_checkpoint(parser)
  add("--source", help="digits, tfds:NAME, idx:FOLDER, shards:PATTERN or a "
      "folder of images (default: the training data, if the checkpoint is of a "
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
    details: of `Outcomes.to_json`; {} where the type has none.
    seconds: from the first batch to the last.
    images_per_second: without the first batch, which is compiled for; None
      where the evaluator does not predict classes.
    head_is_zero: whether the head was never trained.
  """

  facts: dict[str, Any]
  scores: dict[str, float]
  details: dict[str, Any]
  seconds: float
  images_per_second: float | None
  head_is_zero: bool

  def to_json(self) -> dict[str, Any]:
    """Returns everything, in one flat object."""
    return self.facts | self.scores | {
        "seconds": self.seconds, "images_per_second": self.images_per_second,
        "head_is_zero": self.head_is_zero} | self.details


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
    evaluate_table.print_few_shot(evaluation.facts, evaluation.scores)
  else:
    evaluate_table.print_scores(
        evaluation.facts, evaluation.scores, evaluation.details,
        evaluation.images_per_second)


def evaluate(args: argparse.Namespace) -> Evaluation:
  """Returns the scores of a checkpoint, and what they are of."""
  import jax
  from jax.sharding import NamedSharding, PartitionSpec

  from vit_jax.cli import opening
  from vit_jax.data.sources import count_without_splits
  from vit_jax.devices.distributed import is_primary
  from vit_jax.devices.sharding import make_mesh, put_tree
  from vit_jax.evaluators import make_evaluator, run_by_example
  from vit_jax.models.predict import make_predict_fn

  source, data_dir, trained_on = _data(args)
  total = count_without_splits(source, data_dir=data_dir) if (
      args.type in ("accuracy", "calibration")) else 0
  split = args.split or ("all" if total and not trained_on else "test")
  loaded = opening.open_model(args.checkpoint, args)
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
  scores, outcomes = run_by_example(evaluator, params)
  seconds, rate = predict.stop()
  details: dict[str, Any] = {}
  if outcomes is not None:
    scores |= outcomes.scores()
    if is_primary():
      details = outcomes.to_json(_MOST_MISTAKES if args.json else _FEW)
  return Evaluation(
      {"checkpoint": args.checkpoint, "model": loaded.model.variant_name,
       "image_size": list(loaded.config["image_size"]), "source": source,
       "split": split, "preprocess": loaded.config["preprocess"],
       "type": args.type,
       **{_FLAGS[key]: value for key, value in settings.items()},
       **({"flip": True} if args.flip else {}),
       **({"images_in_source": total} if total else {})},
      scores | {"skipped": scores.get("skipped", 0)}, details, seconds, rate,
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
