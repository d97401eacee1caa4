"""Annotation files, as other programs read and write them."""
