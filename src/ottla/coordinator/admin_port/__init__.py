"""The HTTP port for operators and monitors: commands as JSON, metrics, health. Only reads."""
