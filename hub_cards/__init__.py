"""The model card of an artifact: template and renderer."""
