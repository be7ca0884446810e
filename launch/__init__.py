"""Run vit_jax on Cloud TPU from a laptop; standard library only."""
