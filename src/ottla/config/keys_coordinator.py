"""Keys of a coordinator member: ZooKeeper's `zoo.cfg` names. `server.N` lines are read apart."""

from ottla.config.keys import Key, table
from ottla.config.values import Either, ValueType, at_least, between, one_of

_T = ValueType

TIMING = table(
    Key(
        "tickTime",
        _T.INT,
        2000,
        "The unit of time of all the others, in milliseconds; sets the"
        " pace of heartbeats and elections.",
        at_least(1),
    ),
    Key(
        "initLimit",
        _T.INT,
        10,
        "Ticks that a member may be catching up with its leader without progress.",
        at_least(1),
    ),
    Key(
        "syncLimit",
        _T.INT,
        5,
        "Ticks that a request may wait for the leader's word; a silent leader is given up sooner.",
        at_least(1),
    ),
    Key(
        "minSessionTimeout",
        _T.INT,
        -1,
        "The shortest session timeout granted, in milliseconds; -1: two ticks.",
        Either(-1, at_least(1)),
    ),
    Key(
        "maxSessionTimeout",
        _T.INT,
        -1,
        "The longest session timeout granted, in milliseconds; -1: twenty ticks.",
        Either(-1, at_least(1)),
    ),
)

STORE = table(
    Key("dataDir", _T.STRING, None, "Where snapshots and the member's `myid` file are."),
    Key(
        "dataLogDir",
        _T.STRING,
        None,
        "Where the txn log goes, best a disk of its own. Default: dataDir.",
    ),
    Key("snapCount", _T.INT, 100_000, "Txns between two snapshots.", at_least(2)),
    Key("autopurge.snapRetainCount", _T.INT, 3, "Snapshots that a purge keeps.", at_least(1)),
    Key(
        "autopurge.purgeInterval",
        _T.INT,
        0,
        "Hours between purges of old snapshots and logs; 0: never.",
        at_least(0),
    ),
    Key(
        "forceSync",
        _T.STRING,
        "yes",
        "no: writes are acknowledged before they are on stable"
        " storage, and a power cut may lose them.",
        one_of("yes", "no"),
    ),
)

CLIENTS = table(
    Key("clientPort", _T.INT, 2181, "Port for clients; 0: a free port.", between(0, 65_535)),
    Key("clientPortAddress", _T.STRING, "", "Interface of that port; empty: every interface."),
    Key(
        "maxClientCnxns",
        _T.INT,
        60,
        "Client connections from one address; 0: no bound.",
        at_least(0),
    ),
    Key(
        "jute.maxbuffer",
        _T.INT,
        0xFFFFF,
        "The longest request and the largest znode, in bytes.",
        at_least(1),
    ),
    Key(
        "4lw.commands.whitelist", _T.LIST, ("srvr",), "Four-letter words that are answered; *: all."
    ),
    Key(
        "readonlymode.enabled",
        _T.BOOLEAN,
        False,
        "Whether a member without a leader serves reads to clients that ask for no more.",
    ),
    Key(
        "extendedTypesEnabled",
        _T.BOOLEAN,
        False,
        "Whether znodes with a time to live may be made.",
    ),
    Key(
        "enforceQuota",
        _T.BOOLEAN,
        False,
        "Whether what would break a hard limit of /zookeeper/quota is refused, and soft ones warned"
        " of.",
    ),
    Key(
        "znode.container.checkIntervalMs",
        _T.INT,
        60_000,
        "Between two looks for empty containers and znodes whose time to live is over; 0: never.",
        at_least(0),
    ),
    Key(
        "znode.container.maxPerMinute",
        _T.INT,
        10_000,
        "How many of those are deleted per minute at most.",
        at_least(1),
    ),
    Key(
        "znode.container.maxNeverUsedIntervalMs",
        _T.LONG,
        0,
        "After this time a container that never had a child is deleted too; 0: it stays.",
        at_least(0),
    ),
    Key(
        "quorumListenOnAllIPs",
        _T.BOOLEAN,
        False,
        "Whether the port for the other members is opened on every interface.",
    ),
)


ENSEMBLE = table(
    Key(
        "reconfigEnabled",
        _T.BOOLEAN,
        False,
        "Whether the members may be changed while they run (reconfig), by who may write"
        " /zookeeper/config.",
    ),
    Key(
        "standaloneEnabled",
        _T.BOOLEAN,
        True,
        "Whether one server line alone makes a server without a peer port, which nobody can join,"
        " and a change must leave two voters.",
    ),
    Key(
        "dynamicConfigFile",
        _T.STRING,
        None,
        "A file with the server lines, in place of lines here; a change of members writes the next"
        " one beside it.",
    ),
)


def _tls_keys(prefix: str, whose: str) -> tuple[Key, ...]:
    return (
        Key(
            f"{prefix}.keyStore.location",
            _T.STRING,
            None,
            "PEM file with the private key, its certificate and those up to the authority's.",
        ),
        Key(f"{prefix}.keyStore.password", _T.PASSWORD, None, "Of the private key, if encrypted."),
        Key(
            f"{prefix}.trustStore.location",
            _T.STRING,
            None,
            f"PEM file with the authorities whose {whose} are believed.",
        ),
        Key(
            f"{prefix}.clientAuth",
            _T.STRING,
            "need",
            "Whether who connects must (need) or may (want) show a certificate, or is not asked"
            " (none).",
            one_of("need", "want", "none"),
        ),
        Key(
            f"{prefix}.enabledProtocols",
            _T.LIST,
            ("TLSv1.3", "TLSv1.2"),
            "Versions of TLS that are spoken.",
            one_of("TLSv1.3", "TLSv1.2"),
        ),
        Key(
            f"{prefix}.ciphersuites",
            _T.LIST,
            (),
            "Ciphers for TLS 1.2, by OpenSSL's names; empty: those that OpenSSL thinks good.",
        ),
    )


SECURITY = table(
    Key(
        "DigestAuthenticationProvider.superDigest",
        _T.PASSWORD,
        None,
        "user:base64(sha1(user:password)) of who passes every access list.",
    ),
    Key(
        "java.security.auth.login.config",
        _T.STRING,
        None,
        "A JAAS file; its entry Server names the users of SASL DIGEST-MD5.",
    ),
    Key(
        "secureClientPort",
        _T.INT,
        -1,
        "Port for clients that speak TLS; 0: a free port, -1: none.",
        between(-1, 65_535),
    ),
    Key("secureClientPortAddress", _T.STRING, "", "Interface of that port; empty: every one."),
    *_tls_keys("ssl", "clients"),
    Key("sslQuorum", _T.BOOLEAN, False, "Whether members talk to each other through TLS."),
    *_tls_keys("ssl.quorum", "members"),
    Key(
        "ssl.quorum.hostnameVerification",
        _T.BOOLEAN,
        True,
        "Whether a member's certificate must be made out to the host in its server.N line.",
    ),
    Key(
        "quorum.auth.secretFile",
        _T.STRING,
        None,
        "A file that only its owner may read, with 16 to 4096 bytes that every member has: on the"
        " peer port each proves to the other that it knows them. Not a key of ZooKeeper's.",
    ),
    Key(
        "X509AuthenticationProvider.superUser",
        _T.STRING,
        None,
        "Subject (as RFC 2253 writes it) of the certificate that passes every access list.",
    ),
    Key(
        "sessionRequireClientSASLAuth",
        _T.BOOLEAN,
        False,
        "Whether a client must log in through SASL before it may ask for anything; then"
        " enforce.auth.* are not looked at.",
    ),
    Key(
        "enforce.auth.enabled",
        _T.BOOLEAN,
        False,
        "Whether a client must show one of enforce.auth.schemes before it may ask for anything.",
    ),
    Key(
        "enforce.auth.schemes",
        _T.LIST,
        (),
        "Schemes that count: digest, ip, and sasl and x509 where they are set up.",
    ),
    Key("superUser", _T.STRING, None, "The SASL user who passes every access list."),
)

ADMIN = table(
    Key(
        "admin.enableServer",
        _T.BOOLEAN,
        True,
        "Whether the HTTP port for commands, metrics and health is opened.",
    ),
    Key("admin.serverPort", _T.INT, 8080, "That port; 0: a free one.", between(0, 65_535)),
    Key("admin.serverAddress", _T.STRING, "", "Interface of that port; empty: every interface."),
)

ALL = TIMING | STORE | CLIENTS | ENSEMBLE | SECURITY | ADMIN

__all__ = ["ADMIN", "ALL", "CLIENTS", "ENSEMBLE", "SECURITY", "STORE", "TIMING"]
