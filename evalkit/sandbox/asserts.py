"""Reading tests before they are run: which asserts they have, and which modules they will import."""

from __future__ import annotations

import ast
import sys
from functools import lru_cache

from evalkit.sandbox.wire import TALLY

__all__ = ["count_asserts", "imported"]


@lru_cache(maxsize=4096)
def count_asserts(test: str) -> tuple[str, int]:
    """Rewrite a test so that it notes whether each assert holds, and goes on after one that does not.

    ``assert False`` and other constants mark places rather than test anything: they stay as they are and do not
    count.

    Args:
        test: Python source.

    Returns:
        The new source, and how many asserts it notes; a test that does not compile comes back as it is, with 0.

    >>> count_asserts("assert f(1) == 2\\nassert True")[1]
    1
    """
    try:
        tree = ast.parse(test)
        counter = _Counter()
        return ast.unparse(ast.fix_missing_locations(counter.visit(tree))), counter.total
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return test, 0


@lru_cache(maxsize=4096)
def imported(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Modules of Python's own library that the texts import at their top level, sorted.

    >>> imported(("import math\\nfrom typing import List\\nimport numpy",))
    ('math', 'typing')
    """
    found: set[str] = set()
    for text in texts:
        try:
            statements = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in statements:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return tuple(sorted(name for name in found if name in sys.stdlib_module_names and name not in _LOUD))


_LOUD = ("antigravity", "this")  # importing them does something


class _Counter(ast.NodeTransformer):
    total = 0

    def visit_Assert(self, node: ast.Assert) -> ast.AST:  # the name that ast looks for
        if isinstance(node.test, ast.Constant):
            return node
        number, self.total = self.total, self.total + 1
        call = ast.Call(ast.Name(TALLY, ast.Load()), [ast.Constant(number), node.test], [])
        missed = ast.Call(ast.Name(TALLY, ast.Load()), [ast.Constant(number), ast.Constant(False)], [])
        handler = ast.ExceptHandler(ast.Name("Exception", ast.Load()), None, [ast.Expr(missed)])
        return ast.copy_location(ast.Try([ast.Expr(call)], [handler], [], []), node)
