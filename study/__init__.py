"""The whole study from its results: statistics, tables, figures and the report. `Snakefile` runs it."""

from runtime.interrupts import tell_of_interrupted_imports

tell_of_interrupted_imports()
