"""The wiring: one file per verb; the only room that reads settings and paths."""
