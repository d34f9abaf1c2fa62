"""Speed as ratios, each measured side by side with its alternative in one run: ``python -m speed --out FILE``."""
