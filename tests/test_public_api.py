"""The public names, one by one: adding or removing one takes a line here, too."""

from __future__ import annotations

import re
from importlib import import_module
from inspect import isclass, isroutine
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PUBLIC = {
    "geqlib": """
        __version__ load load_predictor trusting
    """,
    "geqlib.nn": """
        ZBL AggregateConv Basis BesselBasis CategoryEmbedding FiberConv FrameAveraging
        FrameTransport GaussianCharges GauntConvolution GauntPower GauntTensorProduct KernelBasis
        LocalFrames LogGaussianBasis MonoidAggregation NeighborhoodAttention PolynomialCutoff
        PolynomialFeatures PositionOrientationConv RadialNetwork SelfMix SoftOrder SubgraphConv
        auxiliary_loss
    """,
    "geqlib.models": """
        CalibratedPotential DGCNN DPA3 DirectPotential EScAIP EdgePONITA FADGCNN FAGIN FAGNN FAMLP
        IGN PONITA SPEN
        Energies EquiVSet FALocalPointNet FAPointNet GauntNet MessagePassingNet MoleculeModel
        MonoidGNN
        PARD PointNet Potential PPGNpp RotationAverage SetNetwork TransportNet
        compiled_energy_forces energy_forces
    """,
    "geqlib.data": """
        CloudData CompoundSubsetData DigitsData EgoNets GraphData GraphGeneration LevelsData
        MD17Data MoleculeData MoleculeNetData
        MoleculeTableData MultitaskData NBodyData OgbMoleculeData OwnGraphData
        PenalisedLogPData PointCloudData PropertyData QM9Data QM9Generation SetData SubsetData
        SubsetTableData SuperpixelData
        ZincData
        from_networkx
    """,
    "geqlib.generation": """
        EDM_RULES EDM_RULES_WITHOUT_CO bond_rules BondRules Bonds Denoised Denoiser
        DenoisingGauntNet GraphScores HeunSampler
        MoleculeDefects MoleculeScores Molecules Preconditioning Stability bond_orders
        bonded_scores bonded_smiles centred drawn_sizes graph_scores loss_weight molecule_defects
        molecule_scores molecule_smiles preconditioning
        sample_molecules squared_mmd stability
    """,
    "geqlib.graph": """
        EdgePlan Neighbors Plan accepted check_graph directed_plan neighbor_list paired_plan
        radius_graph reverse_edges sum_pool
    """,
    "geqlib.train": """
        BitsTask ClassificationTask DisplacementTask EnergyForces GraphClassificationTask
        GraphDiffusion GroupOrderingTask InvarianceConstraint LinkPredictionTask
        MaskedClassificationTask MaskedRegressionTask MoleculeDiffusion
        MultitaskTask NodeClassificationTask NormalsTask PropertyTask RegressionTask ReseedBatches
        SafeCheckpointIO SubsetTask Task
    """,
    "geqlib.train.run": "Run fit predict read_run test validate",
    "geqlib.testing": """
        OutputTypes assert_equivariant degenerate_sets equivariance_error error_by_degree
        parse_type random_rotation random_translation
    """,
    "geqlib.symmetry": """
        coordinates exp from_coordinates haar_weights log polar random_matrices
    """,
    "geqlib.calculators": "ExtrapolationAlarm GeqCalculator LammpsForces MLIAPModel",
    "geqlib.files.checkpoint": "load trusting",
    "geqlib.files.export": """
        Energy energy_program export_model export_program forces_program program_inputs
    """,
}


def public(package: str) -> list[str]:
    return list(import_module(package).__all__)


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_these(package: str) -> None:
    assert sorted(public(package)) == sorted(PUBLIC[package].split())
    assert len(public(package)) == len(set(public(package)))


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_have_an_example(package: str) -> None:
    actual = {name: getattr(import_module(package), name) for name in public(package)}
    things = {name: thing for name, thing in actual.items() if isclass(thing) or isroutine(thing)}
    lacking = [name for name, thing in things.items() if ">>>" not in (thing.__doc__ or "")]
    assert not lacking, f"{package}: the docstrings of {', '.join(lacking)} show no example"


def test_the_reference_has_every_name() -> None:
    """Layers and models one by one, on the page of their family; other packages as a whole."""
    pages = [path.read_text() for path in (TOP / "docs" / "reference").glob("*.md")]
    shown = [name for page in pages for name in re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)]
    split = ("geqlib.nn", "geqlib.models")
    # `geqlib.load` is that of geqlib.files.checkpoint
    whole = set(PUBLIC) - {"geqlib", *split}
    single = {f"{package}.{name}" for package in split for name in public(package)}
    assert sorted(shown) == sorted(whole | single)
