"""ImageNet-V2 (Recht et al., 2019): a new test set for ImageNet's classes.

Its folders are named by class number, which sorted as text is another order
than the model's.
"""

from vit_jax.data.sources import Source, files_source
from vit_jax.data.sources.tree import Folder
from vit_jax.errors import DataError
from vit_jax.evaluators.accuracy import Accuracy
from vit_jax.evaluators.context import EvalContext


def make(context: EvalContext) -> Accuracy:
  """Returns the evaluator of ImageNet-V2.

  Args:
    context: `source` is the unpacked archive, a folder with sub-folders 0 to
      999 and no splits; or tfds:imagenet_v2, whose classes are in order.

  Raises:
    UsageError: there is no such folder.
    DataError: its sub-folders are not the model's classes.
  """
  if context.source.startswith("tfds:"):
    return Accuracy(context, context.open_source())
  return Accuracy(context, numbered_folders(
      context.existing_folder(), context.model.num_classes))


def numbered_folders(root: str, num_classes: int) -> Source:
  """Opens a folder whose sub-folders are named by class number.

  Raises:
    DataError: a sub-folder is not a class of the model, or all are empty.
  """
  folders = {folder.name: folder for folder in Folder(root).folders}
  wrong = [n for n in folders if not n.isdecimal() or int(n) >= num_classes]
  if wrong or not folders:
    raise DataError(
        f"{root}: folders named 0 to {num_classes - 1}, the model's classes, "
        f"were expected, found {', '.join(wrong[:5]) or 'none'}")
  files = [(path, int(name)) for name in sorted(folders, key=int)
           for path in folders[name].all_images()]
  if not files:
    raise DataError(f"{root}: no image in the folders")
  return files_source(root, files, name=root, class_names=None,
                      num_classes=num_classes)
