"""The five errors of the suite. Every message says: expected ..., got ...; do ...

They live in the lowest layer, since every layer raises them. All are `WaldError`s, which the
command line prints as one line.
"""


class WaldError(Exception):
    """Something that the user can mend; the message is one line that says how."""


class UsageError(WaldError, ValueError):
    """An unknown name, an option or a value that is out of bounds, a malformed file."""


class DataError(WaldError, ValueError):
    """Observations that cannot be used: NaN, the wrong shape, an empty set."""


class CapabilityError(WaldError, NotImplementedError):
    """A method lacks an ability that was asked of it; the message names what has it."""


class StoreError(WaldError, OSError):
    """A store that is missing, unwritable, full, damaged or of another version."""


class NotInstalledError(WaldError, ImportError):
    """An optional package is absent; the message names the extra to install."""
