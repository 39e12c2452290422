"""A reason of the package is shown in words, one of a user in quotation marks."""

from typing import Any

import pytest
from django.utils import translation

from django_simpletask3.admin.html.reasons import REASON_WORDS, message_words, reason_words
from django_simpletask3.execution.resolve import parse_target
from django_simpletask3.queue import Message
from django_simpletask3.queue.dead_letters import UNREADABLE
from tests.docs.event_data import reasons
from tests.testapp.models import Invoice


def test_each_reason_of_the_package_has_words() -> None:
    assert REASON_WORDS.keys() >= reasons()


def test_words_stand_in_the_place_of_codes() -> None:
    with translation.override("en"):
        assert reason_words("lease_expired") == "its lease ended without being renewed"
        assert reason_words("month end") == "“month end”"
        assert reason_words("") == ""


#: The data of a message, and what its row in the table says in Chinese.
UNDELIVERED: list[tuple[Any, str]] = [
    (["no dict"], "消息格式有误：list"),
    ({"app_label": "testapp", "model_name": "other"}, "消息属于其他模型：testapp.other"),
    ({}, "消息未指明任务"),
    ({"id": "x"}, "'x' 不是 testapp.Invoice 的主键"),
    ({"id": 1, "using": "far"}, "消息指向数据库 far，其中没有 testapp.Invoice"),
]


@pytest.mark.parametrize(("data", "words"), UNDELIVERED)
def test_a_message_that_no_worker_can_deliver_says_why_in_chinese(data: Any, words: str) -> None:
    if isinstance(data, dict):
        data = {"app_label": "testapp", "model_name": "invoice", **data}
    message = Message(id="m", channel="c", running_id="r", data=data)

    with pytest.raises(ValueError, match=r"\S") as raised:
        parse_target(Invoice, message)

    with translation.override("zh-hans"):
        assert message_words(str(raised.value)) == words


def test_other_reasons_of_messages() -> None:
    with translation.override("zh-hans"):
        assert message_words(UNREADABLE) == "所保存的内容无法读取"
        assert message_words("row cannot be read: ValueError('100%\n')").startswith("无法读取任务")
        assert message_words("of another version") == "of another version"
