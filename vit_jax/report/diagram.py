"""A network as a drawing: from the image to the logits, and one block."""

from collections.abc import Mapping, Sequence
import html
import re
from typing import Any, NamedTuple

_WIDTH, _HEIGHT, _GAP = 300, 46, 22  # of a box, and between two, in pixels
_MARGIN, _BETWEEN = 24, 60
_TOP = _MARGIN + 44  # below the title
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .small { font-size: 11px; fill: #59636e; }
  .box { fill: #f6f8fa; stroke: #818b98; }
  .frame { fill: none; stroke: #818b98; stroke-dasharray: 4 3; }
  .line { stroke: #59636e; fill: none; }
  .sheet { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .small { fill: #9198a1; }
    .box { fill: #212830; stroke: #656c76; }
    .frame { stroke: #656c76; }
    .line { stroke: #9198a1; }
    .sheet { fill: #0d1117; }
  }
"""


class Box(NamedTuple):
  """One step of a network.

  Attributes:
    title: what it does.
    shape: of its output, in words.
    parameters: how many it has.
    skips: how many boxes above it, itself included, a residual connection
      passes by; 0 for none.
  """

  title: str
  shape: str
  parameters: int = 0
  skips: int = 0


def diagram(
    model: Any, image_size: Sequence[int], counts: Mapping[str, int]
) -> str:
  """Returns an SVG drawing of a VisionTransformer or hybrid.

  Args:
    model: the network.
    image_size: (height, width) in pixels.
    counts: the number of parameters by name of the array.
  """
  left = network_boxes(model, image_size, counts)
  right = block_boxes(model, image_size, counts)
  rows = max(len(left), len(right))
  height = _TOP + rows * (_HEIGHT + _GAP) + _MARGIN
  width = 2 * _MARGIN + 2 * _WIDTH + _BETWEEN + 30
  x = _MARGIN + _WIDTH + _BETWEEN
  total = sum(counts.values())
  parts = [
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
      f'height="{height}" viewBox="0 0 {width} {height}" role="img">',
      f"<title>{html.escape(model.variant_name)}</title>",
      f"<style>{_STYLE}</style>",
      f'<rect class="sheet" width="{width}" height="{height}"/>',
      _text(_MARGIN, _MARGIN + 12,
            f"{model.variant_name}, {total:,} parameters"),
      _text(x, _MARGIN + 12, f"one of {model.depth} blocks"),
      *_column(left, _MARGIN), *_column(right, x),
      f'<rect class="frame" x="{x - 14}" y="{_TOP - 20}" '
      f'width="{_WIDTH + 40}" rx="8" '
      f'height="{len(right) * (_HEIGHT + _GAP) + 18}"/>']
  return "\n".join([*parts, "</svg>", ""])


def network_boxes(
    model: Any, image_size: Sequence[int], counts: Mapping[str, int]
) -> list[Box]:
  """Returns the steps from the image to the logits."""

  def count(*beginnings: str) -> int:
    return sum(n for name, n in counts.items() if name.startswith(beginnings))

  rows, cols = model.grid(image_size)
  tokens = rows * cols + model.prefix_tokens
  width, patch = model.width, "x".join(map(str, model.patch_size))
  shape = f"{tokens} x {width}"
  boxes = [Box("image", f"{image_size[0]} x {image_size[1]} x 3")]
  if model.resnet is not None:
    boxes.append(Box("ResNet stem", f"features, in patches of {patch}",
                     count("conv_root", "gn_root", "root_block", "block")))
  boxes.append(Box(f"patches of {patch}, linear projection",
                   f"{rows * cols} x {width}", count("embedding")))
  if model.prefix_tokens:
    names = ["class token"] * ("cls" in counts) + (
        [f"{model.registers} registers"] if model.registers else [])
    boxes.append(Box(" and ".join(names) + " in front", shape,
                     count("cls", "registers")))
  if model.posemb != "none" and model.posemb_at == "stem":
    boxes.append(Box(f"position embedding, {model.posemb}", shape,
                     count("Transformer/posembed_input")))
  if model.pre_norm:
    boxes.append(Box("LayerNorm", shape, count("Transformer/pre_norm")))
  boxes.append(Box(f"{model.depth} blocks", shape, count(
      "Transformer/encoderblock", "Transformer/posembed_layers")))
  if model.final_norm == "tokens":
    boxes.append(Box("LayerNorm", shape, count("Transformer/encoder_norm")))
  pooled = 2 * width if model.pooling == "cls_gap" else width
  boxes.append(Box({
      "cls": "the class token", "gap": "average of the patches",
      "map": "attention pooling", "cls_gap": "class token and average",
  }[model.pooling], f"{pooled}", count("MAPHead", "pooled_norm")))
  if model.pre_logits:
    boxes.append(Box("dense, tanh", f"{model.pre_logits}", count("pre_logits")))
  if model.num_classes:
    boxes.append(Box("head", f"{model.num_classes} logits", count("head")))
  return boxes


def block_boxes(
    model: Any, image_size: Sequence[int], counts: Mapping[str, int]
) -> list[Box]:
  """Returns the steps of the first block (paper, equations 2 and 3).

  Of an axial block, those along the rows, then those along the columns.
  """
  norm = "/LayerNorm_0/scale"
  first = [name.removesuffix(norm) for name in counts
           if re.match(r"Transformer/encoderblock(_0)?/", name)
           and name.endswith(norm)]
  # A scan stacks the parameters of all blocks.
  layers = model.depth if model.scan else 1
  rows, cols = model.grid(image_size)
  shape = f"{rows * cols + model.prefix_tokens} x {model.width}"
  heads = (f"{model.num_heads} heads of "
           f"{model.head_dim or model.width // model.num_heads}")
  hidden = f"{'SwiGLU' if model.gated else 'GELU'}, {model.mlp_dim} hidden"
  boxes = []
  for prefix in sorted(first, reverse=True):  # rows, columns
    along = f" along {prefix.split('/')[2]}" if len(first) > 1 else ""

    def count(part: str, prefix: str = prefix) -> int:
      return sum(n for name, n in counts.items()
                 if name.startswith(f"{prefix}/{part}")) // layers

    boxes += [
        Box("LayerNorm", shape, count("LayerNorm_0")),
        Box(f"attention{along}, {heads}", shape,
            count("MultiHeadDotProductAttention_0"), skips=2),
        Box("LayerNorm", shape, count("LayerNorm_1")),
        Box(f"MLP, {hidden}", shape, count("MlpBlock_0"), skips=2)]
  return boxes


def _column(boxes: Sequence[Box], x: int) -> list[str]:
  """Returns boxes below each other, with arrows between and around them."""
  parts = []
  for i, box in enumerate(boxes):
    y = _TOP + i * (_HEIGHT + _GAP)
    middle = x + _WIDTH / 2
    if i:
      parts.append(f'<path class="line" d="M{middle} {y - _GAP}V{y}"/>')
    parts.append(f'<rect class="box" x="{x}" y="{y}" width="{_WIDTH}" '
                 f'height="{_HEIGHT}" rx="6"/>')
    detail = box.shape + (
        f"; {box.parameters:,} parameters" if box.parameters else "")
    parts += [_text(x + 12, y + 19, box.title),
              _text(x + 12, y + 36, detail, "small")]
    if box.skips:
      top = y - (box.skips - 1) * (_HEIGHT + _GAP) - _GAP / 2
      right = x + _WIDTH + 14
      parts.append(
          f'<path class="line" d="M{middle} {top}H{right}V'
          f'{y + _HEIGHT + _GAP / 4}H{middle + 8}"/>')
      parts.append(_text(middle - 4, y + _HEIGHT + _GAP / 4 + 4, "+"))
  return parts


def _text(x: float, y: float, text: str, kind: str = "") -> str:
  """Returns a line of text."""
  attribute = f' class="{kind}"' if kind else ""
  return f'<text x="{x}" y="{y}"{attribute}>{html.escape(text)}</text>'
