"""Models of the Hugging Face hub by name: "hf:facebook/dinov2-small".

    hf:OWNER/MODEL[@REVISION]         the weights of a model, its shards too
    hf:OWNER/MODEL[@REVISION]/FILE    another file of it
    timm:NAME[@REVISION]              hf:timm/NAME

huggingface_hub downloads and keeps the files, if it is installed; its settings
hold: HF_HOME (the cache), HF_ENDPOINT (a mirror), HF_HUB_OFFLINE, HF_TOKEN.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import importlib.util
import json
import logging
import pathlib
import re

from vit_jax.errors import (
    CheckpointError,
    UnreachableError,
    UsageError,
    UserError,
    one_line,
)
from vit_jax.weights import model_json

WEIGHTS = ("model.safetensors", "model.safetensors.index.json",
           "open_clip_model.safetensors")
# What describes them; a model may have none of these.
_BESIDE = ("config.json", "preprocessor_config.json", "processor_config.json",
           "open_clip_config.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_NAME = re.compile(
    r"hf:(//)?(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+?))?"
    r"(/(?P<file>[^@]+\.\w+))?")
# vit_base_patch16_224.augreg_in21k, timm/..., google/vit-base-patch16-224.
_LIKELY = re.compile(
    r"([\w.-]+/)?([\w-]+[_-])?(vit|deit|dino|clip|siglip)[a-z\d]*[_-][\w.-]+")


@dataclasses.dataclass(frozen=True)
class HubName:
  """A model on the hub.

  Attributes:
    text: as it was given.
    repo: OWNER/MODEL.
    revision: branch, tag or commit; None for the main branch.
    file: of the model, None for its weights under their usual names.
  """

  text: str
  repo: str
  revision: str | None
  file: str | None


def is_hub_name(text: str) -> bool:
  """Returns whether a checkpoint's name means a model on the hub."""
  return text.startswith(("hf:", "timm:"))


def likely_name(text: str) -> str:
  """Returns the name on the hub that a person meant by a bare one, or ""."""
  if not _LIKELY.fullmatch(text) or text.endswith((".npz", ".safetensors")):
    return ""
  return f"hf:{text}" if "/" in text else f"timm:{text}"


def parse(text: str) -> HubName:
  """Returns what a name means.

  Raises:
    UsageError: it is no OWNER/MODEL.
  """
  name = text
  if text.startswith("timm:"):
    name = "hf:timm/" + text.removeprefix("timm:").removeprefix("timm/")
  match = _NAME.fullmatch(name)
  if not match:
    raise UsageError(
        f"{text!r} is no name of a model; expected hf:OWNER/MODEL, such as "
        "hf:facebook/dinov2-small, or timm:NAME, such as "
        "timm:vit_small_patch14_dinov2.lvd142m")
  return HubName(text, match["repo"], match["revision"], match["file"])


def fetch(text: str) -> pathlib.Path:
  """Returns the local weights file of a model; what describes it lies beside.

  All files are of one commit.

  Args:
    text: such as "hf:facebook/dinov2-small".

  Raises:
    UsageError: it is no name.
    CheckpointError: the model has no such file, or only in a pickle.
    UserError: huggingface_hub is not installed, or the hub refuses.
    UnreachableError: it does not answer, or breaks off.
  """
  name = parse(text)
  if importlib.util.find_spec("huggingface_hub") is None:
    raise UserError(
        f"{text}: the hub needs a package that is not installed; run pip "
        "install huggingface_hub")
  for file in [name.file] if name.file else WEIGHTS:
    path = _get(name, file, name.revision)
    if path is not None:
      break
  else:
    raise CheckpointError(_no_weights(name))
  # The cache has a folder for each commit.
  inside = pathlib.PurePosixPath(file)
  commit = path.parents[len(inside.parts) - 1].name
  shards = _shards(path, text)
  for other in (*_BESIDE, model_json.model_json_path(inside).name, *shards):
    found = _get(name, str(inside.parent / other), commit)
    if found is None and other in shards:
      raise CheckpointError(f"{text}: {file} names {other}, which is not there")
  return path


def _get(
    name: HubName, file: str, revision: str | None
) -> pathlib.Path | None:
  """Returns the local path of a file, None where the model has no such file."""
  import huggingface_hub
  from huggingface_hub import errors

  with _explained(name, file), _without_warnings():
    try:
      return pathlib.Path(huggingface_hub.hf_hub_download(
          name.repo, file, revision=revision))
    except errors.LocalEntryNotFoundError:
      # Without the hub's answer: has it said before that there is none?
      kept = huggingface_hub.try_to_load_from_cache(
          name.repo, file, revision=revision)
      if kept is huggingface_hub._CACHED_NO_EXIST:
        return None
      raise
    except errors.EntryNotFoundError:
      return None


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
  """Keeps the library from a warning for each of its own retries."""
  logger = logging.getLogger("huggingface_hub")
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)


@contextlib.contextmanager
def _explained(name: HubName, file: str) -> Iterator[None]:
  """Turns the errors of huggingface_hub into one line.

  Raises:
    UserError: what was wrong.
  """
  from huggingface_hub import errors

  # The first that fits: some are kinds of others.
  advice: dict[type[Exception], Callable[[Exception], UserError]] = {
      errors.GatedRepoError: lambda _: UserError(
          f"{name.text}: {name.repo} asks for consent to its terms: agree on "
          "its page, and set HF_TOKEN"),
      errors.RepositoryNotFoundError: lambda _: UserError(
          f"{name.text}: the hub has no model {name.repo}, or it is private "
          f"(then set HF_TOKEN){_missing_tag(name)}"),
      errors.RevisionNotFoundError: lambda _: UserError(
          f"{name.text}: {name.repo} has no revision {name.revision!r}"),
      errors.HFValidationError: lambda _: UsageError(
          f"{name.text}: {name.repo!r} is no name of a model"),
      errors.LocalEntryNotFoundError: lambda error: UnreachableError(
          f"{name.text}: {file} is not in the cache of huggingface_hub, and "
          f"{_why_not(error)}"),
  }
  try:
    yield
  except tuple(advice) as error:
    kind = next(kind for kind in advice if isinstance(error, kind))
    raise advice[kind](error) from None
  except Exception as error:  # Of several HTTP libraries; and full disks.
    raise UnreachableError(
        f"{name.text}: {file} cannot be downloaded ({one_line(error)}); repeat "
        "the command") from None


def _why_not(error: Exception) -> str:
  """Says why the hub was not asked, or did not answer."""
  import huggingface_hub

  if huggingface_hub.constants.HF_HUB_OFFLINE:
    return "HF_HUB_OFFLINE is set: unset it to download the file"
  cause = one_line(error.__cause__ or error)
  return f"the hub does not answer ({cause}); repeat the command later"


def _missing_tag(name: HubName) -> str:
  """Says that names of timm's weights end in a tag, where one has none."""
  model = name.repo.removeprefix("timm/")
  if model == name.repo or "." in model:
    return ""
  return ("; its weights have a tag behind the model's name, as in "
          "vit_base_patch16_224.augreg2_in21k_ft_in1k")


def _shards(path: pathlib.Path, text: str) -> list[str]:
  """Returns the names of the files that an index lists."""
  if not path.name.endswith(".index.json"):
    return []
  try:
    names = sorted(set(
        json.loads(path.read_text("utf-8"))["weight_map"].values()))
    if not all(re.fullmatch(r"[\w.-]+\.safetensors", name) for name in names):
      raise ValueError("names that are no .safetensors files")
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise CheckpointError(
        f"{text}: {path.name} is not the index of a model ({one_line(error)})"
    ) from None
  return names


def _no_weights(name: HubName) -> str:
  """Says which of the usual files a model lacks, and what it has instead."""
  if name.file:
    return f"{name.text}: {name.repo} has no file {name.file}"
  has = f"{name.text}: {name.repo} has no {WEIGHTS[0]}"
  if any(_exists(name, file) for file in _PICKLES):
    return (f"{has}, only a pickle, {_PICKLES[0]}, which is never opened; "
            "transformers writes it as .safetensors: "
            "model.save_pretrained(FOLDER)")
  return f"{has}; name one of its files: hf:{name.repo}/FILE.safetensors"


def _exists(name: HubName, file: str) -> bool:
  """Returns whether a model has a file, without downloading it."""
  import huggingface_hub

  try:
    return huggingface_hub.file_exists(
        name.repo, file, revision=name.revision)
  except Exception:  # Only a message depends on it.
    return False
