"""From checked configuration to the settings of a coordinator member."""

from ottla.config.broker import BrokerConfig
from ottla.config.coordinator import CoordinatorConfig, Member
from ottla.coordinator.settings import CoordinatorSettings
from ottla.protocol.zookeeper.ensemble import Server
from ottla.runtime.interfaces import Address
from ottla.runtime.tls import TlsSettings

EMBEDDED_DIRECTORY = ".coordinator"
"""Below the first log dir. A name that begins with a dot is no partition's directory."""


def coordinator_settings(config: CoordinatorConfig) -> CoordinatorSettings:
    return CoordinatorSettings(
        data_dir=config.data_dir,
        my_id=config.my_id,
        members={id_: Address(one.host, one.port) for id_, one in config.members.items()},
        observers=frozenset(id_ for id_, one in config.members.items() if one.is_observer),
        servers={id_: _server(one) for id_, one in config.members.items()},
        reconfig_enabled=config.bool("reconfigEnabled"),
        standalone_enabled=config.bool("standaloneEnabled"),
        dynamic_config_file=_dynamic_config_file(config),
        client_address=Address(config.str("clientPortAddress"), config.client_port),
        data_log_dir=config.optional_str("dataLogDir"),
        tick_time_ms=config.int("tickTime"),
        init_limit=config.int("initLimit"),
        sync_limit=config.int("syncLimit"),
        max_client_cnxns=config.int("maxClientCnxns"),
        min_session_timeout_ms=config.int("minSessionTimeout"),
        max_session_timeout_ms=config.int("maxSessionTimeout"),
        snap_count=config.int("snapCount"),
        autopurge_snap_retain_count=config.int("autopurge.snapRetainCount"),
        autopurge_purge_interval_h=config.int("autopurge.purgeInterval"),
        force_sync=config.str("forceSync") == "yes",
        jute_max_buffer=config.int("jute.maxbuffer"),
        four_letter_whitelist=frozenset(config.list("4lw.commands.whitelist")),
        quorum_listen_on_all_ips=config.bool("quorumListenOnAllIPs"),
        super_digest=config.optional_str("DigestAuthenticationProvider.superDigest"),
        admin_address=Address(config.str("admin.serverAddress"), config.int("admin.serverPort"))
        if config.bool("admin.enableServer")
        else None,
        secure_client_address=Address(
            config.str("secureClientPortAddress"), config.int("secureClientPort")
        ),
        tls=_tls(config, "ssl") if config.int("secureClientPort") >= 0 else None,
        peer_tls=_tls(config, "ssl.quorum") if config.bool("sslQuorum") else None,
        peer_verify_hostname=config.bool("ssl.quorum.hostnameVerification"),
        peer_secret=config.peer_secret,
        x509_super_user=config.optional_str("X509AuthenticationProvider.superUser"),
        read_only_mode=config.bool("readonlymode.enabled"),
        sasl_users=config.sasl_users,
        sasl_super_user=config.optional_str("superUser"),
        required_schemes=config.required_schemes,
        enforce_quota=config.bool("enforceQuota"),
        extended_types=config.bool("extendedTypesEnabled"),
        container_check_interval_ms=config.int("znode.container.checkIntervalMs"),
        container_max_per_minute=config.int("znode.container.maxPerMinute"),
        container_max_never_used_ms=config.int("znode.container.maxNeverUsedIntervalMs"),
    )


def _server(member: Member) -> Server:
    election_port = member.port if member.election_port is None else member.election_port
    return Server(
        member.host,
        member.port,
        election_port,
        member.is_observer,
        member.client_host,
        member.client_port,
    )


def _dynamic_config_file(config: CoordinatorConfig) -> str | None:
    """Changed members go to a file beside the one that they were read from: its next version."""
    given = config.optional_str("dynamicConfigFile")
    if given is not None:
        stem, dot, version = given.rpartition(".")
        is_version = bool(dot) and all(digit in "0123456789abcdef" for digit in version)
        return stem if is_version else given
    return None if config.source is None else f"{config.source}.dynamic"


def _tls(config: CoordinatorConfig, prefix: str) -> TlsSettings:
    """Keys of the same names for clients (`ssl`) and for members (`ssl.quorum`); checked."""
    return TlsSettings(
        key_store=config.str(f"{prefix}.keyStore.location"),
        trust_store=config.optional_str(f"{prefix}.trustStore.location"),
        key_password=config.optional_str(f"{prefix}.keyStore.password"),
        client_auth=config.str(f"{prefix}.clientAuth"),
        protocols=config.list(f"{prefix}.enabledProtocols"),
        ciphers=":".join(config.list(f"{prefix}.ciphersuites")) or None,
    )


def embedded_settings(config: BrokerConfig) -> CoordinatorSettings:
    """The one-member coordinator inside a broker's process."""
    return CoordinatorSettings(
        data_dir=f"{config.log_dirs[0]}/{EMBEDDED_DIRECTORY}",
        client_address=Address(
            config.str("embedded.coordinator.client.host"),
            config.int("embedded.coordinator.client.port"),
        ),
        autopurge_purge_interval_h=1,
    )


__all__ = ["EMBEDDED_DIRECTORY", "coordinator_settings", "embedded_settings"]
