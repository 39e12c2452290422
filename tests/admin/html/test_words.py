"""Workers, actors and reasons on a page."""

import pytest
from django.utils import translation

from django_simpletask3.admin.html import words


@pytest.mark.parametrize(
    ("name", "label", "node"),
    [
        ("app-2:4417:8a2c2be3-67934", "app-2 › 4417", "app-2"),
        ("fe80::1:4417:token", "fe80::1 › 4417", "fe80::1"),
        ("worker-1", "worker-1", "worker-1"),
        ("a:b:c", "a:b:c", "a:b:c"),
        ("", "", ""),
        ("\u202eapp:1:x", "\\u202eapp › 1", "\\u202eapp"),
    ],
)
def test_a_worker_is_its_node_and_its_process(name, label, node) -> None:
    assert words.worker_label(name) == label
    assert words.worker_node(name) == node


def test_the_title_has_the_full_name() -> None:
    assert words.worker("<b>:1:x") == '<span title="&lt;b&gt;:1:x">&lt;b&gt; › 1</span>'
    assert words.worker("worker-1") == "worker-1"


def test_who_and_why() -> None:
    with translation.override("en"):
        assert (words.by("maria"), words.quoted("month end")) == ("by maria", "“month end”")
        assert (words.by(""), words.quoted("")) == ("", "")
    with translation.override("zh-hans"):
        assert words.by("maria") == "由 maria"
