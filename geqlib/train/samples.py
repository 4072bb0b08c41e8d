"""Many samples of a trained model, batch by batch into a folder, so that a stop loses one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from geqlib.files.atomic import file_hash, reading, replace_file
from geqlib.files.checkpoint import model_file, read_stored
from geqlib.generation import HeunSampler, Molecules
from geqlib.pard.sampling import SampledGraphs
from geqlib.train.predictor import trained_task
from geqlib.train.tasks.diffusion import MoleculeDiffusion
from geqlib.train.tasks.graph_generation import GraphDiffusion

SETTINGS = "settings.json"
PARTS = "[0-9]*-[0-9]*.safetensors"
Progress = Callable[[Iterable[range]], Iterable[range]]


def load_generator(path: str | Path) -> MoleculeDiffusion | GraphDiffusion:
    """The task of a checkpoint, with its averaged weights where there are any, ready to sample.

    Args:
        path: a checkpoint of `geqlib fit`, or the folder of a run.

    Raises:
        ValueError: a file that is missing or damaged, or of a task that generates nothing.

    Example:
        >>> load_generator("runs/qm9").sample(range(10)).dropped.sum()  # doctest: +SKIP
        tensor(0)
    """
    file = model_file(path)
    stored = read_stored(file)
    task: Any = trained_task(file, stored)
    if not isinstance(task, MoleculeDiffusion | GraphDiffusion):
        raise ValueError(
            f"{file} is a model of {type(task).__name__}, which generates nothing: name one that "
            "was trained by MoleculeDiffusion or GraphDiffusion."
        )
    task.on_load_checkpoint(dict(stored))
    return task


def load_diffusion(path: str | Path) -> MoleculeDiffusion:
    """As `load_generator`, for molecules alone.

    Raises:
        ValueError: a model of graphs, too.

    Example:
        >>> load_diffusion("runs/qm9").denoiser.species  # doctest: +SKIP
        ('H', 'C', 'N', 'O', 'F')
    """
    task = load_generator(path)
    if not isinstance(task, MoleculeDiffusion):
        raise ValueError(f"{path} generates graphs, not molecules.")
    return task


@dataclass(frozen=True)
class SampleSettings:
    """What samples of molecules depend on, beside the checkpoint.

    Args:
        seed: of all samples.
        at_once: molecules that are sampled together, which rounding depends on.
        sampler: noise levels and churn.
        atoms: of each molecule, in place of the histogram.
        histogram: molecules by their number of atoms, in place of the checkpoint's.
        value: of the property, in the unit of the data.
        guidance: how much the property is overdone.
    """

    seed: int = 0
    at_once: int = 100
    sampler: HeunSampler = field(default_factory=HeunSampler)
    atoms: int | None = None
    value: float | None = None
    guidance: float = 0.0
    histogram: Mapping[int, int] | None = None


@dataclass(frozen=True)
class GraphSettings:
    """What samples of graphs depend on, beside the checkpoint.

    Args:
        seed: of all samples.
        at_once: graphs that are drawn together, on which their random numbers depend.
        max_nodes: a graph is stopped before it has more; by default twice the largest of training.
    """

    seed: int = 0
    at_once: int = 40
    max_nodes: int | None = None


def complete_samples(
    task: MoleculeDiffusion,
    checkpoint: str | Path,
    folder: Path,
    count: int,
    settings: SampleSettings,
    *,
    progress: Progress = iter,
) -> Molecules:
    """The samples 0 to count - 1: those of finished batches are read, the others drawn.

    An interrupted call followed by another gives what one call would have given, bit for bit on one
    machine, and a larger count goes on.

    Args:
        task: of the checkpoint.
        checkpoint: whose samples these are.
        folder: where finished batches are kept.
        count: of samples.
        settings: of all of them.
        progress: wraps the loop over batches.

    Raises:
        ValueError: fewer than one sample or batch, a folder with samples of another checkpoint or
            other settings.
    """
    parts = _sampled(Molecules, task, checkpoint, folder, count, settings, progress)
    return Molecules.joined(parts)


def complete_graph_samples(
    task: GraphDiffusion,
    checkpoint: str | Path,
    folder: Path,
    count: int,
    settings: GraphSettings,
    *,
    progress: Progress = iter,
) -> list[SampledGraphs]:
    """Graphs 0 to count - 1, batch by batch; arguments and errors as of `complete_samples`."""
    return _sampled(SampledGraphs, task, checkpoint, folder, count, settings, progress)


def _sampled(
    kind: Callable[..., Any],
    task: MoleculeDiffusion | GraphDiffusion,
    checkpoint: str | Path,
    folder: Path,
    count: int,
    settings: SampleSettings | GraphSettings,
    progress: Progress,
) -> list[Any]:
    if count < 1 or settings.at_once < 1:
        raise ValueError(
            f"There is nothing to sample: count is {count}, and {settings.at_once} at once."
        )
    if settings.seed < 0:
        raise ValueError(f"seed is {settings.seed}: take an integer from 0.")
    _claim(folder, checkpoint, settings)
    size = settings.at_once
    batches = [range(k, min(k + size, count)) for k in range(0, count, size)]
    options = dict(vars(settings))
    del options["at_once"]
    return [_batch(kind, task, folder, part, options) for part in progress(batches)]


def has_samples(folder: Path) -> bool:
    """Whether there are finished batches of `complete_samples` in a folder."""
    return any(folder.glob(PARTS))


def remove_samples(folder: Path) -> None:
    """Delete what `complete_samples` wrote into a folder, and the folder if that was all of it."""
    if not folder.is_dir():
        return
    for path in (folder / SETTINGS, *folder.glob(PARTS)):
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _claim(folder: Path, checkpoint: str | Path, settings: SampleSettings | GraphSettings) -> None:
    """Write what the samples of a folder depend on, or see that it is the same."""
    current: dict[str, Any] = {"checkpoint": file_hash(model_file(checkpoint)), **asdict(settings)}
    current |= {f"sampler.{k}": value for k, value in current.pop("sampler", {}).items()}
    current = json.loads(json.dumps(current))  # as they are read: keys are texts
    path = folder / SETTINGS
    if has_samples(folder):  # settings under which nothing was drawn bind nobody
        with reading(path, "does not say how its samples were drawn", "delete its folder"):
            stored = {**json.loads(path.read_text())}
        other = [name for name, value in current.items() if stored.get(name) != value]
        if other:
            raise ValueError(
                f"{folder} holds samples of another {' and '.join(other)}: repeat the settings to "
                "go on, or delete them by --overwrite."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(current, indent=1) + "\n"
    replace_file(path, lambda part: part.write_text(text))


def _batch(
    kind: Callable[..., Any],
    task: MoleculeDiffusion | GraphDiffusion,
    folder: Path,
    numbers: range,
    options: Mapping[str, Any],
) -> Any:
    path = folder / f"{numbers.start:08}-{numbers.stop:08}.safetensors"
    if path.exists():
        with reading(path, "holds no samples, or is damaged", "delete it, and go on"):
            return kind(**load_file(path))
    samples = task.sample(numbers, **options)
    tensors = {name: x.cpu().contiguous() for name, x in vars(samples).items()}
    replace_file(path, lambda part: save_file(tensors, part))
    return kind(**tensors)
