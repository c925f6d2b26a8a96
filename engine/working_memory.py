"""The engine's working memory: one small row a conversation, with its slots and its last few turns.

It is no record, that is the app's database. Rasa's own SQL store reads the whole session twice a turn, so that turns
get slower as a conversation goes on; here a turn costs the same at any length.
"""

import json
import time
from typing import Any, Iterable, List, Optional, Text

import sqlalchemy as sa
from rasa.core.tracker_store import SerializedTrackerAsText, TrackerStore
from rasa.shared.core.constants import ACTION_LISTEN_NAME
from rasa.shared.core.domain import Domain
from rasa.shared.core.events import ActionExecuted, ActiveLoop, Event, SlotSet, UserUttered, deserialise_events
from rasa.shared.core.trackers import DialogueStateTracker

from engine.settings import setting

TURNS_KEPT = 2


class WorkingMemory(TrackerStore, SerializedTrackerAsText):
    def __init__(
        self, domain: Optional[Domain] = None, event_broker: Any = None, url: Optional[Text] = None, **kwargs: Any
    ) -> None:
        super().__init__(domain, event_broker, **kwargs)
        address = sa.engine.make_url(setting("ENGINE_DATABASE_URL", "sqlite:///var/engine.db"))
        self.is_sqlite = address.get_backend_name() == "sqlite"
        if self.is_sqlite:
            # One connection for the engine's one thread of work.
            self.database = sa.create_engine(
                address, poolclass=sa.pool.StaticPool, connect_args={"timeout": 10, "check_same_thread": False}
            )
            with self.database.connect() as connection:
                for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON", "busy_timeout=10000"):
                    connection.exec_driver_sql("PRAGMA " + pragma)
        else:
            self.database = sa.create_engine(address, pool_pre_ping=True, hide_parameters=True)
        with self.database.begin() as connection:
            connection.execute(
                sa.text(
                    "CREATE TABLE IF NOT EXISTS working_memory ("
                    "conversation_id VARCHAR(64) PRIMARY KEY, memory TEXT NOT NULL, last_message TEXT, "
                    "changed_at DOUBLE PRECISION NOT NULL)"
                )
            )
            connection.execute(
                sa.text("CREATE INDEX IF NOT EXISTS ix_working_memory_changed_at ON working_memory (changed_at)")
            )

    async def create_tracker(self, sender_id: Text, append_action_listen: bool = True) -> DialogueStateTracker:
        """As Rasa's, without saving: nothing has happened yet."""
        tracker = self.init_tracker(sender_id)
        if append_action_listen:
            tracker.update(ActionExecuted(ACTION_LISTEN_NAME))
        return tracker

    async def retrieve(self, sender_id: Text) -> Optional[DialogueStateTracker]:
        with self.database.connect() as connection:
            row = connection.execute(
                sa.text("SELECT memory FROM working_memory WHERE conversation_id = :id"), {"id": sender_id}
            ).fetchone()
        if row is None:
            return None
        events: List[Event] = deserialise_events(json.loads(row[0]))
        return DialogueStateTracker.from_events(
            sender_id, events, self.domain.slots, max_event_history=self.max_event_history, domain=self.domain
        )

    async def save(self, tracker: DialogueStateTracker) -> None:
        last = tracker.latest_message.message_id if tracker.latest_message else None
        values = {
            "id": tracker.sender_id,
            "memory": json.dumps([event.as_dict() for event in self._kept(tracker)]),
            "last": last,
            "now": time.time(),
        }
        with self.database.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO working_memory (conversation_id, memory, last_message, changed_at) "
                    "VALUES (:id, :memory, :last, :now) ON CONFLICT (conversation_id) DO UPDATE SET "
                    "memory = excluded.memory, last_message = excluded.last_message, changed_at = excluded.changed_at"
                ),
                values,
            )

    def _kept(self, tracker: DialogueStateTracker) -> List[Event]:
        """The slots and the loop as events, then the last turns; a turn begins with `action_listen`."""
        events = list(tracker.events)
        starts = [
            index
            for index, event in enumerate(events)
            if isinstance(event, ActionExecuted)
            and event.action_name == ACTION_LISTEN_NAME
            and index + 1 < len(events)
            and any(isinstance(later, UserUttered) for later in events[index + 1 : index + 3])
        ]
        if len(starts) <= TURNS_KEPT:
            return events
        cut = starts[-TURNS_KEPT]
        before = DialogueStateTracker.from_events(
            tracker.sender_id, events[:cut], self.domain.slots, domain=self.domain
        )
        kept: List[Event] = [
            SlotSet(name, value)
            for name, value in before.current_slot_values().items()
            if value is not None and name != "session_started_metadata"
        ]
        if before.active_loop:
            kept.append(ActiveLoop(before.active_loop.name))
        return kept + events[cut:]

    def has_seen(self, conversation_id: Text, message_id: Text) -> bool:
        with self.database.connect() as connection:
            row = connection.execute(
                sa.text("SELECT last_message FROM working_memory WHERE conversation_id = :id"),
                {"id": conversation_id},
            ).fetchone()
        return row is not None and row[0] == message_id

    def forget(self, conversation_id: Text) -> None:
        with self.database.begin() as connection:
            connection.execute(
                sa.text("DELETE FROM working_memory WHERE conversation_id = :id"), {"id": conversation_id}
            )
        self._empty_log()

    def forget_older_than(self, moment: float) -> int:
        with self.database.begin() as connection:
            count = connection.execute(
                sa.text("DELETE FROM working_memory WHERE changed_at < :moment"), {"moment": moment}
            ).rowcount
        if count:
            self._empty_log()
        return count

    def _empty_log(self) -> None:
        if self.is_sqlite:
            with self.database.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def keys(self) -> Iterable[Text]:
        with self.database.connect() as connection:
            return [row[0] for row in connection.execute(sa.text("SELECT conversation_id FROM working_memory"))]
