"""What is written goes where the command says, or nowhere."""

import pytest

from vit_jax import __main__
from vit_jax.errors import UsageError
from vit_jax.weights.convert import write_weights

PLACES = ("gs://bucket/out/x", "s3://bucket/x", "https://example.org/x")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("words", [
    ("convert", "a.npz", "OUT.npz"),
    ("export", "a.npz", "OUT.stablehlo"),
    ("features", "--checkpoint=a.npz", "--out=OUT.npz", "a.jpg"),
    ("analyze", "--checkpoint=a.npz", "--out=OUT", "a.jpg"),
    ("layers", "a.npz", "b.npz", "--source=digits", "--out=OUT"),
    ("inspect", "B/16", "--diagram=OUT.svg"),
    ("benchmark", "--out=OUT.json"),
    ("benchmark", "--figure=OUT.png"),
    ("compile", "--table", "--out=OUT.md"),
    ("paper", "figures", "--out=OUT"),
    ("paper", "claims", "--out=OUT.md"),
    ("study", "heads", "--workdir=runs", "--record=OUT.json"),
    ("prepare", "mnist", "--data_dir=OUT")])
def test_only_a_run_is_written_to_a_bucket(
    words, place, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert __main__.main([word.replace("OUT", place) for word in words]) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert place in line and ("only local files" in line or "local disk" in line)
  assert not list(tmp_path.iterdir())


def test_a_file_url_is_a_local_file(tmp_path, capsys):
  place = f"file://{tmp_path}/x.svg"
  assert __main__.main(["inspect", "Ti/16", f"--diagram={place}"]) == 0
  assert (tmp_path / "x.svg").read_text().startswith("<")
  assert f"wrote {tmp_path}/x.svg" in capsys.readouterr().out


def test_from_python_too(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UsageError, match="only local files"):
    write_weights("gs://bucket/x.safetensors", {}, {}, "timm")
  monkeypatch.setenv("VIT_JAX_CACHE", "gs://bucket/cache")
  assert __main__.main(["inspect", "imagenet21k/ViT-B_16"]) == 2
  assert not list(tmp_path.iterdir())
