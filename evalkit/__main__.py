"""``python -m evalkit``: the same as the ``evalkit`` command."""

from __future__ import annotations

from evalkit.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
