"""Weights on disk: released, big_vision and timm files, read and written."""
