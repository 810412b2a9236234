"""These tests use the lab of the cluster tests."""

from tests.cluster.conftest import first_up, owned, recorders, shell, table

__all__ = ["first_up", "owned", "recorders", "shell", "table"]
