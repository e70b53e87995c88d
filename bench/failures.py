"""Why a run ends without a table."""


class BenchFailed(Exception):
    """The figures would be wrong or are missing; the message says why and what to do."""
