"""The verbs of `python -m vit_jax`, one module each.

A verb is a module with

  docstring             what --help says, with an example that can be pasted
  HELP                  one line for the list of verbs (a literal)
  add_arguments(parser) declares the arguments
  run(args)             does the work; returns the exit code, None for 0

or, where it reads flags of its own, with HELP and main(argv) instead of the
last two. To add a verb, write the module and name it in `vit_jax.__main__`.
Import jax and what else is slow inside `run`, so that --help is quick.
"""
