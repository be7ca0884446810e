"""Images in, batches out: sources, decoding, transforms and the loader."""
