from vit_jax.errors import DataError, UsageError, abbreviate


def test_abbreviate_counts_the_rest():
  assert abbreviate(list("ab")) == "a, b"
  assert abbreviate(list("abcdefg")) == "a, b, c, d and 3 more"


def test_a_message_is_one_line_whatever_a_file_s_name_holds():
  error = DataError("a\nb\x1b[2J\u202e\udc80.png: é 漢 cannot be read")
  assert str(error) == (
      r"a\nb\x1b[2J\u202e" + "\udc80.png: é 漢 cannot be read")
  assert str(UsageError("plain 'text'")) == "plain 'text'"
