"""The exceptions that are meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend: a file, a config key, a folder.

    The message says which file or key, what was found, what was expected and how to mend it. The
    scripts print it without a stack trace and end with status 2.
    """


class Interrupted(BaseException):
    """The program was asked to stop, by SIGTERM or a notice of preemption, and has.

    Not an `Exception`, as `KeyboardInterrupt` is not, so that no handler takes it for a failure. The
    scripts print its message and end with status 75 (`EX_TEMPFAIL`: try again).
    """
