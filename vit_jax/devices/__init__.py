"""Chips, meshes, processes, and how programs are compiled for them."""
