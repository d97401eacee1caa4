"""What is kept on disk: whole files and folders, the cache, the feature store."""
