"""How a child is found: genome spaces, the search, its ledger, and the null children beside it."""

from darwin_mri.breeding.ledger import Ledger
from darwin_mri.breeding.nulls import null_genomes
from darwin_mri.breeding.search import Evaluation, SearchResult, search
from darwin_mri.breeding.spaces import Gene, Space, make_space

__all__ = ["Evaluation", "Gene", "Ledger", "SearchResult", "Space", "make_space", "null_genomes", "search"]
