"""Configuration: keys as rows of data, the properties reader, typed access to checked values.

Entry points: `BrokerConfig`, `CoordinatorConfig`, `TopicConfig`, `ConfigError`.
"""
