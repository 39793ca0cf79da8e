"""Errors meant for people: one line that says what was found, what was expected, and what to do next."""


class UserError(ValueError):
    """Something outside the program is wrong: a file, a recipe, an argument. The command line prints it, exit 1."""


class BadUsage(UserError):
    """The command itself was given wrongly. The command line prints it on one line and exits with 2."""


class MissingExtra(UserError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(f"{why} needs the package {package!r}; install it with: pip install 'llmpose[{extra}]'")
