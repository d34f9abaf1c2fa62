"""The kernels compiled for GPUs without one, by Triton and NVIDIA's assembler, which Triton's wheel brings.

    python -m tests.kernels.compiled

Shows that a kernel is valid; that it is right is shown by the interpreter (``interpreted.py``).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from darwin_mri.kernels import blend, elect, sums

compiler: Any = import_module("triton.compiler")
targets: Any = import_module("triton.backends.compiler")
tl: Any = import_module("triton.language")

CAPABILITIES = (80, 90, 100)  # A100, H100, B200
DTYPES = {"bf16": tl.bfloat16, "fp16": tl.float16, "fp32": tl.float32}
WIDTH = 2560
CHOICES = (False, True)


def compile_for(
    capability: int, kernel: Any, arguments: Mapping[str, str], constants: Mapping[str, Any], **options: Any
) -> None:
    signature = {**arguments, **dict.fromkeys(constants, "constexpr")}
    source = compiler.ASTSource(fn=kernel, signature=signature, constexprs=dict(constants))
    kernel_ = compiler.compile(source, target=targets.GPUTarget("cuda", capability, 32), options=options)
    assert kernel_.asm["cubin"], f"{kernel} for {capability}"


def main() -> None:
    """Every kernel, dtype and constant, for every capability; an error of Triton's says which does not compile."""
    for capability, (dtype, rounded) in itertools.product(CAPABILITIES, DTYPES.items()):
        values, rows = {"values": f"*{dtype}"}, {"rows": "*i64"}
        tile = {"WIDTH": WIDTH, "TALL": sums.TALL, "NARROW": sums.NARROW}
        totals = dict.fromkeys(("total", "square", "peak"), "*fp32")
        compile_for(capability, sums._down_columns, {**values, **rows, "count": "i32", **totals}, tile)
        for choice in CHOICES:
            along = {**values, "other": f"*{dtype}", **rows, "count": "i32", "out": "*fp32"}
            compile_for(
                capability,
                sums._along_rows,
                along,
                {"WIDTH": WIDTH, "DOT": choice, "ROWS": sums.ROWS, "COLUMNS": sums.COLUMNS},
            )
            compile_for(
                capability,
                sums._by_group,
                {**values, **rows, "bounds": "*i64", "out": "*fp32"},
                {"POSITIVE": choice, **tile},
            )
            blended = dict.fromkeys(("origin", "other", "out"), f"*{dtype}")
            compile_for(
                capability,
                blend._blend,
                {**blended, "ratio": "fp32", "count": "i32"},
                {"TOWARD": choice, "ROUNDED": rounded, "BLOCK": blend.BLOCK},
                enable_fp_fusion=False,
            )
        parents = dict.fromkeys(("base", "father", "mother"), f"*{dtype}")
        masks = {"keep_father": "*u8", "keep_mother": "*fp32"}
        numbers = (
            "level_father", "level_mother", "factor_father", "factor_mother", "weight", "ratio",
            "slope_father", "share_father", "slope_mother", "share_mother", "both_share", "scale",
        )  # fmt: skip
        elected = {**parents, **masks, "out": f"*{dtype}", "count": "i32", **dict.fromkeys(numbers, "fp32")}
        for given, trim, masked in itertools.product(CHOICES, CHOICES, CHOICES):
            constants = {"GIVEN": given, "TRIM": trim, "MASK_FATHER": masked, "MASK_MOTHER": masked}
            constants |= {"ROUNDED": rounded, "BLOCK": elect.BLOCK}
            compile_for(capability, elect._elect, elected, constants, enable_fp_fusion=False)
    print("compiled")


if __name__ == "__main__":
    main()
