"""The word that a mistyped one is answered with."""

import pytest

from vit_jax.errors import suggest


@pytest.mark.parametrize(("word", "known", "answer"), [
    # Of words with as many letters in common, the one with fewer errors.
    ("cifar11", ("cifar10_1", "cifar10", "cifar100"), "cifar10"),
    ("checkpont", ("checkpoint", "batch_size"), "checkpoint"),
    ("B/61", ("B/16", "B/32", "L/16"), "B/16"),
    ("zebra", ("B/16", "L/16"), None),
    ("x", (), None)])
def test_the_word_with_the_fewest_typing_errors(word, known, answer):
  assert suggest(word, known) == (
      f" (did you mean {answer!r}?)" if answer else "")
