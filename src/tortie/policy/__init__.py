"""Policy evaluation as pure functions: `World` holds a cluster's policy, `evaluate` answers for one packet and why.

For `tortie why`, previews, reports and tests. Nothing here knows the kernel, the API or Felix's calculation.
"""

from tortie.policy.engine import evaluate
from tortie.policy.packet import Packet, Settings, Stage, Step, Verdict
from tortie.policy.world import World

__all__ = ["Packet", "Settings", "Stage", "Step", "Verdict", "World", "evaluate"]
