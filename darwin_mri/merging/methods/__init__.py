"""The merge methods for any number of parents: pure functions of tensors, and what each of them takes.

The table is read without torch; ``MethodSpec.function`` and ``apply.merge`` load it.
"""

from __future__ import annotations

from collections.abc import Mapping

from darwin_mri.merging.methods.spec import DIVIDES, RESCALES, MethodSpec, Parameter

DENSITY = Parameter("density", 1.0, 0, 1, per_parent=True)
GAMMA = Parameter("gamma", 0.01, 0, 1, per_parent=True)
# Twice mergekit's, which has half a window of 0.15.
WINDOW = Parameter("epsilon", 0.1, 0, per_parent=True, recipe_default=0.3)
SCALE = Parameter("scale", 1.0, recipe="lambda")
NORMALIZE = Parameter("normalize", False)
KEEP_SCALE = Parameter("rescale", "none", words=RESCALES)
CHANGED = Parameter("threshold", 1e-5, 0, recipe="epsilon")
FLOOR = Parameter("floor", 0.0, 0, recipe="", recipe_default=1e-6)

METHODS: Mapping[str, MethodSpec] = {
    spec.name: spec
    for spec in (
        MethodSpec(
            "passthrough",
            "passthrough",
            parents=(1, 1),
            base="none",
            weights="none",
            symmetric=True,
            paper="mergekit",
            parameters=(Parameter("scale", 1.0),),
        ),
        MethodSpec(
            "nuslerp",
            "nuslerp",
            parents=(2, 2),
            base="optional",
            weights="per_parent",
            symmetric=True,
            paper="Shoemake 1985; mergekit",
            parameters=(
                Parameter("flatten", True, recipe="nuslerp_flatten"),
                Parameter("row_wise", False, recipe="nuslerp_row_wise"),
            ),
        ),
        MethodSpec(
            "multislerp",
            "multislerp",
            parents=(2, None),
            base="optional",
            weights="per_parent",
            symmetric=True,
            paper="goddard.blog/posts/multislerp-wow-what-a-cool-idea",
            parameters=(
                Parameter("normalize", True, recipe="normalize_weights"),
                Parameter("eps", 1e-8, 0),
            ),
        ),
        MethodSpec(
            "karcher",
            "karcher",
            parents=(2, None),
            base="none",
            weights="per_parent",
            symmetric=True,
            paper="arXiv 2603.04972",
            parameters=(Parameter("max_iter", 10, 0), Parameter("tol", 1e-5, 0)),
        ),
        MethodSpec(
            "model_stock",
            "model_stock",
            parents=(2, None),
            base="required",
            weights="none",
            symmetric=True,
            paper="arXiv 2403.19522",
            parameters=(Parameter("filter_wise", False), FLOOR),
        ),
        MethodSpec(
            "arcee_fusion",
            "arcee_fusion",
            parents=(2, 2),
            base="none",
            weights="none",
            symmetric=False,
            paper="arcee.ai",
        ),
        MethodSpec(
            "nearswap",
            "nearswap",
            parents=(2, 2),
            base="none",
            weights="none",
            symmetric=False,
            paper="alchemonaut/QuartetAnemoi-70B-t0.0001",
            parameters=(Parameter("t", 1e-4, 0),),
        ),
        MethodSpec(
            "sce",
            "sce",
            parents=(2, None),
            base="required",
            weights="none",
            symmetric=True,
            paper="arXiv 2408.07990",
            parameters=(Parameter("select_topk", 1.0, 0, 1), FLOOR),
        ),
        MethodSpec(
            "ram",
            "ram",
            parents=(2, None),
            base="required",
            weights="none",
            symmetric=True,
            paper="arXiv 2601.13572",
            parameters=(CHANGED,),
        ),
        MethodSpec(
            "ramplus_tl",
            "ram",
            parents=(2, None),
            base="required",
            weights="none",
            symmetric=True,
            paper="arXiv 2601.13572",
            parameters=(Parameter("r", 0.1, 0), Parameter("alpha", 0.2, 0), CHANGED),
        ),
        MethodSpec(
            "della_linear",
            "sparse",
            parents=(2, None),
            base="required",
            weights="per_parent",
            symmetric=True,
            paper="arXiv 2406.11617",
            parameters=(
                DENSITY,
                WINDOW,
                Parameter("rescale", "inverse_density", words=RESCALES, recipe_default="l1"),
                NORMALIZE,
                SCALE,
            ),
            sparse=True,
            draws=True,
        ),
        MethodSpec(
            "breadcrumbs",
            "sparse",
            parents=(2, None),
            base="required",
            weights="per_parent",
            symmetric=True,
            paper="arXiv 2312.06795",
            parameters=(DENSITY, GAMMA, KEEP_SCALE, NORMALIZE, SCALE),
            sparse=True,
        ),
        MethodSpec(
            "breadcrumbs_ties",
            "sparse",
            parents=(2, None),
            base="required",
            weights="per_parent",
            symmetric=True,
            paper="arXiv 2312.06795 and 2306.01708",
            parameters=(
                DENSITY,
                GAMMA,
                KEEP_SCALE,
                Parameter("divide", "ratio", words=DIVIDES, recipe="normalize", recipe_default="none"),
                SCALE,
            ),
            sparse=True,
        ),
    )
}

MOMENTS: tuple[str, ...] = ("identity", "diagonal", "probes", "merged", "deltas")
MEASURED: tuple[str, ...] = ("diagonal", "probes", "merged")  # of the moments: those that texts are read for
REGRESSION = MethodSpec(
    "regression",
    "",
    parents=(2, None),
    base="optional",
    weights="per_parent",
    symmetric=True,
    paper="arXiv 2212.09849",
    parameters=(
        Parameter("moments", "probes", words=MOMENTS),
        Parameter("texts", "best", words=("best", "all")),
        Parameter("shrink", 1.0, 0, 1),
        Parameter("ridge", 1e-2, 0),
    ),
)
SPECS: Mapping[str, MethodSpec] = {**METHODS, REGRESSION.name: REGRESSION}
"""Every method with parameters of its own: those of mergekit, and regression, which needs more than tensors."""
