"""Clients of the simulated cluster. They speak the wire protocols and write what they saw down."""
