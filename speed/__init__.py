"""Speed as ratios, each measured side by side with what it is compared to in one run: ``python -m speed --out FILE``."""
