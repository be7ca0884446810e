from vit_jax.errors import abbreviate


def test_abbreviate_counts_the_rest():
  assert abbreviate(list("ab")) == "a, b"
  assert abbreviate(list("abcdefg")) == "a, b, c, d and 3 more"
