"""Damaged frames and damaged capture files, made by a seeded mutator, through the product and past the oracle.

:mod:`tests.fuzz.corpus` collects sound frames, :mod:`tests.fuzz.mutate` damages them, :mod:`tests.fuzz.check` says what is wrong with how
the product took them, :mod:`tests.fuzz.shrink` makes a failing input small. The tests run for ``FLOWLAKE_FUZZ_SECONDS``, always from
the same seed; ``python -m tests.fuzz`` runs for as long as one likes, from a new one.
"""
