"""Released files: what there is, where it lies, how it is downloaded."""
