"""`geqlib sample`: molecules or graphs of a trained model, resumable."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geqlib.cli.bar import bar
from geqlib.counted import counted

if TYPE_CHECKING:
    from geqlib.generation import BondRules, Molecules
    from geqlib.pard.sampling import SampledGraphs
    from geqlib.train.tasks.diffusion import MoleculeDiffusion
    from geqlib.train.tasks.graph_generation import GraphDiffusion

# what published scores are of: those of QM9, with positions or as graphs, and MMDs of graphs
MOLECULES, GRAPHS = 10_000, 40
DESCRIPTION = """Sample molecules from a checkpoint of MoleculeDiffusion, and print their scores, or
graphs from one of GraphDiffusion.
Finished batches are kept beside the output until it is whole: the same command goes on where it was
stopped, with the same result. Molecules that end in NaN are left out of the file and counted."""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(args)
    folder = options.out.with_name(f"{options.out.name}.parts")
    from geqlib.cli.device import chosen_device
    from geqlib.train.samples import has_samples, load_generator, remove_samples
    from geqlib.train.tasks.graph_generation import GraphDiffusion

    if options.out.exists() and not options.overwrite and not has_samples(folder):
        raise ValueError(f"{options.out} exists: name another file, or --overwrite it.")
    device = chosen_device(options.device)
    task = load_generator(options.checkpoint)
    task.to(device)
    if options.overwrite:
        remove_samples(folder)
    if isinstance(task, GraphDiffusion):
        _write_graphs(options, task, folder)
    else:
        _write_molecules(options, task, folder)
    remove_samples(folder)
    return 0


def report(
    molecules: Molecules,
    task: MoleculeDiffusion,
    rules: BondRules,
    training: Collection[str] | None = None,
) -> None:
    """Print the scores with the name of their rules.

    Args:
        molecules: samples.
        task: that drew them.
        rules: of bonds.
        training: SMILES of training molecules, for novelty.
    """
    from geqlib.train.tasks.diffusion import scores_of

    chemistry = find_spec("rdkit") is not None
    scores = scores_of(molecules, validity=chemistry, rules=rules, training=training)
    sys.stdout.write(f"{scores}\n")
    if not chemistry:
        sys.stdout.write('validity and uniqueness: pip install "geqlib[molecules]"\n')
    if lost := dropped(molecules):
        sys.stdout.write(f"dropped: {lost} of {len(molecules)} ended in NaN, not in the file\n")
    if task.rules != rules.name:
        sys.stdout.write(
            f"the training was scored by the rules {task.rules}, these samples by {rules.name}\n"
        )


def dropped(molecules: Molecules) -> int:
    """How many ended in NaN."""
    return int(molecules.dropped.sum())


def histogram_line(histogram: Mapping[int, int]) -> str:
    """A histogram of atoms in a few words.

    Example:
        >>> histogram_line({3: 1, 19: 5, 29: 2})
        '3 to 29 atoms, most often 19, as in 8 molecules'
    """
    if not histogram:
        return "unknown"
    mode = max(histogram, key=lambda n: histogram[n])
    few, most, total = min(histogram), max(histogram), sum(histogram.values())
    return f"{few} to {most} atoms, most often {mode}, as in {total} molecules"


def read_histogram(path: Path) -> dict[int, int]:
    """Molecules by their number of atoms, of a JSON file such as {"18": 200, "19": 300}.

    Raises:
        ValueError: a file that is missing or holds something else.
    """
    from geqlib.files.atomic import reading

    what = "holds no numbers of molecules by their number of atoms"
    with reading(path, what, 'write JSON such as {"18": 200, "19": 300}'):
        content = json.loads(path.read_text())
        histogram = {int(size): count for size, count in content.items()}
        if not all(type(count) is int and count >= 0 for count in histogram.values()):
            raise ValueError("counts are integers from 0")
        if not any(histogram.values()) or min(histogram) < 1:
            raise ValueError("there are molecules, and each has an atom")
    return histogram


def novelty_texts(options: Any, **how: Any) -> frozenset[str] | None:
    """SMILES of the training molecules, if --novelty asks for them; arguments of
    `training_smiles`."""
    if not options.novelty:
        return None
    from geqlib.train.novelty import training_graphs, training_smiles

    chunks = bar("SMILES of the training molecules")
    return training_smiles(training_graphs(options.checkpoint), progress=chunks, **how)


def _write_molecules(options: Any, task: MoleculeDiffusion, folder: Path) -> None:
    from geqlib.files.molecule_files import check_ending, write_samples
    from geqlib.generation import bond_rules
    from geqlib.train.samples import SampleSettings, complete_samples

    check_ending(options.out)
    rules = bond_rules(options.rules or task.rules)
    histogram = None if options.histogram is None else read_histogram(options.histogram)
    if histogram and options.atoms is not None:
        raise ValueError("--atoms is the size of all molecules: leave out --histogram.")
    if options.atoms is not None and options.atoms < 1:
        raise ValueError(f"--atoms is {options.atoms}: a molecule has at least one.")
    if options.guidance and options.property is None:
        raise ValueError("--guidance overdoes a property: give its value by --property.")
    _refuse(options, ("max_nodes",), "graphs, and the checkpoint generates molecules")
    changes = {"steps": options.steps, "sigma_max": options.sigma_max, "churn": options.churn}
    named = {name: value for name, value in changes.items() if value is not None}
    settings = SampleSettings(
        options.seed,
        SampleSettings.at_once if options.batch_size is None else options.batch_size,
        replace(task.sampler, **named),
        options.atoms,
        options.property,
        options.guidance or 0.0,
        histogram,
    )
    task.cuda_graphs = bool(options.cuda_graphs or task.cuda_graphs)
    if options.cuda_graphs and task.device.type != "cuda":
        sys.stdout.write(f"{task.device.type} has no CUDA graphs: steps are not replayed\n")
    sizes = histogram_line(task.histogram)
    if options.atoms is not None:
        sizes = f"{options.atoms} atoms each, in place of the checkpoint's ({sizes})"
    if histogram is not None:
        sizes = f"{histogram_line(histogram)}, in place of the checkpoint's ({sizes})"
    sys.stdout.write(f"species {', '.join(task.denoiser.species)}; {sizes}\n")
    sys.stdout.flush()
    count = MOLECULES if options.count is None else options.count
    molecules = complete_samples(
        task, options.checkpoint, folder, count, settings, progress=bar("samples")
    )
    write_samples(options.out, molecules, rules=rules)
    report(molecules, task, rules, novelty_texts(options, rules=rules))
    whole = len(molecules) - dropped(molecules)
    sys.stdout.write(f"wrote {options.out}: {counted(whole, 'molecule')}\n")


def _write_graphs(options: Any, task: GraphDiffusion, folder: Path) -> None:
    from geqlib.data.graphs.sampled_files import as_networkx, check_ending, write_graphs
    from geqlib.train.samples import GraphSettings, complete_graph_samples

    check_ending(options.out)
    kinds = task.network.node_diffusion.classes, task.network.pair_diffusion.classes
    if options.out.suffix == ".g6" and kinds != (1, 2):
        raise ValueError(
            f"{options.out}: graph6 has no kinds of nodes and edges, and the checkpoint draws "
            f"{kinds[0]} kinds of nodes and {kinds[1] - 1} of edges: write .json."
        )
    others = ("atoms", "steps", "sigma_max", "churn", "property", "guidance", "cuda_graphs")
    others += ("rules", "histogram")
    _refuse(options, others, "molecules, and the checkpoint generates graphs")
    if not task.species:
        _refuse(options, ("novelty",), "molecules, and the checkpoint generates other graphs")
    at_once = GraphSettings.at_once if options.batch_size is None else options.batch_size
    settings = GraphSettings(options.seed, at_once, options.max_nodes)
    count = options.count
    if count is None:
        count = MOLECULES if task.species else GRAPHS
    batches = complete_graph_samples(
        task, options.checkpoint, folder, count, settings, progress=bar("samples")
    )
    graphs = as_networkx(batches, task.network.hops)
    write_graphs(options.out, graphs)
    sizes = sorted(len(graph) for graph in graphs) or [0]
    same = sum(graph.graph["follows"] for graph in graphs)
    stopped = sum(int(part.stopped.sum()) for part in batches)
    sys.stdout.write(f"{sizes[0]} to {sizes[-1]} nodes, median {sizes[len(sizes) // 2]}\n")
    sys.stdout.write(
        f"follows: {same} of {len(graphs)} have the order of blocks by which they were drawn\n"
    )
    if lost := sum(int(part.dropped.sum()) for part in batches):
        sys.stdout.write(f"dropped: {lost} of {count} ended in NaN, not in the file\n")
    if task.species:
        _report_molecules(batches, task, novelty_texts(options, species=task.species))
    if stopped:
        sys.stdout.write(
            f"stopped: {stopped} had too many nodes for a further block (--max-nodes), and are in "
            "the file as they were\n"
        )
    sys.stdout.write(f"wrote {options.out}: {counted(len(graphs), 'graph')}\n")


def _report_molecules(
    batches: Sequence[SampledGraphs], task: GraphDiffusion, training: Collection[str] | None
) -> None:
    """Scores of samples that are molecules, and what the kinds in their file are."""
    from geqlib.pard.sampling import SampledGraphs
    from geqlib.train.tasks.graph_generation import molecule_scores_of

    kinds = ", ".join(f"{kind} {symbol}" for kind, symbol in enumerate(task.species))
    sys.stdout.write(f"kinds of nodes: {kinds}; of edges: orders of bonds\n")
    whole = SampledGraphs.joined(batches)
    sys.stdout.write(f"{molecule_scores_of(whole, task.species, training=training)}\n")


def _refuse(options: Any, names: Sequence[str], what: str) -> None:
    """Options of another kind of model are refused, not left out."""
    for name in names:
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is for {what}: leave it out.")


def _parser() -> ArgumentParser:
    parser = ArgumentParser("geqlib sample", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("checkpoint", type=Path, help="of a run, or its folder")
    parser.add_argument("--count", type=int, help="10 000 molecules, or 40 graphs, by default")
    parser.add_argument(
        "--out", type=Path, required=True, help=".xyz, .extxyz or .sdf; of graphs .g6 or .json"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all samples")
    parser.add_argument("--batch-size", type=int, help="at once: 100 molecules, or 40 graphs")
    parser.add_argument("--device", help="cpu or cuda; a GPU by default where there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace the file and its parts")
    molecules = parser.add_argument_group("molecules")
    molecules.add_argument("--atoms", type=int, help="of each, in place of the training histogram")
    molecules.add_argument("--histogram", type=Path, help="JSON, {size: count}, in its place")
    molecules.add_argument("--rules", help="of bonds, as EDM-without-CO; by default as in training")
    molecules.add_argument(
        "--novelty", action="store_true", default=None, help="read the training molecules, too"
    )
    molecules.add_argument("--steps", type=int, help="noise levels; by default as in training")
    molecules.add_argument("--sigma-max", type=float, help="largest noise level; the same")
    molecules.add_argument("--churn", type=float, help="noise added on the way; the same")
    molecules.add_argument("--property", type=float, help="in the data's unit, if conditional")
    molecules.add_argument("--guidance", type=float, help="how far it is overdone, 0 by default")
    molecules.add_argument(
        "--cuda-graphs", action="store_true", default=None, help="replay the steps on a GPU"
    )
    graphs = parser.add_argument_group("graphs")
    graphs.add_argument("--max-nodes", type=int, help="twice the largest of training by default")
    return parser
