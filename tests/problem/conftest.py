"""The pico family, for the tests of this package."""

from tests.family import family

__all__ = ["family"]
