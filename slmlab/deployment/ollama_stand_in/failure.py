"""What a client is told where a request cannot be answered, and under which HTTP status."""

from slmlab.errors import SlmlabError


class Failure(SlmlabError):
    """A request that cannot be answered, with its HTTP status; 400 is a wrong request."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def status(problem: SlmlabError) -> int:
    """Return the HTTP status of a problem; what is not the request's fault is 500."""
    return problem.status if isinstance(problem, Failure) else 500
