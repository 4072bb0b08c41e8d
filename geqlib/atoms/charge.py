"""Total charge and spin multiplicity of a graph, as inputs of a network on its atoms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LARGEST_CHARGE = 20
LARGEST_MULTIPLICITY = 20


class ChargeEmbedding(nn.Module):
    """What the total charge and the spin multiplicity 2S + 1 of a graph add to its atoms' features.

    Both have a table of learnt vectors, whose sum every atom of the graph gets. The vectors are 0
    at the start, and those of charge 0 and multiplicity 1 remain so: neutral singlets are what
    they are without it.

    Args:
        features: of an atom.

    Shapes:
        charge [G] and multiplicity [G], whole numbers of any type, to [G, features].

    Example:
        >>> embedding = ChargeEmbedding(4)
        >>> embedding(torch.tensor([0, -1]), torch.tensor([1, 2])).abs().sum().item()
        0.0
    """

    seen_charges: Tensor
    seen_multiplicities: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        charges, multiplicities = 2 * LARGEST_CHARGE + 1, LARGEST_MULTIPLICITY + 1
        # weights that are given, as others would be drawn, and change those drawn after them
        self.charges = nn.Embedding(
            charges,
            features,
            padding_idx=LARGEST_CHARGE,
            _weight=torch.zeros(charges, features),
        )
        self.multiplicities = nn.Embedding(
            multiplicities,
            features,
            padding_idx=1,
            _weight=torch.zeros(multiplicities, features),
        )
        self.register_buffer("seen_charges", torch.zeros(charges, dtype=torch.bool))
        self.register_buffer("seen_multiplicities", torch.zeros(multiplicities, dtype=torch.bool))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.charges.weight)
        nn.init.zeros_(self.multiplicities.weight)

    def forward(self, charge: Tensor | None, multiplicity: Tensor | None) -> Tensor:
        """One of them may be None: neutral, or a singlet."""
        charge, multiplicity = _both(charge, multiplicity)
        number = charge.round().long() + LARGEST_CHARGE
        return self.charges(number) + self.multiplicities(multiplicity.round().long())

    def set_seen(self, charge: Tensor | None, multiplicity: Tensor | None) -> None:
        """Remember those of a training set, [G] each."""
        check_ranges(charge, multiplicity)
        charge, multiplicity = _both(charge, multiplicity)
        self.seen_charges[charge.round().long() + LARGEST_CHARGE] = True
        self.seen_multiplicities[multiplicity.round().long()] = True

    def check(self, charge: Tensor | None, multiplicity: Tensor | None) -> None:
        """Refuse what cannot be, and what the training set did not have. Reads values.

        Raises:
            ValueError: naming it.
        """
        check_ranges(charge, multiplicity)
        for name, value, seen, first, plain in (
            ("charge", charge, self.seen_charges, -LARGEST_CHARGE, 0),
            ("multiplicity", multiplicity, self.seen_multiplicities, 0, 1),
        ):
            trained = [number + first for number in seen.nonzero()[:, 0].tolist()]
            asked = {plain} if value is None else set(value.round().long().tolist())
            if value is None and trained not in ([], [plain]):
                raise ValueError(
                    f"This model was trained on structures of the {name} "
                    f"{', '.join(map(str, trained))}, and there is no {name}: give it."
                )
            if trained and (unseen := sorted(asked - set(trained))):
                raise ValueError(
                    f"A structure has the {name} {unseen[0]}, which the training data never showed "
                    f"({', '.join(map(str, trained))}): use a model that was trained on it."
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.charges.embedding_dim})"


def check_ranges(charge: Tensor | None, multiplicity: Tensor | None) -> None:
    """Refuse numbers that are not whole, or not in the tables."""
    for name, value, low, high in (
        ("charge", charge, -LARGEST_CHARGE, LARGEST_CHARGE),
        ("multiplicity", multiplicity, 1, LARGEST_MULTIPLICITY),
    ):
        if value is None:
            continue
        wrong = ~((value == value.round()) & (value >= low) & (value <= high))
        if bool(wrong.any()):
            raise ValueError(
                f"A structure has the {name} {value[wrong][0].item()}: it must be a whole number "
                f"from {low} to {high}."
            )


def is_plain(charge: Tensor | None, multiplicity: Tensor | None) -> bool:
    """Whether all are neutral singlets. Reads values."""
    neutral = charge is None or not bool(charge.any())
    return neutral and (multiplicity is None or bool((multiplicity == 1).all()))


def _both(charge: Tensor | None, multiplicity: Tensor | None) -> tuple[Tensor, Tensor]:
    if charge is None and multiplicity is None:
        raise ValueError("Neither charge nor multiplicity is there: give at least one.")
    if charge is None:
        charge = torch.zeros_like(multiplicity)  # type: ignore[arg-type]
    return charge, torch.ones_like(charge) if multiplicity is None else multiplicity
