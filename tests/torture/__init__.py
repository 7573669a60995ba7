"""What is promised of durability, tried out on real processes, with figures.

``python -m tests.torture`` runs it at full scale; tests run the same code with small numbers.
"""

__all__ = ["Figures"]

Figures = dict[str, int | float | str]
"""What a scenario has measured, by name."""
