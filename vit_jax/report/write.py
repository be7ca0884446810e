"""Writes report.html and curves.png: what a run did, on one page.

The page is one file without links: curves, final scores, mistakes and samples
with their predictions, confused classes, the resolved config and the
environment. It is made from what a working directory holds (metrics.jsonl,
config.json, model.json, eval/*.json, samples.npz), so it can be made again
anywhere, and for several runs at once.
"""

from collections.abc import Sequence
import io
import os
from typing import Any

from absl import logging
from etils import epath
import jax.numpy as jnp
from jaxtyping import Float, Int, Num
import numpy as np

from vit_jax.data.decode import decode
from vit_jax.data.sources import Source
from vit_jax.data.transforms import make_transforms
from vit_jax.errors import DataError, UsageError
from vit_jax.models.network import Network
from vit_jax.models.predict import make_predict_fn
from vit_jax.paths import absolute
from vit_jax.report import facts, origin, page, predictions
from vit_jax.report.facts import RunFacts, read_run_facts
from vit_jax.weights.formats.atomic import write_whole


def save_samples(
    workdir: str, images: Num[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, " n"], logits: Float[np.ndarray, "n k"],
    names: Sequence[str], mistakes: int = 0,
) -> None:
  """Keeps a few evaluated images for the report, in WORKDIR/samples.npz.

  Args:
    workdir: local or a bucket.
    images: as the model saw them, in 0..255; floats are rounded.
    labels: their true classes.
    logits: of the model; their softmax is kept.
    names: of the images' files.
    mistakes: how many of them, the first, were chosen because they are wrong.
  """
  logits = np.asarray(logits, np.float32)
  odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
  images = np.rint(np.clip(images, 0, 255)).astype(np.uint8)
  buffer = io.BytesIO()
  np.savez_compressed(
      buffer, images=images, labels=np.asarray(labels, np.int32),
      probabilities=odds / odds.sum(axis=-1, keepdims=True),
      names=np.asarray(names), mistakes=np.arange(len(names)) < mistakes)
  write_whole(epath.Path(absolute(workdir)) / facts.SAMPLES, buffer.getvalue())


def predict_samples(
    workdir: str, *, model: Network, params: Any, source: Source,
    preprocess: str, image_size: tuple[int, int], count: int = 12,
    mistakes: Sequence[int] = (),
) -> None:
  """Predicts a few images of a split and keeps them for the report.

  The first are mistakes, as far as they are known. The others are spread
  evenly over the split, so that data sorted by class show several classes.
  Runs on one device of the calling process.

  Args:
    workdir: local or a bucket.
    model: with a head.
    params: of the model, on the host or on one device.
    source: the split.
    preprocess: evaluation pipeline.
    image_size: (height, width) that the parameters fit.
    count: images of each kind; fewer where there are not so many or images are
      unreadable.
    mistakes: numbers in the split of wrongly classified images.
  """
  transforms = make_transforms(preprocess, image_size)
  images, labels, names, wrong = [], [], [], 0
  spread = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
  for i, index in enumerate([*mistakes[:count], *spread.tolist()]):
    example = source[index]
    try:
      pixels = transforms(decode(example["image"]), np.random.default_rng(0))
    except DataError as error:
      logging.warning("no sample for the report: %s: %s", example["id"], error)
      continue
    wrong += i < len(mistakes[:count])
    images.append(np.asarray(pixels, np.float32))
    labels.append(example["label"])
    names.append(example["id"])
  if images:
    stack = np.stack(images)
    logits = make_predict_fn(model)(params, jnp.asarray(stack))
    save_samples(workdir, stack, np.asarray(labels), np.asarray(logits), names,
                 wrong)


def write_report(
    workdir: str | Sequence[str], out: str | None = None
) -> tuple[str, str]:
  """Writes the report of a run, or of several with their curves overlaid.

  Args:
    workdir: one working directory or several, local or in a bucket.
    out: folder of the two files; None for the only workdir.

  Returns:
    The paths of report.html and curves.png.

  Raises:
    DataError: a directory holds no run, or a file of it is damaged.
    UsageError: several runs, but no `out`.
  """
  from vit_jax.report import curves  # matplotlib: slow to import

  workdirs = [workdir] if isinstance(workdir, str | os.PathLike) else workdir
  folders = [absolute(os.fspath(folder)) for folder in workdirs]
  if out is None and len(folders) != 1:
    raise UsageError("a report of several runs needs a folder: give out=")
  names = facts.distinct_names(folders)
  runs = [read_run_facts(folder, name)
          for folder, name in zip(folders, names, strict=True)]
  panels = curves.make_panels({run.name: run.record for run in runs})
  target = epath.Path(absolute(out or folders[0]))
  target.mkdir(parents=True, exist_ok=True)
  image, document = target / "curves.png", target / "report.html"
  write_whole(image, curves.png(curves.draw_panels(panels)))
  # On the page each is a drawing of its own: side by side, or in a column.
  figures = [curves.draw_panels([panel]) for panel in panels]
  readouts = [curves.readouts(figure, [panel])[0]
              for figure, panel in zip(figures, panels, strict=True)]
  drawings = [curves.svg(figure) for figure in figures]
  write_whole(document, _document(runs, drawings, readouts).encode())
  logging.info("wrote %s", document)
  return str(document), str(image)


def _document(
    runs: Sequence[RunFacts], drawings: Sequence[str], readouts: Any
) -> str:
  """Returns the page of one run, or of several."""
  many = len(runs) > 1
  title = f"{len(runs)} runs" if many else runs[0].name
  body = [f"<header><h1>{page.escape(title)}</h1>"]
  lines = ([", ".join(run.name for run in runs)] if many
           else facts.headline(runs[0]))
  body += [f"<p>{page.escape(line)}</p>" for line in lines]
  if not many:
    body.append(page.origin(*origin.origin(runs[0])))
  body.append("</header>")
  if not many:
    body.append(page.tiles(facts.tiles(runs[0])))
  body.append("<h2>Curves</h2>" + page.curves(drawings, readouts, many))
  for run in runs:
    if note := origin.loss_note(run):
      body.append(page.note(f"{run.name}: {note}" if many else note))
  rows = facts.score_table(runs)
  if rows:
    body.append("<h2>Final scores</h2>" + page.card(page.table(
        *rows, numbers=True, dots=many)))
  differing = facts.differences(runs)
  if many and differing:
    body.append("<h2>What differs in the configs</h2>" + page.card(page.table(
        ("key", *(run.name for run in runs)), differing)))
  for run in runs:
    if many:
      body.append(page.collapsible(
          run.name, "; ".join(facts.headline(run)),
          page.origin(*origin.origin(run)) + "".join(_details(run))))
    else:
      body += _details(run)
  body.append("<footer>Written by vit_jax. The numbers are those of "
              "metrics.jsonl.</footer>")
  return page.document(f"{title} · vit_jax", body, readouts)


def _details(run: RunFacts) -> list[str]:
  """Returns predictions, config and environment of one run."""
  parts = []
  if run.samples:
    parts.append(predictions.pictures(
        **run.samples, class_names=run.model.get("class_names"),
        note=origin.mistakes_note(run)))
  parts += [predictions.by_class(name, details)
            for name, details in run.details.items()]
  parts.append("<h2>How it was made</h2>")
  if run.config:
    parts.append(page.config_tables(run.config))
  if run.environment:
    parts.append(page.collapsible("Environment", "what it ran on", page.table(
        (), [(key, str(value)) for key, value in page.flatten(
            run.environment).items()])))
  return parts
