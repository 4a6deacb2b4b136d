"""The whole study from its results: statistics, tables, figures and the report. `Snakefile` runs it."""
