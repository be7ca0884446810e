"""inspect for what has no weights yet: a model's name, or a config."""

import argparse
from collections.abc import Mapping, Sequence
import os
import re
from typing import TYPE_CHECKING, Any

from vit_jax.cli import arguments, logs, output
from vit_jax.errors import UsageError, UserError

if TYPE_CHECKING:
  from ml_collections import ConfigDict

  from vit_jax.training.memory import Outline

_CLASSES = 1000  # of a bare name: ImageNet's


def has_config(words: Sequence[str]) -> bool:
  """Returns whether a config file is among the words about the config."""
  return any(
      word.partition("=")[0] in ("--config", "-config") for word in words)


def is_network(name: str | None) -> bool:
  """Returns whether a name is that of a model, and of no file."""
  if name is None:
    return False
  from vit_jax.models import names

  try:
    names.parse(name)
  except UsageError:
    return False
  return not os.path.exists(name)


def outlined(args: argparse.Namespace) -> tuple["ConfigDict", "Outline"]:
  """Returns the config of what is to be shown, completed, and its outline.

  Raises:
    UsageError: the name and the config exclude each other, or are wrong.
  """
  logs.starting("tracing the network")
  from vit_jax.config import schema
  from vit_jax.config.find import load_config
  from vit_jax.training.complete import completed
  from vit_jax.training.memory import outline

  if args.file is None:
    config = schema.resolve(load_config(args.config_words))
    num_classes = args.num_classes or _num_classes(config)
  else:
    config = schema.changed(
        {"model.variant": args.file, "train.steps": 1}
        | arguments.config_changes(args.config_words))
    num_classes = args.num_classes or config.model.num_classes or _CLASSES
  if args.num_classes:
    config.model.num_classes = args.num_classes
  if args.batch_size:
    config.data.batch_size = args.batch_size
  config, _ = completed(config, num_classes)
  return config, outline(config, num_classes)


def _num_classes(config: "ConfigDict") -> int:
  """Returns the number of classes of a config's data.

  Raises:
    UsageError: it is not known without the data, which are not here.
  """
  from vit_jax.config.recipes import published_classes
  from vit_jax.data.sources import make_source

  known = config.model.num_classes or published_classes(config.data.source)
  if known:
    return known
  try:
    return make_source(config.data.source, split=config.data.split,
                       data_dir=config.data.data_dir).num_classes
  except UserError as error:
    raise UsageError(
        f"{error}. Without the data, give --num_classes=N") from None


def facts(config: "ConfigDict", found: "Outline") -> dict[str, Any]:
  """Returns what --json prints, the parameters apart."""
  from vit_jax.config import schema

  model, size = found.model, schema.image_size(config)
  batch = config.data.batch_size // config.train.accumulate
  return {
      "variant": model.variant_name, "architecture": model.architecture(),
      "image_size": list(size), "grid": list(model.grid(size)),
      "parameter_count": sum(x.size for x in found.parameters.values()),
      "macs": model.macs(size), "dtype": found.dtype,
      "memory": {
          "batch_size": batch, "parameters": found.parameter_bytes,
          "gradients": found.gradient_bytes,
          "optimizer": found.optimizer_bytes, "average": found.average_bytes,
          "activations": found.activation_bytes * batch,
          "activations_per_image": found.activation_bytes}}


def write_diagram(
    path: str, config: "ConfigDict", found: "Outline") -> None:
  """Draws a network.

  Raises:
    UsageError: it is no ViT or hybrid.
  """
  from vit_jax.config import schema
  from vit_jax.models.vit import VisionTransformer
  from vit_jax.report.diagram import diagram
  from vit_jax.weights.formats.atomic import write_whole

  if not isinstance(found.model, VisionTransformer):
    raise UsageError(f"{found.model.variant_name}: only ViTs and hybrids are "
                     "drawn; leave --diagram out")
  drawing = diagram(
      found.model, schema.image_size(config),
      {name: leaf.size for name, leaf in found.parameters.items()})
  write_whole(path, drawing.encode())


def modules(sizes: Mapping[str, int]) -> dict[str, int]:
  """Returns the number of parameters of each module, blocks together.

  Args:
    sizes: name of an array -> its number of parameters.
  """
  counts: dict[str, int] = {}
  for name, size in sizes.items():
    parts = name.split("/")
    module = "/".join(parts[:2]) if parts[0] == "Transformer" else parts[0]
    module = re.sub(r"(encoderblock)_\d+$", r"\1s", module)
    counts[module] = counts.get(module, 0) + size
  return counts


def rows(config: "ConfigDict", found: "Outline") -> list[list[str]]:
  """Returns the table above the parameters."""
  known = facts(config, found)
  memory = known["memory"]
  state = ("parameters", "gradients", "optimizer", "average")
  lines = [*map(list, found.model.summary())]
  lines += [
      ["images", f"{output.by(known['image_size'])}, {found.model.grid_unit} "
       f"in a grid of {output.by(known['grid'])}"],
      ["classes", f"{found.model.num_classes:,}" if found.model.num_classes
       else "none: no head"],
      ["compute", f"{known['macs'] / 1e9:,.3g} GMACs per image, forward"],
      ["memory of training", f"{_gigabytes(sum(memory[k] for k in state))} "
       "whatever the batch, on one device: " + ", ".join(
           f"{name} {_gigabytes(memory[name])}" for name in state
           if memory[name])],
      ["  activations", f"at most {_gigabytes(memory['activations'])} for a "
       f"batch of {memory['batch_size']:,} "
       f"({output.megabytes(memory['activations_per_image'])} an image in "
       f"{found.dtype}); the compiler keeps less"]]
  return lines


def print_modules(counts: Mapping[str, int]) -> None:
  """Prints the number of parameters of each module."""
  total = sum(counts.values())
  output.print_table(
      [[name, f"{count:,}", f"{count / total:.1%}"]
       for name, count in counts.items()],
      ["module", "parameters", "share"], right=(1, 2))


def _gigabytes(count: int) -> str:
  return f"{count / 1e9:,.2f} GB"
