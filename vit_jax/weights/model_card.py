"""README.md beside weights: the model card that the Hugging Face hub shows.

It states what is recorded: network, data, recipe, scores and licence. What is
not recorded is said to be so, for a person to fill in.
"""

from collections.abc import Iterator, Mapping
import os
import pathlib
from typing import Any

from absl import logging

from vit_jax.config.schema import default_config
from vit_jax.weights import architecture
from vit_jax.weights.formats.atomic import write_whole
from vit_jax.weights.hub import model_hub

CARD = "README.md"
# Keys whose values are of the machine that the run was on.
_LOCAL = ("data.data_dir", "data.num_threads", "data.num_workers",
          "train.wandb", "train.profile_steps", "train.profile_hosts")
# Dialects of libraries that load models from the hub.
LIBRARIES = {"hugging_face": "transformers", "timm": "timm"}
_UNKNOWN = "Not recorded in the file that was converted."


def write_card(
    path: str | os.PathLike, description: Mapping[str, Any], dialect: str,
    *, config: Mapping[str, Any] | None = None, licence: str | None = None,
) -> bool:
  """Writes the card beside a weights file, unless a README.md is there.

  Args:
    path: the weights file.
    description: keys of model.json.
    dialect: that it was written in, with a library of its own.
    config: of the run that trained it, None if not known.
    licence: an identifier of the hub, such as "apache-2.0".

  Returns:
    Whether it was written.
  """
  place = pathlib.Path(path).with_name(CARD)
  if place.exists():
    logging.warning("%s is there and was kept: no model card was written",
                    place)
    return False
  write_whole(place, "\n".join(
      card(description, dialect, config, licence, place.absolute().parent.name)
  ).encode() + b"\n")
  return True


def card(
    description: Mapping[str, Any], dialect: str,
    config: Mapping[str, Any] | None, licence: str | None, title: str,
) -> list[str]:
  """Returns the lines of a card; see `write_card`."""
  library = LIBRARIES[dialect]
  classes = description["architecture"].get("num_classes", 0)
  task = "image-classification" if classes else "image-feature-extraction"
  head = ["---", f"library_name: {library}", f"pipeline_tag: {task}"]
  if licence:
    head.append(f"license: {licence}")
  start = (description.get("init") or {}).get("path") or ""
  if model_hub.is_hub_name(start):
    head.append(f"base_model: {model_hub.parse(start).repo}")
  return [
      *head, "tags:", "- vision", "- vit_jax", "---", "", f"# {title}", "",
      *_network(description, classes), "", "## Data", "",
      *_data(config), "", "## Recipe", "", *_recipe(description, config), "",
      "## Scores", "", *_scores(description), "", "## Licence", "",
      licence or "Not stated. Weights made from others keep their licence, and "
      "data may restrict their use.", "", "## Use", "", *_use(library, classes)]


def _network(description: Mapping[str, Any], classes: int) -> Iterator[str]:
  """Yields a table of what the network is."""
  yield from ("| | |", "|---|---|")
  network = architecture.build_network(description["architecture"])
  for name, value in network.summary():
    yield f"| {name} | {value} |"
  if size := description.get("image_size"):
    yield f"| images | {size[0]}x{size[1]} pixels |"
  if text := description.get("preprocess"):
    yield f"| preprocessing | `{text}` |"
  names = description.get("class_names") or ()
  more = ", ..." if len(names) > 10 else ""
  listed = ": " + ", ".join(names[:10]) + more if names else ""
  yield f"| classes | {classes or 'none'}{listed} |"


def _data(config: Mapping[str, Any] | None) -> Iterator[str]:
  """Yields what the run was trained and scored on."""
  if not config:
    yield _UNKNOWN
    return
  data = config["data"]
  yield f"Trained on `{_name(data['source'])}`, split `{data['split']}`."
  for name, entry in config["evals"].items():
    source = _name(entry.get("source") or data["source"])
    yield f"Scored as `{name}` on `{source}`, split `{entry['split']}`."


def _recipe(
    description: Mapping[str, Any], config: Mapping[str, Any] | None
) -> Iterator[str]:
  """Yields where the weights come from, and the keys of the run's config."""
  start = (description.get("init") or {}).get("path")
  step = description.get("step")
  if start or step is not None:
    yield (f"Trained by vit_jax for {step or 0:,} steps from "
           f"{'`' + _name(start) + '`' if start else 'random weights'}"
           + ("; the weights are the average over the updates."
              if description.get("averaged") else "."))
    yield ""
  if not config:
    yield _UNKNOWN
    return
  yield "Keys of the config that differ from vit_jax's defaults:"
  yield from ("", "```")
  for section, defaults in default_config().to_dict().items():
    for key, default in defaults.items() if section != "evals" else ():
      # A run of an earlier version lacks the keys that were added since.
      value = {**defaults, **config[section]}[key]
      same = value == default or (
          isinstance(value, list) and tuple(value) == default)
      if not same and f"{section}.{key}" not in _LOCAL:
        yield f"{section}.{key} = {_shown(value)}"
  yield "```"


def _scores(description: Mapping[str, Any]) -> Iterator[str]:
  """Yields a table of scores."""
  scores = description.get("scores") or {}
  if not scores:
    yield _UNKNOWN
    return
  yield from ("| score | value |", "|---|--:|")
  for name, value in scores.items():
    number = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    yield f"| `{name}` | {number} |"


def _use(library: str, classes: int) -> list[str]:
  """Returns how to load it, where it was pushed to."""
  theirs = ['timm.create_model("hf-hub:OWNER/MODEL", pretrained=True)']
  if library == "transformers":
    auto = "AutoModelForImageClassification" if classes else "AutoModel"
    theirs = [f'transformers.{auto}.from_pretrained("OWNER/MODEL")']
  return ["```python", 'vit_jax.load("hf:OWNER/MODEL")', *theirs, "```"]


def _name(source: str) -> str:
  """Returns a name, or the last part of a path of the run's machine."""
  scheme, separator, rest = source.partition("://")
  if separator:
    return source
  local = pathlib.Path(source)
  if local.is_absolute() or source.startswith(("~", ".")) or local.exists():
    return local.name
  return source


def _shown(value: Any) -> str:
  """Returns a value of a config; of paths the last part."""
  return _name(value) if isinstance(value, str) and value else repr(value)
