"""The mutants: a module for each part of the protocol, found by being here.

A module has ``MUTANTS``, a tuple, and above it the classes that they are made of.
"""
