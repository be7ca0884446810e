"""File formats of arrays: which one a file is, .npz, .safetensors."""
