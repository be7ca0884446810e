"""What modules and names of vit_jax before 0.1.0 are called now.

The modules lay flat beside each other then. Importing an old name raises an
ImportError that says the new one, and docs/migrating.md shows these tables.
"""

from collections.abc import Sequence
import sys
from typing import Any

# Below vit_jax, by name.
MODULES = {
    "analysis.study": "analysis.analyze",
    "checkpoint": "training.checkpoint",
    "compilation": "devices.compilation",
    "data.digits": "data.sources.digits",
    "data.folder": "data.sources.folder",
    "data.tfds_source": "data.sources.tfds",
    "data.vtab": "data.sources.vtab",
    "distributed": "devices.distributed",
    "evaluators.multilabel": "evaluators.set_accuracy",
    "evaluators.subset": "evaluators.objectnet",
    "evaluators.vtab": "experiments.vtab_table",
    "models.bit": "models.bit_resnet",
    "models.masked": "models.masked_vit",
    "models.resnet": "models.resnet_stem",
    "profiling": "training.profiling",
    "program": "training.program",
    "recipes": "config.recipes",
    "report_curves": "report.curves",
    "report_facts": "report.facts",
    "report_page": "report.page",
    "sharding": "devices.sharding",
    "step_log": "training.step_log",
    "study": "experiments.study",
    "study_plot": "experiments.study_figure",
    "sweep": "experiments.sweep",
    "train_loop": "training.loop",
    "train_setup": "training.setup",
    "train_state": "training.state",
    "train_step": "training.step",
    "weights.arrays": (
        "weights.formats.raw_arrays, weights.formats.atomic, "
        "weights.formats.checksum"),
    "weights.augreg": "weights.hub.augreg_index",
    "weights.bit_names": "weights.names.bit",
    "weights.dialects": "weights.names.google",
    "weights.download": "weights.hub.download",
    "weights.files": "weights.read",
    "weights.fold": "weights.names.pixel_statistics",
    "weights.hugging_face": "weights.names.hugging_face",
    "weights.metadata": "weights.model_json",
    "weights.misfits": "weights.mismatch_report",
    "weights.npz": "weights.formats.npz",
    "weights.partial": "weights.hub.partial_file",
    "weights.positions": "weights.posemb_grid",
    "weights.preprocess": "data.preprocess",
    "weights.released": "weights.hub.released",
    "weights.remote": "weights.hub.http",
    "weights.safetensors": "weights.formats.safetensors",
    "weights.sniff": "weights.formats.detect",
    "weights.timm": "weights.names.timm",
    "weights.torch_configs": (
        "weights.names.timm_config, weights.names.hugging_face_config"),
    "weights.torch_export": (
        "weights.names.timm_config, weights.names.hugging_face_config"),
    "weights.torch_shapes": "weights.names.torch_names",
    "workdir": "training.workdir",
}
# Names that did not move with their module, or whose module's name is another
# package's now.
NAMES = {
    "config.OLD_NAMES": "config.old_names.OLD_NAMES",
    "config.check_keys": "config.schema.check_keys",
    "config.default_config": "config.schema.default_config",
    "config.eval_config": "config.schema.eval_config",
    "config.image_size": "config.schema.image_size",
    "config.resolve": "config.schema.resolve",
    "config.total_steps": "config.schema.total_steps",
    "config.unknown_key_message": "config.schema.unknown_key_message",
    "main.EXIT_PREEMPTED": "errors.EXIT_PREEMPTED",
    "main.find_config": "config.find.find_config",
    "main.load_config": "config.find.load_config",
    "main.main": "main.run",
    "main.missing_config": "config.find.missing_config",
    "main.parse_flags": "config.find.load_config",
    "main.shipped_configs": "config.find.shipped_configs",
    "main.shipped_folder": "config.find.shipped_folder",
    "main.show_logs": "cli.logs.show_progress",
    "report.predict_samples": "report.write.predict_samples",
    "report.save_samples": "report.write.save_samples",
    "report.write_report": "report.write.write_report",
    "sharding.over": "devices.partition.over",
    "sharding.split_batch": "devices.partition.split_batch",
    "study.Stage": "experiments.study.TrainingStage",
    "train_step.make_predict_fn": "models.predict.make_predict_fn",
}


def missing(module: str, name: str) -> ImportError | AttributeError:
  """Returns the error for a name that a module does not have.

  Args:
    module: with its package, such as "vit_jax.config".
    name: what was asked for.
  """
  whole = f"{module}.{name}".removeprefix("vit_jax.")
  if whole in MODULES or whole in NAMES:
    return ImportError(_answer(whole), name=f"{module}.{name}")
  return AttributeError(f"module {module!r} has no attribute {name!r}")


def _answer(old: str) -> str:
  """Returns the sentence about an old module or name."""
  new = MODULES.get(old) or NAMES[old]
  text = f"vit_jax.{old} is now " + ", ".join(
      f"vit_jax.{place}" for place in new.split(", "))
  others = [f"{name.rpartition('.')[2]} is now vit_jax.{place}"
            for name, place in NAMES.items() if name.startswith(f"{old}.")]
  return "; ".join([text, *others])


class _Finder:
  """Is asked for modules that are nowhere else (sys.meta_path)."""

  @staticmethod
  def find_spec(
      name: str, path: Sequence[str] | None = None, target: Any = None
  ) -> None:
    """Raises ImportError for an old module; knows no others."""
    old = name.removeprefix("vit_jax.")
    if old != name and old in MODULES:
      raise ImportError(_answer(old), name=name)


def answer_imports() -> None:
  """Makes imports of the old modules say the new names."""
  if _Finder not in sys.meta_path:
    sys.meta_path.append(_Finder)
