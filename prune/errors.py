"""The two exceptions that a user may cause; everything else is a bug of ours."""


class UserError(ValueError):
    """A mistake that the user can mend. Shown as one message, without a traceback, exit code 2.

    The message says what is wrong, where (the field's path or the file and line), what is allowed, and what to do.
    """


class NotApplicableError(UserError):
    """A grid point that means nothing, like chain of thought on a set without rationales.

    In a sweep it is listed with this reason and the rest of the grid runs; alone it is an error.
    """
