"""Pretraining a small backbone from scratch on isolated notes."""
