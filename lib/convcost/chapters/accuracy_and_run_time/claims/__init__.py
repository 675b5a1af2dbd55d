"""Checks of notebook 05: known nets, and the separable convolution."""

from convcost.chapters.accuracy_and_run_time.claims import known, separable

CHECKS = known.CHECKS | separable.CHECKS
