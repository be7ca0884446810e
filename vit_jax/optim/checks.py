"""Whether a key of config.optim has one of its values."""

from collections.abc import Sequence

from vit_jax.errors import UsageError, suggest


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
  """Raises UsageError unless the value of optim.KEY is one of the choices."""
  if value not in choices:
    # The names that other libraries give to what is here.
    known = {"adamw": "; adam with optim.weight_decay is AdamW",
             "momentum": "; sgd has momentum"}.get(value.lower(), "")
    raise UsageError(
        f"optim.{key}={value!r} is unknown{suggest(value, choices)}; it is "
        f"{', '.join(choices[:-1])} or {choices[-1]}{known}")
