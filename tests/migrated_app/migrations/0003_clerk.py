"""SQLite builds the table of records anew for this, and loses its triggers."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("migrated_app", "0002_protect")]

    operations = [
        migrations.AlterField(
            "scrollrecord", "clerk", models.CharField(max_length=64, blank=True)
        ),
    ]
