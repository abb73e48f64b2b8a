"""Every error a learner can meet, each one sentence: what is wrong and what to do.

The exit codes are those of the `slmlab` command: 1 a check failed, 2 wrong usage,
3 not possible on this machine.
"""


class SlmlabError(Exception):
    """A problem that slmlab can explain; its message is written for the learner."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Show the sentence alone in a notebook: IPython asks the exception how to print itself."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(SlmlabError):
    """Something was asked for in a way that cannot be answered."""

    exit_code = 2


class UnknownModel(UsageError):
    """No model card has this name."""


class LicenceNotAccepted(UsageError):
    """The model's licence must be accepted before it is downloaded."""


class NotPossibleHere(SlmlabError):
    """This machine, or its network, cannot do what was asked."""

    exit_code = 3


class NoRoom(NotPossibleHere):
    """The disk has too little room for what was asked."""


class Unwritable(NotPossibleHere, OSError):
    """A folder cannot be written to: an `OSError` still, for those who say what was to go there."""


class FetchError(NotPossibleHere):
    """A model could not be brought here: no network, no source."""


class EnvironmentFailed(NotPossibleHere):
    """An environment could not be made or used: no network, no such package."""


class VerificationError(SlmlabError):
    """A file is not the file that was promised."""


class InvalidModelFile(SlmlabError):
    """A model file is damaged, or is not a model file."""


class QuantizationError(SlmlabError):
    """A model file could not be converted or quantised."""


class EngineError(SlmlabError):
    """A model could not be loaded or run."""


class ServerFailed(SlmlabError):
    """A server did not start, or ended while it was needed."""


class AuditBroken(SlmlabError):
    """An audit log is not as it was written: a line was changed, or some are missing."""


class Conflict(SlmlabError):
    """Two copies of a model both changed, and one would have to overwrite the other."""


class NotAllowed(SlmlabError):
    """Somebody asked for what their role does not permit."""


class LabError(SlmlabError):
    """A lab could not be executed."""


def first_line(problem: Exception) -> str:
    """Return the first line of what an error says, or its type where it says nothing."""
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)
