"""Pictures in, batches out: sources, decoding, transforms and the loader."""
