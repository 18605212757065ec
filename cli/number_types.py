"""Number types for options."""

from ..bench.options import Finite as Finite
from ..bench.options import Number as Number
