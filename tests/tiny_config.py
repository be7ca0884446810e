"""A run of seconds on the digits, with everything on that could go wrong."""

from vit_jax.config.schema import default_config, eval_config


def get_config(_: str = ""):
  config = default_config()
  config.model.update(dict(
      variant="Ti/16", patch_size=4, width=32, depth=2, mlp_dim=48,
      num_heads=4, dropout=0.1, stochastic_depth=0.1))
  config.data.update(dict(
      source="digits", image_size=8, batch_size=32, num_threads=2,
      preprocess="random_crop({size}, pad=1)"))
  config.optim.update(dict(
      learning_rate=3e-3, warmup_steps=5, weight_decay=0.1, clip_norm=1.0))
  config.train.update(dict(
      steps=24, log_every=1, eval_every=10, ema_decay=0.9, report=False))
  config.checkpoint.update(dict(save_every=5, keep=2))
  config.evals.val = eval_config(split="val")
  return config
