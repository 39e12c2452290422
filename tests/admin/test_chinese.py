"""Who reads Chinese gets Chinese pages."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_simpletask3.states import Status
from tests.admin.pages import EXECUTE, RESET, post_action, shown_messages, text, url
from tests.steps import bring_to
from tests.testapp.models import Invoice


@pytest.fixture
def reader(db: None) -> Client:
    client = Client(headers={"accept-language": "zh-hans"})
    client.force_login(User.objects.create_superuser("小明"))
    return client


def test_the_list_is_chinese(reader) -> None:
    bring_to(Invoice.objects.create(), Status.SUCCESS)

    words = text(reader.get(url(Invoice)))

    for word in (
        "立即执行（排到最前）",
        "重置（无论状态，重新执行）",
        "状态",
        "等待",
        "已定时",
        "执行成功",
        "执行失败",
        "已取消",
        "当前情况",
        "入队或完成时间",
    ):
        assert word in words


def test_a_task_and_its_timeline_are_chinese(reader) -> None:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)

    words = text(reader.get(url(task)))

    for word in ("时间线", "已入队", "已开始", "已执行", "事件", "优先级", "尝试", "取消…"):
        assert word in words


def test_the_explanation_of_a_task_is_chinese(reader) -> None:
    task = Invoice.objects.enqueue(blocked="finance")

    words = text(reader.get(url(task)))

    assert "已阻塞" in words
    assert "起已阻塞（finance），直到解除阻塞。" in words


def test_the_outcome_of_an_action_is_reported_in_chinese(reader) -> None:
    task = Invoice.objects.create()

    executed = shown_messages(post_action(reader, EXECUTE, task))
    reset = shown_messages(post_action(reader, RESET, task))

    assert executed == ["1 个任务将立即执行。"]
    assert reset[0].startswith("已重置 1 个任务")
    assert task.events.last().actor == "小明"
