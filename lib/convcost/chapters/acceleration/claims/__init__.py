"""Checks of notebook 06: quantisation, pruning, distillation, low rank."""

from convcost.chapters.acceleration.claims import others, pruning, quantisation

CHECKS = quantisation.CHECKS | pruning.CHECKS | others.CHECKS
