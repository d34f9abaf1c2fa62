"""Scan one model layer by layer, and name the layer on which its Korean depends most.

    python examples/scan_one_model.py [FOLDER]

FOLDER gets the records of the scan (``scan/father.json``); a temporary folder is used when it is not given. Prints one
line per layer: by how much the loss on Korean and on English text rises when the layer's FFN is replaced by its mean
output. The last line names the layer with the largest rise on Korean. Takes less than a minute on a CPU.
"""

import sys
import tempfile
from pathlib import Path

import darwin_mri

MODEL = "nursery:gemma4-korean"  # a Hub id or a folder works as well
TEXTS = {"languages": ["ko", "en"], "documents": 3, "max_tokens": 64}  # more texts: tighter intervals


def main() -> None:
    """Scan the model and print its layers."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    # A config describes a pair; where one model is scanned alone, it stands in both places.
    config = darwin_mri.make_config({"name": "scan", "father": MODEL, "mother": MODEL, "scan": TEXTS}, "scan_one_model")
    scans, _ = darwin_mri.scan(config, folder, pair=False, overwrite=True)
    layers = [layer for layer in scans.father.layers if "ko" in layer.language.raw_rise]
    print("layer   Korean [95 % interval]   English")
    for layer in layers:
        korean, english = (layer.language.raw_rise[language] for language in ("ko", "en"))
        interval = f"[{korean.low:+.1%}, {korean.high:+.1%}]"
        print(f"{layer.index:<7} {korean.value:+.1%} {interval:<17} {english.value:+.1%}")
    top = max(layers, key=lambda layer: layer.language.raw_rise["ko"].value)
    print(f"Korean depends most on layer {top.index}; the records are in {folder}")


if __name__ == "__main__":
    main()
