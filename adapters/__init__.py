"""Everything that is trained or that surrounds what is trained; one folder per kind, one file per thing."""
