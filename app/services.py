"""What the parts of the app share, made once at start-up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from app.engine_client import EngineClient
from app.jobs import Deliveries, Erasures
from app.limits import RateLimits
from app.streams import Broadcaster
from app.turns import TurnWorker
from personvern.database.connection import Database
from personvern.privacy.keys import Keys
from personvern.settings import Settings
from personvern.statements.library import Library


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    database: Database
    library: Library
    engine: EngineClient
    broadcaster: Broadcaster
    turns: TurnWorker
    erasures: Erasures
    deliveries: Deliveries
    limits: RateLimits
    keys: Keys
    clock: Callable[[], datetime]
    poll_seconds: float
    """How often a stream looks into the database by itself: seldom where this is the only app process."""
