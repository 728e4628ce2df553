"""From the calculation's messages to the kernel: rules, sets, routes, devices, settings; and reports back.

`Dataplane` is the whole of it for the daemon; `DataplaneConfig` its parameters.
"""

from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.driver import Dataplane

__all__ = ["Dataplane", "DataplaneConfig"]
