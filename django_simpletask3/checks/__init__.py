"""System checks: ``manage.py check`` reports wrong settings and models before they fail."""

from __future__ import annotations

from ..models.task import INSTALLATION_ID
from .channels import CHANNEL_ID, POLICY_ID
from .databases import DELIVERIES_ID, OLDER_ROWS_ID, OPEN_TOMBSTONE_ID, SUBSCRIBER_ID, TRIGGERS_ID
from .dependencies import PREREQUISITE_ID
from .expiry import EXPIRY_ID
from .limits import LIMIT_ID, SNAPSHOT_ID
from .middleware import MIDDLEWARE_ID
from .models import (
    EVENT_MODEL_ID,
    EXECUTOR_ID,
    RETENTION_ID,
    SIGNATURE_ID,
    TIME_LIMIT_ID,
    TRIES_ID,
    WORKER_NUMBER_ID,
    check_models,
)
from .names import (
    ATTRIBUTE_ID,
    BARE_ATTRIBUTE_ID,
    COLUMN_ID,
    HIDDEN_ID,
    KEY_ID,
    SETTING_ID,
)
from .retries import BACKOFF_ID, DEADLINE_ID, ERRORS_ID, NO_RETRIES_ID
from .schedules import SCHEDULE_ID
from .settings import GRACE_ID, LEASE_ID, REPORT_ID, SETTING_IDS, URL_ID
from .unique import ISOLATION_ID, UNIQUE_ID, UNSET_ID

__all__ = [
    "ATTRIBUTE_ID",
    "BACKOFF_ID",
    "BARE_ATTRIBUTE_ID",
    "CHANNEL_ID",
    "COLUMN_ID",
    "DEADLINE_ID",
    "DELIVERIES_ID",
    "ERRORS_ID",
    "EVENT_MODEL_ID",
    "EXECUTOR_ID",
    "EXPIRY_ID",
    "GRACE_ID",
    "HIDDEN_ID",
    "INSTALLATION_ID",
    "ISOLATION_ID",
    "KEY_ID",
    "LEASE_ID",
    "LIMIT_ID",
    "MIDDLEWARE_ID",
    "NO_RETRIES_ID",
    "OLDER_ROWS_ID",
    "OPEN_TOMBSTONE_ID",
    "POLICY_ID",
    "PREREQUISITE_ID",
    "REPORT_ID",
    "RETENTION_ID",
    "SCHEDULE_ID",
    "SETTING_ID",
    "SETTING_IDS",
    "SIGNATURE_ID",
    "SNAPSHOT_ID",
    "SUBSCRIBER_ID",
    "TIME_LIMIT_ID",
    "TRIES_ID",
    "TRIGGERS_ID",
    "UNIQUE_ID",
    "UNSET_ID",
    "URL_ID",
    "WORKER_NUMBER_ID",
    "check_models",
]
