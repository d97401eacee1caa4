"""Guzheng_Tech99 in small, in each of the layouts in which it is released."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from made_datasets import audio

from etude.adapters.datasets.guzheng_tech99 import GuzhengTech99

SPLITS = ("train", "validation", "test")
RAW = ["chanyin", "boxian", "shanghua", "xiahua", "huazhi", "guazou", "lianmo", "liantuo", "yaozhi", "dianyin"]
HUB = ["chanyin", "boxian", "shanghua", "xiahua", "huazhi/guazou/lianmo/liantuo", "yaozhi", "dianyin"]
COMBINED = "huazhi/guazou/lianmo/liantuo"
LABEL = [("onset_time", pa.float32()), ("offset_time", pa.float32()), ("IPT", pa.int64()), ("note", pa.int8())]


def guzheng(root):
    return GuzhengTech99(GuzhengTech99.Config(name="guzheng_tech99", root=str(root)))


def write_files(root, layout=("data", "labels"), splits=SPLITS, stems=("b", "a.d", "a", "A 1"), raw=RAW):
    """Stem ``k`` of a split has ``k + 1`` seconds of audio and one label of technique ``k``."""
    for number, split in enumerate(splits):
        (root / layout[1] / split).mkdir(parents=True)
        for k, stem in enumerate(stems):
            audio(root / layout[0] / split / f"{stem}.flac", k + 1, 10 * number + k)
            (root / layout[1] / split / f"{stem}.csv").write_text(
                f"onset_time,offset_time,IPT,note\n0.0,{k + 0.9},{raw[k]},{60 + k}\n"
            )
    return guzheng(root)


def sound(seconds, seed, format="FLAC"):
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 8000))
    soundfile.write(buffer, noise, 8000, format=format)
    return buffer.getvalue()


def metadata(names):
    """What the library ``datasets`` writes into the schema."""
    ipt = {"num_classes": len(names), "names": names, "_type": "ClassLabel"}
    values = {"onset_time": {"dtype": "float32", "_type": "Value"}, "note": {"dtype": "int8", "_type": "Value"}}
    label = {"feature": {**values, "IPT": ipt}, "_type": "Sequence"}
    features = {"audio": {"sampling_rate": 44100, "_type": "Audio"}, "mel": {"_type": "Image"}, "label": label}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def hub_table(split, names=HUB, by_field=True, seconds=1.0):
    """As the Hub's: row ``k`` has ``k + seconds`` seconds and two events of technique ``k``, one of which touches the end."""
    first = SPLITS.index(split) * 10
    sounds = [{"bytes": sound(k + seconds, first + k), "path": f"{split}_{k}.flac"} for k in range(3)]
    events = [[(0.0, 0.5, k, 60 + k), (0.5, k + seconds, k, 61 + k)] for k in range(3)]
    fields = [name for name, _ in LABEL]
    if by_field:
        labels = [dict(zip(fields, map(list, zip(*own, strict=True)), strict=True)) for own in events]
        kind = pa.struct([(name, pa.list_(kind)) for name, kind in LABEL])
    else:
        labels = [[dict(zip(fields, event, strict=True)) for event in own] for own in events]
        kind = pa.list_(pa.struct(LABEL))
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "audio": pa.array(sounds, image),
        "mel": pa.array([{"bytes": b"jpg", "path": None}] * 3, image),
        "label": pa.array(labels, kind),
    }
    return pa.table(columns).replace_schema_metadata(metadata(names) if names else None)


def write_arrow(path, table, stream=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = pa.ipc.new_stream if stream else pa.ipc.new_file
    with writer(str(path), table.schema) as out:
        out.write_table(table)


def write_parquet(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, write_batch_size=1)  # else a page would hold up to 1,024 rows


def write_hub(root, write=write_arrow, name="default/{}/data-00000-of-00001.arrow", **fields):
    """As ``hf download`` leaves it."""
    for split in SPLITS:
        write(root / name.format(split), hub_table(split, **fields))
    (root / "README.md").write_text("# Dataset Card\n")
    return guzheng(root)
