"""Searches the orders in which the tasks of a program can run."""
