"""The transports that the settings ask for."""

from collections.abc import Callable
from datetime import datetime

from personvern.notifications.mail import EmlFolder, Smtp
from personvern.notifications.outbox import Transport
from personvern.notifications.webhook import Webhook
from personvern.privacy.keys import Keys
from personvern.settings import Settings


def transports_of(settings: Settings, keys: Keys, now: Callable[[], datetime]) -> dict[str, Transport]:
    """A mail server where one is named, else files; webhooks always."""
    mail: Transport
    if settings.smtp_host:
        mail = Smtp(
            settings.smtp_host,
            settings.smtp_port,
            settings.mail_from,
            security=settings.smtp_security,
            user=settings.smtp_user,
            password=settings.smtp_password,
        )
    else:
        mail = EmlFolder(settings.outbox_folder, settings.mail_from)
    return {"mail": mail, "webhook": Webhook(keys, now)}
