"""Every class and function of the first edition is still imported from where it was.

Configurations, checkpoints and users' code name classes by these paths.
"""

from __future__ import annotations

import inspect
import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.test_public_api import PUBLIC

PATHS: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "files" / "import_paths.json").read_text()
)
# What is gone, with the reason or what to use instead: "module", "module.name", or "module.*" for
# functions and classes of a module that no configuration or checkpoint can name.
BOARD = "the board is drawn by benchmarks/board.py, which is not part of the wheel"
REMOVED: dict[str, str] = {
    "geqlib.cv.FoldRun": "geqlib.train.sweep.SweepRun",
    "geqlib.cv.make": "geqlib.train.sweep.complete",
    "geqlib.cv.run_all": "geqlib.train.sweep.complete_all",
    "geqlib.data.datasets.*": "geqlib.data.packed.PackedGraphs with with_neighbors; StreamedFrames",
    "geqlib.data.digits.GraphList": "geqlib.data.packed.PackedGraphs",
    "geqlib.data.edge_lists.EdgeLists": "geqlib.data.molecules.structures.with_neighbors",
    "geqlib.data.edge_lists.edge_lists": "geqlib.data.molecules.structures.with_neighbors",
    "geqlib.data.frame_index.*": "geqlib.data.molecules.streamed.stream_frames, StreamedFrames",
    "geqlib.data.graph_arrays.graph_arrays": "geqlib.data.packed.PackedGraphs",
    "geqlib.data.nbody.NBodyDataset": "geqlib.data.points.nbody.simulations",
    "geqlib.data.point_clouds.PointClouds": "geqlib.data.points.clouds.point_clouds",
    "geqlib.data.sets.SetDataset": "geqlib.data.sets.number_sets",
    "geqlib.data.structures.*": "geqlib.data.packed.PackedGraphs, from pack_frames or molecules",
    "geqlib.bench.*": "benchmarks/run.py, which is not part of the wheel",
    "geqlib.report.board": BOARD,
    "geqlib.report.board_picture": BOARD,
    "geqlib.report.rows.build_table": "results are several tables: build_tables",
    "geqlib.report.markdown_table": "the board is drawn from typed results, not from tables",
    "geqlib.geometry.extremal.*": "geqlib.frames.extremal_vectors.extremal_chains",
    "geqlib.geometry.irreps.act_irreps": "geqlib.symmetry.types.wigner_matrices",
    "geqlib.nn.gaunt_choice.*": "nothing is measured: geqlib.gaunt.methods.choose_method",
    "geqlib.nn.gaunt_form.*": "geqlib.gaunt.product.pointwise_product",
    "geqlib.nn.gaunt_form.Fields": "geqlib.gaunt.transforms.Transform",
    "geqlib.nn.gaunt_form.TrilinearForm": "geqlib.gaunt.product.pointwise_product",
    "geqlib.nn.gaunt_fourier.FourierFields": "geqlib.gaunt.fourier.FourierTransform",
    "geqlib.nn.gaunt_grid.*": "geqlib.gaunt.transforms, geqlib.gaunt.fourier",
    "geqlib.nn.gaunt_grid.GridFields": "geqlib.gaunt.transforms.GridTransform",
    "geqlib.nn.gaunt_grid.SeparableFields": "geqlib.gaunt.fourier.SeparableTransform",
    "geqlib.nn.gaunt_methods.*": "geqlib.gaunt.methods.build_transforms",
    "geqlib.nn.gaunt_signals.*": "geqlib.gaunt.layout, geqlib.gaunt.methods",
    "geqlib.nn.gaunt_sparse.*": "geqlib.gaunt.transforms.nonzero_entries",
    "geqlib.nn.gaunt_sparse.SparseFields": "geqlib.gaunt.transforms.EntryTransform",
    "geqlib.nn.rows_readout.RowsReadout": "geqlib.gaunt.readout.DegreeReadout",
    "geqlib.nn.scratch": "nothing: layers keep no memory",
    "geqlib.nn.sphere_rows.*": "geqlib.gaunt.layout.to_components, from_components",
    "geqlib.nn.sphere_rows.RowsLinear": "geqlib.gaunt.layout.ComponentLinear",
    "geqlib.learning_curve.SizeRun": "geqlib.train.sweep.SweepRun",
    "geqlib.learning_curve.run_all": "geqlib.train.sweep.complete_all",
    "geqlib.geometry.frames.spectral_axes": "geqlib.frames.point_frames.covariance_axes",
    "geqlib.geometry.frames.spectral_frames": "geqlib.frames.point_frames.point_frames",
    "geqlib.geometry.twists.*": "geqlib.frames.point_frames",
    "geqlib.geometry.vectors.*": "geqlib.frames.vectors.Geometry, geometry_of",
    "geqlib.graph.ego_index.*": "geqlib.spen.plan.build_plan",
    "geqlib.graph.groups": "the option regroup is refused, with what to use instead",
    "geqlib.graph.tree.check_index": "tree_plan checks its arguments",
    "geqlib.models.fa_mlp.places": "geqlib.frames.graph_networks",
    "geqlib.nn.frame_calls.*": "geqlib.frames.averaging.FrameAveraging",
    "geqlib.nn.frame_copies.*": "geqlib.frames.copies.FrameCopies, frame_copies",
    "geqlib.nn.frame_edges.*": "plain torch in geqlib.frames.message_network",
    "geqlib.nn.frame_geometry.*": "geqlib.frames.vectors.Geometry, geometry_of",
    "geqlib.nn.frame_orders.*": "geqlib.frames.node_orders.sorted_copies",
    "geqlib.nn.frame_types.*": "geqlib.symmetry.types, geqlib.symmetry.groups.Group",
    "geqlib.nn.gather.gather_scatter": "geqlib.kernels.edge_product.edge_product",
    "geqlib.nn.gaunt_convolution.choose_method": "there is one method, on a grid",
    "geqlib.nn.recompute.*": "geqlib.ponita.conv.ConvNeXtBlock in plain torch",
    "geqlib.nn.aligned_messages.*": 'the method "aligned" is another name of "grid"',
    "geqlib.nn.aligned_messages.AlignedMessages": 'the method "aligned" is another name of "grid"',
    "geqlib.nn.edge_sum.*": "geqlib.kernels.edge_product.edge_product",
    "geqlib.nn.grid_messages.GridMessages": "geqlib.gaunt.convolution.GauntConvolution",
    "geqlib.nn.wigner.*": "nothing: messages are not rotated",
    "geqlib.nn.wigner.EdgeFrames": "nothing: messages are not rotated",
    "geqlib.nn.self_mix.reaches": "geqlib.gaunt.layout.reachable",
    "geqlib.nn.symmetric_gru.plain_symmetric_gru": "geqlib.kernels.symmetric_gru.symmetric_gru",
    "geqlib.testing.rulers.row_counts": "geqlib.symmetry.measure",
    "geqlib.train.cli.TrainCLI": "geqlib.train.configuration.ConfigReader, read_run",
}
OWNER = {
    f"{module}.{name}": f"{package}.{name}"
    for package, text in PUBLIC.items()
    for name in text.split()
    for module, names in PATHS.items()
    if name in names and f"{module}.".startswith(f"{package}.")
}


def imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # an old path may say so
        return getattr(import_module(module), name)


@pytest.mark.parametrize("module", [module for module in PATHS if module not in REMOVED])
def test_names_are_where_they_were(module: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import_module(module)
    wrong = []
    for name, kind in PATHS[module].items():
        inner = kind in ("function", "class") and f"{module}.{name}" not in OWNER
        if f"{module}.{name}" in REMOVED or (inner and f"{module}.*" in REMOVED):
            continue
        try:
            is_kind = callable if kind == "function" else inspect.isclass
            if not is_kind(imported(f"{module}.{name}")):
                wrong.append(f"{name} is no {kind}")
        except (ImportError, AttributeError) as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, f"{module}: {'; '.join(wrong)}"


@pytest.mark.parametrize("old", OWNER)
def test_old_paths_of_public_names_lead_to_the_public_ones(old: str) -> None:
    """Two classes of one name would not be instances of each other."""
    module, _, _ = old.rpartition(".")
    if module in REMOVED or old in REMOVED:
        pytest.skip("removed")
    assert imported(old) is imported(OWNER[old])


def test_what_is_listed_as_removed_was_there_and_is_gone() -> None:
    known = set(PATHS) | {f"{module}.{name}" for module in PATHS for name in [*PATHS[module], "*"]}
    assert REMOVED.keys() <= known
    for path in REMOVED:
        if path.endswith(".*"):
            continue
        with pytest.raises((ImportError, AttributeError)):
            import_module(path) if path in PATHS else imported(path)
    public = set(OWNER) | {name.rpartition(".")[0] for name in OWNER}
    assert not REMOVED.keys() & public, "the old path of a public name must stay"
