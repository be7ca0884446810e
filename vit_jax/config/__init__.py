"""Configs: every key and its default, finding the files, what recipes share."""
