"""Resources turned into an ordered stream of dataplane updates."""

from tortie.syncer.syncer import Sink, Syncer, SyncStatus

__all__ = ["Sink", "SyncStatus", "Syncer"]
