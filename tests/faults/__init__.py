"""Fault injection: the bring-up is hit at every stage, and the next run must finish what is left."""
