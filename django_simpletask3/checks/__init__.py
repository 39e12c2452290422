"""System checks: ``manage.py check`` reports wrong settings and models before they fail."""

from __future__ import annotations

from .channels import CHANNEL_ID, POLICY_ID
from .databases import DELIVERIES_ID, OLDER_ROWS_ID, OPEN_TOMBSTONE_ID, SUBSCRIBER_ID, TRIGGERS_ID
from .models import (
    COLUMN_ID,
    EVENT_MODEL_ID,
    EXECUTOR_ID,
    RETENTION_ID,
    TIME_LIMIT_ID,
    TRIES_ID,
    WORKER_NUMBER_ID,
    check_models,
)
from .settings import GRACE_ID, LEASE_ID, REPORT_ID, SETTING_IDS, URL_ID

__all__ = [
    "CHANNEL_ID",
    "COLUMN_ID",
    "DELIVERIES_ID",
    "EVENT_MODEL_ID",
    "EXECUTOR_ID",
    "GRACE_ID",
    "LEASE_ID",
    "OLDER_ROWS_ID",
    "OPEN_TOMBSTONE_ID",
    "POLICY_ID",
    "REPORT_ID",
    "RETENTION_ID",
    "SETTING_IDS",
    "SUBSCRIBER_ID",
    "TIME_LIMIT_ID",
    "TRIES_ID",
    "TRIGGERS_ID",
    "URL_ID",
    "WORKER_NUMBER_ID",
    "check_models",
]
