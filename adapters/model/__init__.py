"""A backbone, a method, a layer mix and heads, put together."""
