"""From the name that a user types to the data sets it refers to."""

from collections.abc import Callable
import dataclasses

from vit_jax.data.prepare import (
  cifar,
  folders,
  food101,
  imagenet,
  imagenette,
  mnist,
  oxford,
)
from vit_jax.data.prepare.contents import Contents, Request
from vit_jax.data.prepare.counts import Expected
from vit_jax.data.prepare.metadata import Identity
from vit_jax.errors import UsageError, suggest

RELEASES = ("released", "fall11", "winter21")
FOLDER = "folder:"


@dataclasses.dataclass(frozen=True)
class Target:
  """One data set to make.

  Attributes:
    identity: its name and version.
    build: lists its contents.
    request: argument of `build`; its `scratch` is set later.
    expected: the official numbers, None for a folder.
    short_side: longest smaller side of a stored image, 0 for any.
  """

  identity: Identity
  build: Callable[[Request], Contents]
  request: Request
  expected: Expected | None
  short_side: int


@dataclasses.dataclass(frozen=True)
class Family:
  """What is prepared under one name.

  Attributes:
    version: TFDS's.
    build: lists its contents.
    expected: the official numbers, from the official pages.
  """

  version: str
  build: Callable[[Request], Contents]
  expected: Expected


FAMILIES = {
    "imagenet2012": Family("5.1.0", imagenet.imagenet2012, Expected(
        1000, {"train": 1_281_167, "validation": 50_000},
        {"validation": 50})),
    "imagenet21k": Family("1.0.0", imagenet.imagenet21k, Expected(
        21_843, {"full": 14_197_122}, approximate=True)),
    "cifar10": Family("3.0.2", cifar.cifar10, Expected(
        10, {"train": 50_000, "test": 10_000}, {"train": 5000, "test": 1000})),
    "cifar100": Family("3.0.2", cifar.cifar100, Expected(
        100, {"train": 50_000, "test": 10_000}, {"train": 500, "test": 100})),
    "mnist": Family("3.0.1", mnist.mnist, Expected(
        10, {"train": 60_000, "test": 10_000})),
    "fashion_mnist": Family("3.0.1", mnist.fashion_mnist, Expected(
        10, {"train": 60_000, "test": 10_000}, {"train": 6000, "test": 1000})),
    "imagenette": Family("1.0.0", imagenette.imagenette, Expected(
        10, {"train": 9469, "validation": 3925})),
    "oxford_iiit_pet": Family("4.0.0", oxford.oxford_iiit_pet, Expected(
        37, {"train": 3680, "test": 3669})),
    "oxford_flowers102": Family("2.1.1", oxford.oxford_flowers102, Expected(
        102, {"train": 1020, "validation": 1020, "test": 6149},
        {"train": 10, "validation": 10})),
    "food101": Family("2.0.0", food101.food101, Expected(
        101, {"train": 75_750, "validation": 25_250},
        {"train": 750, "validation": 250})),
}
_SMALL = {"cifar10": "32x32", "cifar100": "32x32", "mnist": "28x28",
          "fashion_mnist": "28x28"}
# Other releases of ImageNet-21k (image-net.org has the images of all of fall11
# only).
_OTHER_RELEASES = {
    "imagenet21k_fall11": Expected(
        21_841, {"full": 14_197_122}, approximate=True),
    "imagenet21k_winter21": Expected(19_167, {}, approximate=True),
}


def find_targets(
    name: str, manual_dir: str, short_side: int, release: str, rename: str,
    partial: bool) -> list[Target]:
  """Returns the data sets a name refers to, usually one.

  Raises:
    UsageError: options that do not go together.
  """
  if release not in RELEASES:
    raise UsageError(f"--release={release}: expected {', '.join(RELEASES)}"
                     f"{suggest(release, RELEASES)}")
  suffix = f"_{short_side}" if short_side else ""
  request = Request(manual_dir, "", release=release, partial=partial)
  if name.startswith(FOLDER):
    path = name.removeprefix(FOLDER)
    stem = rename or folders.name_of(path)
    if stem in FAMILIES and not rename:
      raise UsageError(f"{name}: would be called {stem}, which is another "
                       "data set; give it a name: --name=my_pictures")
    return [Target(
        Identity(stem + suffix, "1.0.0"), folders.any_folder,
        dataclasses.replace(request, manual_dir=path), None, short_side)]
  stem, _, config = name.partition("/")
  family = FAMILIES[stem]
  expected = family.expected
  configs = [config]
  if stem == "imagenette":
    configs = [config] if config else imagenette.configs(manual_dir)
    if config and config not in imagenette.FILES:
      raise UsageError(f"{name}: expected {', '.join(imagenette.FILES)}"
                       f"{suggest(config, imagenette.FILES)}")
  elif config:
    raise UsageError(f"{name}: {stem} has no config; write {stem}")
  if short_side and stem in _SMALL:
    raise UsageError(f"--short_side={short_side}: the images of {stem} are "
                     f"{_SMALL[stem]}; leave it out")
  if stem == "imagenet21k" and release != "released":
    stem = f"{stem}_{release}"
    expected = _OTHER_RELEASES[stem]
  return [Target(
      Identity(stem + suffix, family.version, config), family.build,
      dataclasses.replace(request, config=config), expected,
      short_side) for config in configs]


def explain(name: str) -> None:
  """Explains how to prepare data sets whose names carry an option.

  Raises:
    UsageError: for "imagenet2012_256" and "imagenet21k_fall11".
  """
  stem, _, last = name.rpartition("_")
  if last in RELEASES and stem == "imagenet21k":
    raise UsageError(f"{name}: write prepare {stem} --release={last}")
  if last.isdecimal() and stem in FAMILIES:
    raise UsageError(f"{name}: write prepare {stem} --short_side={last}")
