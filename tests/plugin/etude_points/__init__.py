"""Points in time with a label: a kind of annotation, a data set that has it, and a head that finds it."""
