"""The pico family, for the tests of this package."""

from tests.family import family, small

__all__ = ["family", "small"]
