"""Import paths of earlier versions, kept for users' code, configurations and checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# old module: the modules that hold its names today
MOVED: dict[str, tuple[str, ...]] = {
    "geqlib.geometry": (),
    "geqlib.bench": ("geqlib.cli.bench",),
    "geqlib.check": ("geqlib.cli.check", "geqlib.train.check"),
    "geqlib.checkpoint": ("geqlib.files.checkpoint",),
    "geqlib.cv": ("geqlib.cli.cv", "geqlib.train.runs.sweep"),
    "geqlib.learning_curve": ("geqlib.cli.learning_curve", "geqlib.train.runs.sweep"),
    "geqlib.export": ("geqlib.files.export", "geqlib.cli.export"),
    "geqlib.model_file": ("geqlib.files.checkpoint",),
    "geqlib.program": ("geqlib.files.exported_program",),
    "geqlib.tracing": ("geqlib.files.export",),
    "geqlib.reading": ("geqlib.files.atomic",),
    "geqlib.user_cache": ("geqlib.files.atomic",),
    "geqlib.files.cache": ("geqlib.files.atomic",),
    "geqlib.files.reading": ("geqlib.files.atomic",),
    "geqlib.files.user_cache": ("geqlib.files.atomic",),
    "geqlib.data.cache": ("geqlib.files.atomic",),
    "geqlib.data.mirror": ("geqlib.data.download",),
    "geqlib.data.published": ("geqlib.data.download",),
    "geqlib.data.graph_arrays": ("geqlib.data.packed",),
    "geqlib.data.tu": ("geqlib.data.graphs.tu",),
    "geqlib.data.expressivity": ("geqlib.data.graphs.expressivity",),
    "geqlib.data.multitask": ("geqlib.data.graphs.multitask",),
    "geqlib.data.networkx_graphs": ("geqlib.data.graphs.networkx_graphs",),
    "geqlib.data.ego_nets": ("geqlib.data.graphs.ego_nets",),
    "geqlib.data.planned": ("geqlib.data.graphs.planned",),
    "geqlib.data.dgcnn": ("geqlib.data.graphs.tu",),
    "geqlib.data.folds": ("geqlib.data.graphs.folds",),
    "geqlib.data.random_graphs": ("geqlib.data.graphs.multitask",),
    "geqlib.data.graph_labels": ("geqlib.data.graphs.multitask",),
    "geqlib.data.extxyz": ("geqlib.data.molecules.extxyz",),
    "geqlib.data.qm9": ("geqlib.data.molecules.qm9",),
    "geqlib.data.md17": ("geqlib.data.molecules.md17",),
    "geqlib.data.moleculenet": ("geqlib.data.molecules.moleculenet",),
    "geqlib.data.frame_index": ("geqlib.data.molecules.streamed",),
    "geqlib.data.sanity": ("geqlib.data.molecules.structures",),
    "geqlib.data.labels": ("geqlib.data.molecules.labels",),
    "geqlib.data.structures": ("geqlib.data.molecules.structures", "geqlib.data.molecules.extxyz"),
    "geqlib.data.edge_lists": ("geqlib.data.molecules.structures",),
    "geqlib.data.splits": ("geqlib.data.molecules.splits",),
    "geqlib.data.datasets": ("geqlib.data.molecules.structures", "geqlib.data.molecules.streamed"),
    "geqlib.data.zinc": ("geqlib.data.molecules.zinc",),
    "geqlib.data.nbody": ("geqlib.data.points.nbody",),
    "geqlib.data.nbody_simulation": ("geqlib.data.points.nbody_simulation",),
    "geqlib.data.point_clouds": ("geqlib.data.points.clouds",),
    "geqlib.data.digits": ("geqlib.data.points.images",),
    "geqlib.data.meshes": ("geqlib.data.points.clouds",),
    "geqlib.data.surfaces": ("geqlib.data.points.surfaces",),
    "geqlib.data.superpixels": ("geqlib.data.points.images",),
    "geqlib.geometry.attributes": ("geqlib.ponita.invariants", "geqlib.radial"),
    "geqlib.geometry.compound": ("geqlib.sphere.grids",),
    "geqlib.geometry.degenerate": ("geqlib.frames.degenerate",),
    "geqlib.geometry.directions": ("geqlib.ponita.invariants",),
    "geqlib.geometry.eigen3": ("geqlib.frames.eigen3",),
    "geqlib.geometry.extremal": ("geqlib.frames.degenerate",),
    "geqlib.geometry.frame_weights": ("geqlib.frames.weighted_frames",),
    "geqlib.geometry.frames": ("geqlib.frames.point_frames",),
    "geqlib.geometry.gaunt": ("geqlib.sphere.coefficients",),
    "geqlib.geometry.grids": ("geqlib.sphere.grids",),
    "geqlib.geometry.harmonics": ("geqlib.sphere.harmonics",),
    "geqlib.geometry.hemisphere": ("geqlib.sphere.quadrature",),
    "geqlib.geometry.irreps": ("geqlib.sphere.harmonics",),
    "geqlib.geometry.rotations": ("geqlib.symmetry.rotations",),
    "geqlib.geometry.stabilisers": ("geqlib.frames.degenerate",),
    "geqlib.geometry.torus": ("geqlib.gaunt.fourier",),
    "geqlib.geometry.twists": ("geqlib.frames.vectors",),
    "geqlib.geometry.vectors": ("geqlib.frames.vectors",),
    "geqlib.graph.canonical_labelling": ("geqlib.frames.canonical_labelling",),
    "geqlib.graph.ego": ("geqlib.spen.plan",),
    "geqlib.graph.ego_index": ("geqlib.spen.plan",),
    "geqlib.graph.ego_parts": ("geqlib.spen.sizes",),
    "geqlib.graph.incidence": ("geqlib.spen.incidence",),
    "geqlib.graph.laplacian_frames": ("geqlib.frames.node_orders",),
    "geqlib.graph.reach": ("geqlib.spen.ego_nets",),
    "geqlib.graph.slots": ("geqlib.gaunt.slots",),
    "geqlib.graph.tree": ("geqlib.monoid.tree", "geqlib.monoid.aggregation"),
    "geqlib.nn.aggregate": ("geqlib.monoid.networks",),
    "geqlib.nn.basis": ("geqlib.ponita.kernel",),
    "geqlib.nn.bessel": ("geqlib.radial",),
    "geqlib.nn.binary_gru": ("geqlib.monoid.operators",),
    "geqlib.nn.canonical": ("geqlib.frames.learned_frames",),
    "geqlib.nn.categories": ("geqlib.graph.categories",),
    "geqlib.nn.constants": ("geqlib.sphere.tables",),
    "geqlib.nn.contraction": ("geqlib.spen.maps",),
    "geqlib.nn.convnext": ("geqlib.ponita.conv",),
    "geqlib.nn.edge_sum": ("geqlib.kernels.edge_product",),
    "geqlib.nn.embedding": ("geqlib.ponita.embedding",),
    "geqlib.nn.equivariant_maps": ("geqlib.spen.maps",),
    "geqlib.nn.fiber": ("geqlib.ponita.conv",),
    "geqlib.nn.frame_calls": ("geqlib.frames.averaging",),
    "geqlib.nn.frame_copies": ("geqlib.frames.copies",),
    "geqlib.nn.frame_edges": ("geqlib.frames.message_network",),
    "geqlib.nn.frame_geometry": ("geqlib.frames.vectors",),
    "geqlib.nn.frame_messages": ("geqlib.frames.message_network",),
    "geqlib.nn.frame_orders": ("geqlib.frames.node_orders",),
    "geqlib.nn.frame_quotient": ("geqlib.frames.quotient",),
    "geqlib.nn.frame_types": ("geqlib.frames.batches", "geqlib.frames.averaging"),
    "geqlib.nn.frames": ("geqlib.frames.averaging",),
    "geqlib.nn.gather": ("geqlib.kernels.edge_product",),
    "geqlib.nn.gaunt": ("geqlib.gaunt.product",),
    "geqlib.nn.gaunt_choice": ("geqlib.gaunt.methods",),
    "geqlib.nn.gaunt_columns": ("geqlib.gaunt.layout",),
    "geqlib.nn.gaunt_convolution": ("geqlib.gaunt.convolution",),
    "geqlib.nn.gaunt_form": ("geqlib.gaunt.product",),
    "geqlib.nn.gaunt_fourier": ("geqlib.gaunt.fourier",),
    "geqlib.nn.gaunt_grid": ("geqlib.gaunt.transforms", "geqlib.gaunt.fourier"),
    "geqlib.nn.gaunt_interaction": ("geqlib.gaunt.interaction",),
    "geqlib.nn.gaunt_methods": ("geqlib.gaunt.methods",),
    "geqlib.nn.gaunt_power": ("geqlib.gaunt.power",),
    "geqlib.nn.gaunt_signals": ("geqlib.gaunt.layout",),
    "geqlib.nn.gaunt_sparse": ("geqlib.gaunt.transforms",),
    "geqlib.nn.gaunt_weights": ("geqlib.gaunt.weights",),
    "geqlib.nn.aligned_messages": ("geqlib.gaunt.convolution",),
    "geqlib.nn.grid_messages": ("geqlib.gaunt.convolution",),
    "geqlib.nn.kernel": ("geqlib.ponita.kernel",),
    "geqlib.nn.lift": ("geqlib.ponita.network",),
    "geqlib.nn.monoid": ("geqlib.monoid.aggregation", "geqlib.monoid.operators"),
    "geqlib.nn.neighbor_messages": ("geqlib.gaunt.neighbor_messages",),
    "geqlib.nn.node_orders": ("geqlib.frames.node_orders",),
    "geqlib.nn.offset_readout": ("geqlib.ponita.network",),
    "geqlib.nn.operators": ("geqlib.monoid.operators",),
    "geqlib.nn.radial": ("geqlib.radial",),
    "geqlib.nn.recompute": ("geqlib.ponita.conv",),
    "geqlib.nn.rows_readout": ("geqlib.gaunt.readout",),
    "geqlib.nn.selection": ("geqlib.monoid.operators",),
    "geqlib.nn.self_mix": ("geqlib.gaunt.self_mix",),
    "geqlib.nn.sign_frames": ("geqlib.frames.sign_frames",),
    "geqlib.nn.solid_harmonics": ("geqlib.sphere.harmonics",),
    "geqlib.nn.sphere_powers": ("geqlib.gaunt.power", "geqlib.sphere.quadrature"),
    "geqlib.nn.sphere_rows": ("geqlib.gaunt.layout",),
    "geqlib.nn.subgraph": ("geqlib.spen.conv", "geqlib.spen.sizes"),
    "geqlib.nn.symmetric_gru": ("geqlib.kernels.symmetric_gru",),
    "geqlib.nn.wigner": ("geqlib.gaunt.convolution",),
    "geqlib.nn.zbl": ("geqlib.atoms.zbl",),
    "geqlib.models.cutoff": ("geqlib.atoms.network",),
    "geqlib.models.dgcnn": ("geqlib.baselines.points", "geqlib.frames.point_networks"),
    "geqlib.models.fa_gin": ("geqlib.frames.graph_networks",),
    "geqlib.models.fa_gnn": ("geqlib.frames.message_network",),
    "geqlib.models.fa_local": ("geqlib.frames.point_networks",),
    "geqlib.models.fa_mlp": ("geqlib.frames.graph_networks",),
    "geqlib.models.forces": ("geqlib.atoms.forces",),
    "geqlib.models.gaunt_net": ("geqlib.gaunt.network",),
    "geqlib.models.graph_baselines": ("geqlib.baselines.graphs",),
    "geqlib.models.ign": ("geqlib.spen.network",),
    "geqlib.models.molecule": ("geqlib.atoms.molecule_model",),
    "geqlib.models.monoid_gnn": ("geqlib.monoid.networks",),
    "geqlib.models.pointnet": ("geqlib.baselines.points", "geqlib.frames.point_networks"),
    "geqlib.models.ponita": ("geqlib.ponita.network",),
    "geqlib.models.potential": ("geqlib.atoms.potential", "geqlib.atoms.statistics"),
    "geqlib.models.rotation_average": ("geqlib.atoms.rotation_average",),
    "geqlib.models.set_network": ("geqlib.monoid.networks",),
    "geqlib.models.spen": ("geqlib.spen.network",),
    "geqlib.report.confusion": ("geqlib.report.class_pictures",),
    "geqlib.report.curves": ("geqlib.report.pictures",),
    "geqlib.report.document": ("geqlib.report.page",),
    "geqlib.report.figures": ("geqlib.report.pictures",),
    "geqlib.report.fold_curves": ("geqlib.report.pictures",),
    "geqlib.report.history": ("geqlib.report.runs",),
    "geqlib.report.parity": ("geqlib.report.prediction_pictures",),
    "geqlib.report.rows": ("geqlib.report.tables",),
    "geqlib.report.trajectories": ("geqlib.report.prediction_pictures",),
    "geqlib.report.write": ("geqlib.report.run_report",),
    "geqlib.testing.groups": ("geqlib.symmetry.groups",),
    "geqlib.testing.points": ("geqlib.symmetry.points",),
    "geqlib.testing.rulers": ("geqlib.symmetry.measure",),
    "geqlib.testing.types": ("geqlib.symmetry.types",),
    "geqlib.train.bits": ("geqlib.train.tasks.generated",),
    "geqlib.train.classification": ("geqlib.train.tasks.graphs",),
    "geqlib.train.cli": ("geqlib.train.runs.configuration",),
    "geqlib.train.displacement": ("geqlib.train.tasks.points",),
    "geqlib.train.energy_errors": ("geqlib.train.tasks.atomic_errors",),
    "geqlib.train.energy_forces": ("geqlib.train.tasks.energy",),
    "geqlib.train.graph_classification": ("geqlib.train.tasks.graphs",),
    "geqlib.train.multitask": ("geqlib.train.tasks.generated",),
    "geqlib.train.normals": ("geqlib.train.tasks.points",),
    "geqlib.train.regression": ("geqlib.train.tasks.graphs",),
    "geqlib.train.stages": ("geqlib.train.runs.sweep",),
    "geqlib.train.structures_record": ("geqlib.train.runs.record",),
    "geqlib.train.record": ("geqlib.train.runs.record",),
    "geqlib.train.references": ("geqlib.train.tasks.references",),
    "geqlib.train.task": ("geqlib.train.tasks.task",),
    "geqlib.train.means": ("geqlib.train.tasks.means",),
    "geqlib.train.sweep": ("geqlib.train.runs.sweep",),
    "geqlib.train.energy": ("geqlib.train.tasks.energy",),
    "geqlib.train.generated_tasks": ("geqlib.train.tasks.generated",),
    "geqlib.train.node_tasks": ("geqlib.train.tasks.nodes",),
    "geqlib.train.point_tasks": ("geqlib.train.tasks.points",),
    "geqlib.train.property_task": ("geqlib.train.tasks.properties",),
    "geqlib.train.target_tasks": ("geqlib.train.tasks.targets",),
    "geqlib.graph.nearest": ("geqlib.graph.neighbors",),
    "geqlib.graph.skin": ("geqlib.graph.neighbors",),
}

# names of packages that remain: the module of each today
MOVED_NAMES: dict[str, dict[str, str]] = {
    "geqlib.graph": {
        "EgoPart": "geqlib.spen.sizes",
        "EgoPlan": "geqlib.spen.plan",
        "Incidence": "geqlib.spen.incidence",
        "Reach": "geqlib.spen.ego_nets",
        "TreePlan": "geqlib.monoid.tree",
        "ego_plan": "geqlib.spen.plan",
        "graph_plan": "geqlib.spen.plan",
        "join_plans": "geqlib.spen.plan",
        "reduce_tree": "geqlib.monoid.aggregation",
        "split_by_size": "geqlib.spen.sizes",
        "tree_plan": "geqlib.monoid.tree",
    },
    "geqlib.train.tasks": {
        "ClassificationTask": "geqlib.train.tasks.graphs",
        "GraphClassificationTask": "geqlib.train.tasks.graphs",
        "RegressionTask": "geqlib.train.tasks.graphs",
    },
}


class MovedModules(MetaPathFinder, Loader):
    """Serves each old module as a view of the modules that hold its names today."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MOVED:
            return None
        return ModuleSpec(fullname, self, is_package=not MOVED[fullname])

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        homes = [import_module(home) for home in MOVED[name]]

        def attribute(key: str) -> Any:
            for home in homes:
                if hasattr(home, key):
                    return getattr(home, key)
            raise AttributeError(f"module {name!r} has no attribute {key!r}")

        module.__dict__["__getattr__"] = attribute
        module.__dict__["__all__"] = [key for home in homes for key in getattr(home, "__all__", [])]


def install() -> None:
    """Let `import` ask here for a module of geqlib that no file provides."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())


def moved_name(package: str, name: str) -> Any:
    """What `package` exported as `name` in the first edition."""
    home = MOVED_NAMES.get(package, {}).get(name)
    if home is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
