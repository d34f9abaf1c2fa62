"""Errors a user can act on: each message says what happened, where, and what to do next."""


class DarwinError(Exception):
    """Base of every expected failure; the command line prints it in one line and exits with ``exit_code``."""

    exit_code = 1


class InputError(DarwinError):
    """Something given by the user (path, model, file, option) cannot be used."""


class CheckpointError(InputError):
    """A model folder is damaged, incomplete or not a model."""


class SpoiledRun(InputError):
    """What a run has written rests on inputs that changed meanwhile: it cannot be resumed."""


class OutputError(DarwinError):
    """A file could not be written, although its folder could when the work began (a full disk, a folder removed)."""


class ConfigError(DarwinError):
    """The configuration is wrong: exit code 2, as any wrong usage."""

    exit_code = 2


class BrokenModel(DarwinError, ArithmeticError):
    """A model's numbers are not finite; a candidate of a search that is broken has failed, and the search goes on."""


class GateError(DarwinError):
    """A stated gate is not passed.

    Either there is no room for the run, which then does not begin, or the child fails its health check after
    everything is written.
    """

    exit_code = 3
