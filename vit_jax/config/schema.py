"""The config that recipes start from, and the checks on a finished one.

A config file in configs/ starts from `default_config()` and changes what its
recipe needs; `vit_jax.config.sections` has every key with its default. An
unknown key is an error with its name.
"""

from collections.abc import Mapping
import dataclasses
import types
from typing import Any, get_args

from ml_collections import ConfigDict, config_dict

from vit_jax.config import values
from vit_jax.config.old_names import OLD_NAMES
from vit_jax.config.sections import EVALUATORS, SECTIONS, EvalConfig
from vit_jax.config.values import image_size as image_size
from vit_jax.config.values import total_steps as total_steps
from vit_jax.errors import UsageError, suggest


def default_config() -> ConfigDict:
  """Returns a config with every key, set to its default."""
  config = ConfigDict(
      {name: _keys(section) for name, section in SECTIONS.items()})
  config.evals = ConfigDict()  # NAME: eval_config(...)
  return config


def changed(changes: Mapping[str, Any]) -> ConfigDict:
  """Returns the default config with changes ("section.key" -> value), resolved.

  Raises:
    UsageError: an unknown key, or a value of another type or out of range.
  """
  config = default_config()
  for name, value in changes.items():
    section, _, key = name.rpartition(".")
    if section not in config or key not in config[section]:
      raise UsageError(unknown_key_message(name))
    try:
      config[section][key] = value
    except (TypeError, ValueError) as error:
      raise UsageError(f"config.{name}={value!r}: {error}") from None
  return resolve(config)


def eval_config(**changes: Any) -> ConfigDict:
  """Returns one entry of `config.evals`: every key, with `changes`.

  The keys of every type are there, so that --config.evals.NAME.type can change.
  """
  entry = ConfigDict(_keys(EvalConfig))
  for own in EVALUATORS.values():
    entry.update(own)
  check_keys(changes, entry, "evals.NAME")
  entry.update(changes)
  return entry


def _keys(section: type[Any]) -> dict[str, Any]:
  """Returns the keys of a section with their defaults.

  None becomes a placeholder that a value of the field's type may replace; what
  may have one of several types takes any, and is checked where it is used.
  """
  keys = {}
  for field in dataclasses.fields(section):
    keys[field.name] = field.default
    if field.default is None:
      keys[field.name] = config_dict.placeholder(get_args(field.type)[0])
    elif isinstance(field.type, types.UnionType):
      keys[field.name] = config_dict.FieldReference(field.default, object)
  return keys


def check_keys(section: Any, known: Any, prefix: str) -> None:
  """Raises UsageError for a key of `section` that `known` does not have."""
  for key in section:
    if key not in known:
      raise UsageError(unknown_key_message(f"{prefix}.{key}", list(known)))


def keys_called(name: str) -> list[str]:
  """Returns the keys "section.name" of this name."""
  return [f"{section}.{name}" for section, keys in default_config().items()
          if section != "evals" and name in keys]


def unknown_key_message(name: str, known: list[str] | None = None) -> str:
  """Returns the message for an unknown key, with its new name if renamed."""
  defaults = default_config()
  section, _, key = name.rpartition(".")
  if name in OLD_NAMES or (not known and key in OLD_NAMES):
    new = OLD_NAMES.get(name) or OLD_NAMES[key]
    return f"config key {name!r} is called {new!r} here"
  if known is None:
    known = (list(defaults) if not section
             else list(defaults[section]) if section in SECTIONS else [])
  where = keys_called(key)
  hint = f" (did you mean {where[0]!r}?)" if where else suggest(key, known)
  listing = f"; known: {', '.join(known)}" if known else ""
  return f"config has no key {name!r}{hint}{listing}"


def resolve(config: ConfigDict) -> ConfigDict:
  """Checks a config and returns a copy with the defaults filled in.

  Raises:
    UsageError: an unknown section or key, or a value out of range.
  """
  resolved = default_config()
  for section in config:
    if section not in resolved:
      raise UsageError(unknown_key_message(section, list(resolved)))
    if section == "evals":
      continue
    check_keys(config[section], resolved[section], section)
    _fill(resolved[section], config[section], section)
  for name, entry in config.evals.items() if "evals" in config else ():
    known = eval_config()
    check_keys(entry, known, f"evals.{name}")
    _fill(known, entry, f"evals.{name}")
    resolved.evals[name] = known
  values.fill_without_file(resolved)
  values.check_values(resolved)
  return resolved


def _fill(known: ConfigDict, given: ConfigDict, section: str) -> None:
  """Sets the keys of a section; UsageError for a value of another type."""
  for key, value in given.items():
    try:
      known[key] = value
    except (TypeError, ValueError) as error:
      raise UsageError(f"config.{section}.{key}={value!r}: {error}") from None
