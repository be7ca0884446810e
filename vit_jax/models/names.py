"""The one grammar of model names: whoever reads a name parses it here.

    Vision Transformer  "B/16", "ViT-B_16", "B_16", "b16"
    hybrid              "R50+B/16", "R50+ViT-B_16", "R50_B_16", "r50_b16";
                        "R+Ti/16", "R_Ti_16", "r_ti16": the stem's root alone
    ResNet baseline     "R50x1", "ResNet50x1", "BiT-M-R50x1"

Before a slash or an underscore capitals count: "b/32" is the paper's ViT-b
(Figure 4), half as wide as B; in the short form "b32" is "B/32".
"""

from collections.abc import Sequence
import dataclasses
import re
from typing import Any, ClassVar

from vit_jax.errors import UsageError

# size: (width D, depth L, MLP, heads). Paper, Table 1; AugReg's Ti and S;
# big_vision's g and G; "b" is ViT-b of Figure 4.
SIZES = {
    "Ti": (192, 12, 768, 3),
    "S": (384, 12, 1536, 6),
    "B": (768, 12, 3072, 12),
    "b": (384, 12, 1536, 6),
    "L": (1024, 24, 4096, 16),
    "H": (1280, 32, 5120, 16),
    "g": (1408, 40, 6144, 16),
    "G": (1664, 48, 8192, 16),
}
# layers: bottleneck units of the four stages (paper, appendix B.1.1; AugReg;
# BiT). R14 is for small images.
RESNET_UNITS = {
    "14": (1, 1, 1, 1),
    "26": (2, 2, 2, 2),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
    "200": (3, 24, 36, 3),
}
VIT, HYBRID, RESNET = "ViT", "Hybrid", "ResNet (BiT)"

_VIT = re.compile(
    r"(?:R(?P<layers>\d*)(?:x1)?[+_])?(?:ViT-)?(?P<size>[A-Za-z]+)"
    r"[/_](?P<patch>\d+)")
_SHORT_VIT = re.compile(
    r"(?:r(?P<layers>\d*)_)?(?P<size>ti|s|b|l|h)(?P<patch>\d+)")
_RESNET = re.compile(
    r"(?:BiT-[SML][-_])?[Rr](?:esNet)?(?P<layers>\d+)x(?P<width>\d)")


@dataclasses.dataclass(frozen=True)
class ViTName:
  """The name of a Vision Transformer or a hybrid.

  Attributes:
    size: key of SIZES.
    patch: side of a patch in pixels; of a hybrid the total down-sampling.
    layers: of the hybrid's ResNet, a key of RESNET_UNITS; "" for its root
      alone, None for a plain ViT.
  """

  kind: ClassVar[str] = "vit"

  size: str
  patch: int
  layers: str | None = None

  @classmethod
  def match(cls, name: str) -> "ViTName | None":
    """Returns the parsed name, None for names of another form.

    Raises:
      UsageError: the hybrid's layers or down-sampling do not exist.
    """
    match = _VIT.fullmatch(name) or _SHORT_VIT.fullmatch(name)
    if match is None:
      return None
    size, patch, layers = match["size"], int(match["patch"]), match["layers"]
    if match.re is _SHORT_VIT:
      size = size.capitalize()
    if size not in SIZES or patch == 0:
      return None
    if layers == "" and patch % 2:
      raise UsageError(
          f"model.variant={name!r}: the number after R+ is even, such as "
          "'R+Ti/16', which has 8x8 patches on the root")
    if layers and (layers not in RESNET_UNITS or (patch != 16 and patch % 32)):
      raise UsageError(
          f"model.variant={name!r}: hybrids are {_listed_layers()} with a "
          "total down-sampling of 16, 32 or a multiple of 32, such as "
          "'R50+B/16'")
    return cls(size, patch, layers)

  @property
  def family(self) -> str:
    """VIT or HYBRID, as in Table 6."""
    return VIT if self.layers is None else HYBRID

  @property
  def sizes(self) -> dict[str, Any]:
    """The sizes as keyword arguments of VisionTransformer."""
    width, depth, mlp_dim, num_heads = SIZES[self.size]
    resnet, patch = None, self.patch
    if self.layers is not None:
      resnet, patch = _stem(self.layers, self.patch)
    return dict(
        patch_size=(patch, patch), width=width, depth=depth, mlp_dim=mlp_dim,
        num_heads=num_heads, resnet=resnet)

  def __str__(self) -> str:
    """Returns the paper's spelling, such as "R50+B/16"."""
    stem = "" if self.layers is None else f"R{self.layers}+"
    return f"{stem}{self.size}/{self.patch}"


@dataclasses.dataclass(frozen=True)
class ResNetName:
  """The name of a ResNet baseline.

  Attributes:
    layers: key of RESNET_UNITS.
    width_factor: multiplies all widths.
  """

  kind: ClassVar[str] = "bit_resnet"
  family: ClassVar[str] = RESNET

  layers: str
  width_factor: int

  @classmethod
  def match(cls, name: str) -> "ResNetName | None":
    """Returns the parsed name, None for names of another form."""
    match = _RESNET.fullmatch(name)
    if (match is None or match["layers"] not in RESNET_UNITS
        or match["width"] == "0"):
      return None
    return cls(match["layers"], int(match["width"]))

  @property
  def sizes(self) -> dict[str, Any]:
    """The sizes as keyword arguments of BiTResNet."""
    return dict(
        units=RESNET_UNITS[self.layers], width_factor=self.width_factor)

  def __str__(self) -> str:
    """Returns the paper's spelling, such as "R50x1"."""
    return f"R{self.layers}x{self.width_factor}"


ModelName = ViTName | ResNetName
# Tried in this order; their `kind` is a key of `variants.NETWORKS`.
_FORMS: tuple[type[ViTName] | type[ResNetName], ...] = (ResNetName, ViTName)


def parse(name: str) -> ModelName:
  """Reads a model's name.

  Raises:
    UsageError: the name has none of the forms above.
  """
  for form in _FORMS:
    parsed = form.match(name)
    if parsed is not None:
      return parsed
  raise UsageError(
      f"model.variant={name!r} is unknown; names look like 'B/16', 'ViT-L_32', "
      f"'R50+B/16', 'R_Ti_16' or 'b16', with the sizes {', '.join(SIZES)} and "
      "any patch size; ResNets are named like 'R50x1', with "
      f"{_listed_layers()}")


def canonical(name: str) -> str:
  """Returns the paper's spelling of a name; other text is returned unchanged.

  "ViT-S_16" becomes "S/16", "R26_S_32" "R26+S/32", "h14" "H/14".
  """
  try:
    return str(parse(name))
  except UsageError:
    return name


def vit_name(
    *, patch_size: Sequence[int], width: int, depth: int, mlp_dim: int,
    num_heads: int, resnet: Sequence[int] | None,
) -> str:
  """Returns the name of a ViT of these sizes, such as "R50+B/16".

  The size is "custom" where the table has none, and the ResNet is "R" where
  its stages are those of no known depth. ViT-b is called S, its equal.
  """
  sizes = (width, depth, mlp_dim, num_heads)
  size = next(
      (k for k, v in SIZES.items() if v == sizes and k != "b"), "custom")
  rows, cols = patch_size
  if resnet is None:
    return f"{size}/{rows}" if rows == cols else f"{size}/{rows}x{cols}"
  if not resnet:
    return f"R+{size}/{rows * 2}"
  layers = next(
      (k for k in RESNET_UNITS for total in (16, 32)
       if _stem(k, total)[0] == tuple(resnet)), "")
  return f"R{layers}+{size}/{4 * 2 ** (len(resnet) - 1) * rows}"


def resnet_name(units: Sequence[int], width_factor: int) -> str:
  """Returns "R50x1"; "Rx1" where the units are those of no known depth."""
  layers = next((k for k, v in RESNET_UNITS.items() if v == tuple(units)), "")
  return f"R{layers}x{width_factor}"


def _stem(layers: str, total: int) -> tuple[tuple[int, ...], int]:
  """Returns a hybrid's ResNet stages and the patch size on top of them.

  At a total down-sampling of 16 the units of the fourth stage join the third.
  Without layers there is the root alone, whose stride is 4; "R_Ti_16" was
  released with 8x8 patches on it.
  """
  if not layers:
    return (), total // 2
  stages = RESNET_UNITS[layers]
  if total == 16:
    return (*stages[:2], stages[2] + stages[3]), 1
  return stages, total // 32


def _listed_layers() -> str:
  """Returns "R14, R26, ... or R200"."""
  *most, last = (f"R{layers}" for layers in RESNET_UNITS)
  return f"{', '.join(most)} or {last}"
