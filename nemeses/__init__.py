"""Faults, told through what a system under test is capable of."""
