"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend: a file, a config key, a folder.

    The message says which file or key, what was found, what was expected and how to mend it. The
    scripts print it without a stack trace and end with status 2.
    """
