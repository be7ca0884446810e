"""Where a run comes from, and remarks on its scores, as short texts."""

from typing import Any

from vit_jax.data.transforms import TRANSFORMS, make_transforms
from vit_jax.errors import UsageError
from vit_jax.report.facts import RunFacts, evaluations
from vit_jax.report.page import flatten

_VERSIONS = ("vit_jax", "jax", "flax")
_ANY_SIZE = (32, 32)  # Whether a transform draws does not depend on it.


def origin(run: RunFacts) -> tuple[str, str]:
  """Returns a line with date, commit and versions, and the command."""
  parts = []
  if started := run.origin.get("started"):
    date, _, time = started.partition("T")
    parts.append(f"started {date} {time[:5]} UTC")
  if commit := run.origin.get("commit"):
    changed = ", with changes" if commit.endswith("-dirty") else ""
    parts.append(f"commit {commit[:12]}{changed}")
  versions = run.environment.get("versions", {})
  parts += [f"{name} {versions[name]}" for name in _VERSIONS
            if name in versions]
  if python := run.environment.get("python"):
    parts.append(f"Python {python}")
  return " · ".join(parts), run.origin.get("command", "")


def loss_note(run: RunFacts) -> str:
  """Returns why the training loss is above that of an evaluation.

  Empty if it is not, or if nothing in the config makes it so.
  """
  loss, scores = run.last("train/loss"), run.scores()
  below = [(name, scores[key]) for name in evaluations([run])
           if (key := f"eval/{name}/loss") in scores]
  below = [(name, value) for name, value in below
           if loss is not None and value < loss]
  keys = flatten(run.config)
  reasons = harder(keys)
  if not below or not reasons:
    return ""
  name, value = below[-1]
  averaged = ("; the evaluation is of averaged weights"
              if keys.get("train.ema_decay") else "")
  return (f"The training loss ({loss:.3g}) is above that of {name} "
          f"({value:.3g}) because training has {_listing(reasons)}, which an "
          f"evaluation has not{averaged}.")


def mistakes_note(run: RunFacts) -> str:
  """Returns what the mistakes of the samples are of."""
  # The loop samples the first evaluation by name that scores single labels.
  kinds = {key.split(".")[1]: kind for key, kind in flatten(run.config).items()
           if key.startswith("evals.") and key.endswith(".type")}
  name = min((name for name, kind in kinds.items() if kind == "accuracy"),
             default="")
  if name not in run.details:
    return "the surest first"
  details = run.details[name]
  total = len(details["mistakes"]) + details["mistakes_left_out"]
  return f"{total:,} of {details['examples']:,} in {name}, the surest first"


def harder(keys: dict[str, Any]) -> list[str]:
  """Returns what training has in its way and an evaluation has not.

  Args:
    keys: of the config, "section.key".
  """
  reasons = []
  if value := keys.get("objective.label_smoothing"):
    reasons.append(f"label smoothing {value:g}")
  for key in ("mixup", "cutmix"):
    if value := keys.get(f"objective.{key}"):
      reasons.append(f"{key} {value:g}")
  if used := _random_steps(keys.get("data.preprocess") or ""):
    reasons.append(f"augmented images ({', '.join(used)})")
  dropped = [key for key in ("dropout", "attention_dropout",
                             "stochastic_depth") if keys.get(f"model.{key}")]
  reasons += [f"{key.replace('_', ' ')} {keys[f'model.{key}']:g}"
              for key in dropped]
  return reasons


def _random_steps(preprocess: str) -> list[str]:
  """Returns the transforms of a pipeline that draw at random."""
  try:
    steps = make_transforms(preprocess, _ANY_SIZE).steps
  except UsageError:  # A run of another version may have other transforms.
    return []
  names: dict[Any, str] = {kind: name for name, kind in TRANSFORMS.items()}
  return [names[type(step)] for step in steps if step.random]


def _listing(words: list[str]) -> str:
  """Returns "a, b and c"."""
  return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
