"""Every key of a config with its default, and the checks on a config.

A config file in configs/ starts from `default_config()` and changes what its
recipe needs; each section is splatted into one keyword-only function, whose
docstring explains the keys. An unknown key is an error that names it.
"""

from typing import Any

from ml_collections import ConfigDict, config_dict

from vit_jax.errors import UsageError, suggest

# Arguments of google-research/vision_transformer and big_vision, renamed here.
OLD_NAMES = {
    "base_lr": "optim.learning_rate",
    "lr": "optim.learning_rate",
    "wd": "optim.weight_decay",
    "decay_type": "optim.schedule",
    "warmup_steps": "optim.warmup_steps",
    "grad_norm_clip": "optim.clip_norm",
    "grad_clip_norm": "optim.clip_norm",
    "optim_dtype": "optim.momentum_dtype",
    "accum_steps": "train.accumulate",
    "grad_accum_steps": "train.accumulate",
    "total_steps": "train.steps",
    "total_epochs": "train.epochs",
    "eval_every": "train.eval_every",
    "progress_every": "train.log_every",
    "log_training_steps": "train.log_every",
    "seed": "train.seed",
    "checkpoint_every": "checkpoint.save_every",
    "ckpt_steps": "checkpoint.save_every",
    "batch": "data.batch_size",
    "batch_eval": "evals.test.batch_size",
    "dataset": "data.source",
    "tfds_data_dir": "data.data_dir",
    "pp": "data.preprocess",
    "pretrained_dir": "init.path",
    "model_init": "init.path",
    "model_name": "model.variant",
    "model_or_filename": "model.variant (and init.path for a file)",
    "num_classes": "model.num_classes",
}

# Types of evaluators, modules of vit_jax.evaluators, and each one's own keys.
EVALUATORS: dict[str, dict[str, Any]] = {
    "accuracy": {},
    "calibration": {},
    "real": dict(labels=""),
    "imagenet_v2": {},
    "objectnet": dict(labels=""),
    "masked_patch": {},
    "fewshot": dict(
        train_split="train", shots=(1, 5, 10, 25), num_seeds=3, l2=2.0**10),
}


def _int() -> config_dict.FieldReference:
  """Returns None that an integer may replace; a fresh one for each key."""
  return config_dict.placeholder(int)


def _float() -> config_dict.FieldReference:
  """Returns None that a float may replace; a fresh one for each key."""
  return config_dict.placeholder(float)


def default_config() -> ConfigDict:
  """Returns a config with every key there is, set to its default."""
  config = ConfigDict()
  config.model = dict(  # vit_jax.models.variants.make_vit
      variant="B/16", num_classes=_int(), patch_size=_int(),
      width=_int(), depth=_int(), mlp_dim=_int(), num_heads=_int(),
      pooling="cls", pre_logits=False, head_bias_init=0.0, posemb="1d",
      posemb_at="stem", block="global", dropout=0.0, attention_dropout=0.0,
      stochastic_depth=0.0, qkv_bias=True, gelu="tanh", ln_eps=1e-6,
      stem_eps="released", dtype="auto", attention="auto", remat="none",
      scan=False)
  config.init = dict(  # vit_jax.weights.load.init_params
      path="", head="reset", pre_logits="drop", method="corner_aligned")
  config.data = dict(  # vit_jax.training.setup.open_batches
      source="digits", data_dir="", split="train", image_size=224,
      batch_size=512, preprocess="inception_crop({size})|flip_lr",
      num_threads=16, num_workers=0, max_broken=0)
  config.objective = dict(  # vit_jax.objectives.make_loss
      name="classification", loss="softmax", label_smoothing=0.0, mixup=0.0,
      target="mean_colour", corrupted=0.5)
  config.optim = dict(  # vit_jax.optim.make_optimizer
      name="adam", learning_rate=1e-3, schedule="cosine", warmup_steps=500,
      linear_end=1e-5, boundaries=(), weight_decay=0.0, decay="kernels",
      decay_at="update", clip_norm=_float(), beta1=0.9, beta2=0.999,
      eps=1e-8, momentum=0.9, momentum_dtype="auto", frozen=())
  config.mesh = dict(  # vit_jax.devices.sharding.make_mesh
      data=-1, fsdp=1, tensor=1)
  config.train = dict(  # vit_jax.training.program, vit_jax.training.loop
      steps=_int(), epochs=_float(), seed=0,
      log_every=50, eval_every=1000, accumulate=1,
      ema_decay=_float(), profile_steps=(), report=True, xla="none")
  config.checkpoint = dict(  # vit_jax.training.checkpoint.Checkpointer
      save_every=1000, keep=2, keep_every=_int())
  config.evals = ConfigDict()  # NAME: eval_config(...)
  return config


def eval_config(**changes: Any) -> ConfigDict:
  """Returns one entry of `config.evals`: every key, with `changes`.

  The section is splatted into `vit_jax.evaluators.make_evaluator`; source and
  data_dir left empty are those of the training data, batch_size 0 likewise.
  The keys of every type are there, so that --config.evals.NAME.type can change.
  """
  entry = ConfigDict(dict(
      type="accuracy", source="", data_dir="", split="test",
      preprocess="resize({size})", batch_size=0))
  for own in EVALUATORS.values():
    entry.update(own)
  check_keys(changes, entry, "evals.NAME")
  entry.update(changes)
  return entry


def check_keys(section: Any, known: Any, prefix: str) -> None:
  """Raises UsageError for a key of `section` that `known` does not have."""
  for key in section:
    if key not in known:
      raise UsageError(unknown_key_message(f"{prefix}.{key}", list(known)))


def unknown_key_message(name: str, known: list[str] | None = None) -> str:
  """Says that a key is unknown, and what it is called here if it is known."""
  defaults = default_config()
  section, _, key = name.rpartition(".")
  if name in OLD_NAMES or (not known and key in OLD_NAMES):
    new = OLD_NAMES.get(name) or OLD_NAMES[key]
    return f"config key {name!r} is called {new!r} here"
  if known is None:
    known = list(defaults.get(section, {})) if section else list(defaults)
  where = [s for s in defaults if s != "evals" and key in defaults[s]]
  hint = f" (did you mean '{where[0]}.{key}'?)" if where else suggest(
      key, known)
  listing = f"; known: {', '.join(known)}" if known else ""
  return f"config has no key {name!r}{hint}{listing}"


def resolve(config: ConfigDict) -> ConfigDict:
  """Checks a config, fills in what it leaves out, and returns a copy.

  Raises:
    UsageError: an unknown section or key, or values that cannot work.
  """
  resolved = default_config()
  for section in config:
    if section not in resolved:
      raise UsageError(unknown_key_message(section, list(resolved)))
    if section == "evals":
      continue
    check_keys(config[section], resolved[section], section)
    _fill(resolved[section], config[section], section)
  for name, entry in config.evals.items() if "evals" in config else ():
    known = eval_config()
    check_keys(entry, known, f"evals.{name}")
    _fill(known, entry, f"evals.{name}")
    resolved.evals[name] = known
  _check_values(resolved)
  return resolved


def _fill(known: ConfigDict, given: ConfigDict, section: str) -> None:
  """Sets the keys of a section; UsageError for a value of another type."""
  for key, value in given.items():
    try:
      known[key] = value
    except (TypeError, ValueError) as error:
      raise UsageError(f"config.{section}.{key}={value!r}: {error}") from None


def _check_values(config: ConfigDict) -> None:
  """Raises UsageError for values that no run can have."""
  train, data = config.train, config.data
  if bool(train.steps) == bool(train.epochs):
    raise UsageError(
        f"set one of config.train.steps ({train.steps}) and "
        f"config.train.epochs ({train.epochs}), not both or neither; "
        "0 clears one")
  for key, value in (
      ("train.steps", train.steps), ("train.epochs", train.epochs),
      ("data.batch_size", data.batch_size), ("train.log_every",
                                             train.log_every),
      ("train.accumulate", train.accumulate), ("checkpoint.keep",
                                               config.checkpoint.keep)):
    clears = value == 0 and key in ("train.steps", "train.epochs")
    if value is not None and value <= 0 and not clears:
      raise UsageError(f"config.{key}={value} must be positive")
  if data.batch_size % train.accumulate:
    raise UsageError(
        f"config.data.batch_size={data.batch_size} must be a multiple of "
        f"config.train.accumulate={train.accumulate}")


def total_steps(config: ConfigDict, num_examples: int) -> int:
  """Returns the number of updates, from train.steps or train.epochs."""
  if config.train.steps:
    return config.train.steps
  return max(1, round(
      config.train.epochs * num_examples / config.data.batch_size))


def image_size(config: ConfigDict) -> tuple[int, int]:
  """Returns (height, width) of the training pictures in pixels."""
  size = config.data.image_size
  return (size, size) if isinstance(size, int) else tuple(size)
