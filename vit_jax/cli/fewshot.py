"""Scores a checkpoint's frozen features by a few-shot linear probe.

  python -m vit_jax fewshot --checkpoint=runs/quickstart --source=digits
  python -m vit_jax fewshot --checkpoint=imagenet21k/ViT-B_16 \\
      --source=tfds:imagenet2012 --train_split=train[:65000] \\
      --split=validation --preprocess='resize(256)|central_crop({size})'

The input of the head is the feature. Ridge regression in closed form on a few
examples of each class, drawn several times: mean accuracy, and +- its standard
deviation over the draws. No head is needed, nothing is trained, and the data
set may have any classes. The same as `evaluate --type=fewshot`."""

from vit_jax.cli import arguments, evaluate

run = evaluate.run


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  arguments.add_checkpoint(parser)
  add("--source", required=True, help="digits, tfds:NAME, vtab:TASK or a "
      "folder of images")
  add("--split", default="test", help="what is scored (default: test)")
  add("--data_dir", default="", metavar="DIR",
      help="folder of image folders or prepared data sets")
  evaluate.add_few_shot(add)
  arguments.add_preprocess(parser)
  arguments.add_loading(parser)
  arguments.add_json(parser)
  parser.set_defaults(type="fewshot", loss="softmax", labels=None,
                      flip=False)
