"""Recordings of noise for data sets, and the problems of these as text."""

import numpy as np
import soundfile


def audio(path, seconds=1.0, seed=0, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (int(seconds * 8000), channels)).astype(np.float32)
    soundfile.write(path, noise, 8000)


def whats(problems):
    return "\n".join(map(str, problems))
