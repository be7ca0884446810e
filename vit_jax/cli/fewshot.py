"""Scores a checkpoint's frozen features by a few-shot linear probe.

  python -m vit_jax fewshot --checkpoint=runs/digits --source=digits
  python -m vit_jax fewshot --checkpoint=imagenet21k/ViT-B_16 \\
      --source=tfds:imagenet2012 --train_split=train[:65000] \\
      --split=validation --preprocess='resize(256)|central_crop({size})'

The input of the head is the feature. Ridge regression in closed form on a few
examples of each class, drawn several times: mean accuracy, and +- its standard
deviation over the draws. No head is needed, nothing is trained, and the data
set's classes may be any."""

import argparse
from typing import Any

from vit_jax.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  common.add_checkpoint(parser)
  add("--source", required=True, help="digits, tfds:NAME, vtab:TASK or a "
      "folder of pictures")
  add("--train_split", default="train",
      help="where the examples are drawn from (default: train)")
  add("--split", default="test", help="what is scored (default: test)")
  add("--data_dir", default="", help="where folders or prepared data sets lie")
  add("--shots", type=numbers, default=(1, 5, 10, 25),
      help="examples of each class (default: 1,5,10,25)")
  add("--seeds", type=common.positive, default=3,
      help="draws to average over (default: 3)")
  add("--l2", type=float, default=2.0**10,
      help="strength of the regularisation (default: 1024)")
  add("--preprocess", help="such as 'resize(256)|central_crop({size})' "
      "(default: what is stored with the checkpoint)")
  common.add_image_size(parser)
  add("--batch_size", type=common.positive, help="over all devices (default: "
      "32 a device)")
  add("--num_threads", type=common.positive, default=16,
      help="that read and decode (default: 16)")
  add("--max_broken", type=int, default=0,
      help="broken pictures that may be skipped (default: 0, an error)")
  common.add_json(parser)


def numbers(text: str) -> tuple[int, ...]:
  """Reads "1,5,10"."""
  return tuple(common.positive(word.strip()) for word in text.split(","))


def run(args: argparse.Namespace) -> None:
  """Prints the accuracies."""
  from vit_jax.devices import distributed
  from vit_jax.devices.compilation import enable_cache

  enable_cache()
  distributed.initialize()
  with common.stdout_is_stderr():
    scores = probe(args)
  if not distributed.is_primary():
    return
  if args.json:
    common.print_json(scores)
    return
  rows = []
  for count in args.shots:
    spread = scores.get(f"accuracy_{count}shot_std")
    rows.append([
        str(count), f"{scores[f'accuracy_{count}shot']:.2%}"
        + ("" if spread is None else f" +- {spread:.2%}")])
  size = "x".join(map(str, scores["image_size"]))
  common.print_table([
      ["checkpoint", scores["checkpoint"]],
      ["model", f"{scores['model']} at {size}, {scores['preprocess']}"],
      ["data", f"{args.source}, {args.train_split} -> {args.split} "
       f"({scores['examples']:,} examples)"]])
  print()
  common.print_table(rows, ["shots", "accuracy"], right=(0,))


def probe(args: argparse.Namespace) -> dict[str, Any]:
  """Returns the scores and what they are of."""
  import jax
  from jax.sharding import NamedSharding, PartitionSpec

  from vit_jax.cli import opening
  from vit_jax.devices.sharding import make_mesh, put_tree
  from vit_jax.evaluators import make_evaluator

  loaded = opening.open_model(
      args.checkpoint, image_size=args.image_size, preprocess=args.preprocess)
  mesh = make_mesh()
  whole = NamedSharding(mesh, PartitionSpec())
  shardings = jax.tree.map(lambda _: whole, loaded.params)
  size, preprocess = loaded.config["image_size"], loaded.config["preprocess"]
  evaluator = make_evaluator(
      type="fewshot", model=loaded.model, mesh=mesh, image_size=size,
      shardings=shardings, source=args.source, data_dir=args.data_dir,
      split=args.split, train_split=args.train_split, shots=args.shots,
      num_seeds=args.seeds, l2=args.l2, preprocess=preprocess,
      batch_size=args.batch_size or 32 * mesh.size,
      num_threads=args.num_threads, max_broken=args.max_broken)
  scores = evaluator.run(put_tree(loaded.params, shardings))
  return {
      "checkpoint": args.checkpoint, "model": loaded.model.variant_name,
      "image_size": list(size), "preprocess": preprocess,
      "source": args.source, "train_split": args.train_split,
      "split": args.split, "seeds": args.seeds, "l2": args.l2} | scores
