from django.db import migrations

from django_simpletask3.operations import ProtectEvents


class Migration(migrations.Migration):
    dependencies = [
        ("migrated_app", "0001_initial"),
        ("django_simpletask3", "0001_initial"),
    ]

    operations = [
        ProtectEvents("bookevent"),
        ProtectEvents("scrollrecord"),
        ProtectEvents("atlasevent"),
    ]
