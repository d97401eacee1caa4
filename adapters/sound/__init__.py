"""Audio files, windows over them, and what is done to waveforms."""
