"""What axe-core finds wrong with a page."""

from typing import Any

#: But for Django's own breadcrumbs, and its link to all rows. To describe what is right, too, takes
#: most of the time.
_RUN = """axe.run(
    { exclude: ['div.breadcrumbs', '#toolbar .quiet'] }, { resultTypes: ['violations'] }
)"""


def violations(page: Any, axe: str) -> list[tuple[str, str]]:
    """What axe-core, whose source is ``axe``, finds serious: rules, and where they are broken.

    The policy of the page does not keep a debugger from running it.
    """
    debugger = page.context.new_cdp_session(page)
    debugger.send("Runtime.evaluate", {"expression": axe})
    run = {"expression": _RUN, "awaitPromise": True, "returnByValue": True}
    report = debugger.send("Runtime.evaluate", run)["result"]["value"]
    debugger.detach()
    return [
        (one["id"], node["html"][:200])
        for one in report["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
