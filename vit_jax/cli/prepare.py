"""Prepares a data set for training, from the archives it is published as.

  python -m vit_jax prepare cifar10 --data_dir=data --download
  python -m vit_jax prepare imagenette/160px-v2 --data_dir=data --download
  python -m vit_jax prepare oxford_iiit_pet --manual_dir=~/Downloads
  python -m vit_jax prepare imagenet2012 --manual_dir=/archives --short_side=256
  python -m vit_jax prepare imagenet21k --manual_dir=/fall11 --release=fall11
  python -m vit_jax prepare folder:images/birds --data_dir=data

NAME, and what --manual_dir must hold:

  imagenet2012       ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, and
                     optionally ILSVRC2012_devkit_t12.tar.gz (image-net.org)
  imagenet21k        one n*.tar per class, or fall11_whole.tar; --release
                     chooses the classes: released (21,843: the rows of the
                     released heads), fall11 (21,841) or winter21 (19,167)
  mnist, fashion_mnist   train-images-idx3-ubyte.gz and three others, there or
                     in a folder of the set's name; Debian's package
                     dataset-fashion-mnist has /usr/share/datasets/fashion-mnist
  cifar10, cifar100  cifar-10-binary.tar.gz or cifar-10-python.tar.gz
  imagenette         any of imagenette2.tgz, imagenette2-320.tgz and
                     imagenette2-160.tgz; they become imagenette/full-size-v2,
                     imagenette/320px-v2 and imagenette/160px-v2
  oxford_iiit_pet    images.tar.gz, annotations.tar.gz
  oxford_flowers102  102flowers.tgz, imagelabels.mat, setid.mat
  folder:PATH        nothing: PATH/{train,val,test}/CLASS/* or PATH/CLASS/*
  any other name     what TFDS's builder of that name asks for, mostly nothing;
                     needs TensorFlow, which is in the extra vit_jax[prepare]

None of the others needs TensorFlow. Versions, splits, labels and the order of
the images are TFDS's; train on them with --config.data.source=tfds:NAME. A data
set that TFDS has prepared as TFRecord is copied to array_record, without
TensorFlow too.

Counts are checked before anything is written. You can interrupt it at any time:
the same command resumes, and keeps the files that are finished.
--short_side=256 stores larger images with a short side of 256 pixels, as JPEG
of quality 95, under the name NAME_256: for machines that cannot decode fast
enough, at some cost in accuracy for models trained on more pixels."""

import argparse
from collections.abc import Callable
import hashlib
import pathlib
from typing import TYPE_CHECKING, TypeVar

from vit_jax.cli import arguments, logs, output

if TYPE_CHECKING:
  from vit_jax.data.prepare.run import Report

T = TypeVar("T")


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("dataset", metavar="NAME", help="see above")
  add("--data_dir", default="", metavar="DIR", help="where to put it (default: "
      "as TFDS, $TFDS_DATA_DIR or ~/tensorflow_datasets)")
  add("--manual_dir", default="", metavar="DIR", help="the folder of the "
      "archives (default: DATA_DIR/downloads/manual)")
  add("--download", action="store_true", help="fetch missing archives that "
      "need no account")
  add("--short_side", type=arguments.positive, default=0, metavar="N",
      help="short side to which larger images are resized (default: keep every "
      "byte)")
  add("--workers", type=arguments.positive, default=0, metavar="N",
      help="threads (default: one per processor)")
  add("--release", default="", metavar="NAME",
      help="of imagenet21k: released (default), fall11 or winter21")
  add("--name", default="", help="name of a folder:PATH (default: that of the "
      "folder)")
  add("--partial", action="store_true",
      help="continue if archives, classes or images are missing")
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Prepares the data set and prints what is on the disk."""
  logs.starting(f"preparing {args.dataset}")
  import dataclasses

  from vit_jax.data.prepare.run import prepare

  def work() -> "list[Report]":
    with output.stdout_is_stderr():
      return prepare(
          args.dataset, data_dir=args.data_dir, manual_dir=args.manual_dir,
          short_side=args.short_side, workers=args.workers,
          release=args.release, rename=args.name, partial=args.partial)

  try:
    reports = with_downloads(work) if args.download else work()
  except KeyboardInterrupt:
    logs.note("interrupted; the same command resumes, with what is finished")
    raise
  if args.json:
    output.print_json({"datasets": [
        dataclasses.asdict(report) for report in reports]})
    return
  for report in reports:
    _print_report(report)


def with_downloads(work: Callable[[], T]) -> T:
  """Does the work; downloads each archive that it misses, and tries again.

  Raises:
    DataError: an archive differs from the size or hash that TFDS ships.
  """
  from vit_jax.data.prepare.archives import MissingArchive
  from vit_jax.data.prepare.checksums import Checksum, checksum
  from vit_jax.errors import DataError
  from vit_jax.weights.hub.arrived import ExpectedSize
  from vit_jax.weights.hub.download import download

  def check_against(expected: Checksum) -> Callable[[pathlib.Path, str], None]:
    def check(part: pathlib.Path, url: str) -> None:
      with open(part, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
      if digest != expected.sha256:
        raise DataError(
            f"{url}: the content has changed (sha256 {digest}, expected "
            f"{expected.sha256}); get the file from the official page")

    return check

  tried = set()
  while True:
    try:
      return work()
    except MissingArchive as error:
      if not error.url or error.url in tried:
        raise
      tried.add(error.url)
      expected = checksum(error.url)
      logs.note(f"downloading {error.url}")
      download(
          error.url, pathlib.Path(error.path),
          expected=ExpectedSize(expected.size, 0) if expected else None,
          check=check_against(expected) if expected else None)


def _print_report(report: "Report") -> None:
  """Prints one data set for people."""
  print(f"tfds:{report.name}  {report.how} in {report.folder}")
  rows = []
  for split, count in report.splits.items():
    expected = report.expected.get(split)
    rows.append([split, f"{count:,}", f"{expected:,}" if expected else "-"])
  output.print_table(
      rows, ["split", "images", "expected"], right=(1, 2), indent=2)
  kept = f", {report.reused} of them kept" if report.reused else ""
  print(f"  {report.classes:,} classes, {report.shards:,} files{kept}, "
        f"{output.megabytes(report.size)}")
  for note in report.notes:
    print(f"  {note}")
