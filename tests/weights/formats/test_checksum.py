import hashlib

from vit_jax.weights.formats.checksum import sha256


def test_sha256_is_that_of_hashlib(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(b"weights")
  assert sha256(path) == hashlib.sha256(b"weights").hexdigest()
