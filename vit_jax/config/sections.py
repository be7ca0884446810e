"""Every key of a config, with its default.

A section's class names the function that takes its keys and explains them; the
function's own defaults refer to the class, so that each default is written
once. Of `data` and `train`, which several functions need, the class itself is
passed on.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network: `vit_jax.models.variants.make_model`, `VisionTransformer`."""

  variant: str | None = None  #: the file's in init.path, or else B/16
  num_classes: int | None = None  #: those of the data
  patch_size: int | None = None
  width: int | None = None
  depth: int | None = None
  mlp_dim: int | None = None
  num_heads: int | None = None
  head_dim: int | None = None  #: width / num_heads
  pooling: str = "cls"
  pre_logits: bool = False
  registers: int = 0
  distilled: bool = False
  head_bias_init: float = 0.0
  posemb: str = "1d"
  posemb_at: str = "stem"
  block: str = "global"
  dropout: float = 0.0
  attention_dropout: float = 0.0
  stochastic_depth: float = 0.0
  qkv_bias: bool = True
  qk_norm: bool = False
  layer_scale: bool = False
  gated: bool = False
  pre_norm: bool = False
  final_norm: str = "tokens"
  gelu: str = "tanh"
  ln_eps: float = 1e-6
  stem_eps: str = "released"
  dtype: str = "auto"
  grad_dtype: str = "compute"
  attention: str = "auto"
  remat: str = "none"
  scan: bool = False


@dataclasses.dataclass(frozen=True)
class InitConfig:
  """The weights to start from: `vit_jax.weights.load.init_params`."""

  path: str = ""
  head: str = "reset"
  pre_logits: str = "drop"
  method: str = "auto"


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The training images: `vit_jax.training.setup.open_batches`."""

  source: str = "digits"
  data_dir: str = ""
  split: str = "train"
  image_size: int | tuple[int, int] | None = 224  #: None: as in init.path
  batch_size: int = 512
  preprocess: str = "inception_crop({size})|flip_lr"
  num_threads: int = -1
  num_workers: int = -1
  max_broken: int = 0


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """The loss: `vit_jax.objectives.make_loss` and `trained_model`."""

  name: str = "classification"
  loss: str = "softmax"
  label_smoothing: float = 0.0
  mixup: float = 0.0
  cutmix: float = 0.0
  class_weights: str | tuple[float, ...] = ()
  target: str = "mean_colour"
  corrupted: float = 0.5


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """Optimiser and schedule: `vit_jax.optim.make_optimizer`."""

  name: str = "adam"
  learning_rate: float = 1e-3
  schedule: str = "cosine"
  warmup_steps: int = 500
  warmup_share: float | None = None  #: of all steps, for warmup_steps
  linear_end: float = 1e-5
  boundaries: tuple[float, ...] = ()
  weight_decay: float = 0.0
  decay: str = "kernels"
  decay_at: str = "update"
  clip_norm: float | None = None
  beta1: float = 0.9
  beta2: float = 0.999
  eps: float = 1e-8
  momentum: float = 0.9
  momentum_dtype: str = "auto"
  frozen: tuple[str, ...] = ()
  layer_decay: float | None = None


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """The mesh of devices: `vit_jax.devices.sharding.make_mesh`."""

  data: int = -1
  fsdp: int = 1
  tensor: int = 1


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """The run: `vit_jax.training.program` and `vit_jax.training.loop`."""

  steps: int | None = None
  epochs: float | None = None
  seed: int = 0
  log_every: int = 50
  eval_every: int = 1000
  accumulate: int = 1
  ema_decay: float | None = None
  early_stopping: str = ""
  patience: int = 5
  min_delta: float = 0.0
  result: str = "last"
  profile_steps: tuple[int, ...] = ()
  profile_hosts: str = "first"
  hang_minutes: float = 10.0
  report: bool = True
  wandb: str = ""
  xla: str = "none"


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """Checkpoints: `vit_jax.training.checkpoint.Checkpointer`."""

  save_every: int = 1000
  save_minutes: float = 10.0
  keep: int = 2
  keep_every: int | None = None
  keep_best: str = ""


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """One entry of `config.evals`: `vit_jax.evaluators.make_evaluator`.

  An empty source or data_dir is that of the training data, and so is a
  batch_size of 0. EVALUATORS has the keys of each type.
  """

  type: str = "accuracy"
  source: str = ""
  data_dir: str = ""
  split: str = "test"
  preprocess: str = "resize({size})"
  batch_size: int = 0
  flip: bool = False
  at_end: bool = False  #: once, after the last step, to guide no choice


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
SECTIONS: dict[str, type[Any]] = {
    "model": ModelConfig,
    "init": InitConfig,
    "data": DataConfig,
    "objective": ObjectiveConfig,
    "optim": OptimConfig,
    "mesh": MeshConfig,
    "train": TrainConfig,
    "checkpoint": CheckpointConfig,
}
