"""What the importers raise."""

from oxd_server.store.base import StoreError

__all__ = ["SourceError"]


class SourceError(StoreError):
    """The source cannot be read. The text names the place, and never what stands there."""
