"""Import paths of the first edition, kept for users' code, configurations and checkpoints."""

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
    "geqlib.check": ("geqlib.cli.check",),
    "geqlib.checkpoint": ("geqlib.files.checkpoint",),
    "geqlib.cv": ("geqlib.cli.cv",),
    "geqlib.learning_curve": ("geqlib.cli.learning_curve",),
    "geqlib.export": ("geqlib.files.export",),
    "geqlib.model_file": ("geqlib.files.model_file",),
    "geqlib.program": ("geqlib.files.program",),
    "geqlib.tracing": ("geqlib.files.tracing",),
    "geqlib.reading": ("geqlib.files.reading",),
    "geqlib.user_cache": ("geqlib.files.user_cache",),
    "geqlib.data.cache": ("geqlib.files.cache",),
    "geqlib.data.graph_arrays": ("geqlib.data.graphs.packed",),
    "geqlib.data.tu": ("geqlib.data.graphs.tu",),
    "geqlib.data.expressivity": ("geqlib.data.graphs.expressivity",),
    "geqlib.data.multitask": ("geqlib.data.graphs.multitask",),
    "geqlib.data.networkx_graphs": ("geqlib.data.graphs.networkx_graphs",),
    "geqlib.data.ego_nets": ("geqlib.data.graphs.ego_nets",),
    "geqlib.data.planned": ("geqlib.data.graphs.planned",),
    "geqlib.data.dgcnn": ("geqlib.data.graphs.dgcnn",),
    "geqlib.data.folds": ("geqlib.data.graphs.folds",),
    "geqlib.data.random_graphs": ("geqlib.data.graphs.random_graphs",),
    "geqlib.data.graph_labels": ("geqlib.data.graphs.graph_labels",),
    "geqlib.data.extxyz": ("geqlib.data.molecules.extxyz",),
    "geqlib.data.qm9": ("geqlib.data.molecules.qm9",),
    "geqlib.data.md17": ("geqlib.data.molecules.md17",),
    "geqlib.data.moleculenet": ("geqlib.data.molecules.moleculenet",),
    "geqlib.data.frame_index": ("geqlib.data.molecules.frame_index",),
    "geqlib.data.sanity": ("geqlib.data.molecules.sanity",),
    "geqlib.data.labels": ("geqlib.data.molecules.labels",),
    "geqlib.data.structures": ("geqlib.data.molecules.structures",),
    "geqlib.data.edge_lists": ("geqlib.data.molecules.edge_lists",),
    "geqlib.data.splits": ("geqlib.data.molecules.splits",),
    "geqlib.data.datasets": ("geqlib.data.molecules.datasets",),
    "geqlib.data.zinc": ("geqlib.data.molecules.zinc",),
    "geqlib.data.nbody": ("geqlib.data.points.nbody",),
    "geqlib.data.nbody_simulation": ("geqlib.data.points.nbody_simulation",),
    "geqlib.data.point_clouds": ("geqlib.data.points.clouds",),
    "geqlib.data.digits": ("geqlib.data.points.digits",),
    "geqlib.data.meshes": ("geqlib.data.points.meshes",),
    "geqlib.data.surfaces": ("geqlib.data.points.surfaces",),
    "geqlib.data.superpixels": ("geqlib.data.points.superpixels",),
    "geqlib.geometry.attributes": ("geqlib.ponita.invariants",),
    "geqlib.geometry.compound": ("geqlib.sphere.compound",),
    "geqlib.geometry.degenerate": ("geqlib.frames.degenerate",),
    "geqlib.geometry.directions": ("geqlib.ponita.invariants",),
    "geqlib.geometry.eigen3": ("geqlib.frames.eigen3",),
    "geqlib.geometry.extremal": ("geqlib.frames.extremal",),
    "geqlib.geometry.frame_weights": ("geqlib.frames.frame_weights",),
    "geqlib.geometry.frames": ("geqlib.frames.point_frames",),
    "geqlib.geometry.gaunt": ("geqlib.sphere.coefficients",),
    "geqlib.geometry.grids": ("geqlib.sphere.grids",),
    "geqlib.geometry.harmonics": ("geqlib.sphere.harmonics",),
    "geqlib.geometry.hemisphere": ("geqlib.sphere.quadrature",),
    "geqlib.geometry.irreps": ("geqlib.sphere.irreps",),
    "geqlib.geometry.rotations": ("geqlib.symmetry.rotations",),
    "geqlib.geometry.stabilisers": ("geqlib.frames.stabilisers",),
    "geqlib.geometry.torus": ("geqlib.gaunt.torus",),
    "geqlib.geometry.twists": ("geqlib.frames.twists",),
    "geqlib.geometry.vectors": ("geqlib.frames.vectors",),
    "geqlib.graph.canonical_labelling": ("geqlib.frames.canonical_labelling",),
    "geqlib.graph.ego": ("geqlib.spen.ego_nets",),
    "geqlib.graph.ego_index": ("geqlib.spen.ego_index",),
    "geqlib.graph.ego_parts": ("geqlib.spen.ego_parts",),
    "geqlib.graph.groups": ("geqlib.monoid.groups",),
    "geqlib.graph.incidence": ("geqlib.spen.incidence",),
    "geqlib.graph.laplacian_frames": ("geqlib.frames.laplacian_frames",),
    "geqlib.graph.reach": ("geqlib.spen.reach",),
    "geqlib.graph.slots": ("geqlib.gaunt.slots",),
    "geqlib.graph.tree": ("geqlib.monoid.tree",),
    "geqlib.nn.aggregate": ("geqlib.monoid.aggregate_conv",),
    "geqlib.nn.basis": ("geqlib.ponita.kernel",),
    "geqlib.nn.bessel": ("geqlib.bessel",),
    "geqlib.nn.binary_gru": ("geqlib.monoid.binary_gru",),
    "geqlib.nn.canonical": ("geqlib.frames.canonical",),
    "geqlib.nn.categories": ("geqlib.graph.categories",),
    "geqlib.nn.constants": ("geqlib.sphere.tables",),
    "geqlib.nn.contraction": ("geqlib.spen.contraction",),
    "geqlib.nn.convnext": ("geqlib.ponita.conv",),
    "geqlib.nn.edge_sum": ("geqlib.kernels.edge_product",),
    "geqlib.nn.embedding": ("geqlib.ponita.kernel",),
    "geqlib.nn.equivariant_maps": ("geqlib.spen.maps",),
    "geqlib.nn.fiber": ("geqlib.ponita.conv",),
    "geqlib.nn.frame_calls": ("geqlib.frames.calls",),
    "geqlib.nn.frame_copies": ("geqlib.frames.copies",),
    "geqlib.nn.frame_edges": ("geqlib.frames.frame_edges",),
    "geqlib.nn.frame_geometry": ("geqlib.frames.geometry",),
    "geqlib.nn.frame_messages": ("geqlib.frames.messages",),
    "geqlib.nn.frame_orders": ("geqlib.frames.orders",),
    "geqlib.nn.frame_quotient": ("geqlib.frames.quotient",),
    "geqlib.nn.frame_types": ("geqlib.frames.frame_types",),
    "geqlib.nn.frames": ("geqlib.frames.averaging",),
    "geqlib.nn.gather": ("geqlib.kernels.edge_product",),
    "geqlib.nn.gaunt": ("geqlib.gaunt.product",),
    "geqlib.nn.gaunt_choice": ("geqlib.gaunt.choice",),
    "geqlib.nn.gaunt_columns": ("geqlib.gaunt.columns",),
    "geqlib.nn.gaunt_convolution": ("geqlib.gaunt.convolution",),
    "geqlib.nn.gaunt_form": ("geqlib.gaunt.form",),
    "geqlib.nn.gaunt_fourier": ("geqlib.gaunt.fourier",),
    "geqlib.nn.gaunt_grid": ("geqlib.gaunt.grid",),
    "geqlib.nn.gaunt_interaction": ("geqlib.gaunt.interaction",),
    "geqlib.nn.gaunt_methods": ("geqlib.gaunt.methods",),
    "geqlib.nn.gaunt_power": ("geqlib.gaunt.power",),
    "geqlib.nn.gaunt_signals": ("geqlib.gaunt.layout",),
    "geqlib.nn.gaunt_sparse": ("geqlib.gaunt.sparse",),
    "geqlib.nn.gaunt_weights": ("geqlib.gaunt.weights",),
    "geqlib.nn.aligned_messages": ("geqlib.gaunt.convolution",),
    "geqlib.nn.grid_messages": ("geqlib.gaunt.convolution",),
    "geqlib.nn.kernel": ("geqlib.ponita.kernel",),
    "geqlib.nn.lift": ("geqlib.ponita.network",),
    "geqlib.nn.monoid": ("geqlib.monoid.aggregation",),
    "geqlib.nn.neighbor_messages": ("geqlib.gaunt.neighbor_messages",),
    "geqlib.nn.node_orders": ("geqlib.frames.node_orders",),
    "geqlib.nn.offset_readout": ("geqlib.ponita.network",),
    "geqlib.nn.operators": ("geqlib.monoid.operators",),
    "geqlib.nn.radial": ("geqlib.radial",),
    "geqlib.nn.recompute": ("geqlib.ponita.conv",),
    "geqlib.nn.rows_readout": ("geqlib.gaunt.rows_readout",),
    "geqlib.nn.scratch": ("geqlib.gaunt.scratch",),
    "geqlib.nn.selection": ("geqlib.monoid.selection",),
    "geqlib.nn.self_mix": ("geqlib.gaunt.self_mix",),
    "geqlib.nn.sign_frames": ("geqlib.frames.sign_frames",),
    "geqlib.nn.solid_harmonics": ("geqlib.sphere.solid_harmonics",),
    "geqlib.nn.sphere_powers": ("geqlib.gaunt.sphere_powers",),
    "geqlib.nn.sphere_rows": ("geqlib.gaunt.sphere_rows",),
    "geqlib.nn.subgraph": ("geqlib.spen.conv",),
    "geqlib.nn.symmetric_gru": ("geqlib.monoid.symmetric_gru",),
    "geqlib.nn.wigner": ("geqlib.gaunt.convolution",),
    "geqlib.nn.zbl": ("geqlib.atoms.zbl",),
    "geqlib.models.cutoff": ("geqlib.atoms.cutoff",),
    "geqlib.models.dgcnn": ("geqlib.frames.dgcnn",),
    "geqlib.models.fa_gin": ("geqlib.frames.fa_gin",),
    "geqlib.models.fa_gnn": ("geqlib.frames.message_network",),
    "geqlib.models.fa_local": ("geqlib.frames.fa_local",),
    "geqlib.models.fa_mlp": ("geqlib.frames.graph_networks",),
    "geqlib.models.forces": ("geqlib.atoms.forces",),
    "geqlib.models.gaunt_net": ("geqlib.gaunt.network",),
    "geqlib.models.graph_baselines": ("geqlib.baselines.graphs",),
    "geqlib.models.ign": ("geqlib.spen.ign",),
    "geqlib.models.molecule": ("geqlib.atoms.molecule",),
    "geqlib.models.monoid_gnn": ("geqlib.monoid.networks",),
    "geqlib.models.pointnet": ("geqlib.frames.point_networks",),
    "geqlib.models.ponita": ("geqlib.ponita.network",),
    "geqlib.models.potential": ("geqlib.atoms.potential",),
    "geqlib.models.rotation_average": ("geqlib.atoms.rotation_average",),
    "geqlib.models.set_network": ("geqlib.monoid.set_network",),
    "geqlib.models.spen": ("geqlib.spen.network",),
    "geqlib.testing.groups": ("geqlib.symmetry.groups",),
    "geqlib.testing.points": ("geqlib.symmetry.points",),
    "geqlib.testing.rulers": ("geqlib.symmetry.measure",),
    "geqlib.testing.types": ("geqlib.symmetry.types",),
}

# names of packages that remain: the module of each today
MOVED_NAMES: dict[str, dict[str, str]] = {
    "geqlib.graph": {
        "EgoPart": "geqlib.spen.ego_parts",
        "EgoPlan": "geqlib.spen.ego_nets",
        "Incidence": "geqlib.spen.incidence",
        "Reach": "geqlib.spen.reach",
        "TreePlan": "geqlib.monoid.tree",
        "ego_plan": "geqlib.spen.ego_nets",
        "graph_plan": "geqlib.spen.ego_nets",
        "join_plans": "geqlib.spen.ego_nets",
        "random_groups": "geqlib.monoid.groups",
        "reduce_tree": "geqlib.monoid.tree",
        "split_by_size": "geqlib.spen.ego_parts",
        "tree_plan": "geqlib.monoid.tree",
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
