"""Saltern's plain Python: the cluster's definition, what follows from it, and the schedules. No import of Salt."""
