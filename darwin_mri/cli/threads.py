"""How the command line's threads wait, and how many there are: set in its environment before torch is loaded."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from darwin_mri.cores import affine, allowed

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # any of them says how OpenMP's threads wait


def set_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep while they wait, and be no more than a container's quota grants.

    What the user has set stays. Processes that are started later inherit it. The number does not follow the load:
    torch's sums round differently with another number of threads, and a resumed run must give the same bytes
    (docs/decisions/0027).

    Args:
        environment: what is changed.
    """
    if not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "passive"
    if allowed() < affine():  # OpenMP knows the affinity and not the quota
        environment.setdefault("OMP_NUM_THREADS", str(allowed()))
