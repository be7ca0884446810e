"""The verbs of `python -m vit_jax`, one module each.

A verb is a module with

  docstring              the text of --help, with an example to paste
  add_arguments(parser)  declares its arguments (`vit_jax.cli.arguments`)
  run(args)              does the work; returns the exit code, None for 0

To add a verb, write the module and add one line to `vit_jax.__main__.VERBS`.
Import jax and other slow modules inside `run`, so that --help is quick.
"""
