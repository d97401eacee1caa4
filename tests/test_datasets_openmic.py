"""OpenMIC-2018, on small trees laid out as the release is."""

import pickle
import random
import shutil
from collections import Counter

import numpy as np
import pytest
from made_openmic import (
    AGAIN,
    CLASSES,
    COUNT,
    KEYS,
    TEST,
    TRAIN,
    key,
    labels,
    openmic,
    pickled_keys,
    replace_member,
    told,
    write_arrays,
    write_release,
)
from pydantic import ValidationError

from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """``openmic-2018``; the keys are an array of objects, as in the release."""
    root = tmp_path_factory.mktemp("data") / "openmic-2018"
    write_release(root)
    return root


@pytest.fixture
def copy(released, tmp_path):
    return shutil.copytree(released, tmp_path / "openmic-2018")


# the release


@pytest.mark.parametrize("soft", [True, False])
def test_tracks(released, soft):
    data = openmic(released, soft=soft)
    assert told(data) == []
    assert data.notices == []
    assert (data.classes, data.licence) == ({"tags": CLASSES}, "CC-BY-4.0")
    tracks = {track.id: track for track in data.check()[0]}
    assert list(tracks) == TRAIN + TEST
    for name, probabilities, known in zip(KEYS, *labels(), strict=True):
        annotation = tracks[name].annotation
        for label, probability, labelled in zip(CLASSES, probabilities, known, strict=True):
            assert (label in annotation.tags.unjudged) == (not labelled)
            tag = Tag(label, probability) if soft else Tag(label)
            assert (tag in annotation.tags) == (labelled and probability >= (0.25 if soft else 0.5)), "there are quarters"
            assert (tag in tracks[name].truth.tags) == (labelled and probability >= 0.5)
    assert {track.soft for track in tracks.values()} == {soft}
    assert openmic(released).config.soft, "as published"
    assert any(0.5 in probabilities[known] for probabilities, known in zip(*labels(), strict=True))
    assert {name for name, track in tracks.items() if track.split == "test"} == set(TEST)
    assert tracks[KEYS[0]].audio == released / f"audio/{KEYS[0][:3]}/{KEYS[0]}.ogg"
    assert (tracks[KEYS[0]].info.sample_rate, tracks[KEYS[0]].info.channels) == (44100, 2)


@pytest.mark.parametrize("keys", [np.array(KEYS), np.array(KEYS, dtype=np.bytes_)])
def test_keys_may_be_stored_as_text(copy, released, keys):
    write_arrays(copy, sample_key=keys)
    assert [(t.id, t.annotation) for t in openmic(copy).check()[0]] == [
        (t.id, t.annotation) for t in openmic(released).check()[0]
    ]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_keys_may_be_pickled_by_any_numpy(copy, protocol, module):
    payload = pickle.dumps(np.array(KEYS, dtype=object), protocol=protocol)
    # The older name is shorter by one character, which a frame and a short string count.
    if module == "numpy.core.multiarray" and protocol < 4:
        payload = payload.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    replace_member(copy / "openmic-2018.npz", "sample_key.npy", pickled_keys(payload))
    assert told(openmic(copy)) == []


def test_validation_is_drawn_from_training_key_by_key(released, copy):
    splits = {track.id: track.split for track in openmic(released).check()[0]}
    assert {name for name, split in splits.items() if split != "test"} == set(TRAIN)
    assert 0 < Counter(splits.values())["validation"] < 15
    assert {track.id: track.split for track in openmic(released, seed=1).check()[0]} != splits
    (copy / "partitions/split01_train.csv").write_text("\n".join(TRAIN[5::-1]))
    fewer = {track.id: track.split for track in openmic(copy).check()[0]}
    assert fewer.items() < splits.items()
    names = [key(number) for number in range(5000)]
    for share in (0.15, 0.4):
        data = openmic(released, validation_share=share)
        assert sum(data._split(name, "train") == "validation" for name in names) / 5000 == pytest.approx(share, abs=0.02)
        assert {data._split(name, "test") for name in names} == {"test"}
    for share in (0, 1):
        with pytest.raises(ValidationError, match="validation_share"):
            openmic(released, validation_share=share)


# a pickle from a stranger


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("inside", ["instead of the array", "in the array", "in its state"])
def test_a_malicious_pickle_does_not_run(copy, tmp_path, inside):
    trap, keys = Malicious(tmp_path / "trap"), np.array(KEYS, dtype=object)
    if inside == "instead of the array":
        payload = pickle.dumps(trap)
    elif inside == "in the array":
        keys[3] = trap
        payload = pickle.dumps(keys)
    else:
        payload = pickle.dumps((keys, {"a": [trap]}), protocol=2)
    replace_member(copy / "openmic-2018.npz", "sample_key.npy", pickled_keys(payload))
    [problem] = told(openmic(copy))
    assert problem.startswith(f"{copy / 'openmic-2018.npz'}: sample_key wants 'io.open' to be called, which no list of ")
    assert not (tmp_path / "trap").exists()
    np.load(copy / "openmic-2018.npz", allow_pickle=True)["sample_key"]
    assert (tmp_path / "trap").exists()  # the trap is one


@pytest.mark.parametrize("name", ["Y_true", "Y_mask"])
def test_pickles_elsewhere_are_not_read(copy, tmp_path, name):
    replace_member(copy / "openmic-2018.npz", f"{name}.npy", pickled_keys(pickle.dumps(Malicious(tmp_path / "trap"))))
    assert told(openmic(copy)) == [f"{copy / 'openmic-2018.npz'}: is not an NPZ file, or a damaged one {AGAIN}"]
    assert not (tmp_path / "trap").exists()


def test_what_is_not_a_list_of_strings_is_told(copy):
    path = copy / "openmic-2018.npz"
    wrong = f"{path}: sample_key is no list of strings {AGAIN}"
    write_arrays(copy, sample_key=np.array([*KEYS[1:], 3], dtype=object))
    assert told(openmic(copy)) == [wrong]
    for value in ("text", KEYS, np.ndarray, np.dtype("O")):
        replace_member(path, "sample_key.npy", pickled_keys(pickle.dumps(value)))
        assert told(openmic(copy)) == [wrong]
    for array in (np.array(KEYS).reshape(2, -1), np.array(KEYS[0])):
        write_arrays(copy, sample_key=array)
        assert told(openmic(copy)) == [wrong]


def test_damaged_files_are_told_whatever_the_damage(copy):
    path, rng = copy / "openmic-2018.npz", random.Random(0)
    whole = path.read_bytes()
    payload = pickle.dumps(np.array(KEYS, dtype=object))
    for _ in range(60):
        damaged = bytearray(payload)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.choice(
                b"\x80\x95.RbcSUVNKJM]()tiop\x93\x94\x81\x85\x86\x87q\x00\x01\xff"
            )
        replace_member(path, "sample_key.npy", pickled_keys(bytes(damaged)))
        assert all(line.startswith(str(copy)) for line in told(openmic(copy)))
    replace_member(path, "Y_true.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((\n")  # numpy lets a TokenError through
    assert told(openmic(copy)) == [f"{path}: is not an NPZ file, or a damaged one {AGAIN}"]
    for _ in range(40):
        cut = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(5):
            if cut:
                cut[rng.randrange(len(cut))] = rng.randrange(256)
        path.write_bytes(cut)
        assert all(line.startswith(str(copy)) for line in told(openmic(copy)))


# problems


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"Y_true": None}, "lacks the array 'Y_true'"),
        ({"sample_key": None}, "lacks the array 'sample_key'"),
        ({"Y_true": labels()[0][1:]}, f"does not fit together: {COUNT} keys, Y_true [{COUNT - 1}, 4], Y_mask [{COUNT}, 4]"),
        ({"Y_mask": labels()[1][:, 1:]}, f"does not fit together: {COUNT} keys, Y_true [{COUNT}, 4], Y_mask [{COUNT}, 3]"),
        ({"sample_key": np.array(KEYS[1:])}, f"does not fit together: {COUNT - 1} keys"),
        ({"Y_true": labels()[0] + 0.5}, "Y_true must hold probabilities"),
        ({"Y_true": labels()[0] * np.nan}, "Y_true must hold probabilities"),
        ({"Y_mask": labels()[1].astype(float)}, "Y_true must hold probabilities and Y_mask truth values"),
        ({"Y_true": labels()[0].astype(str)}, "Y_true must hold probabilities"),
        ({"sample_key": np.array([KEYS[1], *KEYS[1:]])}, f"holds {KEYS[1]} more than once"),
    ],
)
def test_arrays_that_do_not_fit(copy, changed, what):
    write_arrays(copy, **changed)
    [problem] = told(openmic(copy))
    assert problem.startswith(f"{copy / 'openmic-2018.npz'}: {what}")
    assert problem.endswith(AGAIN)


def test_probabilities_of_what_is_unlabelled_do_not_matter(copy, released):
    truth, mask = labels()
    truth[~mask] = np.nan
    write_arrays(copy, Y_true=truth)
    assert [t.annotation for t in openmic(copy).check()[0]] == [t.annotation for t in openmic(released).check()[0]]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "is not a JSON file"),
        ('["accordion"]', "does not give each name a column of its own"),
        ("{}", "does not give each name a column of its own"),
        ('{"a": 0, "b": 2}', "does not give each name a column of its own"),
        ('{"a": 0, "b": [1]}', "does not give each name a column of its own"),
        ('{"a": 0, "b": true}', "does not give each name a column of its own"),
        ('{"a": 0, "b": 1}', "names 2 classes, but openmic-2018.npz holds 4"),
    ],
)
def test_wrong_class_maps(copy, text, what):
    (copy / "class-map.json").write_text(text)
    [problem] = told(openmic(copy))
    assert problem.startswith(f"{copy / 'class-map.json'}: {what}")


def test_missing_files_say_where_to_get_them(copy):
    data = openmic(copy / "nowhere")
    source = "(get openmic-2018-v1.0.0.tgz from zenodo.org/records/1432913 and unpack it)"
    assert told(data) == [f"{copy / 'nowhere'}: no such folder {source}"]
    assert data.classes == {"tags": ()}
    names = ["partitions/split01_train.csv", "partitions/split01_test.csv", "class-map.json", "openmic-2018.npz"]
    for name in names:
        (copy / name).unlink()
    assert told(openmic(copy)) == [f"{copy / name}: cannot be read: No such file or directory {source}" for name in names]


def test_partitions_that_are_wrong(copy):
    train, test = (copy / f"partitions/split01_{name}.csv" for name in ("train", "test"))
    test.write_text("\n".join([*TEST, TRAIN[1], TRAIN[0]]))
    [problem] = told(openmic(copy))
    assert problem.startswith(f"{test}: 2 clips are in the training partition too, first {min(TRAIN[:2])} (keep each in one")
    train.write_bytes(b"\xff\xfe")
    test.write_text("\n")
    assert told(openmic(copy)) == [f"{train}: is not a text file {AGAIN}", f"{test}: lists no clip {AGAIN}"]


def test_clips_that_are_missing_broken_or_unknown(copy):
    audio = copy / "audio"
    for name in (TRAIN[4], TRAIN[2]):
        (audio / name[:3] / f"{name}.ogg").unlink()
    broken = audio / TEST[0][:3] / f"{TEST[0]}.ogg"
    broken.write_bytes(b"OggS" + b"\0" * 100)
    train = copy / "partitions/split01_train.csv"
    train.write_text("\n".join([*TRAIN[:-3], "155311_453120", "155312_1"]))
    data = openmic(copy)
    problems = told(data)
    assert len(problems) == 3
    assert problems[0].startswith(f"{broken}: cannot be read as audio")
    assert problems[1] == f"{audio}: 2 of {COUNT} recordings are missing, first {TRAIN[2][:3]}/{TRAIN[2]}.ogg {AGAIN}"
    lacks = f"lacks 2 of the {COUNT - 1} clips of the partitions, first 155311_453120"
    assert problems[2] == f"{copy / 'openmic-2018.npz'}: {lacks} {AGAIN}"
    idle = sorted(set(TRAIN[-3:]), key=KEYS.index)
    assert list(map(str, data.notices)) == [
        f"{copy / 'openmic-2018.npz'}: 3 clips are in no partition and are left out, first {idle[0]}"
    ]
    with pytest.raises(UserError, match="are missing, first"):
        data.tracks("train")
