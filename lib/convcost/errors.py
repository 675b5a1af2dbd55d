"""What goes wrong, in words a user can act on."""


class ConvcostError(Exception):
    """An error whose text is meant for the user: what, where, what to do.

    The command line prints the text alone and exits with 2; a traceback is for everything else,
    which is a bug of ours.
    """


class BadInputError(ConvcostError, ValueError):
    """The caller gave something that cannot be used (a name, a shape, a file, a parameter)."""


class DamagedFileError(ConvcostError):
    """A file is there, but is not what it should be (truncated, wrong hash, wrong columns)."""
