"""Links lead somewhere, code is code, and both languages show the same."""

import ast
import re
from importlib import import_module

import pytest

from tests.docs.pages import (
    DOCS,
    PAGES,
    QUICKSTART,
    QUICKSTART_ZH,
    README,
    README_ZH,
    Page,
)

FRONT = [README, README_ZH, QUICKSTART, QUICKSTART_ZH]
SEED = '''from django.db import models
from django_simpletask3.models import SimpleTask


class Task1(SimpleTask):

    # 每个工作节点启动的工作线程数
    django_simpletask3_worker_number = 2

    task_biz_field = models.CharField(max_length=64, null=True, blank=True)

    def do_task(self):
        """异步任务处理主函数。
        """
        self.task_biz_field = "task biz data"
        return "OK"
'''


def internal_links() -> list[tuple[Page, str]]:
    return [(page, link) for page in PAGES for link in sorted(set(page.links)) if "://" not in link]


def python_blocks() -> list[object]:
    return [
        pytest.param(page, code, id=f"{page}-{number}")
        for page in PAGES
        for number, code in enumerate(page.blocks("python"), start=1)
    ]


@pytest.mark.parametrize(("page", "link"), internal_links(), ids=str)
def test_a_link_leads_somewhere(page: Page, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = (page.path.parent / name).resolve() if name else page.path

    assert target.exists()
    if anchor:
        assert anchor in Page(target).anchors


def test_every_page_is_in_the_index() -> None:
    index = Page(DOCS / "README.md")
    listed = {(DOCS / link).resolve() for link in index.links}

    assert listed >= set(DOCS.rglob("*.md")) - {index.path}


@pytest.mark.parametrize(("page", "code"), python_blocks())
def test_python_code_compiles(page: Page, code: str) -> None:
    compile(code.replace("    ...\n", ""), str(page), "exec")


@pytest.mark.parametrize(("page", "code"), python_blocks())
def test_python_code_imports_names_that_exist(page: Page, code: str) -> None:
    for node in ast.walk(ast.parse(code.replace("    ...\n", ""))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "django_simpletask3"
        ):
            module = import_module(str(node.module))
            for name in node.names:
                assert hasattr(module, name.name) or import_module(f"{node.module}.{name.name}")


@pytest.mark.parametrize("page", FRONT, ids=str)
def test_the_first_task_is_the_one_that_was_specified(page: Page) -> None:
    assert SEED in page.blocks("python")


@pytest.mark.parametrize(
    ("english", "chinese"), [(README, README_ZH), (QUICKSTART, QUICKSTART_ZH)], ids=str
)
def test_both_languages_say_the_same(english: Page, chinese: Page) -> None:
    def outline(page: Page) -> list[str]:
        return re.findall(r"^(#+) ", page.prose, re.MULTILINE)

    def skeleton(page: Page) -> list[str]:
        """The code without the words that are for people."""
        return [re.sub(r'f?"[^"]*"', '""', code) for code in page.blocks("python")]

    assert outline(english) == outline(chinese)
    assert skeleton(english) == skeleton(chinese)
    assert english.blocks("shell") == chinese.blocks("shell")
    assert english.blocks("mermaid") == chinese.blocks("mermaid")
    assert [len(row) for row in english.rows] == [len(row) for row in chinese.rows]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_names_no_place_of_one_machine(page: Page) -> None:
    assert not re.search(r"/(work|root|home|Users|tmp)/", page.text)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_table_has_equal_rows(page: Page) -> None:
    width = 0
    for line in page.prose.splitlines():
        cells = line.strip().strip("|").count("|") + 1 if line.startswith("|") else 0
        assert not (width and cells) or cells == width, line
        width = cells
