"""Writes report.html and curves.png: what a run did, on one page.

The page is one file without links: curves, final scores, samples with their
predictions, the resolved config and the environment. It is made from what a
working directory holds (metrics.jsonl, config.json, model.json, samples.npz),
so it can be made again anywhere, and for several runs at once.
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
from vit_jax.report import facts, page
from vit_jax.report.facts import RunFacts, read_run_facts


def save_samples(
    workdir: str, images: Num[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, " n"], logits: Float[np.ndarray, "n k"],
) -> None:
  """Keeps a few evaluated images for the report, in WORKDIR/samples.npz.

  Args:
    workdir: local or a bucket.
    images: as the model saw them, in 0..255; floats are rounded.
    labels: their true classes.
    logits: of the model; their softmax is kept.
  """
  logits = np.asarray(logits, np.float32)
  odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
  images = np.rint(np.clip(images, 0, 255)).astype(np.uint8)
  buffer = io.BytesIO()
  np.savez_compressed(
      buffer, images=images, labels=np.asarray(labels, np.int32),
      probabilities=odds / odds.sum(axis=-1, keepdims=True))
  (epath.Path(absolute(workdir)) / facts.SAMPLES).write_bytes(buffer.getvalue())


def predict_samples(
    workdir: str, *, model: Network, params: Any, source: Source,
    preprocess: str, image_size: tuple[int, int], count: int = 24,
) -> None:
  """Predicts a few images of a split and keeps them for the report.

  They are spread evenly over the split, so that data sorted by class show
  several classes. Runs on one device of the calling process.

  Args:
    workdir: local or a bucket.
    model: with a head.
    params: of the model, on the host or on one device.
    source: the split.
    preprocess: evaluation pipeline.
    image_size: (height, width) that the parameters fit.
    count: images; fewer where the split is smaller or images are unreadable.
  """
  transforms = make_transforms(preprocess, image_size)
  images, labels = [], []
  for index in np.linspace(0, len(source) - 1, min(count, len(source))):
    example = source[int(index)]
    try:
      pixels = transforms(decode(example["image"]), np.random.default_rng(0))
    except DataError as error:
      logging.warning("no sample for the report: %s: %s", example["id"], error)
      continue
    images.append(np.asarray(pixels, np.float32))
    labels.append(example["label"])
  if images:
    stack = np.stack(images)
    logits = make_predict_fn(model)(params, jnp.asarray(stack))
    save_samples(workdir, stack, np.asarray(labels), np.asarray(logits))


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
  figure = curves.draw_panels(panels)
  target = epath.Path(absolute(out or folders[0]))
  target.mkdir(parents=True, exist_ok=True)
  image, document = target / "curves.png", target / "report.html"
  image.write_bytes(curves.png(figure))
  drawing = curves.svg(figure)
  document.write_text(
      _document(runs, drawing, curves.readouts(figure, panels)), "utf-8")
  logging.info("wrote %s", document)
  return str(document), str(image)


def _document(runs: Sequence[RunFacts], drawing: str, readouts: Any) -> str:
  """Returns the page of one run, or of several."""
  many = len(runs) > 1
  title = f"{len(runs)} runs" if many else runs[0].name
  body = [f"<header><h1>{page.escape(title)}</h1>"]
  lines = ([", ".join(run.name for run in runs)] if many
           else facts.headline(runs[0]))
  body += [f"<p>{page.escape(line)}</p>" for line in lines]
  body.append("</header>")
  if not many:
    body.append(page.tiles(facts.tiles(runs[0])))
  body.append("<h2>Curves</h2>" + page.card(drawing, "curves"))
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
          run.name, "; ".join(facts.headline(run)), "".join(_details(run))))
    else:
      body += _details(run)
  body.append("<footer>Written by vit_jax. The numbers are those of "
              "metrics.jsonl.</footer>")
  return page.document(f"{title} · vit_jax", body, readouts)


def _details(run: RunFacts) -> list[str]:
  """Returns samples, config and environment of one run."""
  parts = []
  if run.samples:
    parts.append(page.samples(
        **run.samples, class_names=run.model.get("class_names")))
  parts.append("<h2>How it was made</h2>")
  if run.config:
    parts.append(page.config_tables(run.config))
  if run.environment:
    parts.append(page.collapsible("Environment", "what it ran on", page.table(
        (), [(key, str(value)) for key, value in page.flatten(
            run.environment).items()])))
  return parts
