"""The paper's claims, from claims.toml, and what our runs say about them."""

from collections.abc import Mapping
from importlib import resources
import re
import tomllib
from typing import Any

from vit_jax.paper.costs import compute_ratios
from vit_jax.paper.effects import effect
from vit_jax.paper.tables import read_results

# Each is a page: its name in a path, and its heading.
GROUPS = {
    "architecture": "Architecture and cost",
    "transfer": "Transfer",
    "data": "Data and compute",
    "inside": "Inside a trained network",
    "ablations": "Training and ablations",
}
STATUS = {
    "formula": "computed by formula or by the compiler",
    "released": "checked against stored outputs of the official code",
    "small": "run in its small form only",
    "trained": "looked for in a trained network of another recipe, DINOv2 S/14",
    "open": "implemented and tested; not run (see what it needs)",
}
# What was found about a claim. "Agrees" and "disagrees" are said of what is
# exact, or of an effect whose 95 % interval leaves zero out.
VERDICTS = ("agrees", "disagrees", "cannot tell", "needs an accelerator")
KEYS = ("title", "group", "claim", "where", "paper", "needs", "code", "command",
        "small", "ours", "status", "verdict", "because")
# "NAME:ROW - ROW": the difference in our results that, where it is positive,
# speaks for the claim.
OPTIONAL = ("effect",)
_RESULT = re.compile(r"\{(\w+):([^}]+)\}")


def read_claims() -> list[dict[str, Any]]:
  """Returns the claims in the order of the file.

  Raises:
    ValueError: a claim lacks a key, has an unknown one, or an unknown group,
      status or verdict; or its verdict rests on nothing, or on an effect that
      does not bear it.
  """
  text = (resources.files("vit_jax.paper") / "claims.toml").read_text(
      encoding="utf-8")
  claims, results = tomllib.loads(text)["claim"], read_results()
  for claim in claims:
    if (set(claim) - set(OPTIONAL) != set(KEYS)
        or claim["status"] not in STATUS or claim["group"] not in GROUPS):
      raise ValueError(f"claims.toml: {claim.get('title')} has the keys "
                       f"{sorted(claim)}; expected {sorted(KEYS)}")
    check_verdict(claim, results)
  return claims


def check_verdict(
    claim: Mapping[str, Any], results: Mapping[str, Any]
) -> None:
  """Raises ValueError where a verdict does not follow from what it rests on."""
  verdict, title = claim["verdict"], claim["title"]
  needs = verdict == "needs an accelerator"
  if verdict not in VERDICTS or needs == bool(claim["because"]):
    raise ValueError(f"claims.toml: the verdict of {title} is {verdict!r} "
                     f"because of {claim['because']!r}")
  if claim["status"] != "small" or verdict not in ("agrees", "disagrees"):
    return
  name, _, rows = claim.get("effect", "").partition(":")
  found = effect(results.get(name, {}), *rows.split(" - ")) if name else None
  supports = verdict == "agrees"
  if found is None or not found.is_clear or (found.points > 0) != supports:
    raise ValueError(f"claims.toml: {title} {verdict}, but the effect "
                     f"{claim.get('effect')} is {found}")


def used_results(claim: Mapping[str, Any]) -> list[str]:
  """Returns the names of the results that a claim speaks of."""
  return sorted({match[1] for match in _RESULT.finditer(
      claim["ours"] + claim["because"])} - {"ratios"})


def fill_in_results(text: str, results: Mapping[str, Any]) -> str:
  """Returns a text with {NAME:ROW} replaced by the result of that row.

  A mean over several seeds is followed by its standard deviation; a result
  that does not exist becomes "not run". {NAME:ROW - ROW} is the difference of
  two rows with its 95 % interval, see `vit_jax.paper.effects.effect`, and
  {ratios:MEASURE} the range of `compute_ratios`.
  """

  def value(match: re.Match[str]) -> str:
    if match[1] == "ratios":
      low, *_, high = sorted(compute_ratios(match[2]).values())
      return f"{low:.1f} to {high:.1f}"
    result = results.get(match[1], {})
    if " - " in match[2]:
      return str(effect(result, *match[2].split(" - ")) or "not run")
    row = result.get("scores", {}).get(match[2])
    if row is None:
      return "not run"
    if result.get("unit") == "number":
      return f"{row['mean']:,.0f}"
    spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
    return f"{100 * row['mean']:.1f}{spread} %"

  return _RESULT.sub(value, text)
