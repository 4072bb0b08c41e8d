"""First configurations, proposed for data of a user: what `geqlib new` writes."""

from geqlib.proposals.proposal import Kind, Proposal, propose

__all__ = ["Kind", "Proposal", "propose"]
