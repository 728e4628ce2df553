"""The pure part of Felix: updates of the whole cluster in, messages for one node's dataplane out.

`Calculation` is the whole public surface. Nothing here touches the kernel, the API, a clock or the event loop.
"""

from tortie.felix.calc.calculation import Calculation

__all__ = ["Calculation"]
