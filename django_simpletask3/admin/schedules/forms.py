"""The form of an own schedule."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.translation import gettext_lazy as _

from ...schedules.declared import declared_schedules
from ...schedules.definition import CatchUp, Overlap
from ...schedules.tables import Schedule
from ...schedules.targets import ScheduleTarget
from ...schedules.ticks import parse_ticks
from ...schedules.validation import faults_of

#: The columns of an own schedule, in the order of the page.
COLUMNS = (
    "key",
    "target",
    "cron",
    "zone",
    "interval",
    "fields",
    "catch_up",
    "overlap",
    "jitter",
    "deadline",
)


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """An own schedule: either a cron expression or an interval, of a target with valid fields."""

    #: The targets that the user may choose, by key; the admin sets them.
    targets: dict[str, ScheduleTarget] = {}

    target = forms.ChoiceField(label=_("task model"))
    fields = forms.JSONField(  # type: ignore[assignment]
        label=_("fields"),
        required=False,
        encoder=DjangoJSONEncoder,
        help_text=_('Columns of the new task, or arguments of the function: {"amount": 5}.'),
    )
    catch_up = forms.ChoiceField(label=_("missed ticks"), choices=CatchUp.choices)
    overlap = forms.ChoiceField(
        label=_("if the last task has not ended"), choices=Overlap.choices, initial=Overlap.ALLOW
    )
    jitter = forms.FloatField(
        label=_("jitter"), min_value=0, initial=0, required=False, help_text=_("In seconds.")
    )
    deadline = forms.FloatField(
        label=_("deadline"), min_value=1, required=False, help_text=_("In seconds.")
    )

    class Meta:
        model = Schedule
        fields = COLUMNS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        form_fields: Any = self.fields
        if "target" in form_fields:
            form_fields["target"].choices = [(key, key) for key in self.targets]

    def clean_key(self) -> str:
        """A key that no schedule of the code has."""
        key: str = self.cleaned_data["key"]
        if key.casefold() in {one.key.casefold() for one in declared_schedules()}:
            raise forms.ValidationError(_("The code has a schedule of this name."))
        return key

    def clean_fields(self) -> dict[str, Any]:
        """An object of JSON."""
        fields = self.cleaned_data["fields"] or {}
        if not isinstance(fields, dict):
            raise forms.ValidationError(_('Write an object, such as {"amount": 5}.'))
        return fields

    def clean_jitter(self) -> float:
        """No jitter if nothing was written."""
        return self.cleaned_data["jitter"] or 0.0

    def clean(self) -> dict[str, Any]:
        """Check that there are ticks, and that the fields make a task that may be saved."""
        data = {**(super().clean() or {})}
        self._clean_time(data)
        target = self.targets.get(data.get("target", ""))
        if target is not None and "fields" in data:
            for fault in faults_of(target, data["fields"]):
                self.add_error("fields", fault)
        return data

    def _clean_time(self, data: dict[str, Any]) -> None:
        cron, interval = data.get("cron", ""), data.get("interval")
        if bool(cron) == (interval is not None):
            self.add_error(None, _("Write either a cron expression or an interval."))
            return
        data["zone"] = (data.get("zone") or settings.TIME_ZONE) if cron else ""
        try:
            parse_ticks(cron or interval, data["zone"])
        except ValueError as error:
            name = "zone" if "time zone" in str(error) else "cron" if cron else "interval"
            self.add_error(name, str(error))
