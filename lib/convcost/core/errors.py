"""What goes wrong, in words a user can act on."""

import contextlib
import errno


class ConvcostError(Exception):
    """An error whose text is meant for the user: what, where, what to do.

    The command line prints the text alone and exits with 2; a traceback is for everything else,
    which is a bug of ours.
    """


def cannot_write(error: OSError, path: object = None) -> ConvcostError:
    """What an OSError of writing means, and what to do; `path` where the error may not say it.

    >>> print(cannot_write(OSError(28, "No space left on device"), "a.csv"))
    a.csv cannot be written (No space left on device): make room there (df -h), then start again
    """
    what = path or error.filename2 or error.filename or "a file"
    do = {
        errno.ENOSPC: "make room there (df -h), then start again",
        errno.EDQUOT: "your quota is spent: remove something, then start again",
        errno.EROFS: "that file system is read-only: name a place where you may write",
        errno.EACCES: "name a place where you may write, or change its rights",
        errno.EPERM: "name a place where you may write, or change its rights",
        errno.ENAMETOOLONG: "give it a shorter name",
    }.get(error.errno, "name another place, or look what is in the way")
    return ConvcostError(f"{what} cannot be written ({error.strerror or error}): {do}")


@contextlib.contextmanager
def writing(path: object):
    """A block that writes `path`; an OSError in it becomes `cannot_write`."""
    try:
        yield
    except OSError as error:
        raise cannot_write(error, path) from error


class BadInputError(ConvcostError, ValueError):
    """The caller gave something that cannot be used (a name, a shape, a file, a parameter)."""


class DamagedFileError(ConvcostError):
    """A file is there, but is not what it should be (truncated, wrong hash, wrong columns)."""
