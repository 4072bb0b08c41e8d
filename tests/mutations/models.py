"""Checkpoints and exported models to be spoilt."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from numpy.random import Generator
from safetensors import safe_open
from safetensors.torch import save_file as save_tensors
from torch import Tensor, nn

import geqlib
import geqlib.models
from geqlib.files.checkpoint import KEY, digest, model_header
from tests.mutations.mutators import BINARY, changed_leaf
from tests.mutations.reader import Payload, Reader, same_arrays

NETWORK = {"in_scalars": 2, "in_vectors": 0, "out_scalars": 1, "out_vectors": 0}
NETWORK |= {"channels": 4, "basis": 4, "layers": 1, "orientations": 6}
DESCRIPTION = {"class_path": "geqlib.models.PONITA", "init_args": NETWORK}


def network() -> nn.Module:
    torch.manual_seed(0)
    return geqlib.models.PONITA(**NETWORK)


def write_checkpoint() -> None:
    state = {f"model.{key}": value for key, value in network().state_dict().items()}
    task = {"_class_path": "geqlib.train.RegressionTask", "model": DESCRIPTION}
    data = {"cutoff": 5.0}
    torch.save(
        {
            "pytorch-lightning_version": "2.6.6",
            "epoch": 3,
            "state_dict": state,
            "hyper_parameters": task,
            "datamodule_hyper_parameters": data,
        },
        "run.ckpt",
    )


def write_model() -> None:
    weights = network().state_dict()
    save_tensors(weights, "run.geqlib", model_header(DESCRIPTION, weights, 5.0))


def load() -> dict[str, Tensor]:
    (path,) = (p for p in Path().iterdir() if p.stem == "run")
    return geqlib.load(path).state_dict()


def weights_fit(actual: Any, sound: Any) -> None:
    for key, value in actual.items():
        assert value.shape == sound[key].shape and value.dtype == sound[key].dtype, key


def other_contents(raw: bytes, rng: Generator) -> bytes:
    """A checkpoint that is whole, with something else in it."""
    content = torch.load(io.BytesIO(raw), weights_only=True)
    part = ("hyper_parameters", "datamodule_hyper_parameters", "state_dict", "payload")
    part = part[rng.choice(4, p=(0.6, 0.1, 0.15, 0.15))]
    if part == "payload":
        content[("extra", "epoch", "state_dict")[rng.integers(3)]] = Payload()
    elif part == "state_dict":
        content[part] = other_weights(content[part], rng)
    else:
        content[part] = changed_leaf(content[part], rng)
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def other_weights(weights: dict[str, Tensor], rng: Generator) -> Any:
    key = list(weights)[rng.integers(len(weights))]
    changes: list[Any] = [weights[key].flatten()[:1], None, "text", 1.0, weights[key].long()]
    changes += [torch.zeros(2, 2), [weights[key]], {key: weights[key]}]
    if rng.random() < 0.2:
        return {k: v for k, v in weights.items() if k != key}
    if rng.random() < 0.2:
        return weights | {7: weights[key]}
    return weights | {key: changes[rng.integers(len(changes))]}


def foreign_code(raw: bytes, rng: Generator) -> bytes:
    """A program in place of the pickle of a checkpoint."""
    programs = (
        pickle.dumps(Payload()),
        b"cposix\nsystem\n(S'touch canary'\ntR.",
        b'cbuiltins\neval\n(S\'open("canary", "w")\'\ntR.',
        b"cpathlib\nPath\n(S'canary'\ntR.",
        b"\x80\x02ctorch\nload\n(X\x06\x00\x00\x00canarytR.",
    )
    program = programs[rng.integers(len(programs))]
    actual = io.BytesIO()
    with ZipFile(io.BytesIO(raw)) as old, ZipFile(actual, "w") as new:
        for info in old.infolist():
            content = program if info.filename.endswith("data.pkl") else old.read(info)
            new.writestr(info, content)
    return actual.getvalue()


def other_header(raw: bytes, rng: Generator) -> bytes:
    Path("old").write_bytes(raw)
    with safe_open("old", "pt") as file:
        header = json.loads(file.metadata()[KEY])
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    header = changed_leaf(header, rng)
    if rng.random() < 0.8:  # by somebody who knows the format
        header.pop("sha256", None)
        header["sha256"] = digest(header, weights)
    save_tensors(weights, "old", {KEY: json.dumps(header)})
    return Path("old").read_bytes()


READERS = {
    "checkpoint": Reader(write_checkpoint, load, "run.ckpt", BINARY, 90, same_arrays),
    "checkpoint, other contents": Reader(
        write_checkpoint, load, "run.ckpt", (other_contents,), 90, weights_fit
    ),
    "checkpoint, foreign code": Reader(
        write_checkpoint, load, "run.ckpt", (foreign_code,), 20, same_arrays
    ),
    "exported model": Reader(write_model, load, "run.geqlib", BINARY, 60, same_arrays),
    "exported model, other header": Reader(
        write_model, load, "run.geqlib", (other_header,), 40, weights_fit
    ),
}
