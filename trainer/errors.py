"""Every error that a user can cause; the command line prints its one line and exits with status 2.

    RaretuneError
    ├── ConfigError       a setting, a study definition or a command-line value
    ├── TableError        the table, its columns or its labels
    └── CheckpointError   a checkpoint that is missing, broken or of another format

A message names what is wrong, where, and the remedy, in one line.
"""


class RaretuneError(Exception):
    """Base of all errors that have a remedy in the user's hands."""


class ConfigError(RaretuneError):
    """A setting is invalid or contradicts another one."""


class TableError(RaretuneError):
    """A table can't be used as asked."""


class CheckpointError(RaretuneError):
    """A checkpoint can't be opened safely."""
