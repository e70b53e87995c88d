"""Read-through: a local layer, over an optional shared layer, over the loader. ``Cache`` says what it promises."""

from teahouse.caching.cache import Cache, Loader
from teahouse.caching.local import MISSING, Missing
from teahouse.caching.shared import Held, SharedLayer, Times

__all__ = ["MISSING", "Cache", "Held", "Loader", "Missing", "SharedLayer", "Times"]
