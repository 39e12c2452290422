"""What is said of each problem; gettext translates it when it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_noop as _
from django.utils.translation import ngettext_lazy


@dataclass(frozen=True, slots=True)
class ProblemText:
    """A sentence that tells all, and its parts for a page.

    ``brief`` is the sentence without errors. ``title`` is what is wrong, in a few words; if it is
    empty, ``brief`` or the sentence is short enough. ``consequence`` and ``advice`` may be empty.
    """

    sentence: str | Promise
    brief: str = ""
    title: str | Promise = ""
    consequence: str | Promise = ""
    advice: str = ""


DATABASE = ProblemText(
    sentence=_("The database %(database)r does not answer: %(error)s"),
    brief=_("The database %(database)r does not answer."),
    consequence=_("Its tasks do not run, and are missing on this page."),
    advice=_("Start it, or look at its log."),
)
MIGRATIONS = ProblemText(
    sentence=_(
        "The database %(database)r has unapplied migrations: run manage.py migrate (%(error)s)."
    ),
    brief=_("The database %(database)r has unapplied migrations: run manage.py migrate."),
    title=_("The database %(database)r has unapplied migrations"),
    consequence=_("Its tasks do not run, and are missing on this page."),
    advice=_("Run manage.py migrate."),
)
_REDIS_CONSEQUENCE = _("Running tasks go on; nodes look for new ones in the tables, more slowly.")
REDIS = ProblemText(
    sentence=_("Redis does not answer: %(error)s"),
    brief=_("Redis does not answer."),
    consequence=_REDIS_CONSEQUENCE,
    advice=_("Start it, or look at its log."),
)
REDIS_REFUSES = ProblemText(
    sentence=_("Redis refuses a command: %(error)s"),
    brief=_("Redis refuses a command."),
    consequence=_REDIS_CONSEQUENCE,
    advice=_("Look at the rights of its user, and at its memory."),
)
EXPIRED_LEASES = ProblemText(
    sentence=ngettext_lazy(
        "%(expired_leases)d running task of %(model)s in %(database)r has an expired lease, for "
        "%(longest_expired).0f s: no worker recovers it.",
        "%(expired_leases)d running tasks of %(model)s in %(database)r have an expired lease, the "
        "oldest for %(longest_expired).0f s: no worker recovers them.",
        "expired_leases",
    ),
    title=_("Lost tasks of %(model)s are not recovered"),
    consequence=ngettext_lazy(
        "%(expired_leases)d task was held by a worker that no longer renews it.",
        "%(expired_leases)d tasks were held by workers that no longer renew them.",
        "expired_leases",
    ),
    advice=_("Start a node, or look at the log of one: it has them run again."),
)
NO_WORKER = ProblemText(
    sentence=_("No worker reports. Start one: python manage.py django-simpletask3-server"),
    title=_("No node reports"),
    consequence=_("Tasks can be enqueued, and wait until a node is started."),
    advice=_("Start one: python manage.py django-simpletask3-server"),
)
UNSERVED_QUEUE = ProblemText(
    sentence=ngettext_lazy(
        "%(messages)d task of %(model)s waits, and no worker runs it.",
        "%(messages)d tasks of %(model)s wait, and no worker runs them.",
        "messages",
    ),
    title=_("%(model)s stand still"),
    consequence=ngettext_lazy(
        "No node takes this queue. %(messages)d task waits.",
        "No node takes this queue. %(messages)d tasks wait.",
        "messages",
    ),
    advice=_("Start a node that runs this task model."),
)
STUCK_QUEUE = ProblemText(
    sentence=ngettext_lazy(
        "%(due)d task of %(model)s in %(database)r waits for %(longest_wait).0f s, and none runs, "
        "although a worker takes them.",
        "%(due)d tasks of %(model)s in %(database)r wait, the oldest for %(longest_wait).0f s, and "
        "none runs, although a worker takes them.",
        "due",
    ),
    title=_("%(model)s stand still"),
    consequence=ngettext_lazy(
        "A node takes this queue, and yet none of its tasks runs. %(due)d task waits.",
        "A node takes this queue, and yet none of its tasks runs. %(due)d tasks wait.",
        "due",
    ),
    advice=_("The page of the oldest task says why it does not run; look at the node's log, too."),
)
NO_RECOVERY = ProblemText(
    sentence=_(
        "No worker has recovered expired leases for %(seconds).0f s: look at the workers' logs."
    ),
    title=_("No node recovers lost tasks"),
    consequence=_("Tasks of a worker that is lost do not run again."),
    advice=_("Look at the logs of the nodes."),
)
LOST_NODE = ProblemText(
    sentence=ngettext_lazy(
        "The node %(node)s is lost; %(unfinished)d of its tasks has not run again.",
        "The node %(node)s is lost; %(unfinished)d of its tasks have not run again.",
        "unfinished",
    ),
    title=_("The node %(node)s is lost"),
    consequence=ngettext_lazy(
        "%(again)d of its %(tasks)d tasks have run again, %(unfinished)d has not yet.",
        "%(again)d of its %(tasks)d tasks have run again, %(unfinished)d have not yet.",
        "unfinished",
    ),
    advice=_("If it comes back, its late results are refused."),
)
DEAD_LETTERS = ProblemText(
    sentence=ngettext_lazy(
        "%(dead_letters)d message of %(model)s could not be delivered: read it in the admin, and "
        "put it back.",
        "%(dead_letters)d messages of %(model)s could not be delivered: read them in the admin, "
        "and put them back.",
        "dead_letters",
    ),
    title=ngettext_lazy(
        "%(dead_letters)d message of %(model)s could not be delivered",
        "%(dead_letters)d messages of %(model)s could not be delivered",
        "dead_letters",
    ),
    consequence=_("No worker could tell which task they mean, so they start none."),
    advice=_("Read why, and put them back when the cause is gone."),
)
DEAD_DELIVERIES = ProblemText(
    sentence=ngettext_lazy(
        "%(dead)d delivery to %(subscription)r in %(database)r is dead: retry it in the admin.",
        "%(dead)d deliveries to %(subscription)r in %(database)r are dead: retry them in the "
        "admin.",
        "dead",
    ),
    title=ngettext_lazy(
        "%(dead)d delivery to %(subscription)s was given up",
        "%(dead)d deliveries to %(subscription)s were given up",
        "dead",
    ),
    consequence=_("The subscriber has not seen these events."),
    advice=_("Read their errors, and retry them when the cause is gone."),
)
UNKNOWN_SUBSCRIBER = ProblemText(
    sentence=ngettext_lazy(
        "%(waiting)d delivery in %(database)r waits for %(subscription)r, but no such subscriber "
        "is registered.",
        "%(waiting)d deliveries in %(database)r wait for %(subscription)r, but no such subscriber "
        "is registered.",
        "waiting",
    ),
    title=_("No subscriber %(subscription)s is registered"),
    consequence=ngettext_lazy(
        "%(waiting)d delivery waits for it.", "%(waiting)d deliveries wait for it.", "waiting"
    ),
    advice=_("Bring its code back, or delete the deliveries."),
)
SLOW_SUBSCRIBER = ProblemText(
    sentence=_("The subscriber %(subscription)r in %(database)r is %(lag).0f s behind."),
    title=_("The subscriber %(subscription)s is behind"),
    consequence=ngettext_lazy(
        "%(waiting)d event waits for it.", "%(waiting)d events wait for it.", "waiting"
    ),
    advice=_("Look at the errors of its deliveries."),
)
OVERDUE_SCHEDULE = ProblemText(
    sentence=_(
        "The schedule %(schedule)s in %(database)r is overdue for %(overdue).0f s: no node fires "
        "it."
    ),
    title=_("The schedule %(schedule)s is overdue"),
    consequence=_("No node fires it."),
    advice=_("Start a node, or look at the log of one."),
)
