"""Hostile inputs in volume: ``python -m tests.fuzz --inputs 10000 --seed 1``."""
