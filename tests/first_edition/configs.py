"""Configurations of tiny runs, one for each model that a task trains.

The settings of models are those of the first edition, and stay: checkpoints name them.
"""

from __future__ import annotations

from typing import Any

RADIAL = {"class_path": "geqlib.nn.LogGaussianBasis", "init_args": {"count": 6}}
MONOID = "geqlib.nn.MonoidAggregation"
CUTOFF = 3.0


def configured(path: str, /, **arguments: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


NBODY = configured(
    "geqlib.data.NBodyData",
    train=12,
    val=4,
    test=4,
    n_balls=4,
    input_frame=1,
    target_frame=2,
    batch_size=4,
)
ATOMS = configured(
    "geqlib.data.MoleculeData",
    train="atoms.xyz",
    val=4,
    test=4,
    cutoff=CUTOFF,
    energy_key="E",
    forces_key="F",
    batch_size=4,
)
GRAPHS = configured("geqlib.data.GraphData", name="TINY", batch_size=4)
SURFACES = configured("geqlib.data.PointCloudData", points=16, train=8, val=4, test=4, batch_size=4)
SETS = configured(
    "geqlib.data.SetData", task="second_minimum", train=16, val=4, test=4, batch_size=4
)
MULTITASK = configured(
    "geqlib.data.MultitaskData", train=1, val=1, test=1, starts=[15], batch_size=4
)
QM9 = configured(
    "geqlib.data.QM9Data", target="alpha", cutoff=CUTOFF, train=12, val=3, batch_size=4
)
DIGITS = configured("geqlib.data.DigitsData", batch_size=4, cutoff=1.0)
ZINC = configured("geqlib.data.ZincData", batch_size=4)

VECTORS = {"in_scalars": 1, "in_vectors": 1, "out_scalars": 0, "out_vectors": 1}
ATOMIC = {"in_scalars": 4, "in_vectors": 0, "out_scalars": 1, "out_vectors": 0}
CLOUD = {"out_scalars": 8, "channels": 8}
NORMALS = {"out_scalars": 0, "out_vectors": 1, "level": "node", "channels": 8}
LABELLED = {"in_channels": 3, "out_channels": 2}


def run(
    task: str, model: dict[str, Any], data: dict[str, Any], monitor: str, **options: Any
) -> dict[str, Any]:
    """A configuration of `geqlib fit`."""
    arguments = {name: value for name, value in options.items() if name != "ema"}
    return {
        "seed_everything": 0,
        "ema": options.get("ema"),
        "monitor": monitor,
        "model": configured(f"geqlib.train.{task}", model=model, **arguments),
        "data": data,
        "trainer": {
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "limit_train_batches": 2,
            "limit_val_batches": 1,
            "limit_test_batches": 1,
            "max_epochs": 1,
        },
    }


def atoms(model: dict[str, Any], **options: Any) -> dict[str, Any]:
    return run("EnergyForces", model, ATOMS, "val/forces_rmse", lr=1e-2, **options)


def graphs(model: dict[str, Any], **data: Any) -> dict[str, Any]:
    labelled = configured("geqlib.data.GraphData", **GRAPHS["init_args"], **data)
    return run("GraphClassificationTask", model, labelled, "val/loss", classes=2)


def clouds(model: dict[str, Any]) -> dict[str, Any]:
    return run("ClassificationTask", model, SURFACES, "val/loss", classes=8)


def normals(model: dict[str, Any]) -> dict[str, Any]:
    return run("NormalsTask", model, SURFACES, "val/error")


def model(name: str, /, *parts: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    merged = {key: value for part in parts for key, value in part.items()}
    return configured(f"geqlib.models.{name}", **merged, **arguments)


NBODY_PONITA = model("PONITA", VECTORS, channels=6, layers=2, radial=RADIAL, dropout=0.1)

CHECKPOINTS: dict[str, dict[str, Any]] = {
    "ponita": run(
        "DisplacementTask", NBODY_PONITA, NBODY, "val/mse", conjugate=True, elapsed=0.1, ema=0.9
    ),
    "fagnn": run(
        "DisplacementTask",
        model(
            "FAGNN",
            VECTORS,
            channels=8,
            layers=2,
            hidden_scalars=2,
            hidden_vectors=4,
            radial=RADIAL,
        ),
        NBODY,
        "val/mse",
        rotate=False,
    ),
    "mixed": run(
        "DisplacementTask", configured("tests.first_edition.networks.Mixed"), NBODY, "val/mse"
    ),
    "ponita_potential": atoms(
        model("PONITA", ATOMIC, channels=6, layers=2, cutoff=CUTOFF, factored=True, radial=RADIAL),
        zbl=True,
        rotate=True,
    ),
    "gaunt_potential": atoms(
        model(
            "GauntNet",
            elements=["H", 6, "O"],
            channels=3,
            degree=2,
            order=2,
            layers=2,
            cutoff=CUTOFF,
            features=4,
            hidden=8,
        ),
        amsgrad=True,
    ),
    "molecule": run(
        "RegressionTask",
        model("MoleculeModel", model=model("PONITA", ATOMIC, channels=6, layers=1, smooth=True)),
        QM9,
        "val/mae",
        rotate=True,
    ),
    "ponita_plane": run(
        "ClassificationTask",
        model(
            "PONITA",
            {"in_scalars": 1, "in_vectors": 0, "out_scalars": 10, "out_vectors": 0},
            space="R2xS1",
            orientations=6,
            level="graph",
            channels=6,
            layers=1,
        ),
        DIGITS,
        "val/loss",
        classes=10,
    ),
    "spen": graphs(
        model("SPEN", LABELLED, channels=4, layers=2, symmetric=True, dropout=0.5),
        hops=1,
        symmetric=True,
    ),
    "spen_sizes": graphs(
        model(
            "SPEN",
            LABELLED,
            channels=2,
            layers=2,
            weights="size",
            sizes=[1, 2, 3, 4, 5, 6, 7, 8],
            centre=True,
            residual=False,
            readout="mean",
        ),
        hops=1,
    ),
    "ign": graphs(model("IGN", LABELLED, channels=4, layers=2)),
    "gin": graphs(model("MessagePassingNet", LABELLED, channels=4, layers=2)),
    "pna": graphs(
        model(
            "MessagePassingNet", LABELLED, conv="PNA", channels=3, layers=2, degrees=[0, 9, 40, 9]
        )
    ),
    "famlp": graphs(model("FAMLP", LABELLED, max_nodes=8, hidden=[8])),
    "fagin": graphs(model("FAGIN", LABELLED, max_nodes=8, channels=6, layers=2)),
    "monoid": run(
        "MultitaskTask",
        model(
            "MonoidGNN",
            in_channels=2,
            out_node=3,
            out_graph=3,
            channels=4,
            towers=2,
            layers=2,
            depth="half",
            aggr=configured(MONOID, channels=4, operator=["gru", "topk", "sum"]),
            readout=configured(MONOID, channels=4, operator="logsumexp"),
        ),
        MULTITASK,
        "val/log_mse",
    ),
    "monoid_molecules": run(
        "RegressionTask",
        model(
            "MonoidGNN",
            in_channels=[28],
            edge_dim=[4],
            out_graph=1,
            channels=4,
            layers=2,
            update="residual",
            aggr=configured(MONOID, channels=4, operator="gru"),
        ),
        ZINC,
        "val/mae",
        loss="mae",
    ),
    "set_network": run(
        "BitsTask",
        model("SetNetwork", channels=6, aggr=configured(MONOID, channels=6, operator="select")),
        SETS,
        "val/loss",
    ),
    "pointnet": clouds(model("PointNet", CLOUD)),
    "fa_pointnet": clouds(model("FAPointNet", CLOUD, group="SE(3)")),
    "dgcnn": normals(model("DGCNN", NORMALS, layers=2, neighbors=4)),
    "fa_dgcnn": normals(model("FADGCNN", NORMALS, layers=2, neighbors=4)),
    "fa_local": normals(
        model("FALocalPointNet", NORMALS, neighbors=6, local_scalars=4, local_vectors=2)
    ),
}


def whole(config: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    """The same for a run on all of its data, of four epochs."""
    settings = config["trainer"] | {"max_epochs": 4, "log_every_n_steps": 1} | trainer
    limits = {key: None for key in settings if key.startswith("limit_")}
    return config | {"trainer": {k: v for k, v in settings.items() if k not in limits}}


# complete run folders
FOLDERS: dict[str, dict[str, Any]] = {
    "nbody": whole(CHECKPOINTS["ponita"]),
    "atoms": whole(CHECKPOINTS["ponita_potential"]),
}
# data that lie in the cache folder, by the name of their folder there
CACHED: dict[str, dict[str, Any]] = {"nbody": NBODY, "surfaces": SURFACES, "tu": GRAPHS}
