"""Flags that absl gave to training: each works or says what took its place."""

import pytest

from vit_jax.cli import arguments, train
from vit_jax.errors import UsageError


def parse(*words):
  parser = arguments.Parser("train", train.__doc__)
  train.add_arguments(parser)
  return parser.parse(words)


PLAIN = parse("--config=a.py:b", "--workdir=x", "--config.model.scan",
              "--noconfig.train.report", "--num_processes=2")


@pytest.mark.parametrize("words", [
    ("-config=a.py:b", "-workdir=x", "-config.model.scan",
     "-noconfig.train.report", "-num_processes=2"),
    ("-config", "a.py:b", "-workdir", "x", "-config.model.scan",
     "-noconfig.train.report", "-num_processes", "2"),
    ("--logtostderr", "--config=a.py:b", "-alsologtostderr=true", "--workdir=x",
     "--config.model.scan", "--nopdb", "--noconfig.train.report",
     "--noshowprefixforinfo", "--num_processes=2"),
], ids=["one dash", "one dash and words", "no effect"])
def test_absl_words_mean_the_same(words):
  parsed = parse(*words)
  assert parsed.workdir == PLAIN.workdir == "x"
  assert parsed.num_processes == PLAIN.num_processes == 2
  assert parsed.config_words == PLAIN.config_words
  assert not parse("--config=a.py").config_words == PLAIN.config_words


def test_a_negative_number_stays_a_value():
  assert parse("--config.train.steps", "-3").config_words == [
      "--config.train.steps=-3"]


@pytest.mark.parametrize(
    "word", ["-help", "--helpshort", "--helpfull", "--helpxml", "-?"])
def test_every_help_is_the_help(word, capsys):
  with pytest.raises(SystemExit) as ended:
    parse(word)
  assert ended.value.code == 0
  assert "python -m vit_jax train --config=" in capsys.readouterr().out


@pytest.mark.parametrize("word, advice", [
    ("--verbosity=1", "standard error"),
    ("-v=1", "standard error"),
    ("--log_dir=logs", "2> FILE"),
    ("--stderrthreshold=info", "standard error"),
    ("--logger_levels=a:INFO", "standard error"),
    ("--pdb", "python -m pdb -m vit_jax train"),
    ("--pdb_post_mortem", "python -m pdb"),
    ("--run_with_pdb=true", "python -m pdb"),
    ("--run_with_profiling", "python -m cProfile -o FILE -m vit_jax train"),
    ("--profile_file=f", "python -m cProfile"),
    ("--use_cprofile_for_profiling", "python -m cProfile"),
    ("--only_check_args", "leave it out"),
    ("--only_check_flags", "leave it out"),
    ("--undefok=a,b", "remove it"),
    ("--jax_platforms=cpu", "JAX_PLATFORMS=cpu before the command"),
    ("--jax_debug_nans", "JAX_DEBUG_NANS=VALUE before the command"),
])
def test_a_flag_that_is_gone_says_what_to_do(word, advice):
  with pytest.raises(UsageError) as raised:
    parse("--config=a.py", word)
  message = str(raised.value)
  assert message.startswith(f"{word}: ")
  assert advice in message
  assert "\n" not in message


def test_a_flag_file_stands_for_its_lines(tmp_path):
  (tmp_path / "inner").write_text("-num_processes=2\n")
  (tmp_path / "flags").write_text(
      f"# a comment\n--config=a.py:b\n\n--workdir=x\n// another\n"
      f"--config.model.scan\n--noconfig.train.report\n"
      f"--flagfile={tmp_path}/inner\n")
  for words in ([f"--flagfile={tmp_path}/flags"],
                ["-flagfile", f"{tmp_path}/flags"]):
    assert vars(parse(*words)).items() >= {
        "workdir": "x", "num_processes": 2,
        "config_words": PLAIN.config_words}.items()


def test_a_flag_file_that_cannot_be_read_is_one_line(tmp_path):
  with pytest.raises(UsageError, match="--flagfile=.*no cannot be read"):
    parse(f"--flagfile={tmp_path}/no")
  with pytest.raises(UsageError, match="--flagfile=.* cannot be read"):
    parse("--flagfile")
  (tmp_path / "self").write_text(f"--flagfile={tmp_path}/self\n")
  with pytest.raises(UsageError, match="includes itself"):
    parse(f"--flagfile={tmp_path}/self")
