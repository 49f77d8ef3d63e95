"""The operator's tools, by the names, flags and output that Kafka's have.

They talk to a cluster through confluent-kafka, so that they also work on a cluster that is not
ours. Each module is one tool: `main(arguments) -> int`, the exit code.
"""
