"""Models on disk: checkpoints of training, and exported models that hold no more than a model."""

from __future__ import annotations

import hashlib
import importlib
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from geqlib import __version__
from geqlib.files.exported_program import is_program

__all__ = ["load", "trusting"]
T = TypeVar("T")
_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())
# elsewhere in torch_geometric there are constructors that evaluate their arguments
LAYERS = ("aggr", "conv", "models", "norm")
TRUSTED = ("geqlib.", *(f"torch_geometric.nn.{part}." for part in LAYERS))
LARGEST = 100_000
# endings of files that hold models, and of others
ENDINGS = (".ckpt", ".pt", ".pth", ".geqlib", ".safetensors", ".pt2")
STRUCTURES = (".xyz", ".extxyz", ".traj", ".cif", ".vasp", ".poscar", ".pdb", ".gen", ".res", ".db")
OTHERS = {
    **dict.fromkeys(STRUCTURES, "structures"),
    **dict.fromkeys((".sdf", ".smi", ".mol2"), "molecules"),
    **dict.fromkeys((".off", ".ply", ".obj"), "point clouds"),
    **dict.fromkeys((".npy", ".npz", ".h5", ".hdf5", ".mat"), "arrays"),
    **dict.fromkeys((".csv", ".tsv", ".json"), "tables"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz"), "archives"),
    **dict.fromkeys((".pkl", ".pickle"), "pickles"),
    **dict.fromkeys((".md", ".txt", ".log", ".py"), "texts"),
}
KEY = "geqlib"  # of a checkpoint, and of the metadata of an exported model
# of checkpoints and exported files; the first edition wrote 2 into exported models, else nothing
FORMAT = 3
FIRST_EDITION = 2


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The model of a checkpoint, in evaluation mode, with the averaged weights where there are any.

    It is the network alone, whose outputs are raw: displacements in place of positions, say, or
    numbers without the unit of their target. `geqlib.load_predictor` makes predictions of them.

    Args:
        path: a checkpoint of `geqlib fit`, the folder of a run, or a file of `geqlib export`.
        model: the architecture, for checkpoints of training scripts that built it themselves.

    Raises:
        ValueError: if the file is missing, damaged or would run code, or does not say how its
            model was built.

    Example:
        >>> load("runs/water/checkpoints/best.ckpt")
        Traceback (most recent call last):
        ...
        ValueError: There is no checkpoint runs/water/checkpoints/best.ckpt: check the path.
    """
    checkpoint = read_stored(path)
    if model is None:
        arguments = checkpoint.get("hyper_parameters")
        description = arguments.get("model") if isinstance(arguments, dict) else None
        if not isinstance(description, dict):
            raise ValueError(
                f"The checkpoint {path} does not say how its model was built, as it was trained on "
                "a module of Python: pass the module as load(path, model=...), or train by a "
                "configuration, which may be a dictionary: geqlib.train.run.fit({...})."
            )
        try:
            _check_sizes(description, checkpoint["state_dict"])
            model = build(description, nn.Module)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    weights = {
        str(key).removeprefix("model."): value
        for key, value in checkpoint["state_dict"].items()
        if str(key).startswith("model.")
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"The weights of {path} do not fit the model ({first_mismatch(error)}): pass the one "
            "that they were trained for as load(path, model=...)."
        ) from error
    return model.eval()


def build(description: dict[str, Any], kind: type[T], *arguments: Any) -> T:
    """An object from `{"class_path": ..., "init_args": {...}}`, as configurations describe it.

    Only classes of geqlib, layers and models of torch_geometric, and those of modules named by
    `trusting` are built, so that a file cannot name other code.

    Args:
        description: from a checkpoint.
        kind: the class that it must be or inherit from.
        arguments: positional ones, before those of the description.

    Raises:
        ValueError: if the class is another, or does not take these arguments.
    """
    path = str(description.get("class_path"))
    cls = imported(path, kind)
    named = description.get("init_args") or {}
    if not isinstance(named, dict):
        raise ValueError(f"The checkpoint gives {path} {named!r} in place of arguments.")
    try:
        return cls(*arguments, **{str(key): _nested(value) for key, value in named.items()})
    except ValueError:  # says what is wrong itself
        raise
    except Exception as error:  # whatever torch makes of a width of -1
        raise ValueError(
            f"The checkpoint gives {path} arguments that this version does not take ({error}): "
            "build it yourself and pass it as load(path, model=...)."
        ) from error


def description_of(arguments: Any) -> dict[str, Any]:
    """The `description` of `build`, of the arguments that LightningCLI keeps of a task or data
    module; empty without a class."""
    if not isinstance(arguments, dict) or "_class_path" not in arguments:
        return {}
    others = ("_class_path", "_instantiator", "model")
    own = {key: value for key, value in arguments.items() if key not in others}
    return {"class_path": arguments["_class_path"], "init_args": own}


def imported(path: str, kind: type[T]) -> type[T]:
    """The class that a checkpoint names, if it is a `kind` of geqlib or torch_geometric.nn."""
    module, _, name = path.rpartition(".")
    foreign = ValueError(
        f"The checkpoint asks for {path}, which is not a class of geqlib or a layer of "
        f"torch_geometric, and was not run. If it is yours, say so: --trust {module} in commands, "
        f"geqlib.trusting({module!r}) in Python; or build it yourself and pass it as load(path, "
        "model=...)."
    )
    if not (f"{module}.".startswith(("geqlib.", "torch_geometric.nn.")) or is_trusted(module)):
        raise foreign
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        if is_trusted(module):
            raise ValueError(
                f"The checkpoint asks for {path}, which cannot be imported ({error}): work in the "
                "folder of its module, or install it."
            ) from error
        raise ValueError(f"The checkpoint asks for {path}, which this version lacks.") from error
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise ValueError(f"The checkpoint asks for {path}, which is not a {kind.__name__}.")
    if not (f"{cls.__module__}.".startswith(TRUSTED) or is_trusted(cls.__module__)):
        raise foreign
    return cls


@contextmanager
def trusting(*modules: str) -> Iterator[None]:
    """Let checkpoints name classes of modules of your own, within a block.

    A checkpoint remembers the import paths of its task, its data module and its networks. Importing
    and building these runs their code, which happens for geqlib and layers of torch_geometric
    alone, unless a module is named here.

    Args:
        modules: such as "my_project", with all modules below it, or "my_project.networks".

    Example:
        >>> with trusting("my_project"):
        ...     is_trusted("my_project.networks"), is_trusted("my_projects")
        (True, False)
        >>> is_trusted("my_project")
        False
    """
    token = _trusted.set((*_trusted.get(), *modules))
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusted(module: str) -> bool:
    """Whether a module is one of those named by `trusting`, or below one."""
    return any(f"{module}.".startswith(f"{name}.") for name in _trusted.get() if name)


def read_stored(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, or of an exported model in the same shape."""
    path = model_file(path)
    if is_program(path):
        raise ValueError(
            f"{path} is a program, not a model: GeqCalculator(path, trusted=True) runs it."
        )
    return read_model_file(path) if is_model_file(path) else read_checkpoint(path)


def model_file(path: str | Path) -> Path:
    """The file of a model: the path itself, or of a run's folder the best checkpoint, or the last.

    Raises:
        ValueError: a folder without checkpoints.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    names = [f"{part}{name}.ckpt" for part in ("checkpoints/", "") for name in ("best", "last")]
    file = next((path / name for name in names if (path / name).is_file()), None)
    if file is None:
        raise ValueError(
            f"There is no checkpoint in {path}, which is a folder: name a checkpoint, such as "
            f"{path / 'checkpoints' / 'best.ckpt'} of a run."
        )
    return file


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint, loaded without running any code from it.

    Raises:
        ValueError: with one sentence on what is wrong with the file.
    """
    _check_kind(Path(path))
    if is_model_file(path):
        raise ValueError(
            f"{path} is a file of `geqlib export`, which holds neither data nor optimiser: name "
            "the folder of its run, or a checkpoint in it."
        )
    try:
        with ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch.load does not compare checksums
                raise BadZipFile("a checksum disagrees")
        content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        _check_ending(path)
        raise ValueError(
            f"The checkpoint {path} is damaged, or would run code when loaded: nothing was run. "
            "Use one that geqlib wrote."
        ) from error
    except (RuntimeError, EOFError, OSError, BadZipFile, ValueError, KeyError) as error:
        _check_ending(path)
        raise ValueError(
            f"The checkpoint {path} is truncated or damaged ({first_line(error)}): use an earlier "
            "one."
        ) from error
    if not (isinstance(content, dict) and isinstance(content.get("state_dict"), dict)):
        raise ValueError(f"{path} is not a checkpoint: it holds no state_dict.")
    check_format(path, content.get(KEY, {"format": FIRST_EDITION}))
    return content


def _check_kind(path: Path) -> None:
    """Refuse what is no file, or a configuration."""
    if path.is_dir():
        raise ValueError(
            f"There is no checkpoint {path}, which is a folder: name a checkpoint, such as "
            f"{path / 'checkpoints' / 'best.ckpt'}."
        )
    if not path.is_file():
        runs = {str(file.parent.parent) for file in path.parent.glob("*/checkpoints/*.ckpt")}
        beside = f"; runs there are {', '.join(sorted(runs)[:10])}" if runs else ""
        raise ValueError(f"There is no checkpoint {path}: check the path{beside}.")
    if path.suffix.lower() in (".yaml", ".yml"):
        raise ValueError(
            f"{path} is a configuration, not a trained model: train it by `geqlib fit --config "
            f"{path}`, and name the folder of that run or a checkpoint in it."
        )


def _check_ending(path: str | Path) -> None:
    """Refuse a file that cannot be read, and whose name is not that of a model."""
    path = Path(path)
    ending = path.suffix.lower()
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"  # as torch writes
    if ending in ENDINGS or (is_zip and ending not in OTHERS):
        return
    other = f", but has the ending of {OTHERS[ending]}" if ending in OTHERS else ""
    raise ValueError(
        f"{path} is not a checkpoint of geqlib{other}: name one, such as checkpoints/best.ckpt in "
        "the folder of a run of `geqlib fit`."
    )


def format_record() -> dict[str, Any]:
    """What every file of a model says of itself."""
    return {"format": FORMAT, "version": __version__}


def check_format(path: str | Path, record: Any) -> None:
    """Refuse a file of a later version, whose content could mean something else.

    Args:
        path: of the file.
        record: what it says of itself, see `format_record`.
    """
    number = record.get("format") if isinstance(record, dict) else None
    if isinstance(number, int) and FIRST_EDITION <= number <= FORMAT:
        return
    version = record.get("version") if isinstance(record, dict) else None
    raise ValueError(
        f"{path} was written by geqlib {version} in the format {number}, which this version "
        f"({__version__}) does not know: install a newer geqlib, or write the file again with this "
        "one."
    )


def model_header(
    description: dict[str, Any], weights: dict[str, Tensor], cutoff: float | None
) -> dict[str, str]:
    """The metadata of an exported model.

    Args:
        description: `{"class_path": ..., "init_args": {...}}` of the model.
        weights: its state dict.
        cutoff: of the neighbours in its training data, in angstrom.

    Raises:
        ValueError: if the description holds more than plain values.
    """
    header = format_record() | {"model": description, "cutoff": cutoff}
    try:
        return {KEY: json.dumps(header | {"sha256": digest(header, weights)})}
    except TypeError as error:
        raise ValueError(f"The arguments of the model are not plain values ({error}).") from error


def read_model_file(path: str | Path) -> dict[str, Any]:
    """An exported model, as the dictionary that a checkpoint would be.

    Returns:
        "state_dict" with keys `model.*`, "hyper_parameters" with the description of the `model`,
        and "datamodule_hyper_parameters" with the `cutoff`.

    Raises:
        ValueError: with one sentence on what is wrong with the file.
    """
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(KEY, "null"))
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        _check_ending(path)
        raise ValueError(
            f"The model {path} is truncated or damaged ({error}): export it again."
        ) from error
    if not isinstance(header, dict) or not isinstance(header.get("model"), dict):
        raise ValueError(f"{path} does not say how its model was built: use `geqlib export`.")
    check_format(path, header)
    if header.pop("sha256", None) != digest(header, weights):
        raise ValueError(f"The model {path} is damaged (its checksum disagrees): export it again.")
    return {
        "state_dict": {f"model.{key}": value for key, value in weights.items()},
        "hyper_parameters": {"model": header["model"]},
        "datamodule_hyper_parameters": {"cutoff": header.get("cutoff")},
    }


def is_model_file(path: str | Path) -> bool:
    """Whether a file begins like safetensors: eight bytes, then a JSON object."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"


def digest(header: dict[str, Any], weights: dict[str, Tensor]) -> str:
    """SHA-256 of a header without its digest, and of all names and values of the weights."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for key in sorted(weights):
        value = weights[key].contiguous()
        sha.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def data_cutoff(stored: dict[str, Any]) -> float | None:
    """The cutoff of the training data of a stored model; None if it had none."""
    data = stored.get("datamodule_hyper_parameters")
    cutoff = data.get("cutoff") if isinstance(data, dict) else None
    if cutoff is None:
        return None
    if not isinstance(cutoff, (int, float)) or not cutoff > 0:
        raise ValueError(f"The cutoff of the data in a checkpoint is {cutoff!r}: train it again.")
    return float(cutoff)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened."""
    text = str(error).strip()
    return text.splitlines()[0][:120] if text else type(error).__name__


def first_mismatch(error: RuntimeError) -> str:
    """The first tensor that `load_state_dict` complains about."""
    lines = str(error).strip().splitlines()
    return lines[min(1, len(lines) - 1)].strip() if lines else type(error).__name__


def _check_sizes(description: Any, weights: dict[str, Any]) -> None:
    """Refuse widths and depths that would fill the memory before they turn out not to fit."""
    parts = description.values() if isinstance(description, dict) else description
    stored = sum(w.numel() for w in weights.values() if isinstance(w, Tensor))
    for part in parts:
        if isinstance(part, (dict, list, tuple)):
            _check_sizes(part, weights)
        elif isinstance(part, int) and part > max(LARGEST, stored):
            raise ValueError(f"The checkpoint gives the size {part}, but holds {stored} weights.")


def _nested(value: Any) -> Any:
    return build(value, nn.Module) if isinstance(value, dict) and "class_path" in value else value
