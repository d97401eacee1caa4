"""The arrays and keys of a small OpenMIC-2018, written as the release has them."""

import io
import json
import zipfile

import numpy as np
import soundfile

from etude.adapters.datasets.openmic2018 import Openmic2018

CLASSES = ("accordion", "banjo", "bass", "mallet_percussion")
COUNT = 60
AGAIN = "(unpack the data set again)"


def key(number):
    return f"{number:06d}_{number * 3840}"


KEYS = [key(11 * number + 46000) for number in range(COUNT)]
TRAIN, TEST = KEYS[::3] + KEYS[1::3], KEYS[2::3]


def labels():
    rng = np.random.default_rng(0)
    return rng.integers(0, 5, (COUNT, len(CLASSES))) / 4, rng.random((COUNT, len(CLASSES))) < 0.3


def write_arrays(root, **changed):
    truth, mask = labels()
    arrays = {"X": np.zeros((COUNT, 10, 128), np.uint8), "Y_true": truth, "Y_mask": mask}
    arrays |= {"sample_key": np.array(KEYS, dtype=object)} | changed
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(root / "openmic-2018.npz", **kept)


def write_release(root):
    """``openmic-2018``; the keys are an array of objects, as in the release."""
    (root / "partitions").mkdir(parents=True)
    for number, name in enumerate(KEYS):
        folder = root / "audio" / name[:3]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}.ogg", np.random.default_rng(number).uniform(-0.5, 0.5, (4410, 2)), 44100)
    write_arrays(root)
    (root / "class-map.json").write_text(json.dumps({name: index for index, name in reversed([*enumerate(CLASSES)])}))
    (root / "partitions/split01_train.csv").write_text("\n".join(TRAIN) + "\n")
    (root / "partitions/split01_test.csv").write_text("\r\n".join(TEST) + "\r\n")


def replace_member(path, name, content):
    with zipfile.ZipFile(path) as archive:
        members = {item: archive.read(item) for item in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for item, old in members.items():
            archive.writestr(item, content if item == name else old)


def pickled_keys(payload):
    """``sample_key.npy`` whose pickle is ``payload``."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (COUNT,)})
    return header.getvalue() + payload


def openmic(root, **fields):
    return Openmic2018(Openmic2018.Config(name="openmic2018", root=str(root), **fields))


def told(dataset):
    return [str(problem) for problem in dataset.check()[1]]
